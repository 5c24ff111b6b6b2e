//! Changes of a file: at once where there is room, else when there is.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::super::bases::Base;
use super::super::error::{Error, NeedsRoom};
use super::super::extents::Fallocate;
use super::super::limits::FILE_BYTES_MAX;
use super::super::writer::FETCH_BYTES_MAX;
use super::{File, State};
use crate::buffer::BLOCK_BYTES;
use crate::op::Op;

impl File {
    /// Writes bytes, at most [`BLOCK_BYTES`], into memory or a staging file: at once, without asking OSS. A gap before them
    /// becomes a hole.
    ///
    /// # Errors
    /// [`NeedsRoom`]: nothing has changed; [`File::write`] waits for it.
    ///
    /// # Panics
    /// If there are more bytes.
    pub fn try_write(self: &Arc<Self>, offset: u64, bytes: &[u8]) -> Result<(), NeedsRoom> {
        assert!(
            bytes.len() <= BLOCK_BYTES,
            "a WRITE has at most {BLOCK_BYTES} bytes"
        );
        let range = offset..offset.checked_add(bytes.len() as u64).ok_or(NeedsRoom)?;
        if range.end > FILE_BYTES_MAX {
            return Err(NeedsRoom);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let mut state = self.lock();
        if state.numbers_spent || state.cuts_let_go(&range) {
            return Err(NeedsRoom);
        }
        state
            .write(&self.writer.staging, offset, bytes)
            .ok_or(NeedsRoom)?;
        self.writer
            .metrics
            .write
            .written_bytes
            .inc_by(bytes.len() as u64);
        self.seal_full(&mut state, range.start);
        Ok(())
    }

    /// Takes bytes, at most [`BLOCK_BYTES`], into staging that an object has of the file: it is what it was, and has nothing more to be stored. For
    /// who has its turn and has frozen it.
    ///
    /// # Errors
    /// [`NeedsRoom`]: nothing has changed.
    pub fn try_keep(&self, offset: u64, bytes: &[u8]) -> Result<(), NeedsRoom> {
        let mut state = self.lock();
        state
            .keep(&self.writer.staging, offset, bytes)
            .ok_or(NeedsRoom)
    }

    /// Writes bytes, and waits until there is room for them: as long as anything is on its way up that would make some.
    ///
    /// # Errors
    /// [`Error::NoRoom`], or what has kept a part from being sent, if nothing is; [`Error::TooLong`]; those of [`File::commit`] if bytes are
    /// overwritten in part that only the upload has. What was written before the error counts: pieces of [`BLOCK_BYTES`].
    pub async fn write(self: &Arc<Self>, op: &Op, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > FILE_BYTES_MAX) {
            return Err(self.too_long());
        }
        let mut at = offset;
        for piece in bytes.chunks(BLOCK_BYTES) {
            let range = at..at + piece.len() as u64;
            let began = Instant::now();
            let mut has_waited = false;
            loop {
                // Before the attempt: what is freed after it wakes this.
                let freed = self.writer.staging.space().freed().notified();
                tokio::pin!(freed);
                freed.as_mut().enable();
                if self.try_write(at, piece).is_ok() {
                    break;
                }
                if self.must_commit(&range) {
                    self.uncut(op, &range).await?;
                    continue;
                }
                if !std::mem::replace(&mut has_waited, true) {
                    self.writer.metrics.write.waits.inc();
                }
                self.wait_for_room(op, piece.len() as u64, began, freed)
                    .await?;
            }
            at = range.end;
        }
        Ok(())
    }

    /// Cuts the file off, or makes it longer by a hole: at once.
    ///
    /// # Errors
    /// [`NeedsRoom`]: nothing has changed; [`File::truncate`] does it.
    pub fn try_truncate(self: &Arc<Self>, len: u64) -> Result<(), NeedsRoom> {
        if len > FILE_BYTES_MAX {
            return Err(NeedsRoom);
        }
        self.try_change(&(len..u64::MAX), |state| state.draft.truncate(len))
    }

    /// Cuts the file off, or makes it longer by a hole (ftruncate(2)).
    ///
    /// # Errors
    /// [`Error::TooLong`], and those of [`File::commit`] if bytes are cut that only the upload has.
    pub async fn truncate(self: &Arc<Self>, op: &Op, len: u64) -> Result<(), Error> {
        if len > FILE_BYTES_MAX {
            return Err(self.too_long());
        }
        self.change(op, len..u64::MAX, |state| state.draft.truncate(len))
            .await
    }

    /// fallocate(2). Nothing is reserved: see [`Fallocate`].
    ///
    /// # Errors
    /// As [`File::truncate`].
    pub async fn fallocate(
        self: &Arc<Self>,
        op: &Op,
        mode: Fallocate,
        range: Range<u64>,
    ) -> Result<(), Error> {
        if range.end > FILE_BYTES_MAX {
            return Err(self.too_long());
        }
        match mode {
            Fallocate::AllocateKeepSize => Ok(()),
            Fallocate::Allocate if range.end <= self.len() => Ok(()),
            Fallocate::Allocate => self.truncate(op, range.end).await,
            Fallocate::PunchHole | Fallocate::ZeroRange | Fallocate::ZeroRangeKeepSize => {
                let edit = |state: &mut State| state.draft.fallocate(mode, range.clone());
                self.change(op, range.clone(), edit).await
            }
        }
    }

    /// Copies a range of an object to `at` (copy_file_range(2)): no byte moves before the commit, and few do then.
    ///
    /// # Errors
    /// As [`File::truncate`].
    pub async fn copy_object(
        self: &Arc<Self>,
        op: &Op,
        at: u64,
        from: Base,
        range: Range<u64>,
    ) -> Result<(), Error> {
        let range = range.start..range.end.min(from.version.size());
        if range.is_empty() {
            return Ok(());
        }
        let to = at..at.saturating_add(range.end - range.start);
        if to.end > FILE_BYTES_MAX {
            return Err(self.too_long());
        }
        self.change(op, to, |state| {
            state.draft.copy_object(at, from.clone(), range.clone());
        })
        .await
    }

    /// Copies a range of a file that is being written, of this one too, to `at` (copy_file_range(2)). Staged bytes are shared. Returns how many
    /// bytes were copied: those that lie before the end of the source.
    ///
    /// # Errors
    /// As [`File::truncate`], of either file.
    pub async fn copy_file(
        self: &Arc<Self>,
        op: &Op,
        at: u64,
        from: &Arc<Self>,
        range: Range<u64>,
    ) -> Result<u64, Error> {
        loop {
            let end = range.end.min(from.len());
            let bytes = end.saturating_sub(range.start);
            if bytes == 0 {
                return Ok(0);
            }
            let to = at..at.saturating_add(bytes);
            if to.end > FILE_BYTES_MAX {
                return Err(self.too_long());
            }
            // What is copied is taken as it is at one moment, under its own lock only.
            let (copied, chunks) = {
                let from = from.lock();
                (from.draft.clone(), from.chunks.clone())
            };
            let mut is_only_uploaded = false;
            let is_same = Arc::ptr_eq(self, from);
            let from_range = range.start..end;
            self.change(op, to, |state| {
                let named = match is_same {
                    true => state.draft.copy_within(at, from_range.clone()),
                    false => state.draft.copy(at, &copied, from_range.clone()),
                };
                match named {
                    Ok(named) => state.share(&named, &chunks),
                    Err(_) => is_only_uploaded = true,
                }
            })
            .await?;
            if !is_only_uploaded {
                return Ok(bytes);
            }
            from.materialise(op).await?;
        }
    }

    /// Makes bytes readable again that only the upload has: the file is stored as it is now, as if fsync(2) had been called.
    ///
    /// Parts of an upload cannot be read, nor copied from, before it is completed, and it is completed to the name of the file; so this is the
    /// one way that shows nobody bytes which the file never consisted of.
    ///
    /// # Errors
    /// Those of [`File::commit`].
    pub async fn materialise(self: &Arc<Self>, op: &Op) -> Result<(), Error> {
        self.writer.metrics.write.early_commits.inc();
        self.commit(op).await.map(|_| ())
    }

    async fn change(
        self: &Arc<Self>,
        op: &Op,
        range: Range<u64>,
        mut edit: impl FnMut(&mut State) + Send,
    ) -> Result<(), Error> {
        while self.try_change(&range, &mut edit).is_err() {
            self.uncut(op, &range).await?;
        }
        Ok(())
    }

    /// Stores the file, so that `range` can be changed.
    ///
    /// If that must fail until other bytes are written again which a lost upload had, what the change would cut off is lost with them: else the file
    /// could never be written again from one end to the other.
    async fn uncut(self: &Arc<Self>, op: &Op, range: &Range<u64>) -> Result<(), Error> {
        match self.materialise(op).await {
            Err(Error::UploadGone(_)) if self.lose_cut(range) => Ok(()),
            done => done,
        }
    }

    /// False if nothing was lost: it can still be stored.
    fn lose_cut(&self, range: &Range<u64>) -> bool {
        let mut state = self.lock();
        let is_cut = state.cuts_let_go(range) && state.draft.has_lost();
        if is_cut {
            let bytes = state.draft.lose_cut(range);
            tracing::error!(
                key = ?state.key,
                bytes,
                "more bytes of a file are lost whose upload is gone: they lay only in a part of which some are written again"
            );
        }
        is_cut
    }

    /// A change that takes no room.
    fn try_change(
        self: &Arc<Self>,
        range: &Range<u64>,
        edit: impl FnOnce(&mut State),
    ) -> Result<(), NeedsRoom> {
        let mut state = self.lock();
        if state.cuts_let_go(range) {
            return Err(NeedsRoom);
        }
        edit(&mut state);
        state.generation += 1;
        state.log_change(range);
        state.release();
        Ok(())
    }

    /// True if a change has to wait for a commit, not for room.
    fn must_commit(&self, range: &Range<u64>) -> bool {
        let state = self.lock();
        state.numbers_spent || state.cuts_let_go(range)
    }

    fn too_long(&self) -> Error {
        Error::TooLong(self.key())
    }
}

const _: () = assert!(FETCH_BYTES_MAX == BLOCK_BYTES as u64);
