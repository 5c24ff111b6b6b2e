//! The staging directory: bytes for which memory has no room, and the logs of what is not stored.
//!
//! Each mount has a directory of its own in it, locked as long as its process lives.
//!
//! Each file that is written has at most one file of chunks in it, made when it is first needed and without a name, so that nothing is left
//! behind by a crash. Chunks are ranges of it: their room is reserved before anything is written, so a full disk is noticed before
//! bytes are taken, and punched out when they are let go.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, Flock, FlockArg, fallocate};

/// Bytes of a chunk on disk: the disk is asked for room once for several writes.
const SLOT_BYTES: u64 = 4 << 20;

/// What the directories of mounts are called. What does not begin so is nobody's yet.
pub(super) const OWN_PREFIX: &str = "mount-";

/// `--staging-dir`: a directory for bytes that memory has no room for, and for the logs of what is not stored; and how many bytes there may be.
#[derive(Debug)]
pub struct StagingDirectory {
    /// This mount's own, in the directory.
    own: PathBuf,
    /// Says that the mount lives.
    _lock: Flock<File>,
    endpoint: String,
    bucket: String,
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
    /// If it cannot be made, or nothing in it.
    pub fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let mut making = DirBuilder::new();
        making.recursive(true).mode(0o700).create(path)?;
        let (own, lock) = own(path)?;
        let directory = Self {
            own,
            _lock: lock,
            endpoint: String::new(),
            bucket: String::new(),
            bytes_max,
            used: Arc::default(),
            next: AtomicU64::new(0),
        };
        directory.spill()?;
        Ok(directory)
    }

    /// The same, for files of a bucket: whoever recovers them is told where they belong.
    #[must_use]
    pub fn of_bucket(mut self, endpoint: String, bucket: String) -> Self {
        (self.endpoint, self.bucket) = (endpoint, bucket);
        self
    }

    /// Bytes that chunks take.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Room for `wanted` bytes at least; `None` if there is none.
    pub(super) fn slot(&self, wanted: usize, spill: &mut Option<Arc<Spill>>) -> Option<Slot> {
        let bytes = (wanted as u64).max(SLOT_BYTES);
        if !self.take(bytes) {
            return None;
        }
        let release = || self.release(bytes);
        if spill.is_none() {
            match self.spill() {
                Ok(made) => *spill = Some(Arc::new(made)),
                Err(error) => {
                    tracing::warn!(%error, directory = %self.own.display(), "no staging file can be made");
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

    pub(super) fn own(&self) -> &Path {
        &self.own
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn bucket(&self) -> &str {
        &self.bucket
    }

    /// A number that no other file in the mount's directory has.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes room for so many bytes; false if there is none.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                (used + bytes <= self.bytes_max).then_some(used + bytes)
            });
        taken.is_ok()
    }

    pub(super) fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A file without a name.
    fn spill(&self) -> io::Result<Spill> {
        let path = self.own.join(format!("{}.chunks", self.number()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path)?;
        std::fs::remove_file(&path)?;
        let end = AtomicU64::new(0);
        Ok(Spill { file, end })
    }
}

impl Drop for StagingDirectory {
    fn drop(&mut self) {
        // What could not be stored stays in it, and then it stays too.
        let _: io::Result<()> = std::fs::remove_dir(&self.own);
    }
}

/// Makes the directory of one mount. It gets its name when it is locked: nobody may take it for that of a mount that has died.
fn own(path: &Path) -> io::Result<(PathBuf, Flock<File>)> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_nanos();
    let name = format!("{OWN_PREFIX}{}-{now}", std::process::id());
    let new = path.join(format!(".{name}"));
    DirBuilder::new().mode(0o700).create(&new)?;
    let lock = Flock::lock(File::open(&new)?, FlockArg::LockExclusiveNonblock);
    let lock = lock.map_err(|(_, error)| io::Error::from(error))?;
    let own = path.join(name);
    std::fs::rename(new, &own)?;
    Ok((own, lock))
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
            let directory = StagingDirectory::open(&path, SLOT_BYTES).unwrap();
            let own = std::fs::metadata(directory.own()).unwrap();
            assert_eq!(own.permissions().mode() & 0o7777, 0o700);
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
        assert!(std::fs::read_dir(&path).unwrap().next().is_none());
        let file = above.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(StagingDirectory::open(&file, SLOT_BYTES).is_err());
    }
}
