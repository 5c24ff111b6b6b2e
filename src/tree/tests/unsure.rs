//! What somebody says is out of date is asked for again.

use std::time::{Duration, Instant};

use super::object;
use crate::object::Prefix;
use crate::tree::{Globs, Ino, Known, Settled, Tree, Ttl};

const SECOND: Duration = Duration::from_secs(1);

/// A tree of data that never changes.
fn tree() -> (Tree, Instant) {
    let now = Instant::now();
    let ttl = Ttl::new(5 * SECOND, SECOND / 2);
    let ttl = ttl.immutable(Globs::new(&["**".to_owned()]).unwrap());
    (Tree::new(Prefix::root(), ttl, 100, now), now)
}

fn found(tree: &mut Tree, parent: Ino, name: &str, version: u64, asked: Instant) -> Ino {
    match tree.found_object(parent, name, &object(version), asked) {
        Settled::Entry(ino) => ino,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_object_that_is_the_same_keeps_its_number() {
    let (mut tree, now) = tree();
    let first = found(&mut tree, Ino::ROOT, "a", 1, now);
    let other = found(&mut tree, Ino::ROOT, "b", 1, now);
    assert_eq!(tree.known(Ino::ROOT, "a", now), Known::Fresh(first));
    tree.unsure(first, now + SECOND);
    let soon = now + 2 * SECOND;
    assert_eq!(tree.known(Ino::ROOT, "a", soon), Known::Expired(first));
    assert_eq!(tree.fresh_for(first, soon), Duration::ZERO);
    assert_eq!(tree.known(Ino::ROOT, "b", soon), Known::Fresh(other));
    // A question that was asked before does not settle it.
    found(&mut tree, Ino::ROOT, "a", 1, now + SECOND / 2);
    assert_eq!(tree.known(Ino::ROOT, "a", soon), Known::Expired(first));
    assert_eq!(found(&mut tree, Ino::ROOT, "a", 1, soon), first);
    assert_eq!(tree.known(Ino::ROOT, "a", soon), Known::Fresh(first));
}

#[test]
fn an_object_that_was_replaced_gets_another_number() {
    let (mut tree, now) = tree();
    let first = found(&mut tree, Ino::ROOT, "a", 1, now);
    tree.remember(first).unwrap();
    tree.unsure(first, now + SECOND);
    assert_ne!(found(&mut tree, Ino::ROOT, "a", 2, now + 2 * SECOND), first);
    assert!(tree.node(first).unwrap().is_stale());
}

#[test]
fn all_below_a_directory_is_asked_for_and_nothing_beside_it() {
    let (mut tree, now) = tree();
    let Settled::Entry(directory) = tree.found_directory(Ino::ROOT, "d", now) else {
        panic!("it was found");
    };
    let inside = found(&mut tree, directory, "a", 1, now);
    let beside = found(&mut tree, Ino::ROOT, "b", 1, now);
    tree.invalidate(directory, now + SECOND);
    let soon = now + 2 * SECOND;
    assert_eq!(tree.known(directory, "a", soon), Known::Expired(inside));
    assert_eq!(tree.known(Ino::ROOT, "b", soon), Known::Fresh(beside));
    let below = tree.at_or_below(directory, 0..10).unwrap();
    assert_eq!(below, [directory, inside]);
    assert_eq!(tree.at_or_below(directory, 1 << 20..1 << 21), None);
}
