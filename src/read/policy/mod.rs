//! What to fetch for a READ, decided from what was read before. Pure: no clock, no lock, no I/O.
//!
//! One [`Pattern`] belongs to one inode and is shared by all its handles: data-loader workers, ranks and forked
//! processes share files, and what looks random on one descriptor is several sequential streams on the inode.
//!
//! The rules, in the order they are tried:
//! 1. A file of at most one block is fetched whole: one request serves every later read.
//! 2. A read that goes on where one of several [`cursor`]s stands is sequential, upwards or downwards. The window of a
//!    stream is a multiple of what it has read, up to the [`Reach`] that link and memory allow at the moment.
//! 3. A read at the start of the file opens a cursor with a window of one block: most files are read from their start, and
//!    most of those that are not read on are looked at for a header.
//! 4. A large read elsewhere fetches whole blocks. If the streams before it ran far, it gets a head start as far as the
//!    shortest of them: a memory-mapped file whose tensors are visited in any order is many short streams.
//! 5. Reads that are equally far apart are a [`strided`] line: their blocks are fetched ahead one by one, unless that were
//!    many times of what is read.
//! 6. Any other read is [`random`]: exactly what was asked is fetched, and a block that was hit several times whole.
//!
//! Nothing is planned twice as long as it lies ahead of some stream: a stream that runs into the blocks of another goes
//! on behind them. What streams have read through is planned again only for one that shows that it reads it again: it lies
//! in the kernel's page cache, and a reader in any order would else fetch behind each piece the start of one it has had.
//!
//! Streams that have ended leave behind what was fetched for them and is not yet read. It counts against the [`Reach`] of the
//! others, and once some have ended, others are planned at most as far as the longest of them went.

mod cursor;
mod random;
mod ranges;
mod runs;
mod strided;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::BLOCK;
use cursor::Cursors;
use random::Touches;
use strided::{Stride, Strides};

/// From here on a read is large: whole blocks are fetched for it, and it may be the start of a stream.
const LARGE_BYTES: u64 = BLOCK / 2;

/// The longest head start of a large read somewhere in the file.
const HEAD_START_MAX: u64 = 16 * BLOCK;

/// How far a stream may reach ahead at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    /// Bytes that it may be ahead of its reader.
    pub(super) window_bytes: u64,
    /// Bytes of one request.
    pub(super) part_bytes: u64,
}

/// In which order the pieces of an [`Ahead`] are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// From the start on.
    Up,
    /// From the end down.
    Down,
    /// Every so many bytes a piece, upwards.
    Every {
        /// From the start of one piece to that of the next.
        stride: u64,
        /// Bytes of one piece.
        len: u64,
    },
}

/// Bytes to fetch ahead, the nearest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ahead {
    /// At block boundaries, or the end of the file; with strides from the first piece to the end of the last.
    pub(super) range: Range<u64>,
    pub(super) order: Order,
}

impl Ahead {
    /// Nothing.
    pub(super) fn none() -> Self {
        Self {
            range: 0..0,
            order: Order::Up,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Takes the nearest bytes off, at most `part` of them where they adjoin.
    pub(super) fn take(&mut self, part: u64) -> Option<Range<u64>> {
        if self.is_empty() {
            return None;
        }
        let Range { start, end } = self.range;
        Some(match self.order {
            Order::Up => {
                self.range.start = (start + part).min(end);
                start..self.range.start
            }
            Order::Down => {
                // Requests begin at multiples of their length from the top, so the last may be short.
                self.range.end = end.div_ceil(BLOCK).saturating_sub(part / BLOCK) * BLOCK;
                self.range.end = self.range.end.max(start);
                self.range.end..end
            }
            Order::Every { stride, len } => {
                self.range.start = (start + stride).min(end);
                start..(start + len).min(end)
            }
        })
    }

    /// Puts back what was taken last.
    pub(super) fn put_back(&mut self, taken: &Range<u64>) {
        match self.order {
            Order::Up | Order::Every { .. } => self.range.start = taken.start,
            Order::Down => self.range.end = taken.end,
        }
    }
}

/// What to do for one READ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// Fetch exactly the range that was asked; no locality is proven.
    Exact,
    /// Fetch whole blocks: those that the READ needs, and those of `ahead`, best in requests of `part` bytes.
    Blocks {
        /// What nobody has asked for yet; may be empty.
        ahead: Ahead,
        /// Bytes of one request.
        part: u64,
        /// The blocks of the READ were planned before: if they are missing, [`Pattern::lost`] wants to know.
        promised: bool,
    },
}

impl Plan {
    /// The blocks of the READ and nothing more.
    fn blocks() -> Self {
        Self::Blocks {
            ahead: Ahead::none(),
            part: BLOCK,
            promised: false,
        }
    }
}

/// How one file is being read.
#[derive(Debug)]
pub(super) struct Pattern {
    size: u64,
    cursors: Cursors,
    strides: Strides,
    touches: Touches,
}

impl Pattern {
    /// A file of `size` bytes of which nothing was read yet.
    pub(super) fn new(size: u64) -> Self {
        Self {
            size,
            cursors: Cursors::new(size),
            strides: Strides::new(size),
            touches: Touches::default(),
        }
    }

    /// Plans for a READ of `range`, which lies within the file and is not empty.
    pub(super) fn plan(&mut self, range: &Range<u64>, reach: Reach) -> Plan {
        debug_assert!(
            range.start < range.end && range.end <= self.size,
            "fs clamps a READ to the file"
        );
        if self.size <= BLOCK {
            return Plan::blocks();
        }
        if let Some(plan) = self.cursors.go_on(range, reach) {
            return plan;
        }
        if range.start == 0 {
            return self.cursors.begin(range, BLOCK, reach);
        }
        let len = range.end - range.start;
        if len >= LARGE_BYTES {
            let run = self.cursors.usual_run().min(HEAD_START_MAX);
            let head_start = run.saturating_sub(len);
            if head_start >= BLOCK {
                return self.cursors.begin(range, head_start, reach);
            }
        }
        let stride = self.strides.go_on(range, reach);
        if let Some(Stride::Dense) = stride {
            return self.cursors.begin(range, 2 * BLOCK, reach);
        }
        // Ranks that begin at equal distances are a line at first, and streams from then on.
        self.cursors.mark(range);
        if let Some(Stride::Sparse(plan)) = stride {
            return plan;
        }
        if len >= LARGE_BYTES || self.touches.touch(range.start / BLOCK) {
            return Plan::blocks();
        }
        Plan::Exact
    }

    /// Blocks that were promised for a READ are missing: memory was short, or the reader was away for long.
    pub(super) fn lost(&mut self, range: &Range<u64>) {
        self.cursors.lost(range);
    }

    /// What is left of a plan was not fetched: the next read plans it anew, and with it what was planned behind it
    /// meanwhile.
    pub(super) fn retract(&mut self, left: &Ahead) {
        if left.is_empty() {
            return;
        }
        match left.order {
            Order::Up | Order::Down => self.cursors.retract(left),
            Order::Every { stride, .. } => self.strides.retract(left.range.start, stride),
        }
    }
}

fn round_up(offset: u64) -> u64 {
    offset.div_ceil(BLOCK) * BLOCK
}

fn round_down(offset: u64) -> u64 {
    offset / BLOCK * BLOCK
}
