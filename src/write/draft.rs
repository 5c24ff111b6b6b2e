//! One file that is being written, as one value.

use std::ops::Range;

use super::bases::{Base, BaseId, Bases, Copying};
use super::extents::{ExtentMap, Fallocate, OnlyUploaded, Piece, Place, StagedRange};
use super::limits::{Limits, PartNumber};
use super::parts::{Parts, Pressure, Schedule, Seal, Sealing};
use super::plan::{Commit, Plan, Step};

/// A file that is being written: where its bytes lie, which of them are up, and which object its name stands for.
///
/// It keeps the map and the parts in step. Each method is O(log n) for each run that it changes, if nothing else is said. What
/// staged bytes nothing names any more comes from [`Draft::take_dropped`].
#[derive(Debug, Clone)]
pub struct Draft {
    map: ExtentMap,
    parts: Parts,
    bases: Bases,
    origin: Option<BaseId>,
    schedule: Schedule,
}

impl Draft {
    /// A file that is not in the bucket yet.
    #[must_use]
    pub fn created(schedule: Schedule) -> Self {
        Self {
            map: ExtentMap::new(),
            parts: Parts::new(schedule, 0),
            bases: Bases::new(),
            origin: None,
            schedule,
        }
    }

    /// A file whose name stands for an object.
    #[must_use]
    pub fn opened(base: Base, schedule: Schedule) -> Self {
        let bytes = base.version.size();
        let mut bases = Bases::new();
        let origin = bases.add(base);
        Self {
            map: ExtentMap::of_base(origin, bytes),
            parts: Parts::new(schedule, bytes),
            bases,
            origin: Some(origin),
            schedule,
        }
    }

    /// Where its bytes lie.
    #[must_use]
    pub fn map(&self) -> &ExtentMap {
        &self.map
    }

    /// Which of them are up. Without any part, no upload needs to run.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The objects that bytes lie in.
    #[must_use]
    pub fn bases(&self) -> &Bases {
        &self.bases
    }

    /// The object that its name stands for; `None` if there is none yet.
    #[must_use]
    pub fn origin(&self) -> Option<BaseId> {
        self.origin
    }

    /// OSS has refused to copy from an object: what it takes from now on.
    pub fn set_copying(&mut self, base: BaseId, copying: Copying) {
        self.bases.set_copying(base, copying);
    }

    /// `bytes` were written at `at`; they are staged.
    pub fn write(&mut self, at: u64, bytes: u64, staged: &StagedRange) {
        debug_assert_eq!(staged.range.end - staged.range.start, bytes);
        let place = Place::Staged {
            chunk: staged.chunk,
            offset: staged.range.start,
        };
        self.map.write(at..at + bytes, place);
        self.parts.wrote(at..at + bytes);
    }

    /// Staged bytes at `at` lie elsewhere in staging now: the file is what it was. Not while a commit runs, which would take them for
    /// changed.
    pub fn moved(&mut self, at: u64, staged: &StagedRange) {
        let bytes = staged.range.end - staged.range.start;
        debug_assert!(at + bytes <= self.map.len());
        let place = Place::Staged {
            chunk: staged.chunk,
            offset: staged.range.start,
        };
        self.map.write(at..at + bytes, place);
    }

    /// The object `old` was copied to another key, and the copy is `new`: what lies in the one lies in the other too.
    pub fn renamed(&mut self, old: BaseId, new: Base) {
        self.bases.replace(old, new);
    }

    /// The file has `len` bytes.
    pub fn truncate(&mut self, len: u64) {
        self.map.truncate(len);
        self.parts.truncated(len);
    }

    /// fallocate(2).
    pub fn fallocate(&mut self, mode: Fallocate, range: Range<u64>) {
        let changed = self.map.fallocate(mode, range);
        self.parts.changed(changed);
    }

    /// A range of an object is at `at` (copy_file_range(2) from a file that nobody writes).
    pub fn copy_object(&mut self, at: u64, from: Base, range: Range<u64>) {
        let base = self.bases.add(from);
        let end = at + (range.end - range.start);
        let offset = range.start;
        self.map.write(at..end, Place::Base { base, offset });
        self.parts.changed(at..end);
    }

    /// `range` of another file that is being written is at `at` (copy_file_range(2)). O(k log n) for k runs. Returns what of staging
    /// is named once more.
    ///
    /// # Errors
    /// [`OnlyUploaded`]: the other file's upload must be completed first; nothing was changed.
    pub fn copy(
        &mut self,
        at: u64,
        from: &Self,
        range: Range<u64>,
    ) -> Result<Vec<StagedRange>, OnlyUploaded> {
        let pieces: Vec<_> = from.map.pieces(range).collect();
        let bases = &mut self.bases;
        let named = self
            .map
            .copy(at, &pieces, |id| bases.add(from.bases.get(id).clone()))?;
        self.parts.changed(at..at + total(&pieces));
        Ok(named)
    }

    /// The same within this file; the ranges may overlap.
    ///
    /// # Errors
    /// [`OnlyUploaded`]; nothing was changed.
    pub fn copy_within(
        &mut self,
        at: u64,
        range: Range<u64>,
    ) -> Result<Vec<StagedRange>, OnlyUploaded> {
        let pieces: Vec<_> = self.map.pieces(range).collect();
        let named = self.map.copy(at, &pieces, |id| id)?;
        self.parts.changed(at..at + total(&pieces));
        Ok(named)
    }

    /// Staged bytes that are named no more; see [`ExtentMap::take_dropped`].
    pub fn take_dropped(&mut self) -> Vec<StagedRange> {
        self.map.take_dropped()
    }

    /// The next part that is ripe, after a write at `near`. Ask until it is nothing; not while a commit runs.
    pub fn full(&mut self, near: u64) -> Sealing {
        self.parts.full(near)
    }

    /// The next part when memory is short; not while a commit runs.
    pub fn pressed(&mut self, pressure: Pressure) -> Sealing {
        self.parts.pressed(pressure, self.map.len())
    }

    /// A dirty part to be sent again, when memory is very short and [`Draft::pressed`] has nothing. O(parts); not while a commit
    /// runs.
    pub fn again(&mut self) -> Option<Seal> {
        self.parts.again(&self.map)
    }

    /// A part is up. False if it is of no use any more.
    pub fn arrived(&mut self, seal: &Seal) -> bool {
        self.parts.arrived(seal)
    }

    /// A part could not be sent.
    pub fn failed(&mut self, seal: &Seal) {
        self.parts.failed(seal, &self.map);
    }

    /// Lets the staged bytes of one part go that is up, the head of the file last; `None` if there is no such part. O(parts), and O(log n)
    /// for each run of the part. They cannot be read from then on, until [`Draft::materialised`].
    pub fn let_go(&mut self) -> Option<PartNumber> {
        let part = self.parts.releasable().next()?;
        let (range, number) = (part.sealed.clone(), part.number);
        if self.parts.let_go(range.start) {
            self.map.uploaded(range, number);
        }
        Some(number)
    }

    /// How it gets into the bucket.
    #[must_use]
    pub fn plan(&self, limits: &Limits) -> Plan {
        Commit {
            map: &self.map,
            parts: &self.parts,
            bases: &self.bases,
            origin: self.origin,
            limits,
        }
        .plan()
    }

    /// The upload was completed, with the parts of [`Parts::layout`], to a hidden object: what was let go can be read from it.
    /// Nothing is up any more. O(n).
    pub fn materialised(&mut self, hidden: Base) -> BaseId {
        let base = self.bases.add(hidden);
        let layout = self.parts.layout();
        self.map.materialised(base, |number| {
            let index = layout.binary_search_by_key(&number, |(number, _)| *number);
            Some(layout[index.ok()?].1)
        });
        self.parts.ended(&self.map);
        base
    }

    /// A commit of `snapshot` has not been finished, but these steps of its plan are done, and the upload still runs: the next
    /// attempt need not repeat them. O(n).
    pub fn attempted(&mut self, snapshot: &ExtentMap, done: &[Step]) {
        self.parts.forget_dirty(&self.map);
        for step in done {
            let range = step.range.clone();
            let is_same = self
                .map
                .pieces(range.clone())
                .eq(snapshot.pieces(range.clone()));
            if is_same {
                self.parts.adopt(step.number, range);
            }
        }
    }

    /// `snapshot`, a clone of the map as it was when the plan was made, is stored as the object that the name stands for now. The upload,
    /// if there was one, is over. O(n).
    pub fn committed(&mut self, snapshot: &ExtentMap, stored: Base) -> BaseId {
        let base = self.bases.add(stored);
        self.map.committed(snapshot, base);
        self.parts.ended(&self.map);
        self.origin = Some(base);
        base
    }

    /// The upload is gone (aborted, or OSS does not know it any more). True if nothing was lost with it; else the ranges that lie only in it
    /// read as errors until they are written again, and no plan succeeds.
    pub fn upload_lost(&mut self) -> bool {
        self.parts.upload_lost(&self.map);
        self.map.totals().uploaded == 0
    }

    /// True if bytes of the file lay only in an upload that is gone. O(n).
    #[must_use]
    pub fn has_lost(&self) -> bool {
        let mut kept = self.parts.iter().filter(|part| part.is_clean()).peekable();
        let mut is_kept = |range: &Range<u64>| {
            while kept
                .next_if(|part| part.sealed.end <= range.start)
                .is_some()
            {}
            kept.peek().is_some_and(|part| {
                part.sealed.start <= range.start && range.end <= part.sealed.end
            })
        };
        let pieces = self.map.pieces(0..self.map.len());
        let mut uploaded = pieces.filter(|piece| matches!(piece.place, Place::Uploaded { .. }));
        !uploaded.all(|piece| is_kept(&piece.range))
    }

    /// What was let go in parts that a change of `range` would cut is lost as if their upload were gone. Returns how many bytes.
    pub fn lose_cut(&mut self, range: &Range<u64>) -> u64 {
        let mut bytes = 0;
        while let Some(part) = self.parts.first_cut(range) {
            let (sealed, number) = (part.sealed.clone(), part.number);
            self.parts.lost(number, &self.map);
            let pieces = self.map.pieces(sealed);
            let lost = pieces.filter(|piece| matches!(piece.place, Place::Uploaded { .. }));
            bytes += lost.map(|piece| piece.bytes()).sum::<u64>();
        }
        bytes
    }

    /// OSS does not have this part as it was sent. True if nothing was lost with it: it is sent again.
    pub fn part_lost(&mut self, number: PartNumber) -> bool {
        self.parts.lost(number, &self.map)
    }

    /// The sizes of its parts.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }
}

fn total(pieces: &[Piece]) -> u64 {
    pieces.iter().map(Piece::bytes).sum()
}
