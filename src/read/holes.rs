//! Blocks that the disk had no time for when they came, and that would keep their object from ever being whole.
//!
//! A reader never waits for the disk, so a disk that is slower than it loses blocks ([`crate::disk`]). An object with a hole
//! is not read by the kernel itself. So when such an object is closed it stands in a short line, and once all writes are done
//! one task brings what is missing: from memory if it is still there, else by a GET, one at a time, behind all read-ahead.
//!
//! It is worth that only if most of the object is there. Whoever opens the object again goes first: he may fetch the same. A version that
//! is not there any more, and a disk without room, end it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crc_fast::CrcAlgorithm::Crc64Xz;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::checks::Shared;
use super::disk::OnDisk;
use super::fetch::{Fetch, Segment, lease_bytes};
use super::queue::Queue;
use super::{BLOCK, Error, block_len};
use crate::buffer::{Block, Budget, Class, Publish, capacity_for};
use crate::cache::BlockCache;
use crate::disk::DiskCache;
use crate::metrics::Metrics;
use crate::op::Op;
use crate::oss;

/// Objects in line. Each keeps its files open; the oldest goes when there are more.
const LINE_MAX: usize = 64;

/// Bytes of one GET.
const PART_BYTES: u64 = 8 << 20;

/// How often an object is gone through: what is fetched may be dropped again if readers fill the disk meanwhile.
const PASSES_MAX: u32 = 3;

/// How long it waits for memory that others have, before it looks again,
const MEMORY_WAIT: Duration = Duration::from_secs(1);

/// and how often.
const MEMORY_WAITS_MAX: u32 = 30;

/// The line of objects with holes. Shared as `Arc`.
#[derive(Debug, Default)]
pub(super) struct Holes {
    line: Mutex<VecDeque<Closed>>,
    came: Notify,
}

/// An object that was closed with holes.
#[derive(Debug)]
struct Closed {
    shared: Arc<Shared>,
    on_disk: OnDisk,
}

impl Holes {
    /// An object is closed.
    pub(super) fn push(&self, shared: &Arc<Shared>, on_disk: &OnDisk) {
        let closed = Closed {
            shared: Arc::clone(shared),
            on_disk: on_disk.clone(),
        };
        let _oldest = {
            let mut line = self.line();
            let is_full = line.len() >= LINE_MAX;
            line.push_back(closed);
            // Dropped without the lock: it closes files.
            is_full.then(|| line.pop_front())
        };
        self.came.notify_one();
    }

    async fn next(&self) -> Closed {
        loop {
            let next = self.line().pop_front();
            if let Some(closed) = next {
                return closed;
            }
            // Who came in between has left a permit.
            self.came.notified().await;
        }
    }

    fn line(&self) -> MutexGuard<'_, VecDeque<Closed>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an object is left with its holes.
#[derive(Debug, thiserror::Error)]
enum Left {
    /// Somebody reads it again. When he closes it, it comes again.
    #[error("it is open again")]
    Open,
    /// There is no memory.
    #[error("there is no memory for it")]
    NoMemory,
    /// The cache ends.
    #[error("the disk cache ends")]
    End,
    /// The version is gone, or cannot be read.
    #[error(transparent)]
    Failed(Error),
}

/// Who fills the holes, with what it needs of its reader.
pub(super) struct Filler {
    pub(super) disk: Arc<DiskCache>,
    pub(super) bucket: Arc<oss::Bucket>,
    pub(super) cache: Arc<BlockCache>,
    pub(super) budget: Arc<Budget>,
    pub(super) queue: Arc<Queue>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) runtime: Handle,
}

impl Filler {
    /// Fills one object after the other, until it is dropped or the cache ends.
    pub(super) async fn run(self, holes: Arc<Holes>) {
        loop {
            let closed = holes.next().await;
            match self.fill(&closed).await {
                Ok(()) => {}
                Err(Left::End) => return,
                Err(left) => {
                    tracing::debug!(version = ?closed.shared.version, "holes on disk are left: {left}");
                }
            }
        }
    }

    async fn fill(&self, closed: &Closed) -> Result<(), Left> {
        let object = closed.on_disk.object();
        for _ in 0..PASSES_MAX {
            // What stands in line is not missing.
            self.disk_is_at(0).await?;
            if !object.is_mostly_there() {
                return Ok(());
            }
            let missing = object.missing();
            let bytes = missing
                .iter()
                .map(|run| (run.end - run.start) * BLOCK)
                .sum();
            if !self.has_room(bytes).await {
                return Ok(());
            }
            for run in missing {
                for part in parts(run, self.part_blocks()) {
                    if object.is_open() {
                        // The mark is what its next close looks for.
                        object.mark_lost();
                        return Err(Left::Open);
                    }
                    self.fill_part(closed, part).await?;
                    self.disk_is_at(self.disk.queue_bytes_max() / 2).await?;
                }
            }
        }
        Ok(())
    }

    /// Resolves when no more than so many bytes wait to be written.
    async fn disk_is_at(&self, bytes: u64) -> Result<(), Left> {
        if self.disk.caught_up(bytes).await {
            Ok(())
        } else {
            Err(Left::End)
        }
    }

    async fn has_room(&self, bytes: u64) -> bool {
        let disk = Arc::clone(&self.disk);
        let asked = self.runtime.spawn_blocking(move || disk.has_room(bytes));
        asked.await.unwrap_or(false)
    }

    /// Blocks of one GET: little memory, or a short line before the disk, allow less.
    fn part_blocks(&self) -> u64 {
        let memory = self.budget.max_lease(Class::ReadAhead) / 4;
        let line = self.disk.queue_bytes_max() / 2;
        (PART_BYTES.min(memory).min(line) / BLOCK).max(1)
    }

    /// Brings a few adjacent blocks.
    async fn fill_part(&self, closed: &Closed, part: Range<u64>) -> Result<(), Left> {
        let mut wanted: Vec<Range<u64>> = Vec::new();
        for index in part {
            if self.keep_cached(closed, index).map_err(Left::Failed)? {
                continue;
            }
            match wanted.last_mut() {
                Some(last) if last.end == index => last.end += 1,
                _ => wanted.push(index..index + 1),
            }
        }
        for run in wanted {
            self.fetch(closed, run).await?;
        }
        Ok(())
    }

    /// Has a block written that memory still has; false if it has not.
    fn keep_cached(&self, closed: &Closed, index: u64) -> Result<bool, Error> {
        let Some(block) = self.cache.peek(&closed.shared.version, index) else {
            return Ok(false);
        };
        let Some(bytes) = block.get(0..block.len()) else {
            return Ok(false);
        };
        let crc = crc_fast::checksum(Crc64Xz, bytes);
        let expected = closed.on_disk.object().expected();
        closed.shared.checked(index, crc, expected)?;
        closed.on_disk.keep(index, block, crc, expected);
        self.metrics.disk.filled_blocks.inc();
        Ok(true)
    }

    /// Fetches blocks that only the disk will see.
    async fn fetch(&self, closed: &Closed, run: Range<u64>) -> Result<(), Left> {
        let version = &closed.shared.version;
        let bytes = lease_bytes(version.size(), &run);
        let mut waits = 0;
        // Not in line for it: there it would stand in the way of read-ahead, which takes no lease while somebody waits.
        let mut lease = loop {
            if let Some(lease) = self.budget.try_lease(Class::ReadAhead, bytes) {
                break lease;
            }
            if waits == MEMORY_WAITS_MAX {
                return Err(Left::NoMemory);
            }
            waits += 1;
            tokio::time::sleep(MEMORY_WAIT).await;
        };
        let writers = run.clone().map(|index| {
            let len = block_len(version.size(), index);
            Block::writer(lease.split(capacity_for(len)), len, Publish::WhenWhole).1
        });
        let mut segment = Segment {
            first: run.start,
            writers: writers.collect(),
        };
        let fetch = Fetch {
            bucket: Arc::clone(&self.bucket),
            cache: Arc::clone(&self.cache),
            metrics: Arc::clone(&self.metrics),
            shared: Arc::clone(&closed.shared),
            on_disk: Some(closed.on_disk.clone()),
            runtime: self.runtime.clone(),
        };
        let mut place = self.queue.join(version, run.clone(), Class::ReadAhead);
        place.turn().await;
        let op = Op::background("fill");
        let source = segment.source(version);
        // A single GET behind all others teaches nothing of the link.
        let mut first_byte = Duration::ZERO;
        let filled = fetch
            .fill(&op, &source, &mut segment, &mut first_byte)
            .await;
        let disk = &self.metrics.disk;
        disk.filled_blocks.inc_by(segment.first - run.start);
        disk.refetched_bytes
            .inc_by(((segment.first * BLOCK).min(version.size())) - run.start * BLOCK);
        filled.map_err(|error| {
            fetch.failed(&error);
            Left::Failed(error)
        })
    }
}

/// A run in pieces of at most so many blocks.
fn parts(run: Range<u64>, blocks: u64) -> impl Iterator<Item = Range<u64>> {
    let step = usize::try_from(blocks).unwrap_or(usize::MAX);
    let end = run.end;
    run.step_by(step)
        .map(move |first| first..end.min(first + blocks))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_are_the_run(start in 0..50_u64, len in 0..50_u64, blocks in 1..20_u64) {
            let parts: Vec<Range<u64>> = parts(start..start + len, blocks).collect();
            prop_assert!(parts.iter().all(|part| (1..=blocks).contains(&(part.end - part.start))));
            let all: Vec<u64> = parts.into_iter().flatten().collect();
            prop_assert_eq!(all, (start..start + len).collect::<Vec<u64>>());
        }
    }
}
