//! Where bytes of a file lie.

use std::ops::Range;

use super::super::bases::BaseId;
use super::super::limits::PartNumber;

/// A piece of staging: leased memory or a file. Who owns staging gives the ids, and none a second time while anything
/// may name the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub u32);

/// Where a run of bytes lies: the place of its first byte, the others follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In an object of the bucket.
    Base {
        /// Which.
        base: BaseId,
        /// The first byte, in the object.
        offset: u64,
    },
    /// In staging.
    Staged {
        /// Which chunk.
        chunk: ChunkId,
        /// The first byte, in the chunk.
        offset: u64,
    },
    /// Nowhere: it reads as zeros. A hole.
    Zeros,
    /// Only in a part of the running upload, which cannot be read.
    Uploaded {
        /// Which part.
        part: PartNumber,
        /// The first byte, in the part.
        offset: u64,
    },
}

impl Place {
    /// The place of the byte that comes `bytes` later.
    #[must_use]
    pub fn ahead(self, bytes: u64) -> Self {
        match self {
            Self::Base { base, offset } => Self::Base {
                base,
                offset: offset + bytes,
            },
            Self::Staged { chunk, offset } => Self::Staged {
                chunk,
                offset: offset + bytes,
            },
            Self::Zeros => Self::Zeros,
            Self::Uploaded { part, offset } => Self::Uploaded {
                part,
                offset: offset + bytes,
            },
        }
    }

    /// True for zeros: what SEEK_HOLE finds.
    #[must_use]
    pub fn is_hole(self) -> bool {
        matches!(self, Self::Zeros)
    }
}

/// A run of bytes of a file and where they lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Which bytes of the file; not empty.
    pub range: Range<u64>,
    /// Where the first of them lies.
    pub place: Place,
}

impl Piece {
    /// How many bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// A range of one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedRange {
    /// Which chunk.
    pub chunk: ChunkId,
    /// Which of its bytes.
    pub range: Range<u64>,
}

/// How many bytes of a file lie where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// In objects.
    pub base: u64,
    /// In staging.
    pub staged: u64,
    /// Nowhere.
    pub zeros: u64,
    /// Only in parts of the running upload.
    pub uploaded: u64,
}

impl Totals {
    pub(super) fn of(&mut self, place: Place) -> &mut u64 {
        match place {
            Place::Base { .. } => &mut self.base,
            Place::Staged { .. } => &mut self.staged,
            Place::Zeros => &mut self.zeros,
            Place::Uploaded { .. } => &mut self.uploaded,
        }
    }
}
