//! Signature version 1: HMAC-SHA1 over the date, the `x-oss-` headers and the resource.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha1::Sha1;

use super::Target;

/// Query names that belong to the resource, sorted. Others (`prefix`, `max-keys`, …) are not signed, and a name
/// that one end counts and the other doesn't is a `SignatureDoesNotMatch`.
const SUB_RESOURCES: [&str; 29] = [
    "acl",
    "append",
    "bucketInfo",
    "continuation-token",
    "delete",
    "location",
    "objectMeta",
    "partNumber",
    "position",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "security-token",
    "sequential",
    "stat",
    "symlink",
    "tagging",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "x-oss-ac-source-ip",
    "x-oss-process",
    "x-oss-traffic-limit",
];

/// What is signed; `date` is the Date header, or for a signed URL its expiry.
pub(super) fn string_to_sign(target: &Target<'_>, headers: &HeaderMap, date: &str) -> String {
    let text = |name: &str| {
        let value = headers.get(name).map(HeaderValue::as_bytes);
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    // By name, not by line: `x-oss-copy-source` sorts before `x-oss-copy-source-range`.
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.retain(|name| name.starts_with("x-oss-"));
    names.sort_unstable();
    let lines: String = names
        .into_iter()
        .map(|name| format!("{name}:{}\n", text(name).trim()))
        .collect();
    let mut signed: Vec<String> = target
        .params
        .iter()
        .filter(|(name, _)| SUB_RESOURCES.binary_search(name).is_ok())
        .map(|(name, value)| match *value {
            "" => (*name).to_owned(),
            value => format!("{name}={value}"),
        })
        .collect();
    signed.sort_unstable();
    let query = if signed.is_empty() { "" } else { "?" };
    format!(
        "{}\n{}\n{}\n{date}\n{}{}{query}{}",
        target.method,
        text("content-md5"),
        text(CONTENT_TYPE.as_str()),
        lines,
        target.resource(),
        signed.join("&"),
    )
}

/// Base64 of the HMAC.
pub(super) fn signature(secret: &str, string_to_sign: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("any length is a key");
    mac.update(string_to_sign.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// The value of the Authorization header.
pub(super) fn authorization(access_key_id: &str, signature: &str) -> String {
    format!("OSS {access_key_id}:{signature}")
}
