//! What a bucket is opened with.

use std::str::FromStr;
use std::time::Duration;

use super::Endpoint;

/// Which of OSS's signatures requests carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignatureVersion {
    /// HMAC-SHA1; being closed step by step for new customers and buckets since 2025.
    V1,
    /// HMAC-SHA256 with a key of the day; the default. Needs the region.
    #[default]
    V4,
}

impl FromStr for SignatureVersion {
    type Err = UnknownSignature;

    fn from_str(text: &str) -> Result<Self, UnknownSignature> {
        match text {
            "v1" => Ok(Self::V1),
            "v4" => Ok(Self::V4),
            _ => Err(UnknownSignature),
        }
    }
}

/// The text names no signature version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signature version is v1 or v4")]
pub struct UnknownSignature;

/// How patient a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How long one attempt waits for the head of its answer, from when its body, if it has one, was taken by the connection.
    /// Default 20 s, as the official SDKs.
    pub attempt_timeout: Duration,
    /// How long a body may stand still before the rest is asked for, or all of it sent, again. Default 10 s.
    pub idle_timeout: Duration,
    /// How long a request is tried while nothing moves. Default 60 s (`--retry-for`). A received piece of a body starts it anew;
    /// time in which a body was being sent, and time spent waiting for credentials does not count: that wait has its own bound.
    pub no_progress: Duration,
    /// The wait after failure n is random between 0 and `backoff_base` × 2ⁿ⁻¹. Default 200 ms, as the official SDKs.
    pub backoff_base: Duration,
    /// The same for answers that ask to slow down. Default 1 s.
    pub throttle_base: Duration,
    /// Upper bound of those waits. Default 20 s, as the official SDKs.
    pub backoff_max: Duration,
    /// Attempts in a row for failures that repetition hardly cures: an answer that contradicts itself, a 401, a
    /// `BadRequest`. Default 4.
    pub few_attempts: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(10),
            no_progress: Duration::from_secs(60),
            backoff_base: Duration::from_millis(200),
            throttle_base: Duration::from_secs(1),
            backoff_max: Duration::from_secs(20),
            few_attempts: 4,
        }
    }
}

/// What a [`super::Bucket`] is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its name: 3 to 63 lower-case letters, digits and hyphens.
    pub bucket: String,
    /// Its region (`cn-hangzhou`); by default what the endpoint's name says. Only V4 needs it.
    pub region: Option<String>,
    /// The signature.
    pub signature: SignatureVersion,
    /// Names the bucket in the path even where the endpoint has a name. Default false: OSS itself refuses it.
    pub path_style: bool,
    /// How patient requests are.
    pub retry: Retry,
    /// Requests sent per second at most, of all kinds together. Default `None`, as many as help.
    pub requests_per_second: Option<u64>,
    /// Body bytes received per second at most, and as many sent, of all requests together. Default `None`.
    pub bytes_per_second: Option<u64>,
}

impl Config {
    /// The defaults for a bucket at an endpoint.
    #[must_use]
    pub fn new(endpoint: Endpoint, bucket: impl Into<String>) -> Self {
        Self {
            endpoint,
            bucket: bucket.into(),
            region: None,
            signature: SignatureVersion::default(),
            path_style: false,
            retry: Retry::default(),
            requests_per_second: None,
            bytes_per_second: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_version_is_v1_or_v4() {
        assert_eq!("v1".parse(), Ok(SignatureVersion::V1));
        assert_eq!("v4".parse(), Ok(SignatureVersion::V4));
        assert_eq!("v2".parse::<SignatureVersion>(), Err(UnknownSignature));
    }
}
