//! rename of files.
//!
//! OSS cannot rename. The new key gets a copy, then the old key is deleted, then the tree is told, never in another order: whatever
//! fails on the way, the file is at one key at least. What was never stored only changes its name here.

use std::sync::Arc;
use std::time::Instant;

use super::files::Stored;
use super::new_name;
use crate::fs::writing::Held;
use crate::fs::{Error, FileSystem};
use crate::object::{ObjectKey, ObjectMeta};
use crate::op::Op;
use crate::oss::Condition;
use crate::tree::{Ino, Kind, LocalFile, Node, Over, Renamed};

/// What is to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moving {
    Directory,
    /// A file, stored or not.
    File,
    Link,
    /// Only this mount knows it.
    Special,
}

/// A file on its way: what it was, and where it goes.
#[derive(Debug)]
struct Move {
    ino: Ino,
    from: ObjectKey,
    to: ObjectKey,
    condition: Condition,
}

impl FileSystem {
    /// Gives what is at `from` the name `to`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Exists`] by `over`, [`Error::NotEmpty`], [`Error::IsADirectory`], [`Error::NotADirectory`],
    /// [`Error::Invalid`], [`Error::ReadOnly`], [`Error::Denied`], or what OSS says. A directory may be moved in part then: the same
    /// call goes on.
    pub async fn rename(
        self: &Arc<Self>,
        op: &Op,
        from: (Ino, &str),
        to: (Ino, &str),
        over: Over,
    ) -> Result<(), Error> {
        self.may_write()?;
        new_name(to.1)?;
        let ino = self.resolved(op, from.0, from.1).await?;
        let ino = ino.ok_or(Error::NotFound)?;
        let target = self.resolved(op, to.0, to.1).await?;
        if target.is_some() && over == Over::Refuse {
            return Err(Error::Exists);
        }
        if target == Some(ino) {
            return Ok(());
        }
        let moving = self.moving(ino)?;
        let target_kind = target.map(|target| self.moving(target)).transpose()?;
        match (moving, target_kind) {
            (Moving::Directory, _) => {
                return self.rename_directory(op, from, to, over, target).await;
            }
            (Moving::File | Moving::Link | Moving::Special, Some(Moving::Directory)) => {
                return Err(Error::IsADirectory);
            }
            (
                Moving::File | Moving::Link | Moving::Special,
                Some(Moving::File | Moving::Link | Moving::Special) | None,
            ) => {}
        }
        // Before any turn is taken, for turns are taken in one order: also that of a target which nobody writes, but somebody has open.
        let _open = match target {
            Some(target) => self.pin_open(target)?,
            None => None,
        };
        // Held until the tree knows: nothing stores either of them meanwhile.
        let inos: Vec<Ino> = [Some(ino), target].into_iter().flatten().collect();
        let held = self.hold(&inos).await;
        let moved = {
            let tree = self.tree();
            Move {
                ino,
                from: tree.key_of(from.0, from.1)?,
                to: tree.key_of(to.0, to.1)?,
                condition: match over {
                    Over::Refuse => Condition::ForbidOverwrite,
                    Over::Replace => Condition::None,
                },
            }
        };
        let _kept = match target {
            Some(target) => self.keep_for_holders(op, target, &held).await?,
            None => None,
        };
        let version = match moving {
            Moving::Link => self.move_link(op, &moved).await?,
            Moving::Special => self.move_special(op, &moved, target).await?,
            Moving::File | Moving::Directory => self.move_file(op, &moved, &held, to).await?,
        };
        self.renamed(from, to, over, version)
    }

    fn moving(&self, ino: Ino) -> Result<Moving, Error> {
        match self.tree().node(ino).map(Node::kind) {
            Some(Kind::File(file)) if file.special().is_some() => Ok(Moving::Special),
            Some(Kind::Directory) => Ok(Moving::Directory),
            Some(Kind::Symlink(_)) => Ok(Moving::Link),
            Some(Kind::Object(_) | Kind::File(_)) => Ok(Moving::File),
            None => Err(crate::tree::Stale.into()),
        }
    }

    async fn move_link(&self, op: &Op, moved: &Move) -> Result<Option<ObjectMeta>, Error> {
        let copied = self.copy_link(op, &moved.from, &moved.to, moved.condition);
        copied.await?;
        let deleted = self.bucket.delete_object(op, &moved.from).await;
        deleted.map_err(|error| self.refused(error))?;
        Ok(None)
    }

    /// A pipe, a socket or a device only changes its name. The object whose name it takes is gone with that.
    async fn move_special(
        &self,
        op: &Op,
        moved: &Move,
        target: Option<Ino>,
    ) -> Result<Option<ObjectMeta>, Error> {
        let is_stored = {
            let tree = self.tree();
            let node = target.and_then(|target| tree.node(target));
            node.is_some_and(|node| Stored::of(node) == Stored::Yes)
        };
        if is_stored {
            let deleted = self.bucket.delete_object(op, &moved.to).await;
            deleted.map_err(|error| self.refused(error))?;
        }
        Ok(None)
    }

    /// Moves the object of a file, if it has one; says what its version is now.
    async fn move_file(
        &self,
        op: &Op,
        moved: &Move,
        held: &[Held],
        to: (Ino, &str),
    ) -> Result<Option<ObjectMeta>, Error> {
        let next = (&moved.to, moved.condition);
        if self.before_rename(op, moved.ino, held, next).await? {
            return self.move_local(op, moved, held).await;
        }
        let copied = self.copy(op, &moved.from, &moved.to, moved.condition);
        let copied = copied.await.map_err(|error| self.refused(error))?;
        let is_known = {
            let tree = self.tree();
            tree.node(moved.ino)
                .is_some_and(|node| is_version(node, &copied.source))
        };
        self.moved_content(moved.ino, &moved.to, &copied);
        if let Err(error) = self.bucket.delete_object(op, &moved.from).await {
            // The file keeps its name, and what is written from now on is stored there: the same rename copies it anew. The new key has the bytes all
            // the same.
            self.moved_content(moved.ino, &moved.from, &copied.back());
            self.tree()
                .found_object(to.0, to.1, &copied.made, Instant::now());
            return Err(self.refused(error));
        }
        Ok(Some(copied.made).filter(|_| is_known))
    }

    /// A file that is stored nowhere has its new key already. What the bucket has at the old one, which it was renamed over or has not replaced yet, is
    /// not to come back.
    async fn move_local(
        &self,
        op: &Op,
        moved: &Move,
        held: &[Held],
    ) -> Result<Option<ObjectMeta>, Error> {
        let is_covering = {
            let tree = self.tree();
            let file = tree.node(moved.ino).and_then(Node::file);
            file.is_some_and(LocalFile::covers)
        };
        if is_covering && let Err(error) = self.bucket.delete_object(op, &moved.from).await {
            let back = (&moved.from, Condition::None);
            self.before_rename(op, moved.ino, held, back).await?;
            return Err(self.refused(error));
        }
        Ok(None)
    }

    /// Tells the tree. `version`: what the inode is now; `None` for what has none, or is another one than was known.
    fn renamed(
        &self,
        from: (Ino, &str),
        to: (Ino, &str),
        over: Over,
        version: Option<ObjectMeta>,
    ) -> Result<(), Error> {
        let now = Instant::now();
        let mut tree = self.tree();
        let Renamed { ino, replaced } = tree.rename(from, to, over, now)?;
        match version {
            Some(meta) => tree.moved(ino, &meta, now)?,
            // Another version than was known: whoever looks finds it.
            None => match tree.node(ino).map(Node::kind) {
                Some(Kind::Object(_)) => tree.mark_stale(ino, now),
                Some(Kind::File(_) | Kind::Symlink(_) | Kind::Directory) | None => {}
            },
        }
        Self::touch(&mut tree, from.0);
        Self::touch(&mut tree, to.0);
        Self::touch_inode(&mut tree, ino);
        if let Some(replaced) = replaced {
            Self::touch_inode(&mut tree, replaced);
        }
        drop(tree);
        if let Some(replaced) = replaced {
            self.orphaned(replaced);
        }
        Ok(())
    }
}

/// True if a file is that version, or is being made of it.
pub(super) fn is_version(node: &Node, meta: &ObjectMeta) -> bool {
    let expected = node.file().and_then(LocalFile::expected);
    let object = node.object().or(expected);
    object.is_some_and(|object| object.etag() == meta.etag)
}
