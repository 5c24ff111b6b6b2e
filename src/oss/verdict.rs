//! What each failed attempt means: to the caller ([`Kind`]) and to the retry loop ([`Retry`]).
//!
//! One table for answers of OSS (status and code; OSS help "Error codes" and what its official clients retry), one for
//! everything else that can go wrong in an attempt.

#![deny(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use super::error::{Cause, Evidence, Kind};
use super::operation::Operation;
use crate::credentials;
use crate::transport;

/// What the retry loop does about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// Nothing helps.
    Never,
    /// Try a few times: repetition hardly helps.
    Few,
    /// Try once more: if that fails too, it is not the wire.
    Once,
    /// Try again now: nothing has failed yet.
    AtOnce,
    /// Try again after a random wait.
    Backoff,
    /// The same with longer waits.
    Throttle,
    /// Other credentials, then again.
    Credentials,
    /// The server's clock, then again.
    Clock,
}

/// An answer of OSS that is no success.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    pub(super) evidence: Evidence,
    /// The right endpoint, if the answer names one.
    pub(super) endpoint: Option<String>,
    /// `Date` of the answer.
    pub(super) date: Option<jiff::Timestamp>,
    /// How long the server asks to wait.
    pub(super) wait: Option<Duration>,
}

/// Why one attempt brought nothing, or not enough.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection could not be made, or broke.
    Transport(transport::Error),
    /// Nothing came for a time-out; says what was waited for.
    Stalled(&'static str),
    /// A body stood still for longer than usual, and is better asked for again.
    Late,
    /// The body ended before its time.
    Short,
    /// The answer contradicts itself or the request; says how.
    Lie(String, Box<Evidence>),
    /// What OSS stored has another checksum than what was sent; says both.
    Corrupt(String, Box<Evidence>),
    /// The effect of an attempt whose answer was lost does not show.
    NotYet,
    /// Data of another version came although `If-Match` forbids it.
    OtherVersion(Box<Evidence>),
    /// OSS answered with an error.
    Refused(Box<Refusal>),
    /// There are no credentials to sign with.
    CredentialsGone(Box<credentials::Error>),
    /// The credentials were refused and not replaced.
    NotReplaced(Option<Box<credentials::Error>>, Box<Refusal>),
    /// The request cannot be made.
    Invalid(String),
}

impl Failure {
    pub(super) fn verdict(&self, operation: Operation) -> (Kind, Retry) {
        match self {
            Self::Transport(error) => match error {
                transport::Error::Setup(_) => (Kind::Invalid, Retry::Never),
                transport::Error::TooLong { .. } => (Kind::Lied, Retry::Few),
                transport::Error::Connect { .. } | transport::Error::Broken { .. } => {
                    (Kind::Unavailable, Retry::Backoff)
                }
            },
            Self::Late => (Kind::Unavailable, Retry::AtOnce),
            Self::Stalled(_) | Self::Short | Self::NotYet => (Kind::Unavailable, Retry::Backoff),
            Self::Lie(..) => (Kind::Lied, Retry::Few),
            Self::Corrupt(..) if operation.can_store_again() => (Kind::Corrupt, Retry::Once),
            Self::Corrupt(..) => (Kind::Corrupt, Retry::Never),
            // A server that ignores If-Match. If it insists, what can be known is that the version is another one.
            Self::OtherVersion(_) => (Kind::Changed, Retry::Few),
            Self::Refused(refusal) => {
                let Evidence { status, code, .. } = &refusal.evidence;
                classify(operation, status.unwrap_or(0), code, &refusal.endpoint)
            }
            Self::CredentialsGone(_) => (Kind::CredentialsGone, Retry::Never),
            Self::NotReplaced(..) => (Kind::CredentialsRefused, Retry::Never),
            Self::Invalid(_) => (Kind::Invalid, Retry::Never),
        }
    }

    /// True if the request may have had its effect although this is what came of it.
    pub(super) fn may_have_happened(&self) -> bool {
        match self {
            Self::Transport(error) => match error {
                transport::Error::Setup(_) | transport::Error::Connect { .. } => false,
                transport::Error::TooLong { .. } | transport::Error::Broken { .. } => true,
            },
            Self::Late
            | Self::Stalled(_)
            | Self::Short
            | Self::Lie(..)
            | Self::Corrupt(..)
            | Self::OtherVersion(_) => true,
            // A gateway that gave up, or a server that failed after its work.
            Self::Refused(refusal) => refusal.evidence.status.is_none_or(|status| status >= 500),
            Self::NotYet | Self::CredentialsGone(_) | Self::NotReplaced(..) | Self::Invalid(_) => {
                false
            }
        }
    }

    /// What an error shows of this, and its cause.
    pub(super) fn explain(self) -> (Evidence, Option<Cause>) {
        let text = |detail: &str| Evidence {
            detail: detail.to_owned(),
            ..Evidence::default()
        };
        match self {
            Self::Transport(error) => (text("no answer"), Some(Box::new(error))),
            Self::Stalled(what) => (text(&format!("{what} within the time-out")), None),
            Self::Late => (text("the body stood still"), None),
            Self::Short => (text("the body ended early"), None),
            Self::Lie(detail, evidence) | Self::Corrupt(detail, evidence) => (
                Evidence {
                    detail,
                    ..*evidence
                },
                None,
            ),
            Self::OtherVersion(evidence) => {
                let detail = "the answer is of another version".to_owned();
                (
                    Evidence {
                        detail,
                        ..*evidence
                    },
                    None,
                )
            }
            Self::NotYet => (text("its effect does not show"), None),
            Self::Refused(refusal) => (refusal.evidence, None),
            Self::CredentialsGone(error) => (text("no live credentials"), Some(error)),
            Self::NotReplaced(error, refusal) => {
                (refusal.evidence, error.map(|error| error as Cause))
            }
            Self::Invalid(detail) => (text(&detail), None),
        }
    }
}

/// The table of OSS's answers.
fn classify(
    operation: Operation,
    status: u16,
    code: &str,
    endpoint: &Option<String>,
) -> (Kind, Retry) {
    let action = operation.action();
    let wrong_endpoint = || Kind::WrongEndpoint {
        right: endpoint.clone(),
    };
    match code {
        "SecurityTokenExpired"
        | "InvalidSecurityToken"
        | "MissingSecurityToken"
        | "InvalidAccessKeyId"
        | "AccessKeyIdAndSecurityTokenNotMatch"
        | "SignatureDoesNotMatch" => (Kind::CredentialsRefused, Retry::Credentials),
        "RequestTimeTooSkewed" => (Kind::ClockSkewed, Retry::Clock),
        // "The bucket you are attempting to access must be addressed using the specified endpoint."
        "AccessDenied" if endpoint.is_some() => (wrong_endpoint(), Retry::Never),
        "AccessDenied" => (Kind::Denied { action }, Retry::Never),
        "InvalidObjectState" => (Kind::Archived, Retry::Never),
        "UserDisable"
        | "InDebt"
        | "InDebtOverdue"
        | "AbnormalBucketOwnerStatus"
        | "BucketDisable"
        | "KmsServiceNotEnabled" => (Kind::Suspended, Retry::Never),
        "SecondLevelDomainForbidden"
        | "NonStandardHostForbidden"
        | "PermanentRedirect"
        | "TemporaryRedirect" => (wrong_endpoint(), Retry::Never),
        "PublicEndpointForbidden" => (Kind::PublicEndpointForbidden, Retry::Never),
        "NoSuchBucket" => (Kind::NoSuchBucket, Retry::Never),
        "NoSuchKey" | "NoSuchVersion" | "SymlinkTargetNotExist" => (Kind::NotFound, Retry::Never),
        "NoSuchUpload" => (Kind::NoSuchUpload, Retry::Never),
        // Another writer was faster: the version, or the length of what is appended to, is not what it was.
        "PreconditionFailed" | "PositionNotEqualToLength" => (Kind::Changed, Retry::Never),
        "FileAlreadyExists" | "ObjectAlreadyExists" => (Kind::AlreadyExists, Retry::Never),
        "FileImmutable" => (Kind::Immutable, Retry::Never),
        "EntityTooLarge" => (Kind::TooLarge, Retry::Never),
        "InvalidTargetType"
        | "NotImplemented"
        | "OperationNotSupported"
        | "ObjectNotAppendable"
        | "MethodNotAllowed" => (Kind::Unsupported, Retry::Never),
        // What arrived is not what Content-MD5 says.
        "InvalidDigest" => (Kind::Corrupt, Retry::Once),
        "RequestTimeout" | "InternalError" => (Kind::Unavailable, Retry::Backoff),
        // The official clients repeat it, without a reason given.
        "BadRequest" => (Kind::Invalid, Retry::Few),
        "SlowDown" => (Kind::Throttled, Retry::Throttle),
        // TotalQpsLimitExceeded, DownloadTrafficRateLimitExceeded, ActiveRequestLimitExceeded, CpuLimitExceeded, …
        limit if limit.ends_with("LimitExceeded") && status >= 429 => {
            (Kind::Throttled, Retry::Throttle)
        }
        _ => by_status(operation, status, !code.is_empty(), wrong_endpoint()),
    }
}

/// The table of statuses whose code says nothing, or is missing.
fn by_status(
    operation: Operation,
    status: u16,
    has_code: bool,
    wrong_endpoint: Kind,
) -> (Kind, Retry) {
    let action = operation.action();
    match status {
        301 | 302 | 307 | 308 => (wrong_endpoint, Retry::Never),
        // No condition of ours can be answered with 304, and no other status below 400 is a success.
        0..400 => (Kind::Lied, Retry::Few),
        401 => (Kind::CredentialsRefused, Retry::Few),
        403 => (Kind::Denied { action }, Retry::Never),
        // HEAD has no body, and OSS's x-oss-err may be lost on the way. Elsewhere a 404 without a code is not OSS's.
        404 if operation == Operation::Head => (Kind::NotFound, Retry::Never),
        404 if has_code && operation.is_of_an_object() => (Kind::NotFound, Retry::Never),
        404 => (Kind::Lied, Retry::Few),
        405 | 501 => (Kind::Unsupported, Retry::Never),
        408 => (Kind::Unavailable, Retry::Backoff),
        412 => (Kind::Changed, Retry::Never),
        // Every range asked for lies within the version, so this is another version.
        416 => (Kind::Changed, Retry::Never),
        429 => (Kind::Throttled, Retry::Throttle),
        400..500 => (Kind::Invalid, Retry::Never),
        500.. => (Kind::Unavailable, Retry::Backoff),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(operation: Operation, status: u16, code: &str) -> (Kind, Retry) {
        let mut refusal = Box::new(Refusal::default());
        refusal.evidence.status = Some(status);
        refusal.evidence.code = code.to_owned();
        Failure::Refused(refusal).verdict(operation)
    }

    #[test]
    fn every_code_of_the_wire_has_its_meaning() {
        let denied = Kind::Denied {
            action: "oss:GetObject",
        };
        let elsewhere = Kind::WrongEndpoint { right: None };
        for (status, code, kind, retry) in [
            (400, "InvalidArgument", Kind::Invalid, Retry::Never),
            (400, "InvalidBucketName", Kind::Invalid, Retry::Never),
            (400, "RequestTimeout", Kind::Unavailable, Retry::Backoff),
            (400, "BadRequest", Kind::Invalid, Retry::Few),
            (
                400,
                "PublicEndpointForbidden",
                Kind::PublicEndpointForbidden,
                Retry::Never,
            ),
            (400, "InvalidTargetType", Kind::Unsupported, Retry::Never),
            (400, "NotImplemented", Kind::Unsupported, Retry::Never),
            (401, "", Kind::CredentialsRefused, Retry::Few),
            (403, "AccessDenied", denied.clone(), Retry::Never),
            (403, "", denied.clone(), Retry::Never),
            (403, "SomethingNew", denied, Retry::Never),
            (
                403,
                "SecurityTokenExpired",
                Kind::CredentialsRefused,
                Retry::Credentials,
            ),
            (
                403,
                "InvalidSecurityToken",
                Kind::CredentialsRefused,
                Retry::Credentials,
            ),
            (
                403,
                "InvalidAccessKeyId",
                Kind::CredentialsRefused,
                Retry::Credentials,
            ),
            (
                403,
                "AccessKeyIdAndSecurityTokenNotMatch",
                Kind::CredentialsRefused,
                Retry::Credentials,
            ),
            (
                403,
                "SignatureDoesNotMatch",
                Kind::CredentialsRefused,
                Retry::Credentials,
            ),
            (403, "RequestTimeTooSkewed", Kind::ClockSkewed, Retry::Clock),
            (403, "InvalidObjectState", Kind::Archived, Retry::Never),
            (403, "UserDisable", Kind::Suspended, Retry::Never),
            (
                403,
                "SecondLevelDomainForbidden",
                elsewhere.clone(),
                Retry::Never,
            ),
            (301, "", elsewhere, Retry::Never),
            (404, "NoSuchKey", Kind::NotFound, Retry::Never),
            (404, "SymlinkTargetNotExist", Kind::NotFound, Retry::Never),
            (404, "NoSuchBucket", Kind::NoSuchBucket, Retry::Never),
            (404, "", Kind::Lied, Retry::Few),
            (405, "MethodNotAllowed", Kind::Unsupported, Retry::Never),
            (408, "", Kind::Unavailable, Retry::Backoff),
            (412, "PreconditionFailed", Kind::Changed, Retry::Never),
            (412, "", Kind::Changed, Retry::Never),
            (416, "InvalidRange", Kind::Changed, Retry::Never),
            (429, "", Kind::Throttled, Retry::Throttle),
            (500, "InternalError", Kind::Unavailable, Retry::Backoff),
            (501, "", Kind::Unsupported, Retry::Never),
            (502, "", Kind::Unavailable, Retry::Backoff),
            (503, "ServiceUnavailable", Kind::Unavailable, Retry::Backoff),
            (
                503,
                "TotalQpsLimitExceeded",
                Kind::Throttled,
                Retry::Throttle,
            ),
            (
                503,
                "DownloadTrafficRateLimitExceeded",
                Kind::Throttled,
                Retry::Throttle,
            ),
            (503, "SlowDown", Kind::Throttled, Retry::Throttle),
            (304, "", Kind::Lied, Retry::Few),
            (204, "", Kind::Lied, Retry::Few),
        ] {
            assert_eq!(
                of(Operation::Get, status, code),
                (kind, retry),
                "{status} {code}"
            );
        }
    }

    #[test]
    fn every_code_of_a_write_has_its_meaning() {
        for (status, code, kind, retry) in [
            (400, "EntityTooLarge", Kind::TooLarge, Retry::Never),
            (400, "EntityTooSmall", Kind::Invalid, Retry::Never),
            (400, "InvalidDigest", Kind::Corrupt, Retry::Once),
            (400, "InvalidPart", Kind::Invalid, Retry::Never),
            (404, "NoSuchUpload", Kind::NoSuchUpload, Retry::Never),
            (409, "FileAlreadyExists", Kind::AlreadyExists, Retry::Never),
            (409, "FileImmutable", Kind::Immutable, Retry::Never),
            (409, "ObjectNotAppendable", Kind::Unsupported, Retry::Never),
            (409, "PositionNotEqualToLength", Kind::Changed, Retry::Never),
        ] {
            assert_eq!(
                of(Operation::Complete, status, code),
                (kind, retry),
                "{status} {code}"
            );
        }
    }

    #[test]
    fn a_bare_404_is_a_missing_object_only_for_a_head() {
        assert_eq!(of(Operation::Head, 404, "").0, Kind::NotFound);
        assert_eq!(of(Operation::List, 404, "").0, Kind::Lied);
        assert_eq!(of(Operation::List, 404, "SomethingNew").0, Kind::Lied);
    }

    #[test]
    fn a_refusal_names_the_action_that_is_missing() {
        let action = |operation| {
            let Kind::Denied { action } = of(operation, 403, "AccessDenied").0 else {
                panic!("not denied");
            };
            action
        };
        assert_eq!(action(Operation::Head), "oss:GetObject");
        assert_eq!(action(Operation::List), "oss:ListObjects");
        assert_eq!(action(Operation::Info), "oss:GetBucketInfo");
        assert_eq!(action(Operation::Complete), "oss:PutObject");
        assert_eq!(action(Operation::DeleteBatch), "oss:DeleteObject");
        assert_eq!(action(Operation::Abort), "oss:AbortMultipartUpload");
    }

    #[test]
    fn only_what_leaves_doubt_may_have_happened() {
        let refused = |status| {
            let mut refusal = Box::new(Refusal::default());
            refusal.evidence.status = Some(status);
            Failure::Refused(refusal)
        };
        assert!(refused(500).may_have_happened());
        assert!(refused(504).may_have_happened());
        assert!(!refused(403).may_have_happened());
        assert!(!refused(409).may_have_happened());
        assert!(Failure::Stalled("no answer").may_have_happened());
        let (host, reason) = (String::new(), String::new());
        let broken = transport::Error::Broken {
            host: host.clone(),
            reason: reason.clone(),
        };
        assert!(Failure::Transport(broken).may_have_happened());
        let unconnected = transport::Error::Connect { host, reason };
        assert!(!Failure::Transport(unconnected).may_have_happened());
    }

    #[test]
    fn what_cannot_be_sent_again_is_corrupt_at_once() {
        let verdict =
            |operation| Failure::Corrupt(String::new(), Box::default()).verdict(operation);
        assert_eq!(verdict(Operation::Put), (Kind::Corrupt, Retry::Once));
        assert_eq!(verdict(Operation::Append), (Kind::Corrupt, Retry::Never));
        assert_eq!(verdict(Operation::Complete), (Kind::Corrupt, Retry::Never));
    }

    #[test]
    fn access_denied_with_an_endpoint_is_the_wrong_endpoint() {
        let mut refusal = Box::new(Refusal::default());
        refusal.evidence.status = Some(403);
        refusal.evidence.code = "AccessDenied".to_owned();
        refusal.endpoint = Some("oss-cn-beijing.aliyuncs.com".to_owned());
        let right = refusal.endpoint.clone();
        assert_eq!(
            Failure::Refused(refusal).verdict(Operation::List),
            (Kind::WrongEndpoint { right }, Retry::Never)
        );
    }
}
