//! What a range of a file consists of, for whoever reads or sends it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::super::staging::Chunk;
use crate::object::Source;

/// A run of bytes of a file that is being written.
#[derive(Debug, Clone)]
pub enum Fragment {
    /// In staging. They stay as they are as long as this is held.
    Staged(Staged),
    /// So many zeros.
    Zeros(u64),
    /// In an object.
    Object(Source),
}

impl Fragment {
    /// How many bytes; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a fragment is never empty")]
    pub fn len(&self) -> u64 {
        match self {
            Self::Staged(staged) => staged.len(),
            Self::Zeros(bytes) => *bytes,
            Self::Object(source) => source.len(),
        }
    }
}

/// Staged bytes: in memory, or in a file of the staging directory.
#[derive(Debug, Clone)]
pub struct Staged {
    chunk: Arc<Chunk>,
    range: Range<u64>,
}

impl Staged {
    pub(in crate::write) fn new(chunk: Arc<Chunk>, range: Range<u64>) -> Self {
        Self { chunk, range }
    }

    /// How many bytes; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a fragment is never empty")]
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The first `at` bytes, and the rest.
    pub(in crate::write) fn split(self, at: u64) -> (Self, Self) {
        let middle = self.range.start + at;
        let front = Self::new(Arc::clone(&self.chunk), self.range.start..middle);
        (front, Self::new(self.chunk, middle..self.range.end))
    }

    /// False if to read them is to read a file.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.chunk.is_in_memory()
    }

    /// The bytes, without a copy; `None` if they are in a file.
    #[must_use]
    pub fn bytes(&self) -> Option<Bytes> {
        self.chunk.bytes(self.range.clone())
    }

    /// Copies the bytes from the one at `offset` on, as many as `into` has. What is not in memory is read from a file: not on a thread
    /// that must not wait for a disk.
    ///
    /// # Errors
    /// Of the staging file.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn copy_to(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        assert!(offset + into.len() as u64 <= self.len());
        self.chunk.copy_to(self.range.start + offset, into)
    }
}
