//! One open version: how it is read, what was seen of its checksums, and the GETs that are on their way for it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crc_fast::CrcAlgorithm::Crc64Xz;
use tokio::task::JoinSet;

use super::policy::{Pattern, Plan};
use super::{BLOCK, Error, block_len};
use crate::object::Version;

/// Objects with more blocks than this are not checked as a whole: 64 GiB, for which the checksums take 1 MiB.
const CHECKED_BLOCKS_MAX: u64 = 1 << 16;

/// What the GETs of a file share with it. They hold this and not the [`File`], which owns them.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) version: Arc<Version>,
    checks: Mutex<Checks>,
    corrupt: OnceLock<Error>,
}

impl Shared {
    /// Takes note of a block's checksum; `Err` if with it the whole content is known and is not what OSS announced.
    pub(super) fn checked(&self, index: u64, crc: u64, expected: Option<u64>) -> Result<(), Error> {
        let Some(expected) = expected else {
            return Ok(());
        };
        let whole = {
            let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
            checks.note(index, crc)
        };
        match whole {
            Some(actual) if actual != expected => {
                let error = Error::Corrupt {
                    version: Arc::clone(&self.version),
                    actual,
                    expected,
                };
                Err(self.corrupt.get_or_init(|| error).clone())
            }
            _ => Ok(()),
        }
    }
}

/// An open version, shared by all handles of its inode. Dropping it aborts its GETs.
#[derive(Debug)]
pub struct File {
    shared: Arc<Shared>,
    pattern: Mutex<Pattern>,
    fetches: Mutex<JoinSet<()>>,
}

impl File {
    pub(super) fn new(version: Arc<Version>, window_bytes_max: u64) -> Self {
        let pattern = Mutex::new(Pattern::new(version.size(), window_bytes_max));
        let checks = Mutex::new(Checks::new(version.size()));
        let shared = Arc::new(Shared {
            version,
            checks,
            corrupt: OnceLock::new(),
        });
        Self {
            shared,
            pattern,
            fetches: Mutex::default(),
        }
    }

    /// The version that is read.
    #[must_use]
    pub fn version(&self) -> &Arc<Version> {
        &self.shared.version
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The error that every READ gets once the content has proven wrong.
    pub(super) fn corrupt(&self) -> Option<Error> {
        self.shared.corrupt.get().cloned()
    }

    pub(super) fn plan(&self, range: &Range<u64>) -> Plan {
        self.pattern
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .plan(range)
    }

    /// What was planned ahead from `start` on was not fetched after all.
    pub(super) fn retract(&self, planned: &Range<u64>, start: u64) {
        self.pattern
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retract(planned, start);
    }

    /// Gives a GET to this file, and forgets those that are done.
    pub(super) fn spawn(
        &self,
        runtime: &tokio::runtime::Handle,
        fetch: impl Future<Output = ()> + Send + 'static,
    ) {
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        while fetches.try_join_next().is_some() {}
        fetches.spawn_on(fetch, runtime);
    }
}

/// The checksum of an object's content, put together from those of its blocks as they arrive, in any order.
#[derive(Debug)]
struct Checks {
    size: u64,
    /// Blocks of the object; 0 for one that is not checked, and again once the whole was known.
    blocks: u64,
    /// Blocks from the start on that are in `whole`.
    combined: u64,
    /// The checksum of those.
    whole: u64,
    /// Later ones that wait for their turn; at most [`CHECKED_BLOCKS_MAX`].
    waiting: BTreeMap<u64, u64>,
}

impl Checks {
    fn new(size: u64) -> Self {
        let blocks = size.div_ceil(BLOCK);
        let blocks = if blocks <= CHECKED_BLOCKS_MAX {
            blocks
        } else {
            0
        };
        Self {
            size,
            blocks,
            combined: 0,
            whole: 0,
            waiting: BTreeMap::new(),
        }
    }

    /// Notes one block; the checksum of the whole content when it was the last that was missing.
    ///
    /// Combining costs some ten microseconds a block, so it is done as blocks arrive and not for all at the end.
    fn note(&mut self, index: u64, crc: u64) -> Option<u64> {
        if index < self.combined || index >= self.blocks {
            return None;
        }
        self.waiting.insert(index, crc);
        while let Some(crc) = self.waiting.remove(&self.combined) {
            let len = block_len(self.size, self.combined) as u64;
            self.whole = match self.combined {
                0 => crc,
                _ => crc_fast::checksum_combine(Crc64Xz, self.whole, crc, len),
            };
            self.combined += 1;
        }
        if self.combined < self.blocks {
            return None;
        }
        self.blocks = 0;
        Some(self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(checks.note(2, crcs[2]), None);
        assert_eq!(checks.note(0, crcs[0]), None);
        assert_eq!(checks.note(0, crcs[0]), None);
        assert_eq!(checks.note(1, crcs[1]), Some(whole));
        assert_eq!(checks.note(1, crcs[1]), None, "said once");
    }
}
