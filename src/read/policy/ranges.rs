//! A set of offsets: what was read of a file.

use std::ops::Range;

/// Pieces that are kept. Beyond these the shortest is forgotten, whose bytes may then be fetched again.
const RANGES_MAX: usize = 512;

/// Ranges in order, none of which touches the next.
#[derive(Debug, Default)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds a range, which may be empty.
    pub(super) fn insert(&mut self, range: &Range<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|known| known.end < range.start);
        let to = self.0.partition_point(|known| known.start <= range.end);
        let mut joined = range.clone();
        if let [first, .., last] | [first @ last] = &self.0[from..to] {
            joined = joined.start.min(first.start)..joined.end.max(last.end);
        }
        self.0.splice(from..to, [joined]);
        if self.0.len() > RANGES_MAX {
            let shortest = (0..self.0.len()).min_by_key(|&at| self.0[at].end - self.0[at].start);
            self.0.remove(shortest.unwrap_or(0));
        }
    }

    /// True if all of a range is there.
    pub(super) fn covers(&self, range: &Range<u64>) -> bool {
        let at = self.0.partition_point(|known| known.end < range.end);
        let known = self.0.get(at);
        range.is_empty() || known.is_some_and(|known| known.start <= range.start)
    }

    /// The first offset of the set that is at least `from`.
    pub(super) fn first_from(&self, from: u64) -> Option<u64> {
        let at = self.0.partition_point(|known| known.end <= from);
        self.0.get(at).map(|known| known.start.max(from))
    }

    /// The end of the last piece of the set that begins before `end`, cut there.
    pub(super) fn last_before(&self, end: u64) -> Option<u64> {
        let at = self.0.partition_point(|known| known.start < end);
        let known = self.0.get(at.checked_sub(1)?)?;
        Some(known.end.min(end))
    }

    /// How many offsets of a range are not there.
    pub(super) fn missing(&self, range: &Range<u64>) -> u64 {
        let from = self.0.partition_point(|known| known.end <= range.start);
        let known = self.0[from..].iter();
        let known = known.take_while(|known| known.start < range.end);
        let there = known.map(|known| known.end.min(range.end) - known.start.max(range.start));
        range.end.saturating_sub(range.start) - there.sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(inserts in proptest::collection::vec((0u64..200, 0u64..20), 0..60), from in 0u64..200, len in 0u64..60) {
            let (mut ranges, mut twin) = (Ranges::default(), BTreeSet::new());
            for (start, len) in inserts {
                ranges.insert(&(start..start + len));
                twin.extend(start..start + len);
            }
            prop_assert!(ranges.0.windows(2).all(|two| two[0].end < two[1].start));
            let asked = from..from + len;
            prop_assert_eq!(ranges.covers(&asked), asked.clone().all(|at| twin.contains(&at)));
            prop_assert_eq!(ranges.first_from(from), twin.range(from..).next().copied());
            prop_assert_eq!(ranges.last_before(from), twin.range(..from).next_back().map(|at| at + 1));
            let missing = asked.clone().filter(|at| !twin.contains(at)).count() as u64;
            prop_assert_eq!(ranges.missing(&asked), missing);
        }
    }

    #[test]
    fn it_is_bounded() {
        let mut ranges = Ranges::default();
        ranges.insert(&(1..1000));
        for at in 1..5000 {
            ranges.insert(&(at * 1000 + 1..at * 1000 + 2));
        }
        assert_eq!(ranges.0.len(), RANGES_MAX);
        assert!(ranges.covers(&(1..1000)), "the longest is kept");
    }
}
