//! A content file in memory, without a copy.

use std::fs::File;
use std::io;

use bytes::Bytes;

/// Maps a file that nobody changes any more.
///
/// # Errors
/// What `mmap` says; an empty file is refused by the kernel.
#[expect(
    unsafe_code,
    reason = "mapping a file is sound only if nobody changes it"
)]
pub(super) fn map(file: &File) -> io::Result<Bytes> {
    // SAFETY: content files are written once, under a name no reader knows, and are only unlinked afterwards, which
    // leaves the mapping whole. The data directory belongs to this server alone.
    let mapping = unsafe { memmap2::Mmap::map(file) }?;
    Ok(Bytes::from_owner(mapping))
}
