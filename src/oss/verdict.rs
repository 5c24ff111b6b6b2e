//! What each failed attempt means: to the caller ([`Kind`]) and to the retry loop ([`Retry`]).
//!
//! One table for answers of OSS (status and code; OSS help "Error codes" and what its official clients retry), one for
//! everything else that can go wrong in an attempt.

#![deny(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use super::error::{Cause, Evidence, Kind};
use crate::credentials;
use crate::transport;

/// What is asked of OSS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// GetObject
    Get,
    /// HeadObject
    Head,
    /// ListObjectsV2
    List,
    /// GetBucketInfo
    Info,
    /// Opening a bucket: nothing is sent.
    Open,
}

impl Operation {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Get => "get object",
            Self::Head => "head object",
            Self::List => "list objects",
            Self::Info => "get bucket info",
            Self::Open => "open bucket",
        }
    }

    /// The RAM action that allows it (OSS help "RAM policy", table of actions).
    fn action(self) -> &'static str {
        match self {
            Self::Get | Self::Head => "oss:GetObject",
            Self::List => "oss:ListObjects",
            Self::Info | Self::Open => "oss:GetBucketInfo",
        }
    }

    /// True if it is about one object: then a 404 without a code is about the object.
    fn is_of_an_object(self) -> bool {
        match self {
            Self::Get | Self::Head => true,
            Self::List | Self::Info | Self::Open => false,
        }
    }
}

/// What the retry loop does about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// Nothing helps.
    Never,
    /// Try a few times: repetition hardly helps.
    Few,
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
            Self::Stalled(_) | Self::Short => (Kind::Unavailable, Retry::Backoff),
            Self::Lie(..) => (Kind::Lied, Retry::Few),
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
            Self::Lie(detail, evidence) => (
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
        "PreconditionFailed" => (Kind::Changed, Retry::Never),
        "InvalidTargetType" | "NotImplemented" | "OperationNotSupported" | "MethodNotAllowed" => {
            (Kind::Unsupported, Retry::Never)
        }
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
