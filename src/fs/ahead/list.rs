//! `--prefetch-list`: the files in the order in which they will be read. Pure.
//!
//! Files are asked for in the list's order, so far ahead of the reader as there is room, and no farther than names are
//! believed at the speed at which he goes. A reader that leaves the list behind is left alone.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::scan::Tempo;

/// Files that may wait unread at any speed.
const WAITING_MIN: usize = 64;

/// Files read before the speed is known well enough to bound what waits.
const READS_MIN: usize = 32;

/// Files read in a row that the list does not have, after which it says nothing more.
const STRANGERS_MAX: usize = 256;

/// How a file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// Asked for, with the bytes that wait: 0 until its size is known.
    Waiting {
        bytes: u32,
    },
    /// Read, or not to be had.
    Done,
}

/// The list, and how far it has come.
#[derive(Debug)]
pub(super) struct List {
    files: Vec<(Box<str>, State)>,
    hasher: RandomState,
    /// Places by the hash of their path, the first of each; `same` leads to the next.
    places: HashMap<u64, u32>,
    same: Vec<u32>,
    /// Everything before was asked for.
    next: usize,
    waiting: usize,
    waiting_bytes: u64,
    reads: usize,
    strangers: usize,
    tempo: Tempo,
}

/// No other place has the same hash.
const NO_PLACE: u32 = u32::MAX;

impl List {
    /// A list of paths below the mount's root, at most `u32::MAX` - 1; what is more is left out.
    pub(super) fn new(paths: Vec<Box<str>>) -> Self {
        let hasher = RandomState::new();
        let mut places = HashMap::with_capacity(paths.len());
        let mut same = vec![NO_PLACE; paths.len()];
        // From the last to the first, so that chains ascend.
        for (at, path) in paths.iter().enumerate().rev() {
            let Ok(place) = u32::try_from(at) else {
                continue;
            };
            if let Some(later) = places.insert(hasher.hash_one(&**path), place) {
                same[at] = later;
            }
        }
        Self {
            files: paths.into_iter().map(|path| (path, State::Idle)).collect(),
            hasher,
            places,
            same,
            next: 0,
            waiting: 0,
            waiting_bytes: 0,
            reads: 0,
            strangers: 0,
            tempo: Tempo::default(),
        }
    }

    /// The next file to ask for, if there is room for `bytes_max` in all; it counts as asked for.
    pub(super) fn next(&mut self, bytes_max: u64, ttl: Duration) -> Option<(usize, Box<str>)> {
        let in_time = self.tempo.events_in(ttl / 2);
        let is_far =
            self.reads >= READS_MIN && self.waiting >= WAITING_MIN && self.waiting >= in_time;
        if is_far || self.waiting_bytes >= bytes_max {
            return None;
        }
        while let Some((path, state)) = self.files.get_mut(self.next) {
            let at = self.next;
            self.next += 1;
            if *state == State::Idle {
                *state = State::Waiting { bytes: 0 };
                self.waiting += 1;
                return Some((at, path.clone()));
            }
        }
        None
    }

    /// A file that was asked for has so many bytes to wait with.
    pub(super) fn sized(&mut self, at: usize, bytes: u64) {
        if let State::Waiting { bytes: 0 } = self.files[at].1 {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.files[at].1 = State::Waiting { bytes };
            self.waiting_bytes += u64::from(bytes);
        }
    }

    /// A file is read, or is not to be had.
    pub(super) fn done(&mut self, at: usize) {
        if let State::Waiting { bytes } = self.files[at].1 {
            self.waiting -= 1;
            self.waiting_bytes -= u64::from(bytes);
        }
        self.files[at].1 = State::Done;
    }

    /// A file was read from its beginning. Returns its place in the list, the first that was not read yet.
    pub(super) fn read(&mut self, path: &str, now: Instant) -> Option<usize> {
        let first = self.places.get(&self.hasher.hash_one(path)).copied();
        let mut at = first.unwrap_or(NO_PLACE);
        while let Some((known, state)) = self.files.get(at as usize) {
            if &**known == path && *state != State::Done {
                self.tempo.event(now);
                self.reads += 1;
                self.strangers = 0;
                self.done(at as usize);
                return Some(at as usize);
            }
            at = self.same[at as usize];
        }
        self.strangers += 1;
        if self.strangers >= STRANGERS_MAX {
            self.next = self.files.len();
        }
        None
    }

    /// True once the list says nothing more of what will be read.
    pub(super) fn is_over(&self) -> bool {
        self.next == self.files.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(1);

    fn list(paths: &[&str]) -> List {
        List::new(paths.iter().map(|path| (*path).into()).collect())
    }

    #[test]
    fn files_are_asked_for_in_order_as_far_as_there_is_room() {
        let mut list = list(&["a", "b", "c"]);
        let ask = |list: &mut List| list.next(100, TTL).map(|(at, _)| at);
        assert_eq!(ask(&mut list), Some(0));
        list.sized(0, 60);
        assert_eq!(ask(&mut list), Some(1));
        list.sized(1, 60);
        assert_eq!(ask(&mut list), None, "120 bytes wait");
        assert_eq!(list.read("a", Instant::now()), Some(0));
        assert_eq!(ask(&mut list), Some(2));
        list.done(2);
        assert!(list.is_over());
        assert_eq!(list.read("a", Instant::now()), None, "it was read");
    }

    #[test]
    fn a_file_that_was_read_first_is_not_asked_for() {
        let mut list = list(&["a", "b", "a"]);
        list.read("a", Instant::now());
        assert_eq!(list.next(1, TTL).map(|(at, _)| at), Some(1));
        assert_eq!(
            list.next(1, TTL).map(|(at, _)| at),
            Some(2),
            "its second time"
        );
    }

    #[test]
    fn who_reads_other_files_ends_the_list() {
        let mut list = list(&["a"]);
        for _ in 0..STRANGERS_MAX {
            assert!(!list.is_over());
            list.read("x", Instant::now());
        }
        assert!(list.is_over() && list.next(1, TTL).is_none());
    }

    proptest! {
        /// The naive twin: counts over all files, anew each time.
        #[test]
        fn what_waits_is_what_was_asked_and_not_read(
            paths in proptest::collection::vec(0..20_u8, 1..60),
            steps in proptest::collection::vec((0..4_u8, 0..60_usize), 0..200),
        ) {
            let names: Vec<String> = paths.iter().map(|path| format!("f{path}")).collect();
            let mut list = List::new(names.iter().map(|name| name.as_str().into()).collect());
            let mut twin = vec![None; names.len()]; // bytes that wait
            let mut asked = vec![false; names.len()];
            let mut now = Instant::now();
            for (what, at) in steps {
                let at = at % names.len();
                now += Duration::from_millis(1);
                match what {
                    0 => if let Some((at, path)) = list.next(500, TTL) {
                        prop_assert_eq!(&*path, names[at].as_str());
                        prop_assert!(!asked[at], "asked for twice");
                        asked[at] = true;
                        twin[at] = Some(0);
                    },
                    1 if twin[at] == Some(0) => { list.sized(at, 90); twin[at] = Some(90); }
                    2 if twin[at].is_some() => { list.done(at); twin[at] = None; }
                    _ => if let Some(at) = list.read(&names[at], now) {
                        twin[at] = None;
                        asked[at] = true;
                    },
                }
                prop_assert_eq!(list.waiting, twin.iter().flatten().count());
                prop_assert_eq!(list.waiting_bytes, twin.iter().flatten().sum::<u64>());
            }
        }
    }
}
