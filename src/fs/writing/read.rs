//! Reading what is written: staged bytes, zeros, and ranges of objects.

use std::ops::Range;
use std::sync::Arc;

use super::{Held, SOURCES_MAX, Written};
use crate::fs::files::ReadBytes;
use crate::fs::{Error, FileSystem};
use crate::object::{Source, Version};
use crate::op::Op;
use crate::oss::Kind;
use crate::read::{self as reading, Served};
use crate::write::Fragment;

/// The most bytes that the reader is asked for at once.
const READ_BYTES_MAX: u64 = crate::write::FETCH_BYTES_MAX;

/// How often a range is put together anew because what it consists of has moved meanwhile.
const TRIES_MAX: u32 = 8;

/// What came of reading a range.
enum Tried {
    Read(ReadBytes),
    /// It must be stored first.
    OnlyUploaded,
    /// A commit may have replaced the object that the bytes were in: then they are in the new one.
    Gone(Error),
}

impl FileSystem {
    /// Reads what memory has; `None` if something must be waited for.
    pub(in crate::fs) fn try_read_written(
        &self,
        written: &Written,
        range: Range<u64>,
    ) -> Option<ReadBytes> {
        let fragments = written.file.read(range).ok()?;
        match fragments.as_slice() {
            [Fragment::Staged(staged)] => return staged.bytes().map(ReadBytes::Staged),
            [Fragment::Object(source)] if source.len() <= READ_BYTES_MAX => {
                let file = self.source_file(written, &source.version);
                let read = self
                    .reader
                    .try_read(&file, source.range.start, source.len());
                return read.ok().map(ReadBytes::Served);
            }
            _ => {}
        }
        let mut bytes = Vec::new();
        for fragment in &fragments {
            match fragment {
                Fragment::Staged(staged) => bytes.extend_from_slice(&staged.bytes()?),
                Fragment::Zeros(count) => zeros(&mut bytes, *count),
                Fragment::Object(_) => return None,
            }
        }
        Some(ReadBytes::Copied(bytes))
    }

    /// Reads what is written, whatever has to be waited for.
    pub(in crate::fs) async fn read_written(
        self: &Arc<Self>,
        op: &Op,
        written: &Arc<Written>,
        range: Range<u64>,
    ) -> Result<ReadBytes, Error> {
        let mut last = Error::Abandoned;
        for _ in 0..TRIES_MAX {
            match self.try_put_together(op, written, &range).await? {
                Tried::Read(bytes) => return Ok(bytes),
                // Memory was short, and some of it is in the upload only.
                Tried::OnlyUploaded => self.commit(op, written).await?,
                Tried::Gone(error) => last = error,
            }
        }
        Err(last)
    }

    /// The same by who has the file's turn.
    pub(super) async fn read_held(
        &self,
        op: &Op,
        held: &Held,
        range: Range<u64>,
    ) -> Result<ReadBytes, Error> {
        let mut last = Error::Abandoned;
        for _ in 0..TRIES_MAX {
            match self.try_put_together(op, held.written(), &range).await? {
                Tried::Read(bytes) => return Ok(bytes),
                Tried::OnlyUploaded => self.commit_held(op, held).await?,
                Tried::Gone(error) => last = error,
            }
        }
        Err(last)
    }

    async fn try_put_together(
        &self,
        op: &Op,
        written: &Written,
        range: &Range<u64>,
    ) -> Result<Tried, Error> {
        let Ok(fragments) = written.file.read(range.clone()) else {
            return Ok(Tried::OnlyUploaded);
        };
        match self.put_together(op, written, fragments).await {
            Ok(bytes) => Ok(Tried::Read(ReadBytes::Copied(bytes))),
            Err(reading::Error::Oss(error))
                if matches!(error.kind(), Kind::Changed | Kind::NotFound) =>
            {
                Ok(Tried::Gone(reading::Error::Oss(error).into()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads all of a range into memory that outlives the call.
    async fn put_together(
        &self,
        op: &Op,
        written: &Written,
        fragments: Vec<Fragment>,
    ) -> Result<Vec<u8>, reading::Error> {
        let mut bytes = Vec::new();
        for fragment in fragments {
            match fragment {
                Fragment::Staged(staged) => match staged.bytes() {
                    Some(staged) => bytes.extend_from_slice(&staged),
                    None => {
                        let reading = self.runtime.spawn_blocking(move || {
                            let mut into = vec![0; usize::try_from(staged.len()).unwrap_or(0)];
                            staged.copy_to(0, &mut into).map(|()| into)
                        });
                        match reading.await {
                            Ok(Ok(staged)) => bytes.extend_from_slice(&staged),
                            Ok(Err(error)) => {
                                tracing::error!("a staging file cannot be read: {error}");
                                return Err(reading::Error::Abandoned);
                            }
                            Err(_) => return Err(reading::Error::Abandoned),
                        }
                    }
                },
                Fragment::Zeros(count) => zeros(&mut bytes, count),
                Fragment::Object(source) => {
                    let file = self.source_file(written, &source.version);
                    self.read_source(op, &file, &source, &mut bytes).await?;
                }
            }
        }
        Ok(bytes)
    }

    async fn read_source(
        &self,
        op: &Op,
        file: &Arc<reading::File>,
        source: &Source,
        bytes: &mut Vec<u8>,
    ) -> Result<(), reading::Error> {
        let mut at = source.range.start;
        while at < source.range.end {
            let len = READ_BYTES_MAX.min(source.range.end - at);
            let served: Served = match self.reader.try_read(file, at, len) {
                Ok(served) => served,
                Err(pending) => self.reader.read(op, file, pending).await?,
            };
            served.with(|read| bytes.extend_from_slice(read));
            at += len;
        }
        Ok(())
    }

    /// An object that bytes of a file lie in, open for reading: what was read ahead of it is found again.
    fn source_file(&self, written: &Written, version: &Arc<Version>) -> Arc<reading::File> {
        let mut sources = written.sources();
        if let Some(file) = sources.iter().find(|file| file.version() == version) {
            return Arc::clone(file);
        }
        let file = self.reader.open(Arc::clone(version));
        if sources.len() == SOURCES_MAX {
            sources.pop_front();
        }
        sources.push_back(Arc::clone(&file));
        file
    }
}

fn zeros(bytes: &mut Vec<u8>, count: u64) {
    bytes.resize(bytes.len() + usize::try_from(count).unwrap_or(0), 0);
}
