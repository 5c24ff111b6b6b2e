//! Pipes, sockets and devices: names of this mount alone.
//!
//! OSS has nothing that could be one, and another node could not use it: what passes through a pipe or a socket stays in one kernel.
//! So they are local names that are never stored, as long as the mount. The kernel opens them by itself and asks only for their
//! attributes. Whatever the bucket has under such a name is hidden, and left alone.

use std::time::{Instant, SystemTime};

use super::file::LocalFile;
use super::node::{Ino, Node, What};
use super::rename::ChangeError;
use super::table::Tree;

/// Of all names, this part may be special files: they are kept until they are unlinked, whoever holds them.
const SPECIALS_SHARE: usize = 8;

/// Special files that there may be, at least.
const SPECIALS_MIN: usize = 64;

/// A file that has no content (mknod(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// `S_IFIFO`: a named pipe.
    Fifo,
    /// `S_IFSOCK`: the name that a socket is bound to.
    Socket,
    /// `S_IFCHR`, with its device number as the kernel sends it (`new_encode_dev`).
    CharacterDevice(u32),
    /// `S_IFBLK`, likewise.
    BlockDevice(u32),
}

impl Node {
    /// What special file it is, if it is one.
    #[must_use]
    pub fn special(&self) -> Option<Special> {
        self.file().and_then(LocalFile::special)
    }
}

impl Tree {
    /// Makes a pipe, a socket or a device, which is here until it is unlinked. What is not known must have been asked before, as
    /// for [`Self::create`].
    ///
    /// # Errors
    /// As [`Self::create`]; [`ChangeError::Full`] if there are as many as may be.
    pub fn make_special(
        &mut self,
        parent: Ino,
        name: &str,
        special: Special,
        time: SystemTime,
        now: Instant,
    ) -> Result<Ino, ChangeError> {
        if self.specials >= (self.names_max / SPECIALS_SHARE).max(SPECIALS_MIN) {
            return Err(ChangeError::Full);
        }
        let file = LocalFile::new(0, time, None, now).of(special);
        let ino = self.make(parent, name, What::File(Box::new(file)), now)?;
        self.specials += 1;
        Ok(ino)
    }
}
