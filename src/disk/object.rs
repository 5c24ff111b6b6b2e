//! One version as the cache sees it: not looked for yet, not there, or there.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Inner;
use super::format::Identity;
use super::stored::{BlockRead, Stored, Verdict};
use crate::buffer::Block;

/// Blocks that are read back together while others are still written: soon, for then they come from the page cache and not from
/// the disk, and what is left to do once the object is whole is little.
const CHECKED_TOGETHER: u64 = 32;

/// One version of one object in the cache. All who read the version share it.
///
/// What says that it waits for the disk is for threads that may wait.
#[derive(Debug)]
pub struct Object {
    pub(super) inner: Arc<Inner>,
    pub(super) identity: Identity,
    size: u64,
    state: Mutex<State>,
    /// Held while the files are looked for or made, which takes a while. Taken before `state`, never after it.
    opening: Mutex<()>,
    /// Its content has proven wrong: nothing of it is read or written any more.
    is_discarded: AtomicBool,
    /// It stands in the line of those to be read back.
    pub(super) is_in_line: AtomicBool,
    /// A block was dropped because the disk is slow.
    has_lost: AtomicBool,
    /// Files that are open.
    open: AtomicUsize,
}

#[derive(Debug, Clone)]
enum State {
    Unknown,
    Absent,
    There(Arc<Stored>),
}

impl Object {
    pub(super) fn new(inner: Arc<Inner>, identity: Identity, size: u64) -> Self {
        Self {
            inner,
            identity,
            size,
            state: Mutex::new(State::Unknown),
            opening: Mutex::default(),
            is_discarded: AtomicBool::new(false),
            is_in_line: AtomicBool::new(false),
            has_lost: AtomicBool::new(false),
            open: AtomicUsize::new(0),
        }
    }

    /// True if nobody has looked yet whether it is there.
    #[must_use]
    pub fn needs_look(&self) -> bool {
        matches!(*self.state(), State::Unknown)
    }

    /// True if block `index` is there, as far as is known.
    #[must_use]
    pub fn has(&self, index: u64) -> bool {
        self.stored().is_some_and(|stored| stored.has(index))
    }

    /// CRC-64/XZ of the whole content as OSS announced it, if it is known.
    #[must_use]
    pub fn expected(&self) -> Option<u64> {
        self.stored()?.expected()
    }

    /// The file with all bytes of the object, if they were read back from it and found right.
    #[must_use]
    pub fn sealed(&self) -> Option<Arc<File>> {
        self.stored()?.sealed()
    }

    /// A file is opened. To be followed by [`Object::closed`].
    pub fn opened(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    /// A file is closed. True if it was the last one, and blocks were dropped since this was true before because the disk is slow.
    pub fn closed(&self) -> bool {
        let before = self.open.fetch_sub(1, Ordering::AcqRel);
        before == 1 && self.has_lost.swap(false, Ordering::AcqRel)
    }

    /// True if somebody has a file open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire) > 0
    }

    /// Notes that a block was dropped that the disk could have had.
    pub fn mark_lost(&self) {
        self.has_lost.store(true, Ordering::Release);
    }

    /// True if blocks are missing, but no more than a quarter.
    #[must_use]
    pub fn is_mostly_there(&self) -> bool {
        let stored = self.stored();
        stored.is_some_and(|stored| is_most(stored.count(), stored.blocks()))
    }

    /// The blocks that are not there, as far as is known.
    #[must_use]
    pub fn missing(&self) -> Vec<Range<u64>> {
        self.stored()
            .map_or_else(Vec::new, |stored| stored.missing())
    }

    /// Looks whether it is there, once. Waits for the disk.
    pub fn look(self: &Arc<Self>) {
        let _opening = self.opening();
        if !self.needs_look() {
            return;
        }
        let found = Stored::open(&self.inner.directory, &self.identity, self.size);
        let state = match self.heard(found).flatten() {
            Some(stored) => State::There(Arc::new(stored)),
            None => State::Absent,
        };
        let (is_whole, is_soft) = match &state {
            State::There(stored) => (
                stored.is_complete() && stored.sealed().is_none(),
                stored.needs_hardening(),
            ),
            State::Unknown | State::Absent => (false, false),
        };
        self.set(state);
        if is_whole {
            // Of an earlier run that ended too early, or changed since.
            self.inner.verify_later(self);
        }
        if is_soft {
            self.inner.harden_later(self);
        }
    }

    /// Reads block `index`, gives it to `take` piece by piece, and returns its CRC; `None` if it is not there, or not as it was
    /// written: then the pieces are to be forgotten. Waits for the disk, but never while `take` has a piece.
    pub fn read(&self, index: u64, mut take: impl FnMut(&[u8])) -> Option<u64> {
        let metrics = &self.inner.metrics.disk;
        let mut len = 0;
        let read = match self.stored() {
            Some(stored) => self.heard(stored.read(index, |piece| {
                len += piece.len() as u64;
                take(piece);
            })),
            None => None,
        };
        match read {
            Some(BlockRead::Whole(crc)) => {
                metrics.hits.inc();
                metrics.read_bytes.inc_by(len);
                return Some(crc);
            }
            Some(BlockRead::Bad) => self.found_bad(1),
            Some(BlockRead::Absent) | None => {}
        }
        metrics.misses.inc();
        None
    }

    /// Has a whole block written when the disk comes to it, or drops it. `expected` is the CRC of the whole content.
    pub fn write_later(
        self: &Arc<Self>,
        index: u64,
        block: Arc<Block>,
        crc: u64,
        expected: Option<u64>,
    ) {
        if self.has(index) || self.is_discarded() {
            return;
        }
        self.inner.write_later(super::Write {
            object: Arc::clone(self),
            index,
            block,
            crc,
            expected,
        });
    }

    /// Forgets the version, whose content has proven wrong. Its files go when the disk comes to it.
    pub fn discard(self: &Arc<Self>) {
        if !self.is_discarded.swap(true, Ordering::AcqRel) {
            self.inner.discard_later(self);
        }
    }

    pub(super) fn is_discarded(&self) -> bool {
        self.is_discarded.load(Ordering::Acquire)
    }

    /// Writes a block now; true if it was not there.
    pub(super) fn write(self: &Arc<Self>, write: &super::Write) -> io::Result<bool> {
        let bytes = write.block.get(0..write.block.len());
        let bytes = bytes.ok_or_else(|| io::Error::other("the block is not whole"))?;
        if self.is_discarded() {
            return Ok(false);
        }
        let stored = self.made()?;
        let is_new = stored.write(write.index, bytes, write.crc, write.expected)?;
        // Also if another process had the block: perhaps neither has found it complete by a block of its own.
        let is_due = stored.is_complete() || stored.unchecked() >= CHECKED_TOGETHER;
        if is_due && !stored.is_small() && stored.sealed().is_none() {
            self.inner.verify_later(self);
        }
        Ok(is_new)
    }

    /// The files, made if they are not there.
    fn made(self: &Arc<Self>) -> io::Result<Arc<Stored>> {
        if let Some(stored) = self.stored() {
            return Ok(stored);
        }
        let _opening = self.opening();
        if let Some(stored) = self.stored() {
            return Ok(stored);
        }
        let directory = &self.inner.directory;
        let stored = directory.locked(|| {
            // Another mount may have made them since.
            match Stored::open(directory, &self.identity, self.size)? {
                Some(stored) => Ok(stored),
                None => Stored::create(directory, &self.identity, self.size),
            }
        })?;
        let stored = Arc::new(stored);
        self.set(State::There(Arc::clone(&stored)));
        Ok(stored)
    }

    /// Removes the files.
    pub(super) fn remove(&self) {
        let _opening = self.opening();
        let directory = &self.inner.directory;
        let removed = directory.locked(|| directory.remove(self.identity.id));
        self.heard(removed);
        let before = std::mem::replace(&mut *self.state(), State::Absent);
        if let State::There(stored) = before {
            // Somebody who may not wait may be looking at it for a moment.
            self.inner.close_later(stored);
        }
    }

    /// Reads everything back.
    pub(super) fn verify(self: &Arc<Self>) {
        // Two threads that wrote the last two blocks have both found it complete.
        let Some(stored) = self.stored().filter(|stored| stored.sealed().is_none()) else {
            return;
        };
        match self.heard(stored.verify(|| !self.inner.is_ending())) {
            Some(Verdict::Right) => self.seal(&stored),
            Some(Verdict::SealedByOther) => self.inner.harden_later(self),
            Some(Verdict::Wrong) => {
                tracing::warn!(
                    "an object in the disk cache does not have the checksum that OSS announced; it is dropped"
                );
                self.discard();
            }
            Some(Verdict::Incomplete { bad }) => self.found_bad(bad),
            None => {}
        }
    }

    fn seal(self: &Arc<Self>, stored: &Stored) {
        let sealed = stored.seal(&self.inner.directory);
        if self.heard(sealed).is_some() {
            self.inner.metrics.disk.verified.inc();
            self.inner.harden_later(self);
        } else {
            // Else the next look reads it back from memory, and is not told what the disk has lost.
            self.discard();
        }
    }

    /// True if its seal counts only until the machine is started anew.
    pub(super) fn needs_hardening(&self) -> bool {
        self.stored().is_some_and(|stored| stored.needs_hardening())
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    fn found_bad(&self, blocks: u64) {
        if blocks > 0 {
            self.inner.metrics.disk.bad_blocks.inc_by(blocks);
            tracing::warn!(
                blocks,
                "bytes in the disk cache are not those that were written there; they are fetched again"
            );
        }
    }

    /// An error of the disk is a miss; it is counted, and told the first time.
    fn heard<T>(&self, result: io::Result<T>) -> Option<T> {
        result.map_err(|error| self.inner.heard(&error)).ok()
    }

    fn stored(&self) -> Option<Arc<Stored>> {
        match &*self.state() {
            State::There(stored) if !self.is_discarded() => Some(Arc::clone(stored)),
            State::There(_) | State::Unknown | State::Absent => None,
        }
    }

    fn set(&self, state: State) {
        *self.state() = state;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opening(&self) -> MutexGuard<'_, ()> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True if it is worth fetching what lacks, for the whole is worth more: three quarters are there.
fn is_most(count: u64, blocks: u64) -> bool {
    count < blocks && count >= blocks - blocks / 4
}

impl Drop for Object {
    fn drop(&mut self) {
        // Whoever has done with it may not wait for the disk: closing does.
        let state = std::mem::replace(&mut *self.state(), State::Unknown);
        if let State::There(stored) = state {
            self.inner.close_later(stored);
        }
        // Not before it is counted there.
        self.inner.forget(&self.identity.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_is_three_quarters_and_not_all() {
        for (count, blocks, expected) in [
            (0, 0, false),
            (0, 1, false),
            (1, 2, false),
            (2, 3, false),
            (2, 4, false),
            (3, 4, true),
            (4, 4, false),
            (74, 100, false),
            (75, 100, true),
            (99, 100, true),
        ] {
            assert_eq!(is_most(count, blocks), expected, "{count} of {blocks}");
        }
    }
}
