//! Reading a request head byte by byte: percent coding, header values, dates.
//!
//! INVARIANT: nothing here is shared with the production signer. A mistake made on both ends of the wire would cancel
//! itself out, and the tests would pass against a server that does not exist.

use std::collections::BTreeMap;

use http::HeaderMap;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::dev_server::request::Incoming;

/// Whether `/` is written as it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Slash {
    Keep,
    Encode,
}

/// Percent-encodes every byte but `A-Z a-z 0-9 - _ . ~`, in upper-case hex.
pub(super) fn encode(text: &str, slash: Slash) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b'/' if slash == Slash::Keep => out.push('/'),
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    out
}

/// Undoes percent-encoding; what is not encoded stays, `+` included.
pub(super) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|pair| hex::decode(pair).ok());
        if let Some(pair) = pair {
            out.extend(pair);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn decode_form(text: &str) -> String {
    decode(&text.replace('+', " "))
}

/// The query as (name, value), decoded, in wire order; `name` and `name=` are the same.
///
/// `+` is a blank, as in a form: oss2 signs `%20` and sends `+` (observed with 2.19.1; a plus sign is always `%2B`).
pub(super) fn query(request: &Incoming) -> Vec<(String, String)> {
    let raw = request.raw_query.as_deref().unwrap_or_default();
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_form(name), decode_form(value))
        })
        .collect()
}

/// The first value of `name` in a decoded query.
pub(super) fn find<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query
        .iter()
        .find(|(have, _)| have == name)
        .map(|(_, value)| value.as_str())
}

/// The value of a header, without the blanks around it; several lines of one name are joined by commas.
pub(super) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<String> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
        .collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// The headers whose name `wanted` accepts, by lower-case name.
pub(super) fn headers(
    headers_of: &HeaderMap,
    wanted: impl Fn(&str) -> bool,
) -> BTreeMap<String, String> {
    headers_of
        .keys()
        .filter(|name| wanted(name.as_str()))
        .filter_map(|name| Some((name.as_str().to_owned(), header(headers_of, name.as_str())?)))
        .collect()
}

/// `/bucket/key`, `/bucket/` or `/`: what both versions sign, whether or not the bucket came in the host name.
pub(super) fn resource(request: &Incoming) -> String {
    let path = decode(&request.raw_path);
    match &request.bucket {
        Some(bucket) if request.virtual_hosted => format!("/{bucket}{path}"),
        Some(_) if path.rfind('/') == Some(0) && path.len() > 1 => format!("{path}/"),
        Some(_) | None => path,
    }
}

/// `20240521T103929Z`.
pub(super) fn basic_date(text: &str) -> Option<Timestamp> {
    utc("%Y%m%dT%H%M%SZ", text)
}

/// `Tue, 21 May 2024 10:39:29 GMT`.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    utc("%a, %d %b %Y %H:%M:%S GMT", text)
}

fn utc(format: &str, text: &str) -> Option<Timestamp> {
    let civil = DateTime::strptime(format, text).ok()?;
    TimeZone::UTC.to_timestamp(civil).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coding_is_upper_case_and_keeps_what_cannot_be_decoded() {
        assert_eq!(encode("a/b c~*", Slash::Keep), "a/b%20c~%2A");
        assert_eq!(encode("a/数", Slash::Encode), "a%2F%E6%95%B0");
        assert_eq!(decode("a%2fb%20+%zz%4"), "a/b +%zz%4");
    }

    #[test]
    fn the_bucket_is_signed_wherever_it_came_from() {
        let signed = |raw_path: &str, bucket: Option<&str>, virtual_hosted| {
            resource(&Incoming {
                method: http::Method::GET,
                raw_path: raw_path.to_owned(),
                raw_query: None,
                query: Vec::new(),
                headers: HeaderMap::new(),
                host: String::new(),
                bucket: bucket.map(str::to_owned),
                key: None,
                virtual_hosted,
            })
        };
        assert_eq!(signed("/", None, false), "/");
        assert_eq!(signed("/", Some("b"), true), "/b/");
        assert_eq!(signed("/a%2Fc%20d", Some("b"), true), "/b/a/c d");
        assert_eq!(signed("/b", Some("b"), false), "/b/");
        assert_eq!(signed("/b/", Some("b"), false), "/b/");
        assert_eq!(signed("/b/a%2Fc%20d", Some("b"), false), "/b/a/c d");
    }

    #[test]
    fn dates_are_read_in_the_two_formats_of_oss() {
        let at = Timestamp::from_second(1_716_287_969).ok();
        assert_eq!(basic_date("20240521T103929Z"), at);
        assert_eq!(http_date("Tue, 21 May 2024 10:39:29 GMT"), at);
        assert_eq!(http_date("2024-05-21T10:39:29Z"), None);
    }
}
