//! Very many names.

use std::time::{Duration, Instant};

use super::counts::check_counts;
use super::object;
use crate::object::Prefix;
use crate::tree::{Choice, Ino, Left, Settled, Tree, Ttl};

/// What glibc's malloc takes for a block.
fn block(len: usize) -> usize {
    (len + 8).next_multiple_of(16).max(32)
}

fn tree(names_max: usize) -> (Tree, Instant) {
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    let ttl = Ttl::new(second, second);
    (Tree::new(Prefix::root(), ttl, names_max, now), now)
}

fn add(tree: &mut Tree, name: &str, now: Instant) -> Ino {
    match tree.found_object(Ino::ROOT, name, &object(1), now) {
        Settled::Entry(ino) => ino,
        settled => panic!("{settled:?}"),
    }
}

#[test]
fn a_name_takes_less_than_200_bytes_with_its_place_in_all_tables() {
    let (mut tree, now) = tree(usize::MAX);
    // The worst moment of tables that double: just after they did.
    for count in [58_000, 115_000, 230_000, 300_000] {
        for at in tree.len()..count {
            add(&mut tree, &format!("n01440764_{at:08}.JPEG"), now);
        }
        let names: usize = tree.nodes.iter().map(|node| block(node.name.len())).sum();
        let queue = tree.queue.capacity() * size_of::<Ino>();
        let tables = tree.nodes.bytes() + tree.index.allocation_size() + queue;
        let bytes = (names + tables) / count;
        assert!(bytes < 200, "{bytes} bytes a name of {count}");
        eprintln!("{bytes} bytes a name of {count}");
    }
}

#[test]
fn what_the_kernel_holds_is_asked_back_from_the_coldest() {
    let (mut tree, now) = tree(8_000);
    let inos: Vec<Ino> = (0..6_999)
        .map(|at| {
            let ino = add(&mut tree, &format!("{at}"), now);
            tree.remember(ino).unwrap();
            ino
        })
        .collect();
    assert!(!tree.is_crowded(Choice::New));
    tree.open(inos[3]).unwrap();
    tree.remember(inos[5]).unwrap();
    for at in 0..1_000 {
        let ino = add(&mut tree, &format!("more-{at}"), now);
        tree.remember(ino).unwrap();
    }
    assert!(tree.is_crowded(Choice::New));
    let mut asked = Vec::new();
    loop {
        let cold = tree.coldest(64, Choice::New);
        if cold.is_empty() {
            break;
        }
        assert!(cold.len() <= 64);
        asked.extend(cold);
        check_counts(&tree);
    }
    // 27 of 32 parts of 8000 stay, the root among them.
    assert_eq!(asked.len(), 8_000 - 6_750);
    assert!(
        asked
            .iter()
            .all(|cold| cold.ino != inos[3] && cold.ino != inos[5])
    );
    assert_eq!(asked[0].ino, inos[0]);
    // They were in use, all of them: asked for again.
    assert!(tree.is_crowded(Choice::Again));
    let again = tree.coldest(10_000, Choice::Again);
    assert_eq!(again.len(), 1_250);
    check_counts(&tree);
    for cold in asked
        .iter()
        .filter(|cold| !again.contains(cold))
        .chain(&again)
    {
        tree.forget(cold.ino, 1);
    }
    check_counts(&tree);
    assert!(tree.len() - tree.idle() <= 6_750 && !tree.is_crowded(Choice::Again));
    assert!(tree.len() <= 8_000);
    assert_eq!(tree.coldest(64, Choice::New), []);
}

#[test]
fn where_it_is_not_crowded_the_bound_is_kept() {
    let names_max = 3_200;
    let (mut tree, now) = tree(names_max);
    let held: Vec<Ino> = (0..5_000)
        .map(|at| {
            let ino = add(&mut tree, &format!("{at}"), now);
            tree.remember(ino).unwrap();
            ino
        })
        .collect();
    // One at a time, so that it stops to be crowded with as many held as can be.
    for ino in held {
        if !tree.is_crowded(Choice::Again) {
            break;
        }
        tree.forget(ino, 1);
    }
    let kept = tree.held();
    for at in 0..5_000 {
        add(&mut tree, &format!("idle-{at}"), now);
    }
    assert_eq!(tree.held(), kept);
    assert!(
        tree.len() <= names_max,
        "{} names, {kept} of them held",
        tree.len()
    );
}

#[test]
fn a_directory_is_not_asked_back() {
    let (mut tree, now) = tree(8);
    for at in 0..100 {
        let Settled::Entry(ino) = tree.found_directory(Ino::ROOT, &format!("{at}"), now) else {
            panic!("a new directory");
        };
        tree.remember(ino).unwrap();
    }
    assert!(tree.is_crowded(Choice::New));
    let mut searches = 0;
    while tree.left_to_ask() == Left::More {
        assert_eq!(tree.coldest(64, Choice::New), []);
        searches += 1;
    }
    // Whoever asks may rest, after no more than two rounds.
    assert_eq!((tree.left_to_ask(), searches), (Left::InVain, 2));
    let file = add(&mut tree, "file", now);
    tree.remember(file).unwrap();
    assert_eq!(tree.coldest(64, Choice::Again).len(), 1);
    assert_eq!(tree.left_to_ask(), Left::More);
}
