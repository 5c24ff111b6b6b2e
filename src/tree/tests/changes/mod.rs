//! What this mount changes itself, among what others change and what the bucket answers, however late.
//!
//! The twin keeps paths and the whole history of the bucket. A local name never vanishes or changes its number by an answer; what the
//! tree says of any other name was true since this mount has last changed it; and nothing is left when nothing holds it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;

use steps::{Step, step};

use super::counts::check_counts;
use super::{FewKeys as Keys, object, page};
use crate::object::Prefix;
use crate::tree::{
    DirectoryStream, Entry, Ino, Kind, Known, ListingStart, More, Over, Settled, Shown, Tree, Ttl,
};

const NAMES: [&str; 3] = ["a", "b", "a-"];
const DIRECTORIES: [&str; 4] = ["", "a/", "b/", "a/a/"];
const NEGATIVE: Duration = Duration::from_millis(500);
const TIME: SystemTime = UNIX_EPOCH;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Directory,
    Object(u64),
    Nothing,
}

fn truth(keys: &Keys, path: &str) -> Truth {
    if has_below(keys, path) {
        return Truth::Directory;
    }
    keys.get(path)
        .map_or(Truth::Nothing, |version| Truth::Object(*version))
}

fn has_below(keys: &Keys, path: &str) -> bool {
    let prefix = format!("{path}/");
    keys.keys().any(|key| key.starts_with(&prefix))
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

struct Question {
    parent: Ino,
    path: String,
    asked: Instant,
    answer: Option<Truth>,
}

struct Listing {
    directory: Ino,
    prefix: String,
    start: ListingStart,
    stream: DirectoryStream,
    seen: Vec<Entry>,
    /// There since it began.
    stays: BTreeSet<String>,
}

struct World {
    tree: Tree,
    ttl: Duration,
    now: Instant,
    keys: Keys,
    history: Vec<(Instant, Keys)>,
    questions: Vec<Question>,
    listings: Vec<Listing>,
    /// Local files by path.
    files: BTreeMap<String, Ino>,
    /// Directories that were made, moved, or lost a name, by path: the inode, and when that was.
    kept: BTreeMap<String, (Ino, Instant)>,
    /// When this mount has last changed a path, or all below it.
    changed: HashMap<String, Instant>,
    moved: HashMap<String, Instant>,
    versions: HashMap<Ino, u64>,
    doubted: HashSet<Ino>,
    pins: Vec<Ino>,
    orphans: HashSet<Ino>,
    last_version: u64,
}

impl World {
    fn new(ttl_ms: u64, names_max: usize, own_max: usize) -> Self {
        let (now, ttl) = (Instant::now(), Duration::from_millis(ttl_ms));
        let mut tree = Tree::new(Prefix::root(), Ttl::new(ttl, NEGATIVE), names_max, now);
        tree.own.max = own_max;
        tree.overlays.max = 2;
        Self {
            tree,
            ttl,
            now,
            keys: Keys::new(),
            history: vec![(now, Keys::new())],
            questions: Vec::new(),
            listings: Vec::new(),
            files: BTreeMap::new(),
            kept: BTreeMap::new(),
            changed: HashMap::new(),
            moved: HashMap::new(),
            versions: HashMap::new(),
            doubted: HashSet::new(),
            pins: Vec::new(),
            orphans: HashSet::new(),
            last_version: 1000,
        }
    }

    fn set(&mut self, change: impl FnOnce(&mut Keys)) {
        change(&mut self.keys);
        self.history.push((self.now, self.keys.clone()));
    }

    /// The states of the bucket from that moment on.
    fn since(&self, from: Instant) -> impl Iterator<Item = &Keys> + Clone {
        let first = self.history.partition_point(|(since, _)| *since <= from);
        self.history[first.max(1) - 1..]
            .iter()
            .map(|(_, keys)| keys)
    }

    /// True if `path` was `what` within that time, and after this mount has last changed it.
    fn was(&self, path: &str, within: Duration, what: Truth) -> bool {
        let mut from = self.now.checked_sub(within).unwrap();
        from = from.max(self.changed.get(path).copied().unwrap_or(from));
        for (above, moved) in &self.moved {
            if path == above || path.starts_with(&format!("{above}/")) {
                from = from.max(*moved);
            }
        }
        let mut states = self.since(from);
        let version = match what {
            Truth::Directory => return states.any(|keys| has_below(keys, path)),
            Truth::Object(version) => Some(version),
            Truth::Nothing => None,
        };
        states
            .clone()
            .any(|keys| keys.get(path).copied() == version)
            && states.any(|keys| !has_below(keys, path))
    }

    /// True if nobody but this mount can say that the directory is there, or that it is not.
    fn must_stay(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        self.files.keys().any(|file| file.starts_with(&prefix))
            || self
                .kept
                .keys()
                .any(|other| other == path || other.starts_with(&prefix))
    }

    fn is_there(&self, path: &str) -> bool {
        self.files.contains_key(path)
            || self.must_stay(path)
            || truth(&self.keys, path) != Truth::Nothing
    }

    /// Takes in what a path is now, and gives the inode.
    fn ask_now(&mut self, path: &str) -> Option<Ino> {
        let (above, name) = split(path);
        let parent = self.directory(above)?;
        let answer = truth(&self.keys, path);
        match self.tell(parent, name, answer, self.now) {
            Settled::Entry(ino) => Some(ino),
            Settled::Absent => None,
            Settled::AskAgain | Settled::Stale => panic!("{path}: a new answer holds"),
        }
    }

    fn directory(&mut self, path: &str) -> Option<Ino> {
        if path.is_empty() {
            return Some(Ino::ROOT);
        }
        let ino = self.ask_now(path)?;
        self.tree.prefix_of(ino).is_ok().then_some(ino)
    }

    fn tell(&mut self, parent: Ino, name: &str, what: Truth, asked: Instant) -> Settled {
        let settled = match what {
            Truth::Directory => self.tree.found_directory(parent, name, asked),
            Truth::Object(version) => {
                let meta = object(version);
                self.tree.found_object(parent, name, &meta, asked)
            }
            Truth::Nothing => self.tree.found_nothing(parent, name, asked),
        };
        if let Settled::Entry(ino) = settled {
            self.meet(ino);
        }
        settled
    }

    fn meet(&mut self, ino: Ino) {
        let node = self.tree.node(ino).unwrap();
        assert!(!node.is_stale() && !node.is_orphan());
        if let Some(object) = node.object() {
            let known = *self.versions.entry(ino).or_insert(object.size());
            if known != object.size() {
                assert!(self.doubted.remove(&ino), "another version, same number");
                self.versions.insert(ino, object.size());
            }
        }
    }

    fn step(&mut self, step: &Step) {
        self.now += Duration::from_micros(1);
        match *step {
            Step::Put(at, version) => self.set(|keys| {
                keys.insert(at.path(), version);
            }),
            Step::Delete(at) => self.set(|keys| {
                keys.remove(&at.path());
            }),
            Step::Wait(ms) => self.now += Duration::from_millis(ms),
            Step::Ask(at) => {
                let path = at.path();
                if let Some(parent) = self.known_directory(split(&path).0) {
                    let (asked, answer) = (self.now, None);
                    self.questions.push(Question {
                        parent,
                        path,
                        asked,
                        answer,
                    });
                }
            }
            Step::Look(index) => {
                let count = self.questions.len().max(1);
                if let Some(question) = self.questions.get_mut(index % count) {
                    let now = truth(&self.keys, &question.path);
                    question.answer.get_or_insert(now);
                }
            }
            Step::Answer(index) => {
                let count = self.questions.len().max(1);
                let is_looked_at = |question: &Question| question.answer.is_some();
                if self.questions.get(index % count).is_some_and(is_looked_at) {
                    let question = self.questions.swap_remove(index % count);
                    let (_, name) = split(&question.path);
                    let answer = question.answer.unwrap();
                    self.tell(question.parent, name, answer, question.asked);
                }
            }
            Step::List(index) => self.list(DIRECTORIES[index].trim_end_matches('/')),
            Step::NextPage(index) => self.next_page(index),
            Step::Stale(at) => {
                if let Some(ino) = self.known_path(&at.path()) {
                    self.tree.mark_stale(ino, self.now);
                }
            }
            Step::Pin(at) => {
                if let Some(ino) = self.known_path(&at.path()) {
                    self.tree.remember(ino).unwrap();
                    self.pins.push(ino);
                }
            }
            Step::Unpin(index) => {
                if !self.pins.is_empty() {
                    let ino = self.pins.swap_remove(index % self.pins.len());
                    self.tree.forget(ino, 1);
                }
            }
            Step::Overlay(at, mode) => {
                if let Some(ino) = self.known_path(&at.path()) {
                    let mode = Some(mode).filter(|mode| *mode > 0);
                    self.tree
                        .overlay_with(ino, |overlay| overlay.mode = mode)
                        .unwrap();
                }
            }
            Step::Create(_)
            | Step::Dirty(_)
            | Step::Commit(_)
            | Step::Unlink(_)
            | Step::MakeDirectory(_)
            | Step::RemoveDirectory(_)
            | Step::Rename(..) => self.change(step),
        }
    }

    /// The inode of a path as far as the tree knows it, of whatever age.
    fn known_path(&self, path: &str) -> Option<Ino> {
        path.split('/')
            .try_fold(Ino::ROOT, |parent, name| self.tree.child(parent, name))
    }

    fn known_directory(&self, path: &str) -> Option<Ino> {
        if path.is_empty() {
            return Some(Ino::ROOT);
        }
        let ino = self.known_path(path)?;
        self.tree.prefix_of(ino).is_ok().then_some(ino)
    }

    fn list(&mut self, path: &str) {
        let Some(directory) = self.directory(path) else {
            return;
        };
        let prefix = self.tree.prefix_of(directory).unwrap();
        let start = self.tree.begin_listing(directory, self.now).unwrap();
        self.tree.open(directory).unwrap();
        let local = self.tree.local_names(directory, self.now);
        let mut stream = DirectoryStream::new(prefix.clone(), 2);
        stream.beside(&local);
        let prefix = prefix.as_str().to_owned();
        let there = |name: &&str| self.is_there(&format!("{prefix}{name}"));
        let stays = NAMES.iter().copied().filter(there);
        self.listings.push(Listing {
            directory,
            start,
            stream,
            seen: Vec::new(),
            stays: stays.map(ToOwned::to_owned).collect(),
            prefix,
        });
    }

    fn next_page(&mut self, index: usize) {
        if self.listings.is_empty() {
            return;
        }
        let index = index % self.listings.len();
        let listing = &mut self.listings[index];
        let local = self.tree.local_names(listing.directory, self.now);
        listing.stream.beside(&local);
        let after = listing.stream.start_after();
        let (page, more) = page(&self.keys, &listing.prefix, after.as_deref());
        let entries: Vec<Entry> = listing.stream.page(page, more, self.now).to_vec();
        let directory = listing.directory;
        for entry in &entries {
            if let Settled::Entry(ino) = self.tree.found_entry(directory, entry) {
                self.meet(ino);
            }
        }
        let listing = &mut self.listings[index];
        listing.seen.extend(entries);
        for pair in listing.seen.windows(2) {
            assert!(format!("{}/", pair[0].name) < format!("{}/", pair[1].name));
        }
        if more == More::Ends {
            let listing = self.listings.swap_remove(index);
            assert!(listing.stream.is_sound());
            self.tree.complete_listing(&listing.start);
            self.check_listing(&listing);
            self.tree.close(listing.directory);
        }
    }

    /// What was there all the time is shown; what this mount has removed is not.
    fn check_listing(&mut self, listing: &Listing) {
        let path = listing.prefix.trim_end_matches('/');
        if self.known_directory(path) != Some(listing.directory) {
            return; // it, or one above it, is stale
        }
        for name in &listing.stays {
            let entry = listing.seen.iter().find(|entry| *entry.name == **name);
            let entry = entry.unwrap_or_else(|| panic!("{name} is missing"));
            let shown = self.tree.shown(listing.directory, entry, self.now);
            assert_ne!(shown, Shown::Gone, "{name}");
        }
        for entry in &listing.seen {
            let path = format!("{}{}", listing.prefix, entry.name);
            let shown = self.tree.shown(listing.directory, entry, self.now);
            if let Some(ino) = self.files.get(&path) {
                assert_eq!(shown, Shown::Inode(*ino));
            } else if self.changed.get(&path) > Some(&entry.asked) && !self.is_there(&path) {
                // Somebody else may have removed it then; but it is never shown by what was asked before.
                let was_there = self
                    .since(self.changed[&path])
                    .any(|keys| keys.contains_key(&path) || has_below(keys, &path));
                // Only the name may be, once the change is not remembered any more.
                let is_forgotten = self.tree.floor(listing.directory) > Some(entry.asked);
                let is_name = is_forgotten && shown == Shown::Name;
                assert!(
                    was_there || is_name || shown == Shown::Gone,
                    "{path}: {shown:?}"
                );
            }
        }
    }
}

mod own;
mod steps;

fn run(steps: &[Step], ttl_ms: u64, names_max: usize, own_max: usize) {
    let mut world = World::new(ttl_ms, names_max, own_max);
    for step in steps {
        world.step(step);
        world.check();
    }
    for ino in std::mem::take(&mut world.pins) {
        world.tree.forget(ino, 1);
    }
    for listing in std::mem::take(&mut world.listings) {
        world.tree.close(listing.directory);
    }
    for ino in std::mem::take(&mut world.files).into_values() {
        world.tree.discard(ino, world.now);
    }
    check_counts(&world.tree);
    // Left are names that may be, those that were changed of late, and directories that were made or emptied.
    let kept = world.tree.nodes.iter().filter(|node| node.is_pinned());
    let left = kept.count() + world.tree.idle();
    assert!(world.tree.len() <= 1 + 4 * left, "{}", world.tree.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_this_mount_has_changed_holds(
        steps in prop::collection::vec(step(), 1..150),
        ttl_ms in prop::sample::select(vec![0_u64, 300, 2000]),
    ) {
        run(&steps, ttl_ms, 1000, 64);
    }

    #[test]
    fn what_this_mount_has_changed_holds_while_it_forgets(
        steps in prop::collection::vec(step(), 1..150),
        names_max in 1..5_usize,
        own_max in 1..4_usize,
    ) {
        run(&steps, 1000, names_max, own_max);
    }
}
