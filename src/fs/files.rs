//! Open, read, release.

use std::collections::{HashMap, hash_map};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::ahead::Purpose;
use super::writing::Written;
use super::{Error, FileSystem, Opened};
use crate::op::Op;
use crate::read::{self, Pending, Served};
use crate::tree::{Ino, Kind, Stale};
use crate::write::Access;

/// With `--attr-ttl 0` the kernel has just looked the name up when it opens it: that look is the check, and this is how
/// long it may have taken.
const LOOKED_UP_JUST_NOW: Duration = Duration::from_secs(1);

/// How often a READ whose object has moved by this mount's own doing looks where it is now.
const MOVES_MAX: u32 = 8;

/// Where the bytes of an open inode are.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// In one version of one object.
    Stored(Arc<read::File>),
    /// In what this mount writes.
    Written(Arc<Written>),
}

/// An open inode: what its handles share.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) content: Content,
    /// 0 only for what is not stored yet.
    pub(super) handles: u32,
}

/// A handle.
#[derive(Debug, Clone)]
pub(super) struct OpenHandle {
    pub(super) ino: Ino,
    pub(super) content: Content,
    pub(super) access: Access,
}

/// The bytes that answer a READ.
#[derive(Debug)]
pub enum ReadBytes {
    /// Of an object.
    Served(Served),
    /// Staged ones.
    Staged(Bytes),
    /// Put together.
    Copied(Vec<u8>),
}

impl ReadBytes {
    /// The bytes as they lie in two blocks, if they do.
    #[must_use]
    pub fn halves(&self) -> Option<[&[u8]; 2]> {
        match self {
            Self::Served(served) => served.halves(),
            Self::Staged(_) | Self::Copied(_) => None,
        }
    }

    /// Shows them in one piece.
    pub fn with<T>(&self, show: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Served(served) => served.with(show),
            Self::Staged(bytes) => show(bytes),
            Self::Copied(bytes) => show(bytes),
        }
    }
}

/// A READ that memory could not answer.
#[derive(Debug)]
pub struct PendingRead {
    handle: u64,
    ino: Ino,
    /// Where, and how much.
    wanted: (u64, u64),
    from: From,
}

/// What a READ waits for.
#[derive(Debug)]
enum From {
    Stored(Arc<read::File>, Pending),
    Written(Arc<Written>),
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
    pub(super) fn is_fresh(&self, ino: Ino) -> Result<bool, Error> {
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
        // Nobody else has a say in what is not stored, or has no name.
        if node.is_local() || node.is_orphan() {
            return Ok(true);
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
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        let is_stored = {
            // Held until the handle is entered: it follows when the content of its inode is another one.
            let mut files = self.open_files();
            let content = self.content(&mut files, ino)?;
            let is_stored = matches!(content, Content::Stored(_));
            let opened = OpenHandle {
                ino,
                content,
                access: Access::Read,
            };
            self.enter_handle(handle, opened);
            is_stored
        };
        if is_stored {
            self.noted_open(ino);
        }
        let mode = self.mode(ino);
        Ok(Opened { handle, mode })
    }

    /// One more handle on an inode.
    fn content(&self, files: &mut HashMap<Ino, OpenFile>, ino: Ino) -> Result<Content, Error> {
        match files.entry(ino) {
            hash_map::Entry::Occupied(mut open) => {
                self.tree().open(ino)?;
                open.get_mut().handles += 1;
                Ok(open.get().content.clone())
            }
            hash_map::Entry::Vacant(vacant) => {
                let version = {
                    let mut tree = self.tree();
                    let version = tree.version(ino)?;
                    tree.open(ino)?;
                    version
                };
                let content = Content::Stored(self.reader.open(version));
                vacant.insert(OpenFile {
                    content: content.clone(),
                    handles: 1,
                });
                Ok(content)
            }
        }
    }

    pub(super) fn enter_handle(&self, handle: u64, opened: OpenHandle) {
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        handles.insert(handle, opened);
    }

    /// What a handle is.
    pub(super) fn handle(&self, handle: u64) -> Result<(Ino, Content, Access), Error> {
        // Not held while reading: a READ may evict blocks, and an open that waits to write here stops all others.
        let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
        let open = handles.get(&handle).ok_or(Error::BadHandle)?;
        Ok((open.ino, open.content.clone(), open.access))
    }

    /// All handles of an inode have this content from now on. The lock of the open files is held.
    pub(super) fn redirect(&self, ino: Ino, content: &Content) {
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        for handle in handles.values_mut().filter(|handle| handle.ino == ino) {
            handle.content = content.clone();
        }
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
    ) -> Result<Result<ReadBytes, PendingRead>, Error> {
        let (ino, content, _) = self.handle(handle)?;
        let wanted = (offset, len);
        let from = match content {
            Content::Stored(file) => {
                let read = self.reader.try_read(&file, offset, len);
                if offset == 0 {
                    self.noted_read(ino, &file, read.is_ok());
                }
                match read {
                    Ok(served) => return Ok(Ok(ReadBytes::Served(served))),
                    Err(pending) => From::Stored(file, pending),
                }
            }
            Content::Written(written) => {
                let range = offset..offset.saturating_add(len);
                match self.try_read_written(&written, range) {
                    Some(bytes) => return Ok(Ok(bytes)),
                    None => From::Written(written),
                }
            }
        };
        Ok(Err(PendingRead {
            handle,
            ino,
            wanted,
            from,
        }))
    }

    /// Answers a READ with bytes from OSS.
    ///
    /// # Errors
    /// [`Error::Stale`] if the object was replaced or deleted since it was opened; [`Error::Corrupt`]; what OSS says.
    pub async fn read(self: &Arc<Self>, op: &Op, pending: PendingRead) -> Result<ReadBytes, Error> {
        let (handle, (offset, len)) = (pending.handle, pending.wanted);
        let mut pending = pending;
        for _ in 0..MOVES_MAX {
            let (file, waits) = match pending.from {
                From::Stored(file, waits) => (file, waits),
                From::Written(written) => {
                    let range = offset..offset.saturating_add(len);
                    return self.read_written(op, &written, range).await;
                }
            };
            let was_lost = file.is_gone() || file.is_corrupt();
            let error = match self.reader.read(op, &file, waits).await {
                Ok(served) => return Ok(ReadBytes::Served(served)),
                Err(error) => error,
            };
            if !self.has_moved(handle, &file) {
                // Once: whoever goes on reading is told, and nothing is new.
                if !was_lost {
                    self.note_failure(pending.ino, &file, &error);
                }
                return Err(error.into());
            }
            match self.try_read(handle, offset, len)? {
                Ok(bytes) => return Ok(bytes),
                Err(next) => pending = next,
            }
        }
        Err(Error::Abandoned)
    }

    /// True if a handle reads from elsewhere now: renamed, written or stored anew by this mount, its bytes are to be had there.
    fn has_moved(&self, handle: u64, file: &Arc<read::File>) -> bool {
        match self.handle(handle) {
            Ok((_, Content::Stored(now), _)) => !Arc::ptr_eq(&now, file),
            Ok((_, Content::Written(_), _)) => true,
            Err(_) => false,
        }
    }

    /// An inode whose object is not what it was is stale.
    fn note_failure(&self, ino: Ino, file: &read::File, error: &read::Error) {
        if let read::Error::Oss(error) = error {
            self.capabilities.refused(error);
        }
        let is_corrupt = matches!(error, read::Error::Corrupt { .. });
        if is_corrupt || error.is_of_a_lost_version() {
            tracing::warn!(ino = ino.get(), version = ?file.version(), "an open file is not what it was: {error}");
            self.metrics.read.stale.inc();
            self.tree().mark_stale(ino, Instant::now());
        }
    }

    /// Closes a handle. With the last one of an inode, what is still being fetched for it is given up. What a writer has not stored is
    /// stored now, and nobody waits for it.
    pub fn release(self: &Arc<Self>, handle: u64) {
        let closed = self
            .handles
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&handle);
        let Some(OpenHandle {
            ino,
            content,
            access,
        }) = closed
        else {
            return;
        };
        {
            let mut files = self.open_files();
            if let hash_map::Entry::Occupied(mut open) = files.entry(ino) {
                open.get_mut().handles -= 1;
                if open.get().handles == 0 && matches!(open.get().content, Content::Stored(_)) {
                    open.remove();
                }
            }
            let mut tree = self.tree();
            if let Content::Stored(file) = &content
                && file.is_corrupt()
            {
                // Perhaps nobody has read on to the error: the pages that the kernel keeps may be wrong all the same.
                tree.mark_stale(ino, Instant::now());
            }
            tree.close(ino);
        }
        // The content goes last and without a lock: aborting its GETs takes a while.
        match (content, access) {
            (Content::Written(written), Access::Write) => self.released(written, handle),
            (Content::Written(_), Access::Read) => self.settle_written(ino),
            (Content::Stored(file), _) => drop(file),
        }
    }
}
