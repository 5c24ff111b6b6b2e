//! Why a file cannot be written, or stored.

use std::io;
use std::sync::Arc;

use crate::buffer::Failure;
use crate::object::{ETag, ObjectKey};
use crate::oss;

/// Why a change or a commit did not happen, by what the caller can do. Nothing that is staged is lost by any of them.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No room for staged bytes, and nothing is on its way up that would make some. ENOSPC.
    #[error(
        "there is no room to stage {wanted} bytes and nothing is on its way up: {staged} bytes of {limit} are staged in memory, {on_disk} on disk"
    )]
    NoRoom {
        /// Bytes that were to be staged.
        wanted: u64,
        /// Bytes staged in memory, of all files.
        staged: u64,
        /// The most there may be.
        limit: u64,
        /// Bytes staged in files.
        on_disk: u64,
    },
    /// The file would be longer than OSS takes ([`super::FILE_BYTES_MAX`]), or has more pieces than an upload has numbers.
    /// EFBIG.
    #[error("{} would be larger than an object can be", .0.as_ref().map_or("an unlinked file", ObjectKey::as_str))]
    TooLong(Option<ObjectKey>),
    /// Somebody else has changed the object since it was opened, and it was not to be overwritten.
    #[error("{key} was changed by somebody else: opened as {}, found as {}", shown(.opened.as_ref()), shown(.found.as_ref()))]
    Conflict {
        /// The object.
        key: ObjectKey,
        /// What the file was opened on; `None`: nothing was there.
        opened: Option<ETag>,
        /// What is there now; `None`: nothing.
        found: Option<ETag>,
    },
    /// Somebody else has replaced an object that unchanged ranges of the file lie in: they are gone. A later attempt fails
    /// too, unless the ranges are written again.
    #[error(
        "bytes of {0} that the file needs are gone: somebody else has replaced or deleted the object"
    )]
    Lost(ObjectKey),
    /// There is an object of this key, and the file was to be created exclusively. EEXIST.
    #[error("{0} exists in the bucket")]
    Exists(ObjectKey),
    /// The file was made here under a name that had nothing, and is not stored yet; somebody else has stored an object of that name meanwhile, and it was
    /// not to be overwritten.
    #[error("{0} was made by somebody else too, and is not overwritten")]
    Taken(ObjectKey),
    /// Somebody has aborted the upload that held bytes of the file, which were not staged any more.
    #[error("the upload of {0} is gone, and with it bytes of the file that lay only there")]
    UploadGone(ObjectKey),
    /// The file has no name any more, and what is asked of it takes one.
    #[error("the file was unlinked")]
    Unlinked,
    /// OSS said no, or said nothing for too long.
    #[error(transparent)]
    Oss(oss::Error),
    /// Bytes of an object could not be had; what the caller's [`super::Fetch`] said.
    #[error(transparent)]
    Fetch(Failure),
    /// A staging file could not be read.
    #[error("a staging file cannot be read")]
    Staging(#[source] Arc<io::Error>),
}

impl From<oss::Error> for Error {
    fn from(error: oss::Error) -> Self {
        Self::Oss(error)
    }
}

fn shown(etag: Option<&ETag>) -> &str {
    etag.map_or("nothing", ETag::as_str)
}

/// A change that cannot be made at once: there is no room, or bytes of the file must be made readable first. The asynchronous form waits
/// for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the change has to wait for room")]
pub struct NeedsRoom;
