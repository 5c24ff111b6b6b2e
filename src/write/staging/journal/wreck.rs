//! What crashed mounts have left in a staging directory.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};

use super::super::directory::OWN_PREFIX;
use super::head::Head;
use crate::object::ObjectKey;

/// The directory of a mount whose process has died. As long as this lives, nobody else takes it for that.
#[derive(Debug)]
pub struct CrashedMount {
    path: PathBuf,
    _lock: Flock<File>,
    files: Vec<UnfinishedFile>,
    /// Heads that are damaged.
    damaged: Vec<PathBuf>,
}

/// A file that was written and not stored, or not all of it.
#[derive(Debug)]
pub struct UnfinishedFile {
    key: ObjectKey,
    pub(super) head_path: PathBuf,
    pub(super) head: Head,
    /// Those that count, in their order.
    pub(super) segments: Vec<PathBuf>,
    modified: SystemTime,
}

impl CrashedMount {
    /// All in a staging directory that belong to this user; none if there is no such directory. Those of mounts that live are left out,
    /// and what holds no file is removed.
    ///
    /// # Errors
    /// If a directory cannot be read.
    pub fn find(staging: &Path) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(staging) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            if is_of_a_mount(&entry.file_name())
                && let Some(crashed) = Self::take(entry.path())?
            {
                found.push(crashed);
            }
        }
        found.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(found)
    }

    /// `None` if its mount lives, if somebody else looks at it, or if there is nothing in it.
    fn take(path: PathBuf) -> io::Result<Option<Self>> {
        let directory = match File::open(&path) {
            Ok(directory) => directory,
            // It has just ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // Another user's.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = directory.metadata()?;
        if !metadata.is_dir() || metadata.uid() != nix::unistd::geteuid().as_raw() {
            return Ok(None);
        }
        let Ok(lock) = Flock::lock(directory, FlockArg::LockExclusiveNonblock) else {
            return Ok(None);
        };
        let mut crashed = Self {
            path,
            _lock: lock,
            files: Vec::new(),
            damaged: Vec::new(),
        };
        crashed.look()?;
        let is_empty = crashed.files.is_empty() && crashed.damaged.is_empty();
        Ok((!is_empty).then_some(crashed))
    }

    fn look(&mut self) -> io::Result<()> {
        let mut heads = Vec::new();
        let mut others = HashSet::new();
        let mut segments: BTreeMap<u64, BTreeMap<u32, PathBuf>> = BTreeMap::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let words: Vec<&str> = name.unwrap_or_default().split('.').collect();
            let number = |word: &str| word.parse::<u64>().ok();
            match words[..] {
                [log, "head"] if let Some(log) = number(log) => heads.push((log, path)),
                [log, segment, "log"]
                    if let (Some(log), Ok(segment)) = (number(log), segment.parse()) =>
                {
                    segments.entry(log).or_default().insert(segment, path);
                }
                // What else may lie there is not ours.
                [own, .., "head" | "log" | "new" | "chunks"] if number(own).is_some() => {
                    others.insert(path);
                }
                _ => {}
            }
        }
        for (log, head_path) in heads {
            let mut of_log = segments.remove(&log).unwrap_or_default();
            let head = Head::load(&head_path)?;
            let key = head
                .as_ref()
                .and_then(|head| ObjectKey::new(head.key.as_str()).ok());
            let (Some(head), Some(key)) = (head, key) else {
                self.damaged.push(head_path);
                self.damaged.extend(of_log.into_values());
                continue;
            };
            let counting = of_log.split_off(&head.first);
            others.extend(of_log.into_values());
            let segments: Vec<PathBuf> = counting.into_values().collect();
            let mut modified = fs::metadata(&head_path)?.modified()?;
            let mut bytes = 0;
            for segment in &segments {
                let found = fs::metadata(segment)?;
                modified = modified.max(found.modified()?);
                bytes += found.len();
            }
            if bytes == 0 && !head.is_given_up {
                others.insert(head_path);
                others.extend(segments);
                continue;
            }
            self.files.push(UnfinishedFile {
                key,
                head_path,
                head,
                segments,
                modified,
            });
        }
        // Without a head they are of files that were stored.
        others.extend(segments.into_values().flat_map(BTreeMap::into_values));
        others.iter().for_each(|path| remove(path));
        Ok(())
    }

    /// Its files.
    #[must_use]
    pub fn files(&self) -> &[UnfinishedFile] {
        &self.files
    }

    /// How many files cannot even be named: the machine has died, or the disk.
    #[must_use]
    pub fn damaged(&self) -> usize {
        let is_head = |path: &&PathBuf| path.extension().is_some_and(|word| word == "head");
        self.damaged.iter().filter(is_head).count()
    }

    /// Removes what is damaged.
    pub fn remove_damaged(&mut self) {
        self.damaged.drain(..).for_each(|path| remove(&path));
    }
}

impl Drop for CrashedMount {
    fn drop(&mut self) {
        // What holds files stays.
        let _: io::Result<()> = fs::remove_dir(&self.path);
    }
}

impl UnfinishedFile {
    /// The key that it was to be stored as.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// The bucket that it was to be stored in.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.head.bucket
    }

    /// Where that bucket is, as the mount was told.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.head.endpoint
    }

    /// When it was changed last.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        self.modified
    }

    /// Removes it from the staging directory.
    pub fn remove(&self) {
        // First: segments without a head are nothing.
        remove(&self.head_path);
        self.segments.iter().for_each(|path| remove(path));
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(%error, path = %path.display(), "cannot be removed");
    }
}
/// True for the name of a mount's directory, `mount-PID-TIME`.
fn is_of_a_mount(name: &OsStr) -> bool {
    let rest = name.to_str().and_then(|name| name.strip_prefix(OWN_PREFIX));
    let words = rest.and_then(|rest| rest.split_once('-'));
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    words.is_some_and(|(pid, time)| is_number(pid) && is_number(time))
}
