//! What to fetch for a READ, decided from what was read before. Pure: no clock, no lock, no I/O.
//!
//! One [`Pattern`] belongs to one inode and is shared by all its handles: data-loader workers, ranks and forked
//! processes share files, and what looks random on one descriptor is several sequential streams on the inode. So a
//! pattern keeps several cursors, each the end of a stream it believes in.
//!
//! The rules, in the order they are tried:
//! 1. A file of at most one block is fetched whole: one request serves every later read.
//! 2. A read that goes on where a cursor stands (a little before or after it counts too: the kernel's own read-ahead
//!    arrives out of order) is sequential. Each such read doubles the cursor's window until the bound.
//! 3. A read at the start of the file opens a cursor with a small window: most files are read from their start.
//! 4. Any other read is random: exactly what was asked is fetched. It leaves a cursor without a window, and the second
//!    read that follows on proves locality. A block that was hit [`TOUCHES_FOR_WHOLE_BLOCK`] times is fetched whole.

use std::ops::Range;

use crate::buffer::BLOCK_BYTES;

/// The bytes of a block as an offset.
const BLOCK: u64 = BLOCK_BYTES as u64;

/// Streams that are told apart in one file: eight ranks with two descriptors each.
const CURSORS_MAX: usize = 16;

/// The window of a cursor that has just proven itself. Two blocks: the next one is on its way while the first is read.
const WINDOW_FIRST: u64 = 2 * BLOCK;

/// A read this far before a cursor still belongs to it: the kernel sends its read-ahead by several threads.
const BACKWARD_SLACK: u64 = BLOCK;

/// A read this far past a cursor still belongs to it, for the same reason, and for readers that skip headers.
const FORWARD_SLACK: u64 = 2 * BLOCK;

/// A request for a run of blocks is at most this long. At 20 ms to first byte and 100 MB/s a connection is busy for
/// 80 % of the time with it; a longer one would only put off the moment at which the next connection starts.
pub(super) const PART_MAX: u64 = 8 * BLOCK;

/// So many reads in one block within the last [`RECENT_BLOCKS`] random ones are locality. Three happen by chance: reads of
/// 4 KiB at random in 1 GiB then fetch 1.36 times what they ask for, with four 1.23 times.
const TOUCHES_FOR_WHOLE_BLOCK: u32 = 4;

/// Random blocks remembered.
const RECENT_BLOCKS: usize = 32;

/// What to do for one READ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// Fetch exactly the range that was asked; no locality is proven.
    Exact,
    /// Fetch whole blocks: those that the READ needs, and `ahead`, a range of bytes at block boundaries (or the end of
    /// the file) that is best cut into requests of `part` bytes. `ahead` may be empty.
    Blocks {
        /// Bytes to fetch ahead; nothing in it was planned before by the same cursor.
        ahead: Range<u64>,
        /// Bytes of one request.
        part: u64,
    },
}

/// One stream that is believed to go on.
#[derive(Debug, Clone)]
struct Cursor {
    /// End of the last read.
    next: u64,
    /// End of what was planned ahead; never before `next` rounded up.
    planned: u64,
    /// Bytes to stay ahead of `next`; 0 as long as only one read was seen.
    window: u64,
    /// Bytes read since the window grew last.
    earned: u64,
    /// When it was used last, in reads of this file.
    used: u64,
}

/// How one file is being read.
#[derive(Debug)]
pub(super) struct Pattern {
    size: u64,
    window_max: u64,
    cursors: Vec<Cursor>,
    recent: Vec<(u64, u32)>,
    reads: u64,
}

impl Pattern {
    /// A file of `size` bytes of which nothing was read yet; no cursor's window grows past `window_max`.
    pub(super) fn new(size: u64, window_max: u64) -> Self {
        Self {
            size,
            window_max: window_max.max(BLOCK),
            cursors: Vec::new(),
            recent: Vec::new(),
            reads: 0,
        }
    }

    /// Plans for a READ of `range`, which lies within the file and is not empty.
    pub(super) fn plan(&mut self, range: &Range<u64>) -> Plan {
        debug_assert!(
            range.start < range.end && range.end <= self.size,
            "fs clamps a READ to the file"
        );
        self.reads += 1;
        if self.size <= BLOCK {
            return Plan::Blocks {
                ahead: self.size..self.size,
                part: BLOCK,
            };
        }
        if let Some(at) = self.cursor_for(range) {
            return self.advance(at, range);
        }
        let first = range.start == 0;
        self.open_cursor(range, if first { WINDOW_FIRST } else { 0 });
        if first {
            return self.advance(self.cursors.len() - 1, range);
        }
        if range.end - range.start >= BLOCK / 2 || self.touched(range.start / BLOCK) {
            return Plan::Blocks {
                ahead: range.end..range.end,
                part: BLOCK,
            };
        }
        Plan::Exact
    }

    /// What was planned as `planned` was fetched only up to `start`: the next read plans the rest anew, and with it what
    /// was planned behind it meanwhile.
    pub(super) fn retract(&mut self, planned: &Range<u64>, start: u64) {
        for cursor in &mut self.cursors {
            if cursor.next <= planned.end && planned.end <= cursor.planned {
                cursor.planned = cursor.planned.min(start);
            }
        }
    }

    /// The cursor that `range` goes on from: the nearest, if one is near enough.
    fn cursor_for(&self, range: &Range<u64>) -> Option<usize> {
        let near = |cursor: &Cursor| {
            let slack = if cursor.window == 0 {
                0
            } else {
                BACKWARD_SLACK
            };
            let reach = if cursor.window == 0 { 0 } else { FORWARD_SLACK };
            range.start + slack >= cursor.next && range.start <= cursor.next + reach
        };
        (0..self.cursors.len())
            .filter(|&at| near(&self.cursors[at]))
            .min_by_key(|&at| self.cursors[at].next.abs_diff(range.start))
    }

    fn open_cursor(&mut self, range: &Range<u64>, window: u64) {
        if self.cursors.len() == CURSORS_MAX {
            let coldest = (0..CURSORS_MAX)
                .min_by_key(|&at| self.cursors[at].used)
                .unwrap_or(0);
            self.cursors.swap_remove(coldest);
        }
        let next = if window == 0 { range.end } else { range.start };
        self.cursors.push(Cursor {
            next,
            planned: 0,
            window,
            earned: 0,
            used: self.reads,
        });
    }

    /// Moves a cursor over `range` and plans what comes after.
    fn advance(&mut self, at: usize, range: &Range<u64>) -> Plan {
        let (size, window_max) = (self.size, self.window_max);
        let cursor = &mut self.cursors[at];
        cursor.used = self.reads;
        if range.end > cursor.next {
            cursor.earned += range.end - cursor.next;
            cursor.next = range.end;
            // A stream earns its window by what it has read: what was fetched in vain, should it end here, is at most twice
            // of what it wanted.
            if cursor.window == 0 {
                cursor.window = WINDOW_FIRST;
            } else if cursor.earned >= cursor.window / 2 {
                cursor.earned = 0;
                cursor.window *= 2;
            }
            cursor.window = cursor.window.min(window_max);
        }
        let needed = round_up(cursor.next).min(size);
        let start = cursor.planned.max(needed);
        let target = round_up(cursor.next + cursor.window).min(size);
        let part = (cursor.window / 4)
            .next_power_of_two()
            .clamp(BLOCK, PART_MAX);
        // Wait until a whole request is due: many small requests would cost more than they gain.
        let due = target.saturating_sub(start);
        let end = if due >= part || target == size {
            target
        } else {
            start
        };
        cursor.planned = start.max(end);
        Plan::Blocks {
            ahead: start..end.max(start),
            part,
        }
    }

    /// Counts a random read in `block`; true once the block is worth fetching whole.
    fn touched(&mut self, block: u64) -> bool {
        if let Some(entry) = self.recent.iter_mut().find(|entry| entry.0 == block) {
            entry.1 += 1;
            return entry.1 >= TOUCHES_FOR_WHOLE_BLOCK;
        }
        if self.recent.len() == RECENT_BLOCKS {
            self.recent.remove(0);
        }
        self.recent.push((block, 1));
        false
    }
}

fn round_up(offset: u64) -> u64 {
    offset.div_ceil(BLOCK) * BLOCK
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn ahead(plan: Plan) -> Range<u64> {
        match plan {
            Plan::Exact => panic!("expected blocks"),
            Plan::Blocks { ahead, .. } => ahead,
        }
    }

    #[test]
    fn a_small_file_is_fetched_whole() {
        let mut pattern = Pattern::new(BLOCK, 64 * MIB);
        assert!(ahead(pattern.plan(&(100..200))).is_empty());
    }

    #[test]
    fn a_sequential_reader_gets_a_growing_window() {
        let size = 1024 * MIB;
        let mut pattern = Pattern::new(size, 128 * MIB);
        let (mut planned, mut widest) = (0, 0);
        for block in 0..512 {
            let range = block * MIB..(block + 1) * MIB;
            let ahead = ahead(pattern.plan(&range));
            if !ahead.is_empty() {
                assert!(ahead.start >= planned, "nothing is planned twice");
                planned = ahead.end;
            }
            widest = widest.max(planned.saturating_sub(range.end));
        }
        assert!(
            widest > 100 * MIB,
            "the window reaches its bound, it came to {widest}"
        );
        assert!(
            widest <= 129 * MIB,
            "the window respects its bound, it came to {widest}"
        );
    }

    #[test]
    fn what_was_not_fetched_is_planned_again() {
        let mut pattern = Pattern::new(1024 * MIB, 64 * MIB);
        let first = ahead(pattern.plan(&(0..MIB)));
        let second = ahead(pattern.plan(&(MIB..2 * MIB)));
        assert_eq!(first.end, second.start);
        // The first turns out to be refused only after the second was planned.
        pattern.retract(&first, first.start);
        let again = ahead(pattern.plan(&(2 * MIB..3 * MIB)));
        assert_eq!(again.start, first.start.max(3 * MIB));
        assert!(again.end >= second.end);
        pattern.retract(&(500 * MIB..501 * MIB), 500 * MIB);
        let next = ahead(pattern.plan(&(3 * MIB..4 * MIB)));
        assert!(next.is_empty() || next.start >= again.end);
    }

    #[test]
    fn an_absurd_size_overflows_nothing() {
        let size = u64::try_from(i64::MAX).unwrap_or(0);
        let mut pattern = Pattern::new(size, 64 * MIB);
        let mut end = size;
        for _ in 0..3 {
            let _ = pattern.plan(&(end - 4096..end));
            end -= 4096;
        }
        for start in [size - 12 * MIB, size - 11 * MIB, size - 10 * MIB] {
            if let Plan::Blocks { ahead, .. } = pattern.plan(&(start..start + MIB)) {
                assert!(ahead.end <= size);
            }
        }
    }

    #[test]
    fn a_random_reader_gets_what_it_asked_for() {
        let mut pattern = Pattern::new(1024 * MIB, 128 * MIB);
        for at in [500, 100, 900, 300, 700, 200] {
            let start = at * MIB + 4096;
            assert_eq!(pattern.plan(&(start..start + 4096)), Plan::Exact);
        }
    }

    #[test]
    fn random_reads_of_a_large_file_fetch_little_more_than_they_ask() {
        let size = 1024 * MIB;
        let mut random = fastrand::Rng::with_seed(1);
        let mut pattern = Pattern::new(size, 128 * MIB);
        let (mut asked, mut fetched) = (0, 0);
        for _ in 0..20_000 {
            let start = random.u64(1..size / 4096) * 4096;
            let range = start..start + 4096;
            asked += 4096;
            fetched += match pattern.plan(&range) {
                Plan::Exact => 4096,
                Plan::Blocks { ahead, .. } => BLOCK + ahead.end - ahead.start,
            };
        }
        assert!(fetched * 10 <= asked * 13, "{fetched} for {asked}");
    }

    #[test]
    fn the_second_contiguous_read_proves_locality() {
        let mut pattern = Pattern::new(1024 * MIB, 128 * MIB);
        assert_eq!(pattern.plan(&(500 * MIB..500 * MIB + 4096)), Plan::Exact);
        let plan = pattern.plan(&(500 * MIB + 4096..500 * MIB + 8192));
        assert!(!ahead(plan).is_empty());
    }

    #[test]
    fn a_block_that_is_hit_again_and_again_is_fetched_whole() {
        let mut pattern = Pattern::new(1024 * MIB, 128 * MIB);
        let mut hit = |at: u64| pattern.plan(&(500 * MIB + at..500 * MIB + at + 4096));
        for at in [0, 200_000, 100_000] {
            assert_eq!(hit(at), Plan::Exact);
        }
        assert!(ahead(hit(300_000)).is_empty());
    }

    #[test]
    fn interleaved_streams_are_told_apart() {
        let mut pattern = Pattern::new(1024 * MIB, 64 * MIB);
        let starts = [0, 300 * MIB, 600 * MIB, 900 * MIB];
        let mut fetched_ahead = [0; 4];
        for step in 0..64 {
            for (stream, start) in starts.iter().enumerate() {
                let offset = start + step * 128 * 1024;
                if let Plan::Blocks { ahead, .. } = pattern.plan(&(offset..offset + 128 * 1024)) {
                    fetched_ahead[stream] += ahead.end - ahead.start;
                }
            }
        }
        assert!(
            fetched_ahead.iter().all(|&bytes| bytes >= 8 * MIB),
            "{fetched_ahead:?}"
        );
    }

    /// The naive twin: every byte range a cursor was ever told to fetch ahead, kept in a list.
    #[derive(Debug, Default)]
    struct Twin {
        ahead: Vec<Range<u64>>,
    }

    proptest! {
        #[test]
        fn plans_stay_within_the_file_and_the_window(
            size in 1..400 * MIB,
            window_max in MIB..64 * MIB,
            reads in proptest::collection::vec((0u64..400 * MIB, 1u64..MIB, any::<bool>()), 1..300),
        ) {
            let mut pattern = Pattern::new(size, window_max);
            let mut twin = Twin::default();
            let mut last = 0;
            for (offset, len, goes_on) in reads {
                let start = if goes_on { last } else { offset } % size;
                let end = (start + len).min(size);
                last = end;
                if let Plan::Blocks { ahead, part } = pattern.plan(&(start..end)) {
                    prop_assert!(ahead.start <= ahead.end && ahead.end <= size);
                    prop_assert!((BLOCK..=PART_MAX).contains(&part));
                    if !ahead.is_empty() {
                        prop_assert!(ahead.start % BLOCK == 0);
                        prop_assert!(ahead.end % BLOCK == 0 || ahead.end == size);
                        prop_assert!(ahead.end <= round_up(end.max(start) + BACKWARD_SLACK + window_max) + BLOCK);
                        twin.ahead.push(ahead);
                    }
                }
            }
            // Sixteen cursors at most, so no byte is planned ahead more often than cursors were opened.
            prop_assert!(pattern.cursors.len() <= CURSORS_MAX);
        }

        #[test]
        fn a_sequential_reader_is_planned_each_byte_once(
            size in 2 * MIB..200 * MIB,
            step in 4096..MIB,
        ) {
            let mut pattern = Pattern::new(size, 32 * MIB);
            let mut planned = 0;
            let mut offset = 0;
            while offset < size {
                let end = (offset + step).min(size);
                if let Plan::Blocks { ahead, .. } = pattern.plan(&(offset..end)) && !ahead.is_empty() {
                    prop_assert!(ahead.start >= planned);
                    prop_assert!(ahead.start >= end || ahead.start >= planned);
                    planned = ahead.end;
                }
                offset = end;
            }
            prop_assert_eq!(planned, size);
        }
    }
}
