//! Streams: reads that go on where others ended.

use std::ops::Range;

use super::ranges::Ranges;
use super::runs::Runs;
use super::{Ahead, LARGE_BYTES, Order, Plan, Reach, round_down, round_up};
use crate::read::BLOCK;

/// Streams that are told apart in one file: eight ranks with two descriptors each, and as many that begin at the same time.
pub(super) const CURSORS_MAX: usize = 24;

/// Places of single reads that may yet become streams. Beyond these the oldest of them goes, not a stream.
const MARKS_MAX: usize = 8;

/// The least window of a stream that has gone on: the next block is on its way while one is read.
const WINDOW_MIN: u64 = 2 * BLOCK;

/// A window is at most so many times what its stream has read: should it end here, no more was fetched in vain.
const GROWTH: u64 = 4;

/// The same for streams of large reads. The kernel sends those only once it believes in the stream itself.
const GROWTH_LARGE: u64 = 8;

/// And at least so many times. In between a window grows by the square: two neighbours may be chance.
const GROWTH_MIN: u64 = 2;

/// Requests that a window is divided into, so that a stream that has only begun has several connections.
const PARTS: u64 = 8;

/// A stream has at least this share of what the link rewards, however much lies planned ahead of the others.
const SHARE_MIN: u64 = 4;

/// A stream that was not read for so many reads of its file has ended, as far as anybody can tell: all streams that are told
/// apart could have been read twice.
const ENDED_READS: u64 = 2 * CURSORS_MAX as u64;

/// Bytes of the one request with which the file begins: a file of two blocks then costs one.
const FIRST_PART: u64 = 2 * BLOCK;

/// A read this far behind a cursor still belongs to it, or farther if it is large: the kernel sends its read-ahead by several
/// threads.
const SLACK: u64 = BLOCK;

/// So many reads that each end where the last one began are a stream downwards. Two may be the kernel's, which sends
/// neighbours at the same time and in any order.
const DOWN_PROOF: u32 = 2;

/// How far past a cursor a read of `len` bytes may begin and belong to it: the kernel's neighbours in any order, and
/// readers that skip headers. Small reads far apart are no stream.
pub(super) fn reach_past(len: u64) -> u64 {
    (2 * len).clamp(BLOCK / 4, 2 * BLOCK)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Towards {
    /// One read, or a few downwards: not proven.
    Nowhere,
    End,
    Start,
}

/// The place of a stream.
#[derive(Debug, Clone)]
struct Cursor {
    /// First byte and end of what was read.
    low: u64,
    high: u64,
    towards: Towards,
    /// Reads that went down so far.
    down: u32,
    /// What was planned ahead ends here: upwards it is never before `high` rounded up, downwards never after `low`
    /// rounded down.
    planned: u64,
    /// Bytes read.
    run: u64,
    /// Of these the last ones that had been read before, by this stream or another.
    again: u64,
    /// When it was used last, in reads of this file.
    used: u64,
    /// Its run is known to have ended.
    has_ended: bool,
}

impl Cursor {
    fn new(range: &Range<u64>, towards: Towards, used: u64) -> Self {
        Self {
            low: range.start,
            high: range.end,
            towards,
            down: 0,
            planned: round_up(range.end),
            run: range.end - range.start,
            again: 0,
            used,
            has_ended: false,
        }
    }

    /// How far `range` is from where this stream goes on; `None` if it does not belong to it.
    fn distance(&self, range: &Range<u64>) -> Option<u64> {
        let past = reach_past(range.end - range.start);
        let slack = SLACK.max(past);
        match self.towards {
            Towards::Nowhere => {
                let goes_on = range.start == self.high || range.end == self.low;
                goes_on.then_some(0)
            }
            Towards::End => {
                let is_near = range.start.saturating_add(slack) >= self.high
                    && range.start <= self.high.saturating_add(past);
                is_near.then(|| self.high.abs_diff(range.start))
            }
            Towards::Start => {
                let is_near = range.end <= self.low.saturating_add(slack)
                    && range.end.saturating_add(past) >= self.low;
                is_near.then(|| self.low.abs_diff(range.end))
            }
        }
    }

    /// Takes a read in that belongs to it.
    fn read(&mut self, range: &Range<u64>) {
        if self.towards == Towards::Nowhere {
            if range.start == self.high {
                self.towards = Towards::End;
                self.planned = round_up(self.high);
            } else {
                self.down += 1;
                if self.down >= DOWN_PROOF {
                    self.towards = Towards::Start;
                    self.planned = round_down(range.start);
                }
            }
        }
        let above = range.end.saturating_sub(self.high.max(range.start));
        let below = self.low.min(range.end).saturating_sub(range.start);
        self.run += match self.towards {
            Towards::End => above,
            Towards::Start | Towards::Nowhere => below,
        };
        self.high = self.high.max(range.end);
        self.low = self.low.min(range.start);
    }

    /// The blocks that it has read through.
    fn passed(&self, size: u64) -> Range<u64> {
        let end = if self.high == size {
            round_up(size)
        } else {
            round_down(self.high)
        };
        match self.towards {
            Towards::Nowhere => 0..0,
            Towards::End | Towards::Start => round_up(self.low)..end.max(round_up(self.low)),
        }
    }

    /// How far beyond what it has read this stream may be expected to go, if others ended after `longest`: to there, and
    /// once it is beyond, as far again as it was.
    fn expected(&self, longest: u64) -> u64 {
        let beyond = GROWTH_MIN * self.run.saturating_sub(longest);
        longest.saturating_sub(self.run).max(beyond).max(WINDOW_MIN)
    }

    /// How far beyond what it has read it has shown that it reads what was read before. One READ shows nothing: the kernel
    /// reads some way past what is wanted.
    fn again(&self) -> u64 {
        GROWTH * self.again.saturating_sub(BLOCK)
    }

    /// True if the blocks of `range` were planned before it was read.
    fn has_promised(&self, range: &Range<u64>) -> bool {
        match self.towards {
            Towards::Nowhere => false,
            Towards::End => range.end <= self.planned,
            Towards::Start => range.start >= self.planned,
        }
    }

    /// The window that it has earned.
    fn window(&self, len: u64) -> u64 {
        let growth_max = if len >= LARGE_BYTES {
            GROWTH_LARGE
        } else {
            GROWTH
        };
        let growth = (self.run / BLOCK).clamp(GROWTH_MIN, growth_max);
        (growth * self.run).max(WINDOW_MIN)
    }

    /// What lies planned ahead of it.
    fn outstanding(&self) -> Range<u64> {
        match self.towards {
            Towards::Nowhere => 0..0,
            Towards::End => round_up(self.high)..self.planned,
            Towards::Start => self.planned..round_down(self.low),
        }
    }
}

/// All streams of one file.
#[derive(Debug)]
pub(super) struct Cursors {
    size: u64,
    cursors: Vec<Cursor>,
    reads: u64,
    /// Blocks that streams have read through.
    read: Ranges,
    runs: Runs,
}

impl Cursors {
    pub(super) fn new(size: u64) -> Self {
        Self {
            size,
            cursors: Vec::new(),
            reads: 0,
            read: Ranges::default(),
            runs: Runs::default(),
        }
    }

    /// Plans for a read that belongs to a stream; `None` if it belongs to none.
    pub(super) fn go_on(&mut self, range: &Range<u64>, reach: Reach) -> Option<Plan> {
        self.reads += 1;
        // What a stream takes in is no stream of its own, though it may adjoin a read that came out of order.
        let near = |at: usize| {
            let cursor = &self.cursors[at];
            Some((
                cursor.towards == Towards::Nowhere,
                cursor.distance(range)?,
                at,
            ))
        };
        let (.., at) = (0..self.cursors.len()).filter_map(near).min()?;
        let cursor = &mut self.cursors[at];
        cursor.used = self.reads;
        cursor.has_ended = false;
        let promised = cursor.has_promised(range);
        cursor.read(range);
        self.note(at, range);
        let cursor = &self.cursors[at];
        let window = cursor.window(range.end - range.start);
        // Others that went on so far all went on to there.
        let end = self.runs.next_end(cursor.run);
        let window = window.max(end.map_or(0, |end| end - cursor.run));
        let (ahead, part) = self.plan(at, window, reach, BLOCK);
        Some(Plan::Blocks {
            ahead,
            part,
            promised,
        })
    }

    /// Opens a stream upwards that has only begun, with a window of its own.
    pub(super) fn begin(&mut self, range: &Range<u64>, window: u64, reach: Reach) -> Plan {
        let at = self.open(Cursor::new(range, Towards::End, self.reads));
        self.note(at, range);
        let (ahead, part) = self.plan(at, window, reach, FIRST_PART);
        Plan::Blocks {
            ahead,
            part,
            promised: false,
        }
    }

    /// Remembers a single read, from which a stream may go on.
    pub(super) fn mark(&mut self, range: &Range<u64>) {
        self.open(Cursor::new(range, Towards::Nowhere, self.reads));
    }

    /// The shorter of the two runs that were read last: how far one that begins now may be expected to go.
    pub(super) fn usual_run(&self) -> u64 {
        let mut last = [(0, 0); 2];
        for cursor in &self.cursors {
            let entry = (cursor.used, cursor.run);
            if entry > last[0] {
                last = [entry, last[0]];
            } else if entry > last[1] {
                last[1] = entry;
            }
        }
        last[0].1.min(last[1].1)
    }

    pub(super) fn retract(&mut self, left: &Ahead) {
        for cursor in &mut self.cursors {
            let Range { start, end } = left.range;
            match (cursor.towards, left.order) {
                (Towards::End, Order::Up) if cursor.high <= end && end <= cursor.planned => {
                    cursor.planned = cursor.planned.min(start).max(round_up(cursor.high));
                }
                (Towards::Start, Order::Down) if cursor.planned <= start && start <= cursor.low => {
                    cursor.planned = cursor.planned.max(end).min(round_down(cursor.low));
                }
                _ => {}
            }
        }
    }

    /// Blocks under `range` were planned and are not there any more: with them, what was planned behind them.
    pub(super) fn lost(&mut self, range: &Range<u64>) {
        for cursor in &mut self.cursors {
            let lies_ahead = cursor.outstanding().contains(&round_down(range.start));
            match cursor.towards {
                Towards::End if lies_ahead || cursor.high.abs_diff(range.end) <= SLACK => {
                    cursor.planned = round_down(range.start).max(round_up(cursor.high));
                }
                Towards::Start if lies_ahead || cursor.low.abs_diff(range.start) <= SLACK => {
                    cursor.planned = round_up(range.end).min(round_down(cursor.low));
                }
                Towards::Nowhere | Towards::End | Towards::Start => {}
            }
        }
    }

    /// A stream has read `range`.
    fn note(&mut self, at: usize, range: &Range<u64>) {
        let cursor = &mut self.cursors[at];
        let blocks = round_down(range.start)..round_up(range.end);
        cursor.again = match self.read.covers(&blocks) {
            true => cursor.again + range.end - range.start,
            false => 0,
        };
        self.read.insert(&cursor.passed(self.size));
    }

    /// Looks which streams have ended.
    fn look_for_ends(&mut self) {
        for cursor in &mut self.cursors {
            let is_idle = self.reads - cursor.used > ENDED_READS;
            if is_idle && !cursor.has_ended && cursor.towards != Towards::Nowhere {
                cursor.has_ended = true;
                self.runs.ended(cursor.run);
            }
        }
    }

    fn open(&mut self, cursor: Cursor) -> usize {
        self.look_for_ends();
        let is_mark = |cursor: &Cursor| cursor.towards == Towards::Nowhere;
        let marks = self.cursors.iter().filter(|cursor| is_mark(cursor)).count();
        if self.cursors.len() == CURSORS_MAX || (is_mark(&cursor) && marks >= MARKS_MAX) {
            let coldest = (0..self.cursors.len())
                .filter(|&at| marks < MARKS_MAX || is_mark(&self.cursors[at]))
                .min_by_key(|&at| self.cursors[at].used);
            let gone = self.cursors.swap_remove(coldest.unwrap_or(0));
            if gone.towards != Towards::Nowhere && !gone.has_ended {
                self.runs.ended(gone.run);
            }
        }
        self.cursors.push(cursor);
        self.cursors.len() - 1
    }

    /// Plans what comes after a cursor that has earned a window of `earned` bytes, in requests of at least `part_min` bytes.
    fn plan(&mut self, at: usize, earned: u64, reach: Reach, part_min: u64) -> (Ahead, u64) {
        let share = self.share(at, reach);
        let window = earned.min(share).max(BLOCK);
        let part = match earned < share {
            true => (window / PARTS).next_power_of_two(),
            // One arrives while the other waits.
            false => 1 << (window / 2).max(1).ilog2(),
        };
        let part = part.clamp(BLOCK, reach.part_bytes.max(BLOCK)).max(part_min);
        let ahead = match self.cursors[at].towards {
            Towards::Nowhere => Ahead::none(),
            Towards::End => self.plan_up(at, window, part),
            Towards::Start => self.plan_down(at, window, part),
        };
        (ahead, part)
    }

    /// What a stream may have of the reach: what others have ahead of them, or have left behind, is taken off.
    fn share(&self, at: usize, reach: Reach) -> u64 {
        let others = self.others(at).map(|other| self.read.missing(&other));
        let least = (reach.window_bytes / SHARE_MIN)
            .max(2 * reach.part_bytes)
            .min(reach.window_bytes);
        reach.window_bytes.saturating_sub(others.sum()).max(least)
    }

    /// How far from what it has read a stream is planned at most, whatever its window.
    fn expected(&self, at: usize) -> u64 {
        let longest = self.runs.longest();
        longest.map_or(self.size, |longest| self.cursors[at].expected(longest))
    }

    fn plan_up(&mut self, at: usize, window: u64, part: u64) -> Ahead {
        let size = self.size;
        let cursor = &self.cursors[at];
        let target = round_up(cursor.high.saturating_add(window)).min(size);
        let mut start = cursor.planned.max(round_up(cursor.high)).min(size);
        while let Some(other) = self.another_at(at, |other| other.contains(&start)) {
            start = other.end.min(size);
        }
        let others = self.others(at).map(|other| other.start);
        let limit = others.filter(|&begin| begin > start).min();
        let expected = round_up(cursor.high.saturating_add(self.expected(at)).min(size));
        // What was read is not fetched again, unless this stream shows that it is read again.
        let again = round_up(cursor.high.saturating_add(cursor.again()).min(size));
        let again = self
            .read
            .first_from(start)
            .map_or(target, |read| read.max(again));
        let end = target.min(limit.unwrap_or(target)).min(expected).min(again);
        // Wait until a whole request is due: many small requests would cost more than they gain.
        let is_due = end.saturating_sub(start) >= part.min(window) || end == size || end < target;
        let end = if is_due { end.max(start) } else { start };
        self.cursors[at].planned = end;
        Ahead {
            range: start..end,
            order: Order::Up,
        }
    }

    fn plan_down(&mut self, at: usize, window: u64, part: u64) -> Ahead {
        let cursor = &self.cursors[at];
        let target = round_down(cursor.low.saturating_sub(window));
        let mut end = cursor.planned.min(round_down(cursor.low));
        while let Some(other) = self.another_at(at, |other| other.start < end && end <= other.end) {
            end = other.start;
        }
        let others = self.others(at).map(|other| other.end);
        let limit = others.filter(|&above| above < end).max();
        let expected = round_down(cursor.low.saturating_sub(self.expected(at)));
        let again = round_down(cursor.low.saturating_sub(cursor.again()));
        let again = self
            .read
            .last_before(end)
            .map_or(target, |read| read.min(again));
        let start = target.max(limit.unwrap_or(target)).max(expected).max(again);
        let is_due = end.saturating_sub(start) >= part.min(window) || start == 0 || start > target;
        let start = if is_due { start.min(end) } else { end };
        self.cursors[at].planned = start;
        Ahead {
            range: start..end,
            order: Order::Down,
        }
    }

    /// What lies ahead of the other streams.
    fn others(&self, at: usize) -> impl Iterator<Item = Range<u64>> {
        let others = self.cursors.iter().enumerate();
        let others = others.filter(move |(other, _)| *other != at);
        let outstanding = others.map(|(_, other)| other.outstanding());
        outstanding.filter(|range| !range.is_empty())
    }

    fn another_at(&self, at: usize, is_there: impl Fn(&Range<u64>) -> bool) -> Option<Range<u64>> {
        self.others(at).find(is_there)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.cursors.len()
    }

    /// What lies planned ahead of any stream.
    #[cfg(test)]
    pub(super) fn outstanding(&self) -> Vec<Range<u64>> {
        self.cursors.iter().map(Cursor::outstanding).collect()
    }
}
