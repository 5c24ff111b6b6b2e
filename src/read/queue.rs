//! Where GETs of read-ahead wait for their turn.
//!
//! As many are in flight as the [`Link`] recommends; the others stand here, first come first served, with their blocks in the
//! cache and their memory leased. That is safe: whoever is in flight has all its memory and waits for nothing but the
//! wire, so its place becomes free. `buffer`'s model of the lease rule has this queue in it.
//!
//! A GET that a reader waits for never stands here. If its blocks were queued as read-ahead, the reader pulls them out
//! ([`Queue::promote`]); for a moment more are in flight than recommended.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::BLOCK;
use super::link::{Counts, Link, Sample};
use super::policy::Reach;
use crate::buffer::Class;
use crate::metrics::Metrics;
use crate::object::Version;

/// GETs of read-ahead that are planned beyond those in flight: a quarter more, at least two. They keep the wire busy when one
/// ends, and show that it is the wire that holds readers up. More would be memory for nothing.
fn queued(gets: usize) -> usize {
    (gets / 4).max(2)
}

/// A file is being read if one of so many GETs is its own, though none of them may be in flight just now: else each of several
/// streams would now and then find itself alone, and take everything.
const RECENT_GETS: u64 = 8;

/// All GETs of blocks, in flight and waiting.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// What `state` recommends, to be read without its lock.
    window_bytes: AtomicU64,
    part_bytes: AtomicU64,
    waiting: AtomicUsize,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct State {
    link: Link,
    in_flight: usize,
    next_ticket: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// Files that are being read.
    files: HashMap<usize, OfFile>,
}

#[derive(Debug, Default)]
struct OfFile {
    /// GETs in flight and waiting.
    gets: usize,
    /// The ticket of the last one.
    last: u64,
}

impl State {
    /// Forgets files that are not read any more.
    fn forget_files(&mut self) {
        let next = self.next_ticket;
        self.files
            .retain(|_, of| of.gets > 0 || next - of.last <= RECENT_GETS);
    }
}

#[derive(Debug)]
struct Waiting {
    version: Arc<Version>,
    blocks: Range<u64>,
    go: oneshot::Sender<()>,
}

impl Queue {
    /// An empty queue for at most `gets_max` GETs in flight.
    pub(super) fn new(gets_max: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        let link = Link::new(gets_max);
        let queue = Self {
            window_bytes: AtomicU64::new(0),
            part_bytes: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            metrics,
            state: Mutex::new(State {
                link,
                in_flight: 0,
                next_ticket: 0,
                waiting: BTreeMap::new(),
                files: HashMap::new(),
            }),
        };
        queue.publish(&queue.lock());
        Arc::new(queue)
    }

    /// How far a stream may reach, if `window_bytes_max` is what memory allows it.
    pub(super) fn reach(&self, window_bytes_max: u64) -> Reach {
        let window_bytes = self.window_bytes.load(Ordering::Relaxed);
        let part_bytes = self.part_bytes.load(Ordering::Relaxed);
        if window_bytes <= window_bytes_max {
            return Reach {
                window_bytes,
                part_bytes,
            };
        }
        // Little memory is divided into as many parts, or it would keep fewer connections busy.
        let parts = window_bytes / part_bytes.max(1);
        let part = (window_bytes_max / parts.max(1)).max(BLOCK);
        Reach {
            window_bytes: window_bytes_max,
            part_bytes: 1 << part.ilog2(),
        }
    }

    /// A place for the GET of `blocks`: in flight at once for [`Class::Demand`], and for read-ahead if there is room.
    pub(super) fn join(
        self: &Arc<Self>,
        version: &Arc<Version>,
        blocks: Range<u64>,
        class: Class,
    ) -> Place {
        let file = Arc::as_ptr(version).addr();
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let of_file = state.files.entry(file).or_default();
        of_file.gets += 1;
        of_file.last = ticket;
        state.forget_files();
        let is_free = state.waiting.is_empty() && state.in_flight < state.link.gets();
        let turn = if class == Class::Demand || is_free {
            self.depart(&mut state);
            None
        } else {
            let (go, turn) = oneshot::channel();
            let waiting = Waiting {
                version: Arc::clone(version),
                blocks,
                go,
            };
            state.waiting.insert(ticket, waiting);
            Some(turn)
        };
        self.publish(&state);
        Place {
            queue: Arc::clone(self),
            ticket,
            file,
            turn,
        }
    }

    /// A reader waits for a block: the GET that will bring it goes now, if it stands here.
    pub(super) fn promote(&self, version: &Version, index: u64) {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut state = self.lock();
        let found = state
            .waiting
            .iter()
            .find(|(_, waiting)| waiting.blocks.contains(&index) && *waiting.version == *version);
        let Some(ticket) = found.map(|(&ticket, _)| ticket) else {
            return;
        };
        self.metrics.read.promoted.inc();
        self.release(&mut state, ticket);
        self.publish(&state);
    }

    /// Lets one that waits go.
    fn release(&self, state: &mut State, ticket: u64) {
        if let Some(waiting) = state.waiting.remove(&ticket) {
            self.depart(state);
            // Whoever has left gives the place back by its drop.
            let _: Result<(), ()> = waiting.go.send(());
        }
    }

    fn depart(&self, state: &mut State) {
        if state.in_flight == 0 {
            state.link.wakes(Instant::now(), self.counts());
        }
        state.in_flight += 1;
    }

    /// Lets as many go as there is room for.
    fn serve(&self, state: &mut State) {
        while state.in_flight < state.link.gets() {
            let Some((&ticket, _)) = state.waiting.first_key_value() else {
                state.link.is_free();
                return;
            };
            self.release(state, ticket);
        }
    }

    fn counts(&self) -> Counts {
        Counts {
            bytes: self.metrics.oss.bytes_received.get(),
            throttled: self.metrics.oss.throttled.get(),
        }
    }

    fn publish(&self, state: &State) {
        let (gets, part) = (state.link.gets(), state.link.part_bytes());
        // Files that are read at the same time share what is worth having in flight. Each has one that arrives and one that
        // waits.
        let share = (gets + queued(gets)).div_ceil(state.files.len().max(1));
        let parts = share.max(2) as u64;
        self.window_bytes.store(parts * part, Ordering::Relaxed);
        self.part_bytes.store(part, Ordering::Relaxed);
        self.waiting.store(state.waiting.len(), Ordering::Relaxed);
        let read = &self.metrics.read;
        read.gets_target
            .set(i64::try_from(gets).unwrap_or(i64::MAX));
        read.part_bytes.set(i64::try_from(part).unwrap_or(i64::MAX));
        let waiting = i64::try_from(state.waiting.len());
        read.gets_waiting.set(waiting.unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A GET's place, waiting or in flight. Dropping it lets the next one go.
#[derive(Debug)]
pub(super) struct Place {
    queue: Arc<Queue>,
    ticket: u64,
    file: usize,
    turn: Option<oneshot::Receiver<()>>,
}

impl Place {
    /// Resolves when it is this GET's turn.
    pub(super) async fn turn(&mut self) {
        if let Some(turn) = self.turn.take() {
            // The sender is kept until the turn has come.
            let _ = turn.await;
        }
    }

    /// A GET is done: what it teaches.
    pub(super) fn learned(&self, sample: &Sample) {
        let counts = self.queue.counts();
        let mut state = self.queue.lock();
        let is_held_back = !state.waiting.is_empty();
        state
            .link
            .done(Instant::now(), counts, sample, is_held_back);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let queue = &self.queue;
        let mut state = queue.lock();
        if state.waiting.remove(&self.ticket).is_none() {
            state.in_flight -= 1;
        }
        if let Some(of_file) = state.files.get_mut(&self.file) {
            of_file.gets -= 1;
        }
        state.forget_files();
        queue.serve(&mut state);
        queue.publish(&state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{ETag, ObjectKey};

    #[test]
    fn files_share_what_is_in_flight_while_they_are_read() {
        let queue = Queue::new(128, Arc::new(Metrics::default()));
        let reach = || queue.reach(u64::MAX).window_bytes / queue.reach(u64::MAX).part_bytes;
        let alone = reach();
        let version = |name| Version::new(ObjectKey::new(name).expect("a key"), ETag::new("1"), 1);
        let files = ["a", "b", "c", "d"].map(version);
        let get = |file| queue.join(file, 0..8, Class::ReadAhead);
        let places: Vec<Place> = files.iter().map(get).collect();
        assert_eq!(reach(), alone.div_ceil(4));
        drop(places);
        assert_eq!(reach(), alone.div_ceil(4), "each of them goes on at once");
        for _ in 0..=RECENT_GETS {
            drop(get(&files[0]));
        }
        assert_eq!(reach(), alone, "the others are not read any more");
    }
}
