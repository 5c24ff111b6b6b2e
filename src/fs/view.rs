//! What a reader of a directory is shown.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;

use super::directories::{DOTS, OpenDirectory};
use super::{Entry, FileSystem};
use crate::object::ObjectType;
use crate::tree::{self, Ino, Known, Position, Settled, Tree, What};

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
    /// True for a directory.
    pub directory: bool,
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

/// The entries after a cookie.
#[derive(Debug)]
pub struct DirectoryView {
    pub(super) fs: Arc<FileSystem>,
    pub(super) directory: OwnedMutexGuard<OpenDirectory>,
    pub(super) after: u64,
    /// No more than so many entries are shown.
    pub(super) entries_max: usize,
}

impl DirectoryView {
    /// Hands entries over until there is no room.
    pub fn fill(&self, mut take: impl FnMut(DirectoryEntry<'_>) -> Room) {
        let fs = &self.fs;
        let parent = self.directory.ino;
        self.each(|name, cookie, directory, _| {
            let number = match fs.tree().known(parent, name, Instant::now()) {
                Known::Fresh(ino) | Known::Expired(ino) => ino.get(),
                Known::Absent { .. } | Known::Unknown | Known::Stale => UNKNOWN_INO,
            };
            take(DirectoryEntry {
                name,
                cookie,
                directory,
                number,
                entry: None,
            })
        });
    }

    /// As [`DirectoryView::fill`], with the inode of each entry.
    pub fn fill_plus(&self, mut take: impl FnMut(DirectoryEntry<'_>) -> Room) {
        let parent = self.directory.ino;
        let above = self
            .fs
            .tree()
            .node(parent)
            .map_or(parent, crate::tree::Node::parent);
        self.each(|name, cookie, directory, listed| {
            let Some(listed) = listed else {
                let number = if cookie == 1 {
                    parent.get()
                } else {
                    above.get()
                };
                return take(DirectoryEntry {
                    name,
                    cookie,
                    directory,
                    number,
                    entry: None,
                });
            };
            match self.counted(listed) {
                Some(entry) => {
                    let number = entry.attributes().ino.get();
                    take(DirectoryEntry {
                        name,
                        cookie,
                        directory,
                        number,
                        entry: Some(entry),
                    })
                }
                None => Room::More,
            }
        });
    }

    /// The inode of an entry, counted for the kernel; `None` if there is nothing of this name any more.
    fn counted(&self, entry: &tree::Entry) -> Option<Entry> {
        let now = Instant::now();
        let mut tree = self.fs.tree();
        let ino = self.inode(&mut tree, entry, now)?;
        let node = tree.node(ino)?;
        if node.is_immutable() {
            let ttl = tree.fresh_for(ino, now);
            return self.fs.counted(&mut tree, ino, ttl);
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
        self.fs.counted(&mut tree, ino, ttl)
    }

    /// The inode of an entry. One that the tree has let go since its page came is told to it again.
    fn inode(&self, tree: &mut Tree, entry: &tree::Entry, now: Instant) -> Option<Ino> {
        let parent = self.directory.ino;
        match tree.known(parent, &entry.name, now) {
            Known::Fresh(ino) | Known::Expired(ino) => Some(ino),
            Known::Unknown => match tree.found_entry(parent, entry) {
                Settled::Entry(ino) => Some(ino),
                Settled::Absent | Settled::AskAgain | Settled::Stale => None,
            },
            Known::Absent { .. } | Known::Stale => None,
        }
    }

    /// The cookie of the last entry, if there are entries and none of them has an inode.
    pub(super) fn passed_over(&self) -> Option<u64> {
        let (first, entries) = self.entries();
        if self.after < DOTS || entries.is_empty() {
            return None;
        }
        let now = Instant::now();
        let mut tree = self.fs.tree();
        let is_shown = |entry| self.inode(&mut tree, entry, now).is_some();
        if entries.iter().any(is_shown) {
            return None;
        }
        Some(first + entries.len() as u64 - 1)
    }

    /// The symbolic links of OSS among the entries whose targets are not known.
    pub(super) fn links(&self) -> Vec<String> {
        let is_link = |entry: &&tree::Entry| match &entry.what {
            What::Object(meta) => meta.kind == ObjectType::Symlink,
            What::Directory | What::Local { .. } => false,
        };
        let now = Instant::now();
        let tree = self.fs.tree();
        let is_unknown = |entry: &&tree::Entry| {
            matches!(
                tree.known(self.directory.ino, &entry.name, now),
                Known::Unknown | Known::Expired(_)
            )
        };
        let (_, entries) = self.entries();
        entries
            .iter()
            .filter(is_link)
            .filter(is_unknown)
            .map(|entry| entry.name.to_string())
            .collect()
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

    fn each(&self, mut take: impl FnMut(&str, u64, bool, Option<&tree::Entry>) -> Room) {
        for (cookie, name) in [(1, "."), (2, "..")] {
            if self.after < cookie && take(name, cookie, true, None) == Room::Full {
                return;
            }
        }
        let (first, entries) = self.entries();
        for (cookie, entry) in (first..).zip(entries) {
            let directory = matches!(
                entry.what,
                What::Directory | What::Local { directory: true }
            );
            if take(&entry.name, cookie, directory, Some(entry)) == Room::Full {
                return;
            }
        }
    }
}
