//! What a file system says when it cannot do what was asked. The kernel's numbers for it are in `fuse`.

#![deny(clippy::wildcard_enum_match_arm)]

use std::sync::Arc;

use crate::object::KeyError;
use crate::oss::{self, Kind};
use crate::read;
use crate::tree;
use crate::write;

/// Why an operation has no result, by what its caller can do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// There is nothing of this name.
    #[error("no such file or directory")]
    NotFound,
    /// The name is longer than a file system or OSS can hold.
    #[error("the name is too long")]
    NameTooLong,
    /// A file where a directory is needed.
    #[error("not a directory")]
    NotADirectory,
    /// A directory where a file is needed.
    #[error("is a directory")]
    IsADirectory,
    /// The mount is read-only.
    #[error("the mount is read-only")]
    ReadOnly,
    /// The name is taken.
    #[error("the name is taken")]
    Exists,
    /// A directory that has entries cannot be removed or replaced.
    #[error("the directory is not empty")]
    NotEmpty,
    /// What was asked for makes no sense, or is not offered: the text says what.
    #[error("{0}")]
    Invalid(&'static str),
    /// What this file system has not, for anybody: the text says what.
    #[error("{0}")]
    NotPermitted(&'static str),
    /// lseek(2) found nothing from there on.
    #[error("no data and no hole from there on")]
    NoSuchOffset,
    /// There is no room for what this mount keeps by itself.
    #[error("{0}")]
    NoSpace(Arc<str>),
    /// The file would be larger than an object can be.
    #[error("the file would be larger than an object of OSS can be")]
    FileTooLarge,
    /// The bucket keeps the object as it is (its retention policy).
    #[error(transparent)]
    Retained(oss::Error),
    /// Somebody else has changed the object meanwhile, so what was written here was not stored over it.
    #[error("{0}")]
    Conflict(Arc<str>),
    /// The file has no such extended attribute.
    #[error("no such attribute")]
    NoAttribute,
    /// Extended attributes of other name spaces than `user.`.
    #[error("not supported")]
    NotSupported,
    /// A handle that is not open.
    #[error("no such handle")]
    BadHandle,
    /// The caller was killed or interrupted while it waited.
    #[error("interrupted")]
    Interrupted,
    /// The fetch that the caller waited for ended without a result, and so did those that came after it.
    #[error("the fetch was given up")]
    Abandoned,
    /// The inode is no longer what its name shows: the object was replaced or deleted. Look the name up again.
    #[error("{0}")]
    Stale(Arc<str>),
    /// The role may not; the text names the RAM action.
    #[error(transparent)]
    Denied(oss::Error),
    /// The object is archived; it has to be restored first.
    #[error(
        "{0}; restore the object (RestoreObject) or let the bucket's archived objects be read directly"
    )]
    Archived(oss::Error),
    /// The role's credentials ran out, and no new ones came within the hold.
    #[error(transparent)]
    CredentialsGone(oss::Error),
    /// OSS refuses the role's credentials, and refreshing them did not help.
    #[error(transparent)]
    CredentialsRefused(oss::Error),
    /// Retries are spent, or the bucket is gone.
    #[error(transparent)]
    Unavailable(oss::Error),
    /// The content is not what OSS announced.
    #[error("{0}")]
    Corrupt(Arc<str>),
}

impl Error {
    /// True for what happens in daily life and says nothing of the mount's health: it is logged at DEBUG.
    #[must_use]
    pub fn is_routine(&self) -> bool {
        match self {
            Self::NotFound
            | Self::NameTooLong
            | Self::NotADirectory
            | Self::IsADirectory
            | Self::ReadOnly
            | Self::Exists
            | Self::NotEmpty
            | Self::Invalid(_)
            | Self::NotPermitted(_)
            | Self::FileTooLarge
            | Self::NoSuchOffset
            | Self::NoAttribute
            | Self::NotSupported
            | Self::Interrupted
            // The kernel looks the name up again by itself; a reader who loses his file is logged in `files`.
            | Self::Stale(_) => true,
            Self::BadHandle
            | Self::Abandoned
            | Self::NoSpace(_)
            | Self::Retained(_)
            | Self::Conflict(_)
            | Self::Denied(_)
            | Self::Archived(_)
            | Self::CredentialsGone(_)
            | Self::CredentialsRefused(_)
            | Self::Unavailable(_)
            | Self::Corrupt(_) => false,
        }
    }
}

impl Error {
    /// What OSS said, if it was OSS that said no: for the fields of a log line.
    #[must_use]
    pub fn oss(&self) -> Option<&oss::Error> {
        match self {
            Self::Retained(error)
            | Self::Denied(error)
            | Self::Archived(error)
            | Self::CredentialsGone(error)
            | Self::CredentialsRefused(error)
            | Self::Unavailable(error) => Some(error),
            Self::NotFound
            | Self::NameTooLong
            | Self::NotADirectory
            | Self::IsADirectory
            | Self::ReadOnly
            | Self::Exists
            | Self::NotEmpty
            | Self::Invalid(_)
            | Self::NotPermitted(_)
            | Self::NoSuchOffset
            | Self::NoSpace(_)
            | Self::FileTooLarge
            | Self::Conflict(_)
            | Self::NoAttribute
            | Self::NotSupported
            | Self::BadHandle
            | Self::Interrupted
            | Self::Abandoned
            | Self::Stale(_)
            | Self::Corrupt(_) => None,
        }
    }
}

impl From<oss::Error> for Error {
    fn from(error: oss::Error) -> Self {
        match error.kind() {
            Kind::NotFound => Self::NotFound,
            Kind::Changed => Self::Stale(Arc::from(error.to_string())),
            Kind::Denied { .. } => Self::Denied(error),
            Kind::Archived => Self::Archived(error),
            Kind::CredentialsGone => Self::CredentialsGone(error),
            Kind::CredentialsRefused => Self::CredentialsRefused(error),
            Kind::Cancelled => Self::Interrupted,
            Kind::AlreadyExists => Self::Exists,
            Kind::Immutable => Self::Retained(error),
            Kind::TooLarge => Self::FileTooLarge,
            Kind::NoSuchBucket
            | Kind::ClockSkewed
            | Kind::WrongEndpoint { .. }
            | Kind::PublicEndpointForbidden
            | Kind::Suspended
            | Kind::Unsupported
            | Kind::Throttled
            | Kind::Unavailable
            | Kind::Lied
            | Kind::Invalid
            | Kind::NoSuchUpload
            | Kind::Corrupt => Self::Unavailable(error),
        }
    }
}

impl From<read::Error> for Error {
    fn from(error: read::Error) -> Self {
        match error {
            // A file that is open was there: gone now means that it was deleted.
            read::Error::Oss(error) if matches!(error.kind(), Kind::NotFound) => {
                Self::Stale(Arc::from(error.to_string()))
            }
            read::Error::Oss(error) => Self::from(error),
            read::Error::Corrupt { .. } => Self::Corrupt(Arc::from(error.to_string())),
            // Nobody has interrupted the caller: the fetch that it waited for has ended without a result.
            read::Error::Abandoned => Self::Abandoned,
        }
    }
}

impl From<write::Error> for Error {
    fn from(error: write::Error) -> Self {
        use write::Error as Write;
        match error {
            Write::NoRoom { .. } => Self::NoSpace(Arc::from(error.to_string())),
            Write::TooLong(_) => Self::FileTooLarge,
            Write::Conflict { .. } | Write::Taken(_) | Write::Lost(_) => {
                Self::Conflict(Arc::from(error.to_string()))
            }
            Write::Exists(_) => Self::Exists,
            Write::Unlinked => Self::Stale(Arc::from(error.to_string())),
            Write::Oss(error) => Self::from(error),
            Write::Fetch(ref failure) => match failure.downcast_ref::<read::Error>() {
                Some(read) => Self::from(read.clone()),
                None => Self::Corrupt(Arc::from(error.to_string())),
            },
            Write::UploadGone(_) | Write::Staging(_) => Self::Corrupt(Arc::from(error.to_string())),
        }
    }
}

/// Where OSS can have no key there is nothing.
impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::TooLong(_) => Self::NameTooLong,
            KeyError::Empty | KeyError::LeadingSlash | KeyError::NotADirectory => Self::NotFound,
        }
    }
}

impl From<tree::Stale> for Error {
    fn from(error: tree::Stale) -> Self {
        Self::Stale(Arc::from(error.to_string()))
    }
}

impl From<tree::PathError> for Error {
    fn from(error: tree::PathError) -> Self {
        match error {
            tree::PathError::Gone => Self::Stale(Arc::from(error.to_string())),
            tree::PathError::OtherKind => Self::NotADirectory,
            tree::PathError::Key(error) => error.into(),
        }
    }
}

impl From<tree::ChangeError> for Error {
    fn from(error: tree::ChangeError) -> Self {
        use tree::ChangeError;
        match error {
            ChangeError::Stale => Self::Stale(Arc::from(error.to_string())),
            ChangeError::NotFound => Self::NotFound,
            ChangeError::Exists(_) => Self::Exists,
            ChangeError::IsDirectory => Self::IsADirectory,
            ChangeError::NotDirectory => Self::NotADirectory,
            ChangeError::NotEmpty => Self::NotEmpty,
            ChangeError::Full => Self::NoSpace(Arc::from(error.to_string())),
            ChangeError::IntoItself => Self::Invalid("a directory cannot be moved into itself"),
        }
    }
}

impl From<tree::OverlayError> for Error {
    fn from(error: tree::OverlayError) -> Self {
        match error {
            tree::OverlayError::Stale(stale) => stale.into(),
            tree::OverlayError::Full => Self::NoSpace(Arc::from(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Prefix;

    #[test]
    fn a_name_that_no_key_has_is_not_there() {
        let error = |name: &str| Prefix::root().object(name).map_err(Error::from);
        assert!(matches!(error("\\x"), Err(Error::NotFound)));
        assert!(matches!(error(&"x".repeat(1024)), Err(Error::NameTooLong)));
    }
}
