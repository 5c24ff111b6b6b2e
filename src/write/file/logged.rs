//! The log of a file in the staging directory: which change is told to it, and how.
//!
//! Each change is logged under the lock of the file, a write before it is done, anything else as what the file consists of after it. A change that
//! cannot be logged ends the log, until the file is stored: what follows would be nothing without it.

use std::ops::Range;
use std::sync::Arc;

use super::super::extents::{Place, StagedRange};
use super::super::staging::{Change, From, Identity, Log, Unsure};
use super::fragment::Fragment;
use super::state::{State, Taken};
use crate::buffer::BLOCK_BYTES;
use crate::object::Source;

/// A log may be so much longer than twice what is to be stored before it is written anew.
const WASTE_BYTES_MAX: u64 = 64 << 20;

/// A file of which more is to be stored is not logged anew, for writers wait meanwhile.
const ANEW_BYTES_MAX: u64 = 512 << 20;

/// Staged bytes that one change brings at most (copy_file_range(2) between files that are written): they are copied into the log under the
/// lock of the file.
const COPIED_BYTES_MAX: u64 = 256 << 20;

impl State {
    fn identity(&self) -> Option<Identity> {
        let origin = self.draft.origin();
        let base = origin.map(|id| &*self.draft.bases().get(id).version);
        let generation = self.stored.unwrap_or(0);
        let is = Identity::new(self.key.clone()?, base, generation);
        Some(Identity {
            replaces: self.replaces,
            ..is
        })
    }

    /// A write is about to be done. Returns where its bytes are in the log.
    pub(super) fn log_write(&mut self, offset: u64, bytes: &[u8]) -> Option<StagedRange> {
        self.append(
            self.generation + 1,
            true,
            &Change::Write { at: offset },
            bytes,
        )
    }

    /// A change was done; if it was not logged, no later one is.
    pub(super) fn logged(&mut self, is_logged: bool) {
        let is = if is_logged { None } else { self.identity() };
        let Some(log) = &mut self.log else {
            return;
        };
        if !is_logged {
            log.give_up(is.as_ref());
        }
        let dirty = self.draft.map().dirty_bytes();
        if log.is_longer_than(2 * dirty + WASTE_BYTES_MAX) {
            self.log_anew();
        }
    }

    /// Names bytes of the log as what was written.
    pub(super) fn name_logged(&mut self, logged: &StagedRange) -> Option<Taken> {
        let chunk = self.log.as_ref()?.chunk(logged.chunk)?;
        self.ledger
            .named(logged.chunk, logged.range.end - logged.range.start);
        self.chunks.insert(logged.chunk, chunk);
        Some([Some(logged.clone()), None])
    }

    /// `range` was changed; what it consists of now is logged.
    pub(super) fn log_change(&mut self, range: &Range<u64>) {
        if self.log.is_none() {
            return;
        }
        let len = self.draft.map().len();
        let range = range.start.min(len)..range.end.min(len);
        let is_logged = self.log_content(&Change::Length(len), &range).is_some();
        self.logged(is_logged);
    }

    /// Logs what `range` consists of, behind another record. `None` if not all of it was.
    fn log_content(&mut self, first: &Change, range: &Range<u64>) -> Option<()> {
        let fragments = self.fragments(self.draft.map(), range.clone()).ok()?;
        let staged = fragments.iter().map(|fragment| match fragment {
            Fragment::Staged(staged) => staged.len(),
            Fragment::Zeros(_) | Fragment::Object(_) => 0,
        });
        if staged.sum::<u64>() > COPIED_BYTES_MAX {
            return None;
        }
        let generation = self.generation;
        self.append(generation, fragments.is_empty(), first, &[])?;
        let mut at = range.start;
        for (index, fragment) in fragments.iter().enumerate() {
            let is_last = index + 1 == fragments.len();
            let end = at + fragment.len();
            match fragment {
                Fragment::Staged(staged) => {
                    let mut done = 0;
                    while done < staged.len() {
                        let bytes = (staged.len() - done).min(BLOCK_BYTES as u64);
                        let mut piece = vec![0; usize::try_from(bytes).ok()?];
                        staged.copy_to(done, &mut piece).ok()?;
                        let change = Change::Write { at: at + done };
                        done += bytes;
                        let is_last = is_last && done == staged.len();
                        self.append(generation, is_last, &change, &piece)?;
                    }
                }
                Fragment::Zeros(_) => {
                    self.append(generation, is_last, &Change::Zeros(at..end), &[])?;
                }
                Fragment::Object(source) => {
                    self.append(generation, is_last, &copy(at, source), &[])?;
                }
            }
            at = end;
        }
        Some(())
    }

    fn append(
        &mut self,
        generation: u64,
        is_last: bool,
        change: &Change,
        bytes: &[u8],
    ) -> Option<StagedRange> {
        // Taken out for the moment: it asks what the file is, if this is its first record.
        let mut log = self.log.take()?;
        let before = || self.identity();
        let logged = log.append(before, generation, is_last, change, bytes);
        self.log = Some(log);
        logged
    }

    /// Writes the log anew: what the file consists of, without what was overwritten. Bytes that are read from the log are named at their new place.
    fn log_anew(&mut self) {
        let totals = self.draft.map().totals();
        if self.is_committing || totals.uploaded > 0 || totals.staged > ANEW_BYTES_MAX {
            return;
        }
        let Some(rest) = self.log.as_mut().and_then(Log::begin_anew) else {
            return;
        };
        let moved = self.log_all();
        let is_whole = moved.is_some();
        for (at, range) in moved.into_iter().flatten() {
            if self.name_logged(&range).is_some() {
                self.draft.moved(at, &range);
            }
        }
        if let Some(log) = &mut self.log {
            log.began(rest, is_whole);
        }
        self.release();
    }

    /// Logs the whole file. Returns where bytes are that are in no memory.
    fn log_all(&mut self) -> Option<Vec<(u64, StagedRange)>> {
        let (len, generation) = (self.draft.map().len(), self.generation);
        self.append(generation, false, &Change::Anew, &[])?;
        let mut moved = Vec::new();
        let pieces: Vec<_> = self.draft.map().pieces(0..len).collect();
        for piece in pieces {
            match piece.place {
                // As it begins.
                Place::Base { base, offset }
                    if Some(base) == self.draft.origin() && offset == piece.range.start => {}
                Place::Base { base, offset } => {
                    let version = Arc::clone(&self.draft.bases().get(base).version);
                    let range = offset..offset + piece.bytes();
                    let source = Source { version, range };
                    self.append(generation, false, &copy(piece.range.start, &source), &[])?;
                }
                Place::Zeros => {
                    let change = Change::Zeros(piece.range.clone());
                    self.append(generation, false, &change, &[])?;
                }
                Place::Staged { chunk, offset } => {
                    let chunk = Arc::clone(self.chunks.get(&chunk)?);
                    let mut done = 0;
                    while done < piece.bytes() {
                        let bytes = (piece.bytes() - done).min(BLOCK_BYTES as u64);
                        let mut content = vec![0; usize::try_from(bytes).ok()?];
                        chunk.copy_to(offset + done, &mut content).ok()?;
                        let at = piece.range.start + done;
                        let change = Change::Write { at };
                        let range = self.append(generation, false, &change, &content)?;
                        if !chunk.is_in_memory() {
                            moved.push((at, range));
                        }
                        done += bytes;
                    }
                }
                Place::Uploaded { .. } => return None,
            }
        }
        self.append(generation, true, &Change::Length(len), &[])?;
        Some(moved)
    }

    /// A commit begins.
    pub(in crate::write) fn log_sealed(&mut self) {
        if let Some(log) = &mut self.log {
            log.seal();
        }
    }

    /// A commit is about to ask for what cannot be taken back, or what it has asked for has surely had no effect.
    pub(in crate::write) fn log_unsure(&mut self, generation: u64) {
        let unsure = self.unsure.as_ref().map(|unsure| Unsure {
            generation,
            bytes: unsure.bytes,
            crc64: unsure.crc64,
        });
        if let Some(restoring) = &mut self.restoring {
            restoring.unsure(unsure.as_ref());
        }
        if let Some(log) = &mut self.log {
            log.unsure(unsure);
        }
    }

    /// The file is stored, as it was after the change `stored`.
    pub(in crate::write) fn log_stored(&mut self) {
        let (is, generation) = (self.identity(), self.generation);
        if let (Some(log), Some(is)) = (&mut self.log, is) {
            log.committed(&is, generation);
        }
    }

    /// It has another key.
    pub(super) fn log_renamed(&mut self) {
        let is = self.identity();
        if let (Some(log), Some(is)) = (&mut self.log, is) {
            log.renamed(&is);
        }
    }

    /// It is to be found no more: it has lost its name, or is stored.
    pub(super) fn log_removed(&mut self) {
        if let Some(mut log) = self.log.take() {
            log.remove();
        }
    }
}

fn copy(at: u64, source: &Source) -> Change {
    Change::Copy {
        at,
        offset: source.range.start,
        bytes: source.len(),
        from: From {
            key: source.version.key().as_str().to_owned(),
            etag: source.version.etag().as_str().to_owned(),
            size: source.version.size(),
        },
    }
}
