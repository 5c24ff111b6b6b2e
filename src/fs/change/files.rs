//! mknod, unlink.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::Maker;
use crate::fs::{Entry, Error, FileSystem};
use crate::op::Op;
use crate::oss::Condition;
use crate::tree::{Ino, Kind, Node, Special};

/// Whether the bucket has something under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Yes,
    /// Only this mount knows the file.
    No,
}

impl Stored {
    pub(super) fn of(node: &Node) -> Self {
        match node.kind() {
            Kind::Directory => Self::No,
            Kind::File(file) if !file.covers() => Self::No,
            Kind::File(_) | Kind::Object(_) | Kind::Symlink(_) => Self::Yes,
        }
    }
}

impl FileSystem {
    /// Makes an empty file, and stores it.
    ///
    /// # Errors
    /// As [`FileSystem::mkdir`].
    pub async fn mknod(
        self: &Arc<Self>,
        op: &Op,
        parent: Ino,
        name: &str,
        maker: Maker,
    ) -> Result<Entry, Error> {
        self.vacant(op, parent, name).await?;
        let ino = self.store_empty(op, parent, name, Condition::None).await?;
        let mut tree = self.tree();
        Self::touch(&mut tree, parent);
        self.made(&mut tree, ino, maker)
    }

    /// Makes a pipe, a socket or a device. Only this mount knows it, and it lasts as long.
    ///
    /// # Errors
    /// As [`FileSystem::mkdir`]; [`Error::NoSpace`] if this mount keeps no more.
    pub async fn make_special(
        self: &Arc<Self>,
        op: &Op,
        parent: Ino,
        name: &str,
        special: Special,
        maker: Maker,
    ) -> Result<Entry, Error> {
        self.vacant(op, parent, name).await?;
        let mut tree = self.tree();
        // Nothing is stored under it, but a name that no file can have is none for a pipe.
        tree.key_of(parent, name)?;
        let (time, now) = (SystemTime::now(), Instant::now());
        let ino = tree.make_special(parent, name, special, time, now)?;
        Self::touch(&mut tree, parent);
        self.made(&mut tree, ino, maker)
    }

    /// Removes a file or a link. Who has it open keeps it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::IsADirectory`], [`Error::ReadOnly`], [`Error::Denied`], or what OSS says.
    pub async fn unlink(self: &Arc<Self>, op: &Op, parent: Ino, name: &str) -> Result<(), Error> {
        self.may_write()?;
        let ino = self.resolved(op, parent, name).await?;
        let ino = ino.ok_or(Error::NotFound)?;
        // Held until it is gone: nothing stores the file anew meanwhile.
        let held = self.hold(&[ino]).await;
        let _kept = self.keep_for_holders(op, ino, &held).await?;
        let (key, stored) = {
            let tree = self.tree();
            let node = tree.node(ino).ok_or(crate::tree::Stale)?;
            if matches!(node.kind(), Kind::Directory) {
                return Err(Error::IsADirectory);
            }
            (tree.key_of(parent, name)?, Stored::of(node))
        };
        // One that was stored early, or whose answer was not seen, is there all the same.
        if stored == Stored::Yes || self.may_be_stored(ino) {
            let deleted = self.bucket.delete_object(op, &key).await;
            deleted.map_err(|error| self.refused(error))?;
        }
        {
            let mut tree = self.tree();
            tree.unlink(parent, name, Instant::now())?;
            Self::touch(&mut tree, parent);
            if tree.node(ino).is_some_and(Node::is_orphan) {
                Self::touch_inode(&mut tree, ino);
            }
        }
        self.orphaned(ino);
        Ok(())
    }
}
