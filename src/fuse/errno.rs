//! The one table from what the file system says to what the kernel hears.

#![deny(clippy::wildcard_enum_match_arm)]

use fuser::Errno;

use crate::fs::Error;

/// The errno of an error.
pub(super) fn errno(error: &Error) -> Errno {
    match error {
        Error::NotFound => Errno::ENOENT,
        Error::NameTooLong => Errno::ENAMETOOLONG,
        Error::NotADirectory => Errno::ENOTDIR,
        Error::IsADirectory => Errno::EISDIR,
        Error::ReadOnly => Errno::EROFS,
        Error::Exists => Errno::EEXIST,
        Error::NotEmpty => Errno::ENOTEMPTY,
        Error::Invalid(_) => Errno::EINVAL,
        // What every program takes for "this file system has no such thing" (link(2): "does not support the creation of hard links").
        Error::NotPermitted(_) | Error::Retained(_) => Errno::EPERM,
        Error::NoSpace(_) => Errno::ENOSPC,
        Error::NoSuchOffset => Errno::ENXIO,
        Error::FileTooLarge => Errno::EFBIG,
        // As NFS says it: the file under this handle is not the one that it was opened on.
        Error::Conflict(_) => Errno::ESTALE,
        Error::NoAttribute => Errno::ENODATA,
        Error::NotSupported => Errno::EOPNOTSUPP,
        Error::BadHandle => Errno::EBADF,
        Error::Interrupted => Errno::EINTR,
        // The object was replaced or deleted; open(2) and stat(2) look the name up again by themselves.
        Error::Stale(_) => Errno::ESTALE,
        Error::Denied(_) => Errno::EACCES,
        // "No data available": archived bytes have to be restored first.
        Error::Archived(_) => Errno::ENODATA,
        // "Key has expired": the role's credentials ran out and the hold is over.
        Error::CredentialsGone(_) => Errno::from_i32(libc::EKEYEXPIRED),
        // "Key was rejected by service".
        Error::CredentialsRefused(_) => Errno::from_i32(libc::EKEYREJECTED),
        // Retries are spent, or the content is not what OSS announced; the log line has the request id.
        Error::Unavailable(_) | Error::Corrupt(_) | Error::Abandoned => Errno::EIO,
    }
}
