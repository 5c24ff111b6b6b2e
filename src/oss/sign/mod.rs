//! Signatures: what is signed, in pure functions over the parts of a request.
//!
//! [`Signer`] puts the result into a request's headers, anew for each attempt: credentials and time are those of the
//! attempt. Rules: OSS help "Include signatures in the Authorization header", for V1 and V4. The functions are pinned by
//! vectors of the official clients.

mod v1;
mod v4;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::header::{AUTHORIZATION, DATE, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::SignatureVersion;
use crate::credentials::Credentials;

const TOKEN: HeaderName = HeaderName::from_static("x-oss-security-token");

/// Everything but `A-Za-z0-9-_.~`.
const PARAM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// The same, with `/` kept.
const PATH: &AsciiSet = &PARAM.remove(b'/');

/// A key as it stands in a URL's path and in V4's canonical request.
pub(super) fn encode_key(key: &str) -> String {
    utf8_percent_encode(key, PATH).to_string()
}

/// A query name or value as it stands in a URL and in V4's canonical request.
pub(super) fn encode_param(text: &str) -> String {
    utf8_percent_encode(text, PARAM).to_string()
}

/// The parts of a request that a signature covers, its headers aside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) method: &'a str,
    /// `None` for a request to the service itself.
    pub(super) bucket: Option<&'a str>,
    /// Not encoded; empty for a request to the bucket.
    pub(super) key: &'a str,
    /// Not encoded, in any order.
    pub(super) params: &'a [(&'a str, &'a str)],
}

impl Target<'_> {
    /// `/bucket/key` with the bucket even where the URL has it in the host.
    fn resource(&self) -> String {
        self.bucket.map_or_else(
            || "/".to_owned(),
            |bucket| format!("/{bucket}/{}", self.key),
        )
    }
}

/// Signs the requests of one bucket.
#[derive(Debug)]
pub(super) struct Signer {
    version: SignatureVersion,
    /// Empty for V1, which knows no region.
    region: String,
    keys: v4::KeyOfTheDay,
}

impl Signer {
    pub(super) fn new(version: SignatureVersion, region: String) -> Self {
        Self {
            version,
            region,
            keys: v4::KeyOfTheDay::default(),
        }
    }

    /// Adds the time, the token and the signature. Fails if the credentials hold bytes that no header can carry.
    pub(super) fn sign(
        &self,
        target: &Target<'_>,
        headers: &mut HeaderMap,
        credentials: &Arc<Credentials>,
        now: Timestamp,
    ) -> Result<(), InvalidHeaderValue> {
        if let Some(token) = credentials.token() {
            headers.insert(TOKEN, sensitive(token.expose())?);
        }
        let authorization = match self.version {
            SignatureVersion::V1 => {
                let date = http_date(now);
                headers.insert(DATE, HeaderValue::from_str(&date)?);
                let signature = v1::signature(
                    credentials.secret().expose(),
                    &v1::string_to_sign(target, headers, &date),
                );
                v1::authorization(credentials.access_key_id(), &signature)
            }
            SignatureVersion::V4 => {
                let time = v4::time(now);
                headers.insert(v4::DATE, HeaderValue::from_str(&time)?);
                headers.insert(v4::PAYLOAD, HeaderValue::from_static(v4::UNSIGNED));
                let scope = v4::scope(&time, &self.region);
                let canonical = v4::canonical_request(target, headers, &[]);
                let key = self.keys.get(credentials, &time, &self.region);
                let text = v4::string_to_sign(&time, &scope, &canonical);
                let signature = v4::signature(&key, &text);
                v4::authorization(credentials.access_key_id(), &scope, &[], &signature)
            }
        };
        headers.insert(AUTHORIZATION, sensitive(&authorization)?);
        Ok(())
    }
}

/// A header value that Debug does not show.
fn sensitive(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

/// `Tue, 21 May 2024 10:39:29 GMT`
fn http_date(now: Timestamp) -> String {
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
