//! Which small files of one directory to fetch before they are asked for. Pure: no clock, no lock, no I/O.
//!
//! A [`Scan`] knows the files in the order of the directory's listing, as far as it was listed, and hears of each file that
//! is read for the first time. Two ways of reading are worth following:
//!
//! - **In order**, by however many threads: what comes next in the listing is fetched, in a window that doubles when half
//!   of it was read, and is no longer than what is read in half of a name's time to live.
//! - **In any order**, every file once, as a shuffled epoch does: when the whole listing is known and a good part of what is
//!   left finds room, files are fetched in the listing's order. How many may wait unread is earned: a multiple
//!   of what was read, so a job that wants a few files of many costs a bounded multiple of them.
//!
//! It stops where it does not pay: files that the reader passes over, fewer hits than chance would give, files that
//! were let go before they were read, files that the kernel serves from its own cache.

mod tempo;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::HashSet;
use std::time::{Duration, Instant};

pub(super) use tempo::Tempo;

/// The window of a reader that has just proven to go in order.
const WINDOW_FIRST: usize = 4;

/// Files of the widest window; the budget of bytes ends most of them sooner.
const WINDOW_MAX: usize = 4096;

/// Reads in order before anything is fetched.
const IN_ORDER_MIN: i32 = 3;

/// The best a reader can do: so many steps out of order are forgiven.
const IN_ORDER_MAX: i32 = 8;

/// Where a reader begins again whose window was fetched in vain.
const IN_ORDER_PENALTY: i32 = -32;

/// Threads read side by side: this far from the front still is in order. In a small directory less, or everything would be.
const SLACK_MAX: usize = 32;

/// Distinct files read before files are fetched in any order.
const READS_MIN: usize = 6;

/// Files that may wait unread for each one that was read.
const EARNED_PER_READ: usize = 8;

/// Room for this part of what is left must be there: then no file waits until as many bytes as the whole budget have
/// come after it, at which the cache takes it for forsaken.
const ROOM_SHARE: u64 = 2;

/// Opens before it means something that few of them are followed by a read.
const OPENS_MIN: usize = 64;

/// Files that were read before a listing showed them, as many as are remembered.
const EARLY_MAX: usize = 4096;

/// Hits that chance promises before their absence means something.
const EXPECTED_MIN: f64 = 8.0;

/// How a file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Neither read nor fetched.
    Idle,
    /// Being fetched, or fetched and waiting to be read.
    Ahead { came: bool },
    /// Read, or gone.
    Done,
}

#[derive(Debug)]
struct Item {
    name: Box<str>,
    size: u32,
    state: State,
}

/// Where the bytes of a first read were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// In memory, or on their way.
    Here,
    /// Nowhere.
    Missing,
}

/// What became of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// The content is here, or was.
    Here,
    /// There was no room for it; it may be asked for again.
    NoRoom,
    /// It is not what it was, or could not be had: left to who asks for it.
    Gone,
}

/// What may be fetched now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Files, by the requests that may be in flight.
    pub(super) files: usize,
    /// Bytes that may wait unread, with those that already do.
    pub(super) bytes_max: u64,
    /// How long a name is believed once it was asked for.
    pub(super) ttl: Duration,
}

/// How one directory is read.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Ascending by `name/`, as a listing settles its entries.
    items: Vec<Item>,
    /// Of each page of the listing its first place, and how many of its files came and wait.
    pages: Vec<(usize, usize)>,
    whole: bool,
    /// Read before the listing came to them.
    early: HashSet<Box<str>>,
    /// Distinct files read, and how often one was read again.
    reads: usize,
    repeats: usize,
    /// All opens, and all first reads of an open.
    opens: usize,
    opens_read: usize,
    /// Items that are `Idle` and their bytes.
    idle: usize,
    idle_bytes: u64,
    /// Items that are `Ahead` and their bytes.
    ahead: usize,
    ahead_bytes: u64,
    /// Of files fetched ahead: read; passed over; let go before they were read.
    used: usize,
    skipped: usize,
    evicted: usize,
    /// What experience allows to wait, and the bytes read of what waited since it was set.
    bytes_cap: Option<u64>,
    cap_used: u64,
    in_order: i32,
    /// Behind the last file read in order.
    front: usize,
    /// Files before were looked at: passed over or not.
    counted: usize,
    window: usize,
    earned: usize,
    /// Where the search for idle files goes on, and how many it has left to look at.
    cursor: usize,
    unvisited: usize,
    /// Hits that chance would have given, and those there were.
    expected: f64,
    hits: f64,
    tempo: Tempo,
}

impl Scan {
    /// Takes in files of the listing, in its order; those that are not to be fetched are left out by the caller.
    pub(super) fn append(&mut self, name: &str, size: u64) {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let last = self.items.last();
        if last.is_some_and(|last| in_listing(&last.name, name) != Ordering::Less) {
            return;
        }
        if self.early.remove(name) {
            self.reads += 1;
            let state = State::Done;
            let name = name.into();
            self.items.push(Item { name, size, state });
            return;
        }
        self.items.push(Item {
            name: name.into(),
            size,
            state: State::Idle,
        });
        self.idle += 1;
        self.idle_bytes += u64::from(size);
        self.unvisited += 1;
    }

    /// The listing has come to its end.
    pub(super) fn end(&mut self) {
        self.whole = true;
        self.early = HashSet::new();
    }

    /// Files known so far.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Distinct files read, those too that the listing has not come to.
    pub(super) fn reads(&self) -> usize {
        self.reads + self.early.len()
    }

    /// Bytes fetched ahead that nobody has read.
    pub(super) fn ahead_bytes(&self) -> u64 {
        self.ahead_bytes
    }

    /// Name of a file by its place.
    pub(super) fn name(&self, at: usize) -> &str {
        &self.items[at].name
    }

    /// How many files are read in so long, as things go.
    pub(super) fn reads_in(&self, time: Duration) -> usize {
        self.tempo.events_in(time)
    }

    /// When a file was read last.
    pub(super) fn last_read(&self) -> Option<Instant> {
        self.tempo.last()
    }

    /// What is appended from here on is of the next page.
    pub(super) fn begin_page(&mut self) {
        self.pages.push((self.items.len(), 0));
    }

    /// True if a file of this page was fetched ahead and waits.
    pub(super) fn waits_in(&self, page: usize) -> bool {
        self.pages
            .get(page)
            .is_some_and(|(_, waiting)| *waiting > 0)
    }

    /// A file of the directory was opened: if its content is not asked for then, the kernel has it.
    pub(super) fn opened(&mut self) {
        self.opens += 1;
    }

    /// A file was read from its beginning. False if this is another look at files that were all read: begin anew.
    pub(super) fn read(&mut self, name: &str, seen: Seen, now: Instant) -> bool {
        self.tempo.event(now);
        self.opens_read += 1;
        let Some(at) = self.find(name) else {
            self.read_early(name);
            return true;
        };
        let waiting = self.ahead as f64;
        let left = (self.ahead + self.idle).max(1) as f64;
        match self.items[at].state {
            State::Done => {
                self.repeats += 1;
                return self.reads * 10 < self.items.len() * 9;
            }
            State::Ahead { came } => {
                self.expected += waiting / left;
                self.hits += 1.0;
                self.set(at, State::Done);
                if came && seen == Seen::Missing {
                    self.lost(at);
                } else {
                    self.kept(at);
                }
            }
            State::Idle => self.expected += waiting / left,
        }
        self.set(at, State::Done);
        self.reads += 1;
        self.follow(at);
        true
    }

    /// A file was read that the listing has not come to.
    pub(super) fn read_early(&mut self, name: &str) {
        if !self.whole && self.early.len() < EARLY_MAX {
            self.early.insert(name.into());
        }
    }

    /// What to fetch now, in the order of its use; all of it counts as asked for.
    pub(super) fn plan(&mut self, room: Room) -> Vec<usize> {
        let mut planned = Vec::new();
        let bytes_max = self
            .bytes_cap
            .map_or(room.bytes_max, |cap| cap.min(room.bytes_max));
        if !self.is_read_from_us() {
            return planned;
        }
        let (from, until, files_max) = if self.in_order >= IN_ORDER_MIN {
            // Before it is read, what was asked must not have grown too old to be believed.
            let in_time = self.tempo.events_in(room.ttl / 2).max(WINDOW_FIRST);
            let until = self.front + self.window.min(in_time);
            (self.front.max(self.cursor.min(until)), until, usize::MAX)
        } else if self.is_shuffled(room.bytes_max) {
            return self.plan_any(room, bytes_max);
        } else {
            return planned;
        };
        for at in from..until.min(self.items.len()) {
            if planned.len() == room.files.min(files_max) || self.ahead_bytes >= bytes_max {
                break;
            }
            self.cursor = at + 1;
            if self.items[at].state == State::Idle {
                self.set(at, State::Ahead { came: false });
                planned.push(at);
            }
        }
        planned
    }

    /// What became of a planned fetch.
    pub(super) fn came(&mut self, at: usize, came: Came) {
        if !matches!(self.items[at].state, State::Ahead { .. }) {
            return; // it was read meanwhile
        }
        match came {
            Came::Here => self.set(at, State::Ahead { came: true }),
            Came::Gone => self.set(at, State::Done),
            Came::NoRoom => {
                self.set(at, State::Idle);
                self.cursor = if self.in_order >= IN_ORDER_MIN {
                    self.cursor.min(at)
                } else {
                    at
                };
                self.unvisited = self.items.len();
            }
        }
    }

    /// Marks a file as fetched ahead for another reason; false if it need not be fetched.
    pub(super) fn ask(&mut self, name: &str) -> Option<usize> {
        let at = self.find(name)?;
        (self.items[at].state == State::Idle)
            .then(|| self.set(at, State::Ahead { came: false }))?;
        Some(at)
    }

    fn plan_any(&mut self, room: Room, bytes_max: u64) -> Vec<usize> {
        let mut planned = Vec::new();
        let goal = EARNED_PER_READ * self.reads;
        while self.unvisited > 0
            && planned.len() < room.files
            && self.ahead < goal
            && self.ahead_bytes < bytes_max
        {
            let at = self.cursor % self.items.len();
            self.cursor = at + 1;
            self.unvisited -= 1;
            if self.items[at].state == State::Idle {
                self.set(at, State::Ahead { came: false });
                planned.push(at);
            }
        }
        planned
    }

    /// False if most files that are opened are not read here: the kernel has their pages.
    fn is_read_from_us(&self) -> bool {
        self.opens <= OPENS_MIN + 2 * self.opens_read
    }

    fn is_shuffled(&self, bytes_max: u64) -> bool {
        self.whole
            && self.reads >= READS_MIN
            && self.repeats * 4 <= self.reads
            && !(self.expected >= EXPECTED_MIN && self.hits * 3.0 < self.expected)
            && bytes_max.saturating_mul(ROOM_SHARE) >= self.idle_bytes
    }

    /// A file went before it was read: fewer may wait. The others of its time are judged with it, once: those that went too
    /// are fetched again, those that are here still are found so without a request.
    fn lost(&mut self, at: usize) {
        self.evicted += 1;
        if self.evicted <= 4 + self.used / 8 {
            return;
        }
        let few = WINDOW_FIRST as u64 * u64::from(self.items[at].size).max(1);
        self.bytes_cap = Some((self.ahead_bytes / 2).max(few));
        (self.cap_used, self.evicted, self.used) = (0, 0, 0);
        for at in 0..self.items.len() {
            if self.items[at].state == (State::Ahead { came: true }) {
                self.set(at, State::Idle);
            }
        }
        self.cursor = self.cursor.min(self.front);
        self.unvisited = self.items.len();
    }

    /// A file was read while it waited. After as many bytes as may wait, twice as many may.
    fn kept(&mut self, at: usize) {
        self.used += 1;
        self.cap_used += u64::from(self.items[at].size);
        if let Some(cap) = &mut self.bytes_cap
            && self.cap_used >= *cap
        {
            *cap = cap.saturating_mul(2);
            self.cap_used = 0;
        }
    }

    /// Where the reader is, after it has read the file at `at`.
    fn follow(&mut self, at: usize) {
        let slack = (self.items.len() / 16).clamp(1, SLACK_MAX);
        if self.front.abs_diff(at) > slack {
            self.in_order = (self.in_order - 2).max(IN_ORDER_PENALTY);
            if self.in_order <= 0 {
                self.front = at + 1;
                self.counted = self.front;
                if self.window > 0 {
                    self.window = 0;
                    self.unvisited = self.items.len();
                }
            }
            return;
        }
        self.in_order = (self.in_order + 1).min(IN_ORDER_MAX);
        self.front = self.front.max(at + 1);
        if self.in_order < IN_ORDER_MIN {
            return;
        }
        if self.window == 0 {
            (self.window, self.earned) = (WINDOW_FIRST, 0);
            self.cursor = self.front;
        }
        self.earned += 1;
        if self.earned * 2 >= self.window {
            self.window = (self.window * 2).min(WINDOW_MAX);
            self.earned = 0;
        }
        while self.counted + slack < self.front {
            self.skipped +=
                usize::from(self.items[self.counted].state == State::Ahead { came: true });
            self.counted += 1;
        }
        if self.skipped > self.used + WINDOW_FIRST {
            (self.skipped, self.used) = (0, 0);
            self.window = 0;
            self.in_order = IN_ORDER_PENALTY;
        }
    }

    fn set(&mut self, at: usize, state: State) {
        let item = &mut self.items[at];
        let bytes = u64::from(item.size);
        let before = std::mem::replace(&mut item.state, state);
        let waits = State::Ahead { came: true };
        if (before == waits) != (state == waits) {
            let page = self.pages.partition_point(|(first, _)| *first <= at);
            if let Some((_, waiting)) = page
                .checked_sub(1)
                .and_then(|page| self.pages.get_mut(page))
            {
                *waiting = if state == waits {
                    *waiting + 1
                } else {
                    *waiting - 1
                };
            }
        }
        match before {
            State::Idle => (self.idle, self.idle_bytes) = (self.idle - 1, self.idle_bytes - bytes),
            State::Ahead { .. } => {
                (self.ahead, self.ahead_bytes) = (self.ahead - 1, self.ahead_bytes - bytes);
            }
            State::Done => {}
        }
        match state {
            State::Idle => (self.idle, self.idle_bytes) = (self.idle + 1, self.idle_bytes + bytes),
            State::Ahead { .. } => {
                (self.ahead, self.ahead_bytes) = (self.ahead + 1, self.ahead_bytes + bytes);
            }
            State::Done => {}
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.items
            .binary_search_by(|item| in_listing(&item.name, name))
            .ok()
    }
}

/// The order in which a listing settles its entries: of names with a slash behind.
fn in_listing(one: &str, other: &str) -> Ordering {
    let slash = std::iter::once(b'/');
    one.bytes()
        .chain(slash.clone())
        .cmp(other.bytes().chain(slash))
}
