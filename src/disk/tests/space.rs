//! How much is taken, and what goes first.

use std::sync::Mutex;
use std::sync::mpsc::Receiver;
use std::time::SystemTime;

use proptest::prelude::*;

use super::super::directory::{Found, Room};
use super::super::format::Id;
use super::super::room::{CACHE_BYTES_MIN, Coldest, Need, Space};
use super::*;

const MIB: u64 = 1 << 20;

const PLENTY: Room = Room {
    free: 1 << 40,
    total: 1 << 41,
};

fn found(number: u8, bytes: u64, used: Option<u64>) -> Found {
    Found {
        id: Id([number; 16]),
        bytes,
        used: used.map(|secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs)),
    }
}

proptest! {
    /// The naive twin takes the oldest of those that are not in use, again and again; of those that one look remembers.
    #[test]
    fn the_least_recently_used_go_first_and_no_more_than_needed(
        items in proptest::collection::vec((0..100_u64, proptest::option::of(0..20_u64), any::<bool>()), 0..30),
        excess in 0..1000_u64,
        max in 1..40_usize,
    ) {
        let all: Vec<(Found, bool)> = (0..).zip(items)
            .map(|(number, (bytes, used, in_use))| (found(number, bytes, used), in_use))
            .collect();
        let mut removed = Vec::new();
        let mut coldest = Coldest::with_max(max);
        all.iter().for_each(|(item, _)| coldest.see(item.clone()));
        let freed = coldest.evict(excess, |item| {
            let (_, in_use) = all.iter().find(|(other, _)| other.id == item.id).unwrap();
            if !in_use {
                removed.push(item.id);
            }
            !in_use
        });
        let (mut left, mut twin, mut twin_freed) = (all, Vec::new(), 0);
        left.sort_by_key(|(item, _)| (item.used, item.id));
        left.truncate(max);
        while twin_freed < excess {
            let oldest = left.iter().enumerate().filter(|(_, (_, in_use))| !in_use)
                .min_by_key(|(_, (item, _))| (item.used, item.id));
            let Some((at, _)) = oldest else { break };
            let (item, _) = left.remove(at);
            twin_freed += item.bytes;
            twin.push(item.id);
        }
        prop_assert_eq!(removed, twin);
        prop_assert_eq!(freed, twin_freed);
    }

    #[test]
    fn a_write_that_is_refused_makes_room(
        limit in CACHE_BYTES_MIN..200 * MIB, used in 1..300 * MIB, free in 0..300 * MIB, total in 1..1_u64 << 33,
    ) {
        let room = Room { free: free.min(total), total };
        let space = Space::new(Some(limit), room);
        space.looked(used);
        if !space.admits(MIB, room) {
            prop_assert_eq!(space.need(room), Need::Look);
            prop_assert!(space.excess(used, room) > 0);
        }
    }

    #[test]
    fn after_room_is_made_there_is_room(
        limit in CACHE_BYTES_MIN..1 << 40, used in 0..1_u64 << 41, free in 0..1_u64 << 41, total in 0..1_u64 << 42,
    ) {
        let room = Room { free: free.min(total), total };
        let space = Space::new(Some(limit), room);
        let excess = space.excess(used, room);
        let left = used.saturating_sub(excess);
        space.looked(left);
        let after = Room { free: room.free + (used - left), total };
        if excess <= used {
            prop_assert!(space.admits(4 * MIB, after), "{:?} {:?}", space, after);
            prop_assert_eq!(space.excess(left, after), 0);
        }
    }
}

#[test]
fn a_write_is_admitted_up_to_the_limit_and_down_to_the_floor() {
    let space = Space::new(Some(100 * MIB), PLENTY);
    space.wrote(99 * MIB);
    assert!(space.admits(MIB, PLENTY));
    assert!(!space.admits(MIB + 1, PLENTY));
    assert_eq!(space.need(PLENTY), Need::Look);
    space.looked(0);
    let room = |free| Room {
        free,
        total: 1000 * MIB,
    };
    assert!(space.admits(MIB, room(51 * MIB)), "a twentieth is left");
    assert!(!space.admits(MIB, room(51 * MIB - 1)));
    let large = Room {
        free: (1 << 30) + MIB,
        total: 1 << 50,
    };
    assert!(
        space.admits(MIB, large),
        "of a large disk not more than 1 GiB is left"
    );
}

#[test]
fn the_keeper_looks_when_there_is_a_reason() {
    let space = Space::new(Some(320 * MIB), PLENTY);
    assert_eq!(space.need(PLENTY), Need::Nothing);
    space.wrote(10 * MIB);
    assert_eq!(space.need(PLENTY), Need::Nothing);
    space.wrote(1);
    assert_eq!(space.need(PLENTY), Need::Look, "a 32nd was written");
    space.looks();
    space.looked(10 * MIB);
    assert_eq!(space.need(PLENTY), Need::Nothing);
    let tight = Room {
        free: 66 * MIB,
        total: 1000 * MIB,
    };
    assert_eq!(space.need(tight), Need::Look);
    space.looked(0);
    assert_eq!(space.need(tight), Need::Nothing, "none of it is ours");
}

#[test]
fn what_is_open_is_not_evicted() {
    let directory = TempDir::new().unwrap();
    let contents: Vec<Vec<u8>> = (0..3).map(|seed| content(seed, 20 * BLOCK_BYTES)).collect();
    let versions: Vec<_> = contents
        .iter()
        .map(|content| version("a", content))
        .collect();
    let host = Host::with_size(directory.path(), Some(CACHE_BYTES_MIN));
    let held = host.object(&versions[0]);
    host.write(&held, &contents[0], 0..20);
    host.write(&host.object(&versions[1]), &contents[1], 0..20);
    // The third does not fit beside them, and the oldest is open in another process.
    let other = Host::with_size(directory.path(), Some(CACHE_BYTES_MIN));
    drop(held);
    let held = other.object(&versions[0]);
    held.look();
    assert!(held.sealed().is_some());
    let until = std::time::Instant::now() + SOON;
    while files(directory.path(), ".data").len() == 2 && host.metrics.disk.evictions.get() == 0 {
        assert!(std::time::Instant::now() < until, "no room is made");
        let third = host.object(&versions[2]);
        host.write(&third, &contents[2], 0..20);
    }
    assert!(held.sealed().is_some());
    assert_eq!(host.check(&host.object(&versions[0]), &contents[0]), 20);
}

#[test]
fn what_an_interrupted_creation_has_left_is_removed() {
    let directory = TempDir::new().unwrap();
    drop(Host::new(directory.path()));
    let below = directory.path().join(super::super::NAME).join("ab");
    fs::create_dir(&below).unwrap();
    let orphan = below.join(format!("{}.data", "c".repeat(30)));
    fs::write(&orphan, "x").unwrap();
    fs::write(below.join("README"), "not ours").unwrap();
    let host = Host::new(directory.path());
    let until = std::time::Instant::now() + SOON;
    while orphan.exists() {
        assert!(std::time::Instant::now() < until, "it stays");
        std::thread::yield_now();
    }
    assert!(below.join("README").exists());
    assert_eq!(host.metrics.disk.errors.get(), 0);
}

/// A file on a disk that does not answer until it is let go.
struct Hung(Mutex<Receiver<()>>);

impl Drop for Hung {
    fn drop(&mut self) {
        self.0.lock().unwrap().recv_timeout(SOON).unwrap();
    }
}

#[test]
fn whoever_has_done_with_an_object_does_not_wait_for_the_disk() {
    let directory = TempDir::new().unwrap();
    let content = content(1, 2 * BLOCK_BYTES);
    let version = version("a", &content);
    let host = Host::new(directory.path());
    let object = host.object(&version);
    host.write(&object, &content, 0..2);
    let (go_on, hung) = std::sync::mpsc::channel();
    host.cache
        .inner
        .close_later(Arc::new(Hung(Mutex::new(hung))));
    drop(object);
    let [data] = files(directory.path(), ".data").try_into().unwrap();
    let data = fs::File::open(data).unwrap();
    assert!(
        data.try_lock().is_err(),
        "it is open until the disk answers"
    );
    go_on.send(()).unwrap();
    assert!(host.cache.finish(SOON));
    data.try_lock().unwrap();
}
