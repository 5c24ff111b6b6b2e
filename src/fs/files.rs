//! Open, read, release.

use std::collections::hash_map;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::ahead::Purpose;
use super::{Error, FileSystem, Opened};
use crate::op::Op;
use crate::read::{self, Pending, Served};
use crate::tree::{Ino, Kind, Stale};

/// With `--attr-ttl 0` the kernel has just looked the name up when it opens it: that look is the check, and this is how
/// long it may have taken.
const LOOKED_UP_JUST_NOW: Duration = Duration::from_secs(1);

/// An open inode: what its handles share.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: Arc<read::File>,
    handles: u32,
}

/// A READ that memory could not answer.
#[derive(Debug)]
pub struct PendingRead {
    ino: Ino,
    file: Arc<read::File>,
    pending: Pending,
}

impl FileSystem {
    /// Opens a file whose attributes are fresh; `None` if they must be checked first, or a look on disk is due.
    #[must_use]
    pub fn open_known(&self, ino: Ino) -> Option<Result<Opened, Error>> {
        match self.is_fresh(ino) {
            Ok(true) if self.needs_look(ino) => None,
            Ok(true) => Some(self.open_now(ino)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// True if a file can be opened without asking OSS.
    fn is_fresh(&self, ino: Ino) -> Result<bool, Error> {
        let ttl = if self.config.attr_ttl.is_zero() {
            LOOKED_UP_JUST_NOW
        } else {
            self.config.attr_ttl
        };
        let tree = self.tree();
        let Some(node) = tree.node(ino).filter(|node| !node.is_stale()) else {
            return Err(Stale.into());
        };
        if matches!(node.kind(), Kind::Directory) {
            return Err(Error::IsADirectory);
        }
        let age = Instant::now().saturating_duration_since(node.checked());
        Ok(age <= ttl || node.is_immutable())
    }

    /// Opens a file after asking OSS whether it is still what its name shows, where that is due.
    ///
    /// # Errors
    /// [`Error::Stale`] if it is not: the kernel then looks the name up again by itself; or what OSS says.
    pub async fn open(&self, op: &Op, ino: Ino) -> Result<Opened, Error> {
        if !self.is_fresh(ino)? {
            self.check(op, ino, Purpose::Open).await?;
        }
        let _found = self.look(ino).await;
        // Nothing is waited for from here on: whoever gave up would leave the handle open.
        self.open_now(ino)
    }

    fn open_now(&self, ino: Ino) -> Result<Opened, Error> {
        let file = self.file(ino)?;
        self.noted_open(ino);
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        self.handles
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(handle, (ino, file));
        let mode = self.mode(ino);
        Ok(Opened { handle, mode })
    }

    /// One more handle on the open file of an inode.
    fn file(&self, ino: Ino) -> Result<Arc<read::File>, Error> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let version = {
            let mut tree = self.tree();
            let version = tree.version(ino)?;
            tree.open(ino)?;
            version
        };
        Ok(match files.entry(ino) {
            hash_map::Entry::Occupied(mut open) => {
                open.get_mut().handles += 1;
                Arc::clone(&open.get().file)
            }
            hash_map::Entry::Vacant(vacant) => {
                let file = self.reader.open(version);
                vacant.insert(OpenFile {
                    file: Arc::clone(&file),
                    handles: 1,
                });
                file
            }
        })
    }

    /// Answers a READ from memory, or says what [`FileSystem::read`] needs to go on.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn try_read(
        &self,
        handle: u64,
        offset: u64,
        len: u64,
    ) -> Result<Result<Served, PendingRead>, Error> {
        // Not held while reading: a READ may evict blocks, and an open that waits to write here stops all others.
        let (ino, file) = self
            .handles
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&handle)
            .ok_or(Error::BadHandle)?
            .clone();
        let read = self.reader.try_read(&file, offset, len);
        if offset == 0 {
            self.noted_read(ino, &file, read.is_ok());
        }
        match read {
            Ok(served) => Ok(Ok(served)),
            Err(pending) => Ok(Err(PendingRead { ino, file, pending })),
        }
    }

    /// Answers a READ with bytes from OSS.
    ///
    /// # Errors
    /// [`Error::Stale`] if the object was replaced or deleted since it was opened; [`Error::Corrupt`]; what OSS says.
    pub async fn read(&self, op: &Op, pending: PendingRead) -> Result<Served, Error> {
        let PendingRead { ino, file, pending } = pending;
        let was_gone = file.is_gone() || file.is_corrupt();
        match self.reader.read(op, &file, pending).await {
            Ok(served) => Ok(served),
            Err(error) => {
                if let read::Error::Oss(error) = &error {
                    self.capabilities.refused(error);
                }
                let is_corrupt = matches!(error, read::Error::Corrupt { .. });
                // Once: whoever goes on reading is told, and nothing is new.
                if !was_gone && (is_corrupt || error.is_of_a_lost_version()) {
                    tracing::warn!(ino = ino.get(), version = ?file.version(), "an open file is not what it was: {error}");
                    self.metrics.read.stale.inc();
                    self.tree().mark_stale(ino, Instant::now());
                }
                Err(error.into())
            }
        }
    }

    /// Closes a handle. With the last one of an inode, what is still being fetched for it is given up.
    pub fn release(&self, handle: u64) {
        let closed = self
            .handles
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&handle);
        let Some((ino, file)) = closed else { return };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let hash_map::Entry::Occupied(mut open) = files.entry(ino) {
            open.get_mut().handles -= 1;
            if open.get().handles == 0 {
                open.remove();
            }
        }
        {
            let mut tree = self.tree();
            if file.is_corrupt() {
                // Perhaps nobody has read on to the error: the pages that the kernel keeps may be wrong all the same.
                tree.mark_stale(ino, Instant::now());
            }
            tree.close(ino);
        }
        drop(files);
        // The file goes last and without a lock: aborting its GETs takes a while.
        drop(file);
    }
}
