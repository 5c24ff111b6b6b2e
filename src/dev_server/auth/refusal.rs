//! The refusals of this room: codes, statuses and messages as OSS words them.
//!
//! From the help pages "OSS 403", the `EC` pages and public issues; what none of them shows is said at the function.

use jiff::Timestamp;

use super::SKEW_MAX;
use crate::dev_server::error::OssError;

fn refusal(status: u16, code: &'static str, ec: &'static str, message: &str) -> OssError {
    let mut error = OssError::new(status, code, message);
    error.ec = ec;
    error
}

/// 403 for a request that carries no signature at all.
pub(super) fn anonymous() -> OssError {
    refusal(
        403,
        "AccessDenied",
        "0003-00000001",
        "You have no right to access this object because of bucket acl.",
    )
}

/// 403 of a policy. The message of OSS names no action; this one does, for whoever debugs a role.
pub(super) fn denied(action: &str) -> OssError {
    refusal(
        403,
        "AccessDenied",
        "0003-00000001",
        &format!("You have no right to access this object: the role may not {action}."),
    )
}

/// 403 for a signature that names no date.
pub(super) fn no_date() -> OssError {
    OssError::new(
        403,
        "AccessDenied",
        "OSS authentication requires a valid Date.",
    )
}

/// 400 for an authorization that cannot be read. Which `EC` belongs to which defect is not public for all of them.
pub(super) fn malformed(ec: &'static str, message: &str) -> OssError {
    refusal(400, "InvalidArgument", ec, message)
}

/// 403 for a clock that is more than [`SKEW_MAX`] away. The extra elements are as S3 has them (unconfirmed).
pub(super) fn skewed(signed_at: Timestamp, now: Timestamp) -> OssError {
    let mut error = OssError::new(
        403,
        "RequestTimeTooSkewed",
        "The difference between the request time and the current time is too large.",
    );
    error.extra = vec![
        (
            "MaxAllowedSkewMilliseconds",
            SKEW_MAX.as_millis().to_string(),
        ),
        ("RequestTime", millis(signed_at)),
        ("ServerTime", millis(now)),
    ];
    error
}

/// 403 for a URL whose time is over.
pub(super) fn url_expired(expires: Timestamp, now: Timestamp) -> OssError {
    let mut error = OssError::new(403, "AccessDenied", "Request has expired.");
    error.extra = vec![("Expires", millis(expires)), ("ServerTime", millis(now))];
    error
}

fn millis(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

/// 403 for a key that was never issued or is forgotten; that includes a temporary key long past its end.
pub(super) fn unknown_key(id: &str) -> OssError {
    let mut error = refusal(
        403,
        "InvalidAccessKeyId",
        "0002-00000002",
        "The OSS Access Key Id you provided does not exist in our records.",
    );
    error.extra = vec![("OSSAccessKeyId", id.to_owned())];
    error
}

/// 403 for a token past its expiration. The body echoes the token: a client that logs bodies leaks it.
pub(super) fn token_expired(id: &str, token: &str) -> OssError {
    let mut error = refusal(
        403,
        "SecurityTokenExpired",
        "0002-00000007",
        "The security token you provided has expired.",
    );
    error.extra = vec![
        ("OSSAccessKeyId", id.to_owned()),
        ("SecurityToken", token.to_owned()),
    ];
    error
}

/// 403 for a token nobody issued.
pub(super) fn unknown_token(token: &str) -> OssError {
    let mut error = OssError::new(
        403,
        "InvalidSecurityToken",
        "The security token you provided is invalid.",
    );
    error.extra = vec![("SecurityToken", token.to_owned())];
    error
}

/// 403 for a key of one set with the token of another: what a torn read of the credentials looks like.
pub(super) fn torn_set(id: &str) -> OssError {
    let mut error = OssError::new(
        403,
        "AccessKeyIdAndSecurityTokenNotMatch",
        "The AccessKeyId and the security token do not belong together.",
    );
    error.extra = vec![("OSSAccessKeyId", id.to_owned())];
    error
}

/// 403 for a signature that differs from the one computed here.
pub(super) fn mismatch(
    id: &str,
    provided: &str,
    string_to_sign: &str,
    canonical: Option<String>,
) -> OssError {
    let mut error = refusal(
        403,
        "SignatureDoesNotMatch",
        "0002-00000040",
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    );
    let bytes: Vec<String> = string_to_sign
        .bytes()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    error.extra = vec![
        ("OSSAccessKeyId", id.to_owned()),
        ("SignatureProvided", provided.to_owned()),
        ("StringToSign", string_to_sign.to_owned()),
        ("StringToSignBytes", bytes.join(" ")),
    ];
    error
        .extra
        .extend(canonical.map(|text| ("CanonicalRequest", text)));
    error
}
