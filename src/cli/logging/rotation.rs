//! A log file that begins anew when it is full.
//!
//! `log` becomes `log.1`, `log.1` becomes `log.2`, and so on; what is too old is overwritten. Crates for this bring a calendar and a
//! compressor, and none looks whose file it opens ([`open`]).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The permission bit of a directory in which any user may make files.
const OTHERS_WRITE: u32 = 0o002;

/// When a log file begins anew, and what becomes of the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Rotation {
    /// Bytes of one file; `u64::MAX` is no bound.
    pub(in crate::cli) bytes_max: u64,
    /// Old files that are kept beside the one that is written.
    pub(in crate::cli) kept: u16,
}

impl Default for Rotation {
    /// 64 MiB and three old ones: a day of a busy mount at INFO, an hour at DEBUG.
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            kept: 3,
        }
    }
}

/// A log file that is appended to, line by line.
#[derive(Debug)]
pub(super) struct Rotating {
    file: File,
    path: PathBuf,
    rotation: Rotation,
    /// Bytes in the file, as far as this process knows.
    bytes: u64,
    /// Bytes at which it begins anew. More than `rotation` says after a failure, so that not every line tries again.
    full_at: u64,
}

impl Rotating {
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let file = open(path)?;
        let found = file.metadata()?;
        Ok(Self {
            bytes: found.len(),
            // A pipe, a terminal or /dev/null has no size, and is not ours to rename.
            full_at: if found.is_file() {
                rotation.bytes_max
            } else {
                u64::MAX
            },
            file,
            path: path.to_owned(),
            rotation,
        })
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        // Somebody else has moved it away (logrotate, another mount with this log): a new one is made, and theirs left alone.
        if is_at(&self.file, &self.path) {
            match self.rotation.kept {
                0 => fs::remove_file(&self.path)?,
                kept => self.age(kept)?,
            }
        }
        self.file = open(&self.path)?;
        self.bytes = self.file.metadata()?.len();
        self.full_at = self.rotation.bytes_max;
        Ok(())
    }

    fn age(&self, kept: u16) -> io::Result<()> {
        for age in (1..kept).rev() {
            match fs::rename(self.old(age), self.old(age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&self.path, self.old(1))
    }

    fn old(&self, age: u16) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{age}"));
        PathBuf::from(name)
    }
}

impl Write for Rotating {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.bytes > 0
            && self.bytes.saturating_add(line.len() as u64) > self.full_at
            && let Err(error) = self.begin_anew()
        {
            self.full_at = self.bytes.saturating_add(self.rotation.bytes_max);
            // There is no other place to say it. A line that is lost says no more than a disk that is full.
            let _ = writeln!(self.file, "the log cannot begin anew: {error}");
        }
        let written = self.file.write(line)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// True if this open file is what the path names.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

/// Opens a log to be appended to, readable by us alone if it is new.
///
/// In a directory where others may write, such as the temporary one, whatever has the name may be somebody else's trap: a
/// link to a file of ours, a pipe that nobody reads, a file that only waits for what we write. It must be our own file.
fn open(path: &Path) -> io::Result<File> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let is_shared = fs::metadata(parent.unwrap_or(Path::new(".")))?.mode() & OTHERS_WRITE != 0;
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    if !is_shared {
        return options.open(path);
    }
    let log = options
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let found = log.metadata()?;
    let is_ours = found.is_file() && found.uid() == nix::unistd::geteuid().as_raw();
    if is_ours && found.nlink() == 1 {
        Ok(log)
    } else {
        Err(io::Error::other(
            "somebody else put it into a directory that all may write to; choose another place",
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn text(path: &Path, end: &str) -> String {
        let mut name = OsString::from(path);
        name.push(end);
        fs::read_to_string(name).unwrap_or_default()
    }

    #[test]
    fn a_log_in_a_shared_directory_is_our_own_file() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let (log, link, pipe) = (
            place.path().join("log"),
            place.path().join("link"),
            place.path().join("pipe"),
        );
        symlink(&log, &link)?;
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU)?;
        assert!(open(&link).is_ok(), "nobody else can have made it");
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o1777))?;
        assert!(open(&log).is_ok());
        assert!(open(&link).is_err());
        assert!(open(&pipe).is_err(), "it would wait for a reader");
        fs::hard_link(&log, place.path().join("other name"))?;
        assert!(open(&log).is_err());
        Ok(())
    }

    #[test]
    fn a_full_log_begins_anew_and_the_oldest_goes() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let path = place.path().join("log");
        fs::write(&path, "old\n")?;
        let rotation = Rotation {
            bytes_max: 8,
            kept: 2,
        };
        let mut log = Rotating::open(&path, rotation)?;
        for line in ["aaa\n", "bbbb\n", "cc\n", "longer than a file\n", "d\n"] {
            log.write_all(line.as_bytes())?;
        }
        // No line is split, and what was there before counts.
        assert_eq!(text(&path, ""), "d\n");
        assert_eq!(text(&path, ".1"), "longer than a file\n");
        assert_eq!(text(&path, ".2"), "bbbb\ncc\n");
        assert_eq!(fs::read_dir(place.path())?.count(), 3);
        Ok(())
    }

    #[test]
    fn without_old_files_a_full_log_is_one_file() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let path = place.path().join("log");
        let rotation = Rotation {
            bytes_max: 4,
            kept: 0,
        };
        let mut log = Rotating::open(&path, rotation)?;
        for line in ["aaa\n", "bbb\n"] {
            log.write_all(line.as_bytes())?;
        }
        assert_eq!(text(&path, ""), "bbb\n");
        assert_eq!(fs::read_dir(place.path())?.count(), 1);
        Ok(())
    }

    #[test]
    fn a_log_that_was_moved_away_is_left_alone() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let path = place.path().join("log");
        let rotation = Rotation {
            bytes_max: 4,
            kept: 1,
        };
        let mut log = Rotating::open(&path, rotation)?;
        log.write_all(b"aaa\n")?;
        fs::rename(&path, place.path().join("log-20260101"))?;
        log.write_all(b"bbb\n")?;
        assert_eq!(text(&path, ""), "bbb\n");
        assert_eq!(text(&path, "-20260101"), "aaa\n");
        assert_eq!(text(&path, ".1"), "");
        Ok(())
    }

    #[test]
    fn a_log_that_cannot_begin_anew_goes_on() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let path = place.path().join("log");
        // A directory that is not empty cannot be overwritten by a file.
        fs::create_dir_all(place.path().join("log.1/x"))?;
        let rotation = Rotation {
            bytes_max: 64,
            kept: 1,
        };
        let mut log = Rotating::open(&path, rotation)?;
        for _ in 0..32 {
            log.write_all(b"aaa\n")?;
        }
        let found = text(&path, "");
        assert_eq!(found.matches("aaa\n").count(), 32);
        assert!(found.matches("cannot begin anew").count() <= 2, "{found}");
        Ok(())
    }

    #[test]
    fn what_is_no_file_is_not_moved() -> io::Result<()> {
        let rotation = Rotation {
            bytes_max: 1,
            kept: 1,
        };
        let mut log = Rotating::open(Path::new("/dev/null"), rotation)?;
        log.write_all(b"aaa\n")?;
        log.write_all(b"bbb\n")?;
        assert!(!Path::new("/dev/null.1").exists());
        Ok(())
    }
}
