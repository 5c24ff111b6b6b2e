//! The staging directory: bytes for which memory has no room.
//!
//! Each file that is written has at most one file in it, made when it is first needed and without a name, so that nothing is left
//! behind by a crash. Chunks are ranges of it: their room is reserved before anything is written, so a full disk is noticed before
//! bytes are taken, and punched out when they are let go.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

/// Bytes of a chunk on disk: the disk is asked for room once for several writes.
const SLOT_BYTES: u64 = 4 << 20;

/// `--staging-dir`: a directory for bytes that memory has no room for, and how many of them there may be.
#[derive(Debug)]
pub struct StagingDirectory {
    path: PathBuf,
    bytes_max: u64,
    used: Arc<AtomicU64>,
    next: AtomicU64,
}

/// One file's room in the directory.
#[derive(Debug)]
pub(in crate::write) struct Spill {
    file: File,
    end: AtomicU64,
}

/// A chunk on disk.
#[derive(Debug)]
pub(super) struct Slot {
    spill: Arc<Spill>,
    start: u64,
    bytes: u64,
    used: Arc<AtomicU64>,
}

impl StagingDirectory {
    /// The directory, which must not lie inside the mount, for at most `bytes_max` bytes. Made if it is not there, for its owner
    /// alone.
    ///
    /// # Errors
    /// If it cannot be made, or no file in it.
    pub fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let mut making = DirBuilder::new();
        making.recursive(true).mode(0o700).create(path)?;
        let directory = Self {
            path: path.to_owned(),
            bytes_max,
            used: Arc::default(),
            next: AtomicU64::new(0),
        };
        directory.spill()?;
        Ok(directory)
    }

    /// Bytes that chunks take.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Room for `wanted` bytes at least; `None` if there is none.
    pub(super) fn slot(&self, wanted: usize, spill: &mut Option<Arc<Spill>>) -> Option<Slot> {
        let bytes = (wanted as u64).max(SLOT_BYTES);
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                (used + bytes <= self.bytes_max).then_some(used + bytes)
            });
        taken.ok()?;
        let release = || self.used.fetch_sub(bytes, Ordering::Relaxed);
        if spill.is_none() {
            match self.spill() {
                Ok(made) => *spill = Some(Arc::new(made)),
                Err(error) => {
                    tracing::warn!(%error, directory = %self.path.display(), "no staging file can be made");
                    release();
                    return None;
                }
            }
        }
        let spill = Arc::clone(spill.as_ref()?);
        let start = spill.end.fetch_add(bytes, Ordering::Relaxed);
        match fallocate(
            &spill.file,
            FallocateFlags::empty(),
            signed(start),
            signed(bytes),
        ) {
            // Without reservation a full disk is noticed by the write, which takes nothing then.
            Ok(()) | Err(Errno::EOPNOTSUPP) => {}
            Err(error) => {
                tracing::debug!(%error, "the staging directory has no room");
                release();
                return None;
            }
        }
        Some(Slot {
            spill,
            start,
            bytes,
            used: Arc::clone(&self.used),
        })
    }

    /// A file without a name.
    fn spill(&self) -> io::Result<Spill> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!(".rolefs-staging-{}-{number}", std::process::id());
        let path = self.path.join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path)?;
        std::fs::remove_file(&path)?;
        let end = AtomicU64::new(0);
        Ok(Spill { file, end })
    }
}

impl Slot {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.spill.file.write_all_at(bytes, self.start + at)
    }

    pub(super) fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.spill.file.read_exact_at(into, self.start + at)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        // Where holes cannot be punched, the room comes back with the file.
        let _: Result<(), Errno> = fallocate(
            &self.spill.file,
            flags,
            signed(self.start),
            signed(self.bytes),
        );
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_made_for_its_owner_alone() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("a/b");
        for _ in 0..2 {
            StagingDirectory::open(&path, SLOT_BYTES).unwrap();
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
        assert!(std::fs::read_dir(&path).unwrap().next().is_none());
        let file = above.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(StagingDirectory::open(&file, SLOT_BYTES).is_err());
    }
}
