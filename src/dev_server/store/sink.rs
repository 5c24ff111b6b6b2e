//! Receives the bytes of an object or a part: checksums on the way, into memory or into a file.
//!
//! Each byte is copied once, from the connection's buffer to where it stays, and its CRC is taken once, on the way.
//! The MD5 costs more than everything else together; [`ETags`] says when it is left out.

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

/// What the ETag of a body is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ETags {
    /// The MD5, as OSS has it. One core takes about 0.6 GB/s.
    #[default]
    Md5,
    /// CRC-64 and length: for benchmarks, in which the MD5 would be the server's speed. An MD5 is taken only of
    /// bodies that come with a `Content-MD5`.
    Crc,
}

/// Checksums of bytes as they pass.
#[derive(Debug)]
pub(crate) struct Checksums {
    md5: Option<Md5>,
    crc: crc_fast::Digest,
    size: u64,
    etags: ETags,
}

impl Checksums {
    fn new(etags: ETags, with_md5: bool) -> Self {
        Self {
            md5: (with_md5 || etags == ETags::Md5).then(Md5::new),
            crc: crc_fast::Digest::new(Crc64Xz),
            size: 0,
            etags,
        }
    }

    /// For bytes that are somewhere already.
    pub(crate) fn of_copy(etags: ETags) -> Self {
        Self::new(etags, false)
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        self.crc.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// The bytes have all passed, and are in `content`.
    pub(crate) fn finish(self, content: Content) -> Received {
        let crc = self.crc.finalize();
        let md5: Option<[u8; 16]> = self.md5.map(|md5| md5.finalize().into());
        let digest = match (self.etags, md5) {
            (ETags::Md5, Some(md5)) => md5,
            // The length is inverted so that the ETag of nothing is not 0, which looks like a mistake.
            (ETags::Md5 | ETags::Crc, _) => {
                ((u128::from(crc) << 64) | u128::from(!self.size)).to_be_bytes()
            }
        };
        Received {
            digest,
            md5,
            crc,
            size: self.size,
            content,
        }
    }
}

/// Bytes on their way in.
///
/// Files are written on the runtime's thread: a write into the page cache takes less than handing it to another thread
/// would, and less than the MD5 beside it.
#[derive(Debug)]
pub(crate) struct Sink {
    checksums: Checksums,
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
    /// What the ETag shows.
    pub(crate) digest: [u8; 16],
    /// If it was taken.
    pub(crate) md5: Option<[u8; 16]>,
    pub(crate) crc: u64,
    pub(crate) size: u64,
    pub(super) content: Content,
}

impl Received {
    /// The digest as OSS prints it in an ETag.
    pub(crate) fn etag(&self) -> String {
        hex::encode_upper(self.digest)
    }
}

/// How a body is received.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expected {
    /// What `Content-Length` announces, if anything.
    pub(crate) len: Option<u64>,
    /// The MD5 will be compared.
    pub(crate) md5: bool,
}

impl Sink {
    pub(super) fn new(
        disk: Option<&Arc<Disk>>,
        etags: ETags,
        expected: Expected,
    ) -> io::Result<Self> {
        let place = match disk {
            Some(disk) => {
                let owned = disk.new_content();
                Place::File(File::create_new(owned.path())?, owned, Arc::clone(disk))
            }
            None => {
                let reserve = expected.len.unwrap_or(0).min(RESERVE_BYTES_MAX);
                Place::Memory(BytesMut::with_capacity(
                    usize::try_from(reserve).unwrap_or(0),
                ))
            }
        };
        Ok(Self {
            checksums: Checksums::new(etags, expected.md5),
            place,
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.checksums.update(bytes);
        match &mut self.place {
            Place::Memory(memory) => memory.extend_from_slice(bytes),
            Place::File(file, _, _) => file.write_all(bytes)?,
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Received {
        let size = self.checksums.size;
        let segment = match self.place {
            Place::Memory(memory) => Segment::Memory(memory.freeze()),
            Place::File(_, owned, disk) => {
                let file = ContentFile::new(owned, Arc::clone(disk.mappings()));
                Segment::File(Arc::new(file), 0..size)
            }
        };
        self.checksums.finish(Content(vec![segment]))
    }

    /// Takes bytes that are in memory already; without a disk they are shared, not copied.
    pub(super) fn whole(
        disk: Option<&Arc<Disk>>,
        etags: ETags,
        bytes: Bytes,
    ) -> io::Result<Received> {
        if disk.is_some() {
            let mut sink = Self::new(disk, etags, Expected::default())?;
            sink.write(&bytes)?;
            return Ok(sink.finish());
        }
        let mut checksums = Checksums::of_copy(etags);
        checksums.update(&bytes);
        Ok(checksums.finish(Content(vec![Segment::Memory(bytes)])))
    }
}
