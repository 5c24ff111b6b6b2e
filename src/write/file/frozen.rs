//! A file whose name is about to change.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::OwnedMutexGuard;

use super::super::commit::Committed;
use super::super::error::Error;
use super::File;
use crate::op::Op;

/// While it lives nothing of its file is stored, goes up or is let go, but by [`Frozen::commit`]: who changes the name knows what the bucket has of it, and
/// no upload is begun under a name that the file is about to lose. Reading and writing go on, as far as staging has room.
#[derive(Debug)]
pub struct Frozen {
    file: Arc<File>,
    _turn: OwnedMutexGuard<()>,
}

impl Frozen {
    fn new(file: &Arc<File>, turn: OwnedMutexGuard<()>) -> Self {
        file.lock().is_frozen = true;
        file.writer.frozen.fetch_add(1, Ordering::SeqCst);
        Self {
            file: Arc::clone(file),
            _turn: turn,
        }
    }

    /// What is frozen.
    #[must_use]
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// [`File::commit`], which waits until the file is frozen no more.
    ///
    /// # Errors
    /// As there.
    pub async fn commit(&self, op: &Op) -> Result<Committed, Error> {
        self.file.commit_in_turn(op).await
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.file.lock().is_frozen = false;
        let writer = &self.file.writer;
        writer.frozen.fetch_sub(1, Ordering::SeqCst);
        // Who waits for room may have it from this file again.
        writer.staging.space().freed().notify_waiters();
    }
}

impl File {
    /// Waits until no commit runs, and keeps everybody else from beginning one.
    pub async fn freeze(self: &Arc<Self>) -> Frozen {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        Frozen::new(self, turn)
    }

    /// The same at once; `None` if a commit runs, or if it is frozen.
    #[must_use]
    pub fn try_freeze(self: &Arc<Self>) -> Option<Frozen> {
        let turn = Arc::clone(&self.turn).try_lock_owned().ok()?;
        Some(Frozen::new(self, turn))
    }
}
