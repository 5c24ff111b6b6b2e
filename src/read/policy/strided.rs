//! Reads that are equally far apart: columns, records with gaps, every n-th sample.

use std::ops::Range;

use super::cursor::reach_past;
use super::{Ahead, Order, Plan, Reach, round_down, round_up};
use crate::read::BLOCK;

/// Starts of reads among which equal distances are looked for: so many lines may be interleaved, less two.
const RECENT_READS: usize = 8;

/// Lines that are told apart.
const LINES_MAX: usize = 8;

/// A read up to so many strides before or after the expected one belongs to the line too: several threads share it.
const SKIPS_MAX: u64 = 4;

/// Blocks are fetched ahead only if that is at most so many times of what is read. 128 KiB of every block are, 64 KiB are
/// not: of those each read fetches exactly its bytes.
const AMPLIFICATION_MAX: u64 = 8;

/// The farthest that a line is fetched ahead, in pieces.
const DEPTH_MAX: u64 = 32;

/// One line of reads.
#[derive(Debug, Clone)]
struct Line {
    /// The start of the read that is expected next.
    next: u64,
    stride: u64,
    /// The first piece that was not planned yet; never before `next`.
    planned: u64,
    /// Pieces to stay ahead.
    depth: u64,
    used: u64,
}

/// What a read of a line is.
#[derive(Debug)]
pub(super) enum Stride {
    /// So dense that it is a stream with gaps.
    Dense,
    /// A line of single pieces.
    Sparse(Plan),
}

/// The lines of one file.
#[derive(Debug)]
pub(super) struct Strides {
    size: u64,
    /// The oldest first.
    recent: Vec<u64>,
    lines: Vec<Line>,
    reads: u64,
}

impl Strides {
    pub(super) fn new(size: u64) -> Self {
        Self {
            size,
            recent: Vec::new(),
            lines: Vec::new(),
            reads: 0,
        }
    }

    /// Plans for a read that belongs to a line; `None` if it belongs to none.
    pub(super) fn go_on(&mut self, range: &Range<u64>, reach: Reach) -> Option<Stride> {
        self.reads += 1;
        let Some(at) = self.line_of(range.start) else {
            self.look_for_line(range.start);
            self.remember(range.start);
            return None;
        };
        self.remember(range.start);
        let size = self.size;
        let line = &mut self.lines[at];
        line.used = self.reads;
        line.next = line.next.max(range.start.saturating_add(line.stride));
        line.planned = line.planned.max(line.next);
        let len = range.end - range.start;
        if line.stride <= len + reach_past(len) {
            self.lines.swap_remove(at);
            return Some(Stride::Dense);
        }
        let touched = round_up(range.end) - round_down(range.start);
        if touched > AMPLIFICATION_MAX * len {
            return Some(Stride::Sparse(Plan::Exact));
        }
        let room = reach.window_bytes / touched.max(1);
        line.depth = (2 * line.depth).min(DEPTH_MAX).min(room.max(1));
        let until = line.stride.saturating_mul(line.depth);
        let until = line.next.saturating_add(until).min(size);
        let first = line.planned;
        if first >= until {
            return Some(Stride::Sparse(Plan::blocks()));
        }
        let pieces = (until - first).div_ceil(line.stride);
        line.planned = first.saturating_add(pieces * line.stride);
        let last = first + (pieces - 1) * line.stride;
        let ahead = Ahead {
            range: first..last.saturating_add(len).min(size),
            order: Order::Every {
                stride: line.stride,
                len,
            },
        };
        Some(Stride::Sparse(Plan::Blocks {
            ahead,
            part: BLOCK,
            promised: false,
        }))
    }

    /// The pieces from `start` on were not fetched.
    pub(super) fn retract(&mut self, start: u64, stride: u64) {
        for line in &mut self.lines {
            let is_of_line = line.stride == stride
                && start < line.planned
                && (line.planned - start).is_multiple_of(stride);
            if is_of_line {
                line.planned = start;
            }
        }
    }

    /// The line that a read at `start` belongs to.
    fn line_of(&self, start: u64) -> Option<usize> {
        self.lines.iter().position(|line| {
            let off = line.next.abs_diff(start);
            off.is_multiple_of(line.stride) && off / line.stride <= SKIPS_MAX
        })
    }

    /// Three reads at equal distances, upwards, are a line.
    fn look_for_line(&mut self, start: u64) {
        let stride = self.recent.iter().rev().find_map(|&before| {
            let stride = start.checked_sub(before).filter(|&stride| stride > 0)?;
            let first = before.checked_sub(stride)?;
            self.recent.contains(&first).then_some(stride)
        });
        let Some(stride) = stride else { return };
        if self.lines.len() == LINES_MAX {
            let coldest = (0..LINES_MAX).min_by_key(|&at| self.lines[at].used);
            self.lines.swap_remove(coldest.unwrap_or(0));
        }
        let next = start.saturating_add(stride);
        self.lines.push(Line {
            next,
            stride,
            planned: next,
            depth: 1,
            used: self.reads,
        });
    }

    fn remember(&mut self, start: u64) {
        if self.recent.len() == RECENT_READS {
            self.recent.remove(0);
        }
        self.recent.push(start);
    }
}
