//! One example for each rule that is easier to read than a property.

use std::time::{Duration, Instant};

use super::object;
use crate::object::{ObjectType, Prefix};
use crate::tree::{Entry, Ino, Known, PathError, Settled, Stale, Tree, Ttl, What};

const SECOND: Duration = Duration::from_secs(1);

fn tree() -> (Tree, Instant) {
    let now = Instant::now();
    let prefix = Prefix::new("jobs/").unwrap();
    (
        Tree::new(prefix, Ttl::new(5 * SECOND, SECOND / 2), 100, now),
        now,
    )
}

fn entry(settled: Settled) -> Ino {
    match settled {
        Settled::Entry(ino) => ino,
        Settled::Absent | Settled::AskAgain | Settled::Stale => panic!("{settled:?}"),
    }
}

#[test]
fn a_replaced_object_gets_another_inode() {
    let (mut tree, now) = tree();
    let first = entry(tree.found_object(Ino::ROOT, "a", &object(1), now));
    tree.remember(first).unwrap();
    assert_eq!(
        entry(tree.found_object(Ino::ROOT, "a", &object(1), now + SECOND)),
        first
    );
    let second = entry(tree.found_object(Ino::ROOT, "a", &object(2), now + 2 * SECOND));
    assert_ne!(first, second);
    assert!(tree.node(first).unwrap().is_stale());
    assert_eq!(tree.open(first), Err(Stale));
    assert_eq!(tree.version(first).unwrap().size(), 1);
    tree.forget(first, 1);
    assert!(tree.node(first).is_none());
    // And back again: not the first number.
    let third = entry(tree.found_object(Ino::ROOT, "a", &object(1), now + 3 * SECOND));
    assert!(third != first && third != second);
}

#[test]
fn a_slow_old_answer_changes_nothing() {
    let (mut tree, now) = tree();
    let new = entry(tree.found_object(Ino::ROOT, "a", &object(2), now + SECOND));
    assert_eq!(
        tree.found_object(Ino::ROOT, "a", &object(1), now),
        Settled::Entry(new)
    );
    assert_eq!(tree.found_nothing(Ino::ROOT, "a", now), Settled::Entry(new));
    tree.mark_stale(new, now + 2 * SECOND);
    let late = tree.found_object(Ino::ROOT, "a", &object(2), now + SECOND);
    assert_eq!(late, Settled::AskAgain);
    assert_eq!(tree.known(Ino::ROOT, "a", now + 2 * SECOND), Known::Unknown);
    assert_eq!(
        tree.found_nothing(Ino::ROOT, "a", now + 3 * SECOND),
        Settled::Absent
    );
    assert_eq!(
        tree.found_object(Ino::ROOT, "a", &object(2), now + 2 * SECOND),
        Settled::Absent
    );
}

#[test]
fn a_listing_keeps_the_crc_of_a_head() {
    let (mut tree, now) = tree();
    let mut meta = object(7);
    meta.crc64 = Some(9);
    let ino = entry(tree.found_object(Ino::ROOT, "a", &meta, now));
    assert_eq!(
        entry(tree.found_object(Ino::ROOT, "a", &object(7), now + SECOND)),
        ino
    );
    assert_eq!(tree.node(ino).unwrap().object().unwrap().crc64(), Some(9));
    meta.crc64 = Some(10);
    assert_ne!(
        entry(tree.found_object(Ino::ROOT, "a", &meta, now + SECOND)),
        ino
    );
}

#[test]
fn a_complete_listing_says_what_is_absent() {
    let (mut tree, now) = tree();
    let gone = entry(tree.found_object(Ino::ROOT, "gone", &object(1), now));
    let listing = tree.begin_listing(Ino::ROOT, now + SECOND).unwrap();
    let ino = entry(tree.found_object(Ino::ROOT, "a", &object(1), now + SECOND));
    assert_eq!(tree.known(Ino::ROOT, "b", now + SECOND), Known::Unknown);
    tree.complete_listing(&listing);
    let left = SECOND / 2;
    assert_eq!(
        tree.known(Ino::ROOT, "b", now + SECOND),
        Known::Absent { left }
    );
    assert_eq!(
        tree.known(Ino::ROOT, "gone", now + SECOND),
        Known::Absent { left }
    );
    assert_eq!(tree.known(Ino::ROOT, "a", now + SECOND), Known::Fresh(ino));
    // The listing is too old to say no; but what it passed over is not believed again.
    assert_eq!(tree.known(Ino::ROOT, "b", now + 2 * SECOND), Known::Unknown);
    assert_eq!(
        tree.known(Ino::ROOT, "gone", now + 2 * SECOND),
        Known::Expired(gone)
    );
    assert_eq!(tree.fresh_for(gone, now + 2 * SECOND), Duration::ZERO);
}

#[test]
fn a_link_in_a_listing_is_only_a_name() {
    let (mut tree, now) = tree();
    let target = entry(tree.found_object(Ino::ROOT, "link", &object(5), now));
    let listing = tree.begin_listing(Ino::ROOT, now + SECOND).unwrap();
    let mut meta = object(1);
    meta.kind = ObjectType::Symlink;
    let link = Entry {
        name: "link".into(),
        what: What::Object(meta),
        asked: now + SECOND,
    };
    assert_eq!(tree.found_entry(Ino::ROOT, &link), Settled::AskAgain);
    tree.complete_listing(&listing);
    assert_eq!(
        tree.known(Ino::ROOT, "link", now + SECOND),
        Known::Fresh(target)
    );
    assert_eq!(tree.known(Ino::ROOT, "b", now + SECOND), Known::Unknown);
}

#[test]
fn without_a_ttl_every_open_asks() {
    let now = Instant::now();
    let mut tree = Tree::new(Prefix::root(), Ttl::new(Duration::ZERO, SECOND * 9), 9, now);
    let ino = entry(tree.found_object(Ino::ROOT, "a", &object(1), now));
    assert_eq!(tree.known(Ino::ROOT, "a", now), Known::Expired(ino));
    assert_eq!(tree.fresh_for(ino, now), Duration::ZERO);
    tree.found_nothing(Ino::ROOT, "b", now);
    assert_eq!(
        tree.known(Ino::ROOT, "b", now),
        Known::Absent { left: SECOND }
    );
}

#[test]
fn keys_are_built_from_names() {
    let (mut tree, now) = tree();
    let directory = entry(tree.found_directory(Ino::ROOT, "d", now));
    let ino = entry(tree.found_object(directory, "x", &object(1), now));
    assert_eq!(tree.prefix_of(Ino::ROOT).unwrap().as_str(), "jobs/");
    assert_eq!(tree.prefix_of(directory).unwrap().as_str(), "jobs/d/");
    assert_eq!(tree.prefix_of(ino), Err(PathError::OtherKind));
    assert_eq!(tree.version(ino).unwrap().key().as_str(), "jobs/d/x");
    assert_eq!(tree.key_of(directory, "y").unwrap().as_str(), "jobs/d/y");
    let long = "n".repeat(1020);
    assert!(matches!(
        tree.key_of(directory, &long),
        Err(PathError::Key(_))
    ));
}

#[test]
fn a_vanished_directory_is_stale_for_what_is_below_it() {
    let (mut tree, now) = tree();
    let directory = entry(tree.found_directory(Ino::ROOT, "d", now));
    let ino = entry(tree.found_object(directory, "x", &object(1), now));
    tree.open(ino).unwrap();
    tree.found_nothing(Ino::ROOT, "d", now + SECOND);
    assert_eq!(tree.known(directory, "x", now + SECOND), Known::Stale);
    assert_eq!(
        tree.found_nothing(directory, "x", now + SECOND),
        Settled::Stale
    );
    assert_eq!(tree.version(ino).unwrap().key().as_str(), "jobs/d/x");
    tree.close(ino);
    assert!(tree.node(ino).is_some_and(|node| node.lookups() == 0));
}

#[test]
fn what_nothing_holds_is_bounded() {
    let (mut tree, now) = tree();
    let held = entry(tree.found_object(Ino::ROOT, "held", &object(1), now));
    tree.remember(held).unwrap();
    for number in 0..1000 {
        let name = format!("{number}");
        let ino = entry(tree.found_object(Ino::ROOT, &name, &object(1), now));
        assert!(tree.node(ino).is_some(), "the one just found is there");
    }
    assert_eq!((tree.idle(), tree.len()), (98, 100));
    assert!(tree.node(held).is_some());
}
