//! One record of a log.
//!
//! ```text
//! 0   magic          4 bytes
//! 4   kind           1 byte
//! 5   last           1 byte: 1 if the change ends with this record
//! 6   bytes behind   4 bytes, after 2 of nothing
//! 12  nothing        4 bytes
//! 16  generation     8 bytes, the change
//! 24  three numbers  8 bytes each, by kind
//! 48  CRC-64/XZ      8 bytes, of the 48 before and of the bytes behind
//! ```

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crc_fast::CrcAlgorithm::Crc64Xz;
use crc_fast::Digest;
use serde::{Deserialize, Serialize};

use crate::buffer::BLOCK_BYTES;

/// Bytes of a record before those that come behind it.
pub(super) const RECORD_BYTES: u64 = RECORD_LEN as u64;

const RECORD_LEN: usize = 56;

/// The most bytes behind a record: those of one WRITE.
const BEHIND_BYTES_MAX: usize = BLOCK_BYTES;

const MAGIC: [u8; 4] = *b"rfj1";

/// What a record says of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::write) enum Change {
    /// The bytes behind the record are at `at`.
    Write {
        /// The first of them, in the file.
        at: u64,
    },
    /// The file has so many bytes; new ones are zeros.
    Length(u64),
    /// A range is zeros.
    Zeros(Range<u64>),
    /// A range of an object is at `at`.
    Copy {
        /// The first byte, in the file.
        at: u64,
        /// The first byte, in the object.
        offset: u64,
        /// How many bytes.
        bytes: u64,
        /// The object.
        from: From,
    },
    /// All that was logged before is void: the file is its base, and what follows. The generation may be any.
    Anew,
}

/// A version of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::write) struct From {
    pub(in crate::write) key: String,
    pub(in crate::write) etag: String,
    pub(in crate::write) size: u64,
}

/// A record that was read, and where the bytes behind it are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) change: Change,
    pub(super) generation: u64,
    pub(super) is_last: bool,
    /// In the segment.
    pub(super) behind: Range<u64>,
}

/// The bytes of a record, with what comes behind it.
pub(super) fn encode(
    change: &Change,
    generation: u64,
    is_last: bool,
    written: &[u8],
) -> Option<([u8; RECORD_LEN], Vec<u8>)> {
    let (kind, numbers, own) = match change {
        Change::Write { at } => (1, [*at, 0, 0], Vec::new()),
        Change::Length(len) => (2, [*len, 0, 0], Vec::new()),
        Change::Zeros(range) => (3, [range.start, range.end, 0], Vec::new()),
        Change::Copy {
            at,
            offset,
            bytes,
            from,
        } => (4, [*at, *offset, *bytes], serde_json::to_vec(from).ok()?),
        Change::Anew => (5, [0; 3], Vec::new()),
    };
    let behind = if own.is_empty() { written } else { &own };
    let mut record = [0; RECORD_LEN];
    record[..4].copy_from_slice(&MAGIC);
    record[4] = kind;
    record[5] = u8::from(is_last);
    record[8..12].copy_from_slice(&u32::try_from(behind.len()).ok()?.to_le_bytes());
    record[16..24].copy_from_slice(&generation.to_le_bytes());
    for (place, number) in record[24..48].chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    let check = check(&record, behind);
    record[48..].copy_from_slice(&check.to_le_bytes());
    Some((record, own))
}

fn check(record: &[u8], behind: &[u8]) -> u64 {
    let mut digest = Digest::new(Crc64Xz);
    digest.update(&record[..48]);
    digest.update(behind);
    digest.finalize()
}

/// The record at a place of a segment, and where the next one begins; `None` if there is none that is whole.
///
/// # Errors
/// Of the file. What lies behind its end is no error.
pub(super) fn read(segment: &File, at: u64) -> io::Result<Option<(Record, u64)>> {
    let mut head = [0; RECORD_LEN];
    if !fill(segment, at, &mut head)? || head[..4] != MAGIC {
        return Ok(None);
    }
    let number = |at: usize| {
        let bytes = head[at..at + 8].try_into().unwrap_or_default();
        u64::from_le_bytes(bytes)
    };
    let len = u32::from_le_bytes(head[8..12].try_into().unwrap_or_default());
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > BEHIND_BYTES_MAX {
        return Ok(None);
    }
    let mut behind = vec![0; len];
    let start = at + RECORD_BYTES;
    if !fill(segment, start, &mut behind)? || check(&head, &behind) != number(48) {
        return Ok(None);
    }
    let change = match head[4] {
        1 => Change::Write { at: number(24) },
        2 => Change::Length(number(24)),
        3 => Change::Zeros(number(24)..number(32)),
        4 => match serde_json::from_slice(&behind) {
            Ok(from) => Change::Copy {
                at: number(24),
                offset: number(32),
                bytes: number(40),
                from,
            },
            Err(_) => return Ok(None),
        },
        5 => Change::Anew,
        // Of a later version.
        _ => return Ok(None),
    };
    let end = start + behind.len() as u64;
    let record = Record {
        change,
        generation: number(16),
        is_last: head[5] == 1,
        behind: start..end,
    };
    Ok(Some((record, end)))
}

/// False if the file ends before.
fn fill(file: &File, at: u64, into: &mut [u8]) -> io::Result<bool> {
    match file.read_exact_at(into, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_torn_ones_are_not_there() {
        let from = From {
            key: "k".to_owned(),
            etag: "e".to_owned(),
            size: 9,
        };
        let changes = [
            Change::Write { at: 5 },
            Change::Length(u64::MAX),
            Change::Zeros(3..9),
            Change::Copy {
                at: 1,
                offset: 2,
                bytes: 3,
                from,
            },
            Change::Anew,
        ];
        for change in changes {
            let written: &[u8] = match change {
                Change::Write { .. } => b"written",
                _ => b"",
            };
            let (record, own) = encode(&change, 7, true, written).unwrap();
            let mut bytes = record.to_vec();
            bytes.extend_from_slice(if own.is_empty() { written } else { &own });
            let file = tempfile::tempfile().unwrap();
            for cut in 0..=bytes.len() {
                file.set_len(0).unwrap();
                file.write_all_at(&bytes[..cut], 3).unwrap();
                let found = read(&file, 3).unwrap();
                assert_eq!(found.is_some(), cut == bytes.len(), "{change:?} {cut}");
                if let Some((found, end)) = found {
                    assert_eq!((found.change, found.generation), (change.clone(), 7));
                    assert_eq!((found.is_last, end), (true, 3 + bytes.len() as u64));
                }
            }
            for at in 0..bytes.len() {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1;
                file.write_all_at(&wrong, 3).unwrap();
                assert!(read(&file, 3).unwrap().is_none(), "{change:?} {at}");
            }
        }
    }
}
