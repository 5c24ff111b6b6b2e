//! Whether files of a directory are opened once their names were looked up. Pure.
//!
//! A data loader opens each file right after the lookup: then the lookup may fetch the content, whose head says all that a
//! HEAD would. `find` and `ls -l` open nothing: for them the content would be fetched in vain.

/// Lookups after which older ones count half.
const LOOKUPS_MAX: u32 = 32;

/// What followed the last lookups in a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Habit {
    lookups: u32,
    /// INVARIANT: at most `lookups`.
    opens: u32,
}

impl Habit {
    /// A name was looked up.
    pub(super) fn looked_up(&mut self) {
        if self.lookups >= LOOKUPS_MAX {
            self.lookups /= 2;
            self.opens /= 2;
        }
        self.lookups += 1;
    }

    /// A file was opened, looked up just before or not: the kernel remembers names too.
    pub(super) fn opened(&mut self) {
        self.opens = (self.opens + 1).min(self.lookups);
    }

    /// True if at least every second lookup of late was followed by an open. False before the first open.
    pub(super) fn opens_what_it_looks_up(self) -> bool {
        self.opens > 0 && 2 * self.opens >= self.lookups
    }

    /// True if too little was seen to say.
    pub(super) fn is_new(self) -> bool {
        self.lookups < 2
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The naive twin: all that happened, in order; true is an open.
    fn share_of(events: &[bool], last: usize) -> (usize, usize) {
        let lookups = events
            .iter()
            .rev()
            .filter(|open| !**open)
            .take(last)
            .count();
        let mut seen = 0;
        let opens = events.iter().rev().take_while(|open| {
            seen += usize::from(!**open);
            seen <= last
        });
        (lookups, opens.filter(|open| **open).count())
    }

    #[test]
    fn it_begins_with_nothing_and_learns_from_one_open() {
        let mut habit = Habit::default();
        assert!(habit.is_new() && !habit.opens_what_it_looks_up());
        habit.looked_up();
        assert!(!habit.opens_what_it_looks_up());
        habit.opened();
        assert!(habit.opens_what_it_looks_up());
    }

    #[test]
    fn a_storm_of_stats_is_seen_before_it_has_cost_much() {
        let mut habit = Habit::default();
        for _ in 0..1000 {
            habit.looked_up();
            habit.opened();
        }
        let wasted = (0..1000)
            .take_while(|_| {
                habit.looked_up();
                habit.opens_what_it_looks_up()
            })
            .count();
        assert!(wasted <= LOOKUPS_MAX as usize, "{wasted} fetched in vain");
        for _ in 0..LOOKUPS_MAX * 2 {
            habit.looked_up();
            habit.opened();
        }
        assert!(habit.opens_what_it_looks_up(), "and it learns back");
    }

    proptest! {
        #[test]
        fn it_agrees_with_what_happened_where_that_is_clear(
            events in proptest::collection::vec(any::<bool>(), 0..300),
            tail in 0..3_u8,
        ) {
            let mut events = events;
            match tail {
                0 => events.extend([false; 100]),
                1 => events.extend([false, true].repeat(100)),
                _ => {}
            }
            let mut habit = Habit::default();
            for open in &events {
                if *open { habit.opened() } else { habit.looked_up() }
                prop_assert!(habit.opens <= habit.lookups && habit.lookups <= LOOKUPS_MAX);
            }
            let (lookups, opens) = share_of(&events, 64);
            if lookups >= 64 && opens == 0 {
                prop_assert!(!habit.opens_what_it_looks_up());
            }
            if tail == 1 {
                prop_assert!(habit.opens_what_it_looks_up());
            }
        }
    }
}
