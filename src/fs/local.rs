//! Files whose bytes lie in a local file that the kernel may read by itself.
//!
//! An inode is one version, and so is such a file: what the kernel reads from it is what it would have got from us. The
//! handle stays open like any other.

use std::fs::File;
use std::sync::Arc;

use super::FileSystem;
use super::files::Content;
use crate::tree::Ino;

impl FileSystem {
    /// Says whether the kernel can read local files by itself. It cannot until this is called.
    pub fn set_passthrough(&self, can: bool) {
        self.capabilities.set_passthrough(can);
    }

    /// The local file with all bytes of an open handle, if the kernel may read it by itself.
    #[must_use]
    pub fn local(&self, handle: u64) -> Option<Arc<File>> {
        if !self.capabilities.passthrough() {
            return None;
        }
        match self.handle(handle).ok()?.1 {
            Content::Stored(file) => file.local(),
            // The kernel would read the bytes of before.
            Content::Written(_) => None,
        }
    }

    /// True if [`FileSystem::look`] should come before an inode is opened: its first open decides who reads it.
    pub(super) fn needs_look(&self, ino: Ino) -> bool {
        if !self.capabilities.passthrough() {
            return false;
        }
        let is_open = self.open_files().contains_key(&ino);
        let version = self.tree().version(ino);
        !is_open && version.is_ok_and(|version| self.reader.needs_look(&version))
    }

    /// Looks for a local file of an inode. What was found is remembered while the result is held, or the inode is open.
    pub(super) async fn look(&self, ino: Ino) -> Option<impl Send + use<>> {
        if !self.needs_look(ino) {
            return None;
        }
        let version = self.tree().version(ino).ok()?;
        self.reader.look(&version).await
    }
}
