//! What a caller of this room can be told.

use std::fmt;
use std::sync::Arc;

use super::operation::Operation;
use crate::object::ObjectKey;

/// Why a request has no result, by what its caller can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// There is no object of this key (or a symbolic link of OSS points to none).
    NotFound,
    /// The object at this key is another version, or to an append of another length, than the one asked for.
    Changed,
    /// There is an object of this key, and it was not to be overwritten.
    AlreadyExists,
    /// The bucket keeps the object from being changed or deleted until a date (its retention policy).
    Immutable,
    /// There is no such multipart upload: it was completed, aborted, or never was.
    NoSuchUpload,
    /// The object, or the part, is larger than this operation takes.
    TooLarge,
    /// What OSS stored is not what was sent: the checksums differ. After a put, copy, append or completion the object is there, with
    /// wrong bytes: write it again or delete it.
    Corrupt,
    /// The role may not do this: a RAM policy has to allow the action.
    Denied {
        /// The RAM action that was refused, `oss:GetObject` for instance.
        action: &'static str,
    },
    /// There is no such bucket.
    NoSuchBucket,
    /// The object is archived and has to be restored first.
    Archived,
    /// The account or the bucket is suspended: in debt, disabled, or a service it needs is not enabled.
    Suspended,
    /// No live credentials could be had in time.
    CredentialsGone,
    /// OSS refuses the credentials, and no others are to be had.
    CredentialsRefused,
    /// The local clock is off by more than OSS accepts, and correcting it did not help.
    ClockSkewed,
    /// The bucket is served by another endpoint.
    WrongEndpoint {
        /// The one that serves it, if the answer named it.
        right: Option<String>,
    },
    /// This account may not read data through the public endpoint: the internal one, or an own domain, is needed.
    PublicEndpointForbidden,
    /// This bucket or object does not know the operation.
    Unsupported,
    /// OSS asked to slow down until patience was spent.
    Throttled,
    /// No useful answer came until patience was spent.
    Unavailable,
    /// The server contradicted itself or the request, again and again.
    Lied,
    /// The request itself is wrong: a repetition would fail too.
    Invalid,
    /// Nobody wants the result any more.
    Cancelled,
}

/// What the server, or the way to it, said: the part of an error that logs need.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    /// HTTP status of the last answer.
    pub(super) status: Option<u16>,
    /// OSS's code, or empty.
    pub(super) code: String,
    /// `x-oss-request-id`
    pub(super) request_id: Option<String>,
    /// `x-oss-ec`
    pub(super) ec: Option<String>,
    /// A short text of ours or OSS's short message; never a body.
    pub(super) detail: String,
}

/// What an error was caused by.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
struct Report {
    operation: Operation,
    /// The key, or what else the request was about.
    subject: String,
    key: Option<ObjectKey>,
    kind: Kind,
    evidence: Evidence,
    attempts: u32,
    source: Option<Cause>,
}

/// A request that failed for good. Cheap to clone: all who wait for one request are told the same.
///
/// Display is one line: what, on which key, OSS's code and status, request id, attempts. It never shows a body, a URL
/// or a secret.
#[derive(Debug, Clone)]
pub struct Error(Arc<Report>);

impl Error {
    pub(super) fn new(
        operation: Operation,
        key: Option<&ObjectKey>,
        kind: Kind,
        evidence: Evidence,
        attempts: u32,
        source: Option<Cause>,
    ) -> Self {
        Self(Arc::new(Report {
            operation,
            subject: key.map_or_else(String::new, |key| format!(" {key}")),
            key: key.cloned(),
            kind,
            evidence,
            attempts,
            source,
        }))
    }

    /// A request that was wrong before it was sent.
    pub(super) fn invalid(
        operation: Operation,
        key: Option<&ObjectKey>,
        detail: impl Into<String>,
    ) -> Self {
        Self::unsent(operation, key, Kind::Invalid, detail)
    }

    /// A request that was not sent, since it would fail.
    pub(super) fn unsent(
        operation: Operation,
        key: Option<&ObjectKey>,
        kind: Kind,
        detail: impl Into<String>,
    ) -> Self {
        let evidence = Evidence {
            detail: detail.into(),
            ..Evidence::default()
        };
        Self::new(operation, key, kind, evidence, 0, None)
    }

    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// What was asked, in words: `get object`.
    #[must_use]
    pub fn op(&self) -> &'static str {
        self.0.operation.words()
    }

    /// The object it was about, if it was about one.
    #[must_use]
    pub fn key(&self) -> Option<&ObjectKey> {
        self.0.key.as_ref()
    }

    /// HTTP status of the last answer; `None` if none came.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.evidence.status
    }

    /// OSS's code of the last answer, `NoSuchKey` for instance.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        let code = self.0.evidence.code.as_str();
        (!code.is_empty()).then_some(code)
    }

    /// What Alibaba's support asks for.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.evidence.request_id.as_deref()
    }

    /// OSS's fine code, `0002-00000007` for instance.
    #[must_use]
    pub fn ec(&self) -> Option<&str> {
        self.0.evidence.ec.as_deref()
    }

    /// Requests sent; 0 if none was.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            evidence, attempts, ..
        } = &*self.0;
        write!(f, "{}{}: ", self.op(), self.0.subject)?;
        match (evidence.code.as_str(), evidence.status) {
            ("", None) => {}
            ("", Some(status)) => write!(f, "status {status}, ")?,
            (code, Some(status)) => write!(f, "{code} ({status}), ")?,
            (code, None) => write!(f, "{code}, ")?,
        }
        f.write_str(match self.kind() {
            Kind::Cancelled => "cancelled",
            Kind::Unavailable if evidence.detail.is_empty() => "no useful answer",
            _ => &evidence.detail,
        })?;
        if let Some(id) = &evidence.request_id {
            write!(f, ", request id {id}")?;
        }
        match attempts {
            0 => Ok(()),
            1 => f.write_str(", after 1 attempt"),
            _ => write!(f, ", after {attempts} attempts"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}
