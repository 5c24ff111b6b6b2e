//! How much the cache may take, and what goes first when it takes too much.

use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::directory::{Found, Room};
use crate::buffer::BLOCK_BYTES;

/// The smallest cache: 64 MiB. Room is made in steps of a sixteenth, which should hold a few blocks.
pub const CACHE_BYTES_MIN: u64 = 64 << 20;

/// Room that is always left on the file system: 5 % of it or this much, whichever is less.
const FLOOR_BYTES_MAX: u64 = 1 << 30;

/// How much is taken and how much may be.
///
/// Several processes share the directory and count only what they write themselves between two looks through it. So each
/// looks again whenever it has written a 32nd of what is allowed.
#[derive(Debug)]
pub(super) struct Space {
    /// Bytes that the cache may take.
    limit: AtomicU64,
    /// Bytes that it takes: what the last look has found, and what was written since.
    used: AtomicU64,
    written: AtomicU64,
}

/// What the keeper should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// Look through the directory.
    Look,
}

impl Space {
    /// `limit`, or half of what is free.
    pub(super) fn new(limit: Option<u64>, room: Room) -> Self {
        Self {
            limit: AtomicU64::new(limit.unwrap_or(room.free / 2).max(CACHE_BYTES_MIN)),
            used: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn set_limit(&self, limit: u64) {
        self.limit
            .store(limit.max(CACHE_BYTES_MIN), Ordering::Relaxed);
    }

    /// The size from which room is made: a sixteenth below the limit, for what others write meanwhile.
    fn high(&self) -> u64 {
        self.limit() - self.limit() / 16
    }

    /// The size that is left when room has been made.
    fn low(&self) -> u64 {
        self.high() - self.limit() / 16
    }

    /// True if so many more bytes may be written.
    pub(super) fn admits(&self, bytes: u64, room: Room) -> bool {
        self.used.load(Ordering::Relaxed) + bytes <= self.limit()
            && room.free >= floor(room) + bytes
    }

    pub(super) fn wrote(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A look through the directory begins.
    pub(super) fn looks(&self) {
        self.written.store(0, Ordering::Relaxed);
    }

    /// What it has left. What was written since it began may be in that or not, and is counted once more.
    pub(super) fn looked(&self, used: u64) {
        let since = self.written.load(Ordering::Relaxed);
        self.used.store(used + since, Ordering::Relaxed);
    }

    pub(super) fn need(&self, room: Room) -> Need {
        let used = self.used.load(Ordering::Relaxed);
        let is_due = self.written.load(Ordering::Relaxed) > self.limit() / 32;
        let is_full = used > self.high();
        // A full disk is our business only while we hold some of it.
        let is_tight = used > 0 && room.free < tight(room);
        if is_due || is_full || is_tight {
            Need::Look
        } else {
            Need::Nothing
        }
    }

    /// Bytes to free, if the cache takes `used`.
    pub(super) fn excess(&self, used: u64, room: Room) -> u64 {
        let beyond = if used > self.high() {
            used - self.low()
        } else {
            0
        };
        let missing = if room.free < tight(room) {
            2 * tight(room) - floor(room) - room.free
        } else {
            0
        };
        beyond.max(missing)
    }
}

/// What is left free whatever the cache's size.
fn floor(room: Room) -> u64 {
    (room.total / 20).min(FLOOR_BYTES_MAX)
}

/// The free room from which more is made: enough above the floor that no write is refused before.
fn tight(room: Room) -> u64 {
    floor(room) + floor(room) / 4 + 4 * BLOCK_BYTES as u64
}

/// Objects that one look can remove: 10 MiB of memory. If more must go, the next looks go on; that those in use are among them
/// stops no look, for they are far fewer.
const COLDEST_MAX: usize = 1 << 18;

/// Of all objects that a look shows, those that were used least recently.
pub(super) struct Coldest {
    max: usize,
    /// The warmest of them on top.
    items: BinaryHeap<Found>,
}

impl Coldest {
    pub(super) fn new() -> Self {
        Self::with_max(COLDEST_MAX)
    }

    pub(super) fn with_max(max: usize) -> Self {
        Self {
            max,
            items: BinaryHeap::new(),
        }
    }

    pub(super) fn see(&mut self, item: Found) {
        if self.items.len() < self.max {
            self.items.push(item);
        } else if let Some(mut warmest) = self.items.peek_mut()
            && item < *warmest
        {
            *warmest = item;
        }
    }

    /// Removes what was used least recently until `excess` bytes are free, and returns how many are. `remove` says false for
    /// what is in use: it takes its room, but removing it would free nothing.
    pub(super) fn evict(self, excess: u64, mut remove: impl FnMut(&Found) -> bool) -> u64 {
        let mut freed = 0;
        for item in self.items.into_sorted_vec() {
            if freed >= excess {
                break;
            }
            if remove(&item) {
                freed += item.bytes;
            }
        }
        freed
    }
}
