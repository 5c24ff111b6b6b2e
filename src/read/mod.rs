//! Reading: from a READ of the kernel to bytes, by the shortest way.
//!
//! A [`Reader`] serves all open files of a mount. For each READ it asks the file's [`policy`] what to fetch, takes what
//! it can from the block cache, and starts GETs for the rest. The block cache is the single flight: a block that is
//! being filled is found like any other, and whoever finds it waits for the bytes he needs, not for the whole block.
//!
//! Four rules keep it honest and alive:
//! - **One version.** Blocks belong to a [`Version`]; each GET carries its ETag as `If-Match`. A file never sees bytes
//!   of two versions. What fits into one block is checked against the object's CRC-64 before a byte of it is served;
//!   of a larger object every block's checksum is kept and combined once all have come ([`checks`]), before the last byte is served.
//! - **Leases first.** A GET takes the memory of all its blocks at once, before it is sent. A reader never waits for
//!   memory while it holds a block: it lets go, waits, and looks again. What it has put into the cache it holds until it
//!   is answered, so it also hears why a block failed. If the cache is under such pressure that its other blocks go
//!   before it can use them, it takes one buffer of exactly the range it needs and keeps that to itself.
//! - **Demand first.** GETs that nobody waits for yet stand in a [`queue`], of which so many go as the [`link`] rewards. A reader
//!   that meets a block in it pulls its GET out.
//! - **Owned tasks.** GETs run as tasks that belong to the open file. The last close aborts what is still on its way.

mod checks;
mod crowd;
mod disk;
mod fetch;
mod file;
mod holes;
mod link;
mod patience;
mod policy;
mod queue;
mod served;
mod shift;
mod whole;

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::runtime::Handle;

use crate::buffer::{BLOCK_BYTES, Block, Budget, Class, Failure, Publish, capacity_for};
use crate::cache::BlockCache;
use crate::metrics::Metrics;
use crate::object::Version;
use crate::op::Op;
use crate::oss;

pub use file::File;
pub use served::Served;
pub use whole::{Unclaimed, Whole};

use checks::{Shared, Versions};
use crowd::Crowd;
use disk::Disk;
use fetch::Claimed;
use policy::{Ahead, Plan};
use queue::Queue;
use served::Pieces;

/// The bytes of a block as an offset.
const BLOCK: u64 = BLOCK_BYTES as u64;

/// How often a READ has its missing blocks fetched into the cache before it fetches a private copy of its range. Once does,
/// unless the file of another, whose GET was to bring a block, is closed; or memory is so short that one of two blocks
/// goes while the other comes.
const FETCHES_MAX: u32 = 4;

/// What a [`Reader`] is made with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The farthest that one stream is read ahead, in bytes, where the link rewards it.
    pub window_bytes_max: u64,
    /// The most GETs in flight, of all files together; how many of them there are is learned from the link. A GET that
    /// a reader waits for is never held back.
    pub gets_max: usize,
}

/// Why a READ has no bytes. Cloneable: all who wait for a block learn why it failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// OSS said no, or said nothing for too long.
    #[error(transparent)]
    Oss(oss::Error),
    /// The bytes that arrived are not those whose checksum OSS announced.
    #[error("{version:?}: the CRC-64 of what arrived is {actual}, it should be {expected}")]
    Corrupt {
        /// Whose bytes.
        version: Arc<Version>,
        /// CRC-64/XZ of what arrived.
        actual: u64,
        /// `x-oss-hash-crc64ecma`; of a block that came again, that of the first time.
        expected: u64,
    },
    /// The GET that was to fill a block was given up, because the file it was for was closed.
    #[error("the request was given up")]
    Abandoned,
}

impl Error {
    /// True if OSS does not have the version any more, so that asking again is of no use.
    #[must_use]
    pub fn is_of_a_lost_version(&self) -> bool {
        match self {
            Self::Oss(error) => matches!(error.kind(), oss::Kind::Changed | oss::Kind::NotFound),
            Self::Corrupt { .. } | Self::Abandoned => false,
        }
    }

    /// The error that a failed block carries.
    fn of(failure: &Failure) -> Self {
        failure
            .downcast_ref::<Self>()
            .cloned()
            .unwrap_or(Self::Abandoned)
    }
}

/// A READ that could not be answered from memory, with what was planned for it.
#[derive(Debug)]
pub struct Pending {
    range: Range<u64>,
    plan: Plan,
}

/// Reads the objects of one bucket through one block cache. Shared as `Arc`.
#[derive(Debug)]
pub struct Reader {
    config: Config,
    bucket: Arc<oss::Bucket>,
    cache: Arc<BlockCache>,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
    runtime: Handle,
    queue: Arc<Queue>,
    crowd: Arc<Crowd>,
    versions: Mutex<Versions>,
    disk: OnceLock<Disk>,
}

impl Reader {
    /// A reader whose GETs run on `runtime`.
    #[must_use]
    pub fn new(
        config: Config,
        bucket: Arc<oss::Bucket>,
        cache: Arc<BlockCache>,
        budget: Arc<Budget>,
        metrics: Arc<Metrics>,
        runtime: Handle,
    ) -> Arc<Self> {
        let queue = Queue::new(config.gets_max, Arc::clone(&metrics));
        let crowd = Crowd::new(Arc::clone(&metrics));
        Arc::new(Self {
            config,
            bucket,
            cache,
            budget,
            metrics,
            runtime,
            queue,
            crowd,
            versions: Mutex::default(),
            disk: OnceLock::new(),
        })
    }

    /// Opens a version for reading; all handles of one inode share the result.
    #[must_use]
    pub fn open(&self, version: Arc<Version>) -> Arc<File> {
        // A stream may take half of what read-ahead may lease, so that two streams do not evict each other.
        let window = self
            .config
            .window_bytes_max
            .min(self.budget.max_lease(Class::ReadAhead) / 2);
        let on_disk = self.disk.get().and_then(|disk| disk.open(&version));
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::new(File::new(versions.open(version), window, on_disk))
    }

    /// Answers a READ from memory, without waiting, and starts what is to be fetched ahead.
    ///
    /// The range is cut at the end of the file, as read(2) does. `len` is at most [`BLOCK_BYTES`], as the kernel's is:
    /// more would need more memory at once than one lease may have.
    ///
    /// # Panics
    /// If `len` is more than that.
    ///
    /// # Errors
    /// `Err` is no failure: it holds what [`Reader::read`] needs to go on.
    pub fn try_read(&self, file: &Arc<File>, offset: u64, len: u64) -> Result<Served, Pending> {
        assert!(len <= BLOCK, "a READ has at most {BLOCK} bytes");
        let size = file.version().size();
        let range = offset.min(size)..offset.saturating_add(len).min(size);
        if range.is_empty() {
            return Ok(Served::empty());
        }
        if file.corrupt().is_some() || file.is_gone() {
            let plan = Plan::Exact;
            return Err(Pending { range, plan });
        }
        let plan = file.plan(&range, self.queue.reach(file.window_bytes_max()));
        let pieces = self.pieces(file, &range, &[]);
        if let Some(served) = pieces.and_then(Served::new) {
            if let Plan::Blocks { ahead, part, .. } = plan {
                self.fetch_ahead(file, ahead, part);
            }
            self.metrics.read.inline_hits.inc();
            self.count(&served);
            return Ok(served);
        }
        Err(Pending { range, plan })
    }

    /// Answers a READ that [`Reader::try_read`] could not.
    ///
    /// # Errors
    /// [`Error`] of the GET that was to bring the bytes.
    pub async fn read(&self, op: &Op, file: &Arc<File>, pending: Pending) -> Result<Served, Error> {
        if let Some(error) = file.corrupt() {
            return Err(error);
        }
        let Pending { range, plan } = pending;
        let read = match file.gone() {
            Some(error) => {
                let cached = self.read_cached(file, &range, &[]).await?;
                cached.ok_or_else(|| error.clone())
            }
            None => self.read_planned(op, file, range, plan).await,
        };
        if let Err(error) = &read
            && error.is_of_a_lost_version()
        {
            file.lose(error);
        }
        let served = read?;
        op.progressed();
        self.count(&served);
        Ok(served)
    }

    async fn read_planned(
        &self,
        op: &Op,
        file: &Arc<File>,
        range: Range<u64>,
        plan: Plan,
    ) -> Result<Served, Error> {
        let served = match plan {
            Plan::Exact => match self.read_cached(file, &range, &[]).await? {
                // Whole blocks cost nothing where they lie on disk.
                None if file.is_on_disk(&self.runtime, &range).await => {
                    let ahead = Ahead::none();
                    let planned = Planned { file, ahead };
                    self.read_blocks(&range, planned, BLOCK).await?
                }
                served => served,
            },
            Plan::Blocks {
                ahead,
                part,
                promised,
            } => {
                if promised
                    && !self
                        .cache
                        .missing(file.version(), blocks_of(&range))
                        .is_empty()
                {
                    file.lost(&range);
                }
                let ahead = Planned { file, ahead };
                self.read_blocks(&range, ahead, part).await?
            }
        };
        match served {
            Some(served) => Ok(served),
            None => self.read_exact(op, file, &range).await,
        }
    }

    /// Reads blocks that are in the cache or among `own`; `None` if they are not, or if whoever was filling them gave up.
    async fn read_cached(
        &self,
        file: &File,
        range: &Range<u64>,
        own: &[Claimed],
    ) -> Result<Option<Served>, Error> {
        let Some(pieces) = self.pieces(file, range, own) else {
            return Ok(None);
        };
        match self.filled(file, range, pieces).await {
            // The blocks of a file that was closed meanwhile: their GET was not for this reader, nor is its end.
            Err(Error::Abandoned) => Ok(None),
            done => done,
        }
    }

    /// Reads through the cache; `None` if its blocks went before they could be used.
    async fn read_blocks(
        &self,
        range: &Range<u64>,
        mut planned: Planned<'_>,
        part: u64,
    ) -> Result<Option<Served>, Error> {
        let file = planned.file;
        let blocks = blocks_of(range);
        for _ in 0..FETCHES_MAX {
            // A READ touches two blocks at most, so what is missing is one run.
            let missing = self.cache.missing(file.version(), blocks.clone());
            let own = match missing.into_iter().next() {
                Some(run) if run.end == blocks.end => {
                    self.fetch_demand(file, run, &mut planned.ahead, part).await
                }
                Some(run) => self.fetch_demand(file, run, &mut Ahead::none(), part).await,
                None => Vec::new(),
            };
            let ahead = std::mem::replace(&mut planned.ahead, Ahead::none());
            self.fetch_ahead(file, ahead, part);
            if let Some(served) = self.read_cached(file, range, &own).await? {
                return Ok(Some(served));
            }
        }
        if file.version().size() <= BLOCK {
            // A private copy would not be checked before it is served.
            return Err(Error::Abandoned);
        }
        Ok(None)
    }

    /// The blocks under `range` if all are among `own` or in the cache, filled or being filled.
    fn pieces(&self, file: &File, range: &Range<u64>, own: &[Claimed]) -> Option<Pieces> {
        let mut pieces = Pieces::default();
        for index in blocks_of(range) {
            let block = match own.iter().find(|claimed| claimed.index == index) {
                Some(claimed) => Arc::clone(&claimed.block),
                None => self.cache.get(file.version(), index)?,
            };
            let start = range.start.saturating_sub(index * BLOCK);
            let end = (range.end - index * BLOCK).min(BLOCK);
            pieces.push(served::Piece::new(block, start, end));
        }
        Some(pieces)
    }

    /// Waits until the bytes of all pieces have arrived.
    async fn filled(
        &self,
        file: &File,
        range: &Range<u64>,
        pieces: Pieces,
    ) -> Result<Option<Served>, Error> {
        // All before the first is waited for: they may stand in different GETs.
        for (index, piece) in blocks_of(range).zip(pieces.iter()) {
            if !piece.is_filled() {
                self.queue.promote(file.version(), index);
            }
        }
        for piece in pieces.iter() {
            piece
                .filled()
                .await
                .map_err(|failure| Error::of(&failure))?;
        }
        if let Some(error) = file.corrupt() {
            return Err(error);
        }
        Ok(Served::new(pieces))
    }

    /// Fetches exactly `range` into a buffer that only this READ sees.
    async fn read_exact(&self, op: &Op, file: &File, range: &Range<u64>) -> Result<Served, Error> {
        let mut pieces = Pieces::default();
        // One request for the whole range; more than a block's length is answered from two buffers.
        let lens: Vec<usize> = lens_of(range);
        let bytes = lens.iter().map(|&len| capacity_for(len)).sum();
        let mut lease = self.budget.lease(Class::Demand, bytes).await;
        let mut writers = Vec::with_capacity(lens.len());
        for len in lens {
            let own = lease.split(capacity_for(len));
            let (block, writer) = Block::writer(own, len, Publish::AsItArrives);
            pieces.push(served::Piece::new(block, 0, len as u64));
            writers.push(writer);
        }
        fetch::exact(&self.bucket, op, file.version(), range.clone(), writers).await?;
        Served::new(pieces).ok_or(Error::Abandoned)
    }

    fn count(&self, served: &Served) {
        let read = &self.metrics.read;
        read.reads.inc();
        read.bytes_served.inc_by(served.len() as u64);
        if served.is_straddled() {
            read.straddled.inc();
        }
    }
}

/// What is planned ahead for a READ and not yet under way. If the READ ends first, the next one plans it anew.
struct Planned<'a> {
    file: &'a Arc<File>,
    ahead: Ahead,
}

impl Drop for Planned<'_> {
    fn drop(&mut self) {
        if !self.ahead.is_empty() {
            self.file.retract(&self.ahead);
        }
    }
}

/// The indices of the blocks that `range` touches.
fn blocks_of(range: &Range<u64>) -> Range<u64> {
    range.start / BLOCK..range.end.div_ceil(BLOCK)
}

/// Bytes of block `index` of a version of `size` bytes.
fn block_len(size: u64, index: u64) -> usize {
    usize::try_from((size - index * BLOCK).min(BLOCK)).expect("a block's length fits")
}

/// The lengths of the buffers that hold `range`, none longer than a block.
fn lens_of(range: &Range<u64>) -> Vec<usize> {
    let mut lens = Vec::with_capacity(2);
    let mut rest = range.end - range.start;
    while rest > 0 {
        let len = rest.min(BLOCK);
        lens.push(usize::try_from(len).expect("a block's length fits"));
        rest -= len;
    }
    lens
}
