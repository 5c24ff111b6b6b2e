//! Names under this mount's control.
//!
//! A file that is being written is here until it is stored, and a directory that this mount made is here though the bucket
//! has no key for it. What the bucket answers about such a name is taken note of, but does not take the name: it goes only by
//! this mount's own doing. A local name keeps the directories above it, too, whoever deletes what is in them.
//!
//! How long a directory is local: from the moment at which this mount made it, moved it or removed a name from it, until
//! an answer of the bucket, asked later, shows that there is something in it. So a directory stays when its last file is unlinked,
//! as programs expect, and costs nothing when it need not be kept.

use std::collections::{BTreeMap, HashMap};
use std::time::{Instant, SystemTime};

use super::answers::Settled;
use super::beside::LocalEntries;
use super::file::{Elsewhere, LocalFile, Symlink};
use super::listing::{Entry, What as Listed};
use super::node::{Directory, Ino, Place, What};
use super::packed::Object;
use super::rename::ChangeError;
use super::table::{Known, Stale, Tree};
use crate::object::{ObjectMeta, UnixTime};

/// Local names by their directory, in the order of listings. No directory has an empty set.
#[derive(Debug, Default)]
pub(super) struct LocalNames(HashMap<Ino, BTreeMap<Box<str>, Ino>>);

impl LocalNames {
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (Ino, &str, Ino)> {
        self.0.iter().flat_map(|(directory, names)| {
            names
                .iter()
                .map(|(name, ino)| (*directory, name.trim_end_matches('/'), *ino))
        })
    }
}

/// What a reader of a directory is shown of an entry of its listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// This inode.
    Inode(Ino),
    /// The name alone: what it is must be asked for when it is used.
    Name,
    /// Nothing: it is gone since.
    Gone,
}

impl Tree {
    /// Creates an empty file that is here until it is stored ([`Self::committed`]).
    ///
    /// What is not known must have been asked before: of a name that the tree knows nothing of, it is taken that the bucket
    /// has nothing.
    ///
    /// # Errors
    /// [`ChangeError::Exists`] if the name is known, also if not fresh; [`ChangeError::Stale`].
    pub fn create(
        &mut self,
        parent: Ino,
        name: &str,
        time: SystemTime,
        now: Instant,
    ) -> Result<Ino, ChangeError> {
        let file = LocalFile::new(0, time, None, now);
        self.make(parent, name, What::File(Box::new(file)), now)
    }

    /// Makes a directory that is here until it is removed, or the bucket shows something in it. It is known to be empty.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn make_directory(
        &mut self,
        parent: Ino,
        name: &str,
        now: Instant,
    ) -> Result<Ino, ChangeError> {
        let directory = Directory {
            listed: Some(now),
            whole: true,
            kept: Some(now),
            ..Directory::default()
        };
        self.make(parent, name, What::Directory(directory), now)
    }

    /// A symbolic link was stored at `done`, the end of its PutSymlink.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn make_symlink(
        &mut self,
        parent: Ino,
        name: &str,
        target: &str,
        time: UnixTime,
        done: Instant,
    ) -> Result<Ino, ChangeError> {
        let link = Symlink::new(None, time, Some(target));
        let ino = self.make(parent, name, What::Symlink(Box::new(link)), done)?;
        self.changed(ino, done);
        self.confirm(parent, done);
        self.evict(Some(ino));
        Ok(ino)
    }

    pub(super) fn make(
        &mut self,
        parent: Ino,
        name: &str,
        what: What,
        now: Instant,
    ) -> Result<Ino, ChangeError> {
        match self.known(parent, name, now) {
            Known::Fresh(ino) | Known::Expired(ino) => return Err(ChangeError::Exists(ino)),
            Known::Stale => return Err(ChangeError::Stale),
            Known::Absent { .. } | Known::Unknown => {}
        }
        let ino = self.settle_name(parent, name, what, now, Place::Stale);
        self.evict(Some(ino));
        Ok(ino)
    }

    /// Gives a name to what this mount says: in place of a note, to a new inode otherwise.
    pub(super) fn settle_name(
        &mut self,
        parent: Ino,
        name: &str,
        what: What,
        now: Instant,
        place: Place,
    ) -> Ino {
        let Some(ino) = self.find(parent, name) else {
            return self.insert(parent, name, what, now);
        };
        let asked = self.nodes[ino].asked.max(now);
        if self.nodes[ino].is_inode() {
            return self.replace(ino, what, asked, place);
        }
        if let Some(node) = self.nodes.get_mut(ino) {
            // The kernel has never seen the number of a note: it may become an inode.
            (node.what, node.asked) = (what, asked);
        }
        let is_local = self.nodes[ino].is_local();
        self.count_local(parent, name, ino, is_local);
        self.settle(ino);
        ino
    }

    /// The object of `ino` is being rewritten from now on: the name and the number stay, and answers of the bucket about
    /// other versions are not taken over ([`LocalFile::seen_elsewhere`]). Ask for the [`Self::version`] before. No effect on
    /// what is local already. What has no name (an orphan) may be written, too.
    ///
    /// # Errors
    /// [`Stale`], also for what is no file.
    pub fn dirty(&mut self, ino: Ino, time: SystemTime) -> Result<(), Stale> {
        let node = self.nodes.get_mut(ino).ok_or(Stale)?;
        if node.place == Place::Stale {
            return Err(Stale);
        }
        match &node.what {
            What::File(_) => return Ok(()),
            What::Object(object) => {
                let (size, base) = (object.size(), object.clone());
                let file = LocalFile::new(size, time, Some(base), node.asked);
                node.what = What::File(Box::new(file));
            }
            What::Directory(_) | What::Symlink(_) | What::Nothing | What::Unknown => {
                return Err(Stale);
            }
        }
        if node.is_named() {
            let (parent, name) = (node.parent, node.name.clone());
            self.count_local(parent, &name, ino, true);
        }
        self.trust(ino);
        self.settle(ino);
        Ok(())
    }

    /// The content of a local file has `size` bytes and was changed at `time`. A modification time that was set before does
    /// not hold any more. No effect on what is not local.
    pub fn wrote(&mut self, ino: Ino, size: u64, time: SystemTime) {
        let node = self.nodes.get_mut(ino).map(|node| &mut node.what);
        if let Some(What::File(file)) = node {
            file.write(size, time);
            self.forget_times(ino);
        }
    }

    /// The content of a local file was stored as that version, by a request that ended at `done`: the inode is an object of that
    /// version, with the same number and the same time of its last change. What was asked before `done` does not count.
    ///
    /// If writing goes on, call [`Self::dirty`] and [`Self::wrote`] under the same lock.
    ///
    /// # Errors
    /// [`Stale`] if the inode has no name any more, or is not local: the object is one that nobody asked for.
    pub fn committed(&mut self, ino: Ino, meta: &ObjectMeta, done: Instant) -> Result<(), Stale> {
        let node = self.nodes.get_mut(ino).filter(|node| node.is_named());
        let node = node.ok_or(Stale)?;
        let What::File(file) = &node.what else {
            return Err(Stale);
        };
        let object = Object::new(meta).with_time(file.modified());
        node.what = What::Object(object);
        node.asked = node.asked.max(done);
        node.touched = true;
        let (parent, name) = (node.parent, node.name.clone());
        self.count_local(parent, &name, ino, false);
        self.trust(ino);
        self.changed(ino, done);
        self.settle(ino);
        self.confirm(parent, done);
        self.evict(Some(ino));
        Ok(())
    }

    /// The object of `ino` was copied to where the inode is now, by a request that ended at `done`: this is its version, under
    /// the same number. Its time does not change. Of a local file it is what the bucket is expected to have.
    ///
    /// Only if what was copied is the version that the inode had (`x-oss-copy-source-if-match`): the kernel keeps its pages. If it
    /// was another, call [`Self::mark_stale`].
    ///
    /// # Errors
    /// [`Stale`] if the inode has no name any more, or is no file.
    pub fn moved(&mut self, ino: Ino, meta: &ObjectMeta, done: Instant) -> Result<(), Stale> {
        let parent = self.node(ino).ok_or(Stale)?.parent;
        let moved = self.moved_floor(parent);
        let node = self.nodes.get_mut(ino).filter(|node| node.is_named());
        let node = node.ok_or(Stale)?;
        match &mut node.what {
            What::Object(object) => *object = Object::new(meta).with_time_of(object),
            What::File(file) => file.expect(Some(Object::new(meta)), done),
            What::Directory(_) | What::Symlink(_) | What::Nothing | What::Unknown => {
                return Err(Stale);
            }
        }
        // A directory above it may have got its name after all copies: that does not make them older.
        node.asked = node.asked.max(done).max(moved.unwrap_or(done));
        node.touched = true;
        self.trust(ino);
        self.changed(ino, done);
        self.confirm(parent, done);
        self.evict(Some(ino));
        Ok(())
    }

    /// The content of a local file is given up: the inode is stale, and what the name shows must be asked for. What only has
    /// handles is stale, too. No effect on what is not local.
    pub fn discard(&mut self, ino: Ino, now: Instant) {
        let Some(node) = self.nodes.get_mut(ino) else {
            return;
        };
        if !matches!(node.what, What::File(_)) {
            return;
        }
        if !node.is_named() {
            node.place = Place::Stale;
            return;
        }
        let asked = node.asked.max(now);
        let note = self.replace(ino, What::Unknown, asked, Place::Stale);
        self.evict(Some(note));
    }

    /// An answer about a name that is local.
    pub(super) fn found_beside(&mut self, ino: Ino, what: What, asked: Instant) {
        let is_there = what.is_inode();
        let Some(node) = self.nodes.get_mut(ino) else {
            return;
        };
        let parent = node.parent;
        match (&mut node.what, what) {
            (What::File(file), what) => {
                let seen = match what {
                    What::Nothing => Elsewhere::Nothing,
                    What::Directory(_) => Elsewhere::Directory,
                    What::Object(object) => Elsewhere::Object(object),
                    What::Symlink(_) => Elsewhere::Symlink,
                    What::File(_) | What::Unknown => Elsewhere::Changed,
                };
                file.see(seen, asked);
            }
            (What::Directory(_), What::Directory(_)) => self.confirm(ino, asked),
            (
                What::Directory(_)
                | What::Object(_)
                | What::Symlink(_)
                | What::Nothing
                | What::Unknown,
                _,
            ) => {}
        }
        if is_there {
            self.confirm(parent, asked);
        }
        self.evict(Some(ino));
    }

    /// Keeps a directory as it is at that moment, or keeps it no more. No effect on the root.
    pub(super) fn keep(&mut self, ino: Ino, kept: Option<Instant>) {
        let Some(node) = self.nodes.get_mut(ino).filter(|_| ino != Ino::ROOT) else {
            return;
        };
        let was_local = node.is_local();
        if let What::Directory(directory) = &mut node.what {
            directory.kept = kept.map(|kept| kept.max(node.asked));
        }
        let is_local = node.is_local();
        if was_local != is_local {
            let (parent, name) = (node.parent, node.name.clone());
            self.count_local(parent, &name, ino, is_local);
        }
        self.settle(ino);
    }

    /// `name` in `directory` is `ino`, which has become local, or is not any more: follows in what is counted, for a directory
    /// with local names is local itself. No effect if that is known already.
    pub(super) fn count_local(&mut self, directory: Ino, name: &str, ino: Ino, is_local: bool) {
        let (mut directory, mut ino) = (directory, ino);
        let mut key: Box<str> = format!("{name}/").into();
        loop {
            let names = self.locals.0.entry(directory).or_default();
            let has_changed = match is_local {
                true => names.insert(key, ino).is_none(),
                false => names.remove(&key).is_some(),
            };
            let count = names.len();
            if names.is_empty() {
                self.locals.0.remove(&directory);
            }
            let Some(node) = self.nodes.get_mut(directory).filter(|_| has_changed) else {
                return;
            };
            let was_local = node.is_local();
            if let What::Directory(directory) = &mut node.what {
                directory.locals = u32::try_from(count).unwrap_or(u32::MAX);
            }
            if node.is_local() == was_local || directory == Ino::ROOT {
                return;
            }
            ino = directory;
            key = format!("{}/", node.name).into();
            directory = node.parent;
        }
    }

    /// The inode that the tree knows under that name, of whatever age: to be told of copies below a directory
    /// ([`Self::moved`]).
    #[must_use]
    pub fn child(&self, parent: Ino, name: &str) -> Option<Ino> {
        let ino = self.find(parent, name)?;
        self.nodes[ino].is_inode().then_some(ino)
    }

    /// True if a directory has no local name: what the bucket shows in it is all there is.
    #[must_use]
    pub fn is_empty_locally(&self, directory: Ino) -> bool {
        !self.locals.0.contains_key(&directory)
    }

    /// True if a directory has an entry: a local name, or one of `names`, which a listing asked for at `asked` has shown and
    /// this mount has not removed since.
    #[must_use]
    pub fn shows_any<'a>(
        &self,
        directory: Ino,
        names: impl IntoIterator<Item = &'a str>,
        asked: Instant,
    ) -> bool {
        let is_removed = |name| {
            self.find(directory, name).is_some_and(|ino| {
                let node = &self.nodes[ino];
                matches!(node.what, What::Nothing) && node.asked > asked
            })
        };
        !self.is_empty_locally(directory) || names.into_iter().any(|name| !is_removed(name))
    }

    /// The local names of a directory as they are at `now`, for the stream that shows it.
    #[must_use]
    pub fn local_names(&self, directory: Ino, now: Instant) -> LocalEntries {
        let mut entries = Vec::new();
        for (place, ino) in self.locals.0.get(&directory).into_iter().flatten() {
            let node = &self.nodes[*ino];
            let directory = matches!(node.what, What::Directory(_));
            let entry = Entry {
                name: node.name.clone(),
                what: Listed::Local { directory },
                asked: now,
            };
            entries.push((place.clone(), entry));
        }
        LocalEntries::new(entries)
    }

    /// What a reader is shown of an entry of a listing, at `now`.
    pub fn shown(&mut self, directory: Ino, entry: &Entry, now: Instant) -> Shown {
        match self.known(directory, &entry.name, now) {
            Known::Fresh(ino) | Known::Expired(ino) => Shown::Inode(ino),
            Known::Stale => Shown::Gone,
            // The entry may be younger than that there was nothing.
            Known::Absent { .. } | Known::Unknown => match self.found_entry(directory, entry) {
                Settled::Entry(ino) => Shown::Inode(ino),
                Settled::AskAgain if self.is_passed_over_since(directory, entry) => Shown::Gone,
                Settled::AskAgain => Shown::Name,
                Settled::Absent | Settled::Stale => Shown::Gone,
            },
        }
    }

    /// True if a complete listing that began after the entry was asked for has not shown it.
    fn is_passed_over_since(&self, directory: Ino, entry: &Entry) -> bool {
        let Some(at) = self.live_directory(directory) else {
            return true;
        };
        match self.find(directory, &entry.name) {
            _ if at.listed <= Some(entry.asked) => false,
            Some(ino) => Some(self.nodes[ino].asked) < at.listed,
            None => at.whole,
        }
    }
}
