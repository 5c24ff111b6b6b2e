//! The injected file: a JSON object like the service's, without `Code`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use super::config::{ExpirationFormat, FileMode, JobConfig};
use super::faults::FileFault;
use super::job::Sets;
use super::service::json;

/// Only the owner reads secrets.
const FILE_MODE: u32 = 0o600;

/// Writes one job's file.
#[derive(Debug)]
pub(super) struct InjectedFile {
    path: PathBuf,
    mode: FileMode,
    format: ExpirationFormat,
    /// Counts the directories of [`FileMode::Symlink`].
    generation: u64,
    pub(super) fault: FileFault,
}

impl InjectedFile {
    /// The file of a job; `None` if it has none.
    pub(super) fn new(config: &JobConfig) -> Option<Self> {
        Some(Self {
            path: config.credentials_file.clone()?,
            mode: config.file_mode,
            format: config.expiration_format,
            generation: 0,
            fault: FileFault::None,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Has the file show the current set, or what the fault makes of it.
    ///
    /// Blocks for a few system calls, on whatever thread: the file is small, and this is no production code.
    pub(super) fn write(&mut self, sets: &Sets) -> io::Result<()> {
        let current = &sets.current;
        let text = |set| json(set, None, self.format);
        let json = match self.fault {
            FileFault::Stale => return Ok(()),
            FileFault::Missing => return remove(&self.path),
            FileFault::None => text(current),
            FileFault::Torn => {
                let json = text(current);
                json[..json.len() / 2].to_owned()
            }
            FileFault::Mixed => {
                let previous = sets.previous.as_ref().unwrap_or(current);
                let mut mixed = current.clone();
                mixed.security_token.clone_from(&previous.security_token);
                text(&mixed)
            }
        };
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent)?;
        }
        match self.mode {
            FileMode::Rename => self.rename_into_place(&json),
            FileMode::InPlace => self.write_in_place(&json),
            FileMode::Symlink => self.swap_symlink(&json),
        }
    }

    fn name(&self) -> io::Result<&str> {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the file has no name"))
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }

    fn rename_into_place(&self, json: &str) -> io::Result<()> {
        let new = self.beside(&format!(".{}.new", self.name()?));
        create(&new)?.write_all(json.as_bytes())?;
        fs::rename(new, &self.path)
    }

    fn write_in_place(&self, json: &str) -> io::Result<()> {
        let mut file = create(&self.path)?;
        // Two writes: a reader in between sees what a torn file is.
        let (begin, end) = json.as_bytes().split_at(json.len() / 2);
        file.write_all(begin)?;
        file.write_all(end)
    }

    /// As a kubelet does: `credentials -> ..data/credentials`, `..data -> ..1`, and `..data` is replaced by rename.
    fn swap_symlink(&mut self, json: &str) -> io::Result<()> {
        self.generation += 1;
        let name = self.name()?.to_owned();
        let generation = format!("..{}", self.generation);
        let directory = self.beside(&generation);
        remove_directory(&directory)?; // a server that ran here before
        fs::create_dir(&directory)?;
        create(&directory.join(&name))?.write_all(json.as_bytes())?;
        let data = self.beside("..data");
        let old = fs::read_link(&data).ok();
        replace_link(&generation, &data)?;
        let target = format!("..data/{name}");
        if fs::read_link(&self.path).ok().as_deref() != Some(Path::new(&target)) {
            replace_link(&target, &self.path)?;
        }
        match old.and_then(|old| old.to_str().map(|old| self.beside(old))) {
            Some(old) if old != directory => remove_directory(&old),
            _ => Ok(()),
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(path)
}

/// Puts a link to `target` at `path`, atomically over what is there.
fn replace_link(target: &str, path: &Path) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push("_new");
    let new = PathBuf::from(new);
    remove(&new)?;
    symlink(target, &new)?;
    fs::rename(new, path)
}

fn remove(path: &Path) -> io::Result<()> {
    or_absent(fs::remove_file(path))
}

fn remove_directory(path: &Path) -> io::Result<()> {
    or_absent(fs::remove_dir_all(path))
}

fn or_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
