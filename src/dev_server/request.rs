//! The head of a request as it came, and what it addresses.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderMap, Method, header};
use percent_encoding::percent_decode_str;

use super::error::OssError;
use crate::object::{KeyError, ObjectKey};

/// A parsed request head. Signatures are checked on the raw fields, operations use the decoded ones.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) method: Method,
    /// The path as on the wire, percent-encoded.
    pub(crate) raw_path: String,
    /// The query as on the wire, without its question mark.
    pub(crate) raw_query: Option<String>,
    pub(crate) headers: HeaderMap,
    /// The `Host` header as it came, with its port if it has one.
    pub(crate) host: String,
    pub(crate) bucket: Option<String>,
    /// Percent-decoded; `None` at bucket level.
    pub(crate) key: Option<String>,
    /// True if the bucket came from the host name, false if from the path.
    pub(crate) virtual_hosted: bool,
    /// The query's pairs, decoded, in the order of the wire. A name without `=` has an empty value.
    pub(crate) query: Vec<(String, String)>,
}

impl Incoming {
    /// Reads a request head.
    ///
    /// # Errors
    /// 400 `InvalidObjectName` for a key that is not UTF-8, too long, or begins with a slash; 400 `InvalidArgument` for
    /// a query that is not UTF-8.
    pub(crate) fn parse(head: &http::request::Parts) -> Result<Self, OssError> {
        let host = match head.headers.get(header::HOST).map(|host| host.to_str()) {
            Some(Ok(host)) => host.to_owned(),
            // HTTP/1.1 demands a Host; absolute-form targets carry another one.
            Some(Err(_)) | None => head
                .uri
                .authority()
                .map(ToString::to_string)
                .unwrap_or_default(),
        };
        let raw_path = head.uri.path().to_owned();
        let raw_query = head.uri.query().map(str::to_owned);
        let in_path = raw_path.strip_prefix('/').unwrap_or(&raw_path);
        let from_host = bucket_of_host(&host);
        let (bucket, raw_key) = match from_host {
            Some(bucket) => (Some(bucket.to_owned()), in_path),
            None => match in_path.split_once('/') {
                Some((bucket, key)) => (Some(decode(bucket)?), key),
                None if in_path.is_empty() => (None, ""),
                None => (Some(decode(in_path)?), ""),
            },
        };
        let key = match raw_key {
            "" => None,
            raw => Some(checked_key(decode(raw)?)?),
        };
        Ok(Self {
            method: head.method.clone(),
            query: pairs(raw_query.as_deref().unwrap_or_default())?,
            virtual_hosted: from_host.is_some(),
            raw_path,
            raw_query,
            headers: head.headers.clone(),
            host,
            bucket,
            key,
        })
    }

    /// The first value of a query parameter.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        let (_, value) = self.query.iter().find(|(given, _)| given == name)?;
        Some(value)
    }

    /// True if the query names `name`, with or without a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.param(name).is_some()
    }

    /// A header that is printable ASCII; anything else counts as missing.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The bucket in a host name: its first label, if the name is neither an address nor a bare endpoint.
///
/// A bucket name has no dot (OSS help "Bucket naming conventions"), so the label before the first dot is the bucket
/// and the rest is whatever name this server is reached by.
fn bucket_of_host(host: &str) -> Option<&str> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    if name.starts_with('[') || name.parse::<IpAddr>().is_ok() {
        return None;
    }
    let (bucket, endpoint) = name.split_once('.')?;
    let is_endpoint = bucket.starts_with("oss-") && endpoint == "aliyuncs.com";
    (!is_endpoint && !bucket.is_empty()).then_some(bucket)
}

fn decode(raw: &str) -> Result<String, OssError> {
    percent_decode_str(raw)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_| invalid_name("The specified object is not valid UTF-8."))
}

fn checked_key(key: String) -> Result<String, OssError> {
    match ObjectKey::new(key.as_str()) {
        Ok(_) => Ok(key),
        Err(
            KeyError::Empty
            | KeyError::TooLong(_)
            | KeyError::LeadingSlash
            | KeyError::NotADirectory,
        ) => Err(invalid_name("The specified object is not valid.").with("ObjectName", key)),
    }
}

fn invalid_name(message: &str) -> OssError {
    OssError::new(400, "InvalidObjectName", message, "0016-00000008")
}

/// The decoded pairs of a query. `+` is a space here, as HTML forms and Python's `requests` write it.
fn pairs(raw: &str) -> Result<Vec<(String, String)>, OssError> {
    let piece = |raw: &str| {
        percent_decode_str(&raw.replace('+', " "))
            .decode_utf8()
            .map(Cow::into_owned)
            .map_err(|_| {
                OssError::new(
                    400,
                    "InvalidArgument",
                    "The query is not valid UTF-8.",
                    "0002-00000903",
                )
            })
    };
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((piece(name)?, piece(value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn parse(host: &str, target: &str) -> Result<Incoming, OssError> {
        let request = http::Request::get(target)
            .header("host", host)
            .body(())
            .unwrap();
        Incoming::parse(&request.into_parts().0)
    }

    fn addressed(host: &str, target: &str) -> (Option<String>, Option<String>, bool) {
        let request = parse(host, target).unwrap();
        (request.bucket, request.key, request.virtual_hosted)
    }

    #[test]
    fn an_address_and_a_bare_name_mean_path_style() {
        for host in [
            "127.0.0.1:80",
            "127.0.0.1",
            "localhost:1",
            "devserver",
            "[::1]:8",
        ] {
            assert_eq!(
                addressed(host, "/b/a%2Fc%20d"),
                (Some("b".into()), Some("a/c d".into()), false),
                "{host}"
            );
        }
        assert_eq!(addressed("127.0.0.1", "/"), (None, None, false));
        assert_eq!(
            addressed("127.0.0.1", "/b"),
            (Some("b".into()), None, false)
        );
        assert_eq!(
            addressed("127.0.0.1", "/b/"),
            (Some("b".into()), None, false)
        );
    }

    #[test]
    fn a_dotted_name_begins_with_the_bucket() {
        for host in [
            "b.localhost:80",
            "b.localhost",
            "b.oss-cn-hangzhou.aliyuncs.com",
        ] {
            assert_eq!(
                addressed(host, "/a/c?x"),
                (Some("b".into()), Some("a/c".into()), true),
                "{host}"
            );
        }
        assert_eq!(
            addressed("oss-cn-hangzhou.aliyuncs.com", "/"),
            (None, None, false)
        );
    }

    #[test]
    fn bad_keys_are_refused() {
        let code = |target: &str| parse("127.0.0.1", target).map(|_| ()).unwrap_err().code;
        assert_eq!(code("/b//a"), "InvalidObjectName");
        assert_eq!(code("/b/%2Fa"), "InvalidObjectName");
        assert_eq!(code("/b/%FF"), "InvalidObjectName");
        let longest = "k".repeat(1023);
        assert!(parse("127.0.0.1", &format!("/b/{longest}")).is_ok());
        assert_eq!(code(&format!("/b/{longest}k")), "InvalidObjectName");
    }

    #[test]
    fn a_query_keeps_its_order_and_is_decoded() {
        let request = parse("h", "/b?uploads&prefix=a%2Bb+c&x=").unwrap();
        let pairs: Vec<(&str, &str)> = request
            .query
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(pairs, [("uploads", ""), ("prefix", "a+b c"), ("x", "")]);
    }
}
