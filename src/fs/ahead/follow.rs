//! The task that fetches what `--prefetch-list` names.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use super::flights::Purpose;
use super::list::List;
use super::scan::Came;
use crate::fs::{FileSystem, Found};
use crate::op::Op;
use crate::read::Reader;
use crate::tree::{Ino, Known, Settled};

/// Files of the list that are looked after at once.
const FILES_MAX: usize = 64;

/// What is fetched of a file that does not fit into one block.
const BEGINNING_BYTES: u64 = 8 << 20;

/// How long to wait for room that nobody announces.
const TICK: Duration = Duration::from_millis(10);

/// Files of the list in one directory that pay for listing it.
const LISTED_MIN: usize = 8;

/// Directories whose inodes are remembered.
const DIRECTORIES_MAX: usize = 4096;

/// What the files of a list share.
#[derive(Debug)]
struct Shared {
    fs: Weak<FileSystem>,
    /// Files of the list in each directory.
    files_in: HashMap<Box<str>, usize>,
    directories: Mutex<HashMap<Box<str>, Arc<OnceCell<Ino>>>>,
    missing: AtomicU64,
    example: Mutex<Option<Box<str>>>,
}

/// Whether a file of the list needs more care.
enum Cared {
    Done,
    Again,
}

impl FileSystem {
    /// Fetches files in the order of `paths`, relative to the mount's root, some way ahead of whoever reads them in that
    /// order. To be called once; a second call changes nothing.
    pub fn prefetch(&self, paths: Vec<Box<str>>) {
        self.ahead.following.get_or_init(|| {
            let mut files_in = HashMap::new();
            for path in &paths {
                *files_in.entry(split(path).0.into()).or_default() += 1;
            }
            let shared = Arc::new(Shared {
                fs: Weak::clone(&self.ahead.fs),
                files_in,
                directories: Mutex::default(),
                missing: AtomicU64::new(0),
                example: Mutex::default(),
            });
            self.ahead.state().list = Some(List::new(paths));
            AbortOnDropHandle::new(self.runtime.spawn(shared.follow()))
        });
    }

    /// A file of the list is not there.
    fn missing_from_list(&self, at: usize) {
        if let Some(list) = &mut self.ahead.state().list {
            list.missing(at);
        }
    }

    /// A file of the list is done with.
    pub(super) fn left_out(&self, at: usize) {
        if let Some(list) = &mut self.ahead.state().list {
            list.done(at);
        }
    }
}

impl Shared {
    async fn follow(self: Arc<Self>) {
        let slots = Arc::new(Semaphore::new(FILES_MAX));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            let Some(fs) = self.fs.upgrade() else { return };
            let next = {
                let mut state = fs.ahead.state();
                let Some(list) = &mut state.list else { break };
                match list.next(fs.reader.ahead_bytes_max(), fs.config.attr_ttl) {
                    None if list.is_over() => break,
                    next => next,
                }
            };
            match next {
                Some((at, path)) => {
                    fs.spawn_owned(Arc::clone(&self).care_for(at, path, slot));
                }
                None => {
                    let read = Arc::clone(&fs.ahead.list_read);
                    drop((fs, slot));
                    drop(tokio::time::timeout(TICK, read.notified()).await);
                }
            }
        }
        // All slots: nobody is under way any more.
        let all = u32::try_from(FILES_MAX).unwrap_or(u32::MAX);
        drop(slots.acquire_many(all).await);
        self.tell_missing();
    }

    fn tell_missing(&self) {
        let is_of_nothing = self.fs.upgrade().is_some_and(|fs| {
            let state = fs.ahead.state();
            state.list.as_ref().is_some_and(List::is_of_nothing)
        });
        let end = match is_of_nothing {
            true => ": it is not followed any further; its paths are to be relative to the mount",
            false => "",
        };
        let example = self.example.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(example) = example.as_deref() {
            tracing::warn!(
                "{} files of the prefetch list cannot be had, {example:?} for example{end}",
                self.missing.load(Ordering::Relaxed)
            );
        }
    }

    async fn care_for(self: Arc<Self>, at: usize, path: Box<str>, _slot: OwnedSemaphorePermit) {
        let op = Op::background("prefetch-list");
        loop {
            // Held only while something is done: the file system may end meanwhile.
            let Some(fs) = self.fs.upgrade() else { return };
            let cared = match self.file(&fs, &op, &path).await {
                Some((parent, ino)) => fetch(&fs, at, parent, split(&path).1, ino).await,
                None => {
                    self.missing.fetch_add(1, Ordering::Relaxed);
                    let mut example = self.example.lock().unwrap_or_else(PoisonError::into_inner);
                    example.get_or_insert_with(|| path.clone());
                    fs.missing_from_list(at);
                    Cared::Done
                }
            };
            let read = Arc::clone(&fs.ahead.list_read);
            drop(fs);
            match cared {
                Cared::Done => return,
                Cared::Again => drop(tokio::time::timeout(TICK, read.notified()).await),
            }
        }
    }

    /// The inode of a file of the list, and of its directory.
    async fn file(&self, fs: &Arc<FileSystem>, op: &Op, path: &str) -> Option<(Ino, Ino)> {
        let (directory, name) = split(path);
        for _ in 0..2 {
            let parent = self.directory(fs, op, directory).await?;
            let known = fs.tree().known(parent, name, Instant::now());
            match known {
                Known::Fresh(ino) | Known::Expired(ino) => return Some((parent, ino)),
                Known::Absent { .. } => return None,
                Known::Unknown => {
                    let asked = fs.ask_name(op, parent, name, Purpose::Attributes).await;
                    return match asked {
                        Ok((Settled::Entry(ino), _)) => Some((parent, ino)),
                        Ok((Settled::Absent | Settled::AskAgain | Settled::Stale, _)) | Err(_) => {
                            None
                        }
                    };
                }
                // The tree has let the directory go: it is looked up again.
                Known::Stale => drop(self.cells().remove(directory)),
            }
        }
        None
    }

    /// The inode of a directory, looked up once.
    async fn directory(&self, fs: &Arc<FileSystem>, op: &Op, path: &str) -> Option<Ino> {
        if path.is_empty() {
            self.pay_for_listing(fs, path, Ino::ROOT);
            return Some(Ino::ROOT);
        }
        let cell = {
            let mut cells = self.cells();
            if cells.len() >= DIRECTORIES_MAX {
                cells.clear();
            }
            Arc::clone(cells.entry(path.into()).or_default())
        };
        let look_up = || async {
            let mut at = Ino::ROOT;
            for name in path.split('/') {
                let found = match fs.lookup_known(at, name) {
                    Some(known) => known,
                    None => fs.lookup(op, at, name).await,
                };
                let Ok(Found::Entry(entry)) = found else {
                    return Err(());
                };
                at = entry.attributes().ino;
            }
            self.pay_for_listing(fs, path, at);
            Ok(at)
        };
        cell.get_or_try_init(look_up).await.ok().copied()
    }

    /// Where the list names many files, their names are had from the listing.
    fn pay_for_listing(&self, fs: &FileSystem, path: &str, ino: Ino) {
        let files = self.files_in.get(path).copied().unwrap_or(0);
        if files < LISTED_MIN || !fs.looks_ahead() {
            return;
        }
        {
            let mut state = fs.ahead.state();
            let directory = state.directory(ino);
            if directory.granted > 0 {
                return;
            }
            directory.granted = 1 + files / LISTED_MIN;
            directory.used = Some(Instant::now());
            state.active.insert(ino);
        }
        fs.wake_pilot();
    }

    fn cells(&self) -> std::sync::MutexGuard<'_, HashMap<Box<str>, Arc<OnceCell<Ino>>>> {
        self.directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches a file of the list, or its beginning.
async fn fetch(fs: &Arc<FileSystem>, at: usize, parent: Ino, name: &str, ino: Ino) -> Cared {
    let version = {
        let tree = fs.tree();
        let is_object = tree.node(ino).is_some_and(|node| node.object().is_some());
        is_object.then(|| tree.version(ino).ok()).flatten()
    };
    let Some(version) = version.filter(|version| version.size() > 0) else {
        fs.left_out(at);
        return Cared::Done;
    };
    let bytes = version.size().min(BEGINNING_BYTES);
    if let Some(list) = &mut fs.ahead.state().list
        && !list.sized(at, bytes)
    {
        return Cared::Done; // it was read meanwhile, or passed over
    }
    if !Reader::is_whole(version.size()) {
        let file = fs.reader.open(version);
        fs.reader.fetch_beginning(&file, BEGINNING_BYTES);
        fs.ahead.state().keep(at, file);
        return Cared::Done;
    }
    let place = fs.ahead.state().place(parent, name);
    match fs.fetch_for_later(parent, name, place, Some(at)) {
        Ok(mut flight) => {
            let _ = flight.changed().await;
            Cared::Done
        }
        Err(came) => {
            if let Some(place) = place {
                fs.came_ahead(place, came);
            }
            match came {
                Came::Here => Cared::Done,
                Came::NoRoom => Cared::Again,
                Came::Gone => {
                    fs.left_out(at);
                    Cared::Done
                }
            }
        }
    }
}

/// A path's directory and its last name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
