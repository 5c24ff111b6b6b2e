//! One connection to the kernel, from a `/dev/fuse` descriptor to its end.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use fuser::SessionACL;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use super::answer::Answering;
use super::door::Door;
use super::forgetting::Forgetting;
use super::kernel::Kernel;
use super::pending::Pending;
use super::straddled::Straddled;
use crate::fs::FileSystem;
use crate::metrics::Metrics;

/// How a session talks to the kernel.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Threads that take requests from the kernel; hits are answered on them.
    pub threads: usize,
    /// Background requests (the kernel's own read-ahead) that may be in flight.
    pub max_background: u16,
    /// Let the kernel read files of the disk cache by itself, where it can. The number is its `max_stack_depth`: how many file
    /// systems may lie under this one, 1 or 2.
    pub passthrough: Option<u32>,
    /// Who may use the mount: everybody, or only the user of this process.
    pub allow_other: bool,
}

/// A session that has shaken hands with the kernel.
pub struct Session {
    inner: fuser::Session<Door>,
    pending: Arc<Pending>,
    watchdog: AbortOnDropHandle<()>,
    forgetting: Forgetting,
    kernel: Kernel,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Takes a `/dev/fuse` descriptor that is mounted somewhere, or will be. Requests are worked on by `runtime`.
    ///
    /// # Errors
    /// What the handshake with the kernel says.
    pub fn new(
        fd: OwnedFd,
        fs: Arc<FileSystem>,
        options: &SessionOptions,
        metrics: Arc<Metrics>,
        runtime: &Handle,
    ) -> io::Result<Self> {
        let pending = Pending::new(Arc::clone(&metrics));
        let watchdog = AbortOnDropHandle::new(runtime.spawn(Arc::clone(&pending).watch()));
        let answering = Answering {
            pending: Arc::clone(&pending),
            runtime: runtime.clone(),
            metrics,
            changes: fs.changes(),
            fs: Arc::clone(&fs),
        };
        let mut config = fuser::Config::default();
        config.n_threads = Some(options.threads);
        let acl = if options.allow_other {
            SessionACL::All
        } else {
            SessionACL::Owner
        };
        config.acl = acl;
        let (copy, straddled) = (fd.try_clone()?, Straddled::new(fd.try_clone()?));
        let door = Door::new(Arc::clone(&fs), answering, straddled, options.clone());
        let inner = fuser::Session::from_fd(door, fd, acl, config)?;
        let kernel = Kernel {
            pending: Arc::clone(&pending),
            fs: Arc::clone(&fs),
            notifier: inner.notifier(),
        };
        let forgetting = Forgetting::start(fs, copy, inner.notifier())?;
        Ok(Self {
            inner,
            pending,
            watchdog,
            forgetting,
            kernel,
        })
    }

    /// What whoever looks after the session can ask and tell, also while it runs.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.kernel.clone()
    }

    /// Takes requests until the mount is gone. Requests that still wait are then given up.
    ///
    /// # Errors
    /// What reading from the kernel says, except that the mount is gone.
    pub fn run(self) -> io::Result<()> {
        let Self {
            inner,
            pending,
            watchdog,
            forgetting,
            kernel: _,
        } = self;
        let ended = inner.run();
        pending.cancel_all();
        drop(watchdog);
        drop(forgetting);
        ended
    }
}
