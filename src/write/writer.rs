//! All files of a mount that are being written: what they share.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Base;
use super::conflict::OnConflict;
use super::draft::Draft;
use super::file::{File, Start};
use super::limits::{Limits, PART_BYTES_MAX, PART_BYTES_MIN};
use super::parts::Schedule;
use super::staging::{Staging, StagingDirectory};
use crate::buffer::{BLOCK_BYTES, Budget, Class, Failure};
use crate::metrics::Metrics;
use crate::object::{ObjectKey, Source};
use crate::oss::{Bucket, Properties};

/// The most bytes that [`Fetch`] is asked for at once: what one READ has.
pub const FETCH_BYTES_MAX: u64 = BLOCK_BYTES as u64;

/// What [`Fetch`] resolves with: exactly the bytes asked for. They are copied at once, so they may hold a lease.
pub type Fetched = Pin<Box<dyn Future<Output = Result<Bytes, Failure>> + Send>>;

/// Gets bytes of an object, at most [`FETCH_BYTES_MAX`], for a part that needs some to be sent. It may wait for memory of the class
/// that readers have, for that outranks all that is held meanwhile.
pub type Fetch = Arc<dyn Fn(Source) -> Fetched + Send + Sync>;

/// Whether a created file may replace an object that is there when it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exclusive {
    /// What [`OnConflict`] says: O_EXCL was decided among the names of this mount. Default.
    #[default]
    Local,
    /// OSS is asked not to (`x-oss-forbid-overwrite`), at the file's first commit. `--exclusive-create remote`.
    Remote,
}

/// What a [`Writer`] is made with.
#[derive(Debug)]
pub struct Config {
    /// Staged bytes in memory, of all files together. At most what the budget grants to writers; the rest of it is for readers.
    pub memory_bytes_max: u64,
    /// Bytes of the first parts that go up behind the writer, smaller where memory is. 200 KiB to 5 GiB; default 8 MiB.
    pub part_bytes: u64,
    /// Bytes at the beginning of a file that are held back, for programs write headers again. Default 1 MiB.
    pub head_bytes: u64,
    /// Parts and small files being sent at once, of all files together. Default 16.
    pub sends_max: usize,
    /// A file whose name looks temporary stays in staging up to so many bytes. Default a quarter of `memory_bytes_max`.
    pub temporary_bytes_max: u64,
    /// Bounds of a commit. Parts are made smaller where memory is.
    pub limits: Limits,
    /// `--on-conflict`.
    pub on_conflict: OnConflict,
    /// `--staging-dir`; default none.
    pub directory: Option<StagingDirectory>,
}

impl Config {
    /// The defaults for a budget: staging takes at most half of it.
    #[must_use]
    pub fn new(budget: &Budget) -> Self {
        let memory_bytes_max = budget.total() / 2;
        Self {
            memory_bytes_max,
            part_bytes: 8 << 20,
            head_bytes: 1 << 20,
            sends_max: 16,
            temporary_bytes_max: memory_bytes_max / 4,
            limits: Limits::default(),
            on_conflict: OnConflict::default(),
            directory: None,
        }
    }
}

/// Writes the objects of one bucket. Shared as `Arc`.
pub struct Writer {
    pub(super) limits: Limits,
    pub(super) schedule: Schedule,
    pub(super) on_conflict: OnConflict,
    pub(super) temporary_bytes_max: u64,
    pub(super) sends_max: usize,
    pub(super) bucket: Arc<Bucket>,
    pub(super) budget: Arc<Budget>,
    pub(super) staging: Staging,
    pub(super) fetch: Fetch,
    pub(super) metrics: Arc<Metrics>,
    pub(super) runtime: Handle,
    /// One permit for each request that sends.
    pub(super) sends: Arc<Semaphore>,
    /// Parts on their way, and commits: what lets go of memory one day.
    pub(super) draining: AtomicUsize,
    /// Files whose names are about to change.
    pub(super) frozen: AtomicUsize,
    next_id: AtomicU64,
    /// Files that are being written. Bounded by the kernel's open files.
    files: Mutex<HashMap<u64, Weak<File>>>,
    /// Uploads being given up.
    ends: Mutex<JoinSet<()>>,
}

impl Writer {
    /// A writer whose requests run on `runtime`.
    #[must_use]
    pub fn new(
        config: Config,
        bucket: Arc<Bucket>,
        budget: Arc<Budget>,
        fetch: Fetch,
        metrics: Arc<Metrics>,
        runtime: Handle,
    ) -> Arc<Self> {
        let most = budget.total() - budget.total() / 4;
        let memory_max = config.memory_bytes_max.clamp(1 << 20, most);
        // A part that must be put together takes one lease as large as itself, and half as much again for its cuts.
        let lease = budget.max_lease(Class::Commit) / 2;
        let part = |bytes: u64, share: u64| {
            bytes
                .min(memory_max / share)
                .clamp(2 * PART_BYTES_MIN, PART_BYTES_MAX)
        };
        let limits = Limits {
            upload_bytes: part(config.limits.upload_bytes, 4).min(lease),
            put_bytes_max: part(config.limits.put_bytes_max, 4).min(lease),
            ..config.limits
        };
        // What lies in memory is sent from there; what lies in staging files is read into a lease first.
        let largest = match config.directory {
            Some(_) => lease,
            None => memory_max / 4,
        };
        let first = part(config.part_bytes, 4).min(largest);
        let schedule = Schedule::new(first, largest, config.head_bytes);
        Arc::new(Self {
            limits,
            schedule,
            on_conflict: config.on_conflict,
            temporary_bytes_max: config.temporary_bytes_max,
            sends_max: config.sends_max.max(1),
            bucket,
            staging: Staging::new(
                Arc::clone(&budget),
                memory_max,
                config.directory,
                Arc::clone(&metrics),
            ),
            budget,
            fetch,
            metrics,
            runtime,
            sends: Arc::new(Semaphore::new(config.sends_max.max(1))),
            draining: AtomicUsize::new(0),
            frozen: AtomicUsize::new(0),
            next_id: AtomicU64::new(0),
            files: Mutex::default(),
            ends: Mutex::default(),
        })
    }

    /// An empty file that is not in the bucket. Nothing is asked of OSS.
    ///
    /// `properties` are those that the object gets.
    #[must_use]
    pub fn create(
        self: &Arc<Self>,
        key: ObjectKey,
        properties: Properties,
        exclusive: Exclusive,
    ) -> Arc<File> {
        self.begin(Start {
            key,
            draft: Draft::created(self.schedule),
            properties: Some(properties),
            exclusive,
        })
    }

    /// A file that is an object of the bucket, to be changed. Nothing is fetched: its first commit asks for the properties that
    /// it keeps.
    #[must_use]
    pub fn open(self: &Arc<Self>, base: Base) -> Arc<File> {
        self.begin(Start {
            key: base.version.key().clone(),
            draft: Draft::opened(base, self.schedule),
            properties: None,
            exclusive: Exclusive::Local,
        })
    }

    /// The keys of files that are not stored, with their bytes that are in no object.
    #[must_use]
    pub fn unfinished(&self) -> Vec<(ObjectKey, u64)> {
        let files = self.files();
        let dirty = files.iter().filter(|file| file.is_dirty());
        dirty
            .filter_map(|file| Some((file.key()?, file.dirty_bytes())))
            .collect()
    }

    /// Waits until all uploads that are given up are gone. For the end of the mount.
    pub async fn ended(&self) {
        let mut ends = std::mem::take(&mut *self.ends());
        while ends.join_next().await.is_some() {}
    }

    fn begin(self: &Arc<Self>, start: Start) -> Arc<File> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let file = File::new(id, Arc::clone(self), start);
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(id, Arc::downgrade(&file));
        file
    }

    /// A file is gone.
    pub(super) fn forget(&self, id: u64) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.remove(&id);
    }

    /// All files that are being written.
    pub(super) fn files(&self) -> Vec<Arc<File>> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.values().filter_map(Weak::upgrade).collect()
    }

    /// Runs something that outlives its file: this writer owns it.
    pub(super) fn spawn_end(&self, end: impl Future<Output = ()> + Send + 'static) {
        let mut ends = self.ends();
        while ends.try_join_next().is_some() {}
        ends.spawn_on(end, &self.runtime);
    }

    fn ends(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("limits", &self.limits)
            .field("staging", &self.staging)
            .field("draining", &self.draining)
            .finish_non_exhaustive()
    }
}
