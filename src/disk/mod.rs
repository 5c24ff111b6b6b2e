//! Objects on a local disk: below the cache in memory, across restarts, shared by the mounts of one host.
//!
//! A version has a raw, sparse file with the object's bytes at the object's offsets, and a map that says which blocks are there
//! and what their CRC-64 is ([`mod@format`]). An object of one block has both in one file. Names are hashes of everything that tells
//! a version from others, so a replaced object is another file and nothing is ever invalidated.
//!
//! **A miss is the worst that happens.** What is torn, garbage, cut, unreadable or of somebody else is fetched from OSS again.
//! Whoever waits for a disk that does not answer gives it up ([`Object::read`] is made for that).
//! Bytes that we hand out are checked against their block's CRC first; a bad block is struck off and written anew.
//!
//! **The seal.** A thread reads blocks back soon after they were written and compares each with its CRC. Once all are there it
//! compares all together with the CRC that OSS announced, and notes the file's size and times: the seal. It names the start of
//! the machine in which it was made and counts for no other, for a crash may take what was not yet brought to the disk. Half a
//! minute later, when the kernel has written most of it by itself, another thread brings the file to the disk and makes the
//! seal one for good: nobody waits for a disk that is slower than memory, least of all a mount that ends. The kernel may read a
//! sealed file by itself (FUSE passthrough). It is not written to again, but for a block that was found bad: that breaks the
//! seal, and whoever has the block's bytes writes them anew. A kernel that still reads the file meanwhile sees the bytes of the
//! same version come back: no hazard. After a restart the seal is believed while size, inode number and times are those that
//! were noted; if they are not, or if there is no seal yet, the file is read back again in the background. So whoever writes to
//! the file is noticed when it is opened next. What the disk itself alters is not, once the kernel reads by itself: such a file
//! is as trustworthy as any other file on that disk.
//!
//! **Nobody waits for a write.** Blocks that came from OSS are queued with their memory and written by two threads. The queue is
//! bounded by bytes; what does not fit, because the disk is slow, is dropped and counted, and the object marked. When it is closed and the
//! disk has caught up, its reader brings what is missing, if that is little; else the hole is filled the next time it is read.
//!
//! **Full disks.** The cache stays below its size, and leaves some room on the file system whatever its size: whoever finds too
//! little drops the write and wakes the keeper, a thread that removes what was used least recently. A full disk, a quota and
//! any other error are dropped writes, never a reader's error.
//!
//! **Several processes.** A block's bytes are written before its record, under flock(2), and only if there is no record. Files are
//! made and removed under the directory's lock. Whoever has an object of more than one block open has a shared flock(2) on its data,
//! and so has the kernel for a file that it reads by itself: such an object is not evicted, for that would free nothing.
//!
//! **Page cache.** What was written stays there as long as the kernel likes. Dropping it (`POSIX_FADV_DONTNEED`) would wait for the
//! disk, and the next epoch reads just these pages.

mod bits;
mod directory;
mod format;
mod object;
mod queue;
mod room;
mod stored;
#[cfg(test)]
mod tests;
mod threads;

/// The cache's directory within the one that is named.
pub const NAME: &str = "rolefs-cache-v1";

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::buffer::Block;
use crate::metrics::Metrics;
use crate::object::Version;

use directory::Directory;
use format::{Id, Identity};
use queue::Queue;
use room::Space;

pub use object::Object;
pub use room::CACHE_BYTES_MIN;

/// Objects that are read at the same time through the disk. Each has up to two open files; more are read as if there was no
/// cache.
const OBJECTS_MAX: usize = 4096;

/// How long after it was read back an object is brought to the disk: the kernel has written most of it by then
/// (`vm.dirty_expire_centisecs`, 30 s).
const HARDENED_AFTER: Duration = Duration::from_secs(35);

/// Objects that wait for that: 4 KB each.
const HARDENED_LATER_MAX: u64 = 256;

/// What a [`DiskCache`] is opened with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Bytes that the cache may take, at least [`CACHE_BYTES_MIN`]; by default half of what the file system has free beside it.
    pub size_max: Option<u64>,
    /// Bytes of memory that may wait to be written.
    pub queue_bytes_max: u64,
    /// What tells this bucket from all others: its endpoint and its name.
    pub bucket: String,
    /// Open files that the process may have. Half of them are left to everything else.
    pub files_max: u64,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system says no.
    #[error("{path}: {what}: {error}")]
    Unusable {
        /// The directory that was named.
        path: String,
        /// What was tried.
        what: &'static str,
        /// The answer.
        error: io::Error,
    },
    /// Somebody else owns the cache, or can write to it: what is in it cannot be believed.
    #[error(
        "{path} must belong to the user that mounts, with mode 0700; it belongs to {uid}, mode {mode:04o}"
    )]
    NotOurs {
        /// The cache.
        path: String,
        /// Its owner.
        uid: u32,
        /// Its mode.
        mode: u32,
    },
    /// No thread could be started.
    #[error("cannot start a thread for the disk cache: {0}")]
    Thread(io::Error),
}

/// The cache on disk. What still waits to be written when it is dropped is lost, unless [`DiskCache::finish`] came before.
///
/// Its drop tells its threads to end, and does not wait for them: one may hang in a disk that does not answer.
pub struct DiskCache {
    inner: Arc<Inner>,
}

/// A block on its way to the disk.
struct Write {
    object: Arc<Object>,
    index: u64,
    block: Arc<Block>,
    crc: u64,
    expected: Option<u64>,
}

/// What the threads wait for.
enum Job {
    Write(Write),
    Discard(Arc<Object>),
}

/// An object whose seal is to be made one for good. It is not kept open for that: it may be evicted meanwhile.
struct Soft {
    identity: Identity,
    size: u64,
    due: Instant,
}

/// What the cache's objects and threads share.
struct Inner {
    directory: Directory,
    bucket: String,
    space: Space,
    /// No size was given: the keeper finds one.
    chooses_size: bool,
    objects_max: usize,
    objects: Mutex<HashMap<Id, Weak<Object>>>,
    writes: Queue<Job>,
    /// Objects to be read back.
    whole: Queue<Arc<Object>>,
    /// Objects whose seals are to be made ones for good, and when that is due. One that finds no room here keeps its seal
    /// until the machine is started anew.
    soft: Queue<Soft>,
    /// Files to be closed: by being dropped, for closing waits for the disk, and whoever has done with an object may not. Together
    /// with the objects in the table there are no more than `objects_max`.
    closes: Queue<Arc<dyn Send + Sync>>,
    /// One item at most: look whether there is room.
    looks: Queue<()>,
    said_error: AtomicBool,
    is_finishing: AtomicBool,
    is_ending: AtomicBool,
    metrics: Arc<Metrics>,
}

impl DiskCache {
    /// Opens the cache in `directory`, which is made if it is not there, and starts its threads.
    ///
    /// # Errors
    /// [`Error`]: the directory cannot be made, written to, or believed.
    pub fn open(directory: &Path, config: Config, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let opened = Directory::open(directory)?;
        let room = opened.room().map_err(|error| Error::Unusable {
            path: directory.display().to_string(),
            what: "cannot see how much room there is",
            error,
        })?;
        let objects_max = usize::try_from(config.files_max / 4).unwrap_or(OBJECTS_MAX);
        let objects_max = objects_max.min(OBJECTS_MAX);
        let inner = Arc::new(Inner {
            directory: opened,
            bucket: config.bucket,
            space: Space::new(config.size_max, room),
            chooses_size: config.size_max.is_none(),
            objects_max,
            objects: Mutex::default(),
            writes: Queue::new(config.queue_bytes_max),
            // Bounded by `objects_max`: an object stands there once.
            whole: Queue::new(u64::MAX),
            soft: Queue::new(HARDENED_LATER_MAX),
            closes: Queue::new(u64::MAX),
            looks: Queue::new(1),
            said_error: AtomicBool::new(false),
            is_finishing: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            metrics,
        });
        // What an earlier run has left is counted, and too much of it removed, before the first write is due.
        inner.look_later();
        let cache = Self {
            inner: Arc::clone(&inner),
        };
        threads::start(&inner).map_err(Error::Thread)?;
        Ok(cache)
    }

    /// A version as the cache sees it; `None` if it is not for the disk: it is empty or larger than the cache, too many others
    /// are open, or it was found wrong and is still in somebody's hands.
    #[must_use]
    pub fn object(&self, version: &Version) -> Option<Arc<Object>> {
        let size = version.size();
        if size == 0 || size > self.inner.space.limit() {
            return None;
        }
        let identity = Identity::new(&self.inner.bucket, version)?;
        let object = {
            let mut objects = self.inner.objects();
            match objects.get(&identity.id).and_then(Weak::upgrade) {
                Some(object) => object,
                None if objects.len() as u64 + self.inner.closes.bytes()
                    >= self.inner.objects_max as u64 =>
                {
                    return None;
                }
                None => {
                    let id = identity.id;
                    let object = Arc::new(Object::new(Arc::clone(&self.inner), identity, size));
                    objects.insert(id, Arc::downgrade(&object));
                    object
                }
            }
        };
        // Not under the lock, which an object that is dropped takes.
        (!object.is_discarded()).then_some(object)
    }

    /// The depth of stacked file systems that passthrough to these files needs, for the kernel's `max_stack_depth`: 2 if they lie
    /// on an overlay, as in most containers. With 1 the kernel refuses such files (ELOOP), but with 2 it refuses to put an overlay
    /// over the mount: so only where it must be. `None` if passthrough would break an open with `O_DIRECT`, which these files
    /// cannot do.
    #[must_use]
    pub fn stack_depth(&self) -> Option<u32> {
        let depth = if self.inner.directory.is_overlay() {
            2
        } else {
            1
        };
        self.inner.directory.can_direct().then_some(depth)
    }

    /// Resolves when no more than so many bytes wait to be written; false if the cache is about to end.
    pub async fn caught_up(&self, bytes: u64) -> bool {
        self.inner.writes.shrinks_to(bytes).await && !self.inner.is_finishing()
    }

    /// Bytes of memory that may wait to be written.
    #[must_use]
    pub fn queue_bytes_max(&self) -> u64 {
        self.inner.writes.bytes_max()
    }

    /// True if there is room for so many more bytes. Waits for the disk.
    #[must_use]
    pub fn has_room(&self, bytes: u64) -> bool {
        let room = self.inner.directory.room();
        room.is_ok_and(|room| self.inner.space.admits(bytes, room))
    }

    /// Waits until everything is written, read back and closed, at most `limit`. False if it was not enough. From then on the cache is
    /// about to end.
    pub fn finish(&self, limit: Duration) -> bool {
        self.inner.is_finishing.store(true, Ordering::Release);
        let begin = Instant::now();
        let rest = || limit.saturating_sub(begin.elapsed());
        // Writing fills the second line, and both the third.
        self.inner.writes.wait_idle(limit)
            && self.inner.whole.wait_idle(rest())
            && self.inner.closes.wait_idle(rest())
    }
}

impl Drop for DiskCache {
    fn drop(&mut self) {
        self.inner.is_ending.store(true, Ordering::Release);
        self.inner.writes.close();
        self.inner.whole.close();
        self.inner.soft.close();
        self.inner.closes.close();
        self.inner.looks.close();
    }
}

impl fmt::Debug for DiskCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Inner {
    fn write_later(&self, write: Write) {
        let bytes = write.block.memory_bytes();
        let object = Arc::clone(&write.object);
        if !self.writes.push(Job::Write(write), bytes) {
            self.metrics.disk.dropped_writes.inc();
            object.mark_lost();
        }
    }

    fn discard_later(&self, object: &Arc<Object>) {
        self.writes.push(Job::Discard(Arc::clone(object)), 0);
    }

    fn verify_later(&self, object: &Arc<Object>) {
        if !object.is_in_line.swap(true, Ordering::AcqRel) {
            self.whole.push(Arc::clone(object), 0);
        }
    }

    fn harden_later(&self, object: &Object) {
        if object.needs_hardening() {
            let soft = Soft {
                identity: object.identity.clone(),
                size: object.size(),
                due: Instant::now() + HARDENED_AFTER,
            };
            self.soft.push(soft, 1);
        }
    }

    /// Has files closed. When the cache has ended there is nobody to do it, and the caller does.
    fn close_later(&self, files: Arc<dyn Send + Sync>) {
        self.closes.push(files, 1);
    }

    fn look_later(&self) {
        // A look that is due already is enough.
        self.looks.push((), 1);
    }

    fn is_finishing(&self) -> bool {
        self.is_finishing.load(Ordering::Acquire)
    }

    fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// An error of the file system: counted, and told once.
    fn heard(&self, error: &io::Error) {
        self.metrics.disk.errors.inc();
        if !self.said_error.swap(true, Ordering::Relaxed) {
            tracing::warn!("the disk cache: {error}; what it cannot hold is read from OSS");
        }
    }

    /// An object is gone: its place in the table, unless another took it.
    fn forget(&self, id: &Id) {
        let mut objects = self.objects();
        if objects.get(id).is_some_and(|weak| weak.strong_count() == 0) {
            objects.remove(id);
        }
    }

    fn objects(&self) -> MutexGuard<'_, HashMap<Id, Weak<Object>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskCache")
            .field("directory", &self.directory)
            .field("space", &self.space)
            .finish_non_exhaustive()
    }
}
