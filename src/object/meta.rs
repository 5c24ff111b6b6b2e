//! What a bucket says of an object, from a listing or a HEAD.

use std::fmt;

use super::ETag;

/// Seconds since 1970-01-01 UTC, the resolution of OSS's `Last-Modified`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime(pub i64);

/// How an object was written (`x-oss-object-type`, `Type` of a listing).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectType {
    /// One PutObject or CopyObject.
    Normal,
    /// A multipart upload.
    Multipart,
    /// AppendObject; it may still grow.
    Appendable,
    /// A link to another key of the bucket.
    Symlink,
    /// A word this build does not know.
    Other,
}

impl ObjectType {
    /// The word of the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Multipart => "Multipart",
            Self::Appendable => "Appendable",
            Self::Symlink => "Symlink",
            Self::Other => "Other",
        }
    }
}

impl From<&str> for ObjectType {
    fn from(word: &str) -> Self {
        match word {
            "Normal" => Self::Normal,
            "Multipart" => Self::Multipart,
            "Appendable" => Self::Appendable,
            "Symlink" => Self::Symlink,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where OSS keeps an object's bytes (`x-oss-storage-class`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageClass {
    /// Standard, read at once.
    Standard,
    /// Infrequent access, read at once at a price.
    InfrequentAccess,
    /// Archive: read after a restore, or at once where the bucket allows direct reads.
    Archive,
    /// Cold archive: read after a restore.
    ColdArchive,
    /// Deep cold archive: read after a restore.
    DeepColdArchive,
    /// A word this build does not know; taken as readable.
    Other,
}

impl StorageClass {
    /// The word of the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::InfrequentAccess => "IA",
            Self::Archive => "Archive",
            Self::ColdArchive => "ColdArchive",
            Self::DeepColdArchive => "DeepColdArchive",
            Self::Other => "Other",
        }
    }
}

impl From<&str> for StorageClass {
    fn from(word: &str) -> Self {
        match word {
            "Standard" => Self::Standard,
            "IA" => Self::InfrequentAccess,
            "Archive" => Self::Archive,
            "ColdArchive" => Self::ColdArchive,
            "DeepColdArchive" => Self::DeepColdArchive,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for StorageClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One object as a listing or a HEAD shows it.
///
/// A symbolic link of OSS is shown by a listing with its own size and ETag and by a HEAD with its target's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Bytes of the content.
    pub size: u64,
    /// The version.
    pub etag: ETag,
    /// Last change, in whole seconds.
    pub modified: UnixTime,
    /// How it was written.
    pub kind: ObjectType,
    /// Where it is kept.
    pub storage_class: StorageClass,
    /// `x-oss-hash-crc64ecma` of the whole content: CRC-64/XZ. A listing never has it, a HEAD nearly always.
    pub crc64: Option<u64>,
}
