//! System calls that the standard library does not offer, safely.

#![expect(
    unsafe_code,
    reason = "opendir(3), getxattr(2) and mmap(2) have no safe wrapper among the dependencies"
)]

use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;

use memmap2::Mmap;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// Room for any extended attribute of a test.
const XATTR_BYTES_MAX: usize = 4096;

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// The length that a call returned, or the error that it left.
fn length(returned: isize) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}

/// The value of an extended attribute.
pub(crate) fn xattr(path: &Path, name: &str) -> io::Result<String> {
    let (path, name) = (c_path(path), CString::new(name).unwrap());
    let mut value = vec![0; XATTR_BYTES_MAX];
    // SAFETY: both names end with a zero byte, and the buffer has the length that is passed.
    let len = length(unsafe {
        libc::getxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    })?;
    value.truncate(len);
    Ok(String::from_utf8(value).unwrap())
}

/// The names of all extended attributes.
pub(crate) fn xattr_names(path: &Path) -> io::Result<Vec<String>> {
    let path = c_path(path);
    let mut names = vec![0_u8; XATTR_BYTES_MAX];
    // SAFETY: the path ends with a zero byte, and the buffer has the length that is passed.
    let len =
        length(unsafe { libc::listxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) })?;
    names.truncate(len);
    let names = String::from_utf8(names).unwrap();
    Ok(names.split_terminator('\0').map(str::to_owned).collect())
}

/// A file in memory. Touching it raises SIGBUS where the mount cannot bring the bytes.
pub(crate) fn map(file: &File) -> Mmap {
    // SAFETY: the mount is read-only, and the file behind an inode never changes.
    unsafe { Mmap::map(file) }.unwrap()
}

/// Opens a file for reads past the page cache.
pub(crate) fn open_direct(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
}

/// Reads the whole file in pieces of `piece` bytes.
pub(crate) fn read_by(file: &File, piece: usize) -> io::Result<Vec<u8>> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; piece]);
    loop {
        match file.read_at(&mut buffer, bytes.len() as u64)? {
            0 => return Ok(bytes),
            len => bytes.extend_from_slice(&buffer[..len]),
        }
    }
}

/// Empties the page cache of a file, as far as nobody has it mapped.
pub(crate) fn forget_pages(file: &File) {
    posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
}

/// A directory as readdir(3) shows it, with its positions.
#[derive(Debug)]
pub(crate) struct DirectoryStream(NonNull<libc::DIR>);

impl DirectoryStream {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = c_path(path);
        // SAFETY: the path ends with a zero byte.
        let stream = unsafe { libc::opendir(path.as_ptr()) };
        NonNull::new(stream)
            .map(Self)
            .ok_or_else(io::Error::last_os_error)
    }

    /// The next entry that is neither `.` nor `..`; `None` at the end.
    pub(crate) fn next_name(&mut self) -> Option<String> {
        loop {
            // SAFETY: the stream is open, and `&mut self` keeps other threads from it.
            let entry = NonNull::new(unsafe { libc::readdir(self.0.as_ptr()) })?;
            // SAFETY: readdir(3) gives a name with a zero byte at its end, valid until the next call.
            let name = unsafe { CStr::from_ptr(entry.as_ref().d_name.as_ptr()) };
            let name = OsString::from_vec(name.to_bytes().to_vec())
                .into_string()
                .unwrap();
            if name != "." && name != ".." {
                return Some(name);
            }
        }
    }

    /// All entries from here on.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next_name()).collect()
    }

    /// telldir(3).
    pub(crate) fn position(&mut self) -> libc::c_long {
        // SAFETY: the stream is open.
        unsafe { libc::telldir(self.0.as_ptr()) }
    }

    /// seekdir(3).
    pub(crate) fn seek(&mut self, position: libc::c_long) {
        // SAFETY: the stream is open, and the position is one of its own.
        unsafe { libc::seekdir(self.0.as_ptr(), position) }
    }

    /// rewinddir(3).
    pub(crate) fn rewind(&mut self) {
        // SAFETY: the stream is open.
        unsafe { libc::rewinddir(self.0.as_ptr()) }
    }
}

impl Drop for DirectoryStream {
    fn drop(&mut self) {
        // SAFETY: the stream is open, and closed nowhere else.
        unsafe { libc::closedir(self.0.as_ptr()) };
    }
}
