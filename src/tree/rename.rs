//! Names that this mount takes away or gives to another inode.

use std::time::Instant;

use super::node::{Directory, Ino, Place, What};
use super::packed::Object;
use super::table::Tree;

/// Why a name cannot be changed as wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The directory is stale, or no directory (ESTALE).
    #[error("the directory is not what its name shows any more")]
    Stale,
    /// There is nothing of this name (ENOENT).
    #[error("there is nothing of this name")]
    NotFound,
    /// The name is taken, by this inode (EEXIST).
    #[error("the name is taken")]
    Exists(Ino),
    /// A directory, where a file is meant (EISDIR).
    #[error("a directory has this name")]
    IsDirectory,
    /// A file, where a directory is meant (ENOTDIR).
    #[error("what has this name is no directory")]
    NotDirectory,
    /// The directory has names that are only here (ENOTEMPTY).
    #[error("the directory is not empty")]
    NotEmpty,
    /// This mount keeps no more pipes, sockets and devices (ENOSPC).
    #[error("this mount keeps no more pipes, sockets and devices")]
    Full,
    /// A directory cannot be moved into itself (EINVAL).
    #[error("the directory would be moved into itself")]
    IntoItself,
}

/// Whether a rename may take the name from another inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// As rename(2) does: a file takes the place of a file, a directory that of an empty one.
    Replace,
    /// `RENAME_NOREPLACE`.
    Refuse,
}

/// What a rename has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renamed {
    /// The inode that has moved, with its number.
    pub ino: Ino,
    /// The inode that had the name: an orphan, and gone if nothing holds it.
    pub replaced: Option<Ino>,
}

impl Tree {
    /// This mount has removed the file `name`; the DELETE, if there was one, ended at `now`. There is nothing of this name as of
    /// then. Returns the inode that had the name, if one was known: an orphan, which is gone at once if nothing holds it.
    ///
    /// # Errors
    /// [`ChangeError::IsDirectory`], [`ChangeError::Stale`].
    pub fn unlink(
        &mut self,
        parent: Ino,
        name: &str,
        now: Instant,
    ) -> Result<Option<Ino>, ChangeError> {
        self.live_directory(parent).ok_or(ChangeError::Stale)?;
        let known = self.child(parent, name);
        if known.is_some_and(|ino| self.is_directory(ino)) {
            return Err(ChangeError::IsDirectory);
        }
        self.remove_name(parent, name, now);
        Ok(known)
    }

    /// This mount has removed the directory `name`, after it was found to be empty ([`Self::shows_any`]). As [`Self::unlink`].
    ///
    /// # Errors
    /// [`ChangeError::NotFound`], [`ChangeError::NotDirectory`], [`ChangeError::NotEmpty`] if it has local names,
    /// [`ChangeError::Stale`].
    pub fn remove_directory(
        &mut self,
        parent: Ino,
        name: &str,
        now: Instant,
    ) -> Result<Ino, ChangeError> {
        self.live_directory(parent).ok_or(ChangeError::Stale)?;
        let ino = self.child(parent, name).ok_or(ChangeError::NotFound)?;
        if !self.is_directory(ino) {
            return Err(ChangeError::NotDirectory);
        }
        if !self.is_empty_locally(ino) {
            return Err(ChangeError::NotEmpty);
        }
        self.remove_name(parent, name, now);
        Ok(ino)
    }

    fn remove_name(&mut self, parent: Ino, name: &str, now: Instant) {
        let note = self.settle_name(parent, name, What::Nothing, now, Place::Orphan);
        self.changed(note, now);
        self.keep(parent, Some(now));
        self.evict(Some(note));
    }

    /// This mount has given the name of an inode to it anew, and moved with it all that is below it; the requests that did so
    /// in the bucket ended at `now`. The number stays. What a rename of a file that is stored has made of its version is to be
    /// told under the same lock ([`Self::moved`], [`Self::doubt`]), and so for what is below a directory.
    ///
    /// What the tree knows is taken as true: ask before whether the source is there, and whether a directory that is to be
    /// replaced is empty. Both names being one, nothing is done.
    ///
    /// # Errors
    /// [`ChangeError`], all of them; nothing is changed then.
    pub fn rename(
        &mut self,
        from: (Ino, &str),
        to: (Ino, &str),
        over: Over,
        now: Instant,
    ) -> Result<Renamed, ChangeError> {
        let (ino, replaced) = self.can_rename(from, to, over)?;
        if from == to {
            return Ok(Renamed { ino, replaced });
        }
        let is_doubtful = self.is_doubtful(ino);
        let expected = self
            .find(to.0, to.1)
            .and_then(|target| match &self.nodes[target].what {
                What::Object(object) => Some(object.clone()),
                What::File(file) => file.expected().cloned(),
                What::Directory(_) | What::Symlink(_) | What::Nothing | What::Unknown => None,
            });
        if let Some(target) = self.find(to.0, to.1) {
            self.vacate(target);
        }
        self.relocate(ino, to, now);
        // What the old name was, it is not: a new note of its own remembers that.
        let note = self.insert(from.0, from.1, What::Nothing, now);
        self.hand_over_changes(ino, Some(note));
        self.changed(note, now);
        self.keep(from.0, Some(now));
        self.arrived(ino, expected, now);
        if is_doubtful {
            self.doubt(ino, now);
        }
        self.evict(Some(ino));
        Ok(Renamed { ino, replaced })
    }

    /// The inode that is to be moved, and the one that it would replace.
    fn can_rename(
        &self,
        from: (Ino, &str),
        to: (Ino, &str),
        over: Over,
    ) -> Result<(Ino, Option<Ino>), ChangeError> {
        for parent in [from.0, to.0] {
            self.live_directory(parent).ok_or(ChangeError::Stale)?;
        }
        let ino = self.child(from.0, from.1).ok_or(ChangeError::NotFound)?;
        if self.is_at_or_below(to.0, ino) {
            return Err(ChangeError::IntoItself);
        }
        let target = self.child(to.0, to.1);
        let Some(target) = target else {
            return Ok((ino, None));
        };
        if over == Over::Refuse {
            return Err(ChangeError::Exists(target));
        }
        match (self.is_directory(ino), self.is_directory(target)) {
            _ if target == ino => Ok((ino, None)),
            (true, false) => Err(ChangeError::NotDirectory),
            (false, true) => Err(ChangeError::IsDirectory),
            // Also a directory that `ino` itself is in.
            (true, true) if !self.is_empty_locally(target) || self.is_at_or_below(ino, target) => {
                Err(ChangeError::NotEmpty)
            }
            (false, false) if self.is_at_or_below(ino, target) => Err(ChangeError::NotDirectory),
            (true, true) | (false, false) => Ok((ino, Some(target))),
        }
    }

    /// Takes the name from `ino`: the changes of it go with the name, and are told anew by who takes it.
    fn vacate(&mut self, ino: Ino) {
        self.unindex(ino);
        let Some(node) = self.nodes.get_mut(ino) else {
            return;
        };
        let was_local = node.is_local();
        node.place = Place::Orphan;
        let (parent, name) = (node.parent, node.name.clone());
        if was_local {
            self.count_local(parent, &name, ino, false);
        }
        self.hand_over_changes(ino, None);
        self.settle(ino);
    }

    /// Puts `ino` under a name that is free.
    fn relocate(&mut self, ino: Ino, to: (Ino, &str), now: Instant) {
        self.unindex(ino);
        let Some(node) = self.nodes.get_mut(ino) else {
            return;
        };
        let is_local = node.is_local();
        let (parent, name) = (node.parent, std::mem::replace(&mut node.name, to.1.into()));
        node.parent = to.0;
        node.asked = node.asked.max(now);
        node.touched = true;
        if let Some(new) = self.nodes.get_mut(to.0) {
            new.children += 1;
        }
        self.settle(to.0);
        if let Some(slot) = self.nodes.slot(ino) {
            self.reindex(slot);
        }
        if is_local {
            self.count_local(parent, &name, ino, false);
            self.count_local(to.0, to.1, ino, true);
        }
        if let Some(old) = self.nodes.get_mut(parent) {
            old.children -= 1;
        }
        // Who calls gives the old directory a note at once, so it is not let go here: nothing is settled in between.
    }

    /// `ino` has a new name as of `now`.
    fn arrived(&mut self, ino: Ino, expected: Option<Object>, now: Instant) {
        self.refresh_immutable(ino);
        let Some(node) = self.nodes.get_mut(ino) else {
            return;
        };
        let parent = node.parent;
        match &mut node.what {
            What::Directory(_) => {
                self.keep(ino, Some(now));
                return self.changed_below(ino, now);
            }
            What::File(file) => file.expect(expected, now),
            What::Object(_) | What::Symlink(_) | What::Nothing | What::Unknown => {
                self.confirm(parent, now);
            }
        }
        self.changed(ino, now);
    }

    fn is_directory(&self, ino: Ino) -> bool {
        matches!(self.nodes[ino].what, What::Directory(Directory { .. }))
    }

    pub(super) fn is_at_or_below(&self, ino: Ino, above: Ino) -> bool {
        let mut at = ino;
        loop {
            if at == above {
                return true;
            }
            match self.nodes.get(at) {
                Some(node) if at != Ino::ROOT => at = node.parent,
                Some(_) | None => return false,
            }
        }
    }

    /// Looks again which paths never change, of `ino` and all below it. Looks at all nodes, if there are such paths at all.
    fn refresh_immutable(&mut self, ino: Ino) {
        if !self.has_immutable() {
            return;
        }
        for number in 0..self.nodes.slots() {
            let Some(node) = self.nodes.in_slot_mut(number) else {
                continue;
            };
            let (at, parent, name) = (node.ino, node.parent, node.name.clone());
            if node.is_named() && self.is_at_or_below(at, ino) {
                let is_immutable = self.is_immutable(parent, &name);
                if let Some(node) = self.nodes.in_slot_mut(number) {
                    node.immutable = is_immutable;
                }
            }
        }
    }
}
