//! Why there are no credentials to sign with, by what the caller can do about it.

use jiff::Timestamp;

use super::Source;
use crate::transport;

/// Why there are no credentials to sign with. No text contains a secret, or the body of an answer or a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was found anywhere: the job has no role, or the wrong place was named.
    #[error(
        "no credentials: {looked_at}; give the job a RAM role, or name a source with --credentials"
    )]
    NotInjected {
        /// Each place and what was wrong with it.
        looked_at: String,
    },
    /// Something was found, and it cannot be used.
    #[error("credentials cannot be used: {reason}")]
    Unusable {
        /// The source that came nearest to giving a set.
        origin: Source,
        /// Each place and what was wrong with it.
        reason: String,
    },
    /// The last set expired and no new one came within the hold bound.
    #[error("credentials are gone since {since} and no new ones came: {reason}")]
    Gone {
        /// When the last set expired.
        since: Timestamp,
        /// Each place and what was wrong with it.
        reason: String,
    },
    /// The server refuses the set although it has not expired, and no other came within the hold bound.
    #[error("credentials {access_key_id} were refused and no others came: {reason}")]
    Refused {
        /// The shortened key id of the refused set.
        access_key_id: String,
        /// Each place and what was wrong with it.
        reason: String,
    },
    /// The room cannot be set up.
    #[error("cannot set up credentials")]
    Setup(#[from] transport::Error),
}

/// Why one source gave nothing, at one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is nothing at that place (yet).
    Absent(String),
    /// There is something, and it is not a set that can be used.
    Unusable(String),
}

impl Trouble {
    pub(super) fn unusable(reason: impl Into<String>) -> Self {
        Self::Unusable(reason.into())
    }

    /// The same with the name of a place before the reason.
    pub(super) fn within(self, place: impl std::fmt::Display) -> Self {
        match self {
            Self::Absent(reason) => Self::Absent(format!("{place}: {reason}")),
            Self::Unusable(reason) => Self::Unusable(format!("{place}: {reason}")),
        }
    }

    /// The reason, for a message.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Absent(reason) | Self::Unusable(reason) => reason,
        }
    }
}
