//! What this mount changes in names: make, remove, rename, link, attributes.
//!
//! Each change goes to the bucket first and into the tree when the bucket has it, so whoever finds a name here finds it elsewhere, too.
//! The kernel lets one change at a time into a directory (its `i_rwsem`), so two changes of one name never meet here; what may
//! meet are a change and the commit of a file, and those the file puts in order ([`super::writing`]).
//!
//! A change is worked on to its end, also if its caller is killed: half a rename is worse than an answer that nobody hears. Whoever
//! calls sees to that (`fuse` runs them as tasks of [`FileSystem::changes`]).
//!
//! - [`directories`]: mkdir, rmdir. [`files`]: mknod, pipes, sockets and devices, unlink. [`links`](super::links): symlink, readlink.
//! - [`rename`]: of files; [`tree_rename`]: of directories; [`copy`]: how an object gets another key.
//! - [`attributes`]: chmod, chown, utimens and extended attributes, kept in this mount.

mod attributes;
mod copy;
mod directories;
mod files;
mod rename;
mod tree_rename;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::ahead::Purpose;
use super::names::name_error;
use super::{Entry, Error, FileSystem};
use crate::op::Op;
use crate::oss;
use crate::tree::{Ino, Kind, Known, NameError, Settled, Stale, Tree, valid_name};

pub use attributes::{SetAttributes, SetXattr};
pub(super) use copy::Copied;
pub(super) use tree_rename::Unfinished;

/// How often a name is asked for again because its answer was overtaken.
const ASKS_MAX: u32 = 4;

/// Permission bits that chmod(2) knows.
const MODE_BITS: u16 = 0o7777;

/// Who makes something, and how.
#[derive(Debug, Clone, Copy)]
pub struct Maker {
    /// Permission bits, the umask taken off already.
    pub mode: u32,
    /// The caller's user.
    pub uid: u32,
    /// The caller's group.
    pub gid: u32,
}

impl FileSystem {
    /// Nothing, if this mount may write at all.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], or [`Error::Denied`] if the role was found to lack the right at start.
    pub(super) fn may_write(&self) -> Result<(), Error> {
        if self.config.read_only {
            return Err(Error::ReadOnly);
        }
        match self.capabilities.refuses_writes() {
            Some(error) => Err(Error::Denied(error)),
            None => Ok(()),
        }
    }

    /// What a name is: from the tree while that is fresh, else asked.
    pub(super) async fn resolved(
        &self,
        op: &Op,
        parent: Ino,
        name: &str,
    ) -> Result<Option<Ino>, Error> {
        match self.tree().known(parent, name, Instant::now()) {
            Known::Fresh(ino) => return Ok(Some(ino)),
            Known::Absent { .. } => return Ok(None),
            Known::Stale => return Err(Stale.into()),
            Known::Expired(_) | Known::Unknown => {}
        }
        for _ in 0..ASKS_MAX {
            let asked = self.ask_name(op, parent, name, Purpose::Attributes);
            match asked.await?.0 {
                Settled::Entry(ino) => return Ok(Some(ino)),
                Settled::Absent => return Ok(None),
                Settled::AskAgain => {}
                Settled::Stale => break,
            }
        }
        Err(Stale.into())
    }

    /// Sees to it that nothing has the name that something new is to get.
    pub(super) async fn vacant(&self, op: &Op, parent: Ino, name: &str) -> Result<(), Error> {
        self.may_write()?;
        new_name(name)?;
        match self.resolved(op, parent, name).await? {
            Some(_) => Err(Error::Exists),
            None => Ok(()),
        }
    }

    /// An entry for what was just made.
    pub(super) fn made(
        self: &Arc<Self>,
        tree: &mut Tree,
        ino: Ino,
        maker: Maker,
    ) -> Result<Entry, Error> {
        self.set_maker(tree, ino, maker);
        let ttl = tree.fresh_for(ino, Instant::now());
        Ok(self.counted(tree, ino, ttl).ok_or(Stale)?)
    }

    /// Notes owner and mode where they are not those of the mount.
    fn set_maker(&self, tree: &mut Tree, ino: Ino, maker: Maker) {
        let ownership = &self.config.ownership;
        let (usual, is_link) = match tree.node(ino).map(crate::tree::Node::kind) {
            Some(Kind::Directory) => (ownership.dir_mode, false),
            Some(Kind::Object(_) | Kind::File(_)) => (ownership.file_mode, false),
            Some(Kind::Symlink(_)) | None => (0, true),
        };
        let mode = u16::try_from(maker.mode & u32::from(MODE_BITS)).unwrap_or(usual);
        let is_usual =
            (is_link || mode == usual) && (maker.uid, maker.gid) == (ownership.uid, ownership.gid);
        if is_usual {
            return;
        }
        // Full: then it shows what the mount shows for all.
        let _ = tree.overlay_with(ino, |overlay| {
            overlay.mode = (!is_link && mode != usual).then_some(mode);
            overlay.uid = (maker.uid != ownership.uid).then_some(maker.uid);
            overlay.gid = (maker.gid != ownership.gid).then_some(maker.gid);
        });
    }

    /// A directory has got or lost a name: OSS keeps no times of directories.
    pub(super) fn touch(tree: &mut Tree, directory: Ino) {
        let now = SystemTime::now();
        // Full: its time stays that of the mount.
        let _ = tree.overlay_with(directory, |overlay| {
            overlay.mtime = Some(now);
            overlay.ctime = Some(now);
        });
    }

    /// An inode has another name, or other attributes.
    fn touch_inode(tree: &mut Tree, ino: Ino) {
        let now = SystemTime::now();
        // Full: it shows the time of its last write.
        let _ = tree.overlay_with(ino, |overlay| overlay.ctime = Some(now));
    }

    /// An error of the wire, noted where it tells of a missing right.
    fn refused(&self, error: oss::Error) -> Error {
        self.noted(error).into()
    }
}

/// A name that something new can have: no key can have others.
pub(super) fn new_name(name: &str) -> Result<(), Error> {
    let checked = valid_name(name.as_bytes()).map(|_| ());
    checked.map_err(|error| match error {
        NameError::TooLong => name_error(error),
        NameError::Empty | NameError::Dots | NameError::NotUtf8 | NameError::Forbidden => {
            Error::Invalid("no object of OSS can have this name")
        }
    })
}
