//! A set of bytes, as runs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A set of bytes. Every change costs O(log n) in the number of runs, for each run that it adds or takes away.
#[derive(Debug, Clone, Default)]
pub(super) struct Ranges {
    /// From the start of a run to its end. INVARIANT: runs are not empty, and no two touch.
    runs: BTreeMap<u64, u64>,
    /// (length, start) of the runs that have at least `indexed` bytes.
    longest: BTreeSet<(u64, u64)>,
    indexed: u64,
}

impl Ranges {
    /// An empty set that can tell its longest run, if that has at least `indexed` bytes.
    pub(super) fn new(indexed: u64) -> Self {
        Self {
            indexed,
            ..Self::default()
        }
    }

    /// Adds the bytes of `range`.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        while let Some((&run, &run_end)) = self.runs.range(..=end).next_back() {
            if run_end < start {
                break;
            }
            self.drop_run(run);
            (start, end) = (start.min(run), end.max(run_end));
        }
        self.add_run(start, end);
    }

    /// Takes the bytes of `range` away.
    pub(super) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((&run, &run_end)) = self.runs.range(..range.end).next_back() {
            if run_end <= range.start {
                break;
            }
            self.drop_run(run);
            if run_end > range.end {
                self.add_run(range.end, run_end);
            }
            if run < range.start {
                self.add_run(run, range.start);
            }
        }
    }

    /// The run that `at` lies in.
    pub(super) fn run_at(&self, at: u64) -> Option<Range<u64>> {
        let (&start, &end) = self.runs.range(..=at).next_back()?;
        (at < end).then_some(start..end)
    }

    /// The run that comes first.
    pub(super) fn first(&self) -> Option<Range<u64>> {
        self.runs.first_key_value().map(|(&start, &end)| start..end)
    }

    /// The longest run of those that have at least the bytes that were asked for.
    pub(super) fn longest(&self) -> Option<Range<u64>> {
        self.longest
            .last()
            .map(|&(bytes, start)| start..start + bytes)
    }

    fn add_run(&mut self, start: u64, end: u64) {
        self.runs.insert(start, end);
        if end - start >= self.indexed {
            self.longest.insert((end - start, start));
        }
    }

    fn drop_run(&mut self, start: u64) {
        if let Some(end) = self.runs.remove(&start) {
            self.longest.remove(&(end - start, start));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BYTES: usize = 64;

    fn runs(bytes: &[bool]) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (at, _) in bytes.iter().enumerate().filter(|(_, is_in)| **is_in) {
            let at = at as u64;
            match runs.last_mut() {
                Some(run) if run.end == at => run.end += 1,
                _ => runs.push(at..at + 1),
            }
        }
        runs
    }

    proptest! {
        #[test]
        fn a_set_is_what_a_row_of_flags_says(
            changes in prop::collection::vec((any::<bool>(), 0..BYTES, 0..BYTES), 0..60)
        ) {
            let mut set = Ranges::new(5);
            let mut twin = [false; BYTES];
            for (is_in, one, other) in changes {
                let range = one.min(other)..one.max(other);
                twin[range.clone()].fill(is_in);
                let range = range.start as u64..range.end as u64;
                if is_in { set.insert(range) } else { set.remove(range) }
                let expected = runs(&twin);
                let found: Vec<_> = set.runs.iter().map(|(&start, &end)| start..end).collect();
                prop_assert_eq!(&found, &expected);
                prop_assert_eq!(set.first(), expected.first().cloned());
                let longest = expected.iter().map(|run| run.end - run.start).max().filter(|bytes| *bytes >= 5);
                prop_assert_eq!(set.longest().map(|run| run.end - run.start), longest);
                for at in 0..BYTES as u64 {
                    prop_assert_eq!(set.run_at(at), expected.iter().find(|run| run.contains(&at)).cloned());
                }
            }
        }
    }
}
