//! flush, fsync, release, and the end of the mount: when a file is stored.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Written;
use crate::fs::files::Content;
use crate::fs::{Error, FileSystem};
use crate::object::ObjectKey;
use crate::op::Op;
use crate::write::{self, Access, Committed, Decision, HandleId, Process};

/// A file that could not be stored before the end of the mount.
#[derive(Debug, Clone)]
pub struct Unstored {
    /// Its key.
    pub key: ObjectKey,
    /// Bytes that are in no object.
    pub bytes: u64,
    /// Why, if it was tried.
    pub why: Option<String>,
}

impl FileSystem {
    /// A descriptor of a handle was closed: nothing is to be done, or [`FileSystem::commit_handle`] (`None`). `by` says who closes it, `lives`
    /// whether a process still exists; neither is asked where nothing is to be stored.
    #[must_use]
    pub fn flush_known(
        &self,
        handle: u64,
        by: impl FnOnce() -> Option<Process>,
        lives: impl FnOnce(Process) -> bool,
    ) -> Option<Result<(), Error>> {
        let written = match self.handle(handle) {
            Ok((_, Content::Written(written), Access::Write)) => written,
            Ok(_) => return Some(Ok(())),
            Err(error) => return Some(Err(error)),
        };
        if !written.file.is_dirty() {
            // It may have been stored early, to make room, which nobody has told the tree.
            self.tell(&written, None);
            return Some(Ok(()));
        }
        let decision = written.holders().flushed(HandleId(handle), by(), lives);
        match decision {
            Decision::Commit => None,
            Decision::Leave => Some(Ok(())),
        }
    }

    /// True if the file of a handle has bytes that are not stored.
    #[must_use]
    pub fn is_dirty(&self, handle: u64) -> bool {
        match self.handle(handle) {
            Ok((_, Content::Written(written), _)) => written.file.is_dirty(),
            Ok((_, Content::Stored(_), _)) | Err(_) => false,
        }
    }

    /// Stores the file of a handle: returns when the object is there and visible (fsync, and the flush that counts).
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::Conflict`], [`Error::Exists`], [`Error::Denied`], or what else keeps it from being stored. It stays as it
    /// is, can be read in this mount, and the next flush or fsync tries again.
    pub async fn commit_handle(self: &Arc<Self>, op: &Op, handle: u64) -> Result<(), Error> {
        match self.handle(handle)?.1 {
            Content::Written(written) => self.commit(op, &written).await,
            Content::Stored(_) => Ok(()),
        }
    }

    /// Stores a file as it is now.
    pub(in crate::fs) async fn commit(
        self: &Arc<Self>,
        op: &Op,
        written: &Arc<Written>,
    ) -> Result<(), Error> {
        // Until the tree knows: nobody takes it for stored before.
        let pinned = self.pin_again(written);
        let turn = self.turn(&pinned).await;
        // What has no name is stored nowhere.
        let done = match pinned.file.key() {
            Some(_) => self.stored(&pinned, pinned.file.commit(op).await),
            None => Ok(()),
        };
        drop(turn);
        done
    }

    /// What came of a commit: the tree is told, by who has the file's turn.
    pub(super) fn stored(
        &self,
        written: &Written,
        stored: Result<Committed, write::Error>,
    ) -> Result<(), Error> {
        let made = stored.as_ref().ok().and_then(|done| done.made.as_ref());
        self.tell(written, made);
        match stored {
            Ok(_) => Ok(()),
            Err(error) => Err(self.unwritten(error)),
        }
    }

    /// The handle of a writer is gone; what is left is stored behind the back of who closed it.
    pub(in crate::fs) fn released(self: &Arc<Self>, written: Arc<Written>, handle: u64) {
        let decision = written.holders().released(HandleId(handle));
        let must_store =
            decision == Decision::Commit && written.file.is_dirty() && written.file.key().is_some();
        if !must_store {
            return self.settle_written(written.ino);
        }
        let fs = Arc::clone(self);
        let storing = async move {
            let op = Op::awaited("release");
            if let Err(error) = fs.commit(&op, &written).await {
                let (key, bytes) = (written.file.key(), written.file.dirty_bytes());
                let oss = error.oss();
                tracing::error!(
                    path = fs.path(written.ino),
                    key = key.as_ref().map(tracing::field::display),
                    bytes,
                    code = oss.and_then(|oss| oss.code()),
                    request_id = oss.and_then(|oss| oss.request_id()),
                    "a file was not stored when it was closed; it stays staged: {error}"
                );
            }
        };
        self.changes.spawn_on(storing, &self.runtime);
    }

    /// Stores everything that is not stored, within `grace`; returns what could not be. For the end of the mount; may be repeated.
    ///
    /// Storing begins at once, beside the changes that are under way: one that stands still takes nobody's time but its own.
    pub async fn finish(self: &Arc<Self>, grace: Duration) -> Vec<Unstored> {
        let mut errors = Vec::new();
        let storing = async {
            self.changes.close();
            tokio::join!(self.store_all(&mut errors), self.changes.wait());
            // What the changes have left.
            self.store_all(&mut errors).await;
            self.writer.ended().await;
        };
        if tokio::time::timeout(grace, storing).await.is_err() {
            tracing::error!("not everything could be stored within {grace:?}");
        }
        let unfinished = self.writer.unfinished().into_iter();
        let unstored = unfinished.map(|(key, bytes)| {
            let why = errors.iter().find(|(of, _)| *of == key);
            let why = why.map(|(_, error)| error.clone());
            Unstored { key, bytes, why }
        });
        unstored.collect()
    }

    /// Stores what is not stored, all at once. What could not be is told as it comes, and not tried again.
    async fn store_all(self: &Arc<Self>, errors: &mut Vec<(ObjectKey, String)>) {
        let mut storing = JoinSet::new();
        for pinned in self.all_pinned() {
            let key = pinned.file.key();
            let has_failed = |key| errors.iter().any(|(of, _)| of == key);
            if !pinned.file.is_dirty() || key.as_ref().is_none_or(has_failed) {
                continue;
            }
            let fs = Arc::clone(self);
            let store = async move {
                let op = Op::awaited("end");
                let stored = fs.commit(&op, &pinned).await;
                (pinned.file.key(), stored)
            };
            storing.spawn_on(store, &self.runtime);
        }
        while let Some(stored) = storing.join_next().await {
            if let Ok((Some(key), Err(error))) = stored {
                errors.push((key, error.to_string()));
            }
        }
    }
}
