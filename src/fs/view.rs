//! What a reader of a directory is shown.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;

use super::directories::{DOTS, OpenDirectory};
use super::{Entry, FileKind, FileSystem};
use crate::object::ObjectType;
use crate::tree::{self, Ino, Kind, Known, Node, Position, Shown, Stale, Tree, What};

/// The attributes of a page that has lain longer than this are not believed: the kernel looks each name up when it is
/// used.
const PAGE_AGE_MAX: Duration = Duration::from_secs(10);

/// `d_ino` of an entry whose inode is not known (libfuse's `FUSE_UNKNOWN_INO`).
const UNKNOWN_INO: u64 = 0xffff_ffff;

/// One entry of a directory, as it is shown.
#[derive(Debug)]
pub struct DirectoryEntry<'a> {
    /// The name.
    pub name: &'a str,
    /// Where the next readdir goes on.
    pub cookie: u64,
    /// What it is.
    pub kind: FileKind,
    /// `d_ino`.
    pub number: u64,
    /// With [`DirectoryView::fill_plus`]: the inode, counted for the kernel. `None` for `.` and `..`.
    pub entry: Option<Entry>,
}

/// Whether a reply has room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// The entry was taken.
    More,
    /// The entry was not taken.
    Full,
}

/// What is to be shown of an entry.
enum Look {
    /// This inode.
    Shown(Ino),
    /// There is nothing of this name any more.
    Gone,
    /// Only OSS can say.
    Unclear,
}

/// The entries after a cookie.
#[derive(Debug)]
pub struct DirectoryView {
    pub(super) fs: Arc<FileSystem>,
    pub(super) directory: OwnedMutexGuard<OpenDirectory>,
    pub(super) after: u64,
    /// Names that were settled before the reply, with the inode if there is one.
    pub(super) told: HashMap<Box<str>, Option<Entry>>,
    /// No more than so many entries are shown.
    pub(super) entries_max: usize,
}

impl DirectoryView {
    /// Hands entries over until there is no room.
    pub fn fill(&self, mut take: impl FnMut(DirectoryEntry<'_>) -> Room) {
        let fs = &self.fs;
        let parent = self.directory.ino;
        self.each(|name, cookie, kind, listed| {
            let mut tree = fs.tree();
            let shown = listed.map(|listed| tree.shown(parent, listed, Instant::now()));
            let (number, special) = match shown {
                Some(Shown::Inode(ino)) => (ino.get(), tree.node(ino).and_then(Node::special)),
                Some(Shown::Gone) => return Room::More,
                Some(Shown::Name) | None => (UNKNOWN_INO, None),
            };
            drop(tree);
            let kind = special.map_or(kind, FileKind::Special);
            take(DirectoryEntry {
                name,
                cookie,
                kind,
                number,
                entry: None,
            })
        });
    }

    /// As [`DirectoryView::fill`], with the inode of each entry. A name that has become unclear meanwhile ends the reply: it is
    /// never left out, for the kernel goes on with it.
    pub fn fill_plus(mut self, mut take: impl FnMut(DirectoryEntry<'_>) -> Room) {
        let mut told = std::mem::take(&mut self.told);
        let parent = self.directory.ino;
        let above = self.fs.tree().node(parent).map_or(parent, Node::parent);
        self.each(|name, cookie, mut kind, listed| {
            let (number, entry) = match listed {
                None if cookie == 1 => (parent.get(), None),
                None => (above.get(), None),
                Some(listed) => {
                    let entry = match told.remove(name) {
                        Some(Some(entry)) => entry,
                        Some(None) => return Room::More,
                        None => {
                            let (mut tree, now) = (self.fs.tree(), Instant::now());
                            let counted = match self.look(&mut tree, listed, now) {
                                Look::Shown(ino) => self.counted(&mut tree, ino, now),
                                Look::Gone => return Room::More,
                                Look::Unclear => None,
                            };
                            match counted {
                                Some(entry) => entry,
                                None => return Room::Full,
                            }
                        }
                    };
                    kind = entry.attributes().kind;
                    (entry.attributes().ino.get(), Some(entry))
                }
            };
            take(DirectoryEntry {
                name,
                cookie,
                kind,
                number,
                entry,
            })
        });
    }

    /// The inode of an entry, counted for the kernel.
    fn counted(&self, tree: &mut Tree, ino: Ino, now: Instant) -> Option<Entry> {
        let node = tree.node(ino)?;
        if node.is_immutable() {
            let ttl = tree.fresh_for(ino, now);
            return self.fs.counted(tree, ino, ttl);
        }
        let age = now.saturating_duration_since(node.checked());
        // The kernel may believe it for the whole time to live from now on, though the page is a little older: an open
        // looks at the true age.
        let attr_ttl = self.fs.config.attr_ttl;
        let ttl = if age > attr_ttl + PAGE_AGE_MAX {
            Duration::ZERO
        } else {
            attr_ttl
        };
        self.fs.counted(tree, ino, ttl)
    }

    /// What the tree says of an entry. One that it has let go since its page came is told to it again.
    fn look(&self, tree: &mut Tree, entry: &tree::Entry, now: Instant) -> Look {
        match tree.shown(self.directory.ino, entry, now) {
            Shown::Inode(ino) => Look::Shown(ino),
            Shown::Gone => Look::Gone,
            Shown::Name => Look::Unclear,
        }
    }

    /// Settles the entries in front of the first that is shown, and that one; returns the names that must be asked for: symbolic
    /// links of OSS whose targets are not known, and what was found changed since the page came.
    pub(super) fn settle(&mut self) -> Result<Vec<String>, Stale> {
        let now = Instant::now();
        let (mut told, mut asks) = (HashMap::new(), Vec::new());
        let mut is_first = true;
        {
            let mut tree = self.fs.tree();
            if tree.node(self.directory.ino).is_none_or(Node::is_stale) {
                return Err(Stale);
            }
            let (_, entries) = self.entries();
            for entry in entries {
                let must_ask =
                    is_link(entry) && lacks_target(&tree, self.directory.ino, entry, now);
                let look = match must_ask {
                    true => Look::Unclear,
                    false => self.look(&mut tree, entry, now),
                };
                match look {
                    Look::Shown(ino) if is_first => {
                        is_first = false;
                        told.insert(entry.name.clone(), self.counted(&mut tree, ino, now));
                    }
                    Look::Shown(_) => {}
                    Look::Gone => drop(told.insert(entry.name.clone(), None)),
                    Look::Unclear => asks.push(entry.name.to_string()),
                }
            }
        }
        self.told = told;
        Ok(asks)
    }

    /// A name that was asked for is this.
    pub(super) fn tell(&mut self, name: String, entry: Option<Entry>) {
        self.told.insert(name.into(), entry);
    }

    /// The cookie of the last entry, if there are entries and nothing is there of any of them.
    pub(super) fn passed_over(&self) -> Option<u64> {
        let (first, entries) = self.entries();
        if self.after < DOTS || entries.is_empty() || self.told.values().any(Option::is_some) {
            return None;
        }
        Some(first + entries.len() as u64 - 1)
    }

    /// The entries after the cookie, and the cookie of the first.
    fn entries(&self) -> (u64, &[tree::Entry]) {
        match self.directory.stream.at(self.after) {
            Position::Entries { first, entries } => {
                (first, &entries[..entries.len().min(self.entries_max)])
            }
            Position::NeedMore | Position::Relist(_) | Position::End => (0, &[]),
        }
    }

    /// The cookie of the last entry, if there are entries and this mount has removed all of them since their page came.
    pub(super) fn all_gone(&self) -> Option<u64> {
        let (first, entries) = self.entries();
        if self.after < DOTS || entries.is_empty() {
            return None;
        }
        let (mut tree, now) = (self.fs.tree(), Instant::now());
        let is_gone = |entry| tree.shown(self.directory.ino, entry, now) == Shown::Gone;
        let count = entries.len() as u64;
        entries.iter().all(is_gone).then(|| first + count - 1)
    }

    fn each(&self, mut take: impl FnMut(&str, u64, FileKind, Option<&tree::Entry>) -> Room) {
        for (cookie, name) in [(1, "."), (2, "..")] {
            if self.after < cookie && take(name, cookie, FileKind::Directory, None) == Room::Full {
                return;
            }
        }
        let (first, entries) = self.entries();
        for (cookie, entry) in (first..).zip(entries) {
            let kind = match &entry.what {
                What::Directory | What::Local { directory: true } => FileKind::Directory,
                What::Object(_) if is_link(entry) => FileKind::Symlink,
                What::Object(_) | What::Local { directory: false } => FileKind::File,
            };
            if take(&entry.name, cookie, kind, Some(entry)) == Room::Full {
                return;
            }
        }
    }
}

/// True for a symbolic link of OSS: a listing doesn't describe what it points to.
fn is_link(entry: &tree::Entry) -> bool {
    match &entry.what {
        What::Object(meta) => meta.kind == ObjectType::Symlink,
        What::Directory | What::Local { .. } => false,
    }
}

/// True if the target of a link has to be asked for.
fn lacks_target(tree: &Tree, parent: Ino, entry: &tree::Entry, now: Instant) -> bool {
    match tree.known(parent, &entry.name, now) {
        Known::Unknown | Known::Expired(_) => true,
        Known::Fresh(ino) => match tree.node(ino).map(Node::kind) {
            Some(Kind::Symlink(link)) => link.target().is_none(),
            Some(Kind::Directory | Kind::Object(_) | Kind::File(_)) | None => false,
        },
        Known::Absent { .. } | Known::Stale => false,
    }
}
