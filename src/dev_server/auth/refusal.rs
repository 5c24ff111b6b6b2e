//! The refusals of this room: codes, statuses and messages as OSS words them.
//!
//! From the help pages "OSS 403", the `EC` pages and public issues; what none of them shows is said at the function.

use jiff::Timestamp;

use super::SKEW_MAX;
use crate::dev_server::error::OssError;

/// 403 for a request that carries no signature at all.
pub(super) fn anonymous() -> OssError {
    OssError::new(
        403,
        "AccessDenied",
        "You have no right to access this object because of bucket acl.",
        "0003-00000001",
    )
}

/// 403 of a policy. The message of OSS names no action; this one does, for whoever debugs a role.
pub(super) fn denied(action: &str) -> OssError {
    OssError::new(
        403,
        "AccessDenied",
        format!("You have no right to access this object: the role may not {action}."),
        "0003-00000001",
    )
}

/// 403 for a signature that names no date.
pub(super) fn no_date() -> OssError {
    let message = "OSS authentication requires a valid Date.";
    OssError::new(403, "AccessDenied", message, "")
}

/// 400 for an authorization that cannot be read. Which `EC` belongs to which defect is not public for all of them.
pub(super) fn malformed(ec: &'static str, message: &str) -> OssError {
    OssError::new(400, "InvalidArgument", message, ec)
}

/// 403 for a clock that is more than [`SKEW_MAX`] away. The extra elements are as S3 has them (unconfirmed).
pub(super) fn skewed(signed_at: Timestamp, now: Timestamp) -> OssError {
    OssError::new(
        403,
        "RequestTimeTooSkewed",
        "The difference between the request time and the current time is too large.",
        "",
    )
    .with(
        "MaxAllowedSkewMilliseconds",
        SKEW_MAX.as_millis().to_string(),
    )
    .with("RequestTime", millis(signed_at))
    .with("ServerTime", millis(now))
}

/// 403 for a URL whose time is over.
pub(super) fn url_expired(expires: Timestamp, now: Timestamp) -> OssError {
    OssError::new(403, "AccessDenied", "Request has expired.", "")
        .with("Expires", millis(expires))
        .with("ServerTime", millis(now))
}

fn millis(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

/// 403 for a key that was never issued or is forgotten; that includes a temporary key long past its end.
pub(super) fn unknown_key(id: &str) -> OssError {
    OssError::new(
        403,
        "InvalidAccessKeyId",
        "The OSS Access Key Id you provided does not exist in our records.",
        "0002-00000002",
    )
    .with("OSSAccessKeyId", id)
}

/// 403 for a token past its expiration. The body echoes the token: a client that logs bodies leaks it.
pub(super) fn token_expired(id: &str, token: &str) -> OssError {
    OssError::new(
        403,
        "SecurityTokenExpired",
        "The security token you provided has expired.",
        "0002-00000007",
    )
    .with("OSSAccessKeyId", id)
    .with("SecurityToken", token)
}

/// 403 for a token nobody issued.
pub(super) fn unknown_token(token: &str) -> OssError {
    let message = "The security token you provided is invalid.";
    OssError::new(403, "InvalidSecurityToken", message, "").with("SecurityToken", token)
}

/// 403 for a key of one set with the token of another: what a torn read of the credentials looks like.
pub(super) fn torn_set(id: &str) -> OssError {
    OssError::new(
        403,
        "AccessKeyIdAndSecurityTokenNotMatch",
        "The AccessKeyId and the security token do not belong together.",
        "",
    )
    .with("OSSAccessKeyId", id)
}

/// 403 for a signature that differs from the one computed here.
pub(super) fn mismatch(
    id: &str,
    provided: &str,
    string_to_sign: &str,
    canonical: Option<String>,
) -> OssError {
    let bytes = string_to_sign.bytes().map(|byte| format!("{byte:02X}"));
    let mut error = OssError::new(
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
        "0002-00000040",
    )
    .with("OSSAccessKeyId", id)
    .with("SignatureProvided", provided)
    .with("StringToSign", string_to_sign)
    .with("StringToSignBytes", bytes.collect::<Vec<_>>().join(" "));
    if let Some(text) = canonical {
        error = error.with("CanonicalRequest", text);
    }
    error
}
