//! The cache's directory: who may use it, and the files in it. Everything is reached through the directory's descriptor, so
//! what becomes of its path later does not matter.

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::format::{self, Boot, Id};
use super::{Error, NAME};

/// Held while names appear and vanish, by whichever process.
const LOCK: &str = "lock";

/// Which of a version's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What is there; of an object of one block also the bytes.
    Map,
    /// The bytes, at the offsets that they have in the object.
    Data,
}

/// What a look through the directory finds of one version. In the order of their last use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    /// When it was used last; `None` for a data file without a map.
    pub(super) used: Option<SystemTime>,
    pub(super) id: Id,
    /// Bytes that its files take on the disk.
    pub(super) bytes: u64,
}

/// Room on the file system, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) free: u64,
    pub(super) total: u64,
}

/// The open directory.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    /// flock(2) belongs to the open file, so among the threads of this process the mutex excludes.
    lock: Mutex<File>,
    is_overlay: bool,
    can_direct: bool,
    #[cfg(test)]
    pub(super) faults: Faults,
}

/// What tests have go wrong.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// The kernel does not say which start of the machine this is.
    pub(super) no_boot: std::sync::atomic::AtomicBool,
    /// The disk does not take what it is given.
    pub(super) no_sync: std::sync::atomic::AtomicBool,
}

impl Directory {
    /// Opens the cache's directory in `parent`; makes both if they are not there.
    pub(super) fn open(parent: &Path) -> Result<Self, Error> {
        let error = |what: &'static str| {
            let path = parent.display().to_string();
            move |error: io::Error| Error::Unusable { path, what, error }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(error("cannot make the directory"))?;
        let above = File::open(parent).map_err(error("cannot open the directory"))?;
        match mkdirat(&above, NAME, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(error("cannot write there")(errno.into())),
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&above, NAME, flags, Mode::empty())
            .map_err(|errno| error("cannot open rolefs-cache-v1 there")(errno.into()))?;
        let fd = File::from(fd);
        let found = fd.metadata().map_err(error("cannot look at it"))?;
        let me = nix::unistd::geteuid().as_raw();
        // Whoever else can write there decides what bytes this mount shows.
        if found.uid() != me || found.mode() & 0o077 != 0 {
            return Err(Error::NotOurs {
                path: parent.join(NAME).display().to_string(),
                uid: found.uid(),
                mode: found.mode() & 0o7777,
            });
        }
        let fd = OwnedFd::from(fd);
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let lock = openat(&fd, LOCK, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| error("cannot write there")(errno.into()))?;
        let direct = OFlag::O_RDONLY | OFlag::O_DIRECT | OFlag::O_CLOEXEC;
        let can_direct = openat(&fd, LOCK, direct, Mode::empty()).is_ok();
        let is_overlay =
            fstatfs(&fd).is_ok_and(|found| found.filesystem_type() == OVERLAYFS_SUPER_MAGIC);
        Ok(Self {
            fd,
            lock: Mutex::new(File::from(lock)),
            is_overlay,
            can_direct,
            #[cfg(test)]
            faults: Faults::default(),
        })
    }

    /// True if the files are those of an overlay, as in most containers.
    pub(super) fn is_overlay(&self) -> bool {
        self.is_overlay
    }

    /// True if files can be opened for direct I/O.
    pub(super) fn can_direct(&self) -> bool {
        self.can_direct
    }

    /// The start of the machine that this is, if the kernel says so.
    pub(super) fn boot(&self) -> Option<Boot> {
        #[cfg(test)]
        if self
            .faults
            .no_boot
            .load(std::sync::atomic::Ordering::Relaxed)
        {
            return None;
        }
        format::boot()
    }

    /// Brings a file's bytes to the disk. An error is told once: whoever asks again may hear that all is well, for the kernel has
    /// given up the bytes. So what is in the file counts for nothing from then on.
    pub(super) fn sync(&self, data: &File) -> io::Result<()> {
        #[cfg(test)]
        if self
            .faults
            .no_sync
            .load(std::sync::atomic::Ordering::Relaxed)
        {
            return Err(Errno::EIO.into());
        }
        data.sync_data()
    }

    /// Runs `change`, which makes or removes names, while no other thread or process does.
    pub(super) fn locked<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        lock.lock()?;
        let changed = change();
        lock.unlock()?;
        changed
    }

    /// Opens a file that is there.
    pub(super) fn file(&self, id: Id, part: Part) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(&self.fd, name(id, part).as_str(), flags, Mode::empty())?.into())
    }

    /// Makes a file that is not there.
    pub(super) fn create(&self, id: Id, part: Part) -> io::Result<File> {
        let name = name(id, part);
        let flags =
            OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let made = match openat(&self.fd, name.as_str(), flags, mode) {
            Err(Errno::ENOENT) => {
                match mkdirat(&self.fd, &name[..2], Mode::S_IRWXU) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
                openat(&self.fd, name.as_str(), flags, mode)
            }
            made => made,
        };
        Ok(made?.into())
    }

    /// Removes both files, the map first: data without a map is nothing.
    pub(super) fn remove(&self, id: Id) -> io::Result<()> {
        for part in [Part::Map, Part::Data] {
            match unlinkat(
                &self.fd,
                name(id, part).as_str(),
                UnlinkatFlags::NoRemoveDir,
            ) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Room on the file system, as a user without privileges sees it.
    pub(super) fn room(&self) -> io::Result<Room> {
        let found = fstatvfs(&self.fd)?;
        let unit = found.fragment_size();
        Ok(Room {
            free: found.blocks_available() * unit,
            total: found.blocks() * unit,
        })
    }

    /// Shows everything that is cached to `see`. Names that are not ours are passed over.
    ///
    /// A version's files lie in the same of the 256 directories below, and are put together there: it takes the memory of a 256th
    /// of what is cached.
    pub(super) fn scan(&self, mut see: impl FnMut(Found)) -> io::Result<()> {
        (0..=u8::MAX).try_for_each(|byte| {
            self.scan_below(byte)?.into_values().for_each(&mut see);
            Ok(())
        })
    }

    /// What is in one of the directories below.
    fn scan_below(&self, byte: u8) -> io::Result<HashMap<Id, Found>> {
        let mut found = HashMap::new();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let below = match Dir::openat(&self.fd, hex::encode([byte]).as_str(), flags, Mode::empty())
        {
            Ok(below) => below,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(found),
            Err(errno) => return Err(errno.into()),
        };
        let below_fd = below.as_fd().try_clone_to_owned()?;
        for entry in below {
            let entry = entry?;
            let Some((id, part)) = entry
                .file_name()
                .to_str()
                .ok()
                .and_then(|name| parse(byte, name))
            else {
                continue;
            };
            let stat = match fstatat(&below_fd, entry.file_name(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // Removed by another process since.
                Err(_) => continue,
            };
            let item = found.entry(id).or_insert(Found {
                id,
                bytes: 0,
                used: None,
            });
            item.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            if part == Part::Map {
                let secs = u64::try_from(stat.st_mtime).unwrap_or(0);
                let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
                item.used = Some(SystemTime::UNIX_EPOCH + Duration::new(secs, nanos));
            }
        }
        Ok(found)
    }
}

fn name(id: Id, part: Part) -> String {
    let suffix = match part {
        Part::Map => "map",
        Part::Data => "data",
    };
    let hex = hex::encode(id.0);
    format!("{}/{}.{suffix}", &hex[..2], &hex[2..])
}

/// The inverse of [`name`], for a name in the directory of `byte`.
fn parse(byte: u8, name: &str) -> Option<(Id, Part)> {
    let (hex, suffix) = name.split_once('.')?;
    let part = match suffix {
        "map" => Part::Map,
        "data" => Part::Data,
        _ => return None,
    };
    let mut id = [byte; 16];
    hex::decode_to_slice(hex, &mut id[1..]).ok()?;
    Some((Id(id), part))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_name_is_read_back() {
        let id = Id([0xab; 16]);
        for part in [Part::Map, Part::Data] {
            let name = name(id, part);
            let (directory, rest) = name.split_at(2);
            assert_eq!(directory, "ab");
            assert_eq!(parse(0xab, &rest[1..]), Some((id, part)));
        }
        for foreign in ["x", "lock", "abab.map", "zz.data", ""] {
            assert_eq!(parse(0, foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_scan_goes_directory_by_directory() {
        let parent = tempfile::TempDir::new().unwrap();
        let directory = Directory::open(parent.path()).unwrap();
        let ids = [[1; 16], [2; 16], [3; 16]].map(Id);
        for id in ids {
            for part in [Part::Data, Part::Map] {
                let file = directory.create(id, part).unwrap();
                file.write_all_at(&[1; 4096], 0).unwrap();
                file.sync_data().unwrap();
            }
        }
        let mut seen = Vec::new();
        directory
            .scan(|found| {
                // The first is shown before anything of the last is looked at.
                directory.remove(ids[2]).unwrap();
                seen.push((found.id, found.used.is_some(), found.bytes >= 8192));
            })
            .unwrap();
        assert_eq!(seen, [(ids[0], true, true), (ids[1], true, true)]);
    }
}
