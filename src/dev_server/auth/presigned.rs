//! Signatures that travel in the query of a URL, of both versions.

use jiff::{SignedDuration, Timestamp};

use super::refusal::{malformed, no_date, url_expired};
use super::signature_v1::ClaimV1;
use super::signature_v4::{self, ClaimV4, Fields};
use super::{Claim, Form, Scheme, check_skew, wire};
use crate::dev_server::error::OssError;
use crate::dev_server::request::Incoming;

/// Seconds of the longest life of a version 4 URL: seven days (EC 0002-00000232).
const EXPIRES_SECONDS_MAX: i64 = 604_800;

/// Reads the signature of a URL; `None` if its query has none.
pub(super) fn claim(request: &Incoming, now: Timestamp) -> Result<Option<Claim>, OssError> {
    let query = wire::query(request);
    let has = |name| wire::find(&query, name).is_some();
    if has("x-oss-signature-version") || has("x-oss-signature") {
        version_4(&query, now).map(Some)
    } else if has("Signature") || has("OSSAccessKeyId") {
        version_1(&query, now).map(Some)
    } else {
        Ok(None)
    }
}

fn need<'a>(query: &'a [(String, String)], name: &str) -> Result<&'a str, OssError> {
    wire::find(query, name)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| malformed("", &format!("The query parameter {name} is missing.")))
}

fn version_4(query: &[(String, String)], now: Timestamp) -> Result<Claim, OssError> {
    if need(query, "x-oss-signature-version")? != signature_v4::ALGORITHM {
        return Err(malformed("", "The signature version is unknown."));
    }
    let claim = ClaimV4::new(&Fields {
        credential: need(query, "x-oss-credential")?,
        additional: wire::find(query, "x-oss-additional-headers"),
        signature: need(query, "x-oss-signature")?,
        date_time: need(query, "x-oss-date")?,
        form: Form::Url,
    })?;
    let seconds = need(query, "x-oss-expires")?
        .parse::<i64>()
        .ok()
        .filter(|seconds| (1..=EXPIRES_SECONDS_MAX).contains(seconds))
        .ok_or_else(|| {
            malformed(
                "0002-00000232",
                "x-oss-expires must be 1 to 604800 seconds.",
            )
        })?;
    // A URL that is not yet valid is a skewed clock; one that is over is refused by its own words.
    if claim.signed_at > now {
        check_skew(claim.signed_at, now)?;
    }
    let expires = claim.signed_at + SignedDuration::from_secs(seconds);
    if now > expires {
        return Err(url_expired(expires, now));
    }
    Ok(Claim {
        access_key_id: claim.access_key_id.clone(),
        token: wire::find(query, "x-oss-security-token").map(str::to_owned),
        scheme: Scheme::V4(claim),
    })
}

fn version_1(query: &[(String, String)], now: Timestamp) -> Result<Claim, OssError> {
    let access_key_id = need(query, "OSSAccessKeyId")?.to_owned();
    let date_line = need(query, "Expires")?.to_owned();
    let expires = date_line
        .parse()
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or_else(no_date)?;
    if now > expires {
        return Err(url_expired(expires, now));
    }
    Ok(Claim {
        access_key_id: access_key_id.clone(),
        token: wire::find(query, "security-token").map(str::to_owned),
        scheme: Scheme::V1(ClaimV1 {
            access_key_id,
            date_line,
            signature: need(query, "Signature")?.to_owned(),
        }),
    })
}
