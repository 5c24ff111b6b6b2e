//! One piece of work on its way down from the kernel to the wire.
//!
//! An [`Op`] is made for each request of the kernel, and for each background job (a read-ahead GET, a refresh). It
//! carries what every floor below needs to know of its caller: who asked, whether anything has moved lately, and
//! whether the caller still wants the answer. The reply itself stays in `fuse`: below, nobody knows that there is one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Who asked for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A thread that waits in the kernel for the answer; its id in our pid namespace, 0 if it has none there.
    Thread(u32),
    /// Nobody waits in the kernel.
    Background,
}

/// One operation: identity, caller, progress clock and cancel token. Shared as `Arc<Op>` or borrowed on the way down.
#[derive(Debug)]
pub struct Op {
    id: u64,
    name: &'static str,
    ino: u64,
    caller: Caller,
    started: Instant,
    /// Milliseconds from `started` to the last time anything moved.
    progress_ms: AtomicU64,
    cancel: CancellationToken,
    /// The request id of the last answer.
    answered: Mutex<Option<Box<str>>>,
}

impl Op {
    /// An operation of the kernel on inode `ino`.
    #[must_use]
    pub fn new(name: &'static str, ino: u64, caller: Caller) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name,
            ino,
            caller,
            started: Instant::now(),
            progress_ms: AtomicU64::new(0),
            cancel: CancellationToken::new(),
            answered: Mutex::default(),
        }
    }

    /// An operation that no process waits for.
    #[must_use]
    pub fn background(name: &'static str) -> Self {
        Self::new(name, 0, Caller::Background)
    }

    /// A part of an operation that a process waits for; which one, the whole knows.
    #[must_use]
    pub fn awaited(name: &'static str) -> Self {
        Self::new(name, 0, Caller::Thread(0))
    }

    /// Unique in this process, from 1.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What it does, a kernel or OSS word in lower case.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The inode of the kernel's request, 0 if there is none.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// Who waits for it.
    #[must_use]
    pub fn caller(&self) -> Caller {
        self.caller
    }

    /// How long ago it began.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Something moved: bytes arrived, or a server answered.
    pub fn progressed(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress_ms.store(now, Ordering::Relaxed);
    }

    /// How long nothing has moved.
    #[must_use]
    pub fn idle(&self) -> Duration {
        let last = Duration::from_millis(self.progress_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last)
    }

    /// A server has answered a request of this operation, under that request id.
    pub fn answered(&self, request_id: &str) {
        let id = Some(request_id.into());
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    /// The request id of the last answer to a request of this operation.
    #[must_use]
    pub fn request_id(&self) -> Option<Box<str>> {
        let answered = self.answered.lock();
        answered.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nobody wants the answer any more.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// True once [`Op::cancel`] was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Resolves once [`Op::cancel`] was called.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }
}
