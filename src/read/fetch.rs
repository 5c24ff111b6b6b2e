//! GETs that fill blocks.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use crc_fast::{CrcAlgorithm::Crc64Xz, Digest};
use tokio::runtime::Handle;

use super::disk::OnDisk;
use super::link::Sample;
use super::policy::{Ahead, Order};
use super::{BLOCK, Error, File, Reader, Shared, block_len, whole};
use crate::buffer::{Block, BlockWriter, Class, Failure, Lease, Publish, capacity_for};
use crate::cache::{BlockCache, Origin};
use crate::metrics::Metrics;
use crate::object::{Source, Version};
use crate::op::{Caller, Op};
use crate::oss;

/// A block of the cache in the hand of who has asked for it.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) index: u64,
    pub(super) block: Arc<Block>,
}

/// Adjacent blocks that one GET will fill.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) first: u64,
    pub(super) writers: Vec<BlockWriter>,
}

impl Segment {
    pub(super) fn indices(&self) -> Range<u64> {
        self.first..self.first + self.writers.len() as u64
    }

    pub(super) fn source(&self, version: &Arc<Version>) -> Source {
        let blocks = self.blocks();
        Source {
            version: Arc::clone(version),
            range: blocks.start * BLOCK..(blocks.end * BLOCK).min(version.size()),
        }
    }

    fn blocks(&self) -> Range<u64> {
        self.first..self.first + self.writers.len() as u64
    }

    fn fail(self, error: &Error) {
        for writer in self.writers {
            writer.fail(Failure::new(error.clone()));
        }
    }
}

impl Reader {
    /// Fetches the missing blocks `run`, which a reader waits for, and in the same request as much of `ahead` as
    /// adjoins them and one request should hold. What it takes is taken off `ahead`. Returns the blocks of `run`.
    pub(super) async fn fetch_demand(
        &self,
        file: &Arc<File>,
        run: Range<u64>,
        ahead: &mut Ahead,
        part: u64,
    ) -> Vec<Claimed> {
        let size = file.version().size();
        let mut lease = self
            .budget
            .lease(Class::Demand, lease_bytes(size, &run))
            .await;
        let mut segments = Vec::new();
        let claimed = self.claim(file, run.clone(), &mut lease, Origin::Demand, &mut segments);
        let run_end = (run.end * BLOCK).min(size);
        if ahead.order == Order::Up && ahead.range.start == run_end && !ahead.is_empty() {
            let end = ahead
                .range
                .end
                .min((run.start * BLOCK).saturating_add(part).max(run_end));
            let more = run.end..end.div_ceil(BLOCK);
            let bytes = lease_bytes(size, &more);
            if !more.is_empty()
                && let Some(mut lease) = self.budget.try_lease(Class::ReadAhead, bytes)
            {
                self.claim(file, more, &mut lease, Origin::Ahead, &mut segments);
                self.metrics
                    .read
                    .ahead_bytes
                    .inc_by(end - ahead.range.start);
                ahead.range.start = end;
            }
        }
        for segment in segments {
            self.start(file, segment, Class::Demand);
        }
        claimed
    }

    /// Fetches `ahead` in requests of `part` bytes, the nearest first, as far as there is memory for it.
    pub(super) fn fetch_ahead(&self, file: &Arc<File>, mut ahead: Ahead, part: u64) {
        let size = file.version().size();
        while let Some(piece) = ahead.take(part) {
            let blocks = piece.start / BLOCK..piece.end.div_ceil(BLOCK);
            for run in self.cache.missing(file.version(), blocks) {
                let bytes = lease_bytes(size, &run);
                let Some(mut lease) = self.budget.try_lease(Class::ReadAhead, bytes) else {
                    ahead.put_back(&piece);
                    file.retract(&ahead);
                    return;
                };
                let mut segments = Vec::new();
                self.claim(file, run, &mut lease, Origin::Ahead, &mut segments);
                self.metrics.read.ahead_bytes.inc_by(bytes);
                for segment in segments {
                    self.start(file, segment, Class::ReadAhead);
                }
            }
        }
    }

    /// Puts empty blocks for `run` into the cache and collects them, adjacent ones together. A block that somebody
    /// else has put there meanwhile is his to fill. Returns the blocks that are there now.
    fn claim(
        &self,
        file: &File,
        run: Range<u64>,
        lease: &mut Lease,
        origin: Origin,
        segments: &mut Vec<Segment>,
    ) -> Vec<Claimed> {
        let version = file.version();
        // What fits into one block is checked before it is served; of a larger object bytes are served as they arrive.
        let publish = if version.size() <= BLOCK {
            Publish::WhenWhole
        } else {
            Publish::AsItArrives
        };
        let mut claimed = Vec::new();
        for index in run {
            let len = block_len(version.size(), index);
            let (block, writer) = Block::writer(lease.split(capacity_for(len)), len, publish);
            let own = Arc::clone(&block);
            if let Err(block) = self.cache.insert(version, index, block, origin) {
                claimed.push(Claimed { index, block });
                continue;
            }
            claimed.push(Claimed { index, block: own });
            match segments.last_mut() {
                Some(last) if last.first + last.writers.len() as u64 == index => {
                    last.writers.push(writer);
                }
                _ => segments.push(Segment {
                    first: index,
                    writers: vec![writer],
                }),
            }
        }
        self.cache.trim();
        claimed
    }

    fn start(&self, file: &Arc<File>, segment: Segment, class: Class) {
        let fetch = Fetch {
            bucket: Arc::clone(&self.bucket),
            cache: Arc::clone(&self.cache),
            metrics: Arc::clone(&self.metrics),
            shared: Arc::clone(file.shared()),
            on_disk: file.on_disk().cloned(),
            runtime: self.runtime.clone(),
        };
        let mut place = self.queue.join(file.version(), segment.blocks(), class);
        file.spawn(&self.runtime, async move {
            let segments = fetch.fill_from_disk(segment).await;
            if segments.is_empty() {
                return;
            }
            place.turn().await;
            for segment in segments {
                if let Some(sample) = fetch.run(segment, class).await {
                    place.learned(&sample);
                }
            }
        });
    }
}

/// Memory that the blocks of `run` take.
pub(super) fn lease_bytes(size: u64, run: &Range<u64>) -> u64 {
    run.clone()
        .map(|index| capacity_for(block_len(size, index)))
        .sum()
}

/// One GET on its way, with what it needs of its reader.
pub(super) struct Fetch {
    pub(super) bucket: Arc<oss::Bucket>,
    pub(super) cache: Arc<BlockCache>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shared: Arc<Shared>,
    pub(super) on_disk: Option<OnDisk>,
    pub(super) runtime: Handle,
}

impl Fetch {
    /// Fills what is on disk; what is not is left.
    async fn fill_from_disk(&self, segment: Segment) -> Vec<Segment> {
        let Some(on_disk) = &self.on_disk else {
            return vec![segment];
        };
        let (segments, error) = on_disk.fill(&self.runtime, &self.shared, segment).await;
        match error {
            None => segments,
            Some(error) => {
                self.failed(&error);
                for segment in segments {
                    segment.fail(&error);
                }
                Vec::new()
            }
        }
    }

    /// One GET; `None` if it teaches nothing of the link.
    async fn run(&self, mut segment: Segment, class: Class) -> Option<Sample> {
        // Here and not when it was planned: its clock runs from the turn on.
        let op = match class {
            Class::ReadAhead => Op::background("read-ahead"),
            Class::Demand | Class::Commit | Class::Write => Op::new("read", 0, Caller::Thread(0)),
        };
        let began = Instant::now();
        let mut first_byte = Duration::ZERO;
        let source = segment.source(&self.shared.version);
        let filled = if source.is_whole() && source.len() <= BLOCK {
            self.fill_small(&op, &source, &mut segment).await
        } else {
            self.fill(&op, &source, &mut segment, &mut first_byte).await
        };
        if let Err(error) = filled {
            self.failed(&error);
            segment.fail(&error);
            return None;
        }
        (!first_byte.is_zero()).then(|| Sample {
            first_byte,
            body: began.elapsed().saturating_sub(first_byte),
            bytes: source.len(),
        })
    }

    pub(super) fn failed(&self, error: &Error) {
        forget_wrong(error, &self.metrics, &self.cache, self.on_disk.as_ref());
    }

    /// Finishes a block, and has it written to the disk behind.
    fn finish(&self, index: u64, writer: BlockWriter, crc: u64, expected: Option<u64>) {
        let block = self.on_disk.is_some().then(|| Arc::clone(writer.block()));
        writer.finish();
        if let (Some(on_disk), Some(block)) = (&self.on_disk, block) {
            on_disk.keep(index, block, crc, expected);
        }
    }

    /// Fills blocks as bytes arrive; the writers of finished blocks leave the segment.
    pub(super) async fn fill(
        &self,
        op: &Op,
        source: &Source,
        segment: &mut Segment,
        first_byte: &mut Duration,
    ) -> Result<(), Error> {
        let asked = Instant::now();
        let mut get = self.bucket.get(op, source).await.map_err(oss_error)?;
        *first_byte = asked.elapsed();
        let expected = get.crc64();
        let mut chunk = Bytes::new();
        while let Some(writer) = segment.writers.first_mut() {
            let mut digest = Digest::new(Crc64Xz);
            let mut crc = 0;
            while writer.remaining() > 0 {
                if chunk.is_empty() {
                    chunk = next(&mut get).await?;
                }
                let piece = chunk.split_to(chunk.len().min(writer.remaining()));
                digest.update(&piece);
                if piece.len() == writer.remaining() {
                    // Before the last bytes can be seen: nobody reads all of a wrong object without an error.
                    crc = digest.finalize();
                    self.shared.checked(segment.first, crc, expected)?;
                }
                writer.put(&piece);
            }
            let writer = segment.writers.remove(0);
            self.finish(segment.first, writer, crc, expected);
            segment.first += 1;
        }
        Ok(())
    }

    /// Fills the one block of a small object, and lets it go only if its checksum is right.
    async fn fill_small(
        &self,
        op: &Op,
        source: &Source,
        segment: &mut Segment,
    ) -> Result<(), Error> {
        let writer = segment.writers.first_mut().ok_or(Error::Abandoned)?;
        let filled = whole::fill(&self.bucket, op, &source.version, writer, |_| {});
        let (crc, expected) = filled.await?;
        let writer = segment.writers.remove(0);
        self.finish(segment.first, writer, crc, expected);
        Ok(())
    }
}

/// Drops what is kept of content that has proven wrong.
pub(super) fn forget_wrong(
    error: &Error,
    metrics: &Metrics,
    cache: &BlockCache,
    on_disk: Option<&OnDisk>,
) {
    if let Error::Corrupt { version, .. } = error {
        metrics.read.checksum_failures.inc();
        cache.purge(version);
        if let Some(on_disk) = on_disk {
            on_disk.object().discard();
        }
        tracing::error!("{error}; its cached bytes are dropped");
    }
}

/// Fills `writers`, which together have room for exactly `range`.
pub(super) async fn exact(
    bucket: &oss::Bucket,
    op: &Op,
    version: &Arc<Version>,
    range: Range<u64>,
    writers: Vec<BlockWriter>,
) -> Result<(), Error> {
    let source = Source {
        version: Arc::clone(version),
        range,
    };
    let mut get = bucket.get(op, &source).await.map_err(oss_error)?;
    let mut chunk = Bytes::new();
    for mut writer in writers {
        while writer.remaining() > 0 {
            if chunk.is_empty() {
                chunk = next(&mut get).await?;
            }
            let len = chunk.len().min(writer.remaining());
            writer.put(&chunk[..len]);
            chunk.advance(len);
        }
        writer.finish();
    }
    Ok(())
}

/// The next bytes of a GET that is known not to be at its end.
async fn next(get: &mut oss::Get<'_>) -> Result<Bytes, Error> {
    // `Get` yields exactly the bytes of its range or an error, so its end cannot come early.
    get.chunk()
        .await
        .map_err(oss_error)?
        .ok_or(Error::Abandoned)
}

fn oss_error(error: oss::Error) -> Error {
    Error::Oss(error)
}
