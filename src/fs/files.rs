//! Open, read, release.

use std::collections::hash_map;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::ahead::Purpose;
use super::{Error, FileSystem, Opened};
use crate::object::Version;
use crate::op::Op;
use crate::oss::Kind as OssKind;
use crate::read::{self, Pending, Served};
use crate::tree::{Ino, Kind, Stale};

/// With `--attr-ttl 0` the kernel has just looked the name up when it opens it: that look is the check, and this is how
/// long it may have taken.
const LOOKED_UP_JUST_NOW: Duration = Duration::from_secs(1);

/// How often a READ whose object has moved by this mount's own doing looks where it is now.
const MOVES_MAX: u32 = 8;

/// An open inode: what its handles share.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: Arc<read::File>,
    pub(super) handles: u32,
}

/// A READ that memory could not answer.
#[derive(Debug)]
pub struct PendingRead {
    handle: u64,
    ino: Ino,
    file: Arc<read::File>,
    /// Where, and how much.
    wanted: (u64, u64),
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
            Err(pending) => Ok(Err(PendingRead {
                handle,
                ino,
                file,
                wanted: (offset, len),
                pending,
            })),
        }
    }

    /// Answers a READ with bytes from OSS.
    ///
    /// # Errors
    /// [`Error::Stale`] if the object was replaced or deleted since it was opened; [`Error::Corrupt`]; what OSS says.
    pub async fn read(&self, op: &Op, pending: PendingRead) -> Result<Served, Error> {
        let (handle, wanted) = (pending.handle, pending.wanted);
        let mut pending = pending;
        for _ in 0..MOVES_MAX {
            let (ino, file) = (pending.ino, pending.file);
            let error = match self.reader.read(op, &file, pending.pending).await {
                Ok(served) => return Ok(served),
                Err(error) => error,
            };
            // Renamed or stored anew by this mount meanwhile: the same bytes are to be had elsewhere.
            if self
                .current(handle)
                .is_some_and(|now| !Arc::ptr_eq(&now, &file))
            {
                match self.try_read(handle, wanted.0, wanted.1)? {
                    Ok(served) => return Ok(served),
                    Err(next) => pending = next,
                }
                continue;
            }
            self.note_failure(ino, &file, &error);
            return Err(error.into());
        }
        Err(Error::Abandoned)
    }

    /// What a handle reads from now.
    fn current(&self, handle: u64) -> Option<Arc<read::File>> {
        let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
        handles.get(&handle).map(|(_, file)| Arc::clone(file))
    }

    /// An inode whose object is not what it was is stale.
    fn note_failure(&self, ino: Ino, file: &read::File, error: &read::Error) {
        let is_gone = match error {
            read::Error::Oss(error) => {
                self.capabilities.refused(error);
                matches!(error.kind(), OssKind::Changed | OssKind::NotFound)
            }
            read::Error::Corrupt { .. } => true,
            read::Error::Abandoned => false,
        };
        if is_gone {
            tracing::warn!(ino = ino.get(), version = ?file.version(), "an open file is not what it was: {error}");
            self.metrics.read.stale.inc();
            self.tree().mark_stale(ino, Instant::now());
        }
    }

    /// The content of an inode is that version from now on, the same bytes at another key: who has it open reads from there.
    pub(super) fn retarget(&self, ino: Ino, version: &Arc<Version>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = files.get_mut(&ino) else {
            return;
        };
        let file = self.reader.open(Arc::clone(version));
        open.file = Arc::clone(&file);
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        for (of, current) in handles.values_mut() {
            if *of == ino {
                *current = Arc::clone(&file);
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
