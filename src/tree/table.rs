//! The names and inodes of a mount: what is known, what key they stand for.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashTable;

use super::globs::Globs;
use super::local::LocalNames;
use super::node::{Directory, Ino, Node, Place, What};
use super::nodes::{Nodes, Slot};
use super::overlay::Overlays;
use super::own::Own;
use crate::object::{KeyError, ObjectKey, Prefix, Version};

/// The longest that a name may be taken as absent without asking again: what another node creates appears within it.
pub const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(1);

/// How long the root may be believed without asking, at least: it is there as long as the mount is.
const ROOT_TTL_MIN: Duration = Duration::from_secs(1);

/// How long the kernel is told to believe what never changes: longer than jobs run, and short enough for every kernel's clock.
pub const IMMUTABLE_TTL: Duration = Duration::from_secs(30 * 86_400);

/// How long an answer of the bucket is good, counted from the question.
#[derive(Debug, Clone)]
pub struct Ttl {
    attributes: Duration,
    negative: Duration,
    immutable: Globs,
}

impl Ttl {
    /// `attributes`: how long an object or directory is taken as unchanged; 0 asks at every open. `negative`: how long a name
    /// is taken as absent; at most [`NEGATIVE_TTL_MAX`], what is longer is cut to that.
    #[must_use]
    pub fn new(attributes: Duration, negative: Duration) -> Self {
        Self {
            attributes,
            negative: negative.min(NEGATIVE_TTL_MAX),
            immutable: Globs::default(),
        }
    }

    /// What is found at these paths is good for ever, until a reader meets the opposite. What is not there is believed as
    /// long as anywhere.
    #[must_use]
    pub fn immutable(mut self, paths: Globs) -> Self {
        self.immutable = paths;
        self
    }

    /// What is left at `now` of an answer about a node that is there.
    fn left(&self, node: &Node, now: Instant) -> Option<Duration> {
        if node.immutable {
            return Some(IMMUTABLE_TTL);
        }
        left(node.asked, self.attributes, now)
    }
}

/// What the tree knows of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It is this inode, and that is young enough to be used.
    Fresh(Ino),
    /// It was this inode when it was last asked for, too long ago.
    Expired(Ino),
    /// There is nothing of this name; the kernel may believe it for `left`.
    Absent {
        /// More than zero, at most [`NEGATIVE_TTL_MAX`].
        left: Duration,
    },
    /// The bucket must be asked.
    Unknown,
    /// The directory itself is stale, or no directory: ESTALE.
    Stale,
}

/// The inode is no longer what its name shows, or is not known at all: ESTALE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name has gone to another object")]
pub struct Stale;

/// Why there is no key for an inode or name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No such inode: the kernel has forgotten it.
    #[error("the inode is not known")]
    Gone,
    /// A directory where an object is meant, or an object where a directory is.
    #[error("the inode is of the other kind")]
    OtherKind,
    /// The path is no key of OSS: nothing can exist there.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The names and inodes of one mount.
pub struct Tree {
    prefix: Prefix,
    ttl: Ttl,
    /// At least 1.
    pub(super) names_max: usize,
    pub(super) nodes: Nodes,
    /// Nodes that have a name, by (parent, name); the root has no name.
    pub(super) index: HashTable<Slot>,
    /// Seeded: names come from outside.
    hasher: RandomState,
    last: Ino,
    /// Candidates of eviction, longest unconfirmed first. INVARIANT: holds every idle node that has a name.
    pub(super) queue: VecDeque<Ino>,
    /// Nodes with `idle`.
    pub(super) idle: usize,
    /// Nodes with `asked_back`.
    pub(super) asked_back: usize,
    /// The slot that the search for the coldest has looked at last.
    pub(super) hand: u32,
    /// Slots it has looked at since it last found one.
    pub(super) visits_in_vain: u32,
    pub(super) own: Own,
    pub(super) locals: LocalNames,
    pub(super) overlays: Overlays,
    /// Nodes that are special files.
    pub(super) specials: usize,
    pub(super) shows_links: bool,
}

impl Tree {
    /// A tree whose root stands for `prefix`. Names that nothing holds are let go when there are more than `names_max`
    /// (at least 1) names in all; an eighth of that is always left to them.
    #[must_use]
    pub fn new(prefix: Prefix, ttl: Ttl, names_max: usize, now: Instant) -> Self {
        let root = Node::new(
            Ino::ROOT,
            Ino::ROOT,
            "",
            What::Directory(Directory::default()),
            now,
        );
        let mut nodes = Nodes::default();
        nodes.insert(root);
        Self {
            prefix,
            ttl,
            names_max: names_max.max(1),
            nodes,
            index: HashTable::new(),
            hasher: RandomState::new(),
            last: Ino::ROOT,
            queue: VecDeque::new(),
            idle: 0,
            asked_back: 0,
            hand: 0,
            visits_in_vain: 0,
            own: Own::new(names_max),
            locals: LocalNames::default(),
            overlays: Overlays::new(names_max),
            specials: 0,
            shows_links: false,
        }
    }

    /// Symbolic links of OSS are inodes of their own, instead of names for what they point to. To be called before the first
    /// answer is taken in.
    #[must_use]
    pub fn show_links(mut self) -> Self {
        self.shows_links = true;
        self
    }

    /// The inode, if it lives.
    #[must_use]
    pub fn node(&self, ino: Ino) -> Option<&Node> {
        self.nodes.get(ino).filter(|node| node.is_inode())
    }

    /// How many names and inodes are held, negative answers included.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "the root is always there")]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// How many of [`Self::len`] nothing holds: cached knowledge.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle
    }

    /// What is known of `name` in `parent`.
    #[must_use]
    pub fn known(&self, parent: Ino, name: &str, now: Instant) -> Known {
        let Some(directory) = self.live_directory(parent) else {
            return Known::Stale;
        };
        let moved = self.moved_floor(parent);
        let unlisted = directory
            .listed
            .filter(|started| Some(*started) >= moved)
            .and_then(|started| left(started, self.ttl.negative, now));
        let Some(ino) = self.find(parent, name) else {
            return match unlisted {
                Some(left) if directory.whole => Known::Absent { left },
                Some(_) | None => Known::Unknown,
            };
        };
        let node = &self.nodes[ino];
        if node.is_local() {
            return Known::Fresh(ino);
        }
        if self.is_unsure(ino) || Some(node.asked) < moved {
            return match node.is_inode() {
                true => Known::Expired(ino),
                false => Known::Unknown,
            };
        }
        let is_passed_over = directory.listed.is_some_and(|started| node.asked < started);
        match (&node.what, is_passed_over) {
            (What::Directory(_) | What::Object(_) | What::File(_) | What::Symlink(_), false) => {
                match self.ttl.left(node, now) {
                    Some(_) => Known::Fresh(ino),
                    None => Known::Expired(ino),
                }
            }
            (What::Nothing, false) => match left(node.asked, self.ttl.negative, now) {
                Some(left) => Known::Absent { left },
                None => Known::Unknown,
            },
            (What::Unknown, false) => Known::Unknown,
            // A complete listing, begun after this was asked, hasn't shown it: gone then, and perhaps back since.
            (what, true) => match (unlisted, what) {
                (Some(left), _) => Known::Absent { left },
                (None, What::Directory(_) | What::Object(_) | What::File(_) | What::Symlink(_)) => {
                    Known::Expired(ino)
                }
                (None, What::Nothing | What::Unknown) => Known::Unknown,
            },
        }
    }

    /// How long the attributes of an inode may still be believed, by the kernel or at an open: zero for one that is stale,
    /// unknown or must be checked. The root, local names and orphans need no check.
    #[must_use]
    pub fn fresh_for(&self, ino: Ino, now: Instant) -> Duration {
        let Some(node) = self.node(ino) else {
            return Duration::ZERO;
        };
        match node.place {
            Place::Orphan => self.ttl.attributes.max(ROOT_TTL_MIN),
            Place::Named if ino == Ino::ROOT || node.is_local() => {
                self.ttl.attributes.max(ROOT_TTL_MIN)
            }
            Place::Stale => Duration::ZERO,
            Place::Named if self.is_passed_over(node) || self.is_unsure(ino) => Duration::ZERO,
            Place::Named if Some(node.asked) < self.moved_floor(node.parent) => Duration::ZERO,
            Place::Named => self.ttl.left(node, now).unwrap_or_default(),
        }
    }

    /// The prefix that a directory stands for, also of a stale one.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn prefix_of(&self, directory: Ino) -> Result<Prefix, PathError> {
        let node = self.node(directory).ok_or(PathError::Gone)?;
        match node.what {
            What::Directory(_) => Ok(Prefix::new(self.path(directory, "/")?)?),
            What::Object(_) | What::File(_) | What::Symlink(_) | What::Nothing | What::Unknown => {
                Err(PathError::OtherKind)
            }
        }
    }

    /// The key of the object `name` in `parent`, known or not.
    ///
    /// # Errors
    /// [`PathError`]; [`PathError::Key`] says that no object can be there.
    pub fn key_of(&self, parent: Ino, name: &str) -> Result<ObjectKey, PathError> {
        Ok(self.prefix_of(parent)?.object(name)?)
    }

    /// The version of an object's inode, also of a stale one; a local file has none. It is built anew each time: for an open, not for each read.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn version(&self, ino: Ino) -> Result<Arc<Version>, PathError> {
        let node = self.node(ino).ok_or(PathError::Gone)?;
        let object = node.object().ok_or(PathError::OtherKind)?;
        let key = ObjectKey::new(self.path(ino, "")?)?;
        Ok(Version::new(key, object.etag(), object.size()))
    }

    /// The names from the root to `ino`, joined; `end` follows the last if there is one.
    fn path(&self, ino: Ino, end: &str) -> Result<String, PathError> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != Ino::ROOT {
            let node = self.nodes.get(at).ok_or(PathError::Gone)?;
            names.push(&*node.name);
            at = node.parent;
        }
        names.reverse();
        let end = if names.is_empty() { "" } else { end };
        Ok(format!("{}{}{end}", self.prefix.as_str(), names.join("/")))
    }

    /// The names from the root of the mount to `ino`, joined by slashes; empty for the root.
    ///
    /// # Errors
    /// [`PathError::Gone`].
    pub fn path_in_mount(&self, ino: Ino) -> Result<String, PathError> {
        let mut path = self.path(ino, "")?;
        path.drain(..self.prefix.as_str().len());
        Ok(path)
    }

    /// True if the path of a name is of a data set that never changes.
    pub(super) fn is_immutable(&self, parent: Ino, name: &str) -> bool {
        if !self.has_immutable() {
            return false;
        }
        match self.path_in_mount(parent) {
            Ok(path) if path.is_empty() => self.ttl.immutable.matches(name),
            Ok(path) => self.ttl.immutable.matches(&format!("{path}/{name}")),
            Err(_) => false,
        }
    }

    pub(super) fn has_immutable(&self) -> bool {
        !self.ttl.immutable.is_empty()
    }

    pub(super) fn live_directory(&self, ino: Ino) -> Option<&Directory> {
        let node = self.nodes.get(ino).filter(|node| node.is_named())?;
        match &node.what {
            What::Directory(directory) => Some(directory),
            What::Object(_) | What::File(_) | What::Symlink(_) | What::Nothing | What::Unknown => {
                None
            }
        }
    }

    pub(super) fn live_directory_mut(&mut self, ino: Ino) -> Option<&mut Directory> {
        let node = self.nodes.get_mut(ino).filter(|node| node.is_named())?;
        match &mut node.what {
            What::Directory(directory) => Some(directory),
            What::Object(_) | What::File(_) | What::Symlink(_) | What::Nothing | What::Unknown => {
                None
            }
        }
    }

    /// True if a complete listing of its directory, begun after `node` was asked for, has not shown it.
    fn is_passed_over(&self, node: &Node) -> bool {
        let listed = self
            .live_directory(node.parent)
            .and_then(|directory| directory.listed);
        listed.is_some_and(|started| node.asked < started)
    }

    fn hash(&self, parent: Ino, name: &str) -> u64 {
        self.hasher.hash_one((parent, name))
    }

    pub(super) fn find(&self, parent: Ino, name: &str) -> Option<Ino> {
        let is_it = |slot: &Slot| {
            let node = &self.nodes[*slot];
            node.parent == parent && *node.name == *name
        };
        let slot = self.index.find(self.hash(parent, name), is_it)?;
        Some(self.nodes[*slot].ino)
    }

    /// Gives a free name to a new node.
    pub(super) fn insert(&mut self, parent: Ino, name: &str, what: What, asked: Instant) -> Ino {
        let ino = self.last.next();
        self.last = ino;
        let mut node = Node::new(ino, parent, name, what, asked);
        node.immutable = self.is_immutable(parent, name);
        let is_local = node.is_local();
        let slot = self.nodes.insert(node);
        self.reindex(slot);
        if let Some(parent) = self.nodes.get_mut(parent) {
            parent.children += 1;
        }
        self.count_local(parent, name, ino, is_local);
        self.settle(parent);
        self.settle(ino);
        ino
    }

    /// Gives the name of `ino` to a new node; `ino` keeps what it is, without a name, as `place` says.
    pub(super) fn replace(&mut self, ino: Ino, what: What, asked: Instant, place: Place) -> Ino {
        self.unindex(ino);
        let Some(node) = self.nodes.get_mut(ino) else {
            return ino;
        };
        let was_local = node.is_local();
        node.place = place;
        let (parent, name) = (node.parent, node.name.clone());
        if was_local {
            self.count_local(parent, &name, ino, false);
        }
        if place == Place::Stale {
            self.drop_overlay(ino);
        }
        // The new node first: it holds the parent, which may be stale itself and live only by its children.
        let new = self.insert(parent, &name, what, asked);
        self.hand_over_changes(ino, Some(new));
        self.settle(ino);
        new
    }

    /// Enters a node that has a name into the index.
    pub(super) fn reindex(&mut self, slot: Slot) {
        let node = &self.nodes[slot];
        let hash = self.hash(node.parent, &node.name);
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        self.index.insert_unique(hash, slot, |slot| {
            let node = &nodes[*slot];
            hasher.hash_one((node.parent, &*node.name))
        });
    }

    pub(super) fn unindex(&mut self, ino: Ino) {
        let Some(slot) = self.nodes.slot(ino) else {
            return;
        };
        let node = &self.nodes[slot];
        let hash = self.hash(node.parent, &node.name);
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree")
            .field("prefix", &self.prefix)
            .field("nodes", &self.nodes.len())
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

/// What is left at `now` of `ttl` since `asked`; `None` if nothing.
fn left(asked: Instant, ttl: Duration, now: Instant) -> Option<Duration> {
    let age = now.saturating_duration_since(asked);
    ttl.checked_sub(age).filter(|left| !left.is_zero())
}
