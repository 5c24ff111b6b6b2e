//! Objects that fit into one block, fetched whole for someone who has not opened them: because their names are asked for,
//! or because they will be read soon.
//!
//! Such a GET names the version that is expected (`If-Match`), so its answer is also the newest knowledge of the name. It
//! follows the room's rules: memory first, one block in the cache for all who want it, nothing seen before its
//! checksum is compared. It belongs to whoever runs [`Whole::fetch`]; dropped, its block fails as given up, which is a miss.

use std::sync::Arc;

use super::crowd::Member;
use super::disk::OnDisk;
use super::fetch::forget_wrong;
use super::policy::{Ahead, Order};
use super::{BLOCK, Error, File, Reader};
use crate::buffer::{Block, BlockWriter, Class, Failure, Publish, capacity_for};
use crate::cache::{BlockCache, Origin};
use crate::metrics::Metrics;
use crate::object::{ObjectMeta, Source, Version};
use crate::op::Op;
use crate::oss;
use crc_fast::{CrcAlgorithm::Crc64Xz, Digest};
use tokio::runtime::Handle;

/// How often an object is fetched when its checksum does not match.
const ATTEMPTS_MAX: u32 = 3;

/// Why nothing was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unclaimed {
    /// Its block is in the cache, or on its way there.
    There,
    /// There is no memory for it now, or as many requests as may be are in flight.
    NoRoom,
}

/// A version whose one block is in the cache, empty, with its memory: to be fetched.
#[derive(Debug)]
pub struct Whole {
    version: Arc<Version>,
    writer: BlockWriter,
    on_disk: Option<OnDisk>,
    runtime: Handle,
    bucket: Arc<oss::Bucket>,
    cache: Arc<BlockCache>,
    metrics: Arc<Metrics>,
    /// Of the read-ahead requests that may be in flight.
    member: Option<Member>,
}

impl Reader {
    /// True if a version of `size` bytes is fetched whole: it has bytes, and fits into one block.
    #[must_use]
    pub fn is_whole(size: u64) -> bool {
        (1..=BLOCK).contains(&size)
    }

    /// Bytes that may be fetched ahead of their readers and wait for them: half of the budget, so that what waits does not
    /// push out itself.
    #[must_use]
    pub fn ahead_bytes_max(&self) -> u64 {
        (self.budget.total() / 2).min(self.budget.max_lease(Class::ReadAhead))
    }

    /// True if the block of a version that [`Reader::is_whole`] is in the cache, or on its way there.
    #[must_use]
    pub fn has_whole(&self, version: &Version) -> bool {
        self.cache.contains(version, 0)
    }

    /// Claims a version that will be read soon, if there is room now.
    ///
    /// # Errors
    /// [`Unclaimed`].
    ///
    /// # Panics
    /// If it does not fit into one block.
    pub fn claim_whole_ahead(&self, version: &Arc<Version>) -> Result<Whole, Unclaimed> {
        if self.has_whole(version) {
            return Err(Unclaimed::There);
        }
        let bytes = capacity_for(len_of(version));
        let lease = self.budget.try_lease(Class::ReadAhead, bytes);
        let lease = lease.ok_or(Unclaimed::NoRoom)?;
        let member = self.crowd.join().ok_or(Unclaimed::NoRoom)?;
        let (block, writer) = Block::writer(lease, len_of(version), Publish::WhenWhole);
        self.cache
            .insert(version, 0, block, Origin::Ahead)
            .map_err(|_| Unclaimed::There)?;
        // What was read makes room: else an epoch of small files would take fresh memory for each of them.
        self.cache.trim();
        self.metrics.read.ahead_bytes.inc_by(version.size());
        Ok(self.whole(version, writer, Some(member)))
    }

    /// Claims a version that somebody waits for, when there is memory; `None` if its block is there by then. Whoever calls
    /// must hold no lease and no block.
    ///
    /// # Panics
    /// If it does not fit into one block.
    pub async fn claim_whole(&self, version: &Arc<Version>) -> Option<Whole> {
        let bytes = capacity_for(len_of(version));
        let lease = self.budget.lease(Class::Demand, bytes).await;
        let (block, writer) = Block::writer(lease, len_of(version), Publish::WhenWhole);
        self.cache.insert(version, 0, block, Origin::Demand).ok()?;
        self.cache.trim();
        Some(self.whole(version, writer, None))
    }

    /// Fetches the first `bytes` of a large file ahead, as far as there is memory. What is on its way ends with the file.
    pub fn fetch_beginning(&self, file: &Arc<File>, bytes: u64) {
        let end = bytes.min(file.version().size());
        let ahead = Ahead {
            range: 0..end,
            order: Order::Up,
        };
        self.fetch_ahead(file, ahead, self.queue.reach(bytes).part_bytes);
    }

    fn whole(&self, version: &Arc<Version>, writer: BlockWriter, member: Option<Member>) -> Whole {
        Whole {
            version: Arc::clone(version),
            writer,
            on_disk: self.disk.get().and_then(|disk| disk.open(version)),
            runtime: self.runtime.clone(),
            bucket: Arc::clone(&self.bucket),
            cache: Arc::clone(&self.cache),
            metrics: Arc::clone(&self.metrics),
            member,
        }
    }
}

impl Whole {
    /// Fetches it. `at_head` hears what the answer says of the object as soon as its head is there, before its bytes are; of
    /// one that is on disk nobody is asked, and nothing is heard.
    ///
    /// # Errors
    /// What OSS says, [`oss::Kind::Changed`] and [`oss::Kind::NotFound`] if the version is not there any more;
    /// [`Error::Corrupt`]. Those who wait for the block are told the same.
    pub async fn fetch(self, op: &Op, at_head: impl FnOnce(&ObjectMeta)) -> Result<(), Error> {
        let Self {
            version,
            mut writer,
            on_disk,
            runtime,
            bucket,
            cache,
            metrics,
            member,
        } = self;
        if let Some(on_disk) = &on_disk {
            // `None`: the thread has panicked, and the block has failed.
            let read = on_disk.read_whole(&runtime, writer).await;
            let (back, is_read) = read.ok_or(Error::Abandoned)?;
            if is_read {
                back.finish();
                return Ok(());
            }
            writer = back;
        }
        let filled = fill(&bucket, op, &version, &mut writer, at_head).await;
        if let Some(member) = member {
            member.answered();
        }
        match filled {
            Ok((crc, expected)) => {
                let block = Arc::clone(writer.block());
                writer.finish();
                if let Some(on_disk) = &on_disk {
                    on_disk.keep(0, block, crc, expected);
                }
                Ok(())
            }
            Err(error) => {
                forget_wrong(&error, &metrics, &cache, on_disk.as_ref());
                writer.fail(Failure::new(error.clone()));
                Err(error)
            }
        }
    }
}

/// Puts all bytes into the block, and begins again if their checksum is wrong. Returns it, and what OSS announced.
pub(super) async fn fill(
    bucket: &oss::Bucket,
    op: &Op,
    version: &Arc<Version>,
    writer: &mut BlockWriter,
    at_head: impl FnOnce(&ObjectMeta),
) -> Result<(u64, Option<u64>), Error> {
    let source = Source::whole(Arc::clone(version));
    let mut at_head = Some(at_head);
    let mut attempt = 1;
    loop {
        let mut get = bucket.get(op, &source).await.map_err(Error::Oss)?;
        if let Some(meta) = get.meta()
            && let Some(at_head) = at_head.take()
        {
            at_head(meta);
        }
        let expected = get.crc64();
        writer.rewind();
        let mut digest = Digest::new(Crc64Xz);
        while let Some(chunk) = get.chunk().await.map_err(Error::Oss)? {
            digest.update(&chunk);
            writer.put(&chunk);
        }
        let actual = digest.finalize();
        let expected = match expected {
            Some(expected) if expected != actual => expected,
            Some(_) | None => return Ok((actual, expected)),
        };
        let version = Arc::clone(version);
        let error = Error::Corrupt {
            version,
            actual,
            expected,
        };
        if attempt == ATTEMPTS_MAX {
            return Err(error);
        }
        tracing::warn!("{error}; fetching it again");
        attempt += 1;
    }
}

fn len_of(version: &Version) -> usize {
    super::block_len(version.size(), 0)
}
