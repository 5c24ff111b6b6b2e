//! How much memory blocks that were read are worth.
//!
//! Bytes that were handed to the kernel are in its page cache too, and most data is read once an epoch in an order that no
//! cache survives. Keeping all of it here would hold memory twice, and fresh memory is dear: the kernel zeroes each page
//! before the first use, which costs more than fetching it from the socket. So the cache begins small, and a stream is
//! served out of the same few dozen blocks over and over. It grows when it proves too small: when a block is fetched
//! again that was let go only because of this bound. Then it may grow up to the whole budget. What is fetched for the first time
//! makes it shrink, more slowly: a few blocks that come back among many that do not are not worth the memory of all.

use std::num::NonZeroUsize;

use lru::LruCache;

use crate::object::Version;

/// Where the bound begins, unless a quarter of the budget is less.
const BYTES_FIRST: u64 = 32 << 20;

/// Blocks remembered after they were let go: 64 GiB of whole blocks. About 4 MiB when full.
const GHOSTS_MAX: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("not zero");

/// Bytes that a block which comes back earns for each of its own: one of its own would keep the bound just short of the
/// data for many epochs.
const EARNED_PER_BYTE: u64 = 4;

/// Bytes that a block takes off which was not here before, per so many of its own: one of nine must come back.
const FRESH_BYTES_PER_LOST: u64 = 2;

/// The bound, and what it is learned from.
#[derive(Debug)]
pub(super) struct Worth {
    bytes: u64,
    bytes_min: u64,
    bytes_max: u64,
    /// Fingerprints of blocks that were let go because of the bound. Two blocks with the same fingerprint cost a little
    /// memory, nothing else.
    ghosts: LruCache<u64, ()>,
}

impl Worth {
    /// The bound for a budget of `total_bytes`.
    pub(super) fn new(total_bytes: u64) -> Self {
        let ghosts = LruCache::new(GHOSTS_MAX);
        Self {
            bytes: BYTES_FIRST.min(total_bytes / 4),
            bytes_min: BYTES_FIRST.min(total_bytes / 4),
            bytes_max: total_bytes,
            ghosts,
        }
    }

    /// The bytes that read blocks may take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A block was let go because of the bound.
    pub(super) fn let_go(&mut self, version: &Version, index: u64) {
        self.ghosts.put(fingerprint(version, index), ());
    }

    /// A block of `bytes` was fetched. If it had been let go, the bound was too narrow.
    pub(super) fn fetched(&mut self, version: &Version, index: u64, bytes: u64) {
        self.bytes = match self.ghosts.pop(&fingerprint(version, index)) {
            Some(()) => self.bytes + EARNED_PER_BYTE * bytes,
            None => self.bytes.saturating_sub(bytes / FRESH_BYTES_PER_LOST),
        };
        self.bytes = self.bytes.clamp(self.bytes_min, self.bytes_max);
    }
}

fn fingerprint(version: &Version, index: u64) -> u64 {
    // Neighbouring indices differ in their low bits: spread them over all.
    version.fingerprint() ^ index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::object::{ETag, ObjectKey};

    const MIB: u64 = 1 << 20;

    fn version() -> Arc<Version> {
        Version::new(
            ObjectKey::new("a").expect("a key"),
            ETag::new("1"),
            4096 * MIB,
        )
    }

    #[test]
    fn the_bound_begins_at_a_quarter_of_a_small_budget() {
        assert_eq!(Worth::new(64 * MIB).bytes(), 16 * MIB);
        assert_eq!(Worth::new(8192 * MIB).bytes(), BYTES_FIRST);
    }

    #[test]
    fn data_that_is_read_once_earns_nothing() {
        let (version, mut worth) = (version(), Worth::new(1024 * MIB));
        for index in 0..2000 {
            worth.fetched(&version, index, MIB);
            worth.let_go(&version, index);
        }
        assert_eq!(worth.bytes(), BYTES_FIRST);
    }

    #[test]
    fn a_few_that_come_back_among_many_that_do_not_earn_nothing_that_lasts() {
        let (version, mut worth) = (version(), Worth::new(1024 * MIB));
        for index in 0..2000 {
            worth.fetched(&version, index, MIB);
            worth.let_go(&version, index);
            if index % 10 == 9 {
                worth.fetched(&version, index, MIB);
            }
        }
        assert!(worth.bytes() <= BYTES_FIRST + 4 * MIB);
    }

    #[test]
    fn data_that_comes_back_earns_up_to_the_budget() {
        let (version, mut worth) = (version(), Worth::new(1024 * MIB));
        for _epoch in 0..2 {
            for index in 0..600 {
                worth.fetched(&version, index, MIB);
                worth.let_go(&version, index);
            }
        }
        assert_eq!(worth.bytes(), 1024 * MIB);
    }
}
