//! What a file being written consists of: for each byte, where it lies.
//!
//! An [`ExtentMap`] covers its file without a gap, by runs of bytes ([`Piece`]) that lie in an object, in staging, in a
//! part that is up already, or nowhere (zeros). It holds no byte itself, and it never moves one: a write, a copy and a
//! truncate each replace runs by other runs.
//!
//! Neighbours that continue one another are one run, so a file that nobody changed is one run for ever, and one that is
//! written from the front is one run for each chunk of staging. Every operation costs O(log n) for each run that it
//! puts in or takes out, and a run is taken out at most once: a million random writes cost a million logarithms.
//! A run takes some 50 bytes of memory.
//!
//! What no run names any more is told ([`ExtentMap::take_dropped`]), so that staging can be let go. A chunk may be named twice
//! (a copy within the mount), so its owner counts ([`Ledger`]).
//!
//! **Invariant:** staged bytes that a run names do not change while a commit reads a clone of the map.

mod edit;
mod fallocate;
mod ledger;
mod place;
#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may panic, and its files are small"
)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::bases::BaseId;
pub use edit::OnlyUploaded;
pub use fallocate::Fallocate;
pub use ledger::Ledger;
pub use place::{ChunkId, Piece, Place, StagedRange, Totals};

/// A run without its start, which is its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    end: u64,
    place: Place,
}

/// For each byte of a file, where it lies.
#[derive(Debug, Clone, Default)]
pub struct ExtentMap {
    /// From the start of a run to its end and place. INVARIANT: runs are not empty, cover 0..len without a gap, and none
    /// continues the one before it.
    extents: BTreeMap<u64, Extent>,
    /// The starts of the runs of zeros.
    holes: BTreeSet<u64>,
    len: u64,
    totals: Totals,
    /// Bytes that lie in each object.
    bases: Vec<u64>,
    /// Since they were taken last.
    dropped: Vec<StagedRange>,
}

impl ExtentMap {
    /// An empty file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The file that is the object `base` of `bytes` bytes.
    #[must_use]
    pub fn of_base(base: BaseId, bytes: u64) -> Self {
        let mut map = Self::new();
        map.replace(0..bytes, Place::Base { base, offset: 0 });
        map
    }

    /// Bytes of the file.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if the file has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many runs there are; each takes some 50 bytes of memory.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.extents.len()
    }

    /// How many bytes lie where.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Bytes that are in no object: they are lost with this process, or with its staging.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.totals.staged + self.totals.uploaded
    }

    /// Bytes that lie in the object `base`. Once there are none, nothing needs the object any more.
    #[must_use]
    pub fn base_bytes(&self, base: BaseId) -> u64 {
        self.bases.get(base.0 as usize).copied().unwrap_or(0)
    }

    /// The object that the file consists of from its first byte on, if it is one run. Whether it is the whole object only the
    /// object's size tells.
    #[must_use]
    pub fn only_base(&self) -> Option<BaseId> {
        match (self.extents.len(), self.extents.first_key_value()?) {
            (1, (_, extent)) => match extent.place {
                Place::Base { base, offset: 0 } => Some(base),
                Place::Base { .. }
                | Place::Staged { .. }
                | Place::Zeros
                | Place::Uploaded { .. } => None,
            },
            _ => None,
        }
    }

    /// The runs of `range`, cut to it, in order; what lies behind the end of the file is left out.
    pub fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = Piece> + use<'_> {
        let range = range.start..range.end.max(range.start);
        let first = self.start_of(range.start).unwrap_or(range.start);
        self.extents
            .range(first..range.end.max(first))
            .filter_map(move |(&start, extent)| {
                let cut = start.max(range.start)..extent.end.min(range.end);
                (!cut.is_empty()).then(|| Piece {
                    place: extent.place.ahead(cut.start - start),
                    range: cut,
                })
            })
    }

    /// Where the next byte at or behind `offset` is that is not in a hole (lseek(2), SEEK_DATA); `None` is ENXIO.
    #[must_use]
    pub fn seek_data(&self, offset: u64) -> Option<u64> {
        let extent = self.extents[&self.start_of(offset)?];
        if !extent.place.is_hole() {
            return Some(offset);
        }
        // Two holes do not touch.
        (extent.end < self.len).then_some(extent.end)
    }

    /// Where the next hole at or behind `offset` begins (lseek(2), SEEK_HOLE); there is one at the end of the file.
    /// `None` is ENXIO.
    #[must_use]
    pub fn seek_hole(&self, offset: u64) -> Option<u64> {
        let start = self.start_of(offset)?;
        if self.extents[&start].place.is_hole() {
            return Some(offset);
        }
        let next = self.holes.range(offset..).next();
        Some(next.copied().unwrap_or(self.len))
    }

    /// What was named when this was last called and is not any more, once for each time that it was named.
    ///
    /// While a commit reads a clone of the map, nothing of it may be let go: take it afterwards.
    pub fn take_dropped(&mut self) -> Vec<StagedRange> {
        std::mem::take(&mut self.dropped)
    }

    /// The start of the run that holds `at`.
    fn start_of(&self, at: u64) -> Option<u64> {
        let (&start, extent) = self.extents.range(..=at).next_back()?;
        (at < extent.end).then_some(start)
    }
}
