//! Blocks of object versions in memory, least recently used out first.
//!
//! A block belongs to a version of an object, never to a key: a replaced object has other blocks, and nothing has to be
//! invalidated. Block i of a version holds its bytes from i × [`BLOCK_BYTES`] on, [`BLOCK_BYTES`] of them but for the
//! last; an object below that size is block 0.
//!
//! **Single flight.** A block is put in before its first byte has arrived, so whoever misses next finds it and waits for the
//! bytes it needs; of two that fetch the same block, [`BlockCache::insert`] tells the second about the first. A failed
//! block is a miss.
//!
//! **Room.** The cache's blocks keep their leases, and the [`Budget`] calls it as its reclaimer when somebody needs the
//! bytes. The order is the policy's, in `order`. How many bytes are worth keeping at all is learned, in `worth`.
//!
//! **Locks.** One lock, held for some hash look-ups; blocks are dropped after it, for a drop unmaps memory and serves
//! those that wait for a lease. The budget's lock and this one are never held together.
//!
//! The cache on disk lies below this one: a miss here asks it before the wire, and what is evicted whole has been
//! written to it when it was fetched. Neither changes what this page says.

mod order;
#[cfg(test)]
mod tests;
mod worth;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::order::{Found, Order};
use self::worth::Worth;
use crate::buffer::{BLOCK_BYTES, Block, Budget, Class};
use crate::metrics::Metrics;
use crate::object::Version;

/// Why a block was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Somebody asked for it.
    Demand,
    /// Somebody may ask for it soon.
    Ahead,
}

/// The blocks in memory.
pub struct BlockCache {
    order: Mutex<Order>,
    /// Its lock is taken alone.
    worth: Mutex<Worth>,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
}

impl BlockCache {
    /// An empty cache, which becomes the budget's reclaimer.
    ///
    /// # Panics
    /// If the budget has a reclaimer.
    #[must_use]
    pub fn new(budget: &Arc<Budget>, metrics: Arc<Metrics>) -> Arc<Self> {
        let cache = Arc::new(Self {
            order: Mutex::new(Order::new(budget.total())),
            worth: Mutex::new(Worth::new(budget.total())),
            budget: Arc::clone(budget),
            metrics,
        });
        let weak = Arc::downgrade(&cache);
        budget.set_reclaimer(move |class, bytes| {
            weak.upgrade()
                .map_or(0, |cache| cache.reclaim(class, bytes))
        });
        cache
    }

    /// Block `index` of a version, filling or whole, and makes it the last to be evicted.
    #[must_use]
    pub fn get(&self, version: &Version, index: u64) -> Option<Arc<Block>> {
        let found = self.change(|order| order.get(version, index));
        match found {
            Found::Block { block, first_read } => {
                self.metrics.cache.hits.inc();
                if first_read {
                    self.budget.notice_reclaimable();
                }
                Some(block)
            }
            Found::Failed(failed) => {
                self.metrics.cache.misses.inc();
                drop(failed);
                None
            }
            Found::Nothing => {
                self.metrics.cache.misses.inc();
                None
            }
        }
    }

    /// Puts a block in, usually before it has filled.
    ///
    /// # Errors
    /// The block that is there already, if it has not failed; the caller's is not kept.
    ///
    /// # Panics
    /// If the block's length is not that of block `index` of the version.
    pub fn insert(
        &self,
        version: &Arc<Version>,
        index: u64,
        block: Arc<Block>,
        origin: Origin,
    ) -> Result<(), Arc<Block>> {
        assert_eq!(
            Some(block.len()),
            block_len(version, index),
            "block {index} of {version:?} has another length"
        );
        let bytes = block.memory_bytes();
        let replaced = self.change(|order| order.insert(version, index, block, origin))?;
        drop(replaced);
        self.worth().fetched(version, index, bytes);
        Ok(())
    }

    /// Lets go of read blocks beyond what they have proven to be worth. To be called when blocks have come in: the memory
    /// of those that go is used again for those that come next.
    pub fn trim(&self) {
        let bytes = self.worth().bytes();
        let trimmed = self.change(|order| order.trim(bytes));
        self.metrics.cache.evictions.inc_by(trimmed.len() as u64);
        let mut worth = self.worth();
        for (version, index, _) in &trimmed {
            worth.let_go(version, *index);
        }
        drop(worth);
        drop(trimmed);
    }

    fn worth(&self) -> MutexGuard<'_, Worth> {
        self.worth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if a block is there that has not failed. Changes nothing in the order of eviction.
    #[must_use]
    pub fn contains(&self, version: &Version, index: u64) -> bool {
        self.missing(version, index..index + 1).is_empty()
    }

    /// A block that is there, filling or whole. Counts as no use of it: changes nothing in the order of eviction.
    #[must_use]
    pub fn peek(&self, version: &Version, index: u64) -> Option<Arc<Block>> {
        self.lock().peek(version, index)
    }

    /// The runs of `indices` that are not there, in order. Changes nothing in the order of eviction.
    #[must_use]
    pub fn missing(&self, version: &Version, indices: Range<u64>) -> Vec<Range<u64>> {
        self.lock().missing(version, indices)
    }

    /// Forgets all blocks of a version; readers that hold one keep it.
    pub fn purge(&self, version: &Version) {
        let purged = self.change(|order| order.purge(version));
        drop(purged);
    }

    /// Bytes of memory that the blocks take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().bytes()
    }

    fn reclaim(&self, class: Class, bytes: u64) -> u64 {
        let victims = self.change(|order| order.evict(class, bytes));
        let evicted = victims.free.len() + victims.held.len();
        self.metrics.cache.evictions.inc_by(evicted as u64);
        victims.free.iter().map(|block| block.memory_bytes()).sum()
    }

    /// What comes out is dropped by the caller, without the lock.
    fn change<T>(&self, change: impl FnOnce(&mut Order) -> T) -> T {
        let mut order = self.lock();
        let out = change(&mut order);
        let bytes = i64::try_from(order.bytes()).expect("memory is less than 8 EiB");
        self.metrics.cache.bytes.set(bytes);
        out
    }

    fn lock(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockCache")
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

/// Bytes of block `index` of a version; `None` beyond its end. An empty version has an empty block 0.
#[must_use]
pub fn block_len(version: &Version, index: u64) -> Option<usize> {
    if version.size() == 0 && index == 0 {
        return Some(0);
    }
    let begin = index.checked_mul(BLOCK_BYTES as u64)?;
    let rest = version.size().checked_sub(begin).filter(|&rest| rest > 0)?;
    Some(usize::try_from(rest).map_or(BLOCK_BYTES, |rest| rest.min(BLOCK_BYTES)))
}
