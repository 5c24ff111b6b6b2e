//! One version of an object, packed.

use std::num::NonZeroU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::object::{ETag, ObjectMeta, ObjectType, StorageClass, UnixTime};

/// One version of an object, as its inode keeps it. Size and ETag never change; the rest is as last seen.
///
/// What this mount has written keeps the time that it had before it was stored: a program that looked at its file while it
/// was open does not see another time afterwards, rounded to seconds and by another clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    size: u64,
    modified: UnixTime,
    etag: PackedETag,
    /// `None`: unknown. The CRC-64/XZ of nothing is 0, so 0 needs no place here for empty objects; any other object whose
    /// CRC is 0 (one of 2^64) just isn't checked.
    crc64: Option<NonZeroU64>,
    kind: ObjectType,
    storage_class: StorageClass,
    /// Beside `modified`; the bucket tells whole seconds.
    nanos: u32,
    /// `modified` and `nanos` are this mount's, not the bucket's.
    keeps_time: bool,
}

impl Object {
    pub(super) fn new(meta: &ObjectMeta) -> Self {
        Self {
            size: meta.size,
            modified: meta.modified,
            etag: PackedETag::new(&meta.etag),
            crc64: meta.crc64.and_then(NonZeroU64::new),
            kind: meta.kind,
            storage_class: meta.storage_class,
            nanos: 0,
            keeps_time: false,
        }
    }

    /// The same version, last changed at `time`, whatever the bucket says.
    pub(super) fn with_time(mut self, time: SystemTime) -> Self {
        (self.modified, self.nanos) = split_time(time);
        self.keeps_time = true;
        self
    }

    /// The same version, with the time that `other` shows.
    pub(super) fn with_time_of(mut self, other: &Self) -> Self {
        (self.modified, self.nanos) = (other.modified, other.nanos);
        self.keeps_time = true;
        self
    }

    /// Bytes of the content.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The ETag of this version.
    #[must_use]
    pub fn etag(&self) -> ETag {
        self.etag.unpack()
    }

    /// Last change, in whole seconds.
    #[must_use]
    pub fn modified(&self) -> UnixTime {
        self.modified
    }

    /// The nanoseconds of the last change beside [`Self::modified`]: 0 unless this mount has written the version.
    #[must_use]
    pub fn modified_nanos(&self) -> u32 {
        self.nanos
    }

    /// How the object was written.
    #[must_use]
    pub fn object_type(&self) -> ObjectType {
        self.kind
    }

    /// Where the object is kept.
    #[must_use]
    pub fn storage_class(&self) -> StorageClass {
        self.storage_class
    }

    /// CRC-64/XZ of the content, if a HEAD has told it.
    #[must_use]
    pub fn crc64(&self) -> Option<u64> {
        match self.crc64 {
            Some(crc) => Some(crc.get()),
            None => (self.size == 0).then_some(0),
        }
    }

    /// True if both have the same content: size, ETag, and CRC where both know it.
    pub(super) fn is_same_version(&self, other: &Self) -> bool {
        let same_crc = match (self.crc64, other.crc64) {
            (Some(a), Some(b)) => a == b,
            (None, _) | (_, None) => true,
        };
        self.size == other.size && self.etag == other.etag && same_crc
    }

    /// Takes over what a later answer says of the same version. A listing has no CRC: the known one stays.
    pub(super) fn refresh(&mut self, later: &Self) {
        if !self.keeps_time {
            self.modified = later.modified;
        }
        self.kind = later.kind;
        self.storage_class = later.storage_class;
        self.learn_crc(later);
    }

    /// Takes over the CRC from another answer about the same version, of whatever age.
    pub(super) fn learn_crc(&mut self, other: &Self) {
        self.crc64 = self.crc64.or(other.crc64);
    }
}

/// An ETag in 24 bytes without a heap block, if it is one of the two forms that OSS gives: the MD5 in upper-case hex, or
/// that and the number of parts after a dash.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PackedETag {
    Digest { md5: [u8; 16], parts: u32 },
    Other(ETag),
}

impl PackedETag {
    fn new(etag: &ETag) -> Self {
        Self::digest(etag.as_str()).unwrap_or_else(|| Self::Other(etag.clone()))
    }

    /// `None` if [`Self::unpack`] would not give exactly `text` again.
    fn digest(text: &str) -> Option<Self> {
        let (digits, parts) = match text.split_once('-') {
            None => (text, 0),
            Some((digits, parts)) => {
                let canonical =
                    parts.bytes().all(|byte| byte.is_ascii_digit()) && !parts.starts_with('0');
                (digits, canonical.then(|| parts.parse().ok())??)
            }
        };
        if digits.len() != 32 || digits.bytes().any(|digit| digit.is_ascii_lowercase()) {
            return None;
        }
        let mut md5 = [0; 16];
        for (byte, pair) in md5.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        Some(Self::Digest { md5, parts })
    }

    fn unpack(&self) -> ETag {
        match self {
            Self::Digest { md5, parts } => {
                let mut text = format!("{:032X}", u128::from_be_bytes(*md5));
                if *parts > 0 {
                    text.push('-');
                    text.push_str(&parts.to_string());
                }
                ETag::new(&text)
            }
            Self::Other(etag) => etag.clone(),
        }
    }
}

/// Seconds, rounded down, and nanoseconds.
fn split_time(time: SystemTime) -> (UnixTime, u32) {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (UnixTime(seconds(after)), after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            match before.subsec_nanos() {
                0 => (UnixTime(-seconds(before)), 0),
                nanos => (UnixTime(-seconds(before) - 1), 1_000_000_000 - nanos),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_etags_of_oss_are_packed() {
        for text in [
            "5B3C1A2E053D763E1B002CC607C5A0FE",
            "5B3C1A2E053D763E1B002CC607C5A0FE-10000",
        ] {
            let packed = PackedETag::new(&ETag::new(text));
            assert!(matches!(packed, PackedETag::Digest { .. }), "{text}");
        }
    }

    #[test]
    fn a_time_before_1970_is_rounded_down() {
        let before = UNIX_EPOCH - Duration::from_millis(1_500);
        assert_eq!(split_time(before), (UnixTime(-2), 500_000_000));
        let after = UNIX_EPOCH + Duration::from_millis(1_500);
        assert_eq!(split_time(after), (UnixTime(1), 500_000_000));
        assert_eq!(split_time(UNIX_EPOCH), (UnixTime(0), 0));
    }

    proptest! {
        #[test]
        fn an_etag_is_the_same_after_packing(text in "[0-9A-F]{31,33}(-[0-9]{0,11})?|[0-9A-Fa-f]{32}|.{0,12}") {
            let etag = ETag::new(&text);
            prop_assert_eq!(PackedETag::new(&etag).unpack(), etag);
        }
    }
}
