//! The task that lists and fetches ahead.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;

use super::flights::{Place, is_readable};
use super::scan::{Came, Room, Scan};
use super::walk::{Walk, pages_earned};
use super::{Directory, FILES_MAX, Listed, State};
use crate::fs::FileSystem;
use crate::object::ObjectType;
use crate::op::Op;
use crate::oss::{ListPage, ListRequest};
use crate::read::Reader;
use crate::tree::{Entry, Ino, Node, Settled, What};

/// GETs ahead in flight, as many as the reader's own of large files.
const FLIGHTS_MAX: usize = 64;

/// LISTs in flight to confirm the names of one directory.
const CONFIRMING_MAX: usize = 16;

/// A directory in which nothing was read for so long is let be.
const ACTIVE_FOR: Duration = Duration::from_secs(2);

/// Entries that go into the tree under one lock.
const CHUNK: usize = 64;

/// Once all names that were looked up after a listing's end are so many for each of its pages, it is listed anew.
const MISSES_PER_PAGE: usize = 32;

/// What is to be done.
#[derive(Debug)]
enum Action {
    Fetch(Place, Box<str>),
    List {
        directory: Ino,
        generation: u64,
        /// The page that is asked for again; `None` for the next one.
        again: Option<usize>,
        request: ListRequest,
    },
}

impl FileSystem {
    /// Something has happened that may be a reason to fetch or list.
    pub(super) fn wake_pilot(&self) {
        self.ahead.pilot.get_or_init(|| {
            let pilot = fly_on(Weak::clone(&self.ahead.fs), Arc::clone(&self.ahead.wake));
            AbortOnDropHandle::new(self.runtime.spawn(pilot))
        });
        self.ahead.wake.notify_one();
    }

    /// Plans and does what is due. Returns when to look again, if nothing happens before.
    fn look_ahead(&self) -> Option<Duration> {
        let (actions, is_active) = self.actions();
        let mut has_room = true;
        for action in actions {
            match action {
                Action::Fetch(place, name) => {
                    let came = if has_room {
                        let flight =
                            self.fetch_for_later(place.directory, &name, Some(place), None);
                        flight.err()
                    } else {
                        Some(Came::NoRoom)
                    };
                    has_room &= came != Some(Came::NoRoom);
                    if let Some(came) = came {
                        self.came_ahead(place, came);
                    }
                }
                Action::List {
                    directory,
                    generation,
                    again,
                    request,
                } => self.list_ahead(directory, generation, again, request),
            }
        }
        let tick = (self.config.attr_ttl / 8).clamp(Duration::from_millis(20), ACTIVE_FOR);
        is_active.then_some(tick)
    }

    fn actions(&self) -> (Vec<Action>, bool) {
        let now = Instant::now();
        let in_flight = self.ahead.in_flight.load(Ordering::Relaxed);
        let mut files = FLIGHTS_MAX.saturating_sub(in_flight);
        let mut actions = Vec::new();
        let mut state = self.ahead.state();
        let active: Vec<Ino> = state.active.iter().copied().collect();
        let waiting: u64 = active.iter().map(|ino| state.ahead_bytes(*ino)).sum();
        let mut bytes_left = self.reader.ahead_bytes_max().saturating_sub(waiting);
        let has_list = state.list.as_ref().is_some_and(|list| !list.is_over());
        let mut has_grown = false;
        for ino in active {
            let State {
                directories,
                generation,
                active,
                ..
            } = &mut *state;
            let Some(directory) = directories.peek_mut(&ino) else {
                active.remove(&ino);
                continue;
            };
            let is_idle = |used| now.saturating_duration_since(used) > ACTIVE_FOR;
            if directory.used.is_none_or(is_idle) {
                active.remove(&ino);
                continue;
            }
            if directory.listed.is_none() {
                self.begin_walk(ino, directory, generation);
            }
            let earned = directory.earned();
            let Some(listed) = &mut directory.listed else {
                continue;
            };
            if let Some(request) = listed.walk.request(earned) {
                has_grown = true;
                actions.push(listed.action(ino, None, request));
            }
            for (at, request) in listed.old_pages(now, self.config.attr_ttl) {
                actions.push(listed.action(ino, Some(at), request));
            }
            if has_list {
                continue; // it says what comes, and in which order
            }
            let own = listed.scan.ahead_bytes();
            let room = Room {
                files,
                bytes_max: own + bytes_left,
                ttl: self.config.attr_ttl,
            };
            for at in listed.scan.plan(room) {
                let name = listed.scan.name(at).into();
                files = files.saturating_sub(1);
                actions.push(Action::Fetch(listed.place(ino, at), name));
            }
            bytes_left = (own + bytes_left).saturating_sub(listed.scan.ahead_bytes());
        }
        if has_grown {
            state.shrink();
        }
        (actions, !state.active.is_empty())
    }

    /// Begins to list a directory that has earned it.
    fn begin_walk(&self, ino: Ino, directory: &mut Directory, generation: &mut u64) {
        if directory.earned() == 0 {
            return;
        }
        let Ok(prefix) = self.tree().prefix_of(ino) else {
            return;
        };
        *generation += 1;
        let mut scan = Scan::default();
        for name in directory.early.drain(..) {
            scan.read_early(&name);
        }
        directory.listed = Some(Listed {
            generation: *generation,
            walk: Walk::new(prefix),
            scan,
        });
    }

    /// Says what became of a file that was to be fetched.
    pub(super) fn came_ahead(&self, place: Place, came: Came) {
        let mut state = self.ahead.state();
        if let Some(listed) = state.listed(place.directory, place.generation) {
            listed.scan.came(place.at, came);
        }
    }

    fn list_ahead(&self, ino: Ino, generation: u64, again: Option<usize>, request: ListRequest) {
        let (fs, bucket) = (Weak::clone(&self.ahead.fs), Arc::clone(&self.bucket));
        self.spawn_owned(async move {
            let asked = Instant::now();
            let page = bucket.list(&Op::background("list-ahead"), &request).await;
            let Some(fs) = fs.upgrade() else { return };
            let page = match page {
                Ok(page) => Some(page),
                Err(error) => {
                    tracing::debug!("nothing is fetched ahead there: {}", fs.noted(error));
                    None
                }
            };
            fs.listed_ahead(ino, generation, again, page, asked);
            fs.wake_pilot();
        });
    }

    fn listed_ahead(
        &self,
        ino: Ino,
        generation: u64,
        again: Option<usize>,
        page: Option<ListPage>,
        asked: Instant,
    ) {
        let entries = {
            let mut state = self.ahead.state();
            let Some(listed) = state.listed(ino, generation) else {
                return;
            };
            match (again, page) {
                (Some(at), page) => listed.walk.again(at, page, asked),
                (None, Some(page)) => {
                    listed.scan.begin_page();
                    listed.walk.page(page, asked)
                }
                (None, None) => {
                    listed.walk.broke_off();
                    return;
                }
            }
        };
        let mut never_grows_old = true;
        for chunk in entries.chunks(CHUNK) {
            let mut tree = self.tree();
            for entry in chunk {
                let settled = tree.found_entry(ino, entry);
                never_grows_old &= small_size(entry).is_none()
                    || match settled {
                        Settled::Entry(ino) => tree.node(ino).is_some_and(Node::is_immutable),
                        Settled::Absent | Settled::AskAgain | Settled::Stale => false,
                    };
            }
            self.gauge(&tree);
        }
        if again.is_some() {
            return;
        }
        let mut state = self.ahead.state();
        if let Some(directory) = state.directories.peek_mut(&ino) {
            directory.used = Some(Instant::now()); // what was paid for is listed to its end
        }
        let Some(listed) = state.listed(ino, generation) else {
            return;
        };
        for entry in &entries {
            if let Some(size) = small_size(entry) {
                listed.scan.append(&entry.name, size);
            }
        }
        if never_grows_old {
            listed.walk.never_grows_old();
        }
        listed.walk.go_on();
        if listed.scan.len() > FILES_MAX / 2 {
            listed.walk.broke_off();
        } else if listed.walk.has_ended() {
            // Not told to the tree: a listing that nobody has asked for must not hide what was made since.
            listed.scan.end();
        }
    }
}

impl State {
    fn listed(&mut self, ino: Ino, generation: u64) -> Option<&mut Listed> {
        let listed = self.directories.peek_mut(&ino)?.listed.as_mut()?;
        (listed.generation == generation).then_some(listed)
    }

    fn ahead_bytes(&self, ino: Ino) -> u64 {
        let directory = self.directories.peek(&ino);
        let listed = directory.and_then(|directory| directory.listed.as_ref());
        listed.map_or(0, |listed| listed.scan.ahead_bytes())
    }
}

impl Directory {
    /// Pages of its listing that may be had.
    fn earned(&mut self) -> usize {
        let reads = self.listed.as_ref().map_or(0, |listed| listed.scan.reads());
        let pages = self.listed.as_ref().map_or(0, |listed| listed.walk.len());
        let has_ended = self
            .listed
            .as_ref()
            .is_some_and(|listed| listed.walk.has_ended());
        if has_ended && self.misses > MISSES_PER_PAGE * (pages + 1) {
            // Names that it did not show, or that were let go since.
            self.listed = None;
            self.misses = MISSES_PER_PAGE;
            return 0;
        }
        pages_earned(self.misses.max(self.early.len()) + reads).max(self.granted)
    }
}

impl Listed {
    fn action(&self, directory: Ino, again: Option<usize>, request: ListRequest) -> Action {
        Action::List {
            directory,
            generation: self.generation,
            again,
            request,
        }
    }

    pub(super) fn place(&self, directory: Ino, at: usize) -> Place {
        Place {
            directory,
            generation: self.generation,
            at,
        }
    }

    /// Pages to be confirmed: those with files that wait to be read, if that is cheaper than asking for each file.
    fn old_pages(&mut self, now: Instant, ttl: Duration) -> Vec<(usize, ListRequest)> {
        let scan = &self.scan;
        let is_read = scan
            .last_read()
            .is_some_and(|last| now.saturating_duration_since(last) < ttl);
        if !is_read || scan.reads_in(ttl) < self.walk.len() {
            return Vec::new();
        }
        let waits = |page| scan.waits_in(page);
        self.walk.old_pages(now, ttl * 5 / 8, CONFIRMING_MAX, waits)
    }
}

/// Bytes of a file that is fetched whole.
fn small_size(entry: &Entry) -> Option<u64> {
    let What::Object(meta) = &entry.what else {
        return None;
    };
    let is_small = meta.kind != ObjectType::Symlink
        && is_readable(meta.storage_class)
        && Reader::is_whole(meta.size);
    is_small.then_some(meta.size)
}

async fn fly_on(fs: Weak<FileSystem>, wake: Arc<tokio::sync::Notify>) {
    loop {
        let again = match fs.upgrade() {
            Some(fs) => fs.look_ahead(),
            None => return,
        };
        match again {
            // Nothing has happened by then: names may have grown old.
            Some(tick) => drop(tokio::time::timeout(tick, wake.notified()).await),
            None => wake.notified().await,
        }
    }
}
