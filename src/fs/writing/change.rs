//! write, truncate, fallocate, copy_file_range, lseek.

use std::ops::Range;
use std::sync::Arc;

use super::{Written, base_of};
use crate::fs::files::Content;
use crate::fs::{Attributes, Error, FileSystem};
use crate::op::Op;
use crate::tree::Ino;
use crate::write::{self, Access, Fallocate, HandleId, NeedsRoom, Process};

/// In whose name bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteBy {
    /// This process; `None` if it cannot be known.
    Process(Option<Process>),
    /// Nobody's: the kernel writes back what was written through a mapping.
    Mapping,
}

/// What lseek(2) looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// `SEEK_DATA`.
    Data,
    /// `SEEK_HOLE`.
    Hole,
}

impl FileSystem {
    /// What a handle writes to.
    fn writable(&self, handle: u64) -> Result<Arc<Written>, Error> {
        let (_, content, access) = self.handle(handle)?;
        match content {
            Content::Written(written) if access == Access::Write => Ok(written),
            Content::Written(_) | Content::Stored(_) => Err(Error::BadHandle),
        }
    }

    /// Writes bytes at once, if there is room for them.
    ///
    /// # Errors
    /// [`Error::BadHandle`]. Within it, [`NeedsRoom`]: nothing has changed, [`FileSystem::write`] waits.
    pub fn try_write(
        &self,
        handle: u64,
        offset: u64,
        bytes: &[u8],
        by: WriteBy,
    ) -> Result<Result<(), NeedsRoom>, Error> {
        let written = self.writable(handle)?;
        if let Err(needs_room) = written.file.try_write(offset, bytes) {
            return Ok(Err(needs_room));
        }
        self.note_write(&written, handle, by);
        Ok(Ok(()))
    }

    /// Writes bytes when there is room for them.
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::NoSpace`] if nothing would make room, [`Error::FileTooLarge`], or what keeps the bytes from being sent.
    pub async fn write(
        &self,
        op: &Op,
        handle: u64,
        offset: u64,
        bytes: &[u8],
        by: WriteBy,
    ) -> Result<(), Error> {
        let written = self.writable(handle)?;
        let done = written.file.write(op, offset, bytes).await;
        // Also what came before an error is written, and the file may have been stored on the way.
        self.note_write(&written, handle, by);
        self.tell(&written, None);
        done.map_err(|error| self.unwritten(error))
    }

    fn note_write(&self, written: &Written, handle: u64, by: WriteBy) {
        {
            let mut holders = written.holders();
            match by {
                WriteBy::Process(process) => holders.wrote(HandleId(handle), process),
                WriteBy::Mapping => holders.wrote_back(),
            }
        }
        self.wrote(written);
    }

    /// Sets the size of a file, through a handle or by its name. By its name, and with nobody who writes it, it is stored at once; open(2) with
    /// O_TRUNC comes here, too, with its handle open already, and stores nothing before the close that follows.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Denied`], [`Error::FileTooLarge`], [`Error::Stale`], or what OSS says.
    pub async fn truncate(
        self: &Arc<Self>,
        op: &Op,
        ino: Ino,
        handle: Option<u64>,
        len: u64,
        by: Option<Process>,
    ) -> Result<Attributes, Error> {
        self.may_write()?;
        let written = self.pin(ino)?;
        let done = written.file.truncate(op, len).await;
        self.tell(&written, None);
        done.map_err(|error| self.unwritten(error))?;
        self.wrote(&written);
        let is_open = {
            let mut holders = written.holders();
            match handle {
                Some(handle) => holders.wrote(HandleId(handle), by),
                None => holders.truncated(by),
            }
            holders.is_open_for_writing()
        };
        if !is_open {
            self.commit(op, &written).await?;
        }
        self.attributes_now(ino)
    }

    /// fallocate(2).
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::NotSupported`] of the mode, [`Error::FileTooLarge`], or what OSS says.
    pub async fn fallocate(
        &self,
        op: &Op,
        handle: u64,
        mode: i32,
        range: Range<u64>,
        by: Option<Process>,
    ) -> Result<(), Error> {
        let written = self.writable(handle)?;
        let mode = u32::try_from(mode).ok().and_then(Fallocate::of_mode);
        let mode = mode.ok_or(Error::NotSupported)?;
        let done = written.file.fallocate(op, mode, range).await;
        self.tell(&written, None);
        done.map_err(|error| self.unwritten(error))?;
        if mode != Fallocate::AllocateKeepSize {
            self.note_write(&written, handle, WriteBy::Process(by));
        }
        Ok(())
    }

    /// copy_file_range(2): no byte passes through this process, and few go to OSS. Returns how many bytes were copied.
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::FileTooLarge`], or what OSS says.
    pub async fn copy_range(
        &self,
        op: &Op,
        (from, range): (u64, Range<u64>),
        (to, at): (u64, u64),
        by: Option<Process>,
    ) -> Result<u64, Error> {
        let (ino, source, _) = self.handle(from)?;
        let written = self.writable(to)?;
        let copied = match source {
            Content::Stored(file) => {
                let base = base_of(&self.tree(), ino, Arc::clone(file.version()));
                let end = range.end.min(base.version.size());
                let bytes = end.saturating_sub(range.start);
                let copied = written.file.copy_object(op, at, base, range);
                copied.await.map(|()| bytes)
            }
            Content::Written(source) => {
                let copied = written.file.copy_file(op, at, &source.file, range).await;
                self.tell(&source, None);
                copied
            }
        };
        self.tell(&written, None);
        let copied = copied.map_err(|error| self.unwritten(error))?;
        if copied > 0 {
            self.note_write(&written, to, WriteBy::Process(by));
        }
        Ok(copied)
    }

    /// Where data or a hole is next, at or behind `offset`. An object has no holes but its end.
    ///
    /// # Errors
    /// [`Error::BadHandle`]; [`Error::NoSuchOffset`] behind the end, or if no data follows.
    pub fn seek(&self, handle: u64, offset: u64, what: Seek) -> Result<u64, Error> {
        let (_, content, _) = self.handle(handle)?;
        let found = match (content, what) {
            (Content::Written(written), Seek::Data) => written.file.seek_data(offset),
            (Content::Written(written), Seek::Hole) => written.file.seek_hole(offset),
            (Content::Stored(file), what) => {
                let size = file.version().size();
                (offset < size).then_some(match what {
                    Seek::Data => offset,
                    Seek::Hole => size,
                })
            }
        };
        found.ok_or(Error::NoSuchOffset)
    }

    /// An error of writing, noted where it tells of a missing right.
    pub(super) fn unwritten(&self, error: write::Error) -> Error {
        if let write::Error::Oss(error) = &error {
            self.capabilities.refused(error);
        }
        error.into()
    }
}
