//! Asks the kernel to forget names, when it holds too many.
//!
//! A thread of its own does it: the kernel takes locks for it, and may wait for a request that we have yet to answer. So nobody
//! who answers requests ever waits for this thread; they only wake it ([`FileSystem::when_crowded`]).
//!
//! Linux 6.18 has a request for the purpose: `FUSE_NOTIFY_PRUNE` drops the inodes it is given, unless they are in use, and
//! takes no lock of a directory. Before that only names could be invalidated, one by one, each under the lock of its
//! directory: new lookups there wait for it, and it waits for those that are under way.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use fuser::Notifier;

use super::answer::number;
use crate::fs::FileSystem;
use crate::tree::{Choice, Cold, Left};

/// Names that the kernel is asked to forget at once; it answers with as many FORGETs.
const BATCH: usize = 256;

/// Names that were in use when the kernel was asked are asked for again when nothing has moved for so long.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// `FUSE_NOTIFY_PRUNE` of `linux/fuse.h` (7.45).
const NOTIFY_PRUNE: u32 = 9;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Forgetting {
    ends: Arc<AtomicBool>,
    waker: SyncSender<()>,
}

impl Forgetting {
    /// Starts the thread. `fd` is the session's descriptor, or a copy.
    pub(super) fn start(fs: Arc<FileSystem>, fd: OwnedFd, notifier: Notifier) -> io::Result<Self> {
        // One waking stands for all that come before it is heard.
        let (waker, wakings) = sync_channel(1);
        fs.when_crowded(waker.clone());
        let ends = Arc::new(AtomicBool::new(false));
        let asking = Asking {
            fs,
            ends: Arc::clone(&ends),
            kernel: File::from(fd),
            notifier,
            can_prune: true,
        };
        // Not joined: it may wait in the kernel, and ends with its session.
        thread::Builder::new()
            .name("forgetting".to_owned())
            .spawn(move || asking.run(&wakings))?;
        Ok(Self { ends, waker })
    }
}

impl Drop for Forgetting {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        // Full: it will wake anyway.
        let _ = self.waker.try_send(());
    }
}

struct Asking {
    fs: Arc<FileSystem>,
    ends: Arc<AtomicBool>,
    kernel: File,
    notifier: Notifier,
    can_prune: bool,
}

impl Asking {
    fn run(mut self, wakings: &Receiver<()>) {
        let mut left = Left::Nothing;
        let mut said = false;
        loop {
            let choice = match left {
                Left::Nothing => wakings.recv().map(|()| Choice::New).ok(),
                Left::More => match wakings.recv_timeout(AGAIN_AFTER) {
                    Ok(()) => Some(Choice::New),
                    Err(RecvTimeoutError::Timeout) => Some(Choice::Again),
                    Err(RecvTimeoutError::Disconnected) => None,
                },
                // Every lookup wakes this thread now, and each search takes the tree's lock for nothing.
                Left::InVain => self.rest(wakings).then_some(Choice::Again),
            };
            let Some(choice) = choice.filter(|_| !self.ends.load(Ordering::Acquire)) else {
                return;
            };
            if !std::mem::replace(&mut said, true) {
                tracing::warn!(
                    "more than {} names are in use: those that were used longest ago are asked for again when they are used; \
                     --max-cached-names keeps more, 200 bytes each",
                    self.fs.names_max()
                );
            }
            let cold;
            (cold, left) = self.fs.coldest(BATCH, choice);
            if !cold.is_empty() {
                tracing::trace!(names = cold.len(), "the kernel is asked to forget");
                self.forget(&cold);
            }
        }
    }

    /// Hears no waking for a while; false if it is the end.
    fn rest(&self, wakings: &Receiver<()>) -> bool {
        let until = Instant::now() + AGAIN_AFTER;
        while !self.ends.load(Ordering::Acquire) {
            match wakings.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        false
    }

    /// What the kernel does not forget now, it is asked for again later: so errors are of no account.
    fn forget(&mut self, cold: &[Cold]) {
        if self.can_prune {
            match self.kernel.write_all(&prune(cold)) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    tracing::debug!(
                        "the kernel knows no FUSE_NOTIFY_PRUNE: names are invalidated one by one"
                    );
                    self.can_prune = false;
                }
                Ok(()) | Err(_) => return,
            }
        }
        for cold in cold {
            // Not there: the kernel has forgotten it by itself meanwhile.
            let _ = self
                .notifier
                .inval_entry(number(cold.parent), OsStr::new(&*cold.name));
        }
    }
}

/// `fuse_out_header`, `fuse_notify_prune_out`, and the inodes.
fn prune(cold: &[Cold]) -> Vec<u8> {
    let count = u32::try_from(cold.len()).unwrap_or(u32::MAX);
    let len = 16 + 16 + 8 * count;
    let mut message = Vec::new();
    // An answer to no request: `unique` is 0, and `error` says what it is.
    for word in [len, NOTIFY_PRUNE, 0, 0, count, 0, 0, 0] {
        message.extend(word.to_ne_bytes());
    }
    for cold in cold {
        message.extend(cold.ino.get().to_ne_bytes());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Ino;

    #[test]
    fn the_message_is_as_long_as_it_says() {
        let cold = |ino: u64| Cold {
            ino: Ino::new(ino).unwrap_or(Ino::ROOT),
            parent: Ino::ROOT,
            name: "n".into(),
        };
        let message = prune(&[cold(7), cold(9)]);
        assert_eq!(message.len(), 48);
        assert_eq!(message[..4], 48_u32.to_ne_bytes());
        assert_eq!(message[4..8], 9_u32.to_ne_bytes());
        assert_eq!(message[8..16], [0; 8]);
        assert_eq!(message[16..20], 2_u32.to_ne_bytes());
        assert_eq!(message[32..40], 7_u64.to_ne_bytes());
        assert_eq!(message[40..], 9_u64.to_ne_bytes());
    }
}
