//! A mount of its own, and reading through it.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::plan::RANDOM_BYTES;
use super::{Done, IN_FLIGHT, Until, WRITE_BYTES};
use crate::fuse;

/// One read(2) or write(2).
const PIECE_BYTES: usize = 1 << 20;

/// Options that would let the mount begin with what an earlier one has read, and those of a file of settings that are of another mount.
const UNSET: [&str; 4] = ["--cache-dir", "--cache-size", "--metrics", "--stats-file"];

/// A directory of this process, with a mountpoint in it. It is removed at the end.
#[derive(Debug)]
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new() -> Result<Self> {
        let directory = env::temp_dir().join(format!("rolefs-bench-{}", std::process::id()));
        let make = |path: &Path| DirBuilder::new().mode(0o700).create(path);
        let made = make(&directory).and_then(|()| make(&directory.join("mnt")));
        made.with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self(directory))
    }

    pub(super) fn mountpoint(&self) -> PathBuf {
        self.0.join("mnt")
    }

    /// Mounts by the words of a command line, without what an earlier mount has left on a disk.
    pub(super) fn mount(self, mut words: Vec<OsString>, is_written: bool) -> Result<OwnMount> {
        for option in UNSET {
            let is_typed = words
                .iter()
                .any(|word| word.to_string_lossy().starts_with(option));
            if !is_typed {
                words.push(format!("{option}=").into());
            }
        }
        let own = env::current_exe().context("cannot find the own executable")?;
        let mounted = Command::new(own)
            .args(words)
            // Above files and profiles; flags of the user go before.
            .env("ROLEFS_FOREGROUND", "0")
            .env("ROLEFS_READ_ONLY", if is_written { "0" } else { "1" })
            .env("ROLEFS_LOG_FILE", self.0.join("log"))
            .stdin(Stdio::null())
            // No key of the terminal ends it between two thoughts: what it mounts is ended here.
            .process_group(0)
            .output()
            .context("cannot mount")?;
        let said = String::from_utf8_lossy(&mounted.stderr);
        let said = said.trim().trim_start_matches("rolefs: ");
        ensure!(mounted.status.success(), "{said}");
        Ok(OwnMount {
            place: self,
            is_mounted: true,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The files of this process, by their names: nothing of a mount that is still there.
        for name in ["log", "log.1", "log.2", "log.3"] {
            let _ = fs::remove_file(self.0.join(name));
        }
        let _ = fs::remove_dir(self.mountpoint());
        let _ = fs::remove_dir(&self.0);
    }
}

/// The mount. Dropping it takes it away.
#[derive(Debug)]
pub(super) struct OwnMount {
    place: Place,
    is_mounted: bool,
}

impl OwnMount {
    /// Ends it.
    pub(super) fn end(mut self) -> Result<()> {
        self.is_mounted = false;
        fuse::unmount(&self.place.mountpoint(), false).context("cannot unmount")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.place.mountpoint().join(path)
    }

    /// Reads files one after the other.
    pub(super) fn stream(&self, paths: &[String], until: &Until) -> Result<Done> {
        let started = Instant::now();
        let mut done = Done::default();
        let mut buffer = vec![0; PIECE_BYTES];
        for path in paths {
            if until.is_over() {
                break;
            }
            done.bytes += read(&self.at(path), &mut buffer, until)?;
            done.files += 1;
        }
        done.took = started.elapsed();
        Ok(done)
    }

    /// Reads files by many threads.
    pub(super) fn small(&self, paths: &[String], until: &Until) -> Result<Done> {
        let (next, started) = (AtomicUsize::new(0), Instant::now());
        let reader = || {
            let mut done = Done::default();
            let mut buffer = vec![0; PIECE_BYTES];
            while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.bytes += read(&self.at(path), &mut buffer, until)?;
                if until.is_over() {
                    break;
                }
                done.files += 1;
            }
            anyhow::Ok(done)
        };
        let mut all = Done::default();
        thread::scope(|scope| {
            let readers: Vec<_> = (0..IN_FLIGHT).map(|_| scope.spawn(reader)).collect();
            for reader in readers {
                let done = reader
                    .join()
                    .map_err(|_| anyhow!("a reader has ended early"))??;
                all.files += done.files;
                all.bytes += done.bytes;
            }
            anyhow::Ok(())
        })?;
        all.took = started.elapsed();
        Ok(all)
    }

    /// How long each read of 4 KiB takes, one after the other.
    pub(super) fn random(
        &self,
        path: &str,
        places: &[u64],
        until: &Until,
    ) -> Result<Vec<Duration>> {
        let path = self.at(path);
        let context = || path.display().to_string();
        let file = File::open(&path).with_context(context)?;
        let mut buffer = vec![0; usize::try_from(RANDOM_BYTES)?];
        let mut took = Vec::new();
        for &at in places {
            if until.is_over() {
                break;
            }
            let started = Instant::now();
            file.read_exact_at(&mut buffer, at).with_context(context)?;
            took.push(started.elapsed());
        }
        Ok(took)
    }

    /// Writes one file below a directory, and removes both.
    pub(super) fn write(&self, directory: &str, until: &Until) -> Result<Done> {
        let directory = self.at(directory);
        let context = || directory.display().to_string();
        fs::create_dir(&directory).with_context(context)?;
        let path = directory.join("file");
        let written = write(&path, until);
        // Also after a failure.
        let removed = fs::remove_file(&path).and_then(|()| fs::remove_dir(&directory));
        let done = written.with_context(context)?;
        removed.with_context(|| format!("cannot remove {}", directory.display()))?;
        Ok(done)
    }
}

impl Drop for OwnMount {
    fn drop(&mut self) {
        if self.is_mounted {
            // Something else has failed before, and is told.
            let _ = fuse::unmount(&self.place.mountpoint(), true);
        }
    }
}

fn read(path: &Path, buffer: &mut [u8], until: &Until) -> Result<u64> {
    let context = || path.display().to_string();
    let mut file = File::open(path).with_context(context)?;
    let mut bytes = 0;
    loop {
        match file.read(buffer).with_context(context)? {
            0 => return Ok(bytes),
            some => bytes += some as u64,
        }
        if until.is_over() {
            return Ok(bytes);
        }
    }
}

/// What is written is stored when this returns.
fn write(path: &Path, until: &Until) -> Result<Done> {
    let mut piece = vec![0; PIECE_BYTES];
    fastrand::Rng::with_seed(2).fill(&mut piece);
    let started = Instant::now();
    let mut file = File::create(path)?;
    let mut bytes = 0;
    while bytes < WRITE_BYTES && !until.is_over() {
        file.write_all(&piece)?;
        bytes += piece.len() as u64;
    }
    file.sync_all()?;
    Ok(Done {
        files: 1,
        bytes,
        took: started.elapsed(),
    })
}
