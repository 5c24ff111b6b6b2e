//! Lookup, attributes and forget.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ahead::Purpose;
use super::ask::{Answer, Guess};
use super::{Attributes, Error, FileSystem, links};
use crate::op::Op;
use crate::tree::{Choice, Ino, Kind, Known, NameError, Settled, Tree, valid_name};

/// How often a name is asked for again because its answer was overtaken by the discovery that it was wrong.
const ASKS_MAX: u32 = 4;

/// The result of a lookup.
#[derive(Debug)]
pub enum Found {
    /// An inode.
    Entry(Entry),
    /// There is nothing of this name; the kernel may believe it for so long.
    Nothing(Duration),
}

/// An inode on its way to the kernel. The kernel counts each one it is given, and so does the tree; an entry that is
/// dropped before it is given takes its count back.
pub struct Entry {
    fs: Arc<FileSystem>,
    attributes: Attributes,
    given: bool,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entry").field(&self.attributes).finish()
    }
}

impl Entry {
    /// What stat(2) shows of it.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The kernel has it: from now on it is the kernel's to forget.
    pub fn give(mut self) {
        self.given = true;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.given {
            self.fs.forget(self.attributes.ino, 1);
        }
    }
}

impl FileSystem {
    /// What the tree knows of `name` in `parent`, if that is fresh.
    #[must_use]
    pub fn lookup_known(self: &Arc<Self>, parent: Ino, name: &str) -> Option<Result<Found, Error>> {
        if let Err(error) = valid_name(name.as_bytes()) {
            return Some(Err(name_error(error)));
        }
        let now = Instant::now();
        let mut tree = self.tree();
        let found = match tree.known(parent, name, now) {
            Known::Fresh(ino) => self.entry(&mut tree, ino, now),
            Known::Absent { left } => Some(Found::Nothing(left)),
            Known::Stale => return Some(Err(crate::tree::Stale.into())),
            Known::Expired(_) | Known::Unknown => None,
        }?;
        drop(tree);
        self.metrics.tree.lookup_hits.inc();
        self.note_found(parent, &found);
        if let Found::Nothing(left) = found {
            self.list_early(parent, left);
        }
        Some(Ok(found))
    }

    /// Asks OSS for `name` in `parent`.
    ///
    /// # Errors
    /// [`Error::NameTooLong`], [`Error::Stale`] if the directory is gone, or what OSS says.
    pub async fn lookup(
        self: &Arc<Self>,
        op: &Op,
        parent: Ino,
        name: &str,
    ) -> Result<Found, Error> {
        self.metrics.tree.lookup_misses.inc();
        if let Some(found) = self.look_among_created(op, parent, name).await? {
            return Ok(found);
        }
        let is_unknown = self.tree().known(parent, name, Instant::now()) == Known::Unknown;
        for _ in 0..ASKS_MAX {
            let (settled, asked) = self.ask_name(op, parent, name, Purpose::Lookup).await?;
            match settled {
                Settled::Entry(ino) => {
                    // What was asked on behalf of another may have grown old.
                    let found = self.entry(&mut self.tree(), ino, Instant::now());
                    if let Some(found) = found {
                        if self.note_found(parent, &found) && is_unknown {
                            self.noted_miss(parent);
                        }
                        return Ok(found);
                    }
                }
                Settled::Absent => {
                    let left = self.config.negative_ttl.saturating_sub(asked.elapsed());
                    return Ok(Found::Nothing(left));
                }
                Settled::AskAgain => {}
                Settled::Stale => return Err(crate::tree::Stale.into()),
            }
        }
        Err(crate::tree::Stale.into())
    }

    /// Asks OSS what `name` is, and takes the answer into the tree; also says when it was asked.
    pub(super) async fn ask_name(
        &self,
        op: &Op,
        parent: Ino,
        name: &str,
        purpose: Purpose,
    ) -> Result<(Settled, Instant), Error> {
        let asked = Instant::now();
        if let Some(answer) = self.ask_by_content(parent, name, asked, purpose).await {
            return Ok(answer);
        }
        let asked = Instant::now();
        let (key, directory, guess) = {
            let tree = self.tree();
            let prefix = tree.prefix_of(parent)?;
            let guess = match tree.known(parent, name, asked) {
                Known::Fresh(ino) | Known::Expired(ino) => guess(&tree, ino),
                Known::Absent { .. } | Known::Unknown | Known::Stale => Guess::Unknown,
            };
            let key = prefix.object(name)?;
            (key, prefix.directory(name).ok(), guess)
        };
        let answer = self.ask(op, &key, directory.as_ref(), guess).await?;
        let mut tree = self.tree();
        let settled = match answer {
            Answer::Object(meta) => tree.found_object(parent, name, &meta, asked),
            Answer::Link(link) => {
                let text = links::text(&tree, &self.bucket, parent, &link.itself);
                let told = (&link.itself.etag, link.modified);
                tree.found_symlink(parent, name, told, Some(&text), asked)
            }
            Answer::Directory => tree.found_directory(parent, name, asked),
            Answer::Nothing => tree.found_nothing(parent, name, asked),
        };
        self.gauge(&tree);
        Ok((settled, asked))
    }

    /// Asks OSS for an entry of a directory that is being read; `None` if there is nothing of this name.
    pub(super) async fn asked_entry(
        self: &Arc<Self>,
        op: &Op,
        parent: Ino,
        name: &str,
    ) -> Result<Option<Entry>, Error> {
        for _ in 0..ASKS_MAX {
            match self
                .ask_name(op, parent, name, Purpose::Attributes)
                .await?
                .0
            {
                Settled::Entry(ino) => {
                    let mut tree = self.tree();
                    let ttl = tree.fresh_for(ino, Instant::now());
                    if let Some(entry) = self.counted(&mut tree, ino, ttl) {
                        return Ok(Some(entry));
                    }
                }
                Settled::Absent => return Ok(None),
                Settled::AskAgain => {}
                Settled::Stale => break,
            }
        }
        Err(crate::tree::Stale.into())
    }

    /// Takes note of a lookup; true if it has found a file.
    fn note_found(&self, parent: Ino, found: &Found) -> bool {
        let is_file = match found {
            Found::Entry(entry) => !entry.attributes.is_directory(),
            Found::Nothing(_) => false,
        };
        if is_file {
            self.noted_lookup(parent);
        }
        is_file
    }

    /// An entry for the kernel; `None` if the inode has gone meanwhile.
    fn entry(self: &Arc<Self>, tree: &mut Tree, ino: Ino, now: Instant) -> Option<Found> {
        let ttl = tree.fresh_for(ino, now);
        Some(Found::Entry(self.counted(tree, ino, ttl)?))
    }

    /// An entry that the tree counts, with a time to live of its own.
    pub(super) fn counted(
        self: &Arc<Self>,
        tree: &mut Tree,
        ino: Ino,
        ttl: Duration,
    ) -> Option<Entry> {
        tree.remember(ino)?;
        let attributes = Attributes::of(tree, ino, &self.config.ownership, ttl)?;
        self.gauge(tree);
        Some(Entry {
            fs: Arc::clone(self),
            attributes,
            given: false,
        })
    }

    /// The kernel takes back `lookups` of the entries it was given.
    pub fn forget(&self, ino: Ino, lookups: u64) {
        let mut tree = self.tree();
        tree.forget(ino, lookups);
        self.gauge(&tree);
    }

    /// Says how large the tree is now, also to whoever keeps it small.
    pub(super) fn gauge(&self, tree: &Tree) {
        let inodes = i64::try_from(tree.len()).unwrap_or(i64::MAX);
        self.metrics.tree.inodes.set(inodes);
        if tree.is_crowded(Choice::New)
            && let Some(crowded) = self.crowded.get()
        {
            // Full: it was woken already.
            let _ = crowded.try_send(());
        }
    }

    /// The attributes of an inode, if the tree's are fresh. They are those of the inode's version for ever, so an
    /// open file keeps its attributes when its name has moved on.
    #[must_use]
    pub fn attributes_known(&self, ino: Ino) -> Option<Result<Attributes, Error>> {
        let now = Instant::now();
        let tree = self.tree();
        let Some(node) = tree.node(ino) else {
            return Some(Err(crate::tree::Stale.into()));
        };
        let ttl = tree.fresh_for(ino, now);
        if node.is_stale() && node.opens() == 0 {
            return Some(Err(crate::tree::Stale.into()));
        }
        // An orphan has no name that could be asked for.
        let is_held = node.opens() > 0 || node.is_orphan() || ino == Ino::ROOT;
        if ttl > Duration::ZERO || is_held {
            let attributes = Attributes::of(&tree, ino, &self.config.ownership, ttl);
            return Some(attributes.ok_or(crate::tree::Stale.into()));
        }
        None
    }

    /// Asks OSS whether an inode is still what its name shows, and for its attributes.
    ///
    /// # Errors
    /// [`Error::Stale`] if it is not, or what OSS says.
    pub async fn attributes(&self, op: &Op, ino: Ino) -> Result<Attributes, Error> {
        self.check(op, ino, Purpose::Attributes).await?;
        self.attributes_now(ino)
    }

    /// The attributes of an inode as the tree has them, whatever their age.
    pub(super) fn attributes_now(&self, ino: Ino) -> Result<Attributes, Error> {
        let tree = self.tree();
        let ttl = tree.fresh_for(ino, Instant::now());
        Ok(Attributes::of(&tree, ino, &self.config.ownership, ttl).ok_or(crate::tree::Stale)?)
    }

    /// Asks OSS whether an inode is still what its name shows.
    pub(super) async fn check(&self, op: &Op, ino: Ino, purpose: Purpose) -> Result<(), Error> {
        for _ in 0..ASKS_MAX {
            let (parent, name) = {
                let tree = self.tree();
                let node = tree
                    .node(ino)
                    .filter(|node| !node.is_stale())
                    .ok_or(crate::tree::Stale)?;
                (node.parent(), node.name().to_owned())
            };
            match self.ask_name(op, parent, &name, purpose).await?.0 {
                Settled::Entry(current) if current == ino => return Ok(()),
                Settled::AskAgain => {}
                Settled::Entry(_) | Settled::Absent | Settled::Stale => break,
            }
        }
        Err(crate::tree::Stale.into())
    }
}

fn guess(tree: &Tree, ino: Ino) -> Guess {
    match tree.node(ino).map(crate::tree::Node::kind) {
        Some(Kind::Directory) => Guess::Directory,
        Some(Kind::Object(_) | Kind::File(_) | Kind::Symlink(_)) => Guess::Object,
        None => Guess::Unknown,
    }
}

/// A name that no key can show is a name of nothing; one that is too long is said to be.
pub(super) fn name_error(error: NameError) -> Error {
    match error {
        NameError::TooLong => Error::NameTooLong,
        NameError::Empty | NameError::Dots | NameError::NotUtf8 | NameError::Forbidden => {
            Error::NotFound
        }
    }
}
