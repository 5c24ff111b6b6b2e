//! One inode, packed: millions of them may be held.

use std::num::NonZeroU64;
use std::time::Instant;

use super::file::{LocalFile, Symlink};
use super::packed::Object;

/// The number of an inode: 1 is the mount's root, others are given out once and never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(NonZeroU64);

impl Ino {
    /// The root of the mount (`FUSE_ROOT_ID`).
    pub const ROOT: Self = Self(NonZeroU64::MIN);

    /// Takes the number that the kernel sent; 0 is none.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The number for the kernel.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }

    pub(super) fn next(self) -> Self {
        // 2^64 inodes at a million a second last half a million years.
        Self(self.0.saturating_add(1))
    }
}

/// What an inode is.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    /// A prefix that keys share.
    Directory,
    /// One version of one object.
    Object(&'a Object),
    /// A file whose content is this mount's: it was created here, or is being rewritten, and is not stored yet.
    File(&'a LocalFile),
    /// A symbolic link of OSS ([`Tree::show_links`](super::Tree::show_links)).
    Symlink(&'a Symlink),
}

/// What the tree knows of one name, or knew before the name went to another inode.
#[derive(Debug)]
pub struct Node {
    pub(super) ino: Ino,
    pub(super) parent: Ino,
    pub(super) name: Box<str>,
    pub(super) what: What,
    /// When the question was asked whose answer is the youngest knowledge here.
    pub(super) asked: Instant,
    pub(super) lookups: u64,
    pub(super) opens: u32,
    /// Nodes whose parent this is, stale ones too.
    pub(super) children: u32,
    /// INVARIANT: what is not [`Place::Named`] never is again, and is not in the index of names.
    pub(super) place: Place,
    /// Nothing holds this node: it may go. Kept by `Tree::settle`, counted in `Tree::idle`.
    pub(super) idle: bool,
    /// The queue of eviction has this node, once.
    pub(super) queued: bool,
    /// Confirmed, or given to the kernel, since it was last looked at by whoever seeks the coldest.
    pub(super) touched: bool,
    /// Its path is of a data set that never changes.
    pub(super) immutable: bool,
    /// The kernel was asked to forget it.
    pub(super) asked_back: bool,
    /// This mount has changed the name not long ago: it is among `Own::changes`, and kept.
    pub(super) own: bool,
    /// It has attributes of its own, among `Overlays`, and is kept.
    pub(super) overlaid: bool,
}

/// What an inode has of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The name is this inode.
    Named,
    /// The name belongs to another inode now, or to none, and not by this mount's doing.
    Stale,
    /// This mount has removed the name: the inode has none, and lives while it is held.
    Orphan,
}

#[derive(Debug)]
pub(super) enum What {
    Directory(Directory),
    Object(Object),
    File(Box<LocalFile>),
    Symlink(Box<Symlink>),
    /// The bucket has nothing of this name. The inode number is never shown.
    Nothing,
    /// What was known turned out wrong; nothing asked before `asked` may be believed. The inode number is never shown.
    Unknown,
}

impl What {
    /// True for what the kernel may see, not for a note about a name.
    pub(super) fn is_inode(&self) -> bool {
        match self {
            Self::Directory(_) | Self::Object(_) | Self::File(_) | Self::Symlink(_) => true,
            Self::Nothing | Self::Unknown => false,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Directory {
    /// When the youngest complete listing began: who was last heard of before that was not in it.
    pub(super) listed: Option<Instant>,
    /// `listed` also speaks for names that the tree has no node of: none was lost since.
    pub(super) whole: bool,
    /// How many names a listing may have shown that the tree holds no knowledge of; wraps.
    pub(super) losses: u32,
    /// It was made, moved or perhaps emptied by this mount at that moment: it is there, until the bucket shows that there is
    /// something in it since.
    pub(super) kept: Option<Instant>,
    /// How many local names it has (the room `local`).
    pub(super) locals: u32,
}

impl Node {
    pub(super) fn new(ino: Ino, parent: Ino, name: &str, what: What, asked: Instant) -> Self {
        Self {
            ino,
            parent,
            name: name.into(),
            what,
            asked,
            lookups: 0,
            opens: 0,
            children: 0,
            place: Place::Named,
            idle: false,
            queued: false,
            touched: false,
            immutable: false,
            asked_back: false,
            own: false,
            overlaid: false,
        }
    }

    /// The directory that the name is in; the root's is the root.
    #[must_use]
    pub fn parent(&self) -> Ino {
        self.parent
    }

    /// The name in its directory; the root's is empty.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the inode is. It stays what it is also when it is stale.
    #[must_use]
    pub fn kind(&self) -> Kind<'_> {
        match &self.what {
            What::Object(object) => Kind::Object(object),
            What::File(file) => Kind::File(file),
            What::Symlink(link) => Kind::Symlink(link),
            What::Directory(_) | What::Nothing | What::Unknown => Kind::Directory,
        }
    }

    /// The version, if the inode is an object and nothing else: not of a file that is being rewritten.
    #[must_use]
    pub fn object(&self) -> Option<&Object> {
        match &self.what {
            What::Object(object) => Some(object),
            What::Directory(_)
            | What::File(_)
            | What::Symlink(_)
            | What::Nothing
            | What::Unknown => None,
        }
    }

    /// The local content, if the inode has one ([`Tree::create`](super::Tree::create), [`Tree::dirty`](super::Tree::dirty)).
    #[must_use]
    pub fn file(&self) -> Option<&LocalFile> {
        match &self.what {
            What::File(file) => Some(file),
            What::Directory(_)
            | What::Object(_)
            | What::Symlink(_)
            | What::Nothing
            | What::Unknown => None,
        }
    }

    /// True once the name has gone to another inode, or to none, elsewhere: to be answered with ESTALE.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.place == Place::Stale
    }

    /// True once this mount has removed the name: the inode has no links, and is what it was for those who hold it.
    #[must_use]
    pub fn is_orphan(&self) -> bool {
        self.place == Place::Orphan
    }

    /// True while the name is under this mount's control: answers of the bucket do not take it away.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let is_local = match &self.what {
            What::File(_) => true,
            What::Directory(directory) => directory.kept.is_some() || directory.locals > 0,
            What::Object(_) | What::Symlink(_) | What::Nothing | What::Unknown => false,
        };
        is_local && self.is_named()
    }

    /// When the question was asked that last confirmed this inode.
    #[must_use]
    pub fn checked(&self) -> Instant {
        self.asked
    }

    /// True if it is taken as unchanged for ever ([`Ttl::immutable`](super::Ttl::immutable)).
    #[must_use]
    pub fn is_immutable(&self) -> bool {
        self.immutable
    }

    /// How often the kernel was given this inode and has not forgotten it.
    #[must_use]
    pub fn lookups(&self) -> u64 {
        self.lookups
    }

    /// How many handles hold this inode.
    #[must_use]
    pub fn opens(&self) -> u32 {
        self.opens
    }

    /// True for what the kernel may see, not for a note about a name.
    pub(super) fn is_inode(&self) -> bool {
        self.what.is_inode()
    }

    pub(super) fn is_named(&self) -> bool {
        self.place == Place::Named
    }

    /// True if the name is kept though neither the kernel nor a handle nor a name below holds it.
    pub(super) fn is_pinned(&self) -> bool {
        let is_kept = match &self.what {
            What::File(_) => true,
            What::Directory(directory) => directory.kept.is_some(),
            What::Object(_) | What::Symlink(_) | What::Nothing | What::Unknown => false,
        };
        self.is_named() && (is_kept || self.own || self.overlaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_small() {
        assert!(size_of::<Option<Node>>() <= 128, "{}", size_of::<Node>());
    }
}
