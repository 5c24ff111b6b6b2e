//! Answers as evidence: what of a head and an error document may be shown, and what the retry loop needs of it.
//!
//! Everything here comes from the other end of a wire. Error documents echo tokens and the text that was signed; only
//! the short fields below are taken over, and only if they look like what they should be.

use std::time::Duration;

use http::header::{DATE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use super::error::Evidence;
use super::verdict::Refusal;
use super::xml::ErrorDocument;
use crate::credentials::{Credentials, Secret};

/// Characters of OSS's message that an error shows.
const MESSAGE_CHARS_MAX: usize = 160;

/// The text of a header.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// An HTTP date: `Tue, 21 May 2024 10:39:29 GMT`.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(text).ok()
}

/// `x-oss-request-id`
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    text(headers, "x-oss-request-id").and_then(word)
}

/// What an answer is known by.
pub(super) fn evidence(status: StatusCode, headers: &HeaderMap) -> Box<Evidence> {
    Box::new(Evidence {
        status: Some(status.as_u16()),
        code: String::new(),
        request_id: request_id(headers),
        ec: text(headers, "x-oss-ec").and_then(word),
        detail: String::new(),
    })
}

/// An answer that is no success; `used` signed its request and must not be echoed.
pub(super) fn read(
    status: StatusCode,
    headers: &HeaderMap,
    document: &ErrorDocument,
    used: Option<&Credentials>,
) -> Refusal {
    let mut evidence = evidence(status, headers);
    evidence.code = word(&document.code).unwrap_or_default();
    evidence.request_id = evidence.request_id.or_else(|| word(&document.request_id));
    evidence.ec = evidence.ec.or_else(|| word(&document.ec));
    let secrets = used.map_or([None, None], |set| [Some(set.secret()), set.token()]);
    let mut secrets = secrets.into_iter().flatten().map(Secret::expose);
    if !secrets.any(|secret| !secret.is_empty() && document.message.contains(secret)) {
        evidence.detail = message(&document.message);
    }
    if evidence.detail.is_empty() {
        evidence.detail = status
            .canonical_reason()
            .unwrap_or("refused")
            .to_lowercase();
    }
    Refusal {
        evidence: *evidence,
        endpoint: word(&document.endpoint).or_else(|| location(headers)),
        date: text(headers, DATE.as_str()).and_then(http_date),
        wait: wait(headers),
    }
}

/// How long the server asks to wait: OSS in milliseconds, others in seconds.
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| text(headers, name)?.trim().parse::<u64>().ok();
    let delay = number("x-oss-qos-delay-time").map(Duration::from_millis);
    delay.max(number(RETRY_AFTER.as_str()).map(Duration::from_secs))
}

/// The host that a redirect points to.
fn location(headers: &HeaderMap) -> Option<String> {
    let (_, rest) = text(headers, LOCATION.as_str())?.split_once("://")?;
    word(rest.split(['/', '?', '#']).next().unwrap_or(rest))
}

/// A code, id or host: at most 128 characters of the kind these are made of.
fn word(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let is_word = !text.is_empty() && text.len() <= 128 && text.bytes().all(fits);
    is_word.then(|| text.to_owned())
}

/// The beginning of a message, in one line without a trailing dot.
fn message(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .collect();
    let line: String = words.join(" ").chars().take(MESSAGE_CHARS_MAX).collect();
    line.trim().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<HeaderMap>()
    }

    #[test]
    fn a_message_that_echoes_a_secret_is_dropped() {
        let set = Credentials::new("id", "S3cret".into(), Some("T0ken".into()), None);
        for echo in ["S3cret", "T0ken"] {
            let document = ErrorDocument {
                code: "SecurityTokenExpired".to_owned(),
                message: format!("your {echo} has expired"),
                ..ErrorDocument::default()
            };
            let read = read(
                StatusCode::FORBIDDEN,
                &HeaderMap::new(),
                &document,
                Some(&set),
            );
            assert!(!format!("{read:?}").contains(echo));
            assert_eq!(read.evidence.code, "SecurityTokenExpired");
            assert_eq!(read.evidence.detail, "forbidden");
        }
    }

    #[test]
    fn fields_that_are_not_what_they_should_be_are_dropped() {
        let document = ErrorDocument {
            code: "No\nSuch <b>".to_owned(),
            message: format!("one\r\ntwo {}.", "x".repeat(1000)),
            request_id: "5F3A".to_owned(),
            ec: "0002-00000007\n".to_owned(),
            endpoint: "oss-cn-beijing.aliyuncs.com".to_owned(),
        };
        let read = read(StatusCode::BAD_REQUEST, &HeaderMap::new(), &document, None);
        assert_eq!(read.evidence.code, "");
        assert!(read.evidence.detail.starts_with("one  two xxx"));
        assert_eq!(read.evidence.detail.len(), MESSAGE_CHARS_MAX);
        assert_eq!(read.evidence.request_id.as_deref(), Some("5F3A"));
        assert_eq!(read.evidence.ec.as_deref(), Some("0002-00000007"));
        assert_eq!(
            read.endpoint.as_deref(),
            Some("oss-cn-beijing.aliyuncs.com")
        );
    }

    #[test]
    fn the_longer_of_two_asked_waits_counts() {
        let both = headers(&[("x-oss-qos-delay-time", "1500"), ("retry-after", "1")]);
        assert_eq!(wait(&both), Some(Duration::from_millis(1500)));
        assert_eq!(
            wait(&headers(&[("retry-after", "2")])),
            Some(Duration::from_secs(2))
        );
        assert_eq!(wait(&headers(&[("retry-after", "soon")])), None);
    }

    #[test]
    fn a_redirect_names_its_host_and_nothing_else() {
        let to = headers(&[("location", "https://b.oss-cn-x.aliyuncs.com/k?Signature=s")]);
        assert_eq!(location(&to).as_deref(), Some("b.oss-cn-x.aliyuncs.com"));
    }

    #[test]
    fn http_dates_are_read() {
        let date = http_date("Tue, 21 May 2024 10:39:29 GMT").map(Timestamp::as_second);
        assert_eq!(date, Some(1_716_287_969));
        assert_eq!(http_date("yesterday"), None);
    }
}
