//! `--prefetch-list`: the files in the order in which they will be read. Pure.
//!
//! Files are asked for in the list's order, so far ahead of the reader as there is room, and no farther than names are
//! believed at the speed at which he goes. What he passes over waits no longer. A reader that leaves the list behind, or
//! reads only a small part of it, is left alone.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::scan::Tempo;

/// Files that may wait unread at any speed.
const WAITING_MIN: usize = 64;

/// Files read before the speed is known well enough to bound what waits.
const READS_MIN: usize = 32;

/// Files read in a row that the list does not have, or that it never came to, after which it says nothing more.
const STRANGERS_MAX: usize = 256;

/// The reader is where the least of his last reads was: several threads read side by side, and one file says nothing.
const RECENT: usize = 8;

/// Files asked for and passed over for each one read, beyond which the list is somebody else's.
const PASSED_PER_READ: usize = 4;

/// Files in a row that are not there, after which the list is taken to be of something else: each costs two requests.
const MISSING_MAX: usize = 256;

/// How a file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// Asked for, with the bytes that wait: 0 until its size is known.
    Waiting {
        bytes: u32,
    },
    /// Asked for, and passed over by the reader: nobody waits for it.
    Passed,
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
    /// Nothing before waits.
    behind: usize,
    recent: VecDeque<usize>,
    waiting: usize,
    waiting_bytes: u64,
    passed: usize,
    reads: usize,
    strangers: usize,
    /// Files of the list read in a row that were not asked for, while nothing was.
    unasked: usize,
    /// Files in a row that are not there.
    missing: usize,
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
            behind: 0,
            recent: VecDeque::with_capacity(RECENT),
            waiting: 0,
            waiting_bytes: 0,
            passed: 0,
            reads: 0,
            strangers: 0,
            unasked: 0,
            missing: 0,
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
                self.unasked = 0;
                return Some((at, path.clone()));
            }
        }
        None
    }

    /// A file that was asked for is not there.
    pub(super) fn missing(&mut self, at: usize) {
        self.missing += 1;
        self.done(at);
        self.judge();
    }

    /// A file that was asked for has so many bytes to wait with. False if it need not be fetched any more.
    pub(super) fn sized(&mut self, at: usize, bytes: u64) -> bool {
        self.missing = 0;
        if let State::Waiting { bytes: 0 } = self.files[at].1 {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.files[at].1 = State::Waiting { bytes };
            self.waiting_bytes += u64::from(bytes);
        }
        matches!(self.files[at].1, State::Waiting { .. })
    }

    /// A file is read, or is not to be had.
    pub(super) fn done(&mut self, at: usize) {
        self.retire(at, State::Done);
    }

    fn retire(&mut self, at: usize, state: State) {
        match std::mem::replace(&mut self.files[at].1, state) {
            State::Waiting { bytes } => {
                self.waiting -= 1;
                self.waiting_bytes -= u64::from(bytes);
            }
            State::Passed => self.passed -= 1,
            State::Idle | State::Done => {}
        }
    }

    /// A file was read from its beginning. Returns its place in the list: the first that was neither read nor passed over, else
    /// the first that was not read.
    pub(super) fn read(&mut self, path: &str, now: Instant) -> Option<usize> {
        let Some(at) = self.find(path) else {
            self.strangers += 1;
            self.judge();
            return None;
        };
        self.tempo.event(now);
        self.reads += 1;
        self.strangers = 0;
        match self.files[at].1 {
            State::Waiting { .. } => self.unasked = 0,
            State::Idle | State::Passed | State::Done => self.unasked += 1,
        }
        self.done(at);
        self.follow(at);
        self.judge();
        Some(at)
    }

    fn find(&self, path: &str) -> Option<usize> {
        let mut at = *self.places.get(&self.hasher.hash_one(path))?;
        let mut passed_over = None;
        while let Some((known, state)) = self.files.get(at as usize) {
            if &**known == path && *state != State::Done {
                if at as usize >= self.behind {
                    return Some(at as usize);
                }
                passed_over = passed_over.or(Some(at as usize));
            }
            at = self.same[at as usize];
        }
        passed_over
    }

    /// The reader has come to `at`: what lies behind him waits no longer, and is not asked for any more.
    fn follow(&mut self, at: usize) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(at);
        if self.recent.len() < RECENT {
            return;
        }
        let reader = self.recent.iter().copied().min().unwrap_or(0);
        while self.behind < reader {
            let at = self.behind;
            self.behind += 1;
            if let State::Waiting { .. } = self.files[at].1 {
                self.retire(at, State::Passed);
                self.passed += 1;
            }
        }
        self.next = self.next.max(self.behind);
    }

    /// Ends a list that does not say what is read.
    fn judge(&mut self) {
        if self.strangers >= STRANGERS_MAX
            || self.unasked >= STRANGERS_MAX
            || self.missing >= MISSING_MAX
            || self.passed > STRANGERS_MAX + PASSED_PER_READ * self.reads
        {
            self.next = self.files.len();
        }
    }

    /// True once the list says nothing more of what will be read.
    pub(super) fn is_over(&self) -> bool {
        self.next == self.files.len()
    }

    /// True once nothing that was asked for waits either.
    pub(super) fn is_finished(&self) -> bool {
        self.is_over() && self.waiting == 0
    }

    /// True if it was ended because nothing of it is there.
    pub(super) fn is_of_nothing(&self) -> bool {
        self.missing >= MISSING_MAX
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

    #[test]
    fn a_list_of_files_that_are_not_there_is_ended() {
        let names: Vec<String> = (0..2 * MISSING_MAX).map(|at| at.to_string()).collect();
        let mut list = List::new(names.iter().map(|name| name.as_str().into()).collect());
        let mut asked = 0;
        while let Some((at, _)) = list.next(1, TTL) {
            asked += 1;
            // One that is there begins the count anew.
            if at == 9 {
                list.sized(at, 0);
                list.done(at);
            } else {
                list.missing(at);
            }
        }
        assert_eq!(asked, 10 + MISSING_MAX);
        assert!(list.is_finished() && list.is_of_nothing());
    }

    /// Reads every file of `places` of a list of 100,000, each read followed by all that may be asked for. Returns the list,
    /// and how many had been asked for by then.
    fn read_some(places: impl Iterator<Item = usize>) -> (List, usize) {
        let names: Vec<String> = (0..100_000).map(|file| format!("f{file}")).collect();
        let mut list = List::new(names.iter().map(|name| name.as_str().into()).collect());
        let (mut now, mut hits) = (Instant::now(), 0);
        for place in places {
            now += Duration::from_millis(20);
            hits += usize::from(matches!(list.files[place].1, State::Waiting { .. }));
            list.read(&names[place], now);
            while let Some((at, _)) = list.next(200_000, TTL) {
                list.sized(at, 1000);
            }
        }
        (list, hits)
    }

    #[test]
    fn a_reader_of_every_third_file_does_not_stop_the_list() {
        let (list, hits) = read_some((0..30_000).step_by(3));
        assert!(hits > 9_900, "{hits} of 10000 were asked for");
        assert!(!list.is_over());
    }

    #[test]
    fn a_reader_of_every_eighth_file_ends_the_list() {
        let (list, _) = read_some((0..8_000).step_by(8));
        assert!(list.is_over(), "{} wait at {}", list.waiting, list.next);
    }

    #[test]
    fn a_reader_that_begins_in_the_middle_is_followed() {
        let (list, hits) = read_some(50_000..51_000);
        assert!(hits > 900, "{hits} of 1000 were asked for");
        assert!(!list.is_over());
    }

    #[test]
    fn one_file_from_the_end_changes_nothing() {
        let (list, hits) = read_some((0..20).chain([99_999]).chain(20..1_000));
        assert!(hits > 900 && !list.is_over(), "{hits} of 1000");
    }

    #[test]
    fn a_list_that_never_comes_to_what_is_read_is_over() {
        let (list, _) = read_some((0..5_000).rev());
        assert!(list.is_over());
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
                for (at, twin) in twin.iter_mut().enumerate() {
                    if at < list.behind {
                        *twin = None; // passed over
                    }
                }
                let passed = list.files.iter().filter(|file| file.1 == State::Passed).count();
                prop_assert_eq!(list.passed, passed);
                prop_assert_eq!(list.waiting, twin.iter().flatten().count());
                prop_assert_eq!(list.waiting_bytes, twin.iter().flatten().sum::<u64>());
            }
        }
    }
}
