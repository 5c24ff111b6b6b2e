//! A file of the model.

use super::steps::Name;

/// An inode of one mount.
pub(super) struct File {
    pub(super) name: Option<Name>,
    pub(super) content: Vec<u8>,
    /// Which bytes are those of the version that it was opened on, or last stored as.
    pub(super) old: Vec<bool>,
    /// ETag and length of that version; `None`: it was created here and is stored nowhere.
    pub(super) base: Option<(String, usize)>,
    pub(super) is_dirty: bool,
}

impl File {
    pub(super) fn is_base(&self, etag: Option<&String>) -> bool {
        self.base.as_ref().map(|(etag, _)| etag) == etag
    }

    /// Nothing differs from its version.
    pub(super) fn is_unchanged(&self) -> bool {
        let len = self.base.as_ref().map(|(_, len)| *len);
        len == Some(self.content.len()) && self.old.iter().all(|old| *old)
    }

    pub(super) fn resize(&mut self, len: usize) {
        self.content.resize(len, 0);
        self.old.resize(len, false);
    }
}
