//! Small files before they are asked for, and in one request each.
//!
//! A file that fits into one block costs three questions by itself: what the name is, whether that still holds, and the
//! content. A GET of the expected version answers all of them, so here it stands in for the HEAD wherever the content
//! will be wanted ([`flights`], [`habit`]), and it is sent ahead of the reader where the way a directory is read shows which
//! files come next ([`scan`]). What is expected of a name comes from listings, which are earned page by page
//! by the files that are asked for ([`walk`]); while a directory is being read its pages are asked for again before its names
//! are too old to be believed. `--prefetch-list` names the files outright ([`list`]).
//!
//! The bound of staleness stays: every name is answered with knowledge that is not older than the time to live, counted from
//! the moment its question was asked, be that a HEAD, a GET ahead or a LIST.
//!
//! What is decided stands in [`habit`], [`scan`], [`walk`] and [`list`], which are pure; [`pilot`] does it, in one task
//! that is woken by what readers do. Its lock may be held when the tree's is taken, never the other way round.

mod flights;
mod follow;
mod habit;
mod list;
mod pilot;
mod scan;
mod walk;

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

use lru::LruCache;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use self::flights::Place;
use self::habit::Habit;
use self::list::List;
use self::scan::{Scan, Seen};
use self::walk::Walk;
use super::FileSystem;
use crate::read::{self, Reader};
use crate::tree::Ino;

pub(super) use self::flights::Purpose;

/// Directories whose habits are remembered; some 200 bytes each.
const DIRECTORIES_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Large files whose beginnings are kept for the readers of a list.
const KEPT_MAX: usize = 256;

/// Files read in a directory that is not listed, as many as are remembered: a few earn the listing, and meanwhile each of many
/// threads may read some. One that is not remembered is fetched again.
const EARLY_MAX: usize = 128;

/// Files of all scans together; some 60 bytes each. The directory that was used longest ago loses its own first.
const FILES_MAX: usize = 200_000;

/// What readers do, and what is done about it.
#[derive(Debug)]
pub(super) struct Ahead {
    fs: Weak<FileSystem>,
    state: Mutex<State>,
    wake: Arc<Notify>,
    /// A file was read while there is a list.
    list_read: Arc<Notify>,
    /// GETs of small files whose answers have not begun, by inode. Its lock is taken alone.
    flights: Mutex<HashMap<Ino, watch::Receiver<()>>>,
    /// GETs ahead on their way.
    in_flight: AtomicUsize,
    tasks: Mutex<JoinSet<()>>,
    pilot: OnceLock<AbortOnDropHandle<()>>,
    /// The task of `--prefetch-list`.
    following: OnceLock<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct State {
    directories: LruCache<Ino, Directory>,
    /// Those where something has happened of late.
    active: HashSet<Ino>,
    /// Of the whole mount: for directories that are new.
    habit: Habit,
    /// One more for each scan begun: tells the answers for an old one apart.
    generation: u64,
    list: Option<List>,
    /// Beginnings of large files of the list, with their places; the oldest first.
    kept: VecDeque<(usize, Arc<read::File>)>,
}

/// One directory.
#[derive(Debug, Default)]
struct Directory {
    habit: Habit,
    /// Objects found by name that no listing had shown.
    misses: usize,
    /// Files read while it is not listed.
    early: Vec<Box<str>>,
    /// Pages of the listing that the prefetch list has paid for.
    granted: usize,
    used: Option<Instant>,
    listed: Option<Listed>,
}

/// A directory that is being listed, or was.
#[derive(Debug)]
struct Listed {
    generation: u64,
    walk: Walk,
    scan: Scan,
}

impl Ahead {
    pub(super) fn new(fs: Weak<FileSystem>) -> Self {
        Self {
            fs,
            state: Mutex::new(State {
                directories: LruCache::new(DIRECTORIES_MAX),
                active: HashSet::new(),
                habit: Habit::default(),
                generation: 0,
                list: None,
                kept: VecDeque::new(),
            }),
            wake: Arc::default(),
            list_read: Arc::default(),
            flights: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            tasks: Mutex::default(),
            pilot: OnceLock::new(),
            following: OnceLock::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn directory(&mut self, ino: Ino) -> &mut Directory {
        self.directories.get_or_insert_mut(ino, Directory::default)
    }

    /// Keeps what is fetched of a large file on its way until many others were kept: with its last holder it would end.
    fn keep(&mut self, at: usize, file: Arc<read::File>) {
        if self.kept.len() == KEPT_MAX
            && let Some((oldest, _)) = self.kept.pop_front()
            && let Some(list) = &mut self.list
        {
            list.done(oldest);
        }
        self.kept.push_back((at, file));
    }

    /// Marks a file as being fetched; its place, if its directory was listed.
    fn place(&mut self, parent: Ino, name: &str) -> Option<Place> {
        let listed = self.directories.peek_mut(&parent)?.listed.as_mut()?;
        let at = listed.scan.ask(name)?;
        Some(listed.place(parent, at))
    }

    /// Lets go of the scans that were used longest ago until the bound is kept.
    fn shrink(&mut self) {
        let files = |directory: &Directory| {
            directory
                .listed
                .as_ref()
                .map_or(0, |listed| listed.scan.len())
        };
        let mut all: usize = self
            .directories
            .iter()
            .map(|(_, directory)| files(directory))
            .sum();
        let mut oldest_first: Vec<Ino> = self.directories.iter().map(|(ino, _)| *ino).collect();
        while all > FILES_MAX
            && let Some(ino) = oldest_first.pop()
        {
            if let Some(directory) = self.directories.peek_mut(&ino) {
                all -= files(directory);
                directory.listed = None;
            }
        }
    }
}

impl FileSystem {
    /// True if files are fetched ahead at all: with every name asked for at every open it would gain nothing.
    pub(super) fn looks_ahead(&self) -> bool {
        !self.config.attr_ttl.is_zero() && self.capabilities.list() && self.capabilities.get()
    }

    /// A lookup was answered with a file.
    pub(super) fn noted_lookup(&self, parent: Ino) {
        let mut state = self.ahead.state();
        state.habit.looked_up();
        state.directory(parent).habit.looked_up();
    }

    /// A file was found by name that no listing had shown.
    pub(super) fn noted_miss(&self, parent: Ino) {
        if !self.looks_ahead() {
            return;
        }
        {
            let mut state = self.ahead.state();
            let directory = state.directory(parent);
            directory.misses += 1;
            directory.used = Some(Instant::now());
            state.active.insert(parent);
        }
        self.wake_pilot();
    }

    /// A file was opened.
    pub(super) fn noted_open(&self, ino: Ino) {
        let parent = {
            let tree = self.tree();
            tree.node(ino).map(|node| {
                let size = node.object().map_or(0, crate::tree::Object::size);
                (node.parent(), Reader::is_whole(size))
            })
        };
        if let Some((parent, is_small)) = parent {
            let mut state = self.ahead.state();
            state.habit.opened();
            let directory = state.directory(parent);
            directory.habit.opened();
            if is_small && let Some(listed) = &mut directory.listed {
                listed.scan.opened();
            }
        }
    }

    /// A file was read from its beginning; `is_hit` if its bytes were there.
    pub(super) fn noted_read(&self, ino: Ino, file: &read::File, is_hit: bool) {
        let now = Instant::now();
        self.noted_for_list(file, now);
        if !Reader::is_whole(file.version().size()) || !self.looks_ahead() {
            return;
        }
        let seen = if is_hit || self.reader.has_whole(file.version()) {
            Seen::Here
        } else {
            Seen::Missing
        };
        let named = {
            let tree = self.tree();
            tree.node(ino)
                .map(|node| (node.parent(), Box::<str>::from(node.name())))
        };
        let Some((parent, name)) = named else { return };
        {
            let mut state = self.ahead.state();
            let directory = state.directory(parent);
            directory.used = Some(now);
            let is_anew = match &mut directory.listed {
                Some(listed) => !listed.scan.read(&name, seen, now),
                None => {
                    if directory.early.len() < EARLY_MAX {
                        directory.early.push(name);
                    }
                    false
                }
            };
            if is_anew {
                // All was read, and it begins again: with the directory as it is now.
                directory.listed = None;
                directory.misses = 0;
            }
            state.active.insert(parent);
        }
        self.wake_pilot();
    }

    fn noted_for_list(&self, file: &read::File, now: Instant) {
        if self.ahead.following.get().is_none() {
            return;
        }
        let mut state = self.ahead.state();
        if let Some(list) = &mut state.list {
            let key = file.version().key().as_str();
            let path = key.strip_prefix(self.config.prefix.as_str()).unwrap_or(key);
            list.read(path, now);
        }
        state.list.take_if(|list| list.is_finished());
        drop(state);
        self.ahead.list_read.notify_waiters();
    }

    /// True if lookups in this directory are followed by opens.
    fn opens_what_it_looks_up(&self, parent: Ino) -> bool {
        let mut state = self.ahead.state();
        let of_mount = state.habit;
        let habit = state.directory(parent).habit;
        let habit = if habit.is_new() { of_mount } else { habit };
        habit.opens_what_it_looks_up()
    }
}
