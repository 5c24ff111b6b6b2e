//! What stat(2) shows.

use std::time::{Duration, SystemTime};

use crate::object::UnixTime;
use crate::tree::{Ino, Kind, Overlay, Special, Tree};

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

/// What an inode is to stat(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A pipe, a socket or a device.
    Special(Special),
}

/// The permission bits of a symbolic link, which nobody looks at (path_resolution(7)).
const LINK_MODE: u16 = 0o777;

/// The attributes of an inode, and how long they hold.
#[derive(Debug, Clone, Copy)]
pub struct Attributes {
    /// The inode.
    pub ino: Ino,
    /// Bytes of the content, 0 for a directory.
    pub size: u64,
    /// What it is.
    pub kind: FileKind,
    /// Last access, as far as it was set in this mount; else the last change.
    pub accessed: SystemTime,
    /// Last change of the content.
    pub modified: SystemTime,
    /// Last change of the inode, as far as this mount has made it; else that of the content.
    pub changed: SystemTime,
    /// Permission bits.
    pub mode: u16,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names: 0 once this mount has removed it.
    pub links: u32,
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
            kind: FileKind::File,
            accessed: SystemTime::UNIX_EPOCH,
            modified: SystemTime::UNIX_EPOCH,
            changed: SystemTime::UNIX_EPOCH,
            mode: 0,
            uid: 0,
            gid: 0,
            links: 1,
            ttl: Duration::ZERO,
        }
    }

    /// True for a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// Those of an inode that lives: as the bucket has them, and over them what was set in this mount.
    pub(super) fn of(tree: &Tree, ino: Ino, ownership: &Ownership, ttl: Duration) -> Option<Self> {
        let node = tree.node(ino)?;
        let (size, kind, modified, mode) = match node.kind() {
            Kind::Directory => (
                0,
                FileKind::Directory,
                ownership.started,
                ownership.dir_mode,
            ),
            Kind::Object(object) => (
                object.size(),
                FileKind::File,
                system_time(object.modified())
                    + Duration::from_nanos(u64::from(object.modified_nanos())),
                ownership.file_mode,
            ),
            Kind::File(file) => (
                file.size(),
                file.special().map_or(FileKind::File, FileKind::Special),
                file.modified(),
                ownership.file_mode,
            ),
            Kind::Symlink(link) => (
                link.target().map_or(0, |target| target.len() as u64),
                FileKind::Symlink,
                system_time(link.modified()),
                LINK_MODE,
            ),
        };
        let plain = Self {
            ino,
            size,
            kind,
            accessed: modified,
            modified,
            changed: modified,
            mode,
            uid: ownership.uid,
            gid: ownership.gid,
            links: u32::from(!node.is_orphan()),
            ttl,
        };
        Some(match tree.overlay(ino) {
            Some(overlay) => plain.under(overlay),
            None => plain,
        })
    }

    fn under(self, overlay: &Overlay) -> Self {
        let modified = overlay.mtime.unwrap_or(self.modified);
        Self {
            accessed: overlay.atime.unwrap_or(modified),
            modified,
            changed: overlay.ctime.unwrap_or(self.changed),
            mode: overlay.mode.unwrap_or(self.mode),
            uid: overlay.uid.unwrap_or(self.uid),
            gid: overlay.gid.unwrap_or(self.gid),
            ..self
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
