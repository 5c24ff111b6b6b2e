//! How the kernel is told to read an open file.

use super::FileSystem;
use crate::tree::Ino;

/// How the kernel reads an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Through its page cache, which keeps what was read.
    Cached,
    /// Past its page cache: each read(2) is one READ, and only a mapping is cached.
    Direct,
}

/// An open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// To read from, and to release.
    pub handle: u64,
    /// How the kernel should read it.
    pub mode: Mode,
}

impl FileSystem {
    /// How a file should be read, by the rule that its path falls under.
    pub(super) fn mode(&self, ino: Ino) -> Mode {
        if self.config.direct.is_empty() {
            return Mode::Cached;
        }
        let path = self.tree().path_in_mount(ino);
        match path {
            Ok(path) if self.config.direct.matches(&path) => Mode::Direct,
            Ok(_) | Err(_) => Mode::Cached,
        }
    }
}
