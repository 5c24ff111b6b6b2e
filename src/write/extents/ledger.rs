//! How much of each chunk of staging is named.

use std::collections::HashMap;

use super::place::{ChunkId, StagedRange};

/// Counts, for each chunk of staging, the bytes that files name. One for all files that share chunks.
///
/// Bytes that two runs name count twice, so a chunk is let go when the last run is gone, whoever had it.
#[derive(Debug, Clone, Default)]
pub struct Ledger(HashMap<ChunkId, u64>);

impl Ledger {
    /// Nothing is named.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A run names `bytes` more of a chunk: a write, or what [`super::ExtentMap::copy`] returned. To be told before what the same
    /// change has dropped, else the chunk may look free.
    pub fn named(&mut self, chunk: ChunkId, bytes: u64) {
        if bytes > 0 {
            *self.0.entry(chunk).or_default() += bytes;
        }
    }

    /// A run names a range no more. True if nothing names any byte of the chunk: it can be let go.
    ///
    /// # Panics
    /// If more is dropped than was named.
    pub fn dropped(&mut self, dropped: &StagedRange) -> bool {
        let named = self.0.get_mut(&dropped.chunk);
        let named = named.expect("a chunk that is dropped was named");
        let bytes = dropped.range.end - dropped.range.start;
        *named = named
            .checked_sub(bytes)
            .expect("no more is dropped than was named");
        let is_free = *named == 0;
        if is_free {
            self.0.remove(&dropped.chunk);
        }
        is_free
    }

    /// Bytes of the chunk that are named, twice if they are named twice. A chunk of which little is named is worth being copied
    /// elsewhere.
    #[must_use]
    pub fn named_bytes(&self, chunk: ChunkId) -> u64 {
        self.0.get(&chunk).copied().unwrap_or(0)
    }

    /// How many chunks are named.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.0.len()
    }
}
