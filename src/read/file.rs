//! One open version: how it is read, and the GETs that are on their way for it.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::Error;
use super::checks::Shared;
use super::disk::OnDisk;
use super::policy::{Ahead, Pattern, Plan, Reach};
use crate::object::Version;

/// An open version, shared by all handles of its inode. Dropping it aborts its GETs.
#[derive(Debug)]
pub struct File {
    shared: Arc<Shared>,
    /// The farthest that memory lets a stream be read ahead.
    window_bytes_max: u64,
    pattern: Mutex<Pattern>,
    fetches: Mutex<JoinSet<()>>,
    on_disk: Option<OnDisk>,
    /// What OSS said when it did not have the version any more.
    gone: OnceLock<Error>,
}

impl File {
    pub(super) fn new(shared: Arc<Shared>, window_bytes_max: u64, on_disk: Option<OnDisk>) -> Self {
        let pattern = Mutex::new(Pattern::new(shared.version.size()));
        if let Some(on_disk) = &on_disk {
            on_disk.opened();
        }
        Self {
            shared,
            window_bytes_max,
            pattern,
            fetches: Mutex::default(),
            on_disk,
            gone: OnceLock::new(),
        }
    }

    /// The version that is read.
    #[must_use]
    pub fn version(&self) -> &Arc<Version> {
        &self.shared.version
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The version on disk, if there is a cache for it.
    pub(super) fn on_disk(&self) -> Option<&OnDisk> {
        self.on_disk.as_ref()
    }

    /// True if the cache on disk has all of a range.
    pub(super) async fn is_on_disk(&self, runtime: &Handle, range: &Range<u64>) -> bool {
        match &self.on_disk {
            Some(on_disk) => on_disk.has(runtime, range).await,
            None => false,
        }
    }

    /// The error that every READ gets once the content has proven wrong.
    pub(super) fn corrupt(&self) -> Option<Error> {
        self.shared.corrupt()
    }

    /// True once the content has proven wrong. What the kernel has of the file may be wrong as well.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.corrupt().is_some()
    }

    /// OSS does not have the version any more: nothing of it is asked for again.
    pub(super) fn lose(&self, error: &Error) {
        // The first that says so is enough.
        let _ = self.gone.set(error.clone());
    }

    /// What OSS said when it did not have the version any more.
    pub(super) fn gone(&self) -> Option<&Error> {
        self.gone.get()
    }

    /// True once OSS has said that it does not have the version any more. What memory has of it is still served.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.get().is_some()
    }

    pub(super) fn window_bytes_max(&self) -> u64 {
        self.window_bytes_max
    }

    pub(super) fn plan(&self, range: &Range<u64>, reach: Reach) -> Plan {
        self.pattern
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .plan(range, reach)
    }

    /// Blocks that were planned before are missing.
    pub(super) fn lost(&self, range: &Range<u64>) {
        self.pattern
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lost(range);
    }

    /// What is left of a plan was not fetched after all.
    pub(super) fn retract(&self, left: &Ahead) {
        self.pattern
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retract(left);
    }

    /// Gives a GET to this file, and forgets those that are done.
    pub(super) fn spawn(&self, runtime: &Handle, fetch: impl Future<Output = ()> + Send + 'static) {
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        while fetches.try_join_next().is_some() {}
        fetches.spawn_on(fetch, runtime);
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if let Some(on_disk) = &self.on_disk {
            on_disk.closed(&self.shared);
        }
    }
}
