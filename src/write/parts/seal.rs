//! Which range becomes a part next.

use std::ops::Range;

use super::super::extents::{ExtentMap, Place};
use super::super::limits::{PART_BYTES_MAX, PART_BYTES_MIN, PartNumber};
use super::numbers::Room;
use super::{Part, Parts, Progress};

/// A range that is to be sent as a part. What it holds is what the file holds at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// Its number. Nothing else with this number may be under way when it is sent.
    pub number: PartNumber,
    /// Its bytes, in the file.
    pub range: Range<u64>,
    pub(super) ticket: u64,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealing {
    /// Send this. There may be more: ask again.
    Seal(Seal),
    /// Nothing is ripe.
    Nothing,
    /// Something is, but there is no number for it: the upload must be completed to a hidden object first.
    NumbersSpent,
}

/// How short memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressure {
    /// Runs of new bytes go up as soon as OSS takes them.
    Some,
    /// Also what is shorter, with what lies around it (holes, and bytes of objects, which are read for it), and the head of the
    /// file. What is written next may well make such a part dirty.
    Hard,
}

/// A place for a part: it may begin here, and must end before the next.
struct Opening {
    previous: u16,
    previous_end: u64,
    start: u64,
    next: Option<(u16, u64)>,
}

impl Opening {
    fn room(&self, end: u64) -> Room {
        Room {
            previous: self.previous,
            before: self.previous_end..self.start,
            next: self.next.map(|(number, start)| (number, start - end)),
        }
    }

    /// The end of a part that would like to end at `end`, and may at `most`: it leaves nothing before the next part that could
    /// not be a part itself.
    fn end(&self, end: u64, most: u64) -> u64 {
        match self.next {
            Some((_, next)) if end < next && next - end < PART_BYTES_MIN => {
                if most >= next && next - self.start <= PART_BYTES_MAX {
                    next
                } else {
                    next.saturating_sub(PART_BYTES_MIN)
                }
            }
            _ => end,
        }
    }
}

impl Parts {
    /// The next part of the run of new bytes around `near`, where something was just written, if it is as long as a part shall be,
    /// or fills the room between two parts.
    pub fn full(&mut self, near: u64) -> Sealing {
        let Some(run) = self.fresh.run_at(near) else {
            return Sealing::Nothing;
        };
        let opening = self.open(run.start.max(self.schedule.head_bytes()));
        let next = opening.next.map(|(_, start)| start);
        let is_gap = opening.start == opening.previous_end && next == Some(run.end);
        let left = run.end.saturating_sub(opening.start);
        let number = self.likely(&opening);
        let wanted = self.schedule.part_bytes(number);
        if left < wanted && !(is_gap && left >= PART_BYTES_MIN) {
            return Sealing::Nothing;
        }
        let end = opening.end(opening.start + wanted.min(left), run.end);
        self.seal(&opening, end, PART_BYTES_MIN)
    }

    /// The next part when memory is short, of a file of `len` bytes.
    pub fn pressed(&mut self, pressure: Pressure, len: u64) -> Sealing {
        let longest = self.fresh.longest();
        match pressure {
            Pressure::Some => {
                let Some(run) = longest else {
                    return Sealing::Nothing;
                };
                let opening = self.open(run.start.max(self.schedule.head_bytes()));
                let number = self.likely(&opening);
                let wanted = opening.start + self.schedule.part_bytes(number);
                let end = opening.end(run.end.min(wanted), run.end);
                self.seal(&opening, end, self.schedule.part_bytes_min(number))
            }
            Pressure::Hard => match longest.or_else(|| self.fresh.first()) {
                Some(run) => self.squeeze(&run, len),
                None => Sealing::Nothing,
            },
        }
    }

    /// A dirty part that can be sent again under its number, for it lies in memory as a whole.
    pub fn again(&mut self, map: &ExtentMap) -> Option<Seal> {
        let is_there = |part: &&mut Part| {
            let mut pieces = map.pieces(part.sealed.clone());
            part.is_dirty
                && part.progress == Progress::Up
                && part.sealed.end <= map.len()
                && pieces.all(|piece| !matches!(piece.place, Place::Uploaded { .. }))
        };
        let part = self.sealed.values_mut().find(is_there)?;
        self.tickets += 1;
        part.ticket = self.tickets;
        part.progress = Progress::Sending;
        part.is_dirty = false;
        part.is_let_go = false;
        Some(Seal {
            number: part.number,
            range: part.sealed.clone(),
            ticket: part.ticket,
        })
    }

    /// A part around the front of `run`, as short as it may be if the run is shorter.
    fn squeeze(&mut self, run: &Range<u64>, len: u64) -> Sealing {
        let mut opening = self.open(run.start);
        if opening.start > run.start {
            opening.start = opening.previous_end;
        }
        let number = self.likely(&opening);
        let least = self.schedule.part_bytes_min(number);
        let wanted = self.schedule.part_bytes(number);
        let bound = opening.next.map_or(len, |(_, start)| start);
        let end = run.end.min(opening.start + wanted);
        let end = end.max(opening.start + least).min(bound);
        let end = opening.end(end, bound);
        if end < opening.start + least {
            opening.start = end.saturating_sub(least).max(opening.previous_end);
            if opening.start - opening.previous_end < PART_BYTES_MIN {
                opening.start = opening.previous_end;
            }
        }
        let is_all = opening.start == opening.previous_end && end == bound;
        let least = if is_all { PART_BYTES_MIN } else { least };
        self.seal(&opening, end, least)
    }

    /// The place for a part that would like to begin at `start`, which lies in no part.
    fn open(&self, start: u64) -> Opening {
        let (mut previous, mut previous_end) = (0, 0);
        if let Some((_, part)) = self.sealed.range(..=start).next_back() {
            (previous, previous_end) = (part.number.get(), part.sealed.end);
        }
        let is_sliver = start > previous_end && start - previous_end < PART_BYTES_MIN;
        let next = self.sealed.range(start..).next();
        Opening {
            previous,
            previous_end,
            start: if is_sliver {
                previous_end + PART_BYTES_MIN
            } else {
                start.max(previous_end)
            },
            next: next.map(|(&start, part)| (part.number.get(), start)),
        }
    }

    /// The number that a part will get here, if there is one; else the first that it could have.
    fn likely(&self, opening: &Opening) -> u16 {
        let end = match opening.next {
            Some((_, next)) => next.min(opening.start + PART_BYTES_MIN),
            None => opening.start + PART_BYTES_MIN,
        };
        let number = match opening.next {
            Some((_, next)) if opening.start >= next => None,
            _ => opening.room(end).number(&self.schedule, self.based),
        };
        number.map_or(opening.previous + 1, PartNumber::get)
    }

    fn seal(&mut self, opening: &Opening, end: u64, least: u64) -> Sealing {
        if end < opening.start.saturating_add(least) {
            return Sealing::Nothing;
        }
        let Some(number) = opening.room(end).number(&self.schedule, self.based) else {
            return Sealing::NumbersSpent;
        };
        let range = opening.start..end;
        self.tickets += 1;
        let seal = Seal {
            number,
            range: range.clone(),
            ticket: self.tickets,
        };
        let part = Part {
            number,
            sealed: range.clone(),
            progress: Progress::Sending,
            is_dirty: false,
            is_let_go: false,
            ticket: self.tickets,
        };
        self.fresh.remove(range);
        self.sealed.insert(opening.start, part);
        Sealing::Seal(seal)
    }
}
