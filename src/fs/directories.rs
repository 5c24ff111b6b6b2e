//! Opendir, readdir, releasedir.
//!
//! A listing is read page by page; once its reader has gone far into the first, many pages are fetched ahead. All its entries go into the tree as they come, so that
//! the lookups that follow (`ls -l`, a data loader) cost nothing while they are fresh; a listing that was read to its
//! end also answers what is not there.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio::task::JoinSet;

use super::listing::Listing;
use super::{DirectoryView, Error, FileSystem};
use crate::object::Prefix;
use crate::op::Op;
use crate::tree::{DirectoryStream, Ino, ListingStart, More, Position, Why};

/// Pages of a directory that a handle keeps: 8,000 entries, about 1.2 MB. A reader that goes back farther lists again.
const PAGES_MAX: usize = 8;

/// Entries that go into the tree under one lock.
const CHUNK: usize = 64;

/// Entries that one reply to READDIRPLUS may hold: 32 KiB at some 160 bytes each.
const REPLY_ENTRIES_MAX: usize = 256;

/// The cookie of `..`, after which the entries of a listing begin.
pub(super) const DOTS: u64 = 2;

/// A reader that has come to this cookie, half a page, is taken to read on to the end.
const GOES_ON: u64 = 500;

/// One open directory.
#[derive(Debug)]
pub(super) struct OpenDirectory {
    pub(super) ino: Ino,
    prefix: Prefix,
    pub(super) stream: DirectoryStream,
    /// The listing, as long as it may become a complete one.
    start: Option<ListingStart>,
    /// Where the next pages come from; `None` once the last one has come.
    pages: Option<Listing>,
    /// Hidden keys that were counted already.
    hidden: u64,
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
        let start = tree.begin_listing(ino, Instant::now())?;
        let mut stream = DirectoryStream::new(prefix.clone(), PAGES_MAX);
        stream.beside(&tree.local_names(ino, Instant::now()));
        Ok(OpenDirectory {
            ino,
            stream,
            pages: Some(Listing::new(self, prefix.clone(), None)),
            prefix,
            start: Some(start),
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
        let mut after = cookie;
        loop {
            let view = self.entries_after(op, handle, after).await?;
            // The kernel takes an answer without entries for the end of the directory.
            match view.all_gone() {
                Some(last) => after = last,
                None => return Ok(view),
            }
        }
    }

    async fn entries_after(
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
                    directory.start = None;
                    let after = directory.stream.start_after();
                    let pages = Listing::new(self, directory.prefix.clone(), after);
                    directory.pages = Some(pages);
                }
            }
        }
        if let Some(pages) = directory.pages.as_mut().filter(|_| cookie >= GOES_ON) {
            pages.widen();
            pages.advance();
        }
        Ok(DirectoryView {
            fs: Arc::clone(self),
            directory,
            after: cookie,
            told: HashMap::new(),
            entries_max: usize::MAX,
        })
    }

    /// As [`FileSystem::readdir`], with attributes. A listing does not describe what a symbolic link of OSS points to, so
    /// links are asked for one by one, and so is what was found changed since its page came.
    ///
    /// # Errors
    /// As [`FileSystem::readdir`], and what OSS says to these questions: a name is left out only if there is nothing of it.
    pub async fn readdirplus(
        self: &Arc<Self>,
        op: &Op,
        handle: u64,
        cookie: u64,
    ) -> Result<DirectoryView, Error> {
        let mut after = cookie;
        loop {
            let mut view = self.entries_after(op, handle, after).await?;
            view.entries_max = REPLY_ENTRIES_MAX;
            let mut asking = JoinSet::new();
            for name in view.settle()? {
                let (fs, parent) = (Arc::clone(self), view.directory.ino);
                let ask = async move {
                    let op = Op::awaited("entry");
                    let entry = fs.asked_entry(&op, parent, &name).await;
                    (name, entry)
                };
                asking.spawn_on(ask, &self.runtime);
            }
            while let Some(asked) = asking.join_next().await {
                op.progressed();
                // A task ends without an answer only when the mount does.
                let (name, entry) = asked.map_err(|_| Error::Interrupted)?;
                view.tell(name, entry?);
            }
            // The kernel takes an answer without entries for the end of the directory.
            match view.passed_over() {
                Some(last) => after = last,
                None => return Ok(view),
            }
        }
    }

    /// Lists a directory for what is not there. False if it has more pages.
    pub(super) async fn list_to_the_end(
        &self,
        op: &Op,
        ino: Ino,
        pages_max: u32,
    ) -> Result<bool, Error> {
        let mut directory = self.new_directory(ino)?;
        for _ in 0..pages_max {
            self.next_page(op, &mut directory).await?;
            if directory.stream.has_ended() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Fetches the next page and puts its entries into the stream and the tree.
    async fn next_page(&self, op: &Op, directory: &mut OpenDirectory) -> Result<(), Error> {
        let pages = directory
            .pages
            .get_or_insert_with(|| Listing::new(self, directory.prefix.clone(), None));
        let next = pages.next(op).await;
        let (page, more, asked) = next.map_err(|error| self.noted(error))?;
        let local = self.tree().local_names(directory.ino, Instant::now());
        directory.stream.beside(&local);
        for chunk in directory.stream.page(page, more, asked).chunks(CHUNK) {
            let mut tree = self.tree();
            for entry in chunk {
                tree.found_entry(directory.ino, entry);
            }
            self.gauge(&tree);
        }
        if directory.stream.has_ended() {
            directory.pages = None;
        }
        if more == More::Ends {
            self.ended(directory);
        }
        Ok(())
    }

    /// A listing has come to its end.
    fn ended(&self, directory: &mut OpenDirectory) {
        if let Some(start) = directory.start.take()
            && directory.stream.is_sound()
        {
            self.tree().complete_listing(&start);
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
