//! The changes of an [`ExtentMap`].

use std::ops::Range;

use super::super::bases::BaseId;
use super::super::limits::PartNumber;
use super::place::{Piece, Place, StagedRange};
use super::{Extent, ExtentMap, Fallocate};

/// Bytes that lie only in parts of a running upload were to be copied: it must be completed first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} ranges that are to be copied can only be read once their upload is completed", .0.len())]
pub struct OnlyUploaded(
    /// Which ranges of the file that is copied from.
    pub Vec<Range<u64>>,
);

impl ExtentMap {
    /// The bytes of `range` lie at `place` now; a gap before it becomes a hole. Nothing happens if the range is empty.
    ///
    /// For a write (staged), and for a range of another object (base).
    pub fn write(&mut self, range: Range<u64>, place: Place) {
        if range.is_empty() {
            return;
        }
        if range.start > self.len {
            self.replace(self.len..range.start, Place::Zeros);
        }
        self.replace(range, place);
    }

    /// The file has `len` bytes; new ones are zeros (ftruncate(2)).
    pub fn truncate(&mut self, len: u64) {
        if len > self.len {
            self.replace(self.len..len, Place::Zeros);
            return;
        }
        self.split(len);
        while let Some((&start, _)) = self.extents.last_key_value() {
            if start < len {
                break;
            }
            self.take(start);
        }
        self.len = len;
    }

    /// What fallocate(2) does to `range`; returns the range that has become zeros.
    pub fn fallocate(&mut self, mode: Fallocate, range: Range<u64>) -> Range<u64> {
        let within = range.start.min(self.len)..range.end.min(self.len);
        match mode {
            Fallocate::AllocateKeepSize => 0..0,
            Fallocate::Allocate => {
                let old = self.len;
                self.truncate(range.end.max(old));
                old..self.len
            }
            Fallocate::PunchHole | Fallocate::ZeroRangeKeepSize => {
                self.write(within.clone(), Place::Zeros);
                within
            }
            Fallocate::ZeroRange => {
                self.write(range.clone(), Place::Zeros);
                range
            }
        }
    }

    /// The bytes of `from` in the file `source` are at `at` in this one too (copy_file_range(2)); what lies behind the end of `source` is
    /// left out. `base` tells what an object of `source` is called here. Returns what of staging is named once more.
    ///
    /// # Errors
    /// [`OnlyUploaded`]; nothing was changed.
    pub fn copy(
        &mut self,
        at: u64,
        source: &[Piece],
        mut base: impl FnMut(BaseId) -> BaseId,
    ) -> Result<Vec<StagedRange>, OnlyUploaded> {
        let is_uploaded = |piece: &&Piece| matches!(piece.place, Place::Uploaded { .. });
        let uploaded: Vec<_> = source.iter().filter(is_uploaded).collect();
        if !uploaded.is_empty() {
            let ranges = uploaded.iter().map(|piece| piece.range.clone()).collect();
            return Err(OnlyUploaded(ranges));
        }
        let mut named = Vec::new();
        let mut at = at;
        for piece in source {
            let place = match piece.place {
                Place::Base { base: id, offset } => Place::Base {
                    base: base(id),
                    offset,
                },
                Place::Staged { chunk, offset } => {
                    let range = offset..offset + piece.bytes();
                    named.push(StagedRange { chunk, range });
                    piece.place
                }
                Place::Zeros | Place::Uploaded { .. } => piece.place,
            };
            self.write(at..at + piece.bytes(), place);
            at += piece.bytes();
        }
        Ok(named)
    }

    /// What of `range` is staged lies in `part` too, whose first byte is that at `range.start`; from now on only there.
    /// The part must hold what the file holds.
    pub fn uploaded(&mut self, range: Range<u64>, part: PartNumber) {
        let staged = |piece: &Piece| matches!(piece.place, Place::Staged { .. });
        let staged: Vec<_> = self.pieces(range.clone()).filter(staged).collect();
        for piece in staged {
            let offset = piece.range.start - range.start;
            self.replace(piece.range, Place::Uploaded { part, offset });
        }
    }

    /// The running upload was completed to the object `base`, in which a part begins where `begins` says.
    ///
    /// # Panics
    /// If a part that the file needs is not in the object.
    pub fn materialised(&mut self, base: BaseId, begins: impl Fn(PartNumber) -> Option<u64>) {
        let uploaded = |piece: &Piece| matches!(piece.place, Place::Uploaded { .. });
        let pieces: Vec<_> = self.pieces(0..self.len).filter(uploaded).collect();
        for piece in pieces {
            if let Place::Uploaded { part, offset } = piece.place {
                let begins = begins(part).expect("the object has all parts that were up");
                let offset = begins + offset;
                self.replace(piece.range, Place::Base { base, offset });
            }
        }
    }

    /// `snapshot`, a clone of this map as it was, is stored as the object `base`: what has not been changed since lies there. Bytes that lie
    /// only in a part have not: they were staged when the clone was made, or lay there already.
    pub fn committed(&mut self, snapshot: &Self, base: BaseId) {
        let mut same: Vec<Range<u64>> = Vec::new();
        let mut old = snapshot.pieces(0..snapshot.len).peekable();
        for piece in self.pieces(0..self.len) {
            while let Some(before) = old.peek() {
                let both = piece.range.start.max(before.range.start)
                    ..piece.range.end.min(before.range.end);
                if !both.is_empty() {
                    let now = piece.place.ahead(both.start - piece.range.start);
                    let then = before.place.ahead(both.start - before.range.start);
                    let is_same = now == then || matches!(now, Place::Uploaded { .. });
                    match same.last_mut() {
                        _ if !is_same => {}
                        Some(last) if last.end == both.start => last.end = both.end,
                        _ => same.push(both),
                    }
                }
                if before.range.end > piece.range.end {
                    break;
                }
                old.next();
            }
        }
        drop(old);
        for range in same {
            let offset = range.start;
            self.replace(range, Place::Base { base, offset });
        }
    }

    /// Puts a run in the place of what is there; it begins at or before the end of the file.
    pub(super) fn replace(&mut self, range: Range<u64>, place: Place) {
        if range.is_empty() {
            return;
        }
        debug_assert!(range.start <= self.len, "a gap would be left");
        self.split(range.start);
        self.split(range.end);
        while let Some((&start, _)) = self.extents.range(range.clone()).next() {
            self.take(start);
        }
        let (mut start, mut end, mut place) = (range.start, range.end, place);
        if let Some((&before, extent)) = self.extents.range(..start).next_back()
            && extent.place.ahead(start - before) == place
        {
            place = extent.place;
            start = before;
            self.lift(before);
        }
        if let Some(after) = self.extents.get(&end).copied()
            && place.ahead(end - start) == after.place
        {
            self.lift(end);
            end = after.end;
        }
        self.put(start, Extent { end, place });
        self.len = self.len.max(end);
    }

    /// Makes `at` a boundary of runs.
    fn split(&mut self, at: u64) {
        let Some(start) = self.start_of(at).filter(|start| *start < at) else {
            return;
        };
        let Extent { end, place } = self.lift(start);
        self.put(start, Extent { end: at, place });
        let place = place.ahead(at - start);
        self.put(at, Extent { end, place });
    }

    fn put(&mut self, start: u64, extent: Extent) {
        let bytes = extent.end - start;
        *self.totals.of(extent.place) += bytes;
        match extent.place {
            Place::Base { base, .. } => {
                let index = base.0 as usize;
                if self.bases.len() <= index {
                    self.bases.resize(index + 1, 0);
                }
                self.bases[index] += bytes;
            }
            Place::Zeros => {
                self.holes.insert(start);
            }
            Place::Staged { .. } | Place::Uploaded { .. } => {}
        }
        self.extents.insert(start, extent);
    }

    /// Takes a run out that will be put in again.
    fn lift(&mut self, start: u64) -> Extent {
        let extent = self.extents.remove(&start).expect("a run begins here");
        let bytes = extent.end - start;
        *self.totals.of(extent.place) -= bytes;
        match extent.place {
            Place::Base { base, .. } => self.bases[base.0 as usize] -= bytes,
            Place::Zeros => {
                self.holes.remove(&start);
            }
            Place::Staged { .. } | Place::Uploaded { .. } => {}
        }
        extent
    }

    /// Takes a run out for good.
    fn take(&mut self, start: u64) {
        let extent = self.lift(start);
        let Place::Staged { chunk, offset } = extent.place else {
            return;
        };
        let range = offset..offset + (extent.end - start);
        match self.dropped.last_mut() {
            Some(last) if last.chunk == chunk && last.range.end == range.start => {
                last.range.end = range.end;
            }
            _ => self.dropped.push(StagedRange { chunk, range }),
        }
    }
}
