//! The map of one cached version, as bytes: whose bytes they are, which blocks are there, and their checksums.
//!
//! ```text
//! 0      identity: magic, block size, endpoint, bucket, key, ETag, size; the same bytes for the same version
//! 3968   CRC-64 of the whole content as OSS announced it, once known
//! 3984   the seal: the data file as it was when all of it had been read back and found right
//! 4096   16 bytes a block: its CRC-64, and a check
//! 4608   the bytes themselves, of an object of one block; those of a larger one have a file of their own
//! ```
//!
//! There is no journal and no order to recover: each record carries a check over itself, its place and its version. One that
//! is torn, zeroed, of another version or of anything else is not there, which is a miss.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use crc_fast::CrcAlgorithm::Crc64Xz;
use crc_fast::Digest as Crc;
use sha2::{Digest, Sha256};

use crate::buffer::BLOCK_BYTES;
use crate::object::Version;

/// Changes with every change of the layout. What carries another one is a miss, and is replaced.
const MAGIC: [u8; 8] = *b"rolefs\x00\x01";

/// Bytes of the part that says whose bytes these are.
pub(super) const IDENTITY_BYTES: usize = 3968;

/// Where the content's CRC is.
pub(super) const EXPECTED_AT: u64 = 3968;

/// Where the seal is.
pub(super) const SEAL_AT: u64 = 3984;

/// Where the blocks' records begin.
const ENTRIES_AT: u64 = 4096;

/// Bytes of a block's record.
pub(super) const ENTRY_BYTES: usize = 16;

/// Bytes of the seal.
pub(super) const SEAL_BYTES: usize = 56;

/// Where the bytes of an object of one block begin.
pub(super) const INLINE_AT: u64 = 4608;

/// Places of the records that are no block's, for their checks.
const EXPECTED_PLACE: u64 = u64::MAX;
const SEAL_PLACE: u64 = u64::MAX - 1;

/// The name of a version in the cache: 16 bytes of SHA-256 over everything that tells it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id(pub(super) [u8; 16]);

/// What a map begins with, and the name that follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: Id,
    /// Compared as a whole: a collision of names, or a foreign file, is a miss.
    pub(super) bytes: Vec<u8>,
}

impl Identity {
    /// Of a version in a bucket; `None` if its words are longer than a map has room for.
    pub(super) fn new(bucket: &str, version: &Version) -> Option<Self> {
        let mut bytes = Vec::with_capacity(IDENTITY_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&(BLOCK_BYTES as u64).to_le_bytes());
        bytes.extend_from_slice(&version.size().to_le_bytes());
        for word in [bucket, version.key().as_str(), version.etag().as_str()] {
            bytes.extend_from_slice(&(word.len() as u64).to_le_bytes());
            bytes.extend_from_slice(word.as_bytes());
        }
        if bytes.len() > IDENTITY_BYTES {
            return None;
        }
        let hash = Sha256::digest(&bytes);
        bytes.resize(IDENTITY_BYTES, 0);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Some(Self { id: Id(id), bytes })
    }
}

/// Where the record of a block is.
pub(super) fn entry_at(index: u64) -> u64 {
    ENTRIES_AT + index * ENTRY_BYTES as u64
}

/// Bytes from the start of a map to the end of the records of so many blocks.
pub(super) fn map_bytes(blocks: u64) -> u64 {
    entry_at(blocks)
}

/// The record of a block that is there.
pub(super) fn entry(id: Id, index: u64, crc: u64) -> [u8; ENTRY_BYTES] {
    record(id, index, crc)
}

/// The CRC of a block, if its record is whole.
pub(super) fn parse_entry(id: Id, index: u64, bytes: &[u8]) -> Option<u64> {
    parse(id, index, bytes)
}

/// The record of the content's CRC.
pub(super) fn expected(id: Id, crc: u64) -> [u8; ENTRY_BYTES] {
    record(id, EXPECTED_PLACE, crc)
}

/// The content's CRC, if its record is whole.
pub(super) fn parse_expected(id: Id, bytes: &[u8]) -> Option<u64> {
    parse(id, EXPECTED_PLACE, bytes)
}

/// Which start of the machine this is.
pub(super) type Boot = [u8; 16];

/// The kernel's name for this start of the machine, the same in all its containers; `None` if it does not say.
pub(super) fn boot() -> Option<Boot> {
    static BOOT: OnceLock<Option<Boot>> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let mut boot = [0; 16];
        hex::decode_to_slice(text.trim().replace('-', ""), &mut boot).ok()?;
        Some(boot)
    })
}

/// The seal of a data file as it is now. Whoever writes to the file afterwards changes its times, and breaks it. With `boot` it
/// counts in that start of the machine only: the bytes may be in memory and not yet on the disk.
pub(super) fn seal(id: Id, data: &Metadata, boot: Option<Boot>) -> [u8; SEAL_BYTES] {
    let mut bytes = [0; SEAL_BYTES];
    let words = [
        data.ino(),
        data.len(),
        data.mtime().cast_unsigned(),
        data.mtime_nsec().cast_unsigned(),
        data.ctime().cast_unsigned(),
        data.ctime_nsec().cast_unsigned(),
    ];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let mut sealed = bytes[..SEAL_BYTES - 8].to_vec();
    sealed.extend(boot.into_iter().flatten());
    let check = check(id, SEAL_PLACE, &sealed);
    bytes[SEAL_BYTES - 8..].copy_from_slice(&check.to_le_bytes());
    bytes
}

fn record(id: Id, place: u64, crc: u64) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    let crc = crc.to_le_bytes();
    bytes[..8].copy_from_slice(&crc);
    bytes[8..].copy_from_slice(&check(id, place, &crc).to_le_bytes());
    bytes
}

fn parse(id: Id, place: u64, bytes: &[u8]) -> Option<u64> {
    let crc = bytes.get(..8)?;
    let right = check(id, place, crc).to_le_bytes() == bytes.get(8..ENTRY_BYTES)?;
    right.then(|| u64::from_le_bytes(crc.try_into().unwrap_or_default()))
}

fn check(id: Id, place: u64, bytes: &[u8]) -> u64 {
    let mut crc = Crc::new(Crc64Xz);
    crc.update(&id.0);
    crc.update(&place.to_le_bytes());
    crc.update(bytes);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::object::{ETag, KEY_BYTES_MAX, ObjectKey};

    fn version(key: &str, etag: &str, size: u64) -> Arc<Version> {
        Version::new(ObjectKey::new(key).unwrap(), ETag::new(etag), size)
    }

    #[test]
    fn everything_that_tells_versions_apart_is_in_the_identity() {
        let of = |bucket, key, etag, size| Identity::new(bucket, &version(key, etag, size));
        let one = of("b", "key", "E", 7).unwrap();
        assert_eq!(one, of("b", "key", "E", 7).unwrap());
        for other in [
            of("c", "key", "E", 7),
            of("b", "ke", "yE", 7),
            of("b", "key", "F", 7),
            of("b", "key", "E", 8),
        ] {
            assert_ne!(one.id, other.unwrap().id);
        }
    }

    #[test]
    fn the_longest_key_has_room() {
        let key = "k".repeat(KEY_BYTES_MAX);
        assert!(Identity::new(&"b".repeat(300), &version(&key, "E", 1)).is_some());
        assert!(Identity::new("b", &version(&key, &"E".repeat(4000), 1)).is_none());
    }

    proptest! {
        #[test]
        fn a_record_is_itself_or_nothing(
            id in any::<[u8; 16]>(), place in 0..1_u64 << 40, crc: u64, at in 0..ENTRY_BYTES, flip in 1..=255_u8,
        ) {
            let id = Id(id);
            let mut bytes = entry(id, place, crc);
            prop_assert_eq!(parse_entry(id, place, &bytes), Some(crc));
            prop_assert_eq!(parse_entry(id, place + 1, &bytes), None);
            prop_assert_eq!(parse_expected(id, &bytes), None);
            prop_assert_eq!(parse_entry(id, place, &bytes[..at]), None);
            bytes[at] ^= flip;
            prop_assert_eq!(parse_entry(id, place, &bytes), None);
            bytes[at] ^= flip;
            bytes[8..].fill(0);
            prop_assert_eq!(parse_entry(id, place, &bytes), None);
        }

        #[test]
        fn zeros_and_garbage_are_no_record(id in any::<[u8; 16]>(), place: u64, garbage in any::<[u8; ENTRY_BYTES]>()) {
            prop_assert_eq!(parse_entry(Id(id), place, &[0; ENTRY_BYTES]), None);
            prop_assert_eq!(parse_entry(Id(id), place, &garbage), None);
        }
    }
}
