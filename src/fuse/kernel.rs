//! What a session can be asked, and told to tell the kernel, from outside its requests.

use std::ffi::OsStr;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fuser::Notifier;

use super::answer::number;
use super::pending::Pending;
use crate::fs::{Dropped, FileSystem};

/// A request of the kernel that a task works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// The kernel's word for it: `read`, `lookup`.
    pub op: &'static str,
    /// The path that it is about, from the mount's root; `None` if its inode is gone.
    pub path: Option<String>,
    /// How long ago it came.
    pub age: Duration,
    /// How long nothing has moved.
    pub idle: Duration,
}

/// A session as whoever looks after it sees it. Cheap to clone.
#[derive(Clone)]
pub struct Kernel {
    pub(super) pending: Arc<Pending>,
    pub(super) fs: Arc<FileSystem>,
    pub(super) notifier: Notifier,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel")
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

impl Kernel {
    /// The requests in flight, oldest first, at most `max`.
    #[must_use]
    pub fn in_flight(&self, max: usize) -> Vec<InFlight> {
        let mut ops = self.pending.all();
        ops.sort_by_key(|op| std::cmp::Reverse(op.age()));
        let oldest = ops.into_iter().take(max);
        oldest
            .map(|op| InFlight {
                op: op.name(),
                path: path(&self.fs, op.ino()),
                age: op.age(),
                idle: op.idle(),
            })
            .collect()
    }

    /// Has `path`, from the mount's root, and all below it asked for anew, by us and by the kernel. Says how many names the kernel was
    /// told to drop.
    ///
    /// It waits for locks of the kernel that requests in flight may hold: not for a thread that answers any.
    #[must_use]
    pub fn invalidate(&self, path: &str) -> usize {
        let mut count = 0;
        self.fs.invalidate(path, |names| {
            count += names.len();
            for name in &names {
                self.drop_name(name);
            }
        });
        count
    }

    /// What the kernel does not know any more it has dropped already, and says so by an error.
    fn drop_name(&self, dropped: &Dropped) {
        if let Some(ino) = dropped.ino {
            let _ = self.notifier.inval_inode(number(ino), 0, 0);
        }
        if !dropped.name.is_empty() {
            let name = OsStr::new(&dropped.name);
            let _ = self.notifier.inval_entry(number(dropped.parent), name);
        }
    }
}

/// The path of an inode that a request is about.
pub(super) fn path(fs: &FileSystem, ino: u64) -> Option<String> {
    crate::tree::Ino::new(ino).and_then(|ino| fs.path(ino))
}
