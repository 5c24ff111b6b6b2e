//! Receives the bytes of an object or a part: checksums on the way, into memory or into a file.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use crc_fast::CrcAlgorithm::Crc64Xz;
use md5::{Digest as _, Md5};

use super::content::{Content, ContentFile, Segment};
use super::disk::Disk;

/// What a body reserves in memory ahead of its bytes; a longer one grows as it comes.
const RESERVE_BYTES_MAX: u64 = 64 << 20;

/// Bytes on their way in.
///
/// Files are written on the runtime's thread: a write into the page cache takes less than handing it to another thread
/// would, and less than the MD5 beside it.
#[derive(Debug)]
pub(crate) struct Sink {
    md5: Md5,
    crc: crc_fast::Digest,
    size: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(BytesMut),
    File(File, super::content::OwnedPath, Arc<Disk>),
}

/// Bytes that arrived. They vanish with this value unless an object takes them.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) md5: [u8; 16],
    pub(crate) crc: u64,
    pub(crate) size: u64,
    pub(super) content: Content,
}

impl Received {
    /// The MD5 as OSS prints it in an ETag.
    pub(crate) fn etag(&self) -> String {
        hex::encode_upper(self.md5)
    }
}

impl Sink {
    /// `expected` is what `Content-Length` announces, if anything.
    pub(super) fn new(disk: Option<&Arc<Disk>>, expected: Option<u64>) -> io::Result<Self> {
        let place = match disk {
            Some(disk) => {
                let owned = disk.new_content();
                Place::File(File::create_new(owned.path())?, owned, Arc::clone(disk))
            }
            None => {
                let reserve = expected.unwrap_or(0).min(RESERVE_BYTES_MAX);
                Place::Memory(BytesMut::with_capacity(
                    usize::try_from(reserve).unwrap_or(0),
                ))
            }
        };
        Ok(Self {
            md5: Md5::new(),
            crc: crc_fast::Digest::new(Crc64Xz),
            size: 0,
            place,
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.md5.update(bytes);
        self.crc.update(bytes);
        self.size += bytes.len() as u64;
        match &mut self.place {
            Place::Memory(memory) => memory.extend_from_slice(bytes),
            Place::File(file, _, _) => file.write_all(bytes)?,
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Received {
        let segment = match self.place {
            Place::Memory(memory) => Segment::Memory(memory.freeze()),
            Place::File(_, owned, disk) => {
                let mappings = Arc::clone(disk.mappings());
                Segment::File(Arc::new(ContentFile::new(owned, self.size, mappings)))
            }
        };
        Received {
            md5: self.md5.finalize().into(),
            crc: self.crc.finalize(),
            size: self.size,
            content: Content(vec![segment]),
        }
    }

    /// Takes bytes that are in memory already; without a disk they are shared, not copied.
    pub(super) fn whole(disk: Option<&Arc<Disk>>, bytes: Bytes) -> io::Result<Received> {
        if disk.is_some() {
            let mut sink = Self::new(disk, None)?;
            sink.write(&bytes)?;
            return Ok(sink.finish());
        }
        Ok(Received {
            md5: Md5::digest(&bytes).into(),
            crc: crc_fast::checksum(Crc64Xz, &bytes),
            size: bytes.len() as u64,
            content: Content(vec![Segment::Memory(bytes)]),
        })
    }
}
