//! What stat(2) shows.

use std::time::{Duration, SystemTime};

use crate::object::UnixTime;
use crate::tree::{Ino, Kind, Node};

/// Owner and permission bits of everything in a mount: OSS has neither.
#[derive(Debug, Clone, Copy)]
pub struct Ownership {
    /// User of all files and directories.
    pub uid: u32,
    /// Group of all files and directories.
    pub gid: u32,
    /// Permission bits of files.
    pub file_mode: u16,
    /// Permission bits of directories.
    pub dir_mode: u16,
    /// The time that directories show: OSS keeps none for them, so it is the mount's own start.
    pub started: SystemTime,
}

/// The attributes of an inode, and how long they hold.
#[derive(Debug, Clone, Copy)]
pub struct Attributes {
    /// The inode.
    pub ino: Ino,
    /// Bytes of the content, 0 for a directory.
    pub size: u64,
    /// True for a directory.
    pub directory: bool,
    /// Last change.
    pub modified: SystemTime,
    /// Permission bits.
    pub mode: u16,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// How long the kernel may believe them.
    pub ttl: Duration,
}

impl Attributes {
    /// What stands where there is no inode.
    #[must_use]
    pub fn none() -> Self {
        Self {
            ino: Ino::ROOT,
            size: 0,
            directory: false,
            modified: SystemTime::UNIX_EPOCH,
            mode: 0,
            uid: 0,
            gid: 0,
            ttl: Duration::ZERO,
        }
    }

    pub(super) fn of(ino: Ino, node: &Node, ownership: &Ownership, ttl: Duration) -> Self {
        let (size, directory, modified, mode) = match node.kind() {
            Kind::Directory => (0, true, ownership.started, ownership.dir_mode),
            Kind::Object(object) => (
                object.size(),
                false,
                system_time(object.modified()),
                ownership.file_mode,
            ),
            Kind::File(file) => (file.size(), false, file.modified(), ownership.file_mode),
            Kind::Symlink(link) => (
                link.target().map_or(0, |target| target.len() as u64),
                false,
                system_time(link.modified()),
                ownership.file_mode,
            ),
        };
        let Ownership { uid, gid, .. } = *ownership;
        Self {
            ino,
            size,
            directory,
            modified,
            mode,
            uid,
            gid,
            ttl,
        }
    }
}

fn system_time(time: UnixTime) -> SystemTime {
    let seconds = Duration::from_secs(time.0.unsigned_abs());
    let shifted = if time.0 < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    // A server that sends a time out of range gets the epoch, not a panic.
    shifted.unwrap_or(SystemTime::UNIX_EPOCH)
}
