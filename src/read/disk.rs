//! What is on disk is not fetched: the way from a segment of missing blocks to the cache on disk, and back to it.
//!
//! It stands between the block cache and the wire. The blocks of a segment are in the block cache already and found by
//! whoever misses next, so there is one flight for both ways. Reading waits for the disk on a thread that may, and a disk that
//! does not answer is given up ([`super::patience`]); the checksums of
//! what comes from there are noted like those of what comes from OSS ([`super::checks`]).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::checks::Shared;
use super::fetch::Segment;
use super::holes::{Filler, Holes};
use super::patience::{Loan, Patience, Steps};
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
    patience: Arc<Patience>,
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
            patience: Arc::new(Patience::new(Arc::clone(&reader.metrics))),
            holes,
            _filling: AbortOnDropHandle::new(filling),
        }
    }

    /// A version that is opened for reading.
    pub(super) fn open(&self, version: &Version) -> Option<OnDisk> {
        Some(OnDisk {
            object: self.cache.object(version)?,
            reads: Arc::clone(&self.reads),
            patience: Arc::clone(&self.patience),
            holes: Arc::clone(&self.holes),
        })
    }
}

/// A version on disk, or on its way there.
#[derive(Debug, Clone)]
pub(super) struct OnDisk {
    object: Arc<Object>,
    reads: Arc<Semaphore>,
    patience: Arc<Patience>,
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
            let looking = async { runtime.spawn_blocking(move || object.look()).await };
            // A disk that does not answer, a panic, the end of the runtime: then it is not there.
            let _ = self.patience.wait(&Steps::default(), looking).await;
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
        let Some(turn) = self.patience.turn(&self.reads).await else {
            return (vec![segment], None);
        };
        let loan = Arc::new(Loan::new(Filling::new(segment)));
        let (object, shared) = (Arc::clone(&self.object), Arc::clone(shared));
        let lent = Arc::clone(&loan);
        let filling = async {
            let fill = move || {
                let _turn = turn;
                fill(&object, &shared, &lent)
            };
            runtime.spawn_blocking(fill).await
        };
        // `None` or a panic: what it has done until then is done.
        let filled = self.patience.wait(&loan.steps, filling).await;
        let error = filled.and_then(Result::ok).flatten();
        let left = loan.take_back().map(Filling::left);
        (left.unwrap_or_default(), error)
    }

    /// Fills the one block of a small version if it is there; says whether it was. `None` if it is lost.
    pub(super) async fn read_whole(
        &self,
        runtime: &Handle,
        writer: BlockWriter,
    ) -> Option<(BlockWriter, bool)> {
        self.look(runtime).await;
        if !self.object.has(0) {
            return Some((writer, false));
        }
        let Some(turn) = self.patience.turn(&self.reads).await else {
            return Some((writer, false));
        };
        let loan = Arc::new(Loan::new(writer));
        let (object, lent) = (Arc::clone(&self.object), Arc::clone(&loan));
        let reading = async {
            let read = move || {
                let _turn = turn;
                let crc = object.read(0, |piece| {
                    lent.with(|writer| writer.put_hidden(piece));
                });
                let is_right = |crc| object.expected().is_none_or(|expected| expected == crc);
                let is_read = crc.is_some_and(is_right);
                if crc.is_some() && !is_read {
                    object.discard();
                }
                is_read
            };
            runtime.spawn_blocking(read).await
        };
        let read = self.patience.wait(&loan.steps, reading).await;
        let is_read = read.is_some_and(|read| read.unwrap_or(false));
        let mut writer = loan.take_back()?;
        if !is_read {
            writer.rewind();
        }
        Some((writer, is_read))
    }

    /// Has a block that came from OSS written behind.
    pub(super) fn keep(&self, index: u64, block: Arc<Block>, crc: u64, expected: Option<u64>) {
        self.object.write_later(index, block, crc, expected);
    }
}

/// A segment on its way through the disk.
#[derive(Debug)]
struct Filling {
    /// The block in work.
    index: u64,
    writers: VecDeque<BlockWriter>,
    missing: Vec<Segment>,
}

impl Filling {
    fn new(segment: Segment) -> Self {
        Self {
            index: segment.first,
            writers: segment.writers.into(),
            missing: Vec::new(),
        }
    }

    fn put(&mut self, piece: &[u8]) {
        if let Some(writer) = self.writers.front_mut() {
            writer.put_hidden(piece);
        }
    }

    /// The block in work was read, and everybody may see it.
    fn finish(&mut self) {
        if let Some(writer) = self.writers.pop_front() {
            writer.finish();
            self.index += 1;
        }
    }

    /// The block in work is not there.
    fn skip(&mut self) {
        let Some(mut writer) = self.writers.pop_front() else {
            return;
        };
        writer.rewind();
        match self.missing.last_mut() {
            Some(last) if last.indices().end == self.index => last.writers.push(writer),
            _ => self.missing.push(Segment {
                first: self.index,
                writers: vec![writer],
            }),
        }
        self.index += 1;
    }

    /// What was not filled.
    fn left(mut self) -> Vec<Segment> {
        while !self.writers.is_empty() {
            self.skip();
        }
        self.missing
    }
}

/// Fills what is there, in order, until nothing is left or it is taken back. Returns the error that ends it all.
fn fill(object: &Arc<Object>, shared: &Shared, loan: &Loan<Filling>) -> Option<Error> {
    let next = || loan.with(|filling| (!filling.writers.is_empty()).then_some(filling.index));
    while let Some(index) = next().flatten() {
        let crc = object.read(index, |piece| {
            loan.with(|filling| filling.put(piece));
        });
        let ended: Option<Result<(), Error>> = loan.with(|filling| {
            if let Some(crc) = crc {
                // Before anybody can see the bytes.
                shared.checked(index, crc, object.expected())?;
                filling.finish();
            } else {
                filling.skip();
            }
            Ok(())
        });
        if let Some(Err(error)) = ended {
            return Some(error);
        }
    }
    None
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

    /// Drops what is kept of a version, in memory and on disk. Who reads it now keeps what it holds.
    pub fn forget(&self, version: &Version) {
        self.cache.purge(version);
        let on_disk = self.disk.get().and_then(|disk| disk.open(version));
        if let Some(on_disk) = on_disk {
            on_disk.object.discard();
        }
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::buffer::{Budget, Class, Publish, capacity_for};

    #[test]
    fn what_is_taken_back_is_all_that_was_not_filled() {
        let budget = Budget::new(64 << 20, Arc::default());
        let (blocks, writers): (Vec<Arc<Block>>, Vec<BlockWriter>) = (0..6)
            .map(|_| {
                let lease = budget.try_lease(Class::Demand, capacity_for(4));
                Block::writer(lease.unwrap(), 4, Publish::AsItArrives)
            })
            .unzip();
        let mut filling = Filling::new(Segment { first: 10, writers });
        filling.skip();
        filling.put(b"once");
        filling.finish();
        // What was put of a block that turns out bad is put again.
        filling.put(b"bad");
        filling.skip();
        filling.skip();
        // Taken back in the midst of a block.
        filling.put(b"tw");
        let left = filling.left();
        let ranges: Vec<Range<u64>> = left.iter().map(Segment::indices).collect();
        assert_eq!(ranges, [10..11, 12..16]);
        for (range, segment) in ranges.into_iter().zip(left) {
            for (index, mut writer) in range.zip(segment.writers) {
                writer.put_hidden(b"wire");
                writer.finish();
                let block = &blocks[usize::try_from(index - 10).unwrap()];
                assert_eq!(block.get(0..4).unwrap(), b"wire");
            }
        }
        assert_eq!(blocks[1].get(0..4).unwrap(), b"once");
    }
}
