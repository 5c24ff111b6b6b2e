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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_the_last_eight_counts_once_three_have_ended() {
        let mut runs = Runs::default();
        for bytes in [90, 10] {
            runs.ended(bytes);
            assert_eq!(runs.longest(), None);
        }
        for _ in 0..6 {
            runs.ended(10);
            assert_eq!(runs.longest(), Some(90));
        }
        runs.ended(10);
        assert_eq!(runs.longest(), Some(10));
    }
}
