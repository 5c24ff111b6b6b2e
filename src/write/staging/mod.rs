//! Where written bytes wait for their upload: leased memory first, then files of the staging directory.
//!
//! Bytes are appended to chunks and never change afterwards, so a body that is being sent, and a commit that reads a clone
//! of the map, need no copy of them. A chunk is let go when no file names it and no body holds it: a body holds the chunk, and the
//! chunk its lease.
//!
//! Chunks grow with what the file has staged, from 4 KiB to 1 MiB, so a thousand small files take their bytes and a page each.
//!
//! With a staging directory, what is written is in a log there too ([`journal`]), and survives the process. Where memory has no room, bytes are
//! named in the log; a file of chunks takes only those that could not be logged.
//!
//! Two bounds: [`Space`] counts what all chunks take in memory, less than the budget's class would grant, so that writers do not drive out
//! all that is cached; and the directory's bytes. Whoever frees something wakes those that wait for room.

mod directory;
mod journal;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

use super::ChunkId;
use crate::buffer::{BLOCK_BYTES, Block, BlockWriter, Budget, Class, Publish, capacity_for};
use crate::metrics::Metrics;
use directory::Slot;
pub(super) use directory::Spill;
pub use directory::StagingDirectory;
use journal::Segment;
pub(super) use journal::{Change, From, Identity, Log, Restoring, Unsure};
pub use journal::{CrashedMount, Recovered, Standing, UnfinishedFile};

/// Bytes of the smallest chunk.
const CHUNK_BYTES_MIN: usize = 4 << 10;

/// What chunks take, and who waits for some of it.
#[derive(Debug)]
pub(super) struct Space {
    memory_max: u64,
    memory: AtomicU64,
    disk: AtomicU64,
    freed: Notify,
    metrics: Arc<Metrics>,
}

impl Space {
    /// Resolves at the next change after the call.
    pub(super) fn freed(&self) -> &Notify {
        &self.freed
    }

    pub(super) fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    pub(super) fn memory_max(&self) -> u64 {
        self.memory_max
    }

    pub(super) fn disk(&self) -> u64 {
        self.disk.load(Ordering::Relaxed)
    }

    /// Bytes were copied so that others can be let go.
    pub(super) fn compacted(&self, bytes: usize) {
        self.metrics.write.compacted_bytes.inc_by(bytes as u64);
    }

    /// Bytes of logs are gone, or came.
    fn log(&self, gone: u64, came: u64) {
        self.disk.fetch_add(came, Ordering::Relaxed);
        self.disk.fetch_sub(gone, Ordering::Relaxed);
        self.gauge();
        if gone > 0 {
            self.freed.notify_waiters();
        }
    }

    fn take_memory(&self, bytes: u64) -> bool {
        let taken = self
            .memory
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken + bytes <= self.memory_max).then_some(taken + bytes)
            });
        taken.is_ok()
    }

    fn gauge(&self) {
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics.write.staged_bytes.set(gauge(self.memory()));
        self.metrics.write.staged_disk_bytes.set(gauge(self.disk()));
    }
}

/// The staging of a mount.
#[derive(Debug)]
pub(super) struct Staging {
    budget: Arc<Budget>,
    space: Arc<Space>,
    directory: Option<Arc<StagingDirectory>>,
    next_id: Arc<AtomicU32>,
}

/// Bytes that were written, in order of their coming; they never change.
#[derive(Debug)]
pub(super) struct Chunk {
    /// `None` only within the drop.
    data: Option<Data>,
    capacity: u64,
    space: Arc<Space>,
}

#[derive(Debug)]
enum Data {
    Memory(Arc<Block>),
    File(Slot),
    Log(Arc<Segment>),
}

/// The one writer of a chunk.
#[derive(Debug)]
pub(super) struct ChunkWriter {
    pub(super) id: ChunkId,
    pub(super) chunk: Arc<Chunk>,
    /// Bytes written so far.
    at: u64,
    memory: Option<BlockWriter>,
}

impl Staging {
    pub(super) fn new(
        budget: Arc<Budget>,
        memory_max: u64,
        directory: Option<StagingDirectory>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            budget,
            space: Arc::new(Space {
                memory_max,
                memory: AtomicU64::new(0),
                disk: AtomicU64::new(0),
                freed: Notify::new(),
                metrics,
            }),
            directory: directory.map(Arc::new),
            next_id: Arc::default(),
        }
    }

    pub(super) fn space(&self) -> &Arc<Space> {
        &self.space
    }

    /// A log for a file, if there is a directory.
    pub(super) fn log(&self) -> Option<Log> {
        let directory = self.directory.as_ref()?;
        Some(Log::new(directory, &self.space, &self.next_id))
    }

    /// A chunk for `wanted` bytes at least, of a file that has `staged` bytes; `None` if there is no room. Without `spill` it is in memory.
    pub(super) fn chunk(
        &self,
        wanted: usize,
        staged: u64,
        spill: Option<&mut Option<Arc<Spill>>>,
    ) -> Option<ChunkWriter> {
        let comfortable = usize::try_from(staged).unwrap_or(usize::MAX);
        let comfortable = comfortable.min(BLOCK_BYTES).next_power_of_two();
        let least = wanted.clamp(CHUNK_BYTES_MIN, BLOCK_BYTES);
        self.in_memory(least.max(comfortable), Class::Write)
            .or_else(|| self.in_memory(least, Class::Write))
            .or_else(|| self.on_disk(wanted, spill?))
    }

    /// A chunk that makes others free: it is let in before other writers.
    pub(super) fn chunk_for_less(&self, bytes: usize) -> Option<ChunkWriter> {
        self.in_memory(bytes.clamp(CHUNK_BYTES_MIN, BLOCK_BYTES), Class::Commit)
    }

    fn in_memory(&self, bytes: usize, class: Class) -> Option<ChunkWriter> {
        let capacity = capacity_for(bytes);
        match class {
            // It frees more than it takes.
            Class::Commit => {
                self.space.memory.fetch_add(capacity, Ordering::Relaxed);
            }
            Class::Demand | Class::Write | Class::ReadAhead => {
                if !self.space.take_memory(capacity) {
                    return None;
                }
            }
        }
        let Some(lease) = self.budget.try_lease(class, capacity) else {
            self.space.memory.fetch_sub(capacity, Ordering::Relaxed);
            return None;
        };
        let len = usize::try_from(capacity).unwrap_or(bytes);
        let (block, writer) = Block::writer(lease, len, Publish::AsItArrives);
        Some(self.begin(Data::Memory(block), capacity, Some(writer)))
    }

    fn on_disk(&self, wanted: usize, spill: &mut Option<Arc<Spill>>) -> Option<ChunkWriter> {
        let slot = self.directory.as_ref()?.slot(wanted, spill)?;
        let capacity = slot.bytes();
        self.space.disk.fetch_add(capacity, Ordering::Relaxed);
        Some(self.begin(Data::File(slot), capacity, None))
    }

    fn begin(&self, data: Data, capacity: u64, memory: Option<BlockWriter>) -> ChunkWriter {
        self.space.gauge();
        ChunkWriter {
            id: ChunkId(self.next_id.fetch_add(1, Ordering::Relaxed)),
            chunk: Arc::new(Chunk {
                data: Some(data),
                capacity,
                space: Arc::clone(&self.space),
            }),
            at: 0,
            memory,
        }
    }
}

impl Chunk {
    /// A segment of a log, which has a room of its own.
    fn of_log(segment: Arc<Segment>, space: &Arc<Space>) -> Self {
        Self {
            data: Some(Data::Log(segment)),
            capacity: 0,
            space: Arc::clone(space),
        }
    }

    /// Bytes of memory, or of disk, that it takes.
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) fn is_in_memory(&self) -> bool {
        matches!(self.data, Some(Data::Memory(_)))
    }

    /// Bytes of it, without a copy; `None` if they are on disk.
    pub(super) fn bytes(self: &Arc<Self>, range: Range<u64>) -> Option<Bytes> {
        let Some(Data::Memory(block)) = &self.data else {
            return None;
        };
        let cut = |at: u64| usize::try_from(at).expect("an offset in a block fits");
        let range = cut(range.start)..cut(range.end);
        block.get(range.clone())?;
        let chunk = Arc::clone(self);
        Some(Bytes::from_owner(Slice { chunk, range }))
    }

    /// Copies bytes of it to `into`, wherever they are. Reads a file, if they are on disk.
    ///
    /// # Errors
    /// Of the staging file.
    pub(super) fn copy_to(&self, start: u64, into: &mut [u8]) -> std::io::Result<()> {
        match self.data.as_ref().expect("data goes in the drop only") {
            Data::Memory(block) => {
                let start = usize::try_from(start).expect("an offset in a block fits");
                let bytes = block.get(start..start + into.len());
                into.copy_from_slice(bytes.expect("a range that is named was written"));
                Ok(())
            }
            Data::File(slot) => slot.read(start, into),
            Data::Log(segment) => segment.read(start, into),
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let in_memory = self.is_in_memory();
        // The lease comes back before anyone is told that there is room.
        drop(self.data.take());
        let taken = match in_memory {
            true => &self.space.memory,
            false => &self.space.disk,
        };
        taken.fetch_sub(self.capacity, Ordering::Relaxed);
        self.space.gauge();
        self.space.freed.notify_waiters();
    }
}

impl ChunkWriter {
    /// Bytes that still fit.
    pub(super) fn remaining(&self) -> usize {
        usize::try_from(self.chunk.capacity - self.at).unwrap_or(usize::MAX)
    }

    /// Appends bytes, as many as fit, and says where they are.
    ///
    /// # Errors
    /// Of the staging file: it has no room after all, or fails.
    pub(super) fn put(&mut self, bytes: &[u8]) -> std::io::Result<Range<u64>> {
        let start = self.at;
        match (&mut self.memory, self.chunk.data.as_ref()) {
            (Some(writer), _) => writer.put(bytes),
            (None, Some(Data::File(slot))) => slot.write(start, bytes)?,
            (None, Some(Data::Memory(_) | Data::Log(_)) | None) => {
                unreachable!("memory has its own writer, and a log too")
            }
        }
        self.at += bytes.len() as u64;
        Ok(start..self.at)
    }
}

/// A range of a chunk in memory, which stays as long as somebody sends it.
struct Slice {
    chunk: Arc<Chunk>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        match &self.chunk.data {
            Some(Data::Memory(block)) => block
                .get(self.range.clone())
                .expect("the range was there when the slice was made"),
            Some(Data::File(_) | Data::Log(_)) | None => &[],
        }
    }
}
