//! Where the buckets of a region are reached, and how a bucket is named in a URL.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// How a request names its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// `https://bucket.endpoint/key`: the only form that OSS itself accepts.
    VirtualHosted,
    /// `https://endpoint/bucket/key`: for endpoints that are an IP address, where a bucket cannot be part of the name.
    Path,
}

/// Why a text is no endpoint; one line that says what to give instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The scheme is neither http nor https.
    #[error("endpoint scheme '{0}' is unknown: give https://HOST, http://HOST or HOST")]
    Scheme(String),
    /// No host name or IP address. The text is not repeated: it may hold a password.
    #[error(
        "an endpoint is a host such as oss-cn-hangzhou-internal.aliyuncs.com, without user, path or query"
    )]
    Host,
    /// Not a port.
    #[error("endpoint port '{0}' is not a number from 1 to 65535")]
    Port(String),
    /// The name of a bucket stands before the endpoint.
    #[error("endpoint '{host}' begins with a bucket: give {endpoint}, and the bucket by itself")]
    Bucket {
        /// As given.
        host: String,
        /// The endpoint without the bucket.
        endpoint: String,
    },
}

/// Scheme, host and port of an OSS endpoint, parsed from `URL|HOST`; the scheme defaults to https.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    https: bool,
    /// Lower case; an IPv6 address keeps its brackets.
    host: String,
    port: Option<u16>,
}

const DOMAIN: &str = ".aliyuncs.com";

impl Endpoint {
    /// True for https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The host name or address, without the port; an IPv6 address has its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if one was given.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// True if the host is an IP address.
    #[must_use]
    pub fn is_ip(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok()
    }

    /// True if the host is reached inside Alibaba Cloud's network only: `oss-cn-hangzhou-internal.aliyuncs.com`, and the form of a VPC
    /// (OSS help "Regions and endpoints").
    #[must_use]
    pub fn is_internal(&self) -> bool {
        let name = self.host.strip_suffix(DOMAIN);
        name.is_some_and(|name| {
            name.ends_with("-internal") || name.starts_with("vpc100-") || name == "internal"
        })
    }

    /// How a bucket is named here: in the path if that is asked for or if the host is an IP address or `localhost`.
    #[must_use]
    pub fn addressing(&self, path_style: bool) -> Addressing {
        if path_style || self.is_ip() || self.host == "localhost" {
            Addressing::Path
        } else {
            Addressing::VirtualHosted
        }
    }

    /// The region that the name says, without the `oss-` of the name: `cn-hangzhou`.
    ///
    /// `None` for addresses, other domains and the global accelerator, which serves every region (OSS help "Regions
    /// and endpoints").
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        let name = self.host.strip_suffix(DOMAIN)?;
        let region = match name.split_once('.') {
            None => match name.strip_prefix("oss-") {
                None => return (name == "oss").then_some("cn-hangzhou"),
                Some("accelerate" | "accelerate-overseas") => return None,
                Some("internal") => return Some("cn-hangzhou"),
                Some(region) => region.strip_suffix("-internal").unwrap_or(region),
            },
            Some((region, "oss" | "oss-internal")) => region,
            Some(_) => return None,
        };
        (!region.is_empty()).then_some(region)
    }

    /// Everything of a URL before the path of the object: `https://bucket.host:port` or `https://host:port/bucket`.
    pub(super) fn base(&self, bucket: &str, addressing: Addressing) -> String {
        match addressing {
            Addressing::VirtualHosted => {
                let (scheme, port) = (self.scheme(), PortSuffix(self.port));
                format!("{scheme}://{bucket}.{}{port}", self.host)
            }
            Addressing::Path => format!("{self}/{bucket}"),
        }
    }

    fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }
}

struct PortSuffix(Option<u16>);

impl fmt::Display for PortSuffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = PortSuffix(self.port);
        write!(f, "{}://{}{port}", self.scheme(), self.host)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        let (https, rest) = match text.split_once("://") {
            None => (true, text),
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "https" => (true, rest),
                "http" => (false, rest),
                other => return Err(EndpointError::Scheme(other.to_owned())),
            },
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_port(authority)?;
        let host = host.to_ascii_lowercase();
        if !is_host(&host) {
            return Err(EndpointError::Host);
        }
        refuse_bucket(&host)?;
        Ok(Self { https, host, port })
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), EndpointError> {
    let colon = match authority.rfind(']') {
        Some(end) => authority[end..].find(':').map(|at| end + at),
        None => authority.find(':'),
    };
    let Some(colon) = colon else {
        return Ok((authority, None));
    };
    let port = &authority[colon + 1..];
    if port.contains(['@', '/', ':']) {
        return Err(EndpointError::Host);
    }
    match port.parse::<u16>() {
        Ok(number) if number > 0 => Ok((&authority[..colon], Some(number))),
        Ok(_) | Err(_) => Err(EndpointError::Port(port.to_owned())),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[') {
        return inside
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        !label.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

/// `bucket.oss-cn-hangzhou.aliyuncs.com` is what the console shows; as an endpoint it would name the bucket twice.
fn refuse_bucket(host: &str) -> Result<(), EndpointError> {
    let Some((_, endpoint)) = host.split_once('.') else {
        return Ok(());
    };
    match endpoint.strip_suffix(DOMAIN) {
        Some(name) if name.starts_with("oss-") && name != "oss-internal" => {
            Err(EndpointError::Bucket {
                host: host.to_owned(),
                endpoint: endpoint.to_owned(),
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// True for a name that OSS gives to buckets: 3 to 63 lower-case letters, digits and hyphens, with no hyphen at
/// either end (OSS help "Bucket naming conventions").
pub(super) fn is_bucket_name(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    #[test]
    fn a_host_alone_means_https() {
        let parsed = endpoint("oss-cn-hangzhou.aliyuncs.com");
        assert_eq!(parsed.to_string(), "https://oss-cn-hangzhou.aliyuncs.com");
        assert_eq!(
            parsed.base("b-1", Addressing::VirtualHosted),
            "https://b-1.oss-cn-hangzhou.aliyuncs.com"
        );
    }

    #[test]
    fn an_ip_address_means_path_style() {
        for text in ["http://127.0.0.1:18080/", "http://[::1]:80", "localhost:9"] {
            assert_eq!(endpoint(text).addressing(false), Addressing::Path, "{text}");
        }
        let parsed = endpoint("http://127.0.0.1:18080/");
        assert_eq!(
            parsed.base("b-1", Addressing::Path),
            "http://127.0.0.1:18080/b-1"
        );
        assert_eq!(
            endpoint("oss.example.com").addressing(false),
            Addressing::VirtualHosted
        );
        assert_eq!(
            endpoint("oss.example.com").addressing(true),
            Addressing::Path
        );
    }

    #[test]
    fn the_region_comes_from_the_name() {
        for (text, region) in [
            ("oss-cn-hangzhou.aliyuncs.com", Some("cn-hangzhou")),
            (
                "http://OSS-cn-beijing-internal.aliyuncs.com",
                Some("cn-beijing"),
            ),
            ("ap-southeast-1.oss.aliyuncs.com", Some("ap-southeast-1")),
            ("oss.aliyuncs.com", Some("cn-hangzhou")),
            ("oss-internal.aliyuncs.com", Some("cn-hangzhou")),
            ("oss-accelerate.aliyuncs.com", None),
            ("data.example.com", None),
            ("127.0.0.1:1", None),
        ] {
            assert_eq!(endpoint(text).region(), region, "{text}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_echoing_a_password() {
        for text in [
            "",
            "https://",
            "a b",
            "h/path",
            "u:pass@h",
            "http://u:pass@h:1",
            "[::1",
            "h?x",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert_eq!(error, EndpointError::Host, "{text}");
            assert!(!error.to_string().contains("pass"));
        }
        assert!(matches!(
            "ftp://h".parse::<Endpoint>(),
            Err(EndpointError::Scheme(_))
        ));
        assert!(matches!(
            "h:0".parse::<Endpoint>(),
            Err(EndpointError::Port(_))
        ));
        assert!(matches!(
            "h:65536".parse::<Endpoint>(),
            Err(EndpointError::Port(_))
        ));
        let doubled = "mine.oss-cn-beijing.aliyuncs.com".parse::<Endpoint>();
        assert!(
            matches!(doubled, Err(EndpointError::Bucket { endpoint, .. }) if endpoint == "oss-cn-beijing.aliyuncs.com")
        );
    }

    #[test]
    fn a_bucket_name_has_3_to_63_bytes() {
        assert!(!is_bucket_name("ab"));
        assert!(is_bucket_name("abc"));
        assert!(is_bucket_name(&"a".repeat(63)));
        assert!(!is_bucket_name(&"a".repeat(64)));
        assert!(
            !is_bucket_name("-ab")
                && !is_bucket_name("ab-")
                && !is_bucket_name("a.b")
                && !is_bucket_name("aBc")
        );
    }
}
