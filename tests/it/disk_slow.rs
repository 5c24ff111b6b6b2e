//! The cache on disk when the disk is slower than its readers.
//!
//! A slow disk is made by holding the lock under which blocks are written: no write is done until the test lets go.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::disk_cache::{SEAL, files, gets, is_passthrough_there, passthrough_opens, wait_sealed};
use crate::harness::{Mount, SOON, World, content, wait_for};

const MIB: usize = 1 << 20;

/// Where a map has the record of a block.
fn record_at(index: usize) -> u64 {
    4096 + 16 * index as u64
}

fn mount(world: &World, name: &str, memory: &str) -> Mount {
    let cache = format!("--cache-dir={}", world.path("cache").display());
    world.mount_at(name, &[&format!("--memory={memory}"), &cache])
}

/// A world with one object that is on disk but for some of its blocks, and its map.
fn world_with_holes(len: usize, holes: Range<usize>) -> (World, Bytes, File) {
    let world = World::open();
    let bytes = Bytes::from(content(1, len));
    world.put("x", bytes.clone());
    // With memory enough that nothing is dropped.
    let first = mount(&world, "first", "2GiB");
    assert!(first.read("x") == bytes);
    assert_eq!(first.unmount().value("rolefs_disk_dropped_writes_total"), 0);
    let [map] = files(&world, ".map").try_into().unwrap();
    let map = File::options().read(true).write(true).open(map).unwrap();
    let len = SEAL.len();
    map.write_all_at(&vec![0; len], SEAL.start as u64).unwrap();
    for index in holes {
        map.write_all_at(&[0; 16], record_at(index)).unwrap();
    }
    (world, bytes, map)
}

/// Reads an object with holes while the disk stands still, and lets it go on.
fn read_past_a_slow_disk(
    len: usize,
    holes: Range<usize>,
    memory: &str,
    before_it_goes_on: impl FnOnce(&World),
) -> (World, Bytes, Mount) {
    let (world, bytes, map) = world_with_holes(len, holes);
    let second = mount(&world, "second", memory);
    map.lock().unwrap();
    assert!(second.read("x") == bytes, "nobody waits for the disk");
    before_it_goes_on(&world);
    map.unlock().unwrap();
    (world, bytes, second)
}

#[track_caller]
fn assert_nothing_is_fetched(world: &World, bytes: &Bytes) {
    let third = mount(world, "third", "32MiB");
    assert!(third.read("x") == *bytes);
    let metrics = third.unmount();
    assert_eq!(gets(&metrics), 0);
    if is_passthrough_there() {
        assert_eq!(passthrough_opens(&metrics), 1);
    }
}

#[test]
fn what_a_slow_disk_has_dropped_is_fetched_again_once_it_is_closed() {
    // Four blocks find room in line; the rest has left memory when the end is read.
    let (world, bytes, second) = read_past_a_slow_disk(80 * MIB + 77, 0..18, "32MiB", |_| ());
    wait_sealed(&world, 1);
    let metrics = second.unmount();
    let dropped = metrics.value("rolefs_disk_dropped_writes_total");
    assert!((14..=18).contains(&dropped), "{dropped}");
    let filled = metrics.value("rolefs_disk_filled_blocks_total");
    assert_eq!(filled, dropped);
    let refetched = metrics.value("rolefs_disk_refetched_bytes_total");
    assert!(refetched > 0 && refetched <= filled * MIB as u64);
    let received = metrics.value("rolefs_oss_bytes_received_total");
    assert_eq!(received, 18 * MIB as u64 + refetched);
    assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0);
    assert_nothing_is_fetched(&world, &bytes);
}

#[test]
fn what_memory_still_has_is_not_fetched_again() {
    // The last blocks find no room in line, and were read last.
    let (world, bytes, second) = read_past_a_slow_disk(160 * MIB, 124..160, "256MiB", |_| ());
    wait_sealed(&world, 1);
    let metrics = second.unmount();
    let dropped = metrics.value("rolefs_disk_dropped_writes_total");
    assert!((4..=8).contains(&dropped), "{dropped}");
    assert_eq!(metrics.value("rolefs_disk_filled_blocks_total"), dropped);
    assert_eq!(metrics.value("rolefs_disk_refetched_bytes_total"), 0);
    assert_nothing_is_fetched(&world, &bytes);
}

#[test]
fn a_version_that_is_gone_is_left_with_its_holes() {
    let other = content(2, 3 * MIB);
    let (world, _, second) = read_past_a_slow_disk(80 * MIB, 0..18, "32MiB", |world| {
        world.put("x", other.clone());
    });
    wait_for(SOON, "the filling is given up", || {
        second.log_text().contains("holes on disk are left")
    });
    wait_for(SOON, "the new object is seen", || second.read("x") == other);
    wait_sealed(&world, 1);
    let metrics = second.unmount();
    assert_eq!(metrics.value("rolefs_disk_refetched_bytes_total"), 0);
    assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0);
}

#[test]
fn an_object_that_is_hardly_there_is_not_fetched_again() {
    let (world, bytes, second) = read_past_a_slow_disk(40 * MIB, 0..39, "32MiB", |_| ());
    // The four that found room.
    let [map] = files(&world, ".map").try_into().unwrap();
    let map = File::open(map).unwrap();
    let is_there = |&index: &usize| {
        let mut record = [0; 16];
        map.read_exact_at(&mut record, record_at(index)).unwrap();
        record != [0; 16]
    };
    wait_for(SOON, "what stood in line is written", || {
        (0..40).filter(is_there).count() >= 4
    });
    let metrics = second.unmount();
    assert_eq!(metrics.value("rolefs_disk_filled_blocks_total"), 0);
    let received = metrics.value("rolefs_oss_bytes_received_total");
    assert_eq!(received, 39 * MIB as u64);
    // Whoever reads it next fills it.
    let third = mount(&world, "third", "2GiB");
    assert!(third.read("x") == bytes);
    drop(third);
    assert_nothing_is_fetched(&world, &bytes);
}

#[test]
fn a_disk_that_does_not_answer_is_given_up() {
    let world = World::open();
    let bytes = content(1, 100_000);
    world.put("x", bytes.clone());
    world.put("y", bytes.clone());
    let first = mount(&world, "first", "256MiB");
    assert!(first.read("x") == bytes && first.read("y") == bytes);
    first.unmount();
    // A block found bad is struck off under the lock, for which the reader waits.
    let maps: Vec<File> = files(&world, ".map")
        .iter()
        .map(|path| File::options().read(true).write(true).open(path).unwrap())
        .collect();
    assert_eq!(maps.len(), 2);
    for map in &maps {
        map.write_all_at(&[!bytes[7]], 4608 + 7).unwrap();
        map.lock().unwrap();
    }
    let second = mount(&world, "second", "256MiB");
    let begin = Instant::now();
    assert!(second.read("x") == bytes);
    assert!(
        begin.elapsed() > Duration::from_secs(9),
        "it was waited for"
    );
    let begin = Instant::now();
    assert!(second.read("y") == bytes);
    assert!(begin.elapsed() < Duration::from_secs(9), "it is left alone");
    for map in &maps {
        map.unlock().unwrap();
    }
    let metrics = second.unmount();
    assert_eq!(metrics.value("rolefs_disk_given_up_total"), 1);
    assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0);
}
