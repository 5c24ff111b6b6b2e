//! What a file system means over OSS. It knows neither fuser nor an errno.
//!
//! [`FileSystem`] brings the rooms below together: names and inodes are the [`Tree`]'s, bytes the [`Reader`]'s, and what
//! neither knows is asked from the [`Bucket`]. Each operation of the kernel has one method, or two: `…_known` answers
//! from memory or not at all, its twin asks OSS.
//!
//! The tree stands behind one lock that is held for microseconds and never while waiting. An answer of OSS goes into it
//! with the moment at which the question was asked, so answers may overtake each other.
//!
//! - [`ahead`][]: small files in one request each, and before they are asked for.
//! - [`names`][]: lookup, attributes, forget.
//! - [`ask`][]: the questions to OSS that a lookup needs, and what the role may ask ([`capabilities`]).
//! - [`files`][]: open, read, release; [`mode`]: how the kernel reads, [`local`]: what it may read by itself.
//! - [`directories`][]: opendir, readdir; [`listing`] fetches the pages, [`view`] shows them.
//! - [`xattrs`][]: `user.oss.*`, and those that are kept in this mount.
//! - [`change`][]: names and attributes that this mount changes. [`links`]: symbolic links. [`writing`]: content.
//! - [`creating`][]: names that are looked up before they are created.
//! - [`invalidate`][]: what somebody says is out of date.

mod ahead;
mod ask;
mod attributes;
mod capabilities;
mod change;
mod creating;
mod directories;
mod error;
mod fetch;
mod files;
mod invalidate;
mod links;
mod listing;
mod local;
mod mode;
mod names;
mod view;
mod writing;
mod xattrs;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::object::Prefix;
use crate::oss::Bucket;
use crate::read::Reader;
use crate::tree::{Choice, Cold, Globs, Ino, Left, Tree, Ttl, Why};
use crate::write::{Exclusive, Writer};

pub use crate::write::{NeedsRoom, Process};
pub use attributes::{Attributes, FileKind, Ownership};
pub use capabilities::{Capabilities, Probe};
pub use change::{Maker, SetAttributes, SetXattr};
pub use error::Error;
pub use fetch::fetch;
pub use files::{PendingRead, ReadBytes};
pub use invalidate::Dropped;
pub use mode::{Mode, Opened};
pub use names::{Entry, Found};
pub use view::{DirectoryEntry, DirectoryView, Room};
pub use writing::{Seek, Unstored, WriteBy, WriteOpen};

use ahead::Ahead;
use directories::OpenDirectory;
use files::{OpenFile, OpenHandle};

/// What a [`FileSystem`] is made with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory of the bucket that is shown.
    pub prefix: Prefix,
    /// How old attributes may be when a file is opened; zero checks at every open.
    pub attr_ttl: Duration,
    /// How long "there is nothing of this name" is believed.
    pub negative_ttl: Duration,
    /// Names that are known, those that the kernel holds included: at least an eighth of them beside what it holds. Each
    /// takes less than 200 bytes.
    pub names_max: usize,
    /// Paths of what never changes: it is not checked again.
    pub immutable: Globs,
    /// Paths of files that are read past the kernel's page cache.
    pub direct: Globs,
    /// LISTs that one directory may have under way.
    pub listing_requests_max: usize,
    /// Pages that all open directories together may hold, or have asked for, ahead of their readers: 1000 entries, about
    /// 200 KB each.
    pub listing_pages_max: usize,
    /// Nothing may be changed.
    pub read_only: bool,
    /// Whether O_EXCL is decided here or by OSS.
    pub exclusive_create: Exclusive,
    /// Owner and modes of everything.
    pub ownership: Ownership,
}

/// One bucket, or a directory of it, as a file system. Shared as `Arc`.
#[derive(Debug)]
pub struct FileSystem {
    config: Config,
    bucket: Arc<Bucket>,
    reader: Arc<Reader>,
    writer: Arc<Writer>,
    metrics: Arc<Metrics>,
    runtime: Handle,
    capabilities: Capabilities,
    tree: Mutex<Tree>,
    /// One per open inode, shared by its handles, and one for each that is not stored. Its lock is taken alone or before the tree's, never after it.
    files: Mutex<HashMap<Ino, OpenFile>>,
    /// By handle. READ looks here, so it is a lock for many readers.
    handles: RwLock<HashMap<u64, OpenHandle>>,
    directories: Mutex<HashMap<u64, Arc<tokio::sync::Mutex<OpenDirectory>>>>,
    /// One for each page that is ahead of its reader.
    listing_pages: Arc<Semaphore>,
    next_handle: AtomicU64,
    /// Wakes whoever asks the kernel to forget.
    crowded: OnceLock<SyncSender<()>>,
    /// The reasons for hiding keys that were already told.
    said_hidden: Mutex<Vec<Why>>,
    ahead: Ahead,
    /// Changes under way, which end also if their callers don't wait.
    changes: TaskTracker,
    unfinished: change::Unfinished,
    moving: writing::Moving,
    creating: creating::Creating,
}

impl FileSystem {
    /// A file system whose background work runs on `runtime`.
    #[must_use]
    pub fn new(
        config: Config,
        capabilities: Capabilities,
        bucket: Arc<Bucket>,
        reader: Arc<Reader>,
        writer: Arc<Writer>,
        metrics: Arc<Metrics>,
        runtime: Handle,
    ) -> Arc<Self> {
        let ttl = Ttl::new(config.attr_ttl, config.negative_ttl);
        let ttl = ttl.immutable(config.immutable.clone());
        let tree = Tree::new(config.prefix.clone(), ttl, config.names_max, Instant::now());
        let tree = tree.show_links();
        let listing_pages = Arc::new(Semaphore::new(config.listing_pages_max));
        Arc::new_cyclic(|fs| Self {
            config,
            bucket,
            reader,
            writer,
            metrics,
            runtime,
            capabilities,
            tree: Mutex::new(tree),
            files: Mutex::default(),
            handles: RwLock::default(),
            directories: Mutex::default(),
            listing_pages,
            next_handle: AtomicU64::new(1),
            crowded: OnceLock::new(),
            said_hidden: Mutex::default(),
            ahead: Ahead::new(Weak::clone(fs)),
            changes: TaskTracker::new(),
            unfinished: change::Unfinished::default(),
            moving: writing::Moving::default(),
            creating: creating::Creating::default(),
        })
    }

    /// Where changes run: each to its end, whether its caller waits or not.
    #[must_use]
    pub fn changes(&self) -> TaskTracker {
        self.changes.clone()
    }

    /// Wakes `waker`, whose channel has room for one, when the kernel holds too many names: [`Self::coldest`] says which it
    /// should be asked to forget. To be called once.
    pub fn when_crowded(&self, waker: SyncSender<()>) {
        // A second one is not heard.
        let _ = self.crowded.set(waker);
    }

    /// The path of an inode from the mount's root, without a slash before it; `None` if no name leads to it any more.
    #[must_use]
    pub fn path(&self, ino: Ino) -> Option<String> {
        self.tree().path_in_mount(ino).ok()
    }

    /// Names that are kept, those that the kernel holds included.
    #[must_use]
    pub fn names_max(&self) -> usize {
        self.config.names_max
    }

    /// At most `max` names that the kernel should forget, and whether there are more beside them.
    pub fn coldest(&self, max: usize, choice: Choice) -> (Vec<Cold>, Left) {
        let mut tree = self.tree();
        (tree.coldest(max, choice), tree.left_to_ask())
    }

    /// The tree. Held for microseconds: never across an await, and no other lock is taken while it is held, but that of a file
    /// that is written, to ask it for its size.
    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
