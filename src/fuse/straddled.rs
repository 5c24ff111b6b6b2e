//! READs whose bytes lie in two blocks, answered from where they lie.
//!
//! A reply of fuser 0.18 takes one slice: such an answer would have to be copied together first, a tenth of a CPU-second per GiB. It is
//! the rule where windows of the kernel's read-ahead begin anywhere, as those of a mapping do. So it goes to the kernel
//! from here: a `fuse_out_header` (`linux/fuse.h`) and both slices, in one vectored write, as `/dev/fuse` wants it.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::OwnedFd;

use fuser::{ReplyData, RequestId};

use crate::fs::ReadBytes;

/// Bytes of `struct fuse_out_header`.
const HEADER_BYTES: usize = 16;

/// A copy of the session's descriptor, to write answers to.
#[derive(Debug)]
pub(super) struct Straddled(File);

impl Straddled {
    /// `fd` is the session's descriptor, or a copy.
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self(File::from(fd))
    }

    /// Answers a READ.
    pub(super) fn answer(&self, request: RequestId, reply: ReplyData, served: &ReadBytes) {
        let Some(halves) = served.halves() else {
            return served.with(|bytes| reply.data(bytes));
        };
        match self.send(request, halves) {
            // fuser must not answer as well, and a reply that is dropped does. What is not given back is one count of the
            // session's descriptor, which the process keeps to its end anyway.
            Ok(()) => std::mem::forget(reply),
            // The usual way says what is wrong, if it is not the caller who has left.
            Err(_) => served.with(|bytes| reply.data(bytes)),
        }
    }

    fn send(&self, request: RequestId, halves: [&[u8]; 2]) -> io::Result<()> {
        let len = HEADER_BYTES + halves[0].len() + halves[1].len();
        let header = header(len, request.0)?;
        let [first, second] = halves.map(IoSlice::new);
        let written = (&self.0).write_vectored(&[IoSlice::new(&header), first, second])?;
        // The kernel takes an answer whole or not at all (fs/fuse/dev.c, fuse_dev_do_write).
        debug_assert_eq!(written, len);
        Ok(())
    }
}

/// `len`, no error, and whose answer it is, in the machine's own order of bytes.
fn header(len: usize, unique: u64) -> io::Result<[u8; HEADER_BYTES]> {
    let len = u32::try_from(len).map_err(io::Error::other)?;
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&len.to_ne_bytes());
    header[8..].copy_from_slice(&unique.to_ne_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_that_of_the_kernel() {
        let header = header(16 + 5, 0x0102_0304_0506_0708).expect("a short answer");
        let mut expected = Vec::new();
        expected.extend(21_u32.to_ne_bytes());
        expected.extend(0_i32.to_ne_bytes());
        expected.extend(0x0102_0304_0506_0708_u64.to_ne_bytes());
        assert_eq!(header.as_slice(), expected);
    }
}
