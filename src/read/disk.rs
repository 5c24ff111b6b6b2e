//! What is on disk is not fetched: the way from a segment of missing blocks to the cache on disk, and back to it.
//!
//! It stands between the block cache and the wire. The blocks of a segment are in the block cache already and found by
//! whoever misses next, so there is one flight for both ways. Reading waits for the disk on a thread that may; the checksums of
//! what comes from there are noted like those of what comes from OSS ([`super::checks`]).

use std::ops::Range;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::checks::Shared;
use super::fetch::Segment;
use super::holes::{Filler, Holes};
use super::{BLOCK, Error, File, Reader, blocks_of};
use crate::buffer::{Block, BlockWriter};
use crate::disk::{DiskCache, Object};
use crate::object::Version;

/// Segments that are read from disk at the same time. Each takes a thread; more are no faster on any disk, for the kernel
/// reads ahead by itself.
const READS_MAX: usize = 8;

/// The cache on disk as a reader uses it.
#[derive(Debug)]
pub(super) struct Disk {
    cache: Arc<DiskCache>,
    reads: Arc<Semaphore>,
    holes: Arc<Holes>,
    _filling: AbortOnDropHandle<()>,
}

impl Disk {
    fn new(reader: &Reader, cache: Arc<DiskCache>) -> Self {
        let holes = Arc::new(Holes::default());
        let filler = Filler {
            disk: Arc::clone(&cache),
            bucket: Arc::clone(&reader.bucket),
            cache: Arc::clone(&reader.cache),
            budget: Arc::clone(&reader.budget),
            queue: Arc::clone(&reader.queue),
            metrics: Arc::clone(&reader.metrics),
            runtime: reader.runtime.clone(),
        };
        let filling = reader.runtime.spawn(filler.run(Arc::clone(&holes)));
        Self {
            cache,
            reads: Arc::new(Semaphore::new(READS_MAX)),
            holes,
            _filling: AbortOnDropHandle::new(filling),
        }
    }

    /// A version that is opened for reading.
    pub(super) fn open(&self, version: &Version) -> Option<OnDisk> {
        Some(OnDisk {
            object: self.cache.object(version)?,
            reads: Arc::clone(&self.reads),
            holes: Arc::clone(&self.holes),
        })
    }
}

/// A version on disk, or on its way there.
#[derive(Debug, Clone)]
pub(super) struct OnDisk {
    object: Arc<Object>,
    reads: Arc<Semaphore>,
    holes: Arc<Holes>,
}

impl OnDisk {
    pub(super) fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// A file of it is opened.
    pub(super) fn opened(&self) {
        self.object.opened();
    }

    /// A file of it is closed. With the last one, what was lost on the way to the disk is brought when there is time.
    pub(super) fn closed(&self, shared: &Arc<Shared>) {
        if self.object.closed() && shared.corrupt().is_none() {
            self.holes.push(shared, self);
        }
    }

    /// Looks whether it is there, once.
    async fn look(&self, runtime: &Handle) {
        if self.object.needs_look() {
            let object = Arc::clone(&self.object);
            // It ends in a panic or when the runtime does: then it is not there.
            let _ = runtime.spawn_blocking(move || object.look()).await;
        }
    }

    /// True if all blocks of a range are there.
    pub(super) async fn has(&self, runtime: &Handle, range: &Range<u64>) -> bool {
        self.look(runtime).await;
        blocks_of(range).all(|index| self.object.has(index))
    }

    /// Fills what of a segment is there. Returns what is not, and the error that ends it all, if there is one.
    pub(super) async fn fill(
        &self,
        runtime: &Handle,
        shared: &Arc<Shared>,
        segment: Segment,
    ) -> (Vec<Segment>, Option<Error>) {
        self.look(runtime).await;
        if !segment.indices().any(|index| self.object.has(index)) {
            return (vec![segment], None);
        }
        // A closed semaphore would only mean that nobody is held back.
        let permit = Arc::clone(&self.reads).acquire_owned().await.ok();
        let (object, shared) = (Arc::clone(&self.object), Arc::clone(shared));
        let filling = runtime.spawn_blocking(move || {
            let _permit = permit;
            fill(&object, &shared, segment)
        });
        // A thread that panicked has dropped its writers, and so failed its blocks.
        filling.await.unwrap_or_default()
    }

    /// Fills the one block of a small version if it is there; says whether it was. `None` if the thread has panicked.
    pub(super) async fn read_whole(
        &self,
        runtime: &Handle,
        mut writer: BlockWriter,
    ) -> Option<(BlockWriter, bool)> {
        self.look(runtime).await;
        if !self.object.has(0) {
            return Some((writer, false));
        }
        let permit = Arc::clone(&self.reads).acquire_owned().await.ok();
        let object = Arc::clone(&self.object);
        let reading = runtime.spawn_blocking(move || {
            let _permit = permit;
            let crc = object.read(0, &mut writer);
            let is_right = |crc| object.expected().is_none_or(|expected| expected == crc);
            let is_read = crc.is_some_and(is_right);
            if crc.is_some() && !is_read {
                writer.rewind();
                object.discard();
            }
            (writer, is_read)
        });
        reading.await.ok()
    }

    /// Has a block that came from OSS written behind.
    pub(super) fn keep(&self, index: u64, block: Arc<Block>, crc: u64, expected: Option<u64>) {
        self.object.write_later(index, block, crc, expected);
    }
}

/// Fills what is there, in order.
fn fill(object: &Arc<Object>, shared: &Shared, segment: Segment) -> (Vec<Segment>, Option<Error>) {
    let mut missing: Vec<Segment> = Vec::new();
    let mut writers = segment.writers.into_iter();
    for index in segment.first.. {
        let Some(mut writer) = writers.next() else {
            break;
        };
        if let Some(crc) = object.read(index, &mut writer) {
            // Before anybody can see the bytes.
            if let Err(error) = shared.checked(index, crc, object.expected()) {
                missing.push(Segment {
                    first: index,
                    writers: std::iter::once(writer).chain(writers).collect(),
                });
                return (missing, Some(error));
            }
            writer.finish();
            continue;
        }
        match missing.last_mut() {
            Some(last) if last.indices().end == index => last.writers.push(writer),
            _ => missing.push(Segment {
                first: index,
                writers: vec![writer],
            }),
        }
    }
    (missing, None)
}

impl Reader {
    /// Has the reader look on disk before it asks OSS, and keep there what comes.
    ///
    /// # Panics
    /// On the second call: a reader has one cache on disk.
    pub fn use_disk(&self, cache: Arc<DiskCache>) {
        let set = self.disk.set(Disk::new(self, cache));
        assert!(set.is_ok(), "a reader has one cache on disk");
    }

    /// True if a local file may hold all of a version and nobody has looked yet: opening it should wait for
    /// [`Reader::look`]. Objects of one block are read through memory, which costs them no more.
    #[must_use]
    pub fn needs_look(&self, version: &Version) -> bool {
        let object = self.large_object(version);
        object.is_some_and(|on_disk| on_disk.object.needs_look())
    }

    /// Looks whether a version is on disk. What was found is remembered while the result is held, or the version is open.
    pub async fn look(&self, version: &Version) -> Option<Arc<Object>> {
        let on_disk = self.large_object(version)?;
        on_disk.look(&self.runtime).await;
        Some(on_disk.object)
    }

    fn large_object(&self, version: &Version) -> Option<OnDisk> {
        let disk = self.disk.get().filter(|_| version.size() > BLOCK)?;
        disk.open(version)
    }
}

impl File {
    /// The local file with all the bytes of this one, if there is one that may be read without us.
    #[must_use]
    pub fn local(&self) -> Option<Arc<std::fs::File>> {
        let on_disk = self.on_disk().filter(|_| !self.is_corrupt())?;
        on_disk.object.sealed()
    }
}
