//! Opendir, readdir, releasedir.
//!
//! A listing is read page by page, one page ahead of the reader. All its entries go into the tree as they come, so that
//! the lookups that follow (`ls -l`, a data loader) cost nothing while they are fresh; a listing that was read to its
//! end also answers what is not there.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::ahead::Purpose;
use super::{Entry, Error, FileSystem};
use crate::object::{ObjectType, Prefix};
use crate::op::Op;
use crate::oss::{self, ListPage, ListRequest};
use crate::tree::{
    self, DirectoryStream, Ino, Known, ListingStart, More, Page, Position, Settled, Tree, What, Why,
};

/// Pages of a directory that a handle keeps: 8,000 entries, about 1.2 MB. A reader that goes back farther lists again.
const PAGES_MAX: usize = 8;

/// Entries that go into the tree under one lock.
const CHUNK: usize = 64;

/// The attributes of a page that has lain longer than this are not believed: the kernel looks each name up when it is
/// used.
const PAGE_AGE_MAX: Duration = Duration::from_secs(10);

/// Entries that one reply to READDIRPLUS may hold: 32 KiB at some 160 bytes each.
const REPLY_ENTRIES_MAX: usize = 256;

/// The cookie of `..`, after which the entries of a listing begin.
const DOTS: u64 = 2;

/// `d_ino` of an entry whose inode is not known (libfuse's `FUSE_UNKNOWN_INO`).
const UNKNOWN_INO: u64 = 0xffff_ffff;

/// A page on its way, with the moment at which it was asked for.
type PageAhead = AbortOnDropHandle<(Instant, Result<ListPage, oss::Error>)>;

/// One open directory.
#[derive(Debug)]
pub(super) struct OpenDirectory {
    ino: Ino,
    prefix: Prefix,
    stream: DirectoryStream,
    /// The listing, as long as it may become a complete one.
    listing: Option<ListingStart>,
    /// Where the next page begins, if the last page has said so.
    token: Option<String>,
    ahead: Option<PageAhead>,
    /// Hidden keys that were counted already.
    hidden: u64,
}

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
    fs: Arc<FileSystem>,
    directory: OwnedMutexGuard<OpenDirectory>,
    after: u64,
    /// No more than so many entries are shown.
    entries_max: usize,
}

impl FileSystem {
    /// Opens a directory.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::NotADirectory`].
    pub fn opendir(&self, ino: Ino) -> Result<u64, Error> {
        let directory = self.new_directory(ino)?;
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        let directory = Arc::new(tokio::sync::Mutex::new(directory));
        self.directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(handle, directory);
        Ok(handle)
    }

    /// Closes a directory.
    pub fn releasedir(&self, handle: u64) {
        self.directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&handle);
    }

    fn new_directory(&self, ino: Ino) -> Result<OpenDirectory, Error> {
        let tree = self.tree();
        let prefix = tree.prefix_of(ino)?;
        let listing = tree.begin_listing(ino, Instant::now())?;
        Ok(OpenDirectory {
            ino,
            stream: DirectoryStream::new(prefix.clone(), PAGES_MAX),
            prefix,
            listing: Some(listing),
            token: None,
            ahead: None,
            hidden: 0,
        })
    }

    /// The entries after `cookie`; 0 begins anew.
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::Stale`] if the directory is gone, or what OSS says.
    pub async fn readdir(
        self: &Arc<Self>,
        op: &Op,
        handle: u64,
        cookie: u64,
    ) -> Result<DirectoryView, Error> {
        let directory = {
            let directories = self
                .directories
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(directories.get(&handle).ok_or(Error::BadHandle)?)
        };
        let mut directory = directory.lock_owned().await;
        // rewinddir(3) wants the directory as it is now.
        if cookie == 0 && directory.stream.at(0) != Position::NeedMore {
            *directory = self.new_directory(directory.ino)?;
        }
        loop {
            match directory.stream.at(cookie) {
                Position::Entries { .. } | Position::End => break,
                Position::NeedMore => self.next_page(op, &mut directory).await?,
                Position::Relist(place) => {
                    directory.stream.relist(place);
                    directory.listing = None;
                    directory.token = None;
                    directory.ahead = None;
                }
            }
        }
        Ok(DirectoryView {
            fs: Arc::clone(self),
            directory,
            after: cookie,
            entries_max: usize::MAX,
        })
    }

    /// As [`FileSystem::readdir`], with attributes. A listing does not describe what a symbolic link of OSS points to, so
    /// links are asked for one by one.
    ///
    /// # Errors
    /// As [`FileSystem::readdir`].
    pub async fn readdirplus(
        self: &Arc<Self>,
        op: &Op,
        handle: u64,
        cookie: u64,
    ) -> Result<DirectoryView, Error> {
        let mut after = cookie;
        loop {
            let mut view = self.readdir(op, handle, after).await?;
            view.entries_max = REPLY_ENTRIES_MAX;
            let mut asking = JoinSet::new();
            for name in view.links() {
                let (fs, parent) = (Arc::clone(self), view.directory.ino);
                let ask = async move {
                    let op = Op::background("link");
                    fs.ask_name(&op, parent, &name, Purpose::Attributes).await
                };
                asking.spawn_on(ask, &self.runtime);
            }
            while let Some(asked) = asking.join_next().await {
                op.progressed();
                // A link that leads nowhere stays unknown, and is left out.
                let _ = asked;
            }
            // The kernel takes an answer without entries for the end of the directory.
            match view.passed_over() {
                Some(last) => after = last,
                None => return Ok(view),
            }
        }
    }

    /// Fetches the next page and puts its entries into the stream and the tree.
    async fn next_page(&self, op: &Op, directory: &mut OpenDirectory) -> Result<(), Error> {
        let (asked, page) = match directory.ahead.take() {
            Some(ahead) => match ahead.await {
                Ok(page) => page,
                Err(_) => (
                    Instant::now(),
                    self.bucket.list(op, &directory.request()).await,
                ),
            },
            None => (
                Instant::now(),
                self.bucket.list(op, &directory.request()).await,
            ),
        };
        let page = page.map_err(|error| self.noted(error))?;
        op.progressed();
        let more = if page.next.is_some() {
            More::Follows
        } else {
            More::Ends
        };
        directory.token = page.next;
        if more == More::Follows {
            directory.ahead = Some(self.page_ahead(directory.request()));
        }
        let page = Page {
            objects: page.objects,
            prefixes: page.prefixes,
        };
        for chunk in directory.stream.page(page, more, asked).chunks(CHUNK) {
            let mut tree = self.tree();
            for entry in chunk {
                tree.found_entry(directory.ino, entry);
            }
            self.gauge(&tree);
        }
        if more == More::Ends {
            self.ended(directory);
        }
        Ok(())
    }

    fn page_ahead(&self, request: ListRequest) -> PageAhead {
        let bucket = Arc::clone(&self.bucket);
        AbortOnDropHandle::new(self.runtime.spawn(async move {
            let asked = Instant::now();
            let page = bucket.list(&Op::background("list-ahead"), &request).await;
            (asked, page)
        }))
    }

    /// A listing has come to its end.
    fn ended(&self, directory: &mut OpenDirectory) {
        if let Some(listing) = directory.listing.take()
            && directory.stream.is_sound()
        {
            self.tree().complete_listing(&listing);
        }
        let hidden: u64 = directory
            .stream
            .hidden()
            .iter()
            .map(|hidden| hidden.count)
            .sum();
        self.metrics
            .tree
            .hidden_keys
            .inc_by(hidden.saturating_sub(directory.hidden));
        directory.hidden = hidden;
        let mut said = self
            .said_hidden
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for hidden in directory.stream.hidden() {
            if !said.contains(&hidden.why) {
                said.push(hidden.why);
                tracing::warn!(
                    "{} keys under '{}' are not shown, {:?} for example: {}; others like it are only counted",
                    hidden.count,
                    directory.prefix,
                    hidden.example,
                    reason(hidden.why)
                );
            }
        }
    }
}

fn reason(why: Why) -> String {
    match why {
        Why::Name(error) => error.to_string(),
        Why::Shadowed => "a directory has the same name".to_owned(),
        Why::OutOfOrder => "the listing is out of order there".to_owned(),
        Why::Foreign => "the listing should not have it there".to_owned(),
        Why::Stuck => "the listing did not come forward from there".to_owned(),
    }
}

impl OpenDirectory {
    fn request(&self) -> ListRequest {
        ListRequest {
            start_after: if self.token.is_none() {
                self.stream.start_after()
            } else {
                None
            },
            continuation: self.token.clone(),
            ..ListRequest::directory(self.prefix.as_str())
        }
    }
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
        let age = now.saturating_duration_since(tree.node(ino)?.checked());
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
    fn passed_over(&self) -> Option<u64> {
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
    fn links(&self) -> Vec<String> {
        let is_link = |entry: &&tree::Entry| match &entry.what {
            What::Object(meta) => meta.kind == ObjectType::Symlink,
            What::Directory => false,
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
            let directory = matches!(entry.what, What::Directory);
            if take(&entry.name, cookie, directory, Some(entry)) == Room::Full {
                return;
            }
        }
    }
}
