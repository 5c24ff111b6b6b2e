//! Signature version 4: HMAC-SHA256 over a canonical request, with a key of the day.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{Target, encode_key, encode_param};
use crate::credentials::Credentials;

pub(super) const DATE: HeaderName = HeaderName::from_static("x-oss-date");
pub(super) const PAYLOAD: HeaderName = HeaderName::from_static("x-oss-content-sha256");
/// The only payload hash that official clients send: bodies are covered by TLS and CRC-64.
pub(super) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const ALGORITHM: &str = "OSS4-HMAC-SHA256";
const REQUEST: &str = "aliyun_v4_request";
const PRODUCT: &str = "oss";

/// A signing key; wiped when dropped.
pub(super) type Key = Zeroizing<[u8; 32]>;

/// `20240521T103929Z`
pub(super) fn time(now: Timestamp) -> String {
    now.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// The day of a [`time`].
fn day(time: &str) -> &str {
    time.get(..8).unwrap_or(time)
}

pub(super) fn scope(time: &str, region: &str) -> String {
    format!("{}/{region}/{PRODUCT}/{REQUEST}", day(time))
}

/// Headers that are signed whenever they are there.
fn is_signed_by_default(name: &str) -> bool {
    name.starts_with("x-oss-") || name == "content-type" || name == "content-md5"
}

/// The names that the line of additional headers shows.
pub(super) fn additional_names<'a>(headers: &HeaderMap, additional: &[&'a str]) -> Vec<&'a str> {
    let mut names = additional.to_vec();
    names.retain(|name| headers.contains_key(*name) && !is_signed_by_default(name));
    names.sort_unstable();
    names.dedup();
    names
}

/// `additional` names, in lower case, headers that are signed although the rules do not ask for it.
pub(super) fn canonical_request(
    target: &Target<'_>,
    headers: &HeaderMap,
    additional: &[&str],
) -> String {
    let mut query: Vec<(String, String)> = target
        .params
        .iter()
        .map(|(name, value)| (encode_param(name), encode_param(value)))
        .collect();
    query.sort_unstable();
    let query: Vec<String> = query
        .into_iter()
        .map(|(name, value)| match value.as_str() {
            "" => name,
            value => format!("{name}={value}"),
        })
        .collect();
    let additional = additional_names(headers, additional);
    let mut lines: Vec<(&str, String)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .filter(|(name, _)| is_signed_by_default(name) || additional.contains(name))
        .map(|(name, value)| (name, String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    lines.sort_unstable();
    let lines: String = lines
        .into_iter()
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    format!(
        "{}\n{}\n{}\n{lines}\n{}\n{UNSIGNED}",
        target.method,
        encode_key(&target.resource()),
        query.join("&"),
        additional.join(";"),
    )
}

pub(super) fn string_to_sign(time: &str, scope: &str, canonical_request: &str) -> String {
    let hash = hex::encode(Sha256::digest(canonical_request.as_bytes()));
    format!("{ALGORITHM}\n{time}\n{scope}\n{hash}")
}

/// The key that signs all requests of one secret, day and region.
pub(super) fn signing_key(secret: &str, time: &str, region: &str) -> Key {
    let first = Zeroizing::new(format!("aliyun_v4{secret}"));
    let mut key = hmac(first.as_bytes(), day(time));
    for step in [region, PRODUCT, REQUEST] {
        key = hmac(&key[..], step);
    }
    key
}

fn hmac(key: &[u8], text: &str) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    mac.update(text.as_bytes());
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// Lower-case hex of the HMAC.
pub(super) fn signature(key: &Key, string_to_sign: &str) -> String {
    hex::encode(&hmac(&key[..], string_to_sign)[..])
}

/// The value of the Authorization header. Without additional headers their field is left out: OSS refuses it empty.
pub(super) fn authorization(
    access_key_id: &str,
    scope: &str,
    additional: &[&str],
    signature: &str,
) -> String {
    let mut field = String::new();
    if !additional.is_empty() {
        field = format!("AdditionalHeaders={},", additional.join(";"));
    }
    format!("{ALGORITHM} Credential={access_key_id}/{scope},{field}Signature={signature}")
}

/// The last signing key, since thousands of requests share it.
///
/// Kept by the identity of the credentials, so that no second copy of a secret exists to compare with.
#[derive(Default)]
pub(super) struct KeyOfTheDay(Mutex<Option<Slot>>);

struct Slot {
    credentials: Arc<Credentials>,
    day: String,
    key: Key,
}

impl KeyOfTheDay {
    pub(super) fn get(&self, credentials: &Arc<Credentials>, time: &str, region: &str) -> Key {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &*slot
            && Arc::ptr_eq(&kept.credentials, credentials)
            && kept.day == day(time)
        {
            return kept.key.clone();
        }
        let key = signing_key(credentials.secret().expose(), time, region);
        *slot = Some(Slot {
            credentials: Arc::clone(credentials),
            day: day(time).to_owned(),
            key: key.clone(),
        });
        key
    }
}

impl fmt::Debug for KeyOfTheDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyOfTheDay")
    }
}
