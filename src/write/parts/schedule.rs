//! How large parts are, by their numbers.

use super::super::limits::{PART_BYTES_MAX, PART_BYTES_MIN, PARTS_MAX};

/// So many parts have the first size.
const NUMBERS_OF_FIRST_SIZE: u16 = 1000;

/// Then the size doubles every so many parts: 6 TiB are up before a part has 5 GiB, 18 TiB with all numbers.
const NUMBERS_OF_ONE_SIZE: u16 = 700;

/// A part may be so much smaller than its size under pressure: all numbers still hold a 64th of what they could, and the
/// first thousand go down to the minimum of OSS.
const PRESSURE_SHARE: u64 = 64;

/// How large parts are that are sealed behind the writer. The length of the file is not known meanwhile, so they grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    first: u64,
    most: u64,
    head: u64,
}

impl Schedule {
    /// Parts of `part_bytes` first, growing to at most `part_bytes_max`, which is what memory can hold of one file: without a bound,
    /// 5 GiB. Both are brought into what OSS takes; a part is at least twice its minimum.
    ///
    /// The first `head_bytes` of a file are held back until the commit, or until memory is very short: programs write headers
    /// again when they know what they have written.
    #[must_use]
    pub fn new(part_bytes: u64, part_bytes_max: u64, head_bytes: u64) -> Self {
        let first = part_bytes.clamp(2 * PART_BYTES_MIN, PART_BYTES_MAX);
        Self {
            first,
            most: part_bytes_max.clamp(first, PART_BYTES_MAX),
            head: match head_bytes {
                0 => 0,
                // What lies before the first part must be a part itself one day.
                _ => head_bytes.clamp(PART_BYTES_MIN, PART_BYTES_MAX),
            },
        }
    }

    /// Bytes at the beginning of a file that are held back.
    #[must_use]
    pub fn head_bytes(&self) -> u64 {
        self.head
    }

    /// Bytes of the part `number`, from 1.
    #[must_use]
    pub fn part_bytes(&self, number: u16) -> u64 {
        let doublings = match number.checked_sub(NUMBERS_OF_FIRST_SIZE + 1) {
            None => 0,
            Some(behind) => u32::from(behind / NUMBERS_OF_ONE_SIZE) + 1,
        };
        // 13 doublings at most.
        (self.first << doublings).min(self.most)
    }

    /// Bytes that the part `number` must have at least, so that numbers do not run out too early when memory is always
    /// short.
    #[must_use]
    pub fn part_bytes_min(&self, number: u16) -> u64 {
        if number <= NUMBERS_OF_FIRST_SIZE {
            return PART_BYTES_MIN;
        }
        (self.part_bytes(number) / PRESSURE_SHARE).max(PART_BYTES_MIN)
    }

    /// How many parts `bytes` take, the first of which has the number `first`; not counted beyond the last number.
    pub(super) fn parts(&self, bytes: u64, first: u16) -> u16 {
        let mut left = bytes;
        let mut number = first;
        while left > 0 && number < PARTS_MAX {
            left = left.saturating_sub(self.part_bytes(number));
            number += 1;
        }
        number - first
    }
}

impl Default for Schedule {
    /// 8 MiB first, at most 5 GiB, 1 MiB held back.
    fn default() -> Self {
        Self::new(8 << 20, PART_BYTES_MAX, 1 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_from_8_mib_to_5_gib() {
        let schedule = Schedule::default();
        let mut last = 0;
        let mut all = 0;
        for number in 1..=PARTS_MAX {
            let bytes = schedule.part_bytes(number);
            assert!(bytes >= last && bytes <= PART_BYTES_MAX);
            assert!((PART_BYTES_MIN..=bytes).contains(&schedule.part_bytes_min(number)));
            last = bytes;
            all += bytes;
        }
        assert_eq!(schedule.part_bytes(1000), 8 << 20);
        assert_eq!(schedule.part_bytes(1001), 16 << 20);
        assert_eq!(last, PART_BYTES_MAX);
        assert!(all > 18 << 40, "{all}");
        assert_eq!(schedule.parts(8000 << 20, 1), 1000);
        assert_eq!(schedule.parts((8000 << 20) + 1, 1), 1001);
        assert_eq!(schedule.parts(u64::MAX, 1), PARTS_MAX - 1);
    }

    #[test]
    fn memory_bounds_parts_and_oss_bounds_memory() {
        let schedule = Schedule::new(8 << 20, 64 << 20, 0);
        assert_eq!(schedule.part_bytes(PARTS_MAX), 64 << 20);
        let schedule = Schedule::new(1, 1, 1);
        assert_eq!(schedule.part_bytes(PARTS_MAX), 2 * PART_BYTES_MIN);
        assert_eq!(schedule.head_bytes(), PART_BYTES_MIN);
    }
}
