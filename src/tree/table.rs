//! The names and inodes of a mount: what is known, what key they stand for.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashTable;

use super::node::{Directory, Ino, Node, What};
use crate::object::{KeyError, ObjectKey, Prefix, Version};

/// The longest that a name may be taken as absent without asking again: what another node creates appears within it.
pub const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(1);

/// How long the root may be believed without asking, at least: it is there as long as the mount is.
const ROOT_TTL_MIN: Duration = Duration::from_secs(1);

/// How long an answer of the bucket is good, counted from the question.
#[derive(Debug, Clone, Copy)]
pub struct Ttl {
    attributes: Duration,
    negative: Duration,
}

impl Ttl {
    /// `attributes`: how long an object or directory is taken as unchanged; 0 asks at every open. `negative`: how long a name
    /// is taken as absent; at most [`NEGATIVE_TTL_MAX`], what is longer is cut to that.
    #[must_use]
    pub fn new(attributes: Duration, negative: Duration) -> Self {
        Self {
            attributes,
            negative: negative.min(NEGATIVE_TTL_MAX),
        }
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
    pub(super) idle_max: usize,
    /// Boxed: growing moves pointers, not nodes.
    pub(super) nodes: HashMap<Ino, Box<Node>>,
    /// Nodes that are not stale, by (parent, name); the root has no name.
    pub(super) index: HashTable<Ino>,
    /// Seeded: names come from outside.
    hasher: RandomState,
    last: Ino,
    /// Candidates of eviction, longest unconfirmed first. INVARIANT: holds every idle node that is not stale.
    pub(super) queue: VecDeque<Ino>,
    /// Nodes with `idle`.
    pub(super) idle: usize,
}

impl Tree {
    /// A tree whose root stands for `prefix`. Of names that nothing holds, at most `idle_max` (at least 1) are kept.
    #[must_use]
    pub fn new(prefix: Prefix, ttl: Ttl, idle_max: usize, now: Instant) -> Self {
        let root = Node::new(Ino::ROOT, "", What::Directory(Directory::default()), now);
        Self {
            prefix,
            ttl,
            idle_max: idle_max.max(1),
            nodes: HashMap::from([(Ino::ROOT, Box::new(root))]),
            index: HashTable::new(),
            hasher: RandomState::new(),
            last: Ino::ROOT,
            queue: VecDeque::new(),
            idle: 0,
        }
    }

    /// The inode, if it lives.
    #[must_use]
    pub fn node(&self, ino: Ino) -> Option<&Node> {
        self.nodes
            .get(&ino)
            .map(Box::as_ref)
            .filter(|node| node.is_inode())
    }

    /// How many names and inodes are held, negative answers included.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "the root is always there")]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// How many of [`Self::len`] nothing holds: cached knowledge, bounded.
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
        let unlisted = directory
            .listed
            .and_then(|started| left(started, self.ttl.negative, now));
        let Some(ino) = self.find(parent, name) else {
            return match unlisted {
                Some(left) if directory.whole => Known::Absent { left },
                Some(_) | None => Known::Unknown,
            };
        };
        let node = &self.nodes[&ino];
        let is_passed_over = directory.listed.is_some_and(|started| node.asked < started);
        match (&node.what, is_passed_over) {
            (What::Directory(_) | What::Object(_), false) => {
                match left(node.asked, self.ttl.attributes, now) {
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
                (None, What::Directory(_) | What::Object(_)) => Known::Expired(ino),
                (None, What::Nothing | What::Unknown) => Known::Unknown,
            },
        }
    }

    /// How long the attributes of an inode may still be believed, by the kernel or at an open: zero for one that is stale,
    /// unknown or must be checked. The root needs no check.
    #[must_use]
    pub fn fresh_for(&self, ino: Ino, now: Instant) -> Duration {
        if ino == Ino::ROOT {
            return self.ttl.attributes.max(ROOT_TTL_MIN);
        }
        match self.node(ino) {
            Some(node) if !node.stale && !self.is_passed_over(node) => {
                left(node.asked, self.ttl.attributes, now).unwrap_or_default()
            }
            Some(_) | None => Duration::ZERO,
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
            What::Object(_) | What::Nothing | What::Unknown => Err(PathError::OtherKind),
        }
    }

    /// The key of the object `name` in `parent`, known or not.
    ///
    /// # Errors
    /// [`PathError`]; [`PathError::Key`] says that no object can be there.
    pub fn key_of(&self, parent: Ino, name: &str) -> Result<ObjectKey, PathError> {
        Ok(self.prefix_of(parent)?.object(name)?)
    }

    /// The version of an object's inode, also of a stale one. It is built anew each time: for an open, not for each read.
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
            let node = self.nodes.get(&at).ok_or(PathError::Gone)?;
            names.push(&*node.name);
            at = node.parent;
        }
        names.reverse();
        let end = if names.is_empty() { "" } else { end };
        Ok(format!("{}{}{end}", self.prefix.as_str(), names.join("/")))
    }

    pub(super) fn live_directory(&self, ino: Ino) -> Option<&Directory> {
        match self
            .nodes
            .get(&ino)
            .filter(|node| !node.stale)
            .map(|node| &node.what)
        {
            Some(What::Directory(directory)) => Some(directory),
            Some(What::Object(_) | What::Nothing | What::Unknown) | None => None,
        }
    }

    pub(super) fn live_directory_mut(&mut self, ino: Ino) -> Option<&mut Directory> {
        let node = self.nodes.get_mut(&ino).filter(|node| !node.stale);
        match node.map(|node| &mut node.what) {
            Some(What::Directory(directory)) => Some(directory),
            Some(What::Object(_) | What::Nothing | What::Unknown) | None => None,
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
        let is_it = |ino: &Ino| {
            let node = &self.nodes[ino];
            node.parent == parent && *node.name == *name
        };
        self.index.find(self.hash(parent, name), is_it).copied()
    }

    /// Gives a free name to a new node.
    pub(super) fn insert(&mut self, parent: Ino, name: &str, what: What, asked: Instant) -> Ino {
        let ino = self.last.next();
        self.last = ino;
        self.nodes
            .insert(ino, Box::new(Node::new(parent, name, what, asked)));
        let hash = self.hash(parent, name);
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        self.index.insert_unique(hash, ino, |ino| {
            let node = &nodes[ino];
            hasher.hash_one((node.parent, &*node.name))
        });
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.children += 1;
        }
        self.settle(parent);
        self.settle(ino);
        ino
    }

    /// Gives the name of `ino` to a new node; `ino` is stale.
    pub(super) fn replace(&mut self, ino: Ino, what: What, asked: Instant) -> Ino {
        self.unindex(ino);
        let Some(node) = self.nodes.get_mut(&ino) else {
            return ino;
        };
        node.stale = true;
        let (parent, name) = (node.parent, node.name.clone());
        // The new node first: it holds the parent, which may be stale itself and live only by its children.
        let new = self.insert(parent, &name, what, asked);
        self.settle(ino);
        new
    }

    pub(super) fn unindex(&mut self, ino: Ino) {
        let node = &self.nodes[&ino];
        let hash = self.hash(node.parent, &node.name);
        if let Ok(slot) = self.index.find_entry(hash, |other| *other == ino) {
            slot.remove();
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
