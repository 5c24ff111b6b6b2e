//! Whether the bytes that arrive are those of the version: the checksums of its blocks, kept beyond one open.
//!
//! A wrong byte may lie in the page cache or in the block cache after the file it came for was closed. So what is known
//! of a version's blocks outlives the file: the next one goes on where the last one stopped, and a whole read over any
//! number of opens meets the comparison. A block that comes again, because it was evicted, must be the same as before.
//!
//! What stays unchecked: a few bytes read at random without their block, and what was served of a block whose GET was given up
//! with the file.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crc_fast::CrcAlgorithm::Crc64Xz;
use lru::LruCache;

use super::{BLOCK, Error, block_len};
use crate::object::Version;

/// Objects with more blocks than this are not checked as a whole: 64 GiB, for which the checksums take 1 MiB.
const CHECKED_BLOCKS_MAX: u64 = 1 << 16;

/// Blocks of all versions that are remembered: 64 GiB of content, for which checksums and names take 10 MB at most.
const REMEMBERED_BLOCKS_MAX: u64 = 1 << 16;

/// One version as it is read: what the GETs of a file share with it. They hold this and not the file, which owns them.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) version: Arc<Version>,
    checks: Mutex<Checks>,
    corrupt: OnceLock<Error>,
}

impl Shared {
    fn new(version: Arc<Version>) -> Self {
        Self {
            checks: Mutex::new(Checks::new(version.size())),
            version,
            corrupt: OnceLock::new(),
        }
    }

    /// Takes note of a block's checksum; `Err` if it, or with it the whole content, is not what OSS announced.
    pub(super) fn checked(&self, index: u64, crc: u64, expected: Option<u64>) -> Result<(), Error> {
        let Some(expected) = expected else {
            return Ok(());
        };
        let noted = {
            let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
            checks.note(index, crc)
        };
        let (actual, expected) = match noted {
            Noted::Nothing => return Ok(()),
            Noted::Whole(actual) if actual == expected => return Ok(()),
            Noted::Whole(actual) => (actual, expected),
            Noted::Differs { before } => (crc, before),
        };
        let error = Error::Corrupt {
            version: Arc::clone(&self.version),
            actual,
            expected,
        };
        Err(self.corrupt.get_or_init(|| error).clone())
    }

    /// The error that every READ gets once the content has proven wrong.
    pub(super) fn corrupt(&self) -> Option<Error> {
        self.corrupt.get().cloned()
    }
}

/// The versions that were opened last.
#[derive(Debug)]
pub(super) struct Versions {
    last: LruCache<Arc<Version>, Arc<Shared>>,
    /// Blocks of all of them together.
    blocks: u64,
}

impl Default for Versions {
    fn default() -> Self {
        Self {
            last: LruCache::unbounded(),
            blocks: 0,
        }
    }
}

impl Versions {
    /// What is known of a version. One whose content has proven wrong begins anew.
    pub(super) fn open(&mut self, version: Arc<Version>) -> Arc<Shared> {
        let known = self.last.get(&version);
        if let Some(shared) = known.filter(|shared| shared.corrupt().is_none()) {
            return Arc::clone(shared);
        }
        let shared = Arc::new(Shared::new(Arc::clone(&version)));
        // One block is checked before it is served: there is nothing to remember.
        let blocks = version.size().div_ceil(BLOCK);
        if (2..=CHECKED_BLOCKS_MAX).contains(&blocks) {
            if self.last.put(version, Arc::clone(&shared)).is_none() {
                self.blocks += blocks;
            }
            while self.blocks > REMEMBERED_BLOCKS_MAX {
                let Some((oldest, _)) = self.last.pop_lru() else {
                    break;
                };
                self.blocks -= oldest.size().div_ceil(BLOCK);
            }
        }
        shared
    }
}

/// What appending a whole block does to a checksum. The checksum of two pieces in a row is linear in the first: bit by bit.
///
/// `checksum_combine` squares matrices for any length, which takes some ninety microseconds; a whole block's length is always the
/// same, so they are squared once.
fn append_block(before: u64, block: u64) -> u64 {
    static COLUMNS: OnceLock<[u64; 64]> = OnceLock::new();
    let columns = COLUMNS.get_or_init(|| {
        std::array::from_fn(|bit| crc_fast::checksum_combine(Crc64Xz, 1 << bit, 0, BLOCK))
    });
    let mut after = block;
    let mut bits = before;
    while bits != 0 {
        after ^= columns[bits.trailing_zeros() as usize];
        bits &= bits - 1;
    }
    after
}

/// What a block's checksum has brought.
#[derive(Debug, PartialEq, Eq)]
enum Noted {
    /// Nothing to compare, or nothing new.
    Nothing,
    /// It was the last that was missing: this is the checksum of the whole content.
    Whole(u64),
    /// The same block has come before, with another checksum.
    Differs { before: u64 },
}

/// The checksums of an object's blocks, combined as they arrive, in any order.
#[derive(Debug)]
struct Checks {
    size: u64,
    /// Blocks of the object; 0 for one that is not checked.
    count: usize,
    /// One per block. Empty until the first comes: most files are opened far more often than they are read whole.
    blocks: Vec<Option<u64>>,
    /// Blocks from the start on that are in `whole`.
    combined: usize,
    /// The checksum of those.
    whole: u64,
}

impl Checks {
    fn new(size: u64) -> Self {
        let count = Some(size.div_ceil(BLOCK)).filter(|&count| count <= CHECKED_BLOCKS_MAX);
        Self {
            size,
            count: count.map_or(0, |count| usize::try_from(count).unwrap_or(0)),
            blocks: Vec::new(),
            combined: 0,
            whole: 0,
        }
    }

    /// Notes one block.
    ///
    /// Combined as blocks arrive and not all at the end, though it costs little for all but the last.
    fn note(&mut self, index: u64, crc: u64) -> Noted {
        if self.blocks.is_empty() {
            self.blocks = vec![None; self.count];
        }
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        match self.blocks.get_mut(index) {
            None => return Noted::Nothing,
            Some(Some(before)) if *before == crc => return Noted::Nothing,
            Some(Some(before)) => return Noted::Differs { before: *before },
            Some(slot) => *slot = Some(crc),
        }
        while let Some(Some(crc)) = self.blocks.get(self.combined) {
            let len = block_len(self.size, self.combined as u64) as u64;
            self.whole = match self.combined {
                0 => *crc,
                _ if len == BLOCK => append_block(self.whole, *crc),
                _ => crc_fast::checksum_combine(Crc64Xz, self.whole, *crc, len),
            };
            self.combined += 1;
        }
        if self.combined == self.count {
            Noted::Whole(self.whole)
        } else {
            Noted::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{ETag, ObjectKey};

    fn version(name: &str, blocks: u64) -> Arc<Version> {
        let key = ObjectKey::new(name).expect("a short name is a key");
        Version::new(key, ETag::new("E"), blocks * BLOCK)
    }

    #[test]
    fn the_last_block_gives_the_checksum_of_the_whole() {
        let content: Vec<u8> = (0..5 * BLOCK / 2)
            .map(|at| u8::try_from(at * at % 251).unwrap_or(0))
            .collect();
        let whole = crc_fast::checksum(Crc64Xz, &content);
        let crcs: Vec<u64> = content
            .chunks(crate::buffer::BLOCK_BYTES)
            .map(|block| crc_fast::checksum(Crc64Xz, block))
            .collect();
        let mut checks = Checks::new(content.len() as u64);
        assert_eq!(checks.note(2, crcs[2]), Noted::Nothing);
        assert_eq!(checks.note(0, crcs[0]), Noted::Nothing);
        assert_eq!(checks.note(0, crcs[0]), Noted::Nothing);
        assert_eq!(checks.note(1, crcs[1]), Noted::Whole(whole));
        assert_eq!(checks.note(1, crcs[1]), Noted::Nothing, "said once");
        let before = crcs[1];
        assert_eq!(checks.note(1, before ^ 1), Noted::Differs { before });
    }

    #[test]
    fn a_block_is_appended_as_by_the_general_way() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..1000 {
            let (before, block) = (random.u64(..), random.u64(..));
            let expected = crc_fast::checksum_combine(Crc64Xz, before, block, BLOCK);
            assert_eq!(append_block(before, block), expected);
        }
    }

    #[test]
    fn what_is_known_of_a_version_outlives_its_file() {
        let mut versions = Versions::default();
        let first = versions.open(version("a", 2));
        assert!(first.checked(0, 1, Some(7)).is_ok());
        drop(first);
        let second = versions.open(version("a", 2));
        assert!(second.checked(0, 2, Some(7)).is_err(), "another block 0");
        let third = versions.open(version("a", 2));
        assert!(third.corrupt().is_none(), "it begins anew");
        assert!(third.checked(0, 2, Some(7)).is_ok());
    }

    #[test]
    fn only_so_many_blocks_are_remembered() {
        let mut versions = Versions::default();
        let half = REMEMBERED_BLOCKS_MAX / 2;
        for name in ["a", "b", "c"] {
            versions.open(version(name, half));
            versions.open(version(name, half));
        }
        versions.open(version("small", 1));
        assert_eq!(versions.blocks, 2 * half);
        assert_eq!(versions.last.len(), 2);
    }
}
