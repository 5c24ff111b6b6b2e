//! Files that the kernel reads by itself: who has which, and in which mode each handle is open.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{BackingId, FileHandle, FopenFlags, ReplyOpen};

use super::io_mode::{Handles, Mode, Wish};
use crate::fs::FileSystem;
use crate::metrics::Metrics;

/// What the kernel keeps of an inode stays right, for an inode is one version. Nothing is dirty, so no FLUSH is needed.
const CACHED: FopenFlags = FopenFlags::FOPEN_KEEP_CACHE.union(FopenFlags::FOPEN_NOFLUSH);

/// Of a handle that may write: its FLUSH says when the file is to be stored. The pages stay right: the kernel writes through them, and cuts them off,
/// by itself.
const WRITTEN: FopenFlags = FopenFlags::FOPEN_KEEP_CACHE;

/// The kernel refuses a backing file beside `FOPEN_KEEP_CACHE` (`FOPEN_PASSTHROUGH_MASK`).
const UNCACHED: FopenFlags = FopenFlags::FOPEN_NOFLUSH;

/// The inodes that are open, and how.
///
/// One lock, held over the call that registers a file with the kernel, so that all handles of an inode get the same one. That
/// call waits for nothing.
#[derive(Debug)]
pub(super) struct Backings {
    fs: Arc<FileSystem>,
    table: Mutex<Table>,
    /// The kernel takes backing files, as far as is known.
    can: AtomicBool,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Table {
    inodes: HashMap<u64, Inode>,
    handles: HashMap<u64, Mode>,
}

#[derive(Debug, Default)]
struct Inode {
    handles: Handles,
    /// INVARIANT: there while a handle has it, and the same for all.
    backing: Option<Arc<BackingId>>,
}

impl Backings {
    pub(super) fn new(fs: Arc<FileSystem>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            fs,
            table: Mutex::default(),
            can: AtomicBool::new(false),
            metrics,
        })
    }

    /// Says whether the kernel takes backing files.
    pub(super) fn set(&self, can: bool) {
        self.can.store(can, Ordering::Release);
        self.fs.set_passthrough(can);
    }

    /// Answers an OPEN that went well.
    pub(super) fn open(&self, reply: ReplyOpen, ino: u64, handle: u64, wish: Wish) {
        let local = match wish {
            Wish::Fast => self.fs.local(handle),
            Wish::ByUs | Wish::Direct => None,
        };
        let (mode, backing) = self.enter(&reply, ino, handle, wish, local.as_deref());
        let handle = FileHandle(handle);
        match (mode, backing) {
            (Mode::Cached, _) => reply.opened(handle, CACHED),
            (Mode::Direct, _) => reply.opened(handle, UNCACHED | FopenFlags::FOPEN_DIRECT_IO),
            (Mode::Passthrough, Some(backing)) => {
                self.metrics.disk.passthrough_opens.inc();
                reply.opened_passthrough(handle, UNCACHED, &backing);
            }
            (Mode::PassthroughDirect, Some(backing)) => {
                let flags = UNCACHED | FopenFlags::FOPEN_DIRECT_IO;
                reply.opened_passthrough(handle, flags, &backing);
            }
            (Mode::Passthrough | Mode::PassthroughDirect, None) => {
                unreachable!("a handle has this mode only with a backing file")
            }
        }
    }

    /// Counts a handle that may write, and says how the kernel is to use it. `None` while others have the backing file: they would go on
    /// reading what was there before.
    pub(super) fn open_written(&self, ino: u64, handle: u64, wish: Wish) -> Option<FopenFlags> {
        let mut table = self.lock();
        let handles = table.inodes.entry(ino).or_default();
        if handles.handles.is_passthrough() {
            return None;
        }
        let mode = handles.handles.choose(wish, false);
        handles.handles.open(mode);
        table.handles.insert(handle, mode);
        Some(match mode {
            Mode::Direct | Mode::PassthroughDirect => FopenFlags::FOPEN_DIRECT_IO,
            Mode::Cached | Mode::Passthrough => WRITTEN,
        })
    }

    /// True while the kernel reads an inode from a backing file: who reads it, and who opens it meanwhile, would not see a change.
    pub(super) fn is_backed(&self, ino: u64) -> bool {
        let table = self.lock();
        let inode = table.inodes.get(&ino);
        inode.is_some_and(|inode| inode.handles.is_passthrough())
    }

    /// Chooses the mode and counts the handle.
    fn enter(
        &self,
        reply: &ReplyOpen,
        ino: u64,
        handle: u64,
        wish: Wish,
        local: Option<&File>,
    ) -> (Mode, Option<Arc<BackingId>>) {
        let mut table = self.lock();
        let inode = table.inodes.entry(ino).or_default();
        let mut mode = inode.handles.choose(wish, local.is_some());
        if mode == Mode::Passthrough && inode.backing.is_none() {
            inode.backing = local.and_then(|file| self.register(reply, file));
            if inode.backing.is_none() {
                mode = inode.handles.choose(wish, false);
            }
        }
        inode.handles.open(mode);
        let backing = inode.backing.clone();
        table.handles.insert(handle, mode);
        (mode, backing)
    }

    /// Gives a file to the kernel. The first refusal is told, and it is not asked again: it wants a right that this process lacks
    /// (EPERM), or does not take files of this file system.
    fn register(&self, reply: &ReplyOpen, file: &File) -> Option<Arc<BackingId>> {
        if !self.can.load(Ordering::Acquire) {
            return None;
        }
        match reply.open_backing(file) {
            Ok(backing) => {
                tracing::debug!("the kernel reads a file of the disk cache by itself");
                Some(Arc::new(backing))
            }
            Err(error) => {
                self.set(false);
                tracing::warn!(
                    "the kernel does not read the disk cache by itself ({error}); its files are read through rolefs"
                );
                None
            }
        }
    }

    /// A handle was released.
    pub(super) fn close(&self, ino: u64, handle: u64) {
        let _backing = {
            let mut table = self.lock();
            let Some(mode) = table.handles.remove(&handle) else {
                return;
            };
            let Some(inode) = table.inodes.get_mut(&ino) else {
                return;
            };
            inode.handles.close(mode);
            let backing = inode.backing.take_if(|_| !inode.handles.is_passthrough());
            if inode.handles.is_empty() {
                table.inodes.remove(&ino);
            }
            // Its drop tells the kernel; not under the lock.
            backing
        };
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
