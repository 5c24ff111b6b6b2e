//! Which ranges of a file are sealed as parts of its upload while it is still written.
//!
//! Bytes go up behind the writer: a run of new bytes that is long enough becomes a part ([`Parts::full`]), and under pressure
//! a shorter one ([`Parts::pressed`]). A sealed part keeps its range and its number ([`numbers`]). A write into it makes it
//! dirty: the commit sends what it covers again, if need be by other cuts, and it is not sealed again before, so that a
//! header that is written a thousand times is sent once. At the commit the clean parts are kept, and `plan` fills what lies
//! between them.
//!
//! Every part but the file's last must have [`PART_BYTES_MIN`] bytes, so neither a part nor what lies between two of them
//! is ever shorter:
//!
//! **Invariant:** parts do not overlap; numbers ascend with ranges; each part has PART_BYTES_MIN to PART_BYTES_MAX bytes when it is sealed;
//! what lies before a part is nothing or at least PART_BYTES_MIN; and between two parts (and before the first) lie
//! at least as many numbers as what lies between them takes parts of PART_BYTES_MAX. A part that a truncate shortens is dirty, and the last.
//!
//! **Numbers run out** ([`Sealing::NumbersSpent`]) after 18 TiB, or earlier with small parts. The way out is the one for bytes that
//! must be read again: the upload is completed to a hidden object ([`Parts::layout`]), which the final upload copies
//! in parts of up to 5 GiB. Then all numbers but those copies' are free again: each such round takes up more than the
//! numbers left × the least part, so rounds end, and a file of 48.8 TB can be written with parts of any size.
//!
//! Each operation costs O(log n) for each part or run that it touches.

mod numbers;
mod schedule;
mod seal;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

use super::extents::{ExtentMap, Place};
use super::limits::{PART_BYTES_MIN, PartNumber, parts_needed};
use super::ranges::Ranges;
pub use schedule::Schedule;
pub use seal::{Pressure, Seal, Sealing};

/// How far the upload of a part has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is being sent.
    Sending,
    /// OSS has it.
    Up,
}

/// A range of the file that was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its number in the upload.
    pub number: PartNumber,
    /// What it covered when it was sealed.
    pub sealed: Range<u64>,
    /// How far its upload has come.
    pub progress: Progress,
    /// True if the file has changed in its range since it was sealed: the commit cannot use it.
    pub is_dirty: bool,
    /// True if its bytes are not staged any more.
    pub is_let_go: bool,
    ticket: u64,
}

impl Part {
    /// True if it holds what the file holds.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.is_dirty
    }
}

/// The parts of one file's running upload.
#[derive(Debug, Clone)]
pub struct Parts {
    schedule: Schedule,
    /// By the start of their ranges.
    sealed: BTreeMap<u64, Part>,
    /// New bytes that are in no part.
    fresh: Ranges,
    /// The file's first bytes up to here lie in objects, more or less; for the choice of numbers.
    based: u64,
    tickets: u64,
}

impl Parts {
    /// No part of a file whose first `based` bytes lie in an object.
    #[must_use]
    pub fn new(schedule: Schedule, based: u64) -> Self {
        Self {
            schedule,
            sealed: BTreeMap::new(),
            fresh: Ranges::new(PART_BYTES_MIN),
            based,
            tickets: 0,
        }
    }

    /// All parts, in the order of the file and of their numbers.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Part> {
        self.sealed.values()
    }

    /// True if there is no part: nothing would be lost with the upload.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sealed.is_empty()
    }

    /// The range was written: its bytes are staged.
    pub fn wrote(&mut self, range: Range<u64>) {
        let mut at = range.start;
        self.touch(range.clone(), |part, fresh| {
            fresh.insert(at..part.start.max(at));
            at = part.end;
        });
        self.fresh.insert(at..range.end.max(at));
    }

    /// The range has become zeros, or bytes of an object.
    pub fn changed(&mut self, range: Range<u64>) {
        self.touch(range.clone(), |_, _| {});
        self.fresh.remove(range);
    }

    /// The file has become shorter.
    pub fn truncated(&mut self, len: u64) {
        self.sealed.split_off(&len);
        if let Some(mut last) = self.sealed.last_entry() {
            let last = last.get_mut();
            last.is_dirty |= last.sealed.end > len;
        }
        self.fresh.remove(len..u64::MAX);
        self.based = self.based.min(len);
    }

    /// The part has gone up. False if the file has changed there since, or the part is none any more.
    pub fn arrived(&mut self, seal: &Seal) -> bool {
        match self.find(seal) {
            None => false,
            Some(part) => {
                part.progress = Progress::Up;
                part.is_clean()
            }
        }
    }

    /// The part could not be sent: its range is as if it had not been sealed.
    pub fn failed(&mut self, seal: &Seal, map: &ExtentMap) {
        if self.find(seal).is_some() {
            self.sealed.remove(&seal.range.start);
            self.refresh(map, seal.range.clone());
        }
    }

    /// Parts whose staged bytes can be let go, for OSS has them: in the order of the file, but the head of the file last, which
    /// programs write again.
    pub fn releasable(&self) -> impl Iterator<Item = &Part> {
        let can =
            |part: &&Part| part.progress == Progress::Up && part.is_clean() && !part.is_let_go;
        let is_head = |part: &&Part| part.sealed.start == 0;
        let others = self.iter().filter(move |part| !is_head(part));
        others.chain(self.iter().filter(is_head)).filter(can)
    }

    /// The part of this number is not up after all. False if bytes of the file lay only there. O(parts).
    pub fn lost(&mut self, number: PartNumber, map: &ExtentMap) -> bool {
        let found = self.iter().find(|part| part.number == number);
        let Some(range) = found.map(|part| part.sealed.clone()) else {
            return true;
        };
        self.sealed.remove(&range.start);
        self.refresh(map, range.clone());
        let mut pieces = map.pieces(range);
        pieces.all(|piece| !matches!(piece.place, Place::Uploaded { .. }))
    }

    /// True if a change of `range` would make a part dirty and leave bytes in it that were let go: the file must be stored, or the upload
    /// completed, before.
    #[must_use]
    pub fn cuts_let_go(&self, range: &Range<u64>) -> bool {
        self.first_cut(range).is_some()
    }

    /// The first such part.
    pub(super) fn first_cut(&self, range: &Range<u64>) -> Option<&Part> {
        let first = self.sealed.range(..=range.start).next_back();
        let first = first.map_or(range.start, |(&start, _)| start);
        let mut parts = self.sealed.range(first..range.end.max(first));
        let found = parts.find(|(_, part)| {
            let sealed = &part.sealed;
            let is_touched = sealed.end > range.start;
            let is_covered = range.start <= sealed.start && sealed.end <= range.end;
            is_touched && !is_covered && part.is_let_go && part.is_clean()
        });
        found.map(|(_, part)| part)
    }

    /// True if a part is being sent that the file has outrun: its number must not be used again before it has arrived.
    #[must_use]
    pub fn is_dirty_on_its_way(&self) -> bool {
        self.iter()
            .any(|part| part.is_dirty && part.progress == Progress::Sending)
    }

    /// The staged bytes of a part that is up and clean were let go. False if it is neither: they must stay.
    pub fn let_go(&mut self, start: u64) -> bool {
        match self.sealed.get_mut(&start) {
            Some(part) if part.progress == Progress::Up && part.is_clean() => {
                part.is_let_go = true;
                true
            }
            _ => false,
        }
    }

    /// The object that the upload becomes if it is completed now: all parts that are up, also dirty ones, with the offset at which each
    /// begins in it.
    #[must_use]
    pub fn layout(&self) -> Vec<(PartNumber, u64)> {
        let mut offset = 0;
        let up = self.iter().filter(|part| part.progress == Progress::Up);
        up.map(|part| {
            let begins = offset;
            offset += part.sealed.end - part.sealed.start;
            (part.number, begins)
        })
        .collect()
    }

    /// The upload was completed to an object, or the file was stored without one: there is no part. `map` says what is still staged; only
    /// that will be sealed anew. O(n).
    pub fn ended(&mut self, map: &ExtentMap) {
        let end = self.iter().next_back().map_or(0, |last| last.sealed.end);
        self.based = self.based.max(end.min(map.len()));
        self.begin_anew(map);
    }

    /// The upload is gone: as [`Parts::ended`], but what it had lies in no object, and needs as many numbers again.
    pub fn upload_lost(&mut self, map: &ExtentMap) {
        self.begin_anew(map);
    }

    fn begin_anew(&mut self, map: &ExtentMap) {
        self.sealed.clear();
        // Also of what was in no part: what a commit has sent by itself lies in the object now, and must not be read back to go up once more.
        self.fresh = Ranges::new(PART_BYTES_MIN);
        self.refresh(map, 0..map.len());
    }

    /// Dirty parts are none any more, so that what a commit has sent in their place can be [`Parts::adopt`]ed; but those that still hold
    /// bytes of the file which are nowhere else.
    pub fn forget_dirty(&mut self, map: &ExtentMap) {
        let is_spare = |part: &&Part| {
            let mut pieces = map.pieces(part.sealed.clone());
            part.is_dirty && pieces.all(|piece| !matches!(piece.place, Place::Uploaded { .. }))
        };
        let dirty: Vec<_> = self.iter().filter(is_spare).cloned().collect();
        for part in dirty {
            self.sealed.remove(&part.sealed.start);
            self.refresh(map, part.sealed);
        }
    }

    /// A commit that could not be finished has sent or copied this step of its plan; the next attempt need not. True if it was taken: not if it
    /// is too short for the middle of a file, or if other parts were sealed since the plan was made.
    ///
    /// The file must not have changed in `range` since.
    pub fn adopt(&mut self, number: PartNumber, range: Range<u64>) -> bool {
        if range.end - range.start < PART_BYTES_MIN || !self.has_room(number, &range) {
            return false;
        }
        self.fresh.remove(range.clone());
        self.tickets += 1;
        let part = Part {
            number,
            sealed: range.clone(),
            progress: Progress::Up,
            is_dirty: false,
            is_let_go: false,
            ticket: self.tickets,
        };
        self.sealed.insert(range.start, part);
        true
    }

    /// True if a part of this number and range would keep the invariant.
    fn has_room(&self, number: PartNumber, range: &Range<u64>) -> bool {
        let is_enough = |bytes: u64, numbers: i32| {
            (bytes == 0 || bytes >= PART_BYTES_MIN)
                && i64::from(numbers) >= i64::try_from(parts_needed(bytes)).unwrap_or(i64::MAX)
        };
        let number = i32::from(number.get());
        let previous = self.sealed.range(..range.end).next_back();
        let previous = previous.map_or((0, 0), |(_, part)| {
            (part.sealed.end, i32::from(part.number.get()))
        });
        let is_behind = range.start >= previous.0
            && is_enough(range.start - previous.0, number - previous.1 - 1);
        let next = self.sealed.range(range.end..).next();
        let is_before = next.is_none_or(|(&start, part)| {
            is_enough(start - range.end, i32::from(part.number.get()) - number - 1)
        });
        is_behind && is_before
    }

    /// Marks what `range` touches as dirty, and shows each such range.
    fn touch(&mut self, range: Range<u64>, mut seen: impl FnMut(&Range<u64>, &mut Ranges)) {
        if range.is_empty() {
            return;
        }
        let first = self.sealed.range(..=range.start).next_back();
        let first = first.map_or(range.start, |(&start, _)| start);
        for (_, part) in self.sealed.range_mut(first..range.end) {
            if part.sealed.end > range.start {
                part.is_dirty = true;
                seen(&part.sealed, &mut self.fresh);
            }
        }
    }

    fn find(&mut self, seal: &Seal) -> Option<&mut Part> {
        let part = self.sealed.get_mut(&seal.range.start)?;
        (part.ticket == seal.ticket).then_some(part)
    }

    /// What is staged of `range` may be sealed again.
    fn refresh(&mut self, map: &ExtentMap, range: Range<u64>) {
        for piece in map.pieces(range) {
            if matches!(piece.place, Place::Staged { .. }) {
                self.fresh.insert(piece.range);
            }
        }
    }
}
