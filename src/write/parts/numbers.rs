//! Which number a part gets, so that what is not sealed yet finds numbers too.
//!
//! Parts are joined in the order of their numbers, and a part keeps its number and its boundaries for as long as the
//! upload runs. So between two parts there must be as many numbers as the bytes between them can need one day. They need
//! fewest as parts of 5 GiB: that many are always left (the **need**), so a commit finds a number for every byte. And they
//! need more when they are sealed behind a writer, too: a part in the open gets a number as if all that lies before it
//! had been sealed (the **wish**), one between two others a number as far between theirs as it lies between them.
//! What touches the part before it has the next number.

use std::ops::Range;

use super::super::limits::{PARTS_MAX, PartNumber, parts_needed};
use super::Schedule;

/// Numbers that are left free for changes of what lies in an object already, so that its unchanged ranges can be copied.
const NUMBERS_FOR_CHANGES: u64 = 1000;

/// The room that a part is to be put into.
#[derive(Debug, Clone)]
pub(super) struct Room {
    /// The number of the part before it, or 0.
    pub(super) previous: u16,
    /// What lies between that part and this one.
    pub(super) before: Range<u64>,
    /// Number of the part behind it, and bytes between them.
    pub(super) next: Option<(u16, u64)>,
}

impl Room {
    /// The number for the part, unless numbers are spent. The file's first `based` bytes lie in objects.
    pub(super) fn number(&self, schedule: &Schedule, based: u64) -> Option<PartNumber> {
        let before = self.before.end - self.before.start;
        let previous = u64::from(self.previous);
        let lowest = previous + 1 + parts_needed(before);
        let highest = match self.next {
            Some((next, behind)) => u64::from(next).checked_sub(1 + parts_needed(behind))?,
            // The file may become longer.
            None => u64::from(PARTS_MAX) - 1,
        };
        if lowest > highest {
            return None;
        }
        let number = match self.next {
            _ if before == 0 => lowest,
            Some((_, 0)) => highest,
            Some((next, behind)) => {
                let room = u128::from(u64::from(next) - previous);
                let share = room * u128::from(before) / u128::from(before + behind);
                previous + u64::try_from(share).unwrap_or(0)
            }
            None => {
                let free = u64::from(PARTS_MAX) - previous;
                let wish = self.wish(schedule, based);
                previous + 1 + wish.min(free * 3 / 4)
            }
        };
        let number = number.clamp(lowest, highest);
        PartNumber::new(u16::try_from(number).ok()?)
    }

    /// How many parts what lies before may become.
    fn wish(&self, schedule: &Schedule, based: u64) -> u64 {
        let based = self.before.end.min(based).saturating_sub(self.before.start);
        let written = self.before.end - self.before.start - based;
        let copies = match based {
            0 => 0,
            _ => 2 * parts_needed(based) + based.div_ceil(8 << 20).min(NUMBERS_FOR_CHANGES),
        };
        copies + u64::from(schedule.parts(written, self.previous + 1))
    }
}
