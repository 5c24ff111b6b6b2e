//! How far streams of one file went before their reader jumped away.

/// Runs that are remembered.
const RUNS_KEPT: usize = 8;

/// Runs that must have ended before they say anything of the next one.
const RUNS_MIN: usize = 3;

/// The lengths of the runs that ended last, in bytes.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// The oldest first.
    ended: Vec<u64>,
}

impl Runs {
    /// A run has ended.
    pub(super) fn ended(&mut self, bytes: u64) {
        if self.ended.len() == RUNS_KEPT {
            self.ended.remove(0);
        }
        self.ended.push(bytes);
    }

    /// The longest of those that ended last: short and long ones may take turns. `None` while too few have.
    pub(super) fn longest(&self) -> Option<u64> {
        let longest = self.ended.iter().copied().max();
        longest.filter(|_| self.ended.len() >= RUNS_MIN)
    }

    /// Where one that has gone on for `run` bytes may be expected to end: at the shortest of those that went on farther. `None`
    /// while too few have ended, and for one that went on farther than all.
    pub(super) fn next_end(&self, run: u64) -> Option<u64> {
        let farther = self.ended.iter().copied().filter(|&end| end > run).min();
        farther.filter(|_| self.ended.len() >= RUNS_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_the_last_eight_counts_once_three_have_ended() {
        let mut runs = Runs::default();
        for bytes in [90, 10] {
            runs.ended(bytes);
            assert_eq!((runs.longest(), runs.next_end(0)), (None, None));
        }
        for _ in 0..6 {
            runs.ended(10);
            assert_eq!(runs.longest(), Some(90));
            assert_eq!(runs.next_end(9), Some(10));
            assert_eq!(runs.next_end(10), Some(90));
            assert_eq!(runs.next_end(90), None);
        }
        runs.ended(10);
        assert_eq!(runs.longest(), Some(10));
    }
}
