//! Listings and directory streams against a naive LIST and the directory that all keys make.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Instant;

use proptest::prelude::*;

use super::object;
use crate::object::Prefix;
use crate::tree::{
    Assembly, DirectoryStream, Entry, More, NameError, Page, Position, What, Why, valid_name,
};

/// The same moment, always: the age of entries doesn't matter here.
pub(super) fn now() -> Instant {
    static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);
    *NOW
}

pub(super) type Keys = BTreeMap<String, u64>;

/// ListObjectsV2 with delimiter `/`, by the book: at most `max` keys and common prefixes after `start_after`. Whether a
/// common prefix comes after itself, the book doesn't say: here it does if `max` is even.
pub(super) fn list(
    keys: &Keys,
    prefix: &str,
    start_after: Option<&str>,
    max: usize,
) -> (Page, More) {
    let mut page = Page::default();
    let mut count = 0;
    for (key, version) in keys {
        let Some(rest) = key.strip_prefix(prefix) else {
            continue;
        };
        let is_seen = |after: &str| {
            let below = after.ends_with('/') && max % 2 == 1 && key.starts_with(after);
            key.as_str() <= after || (below && after != prefix)
        };
        if start_after.is_some_and(is_seen) {
            continue;
        }
        let common = rest
            .find('/')
            .map(|slash| format!("{prefix}{}", &rest[..=slash]));
        if common.is_some() && page.prefixes.last() == common.as_ref() {
            continue;
        }
        if count == max {
            return (page, More::Follows);
        }
        count += 1;
        match common {
            Some(common) => page.prefixes.push(common),
            None => page.objects.push((key.clone(), object(*version))),
        }
    }
    (page, More::Ends)
}

/// The directory that a reader of all keys makes, in the order of `name/`.
pub(super) fn directory(keys: &Keys, prefix: &str) -> Vec<Entry> {
    let mut entries = BTreeMap::new();
    for (key, version) in keys {
        let Some(rest) = key.strip_prefix(prefix).filter(|rest| !rest.is_empty()) else {
            continue;
        };
        let (name, what) = match rest.split_once('/') {
            Some((name, _)) => (name, What::Directory),
            None => (rest, What::Object(object(*version))),
        };
        if valid_name(name.as_bytes()).is_ok() {
            let what_now = entries.entry(format!("{name}/")).or_insert(what.clone());
            if what == What::Directory {
                *what_now = what;
            }
        }
    }
    let entry = |(name, what): (String, What)| Entry {
        name: name.trim_end_matches('/').into(),
        what,
        asked: now(),
    };
    entries.into_iter().map(entry).collect()
}

pub(super) fn keys() -> impl Strategy<Value = Keys> {
    let key = prop_oneof![
        4 => "[a/.-]{1,4}",
        2 => "d/[ab/.!-]{0,4}",
        1 => "[ab0é\u{10FFFF}]{1,3}(/[ab]{1,2})?",
        1 => "(d/)?n{254,257}",
    ];
    prop::collection::btree_map(key, 0..9_u64, 0..40)
}

pub(super) fn prefix() -> impl Strategy<Value = Prefix> {
    prop::sample::select(vec!["", "d/", "a/"]).prop_map(|prefix| Prefix::new(prefix).unwrap())
}

/// Reads a stream from `cookie` to the end of `keys`; returns the entries with their cookies.
pub(super) fn read(
    stream: &mut DirectoryStream,
    mut cookie: u64,
    keys: &Keys,
    prefix: &str,
    max: usize,
    upto: usize,
) -> Vec<(u64, Entry)> {
    let mut seen = Vec::new();
    for _ in 0..10_000 {
        match stream.at(cookie) {
            Position::Entries { first, entries } => {
                assert_eq!(first, cookie.max(2) + 1);
                assert!(!entries.is_empty());
                for (cookie, entry) in (first..).zip(entries) {
                    seen.push((cookie, entry.clone()));
                }
                cookie = seen.last().unwrap().0;
            }
            Position::NeedMore => {
                let (page, more) = list(keys, prefix, stream.start_after().as_deref(), max);
                stream.page(page, more, now());
            }
            Position::Relist(place) => stream.relist(place),
            Position::End => return seen,
        }
        if seen.len() >= upto {
            return seen;
        }
    }
    panic!("the stream does not end");
}

proptest! {
    #[test]
    fn pages_make_the_directory(keys in keys(), prefix in prefix(), sizes in prop::collection::vec(1..8_usize, 1..5)) {
        let mut assembly = Assembly::new(prefix.clone());
        let mut entries = Vec::new();
        for max in sizes.iter().cycle() {
            let (page, more) = list(&keys, prefix.as_str(), assembly.start_after().as_deref(), *max);
            assembly.page(page, now(), &mut entries);
            if more == More::Ends {
                break;
            }
        }
        assembly.finish(&mut entries);
        prop_assert_eq!(entries, directory(&keys, prefix.as_str()));
        prop_assert!(!assembly.hidden().iter().any(|hidden| hidden.why.breaks_rules()));
    }

    #[test]
    fn what_is_not_shown_is_counted(keys in keys(), prefix in prefix()) {
        let mut assembly = Assembly::new(prefix.clone());
        let mut entries = Vec::new();
        let (page, _) = list(&keys, prefix.as_str(), None, usize::MAX);
        let marker = keys.contains_key(prefix.as_str());
        let listed = page.objects.len() + page.prefixes.len() - usize::from(marker);
        assembly.page(page, now(), &mut entries);
        assembly.finish(&mut entries);
        let hidden: u64 = assembly.hidden().iter().map(|hidden| hidden.count).sum();
        prop_assert_eq!(entries.len() as u64 + hidden, listed as u64);
        let reasons: Vec<Why> = assembly.hidden().iter().map(|hidden| hidden.why).collect();
        for (index, why) in reasons.iter().enumerate() {
            prop_assert!(!reasons[..index].contains(why), "{:?} is reported twice", why);
        }
    }

    /// Whatever a server sends: names are valid, ascend, and so come once.
    #[test]
    fn a_hostile_server_makes_no_nonsense(
        pages in prop::collection::vec(
            (prop::collection::vec("(d/)?[ab/.!\0-]{0,3}", 0..6), prop::collection::vec("(d/)?[ab/.!-]{0,3}/?", 0..6)),
            0..40,
        ),
        prefix in prefix(),
    ) {
        let mut stream = DirectoryStream::new(prefix, 3);
        let mut names = Vec::new();
        let (mut sent, mut fed) = (0, 0);
        for (objects, prefixes) in pages {
            if stream.has_ended() {
                break;
            }
            sent += objects.len() + prefixes.len();
            fed += 1;
            let objects = objects.into_iter().map(|key| (key, object(1))).collect();
            let entries = stream.page(Page { objects, prefixes }, More::Follows, now());
            names.extend(entries.iter().map(|entry| entry.name.clone()));
        }
        let entries = stream.page(Page::default(), More::Ends, now());
        names.extend(entries.iter().map(|entry| entry.name.clone()));
        for name in &names {
            prop_assert!(valid_name(name.as_bytes()).is_ok(), "{:?}", name);
        }
        for pair in names.windows(2) {
            prop_assert!(format!("{}/", pair[0]) < format!("{}/", pair[1]), "{:?}", pair);
        }
        let hidden: u64 = stream.hidden().iter().map(|hidden| hidden.count).sum();
        // What is neither shown nor counted: markers, and a prefix repeated at the beginning of a page.
        prop_assert!(names.len() as u64 + hidden <= sent as u64 + 1, "fed {} pages", fed);
    }

    /// A reader may go to any cookie, in any order, past any number of pages let go.
    #[test]
    fn a_cookie_is_a_place(
        keys in keys(),
        prefix in prefix(),
        max in 1..6_usize,
        pages_max in 1..4_usize,
        jumps in prop::collection::vec((0..40_u64, 1..30_usize), 1..12),
    ) {
        let entries = directory(&keys, prefix.as_str());
        let mut stream = DirectoryStream::new(prefix.clone(), pages_max);
        for (cookie, upto) in jumps {
            for (cookie, entry) in read(&mut stream, cookie, &keys, prefix.as_str(), max, upto) {
                let index = usize::try_from(cookie - 3).unwrap();
                prop_assert_eq!(&entry, &entries[index]);
            }
        }
        let all = read(&mut stream, 0, &keys, prefix.as_str(), max, usize::MAX);
        prop_assert_eq!(all.len(), entries.len());
        prop_assert_eq!(stream.at(2 + entries.len() as u64), Position::End);
        prop_assert_eq!(stream.at(u64::MAX), Position::End);
    }

    /// While a directory changes under a reader, what was there all the time is met once, and nothing twice.
    #[test]
    fn a_reader_meets_what_stays_once(
        stays in keys(),
        comes_and_goes in prop::collection::vec(keys(), 1..8),
        prefix in prefix(),
        max in 1..6_usize,
    ) {
        let at = |step: usize| {
            let mut keys = comes_and_goes[step % comes_and_goes.len()].clone();
            keys.extend(stays.clone());
            keys
        };
        let mut stream = DirectoryStream::new(prefix.clone(), 2);
        let (mut cookie, mut seen) = (0, Vec::new());
        for step in 0.. {
            let some = read(&mut stream, cookie, &at(step), prefix.as_str(), max, 1);
            let Some((last, _)) = some.last() else {
                break;
            };
            cookie = *last;
            seen.extend(some.into_iter().map(|(_, entry)| entry.name));
        }
        let once: BTreeSet<_> = seen.iter().cloned().collect();
        prop_assert_eq!(once.len(), seen.len());
        for entry in directory(&stays, prefix.as_str()) {
            prop_assert!(once.contains(&entry.name), "{:?} was skipped", entry.name);
        }
    }
}

fn shown(keys: &[&str]) -> (Vec<String>, Vec<(Why, String)>) {
    let keys: Keys = keys.iter().map(|key| ((*key).to_owned(), 1)).collect();
    let (page, more) = list(&keys, "", None, 1000);
    let mut stream = DirectoryStream::new(Prefix::root(), 4);
    let entries = stream.page(page, more, now());
    let names = entries.iter().map(|entry| entry.name.to_string()).collect();
    let hidden = stream.hidden().iter();
    let hidden = hidden
        .map(|hidden| (hidden.why, hidden.example.to_string()))
        .collect();
    (names, hidden)
}

#[test]
fn the_directory_wins_over_the_object_of_its_name() {
    let (names, hidden) = shown(&["a", "a!", "a-b", "a.txt", "a/x", "b"]);
    assert_eq!(names, ["a!", "a-b", "a.txt", "a", "b"]);
    assert_eq!(hidden, [(Why::Shadowed, "a".to_owned())]);
}

#[test]
fn names_that_no_path_can_hold_are_hidden() {
    let long = "n".repeat(256);
    let (names, hidden) = shown(&["./x", "..", "a//b", "a/", &long, "z/"]);
    assert_eq!(names, ["a", "z"]);
    assert_eq!(
        hidden,
        [
            (Why::Name(NameError::Dots), "..".to_owned()),
            (Why::Name(NameError::TooLong), long)
        ]
    );
}

#[test]
fn an_empty_name_is_hidden_where_it_is_listed() {
    let keys: Keys = [("a/".to_owned(), 1), ("a//b".to_owned(), 1)].into();
    let mut stream = DirectoryStream::new(Prefix::new("a/").unwrap(), 4);
    let (page, more) = list(&keys, "a/", None, 1000);
    assert_eq!(stream.page(page, more, now()), &[]);
    assert_eq!(stream.hidden()[0].why, Why::Name(NameError::Empty));
    assert!(stream.is_sound());
}

#[test]
fn a_server_that_repeats_itself_ends() {
    let mut stream = DirectoryStream::new(Prefix::root(), 4);
    let mut pages = 0;
    while !stream.has_ended() {
        let page = Page {
            objects: vec![("a".to_owned(), object(1))],
            prefixes: vec!["b/".to_owned()],
        };
        stream.page(page, More::Follows, now());
        pages += 1;
        assert!(pages < 100);
    }
    assert!(!stream.is_sound());
    assert!(
        stream
            .hidden()
            .iter()
            .any(|hidden| hidden.why == Why::Stuck)
    );
}

#[test]
fn going_far_back_is_possible_with_few_places_kept() {
    let keys: Keys = (0..5000).map(|n| (format!("{n:05}"), 1)).collect();
    let mut stream = DirectoryStream::new(Prefix::root(), 2);
    assert_eq!(read(&mut stream, 0, &keys, "", 2, usize::MAX).len(), 5000);
    for cookie in [3000, 2, 4000, 17] {
        let found = read(&mut stream, cookie, &keys, "", 2, 3);
        assert_eq!(&*found[0].1.name, format!("{:05}", cookie - 2));
    }
}
