//! What OSS takes, and what this room makes of it.

/// Bytes of the smallest part that is not the last (OSS help "UploadPart": 100 KB; Complete answers EntityTooSmall below
/// 102,400 bytes).
pub const PART_BYTES_MIN: u64 = 100 << 10;

/// Bytes of the largest part, copied or sent, and of the largest PutObject (OSS help "UploadPart": 5 GB).
pub const PART_BYTES_MAX: u64 = 5 << 30;

/// The highest part number; the lowest is 1 (OSS help "UploadPart").
pub const PARTS_MAX: u16 = 10_000;

/// Bytes of the largest object: 48.8 TB (OSS help "Limits"). A write that would pass it is refused (EFBIG).
pub const FILE_BYTES_MAX: u64 = PART_BYTES_MAX * PARTS_MAX as u64;

/// The number of a part: 1 to [`PARTS_MAX`]. Parts are joined in ascending order of their numbers; gaps are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartNumber(u16);

impl PartNumber {
    /// The lowest number.
    pub const FIRST: Self = Self(1);

    /// The number `number`, if there is such a one.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        (1..=PARTS_MAX).contains(&number).then_some(Self(number))
    }

    /// 1 to [`PARTS_MAX`].
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

/// The bounds that a commit keeps to, beside those of OSS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A file of at most so many bytes is one PutObject; at most [`PART_BYTES_MAX`]. Default 8 MiB: what one request sends
    /// about as fast as several.
    pub put_bytes_max: u64,
    /// Bytes of a part that the commit itself sends, while there are enough numbers; at least twice [`PART_BYTES_MIN`].
    /// Default 8 MiB.
    pub upload_bytes: u64,
    /// A shorter unchanged range is read and sent, not copied; at least [`PART_BYTES_MIN`], which is the default.
    pub copy_bytes_min: u64,
    /// Bytes of a part that is copied, while there are enough numbers; at least twice [`PART_BYTES_MIN`]. Default 256 MiB: one
    /// request shall not take long, and several run side by side.
    pub copy_part_bytes: u64,
    /// A copy of a whole object up to so many bytes is one CopyObject. Default 1 GiB: the oldest documentation refuses more.
    pub copy_object_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            put_bytes_max: 8 << 20,
            upload_bytes: 8 << 20,
            copy_bytes_min: PART_BYTES_MIN,
            copy_part_bytes: 256 << 20,
            copy_object_bytes_max: 1 << 30,
        }
    }
}

/// How many parts a range of `bytes` takes at least.
pub(super) fn parts_needed(bytes: u64) -> u64 {
    bytes.div_ceil(PART_BYTES_MAX)
}
