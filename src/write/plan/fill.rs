//! What lies between two parts that are kept: which ranges of it are copied, and which are sent.
//!
//! Unchanged ranges that are long enough are copied, the longest ones if there are more than numbers. What lies between
//! them is sent. A range to be sent that is shorter than the least part takes bytes from the
//! copy beside it, and all of that copy if it would become too short itself. Both are cut into parts of a comfortable size,
//! which is doubled while there are not numbers enough; if the largest parts are too many, the shortest copies are sent instead.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;

use super::super::bases::{Bases, Copying};
use super::super::extents::{ExtentMap, Place};
use super::super::limits::{Limits, PART_BYTES_MAX, PART_BYTES_MIN, PartNumber};
use super::{Make, Step};

/// What is to be filled, and with which numbers.
pub(super) struct Gap<'a> {
    pub(super) map: &'a ExtentMap,
    pub(super) bases: &'a Bases,
    pub(super) limits: &'a Limits,
    pub(super) range: Range<u64>,
    pub(super) numbers: Range<u16>,
}

/// A range that is copied or sent, before it is cut into parts.
#[derive(Debug, Clone)]
struct Span {
    range: Range<u64>,
    make: Make,
}

impl Span {
    fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn is_copy(&self) -> bool {
        self.make != Make::Upload
    }

    /// How its bytes from the one at `at` on are made.
    fn make_at(&self, at: u64) -> Make {
        match self.make {
            Make::Copy { base, offset } => Make::Copy {
                base,
                offset: offset + (at - self.range.start),
            },
            Make::Keep | Make::Upload => self.make,
        }
    }
}

impl Gap<'_> {
    /// The steps; `None` if there are too few numbers, or the gap is too short for a part.
    ///
    /// # Errors
    /// The ranges that lie only in parts of the upload.
    pub(super) fn fill(&self) -> Result<Option<Vec<Step>>, Vec<Range<u64>>> {
        if self.range.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let mut copies = self.copies(self.numbers.len())?;
        loop {
            let spans = self.layout(&copies);
            let excess = match self.cut(&spans) {
                Ok(steps) => return Ok(Some(steps)),
                Err(_) if copies.is_empty() => return Ok(None),
                Err(excess) => usize::try_from(excess).unwrap_or(usize::MAX),
            };
            // Each copy that is given up spares two parts, or none if others are beside it.
            let fewer = (excess / 2).max(copies.len() / 16).max(1);
            copies.sort_unstable_by_key(|copy| Reverse(copy.bytes()));
            copies.truncate(copies.len().saturating_sub(fewer));
            copies.sort_unstable_by_key(|copy| copy.range.start);
        }
    }

    /// The `most` longest ranges that can be copied, in order.
    fn copies(&self, most: usize) -> Result<Vec<Span>, Vec<Range<u64>>> {
        let mut longest = BinaryHeap::new();
        let mut uploaded = Vec::new();
        for piece in self.map.pieces(self.range.clone()) {
            match piece.place {
                Place::Uploaded { .. } => uploaded.push(piece.range),
                Place::Base { base, offset } => {
                    let bytes = piece.bytes();
                    let is_copied = self.bases.get(base).copying == Copying::Ranges;
                    if is_copied && bytes >= self.limits.copy_bytes_min.max(PART_BYTES_MIN) {
                        longest.push(Reverse((bytes, piece.range.start, base, offset)));
                    }
                    if longest.len() > most {
                        longest.pop();
                    }
                }
                Place::Staged { .. } | Place::Zeros => {}
            }
        }
        if !uploaded.is_empty() {
            return Err(uploaded);
        }
        let span = |Reverse((bytes, start, base, offset))| Span {
            range: start..start + bytes,
            make: Make::Copy { base, offset },
        };
        let mut copies: Vec<_> = longest.into_iter().map(span).collect();
        copies.sort_unstable_by_key(|copy| copy.range.start);
        Ok(copies)
    }

    /// The copies, and what is sent between them; nothing is shorter than the least part but the file's last.
    fn layout(&self, copies: &[Span]) -> Vec<Span> {
        let upload = |range| Span {
            range,
            make: Make::Upload,
        };
        let mut left = VecDeque::new();
        let mut at = self.range.start;
        for copy in copies {
            if at < copy.range.start {
                left.push_back(upload(at..copy.range.start));
            }
            at = copy.range.end;
            left.push_back(copy.clone());
        }
        if at < self.range.end {
            left.push_back(upload(at..self.range.end));
        }
        let mut spans: Vec<Span> = Vec::new();
        while let Some(mut span) = left.pop_front() {
            let is_last = span.range.end == self.map.len();
            let bytes = span.bytes();
            if span.is_copy() || is_last || bytes >= PART_BYTES_MIN {
                spans.push(span);
                continue;
            }
            // The spans beside what is sent are copies.
            let lacks = PART_BYTES_MIN - bytes;
            let before = spans.last().map_or(0, Span::bytes);
            let after = left.front().map_or(0, Span::bytes);
            if before.max(after) >= PART_BYTES_MIN + lacks {
                match (spans.last_mut(), left.front_mut()) {
                    (Some(copy), _) if before >= after => {
                        copy.range.end -= lacks;
                        span.range.start -= lacks;
                    }
                    (_, Some(copy)) => {
                        copy.make = copy.make_at(copy.range.start + lacks);
                        copy.range.start += lacks;
                        span.range.end += lacks;
                    }
                    _ => {}
                }
                spans.push(span);
            } else if after == 0 && before == 0 {
                spans.push(span);
            } else {
                if after == 0 || (0 < before && before < after) {
                    span.range.start -= before;
                    spans.pop();
                    if let Some(sent) = spans.pop_if(|span| !span.is_copy()) {
                        span.range.start = sent.range.start;
                    }
                } else {
                    span.range.end += after;
                    left.pop_front();
                    if left.front().is_some_and(|span| !span.is_copy()) {
                        span.range.end += left.pop_front().map_or(0, |sent| sent.bytes());
                    }
                }
                left.push_front(span);
            }
        }
        spans
    }

    /// The spans as parts.
    ///
    /// # Errors
    /// How many numbers are missing, or 0 if a span is too short for a part.
    fn cut(&self, spans: &[Span]) -> Result<Vec<Step>, u64> {
        let is_part =
            |span: &Span| span.bytes() >= PART_BYTES_MIN || span.range.end == self.map.len();
        if !spans.iter().all(is_part) {
            return Err(0);
        }
        let least = 2 * PART_BYTES_MIN;
        let mut upload = self.limits.upload_bytes.clamp(least, PART_BYTES_MAX);
        let mut copy = self.limits.copy_part_bytes.clamp(least, PART_BYTES_MAX);
        let numbers = self.numbers.len() as u64;
        let parts = |span: &Span, upload: u64, copy: u64| {
            let part = if span.is_copy() { copy } else { upload };
            span.bytes().div_ceil(part)
        };
        loop {
            let count: u64 = spans.iter().map(|span| parts(span, upload, copy)).sum();
            if count <= numbers {
                break;
            }
            if upload == PART_BYTES_MAX && copy == PART_BYTES_MAX {
                return Err(count - numbers);
            }
            upload = (2 * upload).min(PART_BYTES_MAX);
            copy = (2 * copy).min(PART_BYTES_MAX);
        }
        let cuts = spans.iter().flat_map(|span| {
            let count = parts(span, upload, copy);
            let at = move |part| span.range.start + span.bytes() * part / count;
            (0..count).map(move |part| (span, at(part)..at(part + 1)))
        });
        let numbers = self.numbers.clone().filter_map(PartNumber::new);
        let steps = numbers.zip(cuts).map(|(number, (span, range))| Step {
            number,
            make: span.make_at(range.start),
            range,
        });
        Ok(steps.collect())
    }
}
