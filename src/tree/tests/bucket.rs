//! The tree against a bucket whose whole history is known.
//!
//! Questions are asked, looked at by the bucket, and answered at moments of their own, in any order, and any name may be
//! marked stale at any time. Whatever the order: what the tree calls fresh was true within the TTL, what it calls absent was
//! absent within the negative TTL, an inode is one version for ever, and no count leaks.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::counts::check_counts;
use super::{object, page};
use crate::object::Prefix;
use crate::tree::{
    Choice, DirectoryStream, Entry, Ino, Kind, Known, ListingStart, More, Node, Position, Settled,
    Tree, Ttl,
};

const NAMES: [&str; 3] = ["a", "b", "a-"];
const KEYS: [&str; 8] = ["a", "b", "a-", "a/a", "a/b", "b/a", "a/a/a", "a/a/b"];

type Keys = super::FewKeys;

/// What a name is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Directory,
    Object(u64),
    Nothing,
}

fn truth(keys: &Keys, path: &str) -> Truth {
    let prefix = format!("{path}/");
    if keys.keys().any(|key| key.starts_with(&prefix)) {
        return Truth::Directory;
    }
    keys.get(path)
        .map_or(Truth::Nothing, |version| Truth::Object(*version))
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize, u64),
    Delete(usize),
    Wait(u64),
    /// HEAD and LIST of a name in some known directory.
    Ask(usize, usize),
    /// The bucket looks at a question.
    Look(usize),
    /// The answer arrives.
    Answer(usize),
    List(usize),
    /// The next page of a listing under way.
    NextPage(usize),
    Stale(usize),
    Remember(usize),
    Forget(usize, u64),
    Open(usize),
    Close(usize),
    /// The kernel is asked to forget so many names, and forgets them.
    Crowd(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0..1000_usize;
    prop_oneof![
        4 => (0..KEYS.len(), 1..4_u64).prop_map(|(key, version)| Step::Put(key, version)),
        3 => (0..KEYS.len()).prop_map(Step::Delete),
        4 => (1..400_u64).prop_map(Step::Wait),
        6 => (any.clone(), 0..NAMES.len()).prop_map(|(directory, name)| Step::Ask(directory, name)),
        4 => any.clone().prop_map(Step::Look),
        6 => any.clone().prop_map(Step::Answer),
        2 => any.clone().prop_map(Step::List),
        5 => any.clone().prop_map(Step::NextPage),
        1 => any.clone().prop_map(Step::Stale),
        3 => any.clone().prop_map(Step::Remember),
        3 => (any.clone(), 1..3_u64).prop_map(|(ino, lookups)| Step::Forget(ino, lookups)),
        2 => any.clone().prop_map(Step::Open),
        2 => any.clone().prop_map(Step::Close),
        2 => any.prop_map(Step::Crowd),
    ]
}

struct Question {
    parent: Ino,
    path: String,
    name: &'static str,
    asked: Instant,
    answer: Option<Truth>,
}

struct Listing {
    directory: Ino,
    start: ListingStart,
    stream: DirectoryStream,
    prefix: String,
}

/// What an inode was when it was first seen.
#[derive(Debug, Clone, PartialEq)]
struct Birth {
    path: String,
    version: Option<u64>,
}

struct World {
    tree: Tree,
    ttl: Duration,
    negative: Duration,
    now: Instant,
    keys: Keys,
    /// Since when the bucket is what.
    history: Vec<(Instant, Keys)>,
    questions: Vec<Question>,
    listings: Vec<Listing>,
    births: HashMap<Ino, Birth>,
    stale: Vec<Ino>,
    pins: BTreeMap<Ino, (u64, u32)>,
}

impl World {
    fn new(ttl: Duration, idle_max: usize) -> Self {
        let (now, negative) = (Instant::now(), Duration::from_millis(500));
        Self {
            tree: Tree::new(Prefix::root(), Ttl::new(ttl, negative), idle_max, now),
            ttl,
            negative,
            now,
            keys: Keys::new(),
            history: vec![(now, Keys::new())],
            questions: Vec::new(),
            listings: Vec::new(),
            births: HashMap::new(),
            stale: Vec::new(),
            pins: BTreeMap::new(),
        }
    }

    /// True if `path` was `what` within that time. Object and directory of one name are looked at by two requests, or by two
    /// pages: each half must have been true, at a moment of its own.
    fn was(&self, path: &str, within: Duration, what: Truth) -> bool {
        let from = self.now.checked_sub(within).unwrap();
        let first = self
            .history
            .partition_point(|(since, _)| *since <= from)
            .max(1)
            - 1;
        let mut states = self.history[first..].iter().map(|(_, keys)| keys);
        let is_directory = |keys: &Keys| truth(keys, path) == Truth::Directory;
        let version = match what {
            Truth::Directory => return states.any(is_directory),
            Truth::Object(version) => Some(version),
            Truth::Nothing => None,
        };
        states
            .clone()
            .any(|keys| keys.get(path).copied() == version)
            && states.any(|keys| !is_directory(keys))
    }

    /// The path of a directory; `None` if the inode is no living directory.
    fn directory(&self, ino: Ino) -> Option<String> {
        self.tree
            .prefix_of(ino)
            .ok()
            .map(|prefix| prefix.as_str().to_owned())
    }

    fn inos(&self) -> Vec<Ino> {
        let mut inos: Vec<_> = self
            .births
            .keys()
            .copied()
            .filter(|ino| self.tree.node(*ino).is_some())
            .collect();
        inos.push(Ino::ROOT);
        inos.sort();
        inos
    }

    fn pick(&self, index: usize) -> Ino {
        let inos = self.inos();
        inos[index % inos.len()]
    }

    fn pick_directory(&self, index: usize) -> (Ino, String) {
        let directories: Vec<_> = self
            .inos()
            .into_iter()
            .filter_map(|ino| Some((ino, self.directory(ino)?)))
            .collect();
        directories[index % directories.len()].clone()
    }

    fn step(&mut self, step: &Step) {
        self.now += Duration::from_micros(1);
        match *step {
            Step::Put(key, version) => {
                self.keys.insert(KEYS[key].to_owned(), version);
                self.history.push((self.now, self.keys.clone()));
            }
            Step::Delete(key) => {
                self.keys.remove(KEYS[key]);
                self.history.push((self.now, self.keys.clone()));
            }
            Step::Wait(ms) => self.now += Duration::from_millis(ms),
            Step::Ask(directory, name) => {
                let (parent, prefix) = self.pick_directory(directory);
                let (path, name) = (format!("{prefix}{}", NAMES[name]), NAMES[name]);
                let (asked, answer) = (self.now, None);
                self.questions.push(Question {
                    parent,
                    path,
                    name,
                    asked,
                    answer,
                });
            }
            Step::Look(index) => {
                let count = self.questions.len().max(1);
                if let Some(question) = self.questions.get_mut(index % count) {
                    question.answer = Some(truth(&self.keys, &question.path));
                }
            }
            Step::Answer(index) => {
                if !self.questions.is_empty() {
                    let question = self.questions.swap_remove(index % self.questions.len());
                    self.answer(question);
                }
            }
            Step::List(index) => {
                let (directory, prefix) = self.pick_directory(index);
                if let Ok(start) = self.tree.begin_listing(directory, self.now) {
                    let stream = DirectoryStream::new(Prefix::new(prefix.clone()).unwrap(), 2);
                    self.listings.push(Listing {
                        directory,
                        start,
                        stream,
                        prefix,
                    });
                }
            }
            Step::NextPage(index) => self.next_page(index),
            Step::Stale(index) => {
                let ino = self.pick(index);
                self.tree.mark_stale(ino, self.now);
                let node = self.tree.node(ino);
                assert!(ino == Ino::ROOT || node.is_none_or(Node::is_stale));
            }
            Step::Crowd(count) => {
                for cold in self.tree.coldest(count % 5, Choice::New) {
                    let node = self.tree.node(cold.ino).unwrap();
                    assert!(node.object().is_some() && node.opens() == 0);
                    assert_eq!((node.parent(), node.name()), (cold.parent, &*cold.name));
                    let held = self.pins.get_mut(&cold.ino).unwrap();
                    self.tree.forget(cold.ino, std::mem::take(&mut held.0));
                }
            }
            Step::Remember(_) | Step::Forget(..) | Step::Open(_) | Step::Close(_) => self.pin(step),
        }
    }

    fn pin(&mut self, step: &Step) {
        match *step {
            Step::Remember(index) => {
                let ino = self.pick(index);
                assert!(self.tree.remember(ino).is_some());
                self.pins.entry(ino).or_default().0 += 1;
            }
            Step::Open(index) => {
                let ino = self.pick(index);
                let is_stale = self.tree.node(ino).unwrap().is_stale();
                assert_eq!(self.tree.open(ino).is_err(), is_stale);
                if !is_stale {
                    self.pins.entry(ino).or_default().1 += 1;
                }
            }
            Step::Forget(index, lookups) => {
                let ino = self.pick(index);
                let held = self.pins.entry(ino).or_default();
                let lookups = lookups.min(held.0);
                held.0 -= lookups;
                self.tree.forget(ino, lookups);
            }
            _ => {
                let (Step::Close(index), false) = (step, self.pins.is_empty()) else {
                    return;
                };
                let ino = *self.pins.keys().nth(index % self.pins.len()).unwrap();
                let held = self.pins.get_mut(&ino).unwrap();
                if held.1 > 0 {
                    held.1 -= 1;
                    self.tree.close(ino);
                }
            }
        }
    }

    fn answer(&mut self, question: Question) {
        let Question {
            parent,
            path,
            name,
            asked,
            answer,
        } = question;
        let was_asked_now = answer.is_none();
        let answer = answer.unwrap_or_else(|| truth(&self.keys, &path));
        let asked = if was_asked_now { self.now } else { asked };
        let settled = match answer {
            Truth::Directory => self.tree.found_directory(parent, name, asked),
            Truth::Object(version) => self
                .tree
                .found_object(parent, name, &object(version), asked),
            Truth::Nothing => self.tree.found_nothing(parent, name, asked),
        };
        if let Settled::Entry(ino) = settled {
            self.meet(ino, parent, name);
        }
        if was_asked_now && settled != Settled::Stale {
            let now = match settled {
                Settled::Entry(ino) => self.shown(ino),
                Settled::Absent => Truth::Nothing,
                Settled::AskAgain | Settled::Stale => {
                    panic!("a new answer to a new question holds")
                }
            };
            assert_eq!(now, answer, "{path}");
        }
    }

    fn next_page(&mut self, index: usize) {
        if self.listings.is_empty() {
            return;
        }
        let index = index % self.listings.len();
        let listing = &mut self.listings[index];
        let after = listing.stream.start_after();
        let (page, more) = page(&self.keys, &listing.prefix, after.as_deref());
        let entries: Vec<Entry> = listing.stream.page(page, more, self.now).to_vec();
        let directory = listing.directory;
        for entry in &entries {
            if let Settled::Entry(ino) = self.tree.found_entry(directory, entry) {
                self.meet(ino, directory, &entry.name);
            }
        }
        if more == More::Ends {
            let listing = self.listings.swap_remove(index);
            assert!(listing.stream.is_sound());
            assert_eq!(listing.stream.at(u64::MAX), Position::End);
            self.tree.complete_listing(&listing.start);
        }
    }

    fn shown(&self, ino: Ino) -> Truth {
        match self.tree.node(ino).unwrap().kind() {
            Kind::Directory => Truth::Directory,
            Kind::Object(object) => Truth::Object(object.size()),
            Kind::File(_) | Kind::Symlink(_) => panic!("nothing is local here"),
        }
    }

    /// The tree has named an inode: it is new, or what it always was.
    fn meet(&mut self, ino: Ino, parent: Ino, name: &str) {
        let node = self.tree.node(ino).unwrap();
        assert_eq!(
            (node.parent(), node.name(), node.is_stale()),
            (parent, name, false)
        );
        let birth = self.birth(ino);
        assert_eq!(
            *self.births.entry(ino).or_insert_with(|| birth.clone()),
            birth
        );
        assert!(!self.stale.contains(&ino), "a stale inode is fresh again");
    }

    fn birth(&self, ino: Ino) -> Birth {
        match self.tree.version(ino) {
            Ok(version) => Birth {
                path: version.key().as_str().to_owned(),
                version: Some(version.size()),
            },
            Err(_) => Birth {
                path: self.tree.prefix_of(ino).unwrap().as_str().to_owned(),
                version: None,
            },
        }
    }

    fn check(&mut self) {
        for ino in self.inos() {
            let node = self.tree.node(ino).unwrap();
            if ino != Ino::ROOT {
                assert_eq!(self.births[&ino], self.birth(ino), "an inode has changed");
            }
            let (is_stale, left) = (node.is_stale(), self.tree.fresh_for(ino, self.now));
            assert!(
                is_stale || !self.stale.contains(&ino),
                "a stale inode came back"
            );
            assert!(!is_stale || left.is_zero());
            assert!(ino == Ino::ROOT || left <= self.ttl);
            if is_stale && !self.stale.contains(&ino) {
                self.stale.push(ino);
            }
            if let Some(prefix) = self.directory(ino) {
                for name in NAMES {
                    self.check_name(ino, &format!("{prefix}{name}"), name);
                }
            }
        }
        for (ino, (lookups, opens)) in &self.pins {
            let node = self.tree.node(*ino);
            let counts = node.map_or((0, 0), |node| (node.lookups(), node.opens()));
            assert_eq!(counts, (*lookups, *opens), "of {ino:?}");
        }
        check_counts(&self.tree);
    }

    fn check_name(&self, parent: Ino, path: &str, name: &str) {
        match self.tree.known(parent, name, self.now) {
            Known::Fresh(ino) => {
                let shown = self.shown(ino);
                assert!(
                    self.was(path, self.ttl, shown),
                    "{path} was never {shown:?}"
                );
                let node = self.tree.node(ino).unwrap();
                assert!(self.now.duration_since(node.checked()) < self.ttl);
                assert!(!self.tree.fresh_for(ino, self.now).is_zero());
            }
            Known::Expired(ino) => assert!(self.tree.fresh_for(ino, self.now).is_zero()),
            Known::Absent { left } => {
                assert!(!left.is_zero() && left <= self.negative);
                // Not only now: as long as it may be believed.
                let within = self.negative - left;
                assert!(self.was(path, within, Truth::Nothing), "{path} was there");
            }
            Known::Unknown => {}
            Known::Stale => assert!(self.tree.node(parent).unwrap().is_stale()),
        }
    }
}

fn run(steps: &[Step], ttl_ms: u64, idle_max: usize) {
    let mut world = World::new(Duration::from_millis(ttl_ms), idle_max);
    for step in steps {
        world.step(step);
        world.check();
    }
    for (ino, (lookups, opens)) in std::mem::take(&mut world.pins) {
        world.tree.forget(ino, lookups);
        (0..opens).for_each(|_| world.tree.close(ino));
    }
    check_counts(&world.tree);
    // What is left is the bounded cache, and the directories above it: three levels of names here.
    assert!(world.tree.len() <= 1 + 3 * idle_max);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_the_tree_says_was_true(steps in prop::collection::vec(step(), 1..150), ttl_ms in prop::sample::select(vec![0_u64, 300, 2000])) {
        run(&steps, ttl_ms, 1000);
    }

    #[test]
    fn what_the_tree_says_was_true_while_it_forgets(steps in prop::collection::vec(step(), 1..150), idle_max in 1..5_usize) {
        run(&steps, 1000, idle_max);
    }
}
