//! The bytes of a file are those of its object, however they are read.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::thread;

use bytes::Bytes;
use rolefs::buffer::BLOCK_BYTES;

use crate::harness::{BUCKET, Mount, World, content, shell};
use crate::kernel;

const MIB: usize = 1 << 20;

/// Bytes of the longest request for read-ahead, and of the first window.
const PART: usize = 8 * MIB;
const WINDOW_FIRST: usize = 2 * MIB;

/// Sizes around every border: a page, the largest small block, one block, the first window, one request, the most that one
/// stream is read ahead with 64 MiB of memory, and some that are no border of anything.
fn sizes() -> Vec<usize> {
    let borders = [4096, 512 << 10, BLOCK_BYTES, WINDOW_FIRST, PART, 24 * MIB];
    let mut sizes = vec![0, 1, 2, 777, 100_003, 3_333_333, 12_345_678];
    sizes.extend(borders.iter().flat_map(|at| [at - 1, *at, at + 1]));
    sizes
}

/// A world with one object of each size; the name tells the size.
fn world_of_sizes() -> World {
    let world = World::open();
    for size in sizes() {
        world.put(&size.to_string(), content(size as u64, size));
    }
    world
}

fn each_size(mount: &Mount, mut check: impl FnMut(&File, &[u8])) {
    for size in sizes() {
        let file = File::open(mount.at(&size.to_string())).unwrap();
        check(&file, &content(size as u64, size));
    }
}

/// Not `assert_eq!`: nobody wants to read megabytes.
#[track_caller]
fn assert_same(actual: &[u8], expected: &[u8], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: another length");
    let differs = actual.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(differs, None, "{what}: the first byte that differs");
}

#[test]
fn files_are_read_whole() {
    let world = world_of_sizes();
    let mount = world.mount(&["--memory=64MiB"]);
    for size in sizes() {
        let path = mount.at(&size.to_string());
        assert_eq!(fs::metadata(&path).unwrap().len(), size as u64);
        let expected = content(size as u64, size);
        assert_same(&fs::read(&path).unwrap(), &expected, "cold");
        assert_same(&fs::read(&path).unwrap(), &expected, "from the page cache");
    }
}

#[test]
fn files_are_read_in_pieces_at_random() {
    let world = world_of_sizes();
    let mount = world.mount(&["--memory=64MiB"]);
    let mut random = fastrand::Rng::with_seed(11);
    each_size(&mount, |file, expected| {
        for round in 0..60 {
            let offset = random.usize(0..=expected.len() + 10);
            let mut piece = vec![0; random.usize(1..=[100, 70_000, 2_500_000][round % 3])];
            let end = (offset + piece.len()).min(expected.len());
            let wanted = &expected[offset.min(end)..end];
            // Up to the end of the file there are no short reads.
            let len = file.read_at(&mut piece, offset as u64).unwrap();
            assert_same(&piece[..len], wanted, &format!("at {offset}"));
            if round % 10 == 9 {
                kernel::forget_pages(file);
            }
        }
    });
}

#[test]
fn files_are_read_past_the_page_cache() {
    let world = world_of_sizes();
    let mount = world.mount(&["--memory=64MiB"]);
    let mut random = fastrand::Rng::with_seed(12);
    for size in sizes() {
        let expected = content(size as u64, size);
        let file = kernel::open_direct(&mount.at(&size.to_string())).unwrap();
        let piece = random.usize(300_000..3 * MIB);
        assert_same(
            &kernel::read_by(&file, piece).unwrap(),
            &expected,
            &format!("direct, by {piece}"),
        );
        for _ in 0..10 {
            let offset = random.usize(0..=size);
            let mut piece = vec![0; random.usize(1..300_000)];
            let len = file.read_at(&mut piece, offset as u64).unwrap();
            let end = (offset + piece.len()).min(size);
            assert_same(&piece[..len], &expected[offset..end], "direct, at random");
        }
    }
}

#[test]
fn files_are_mapped_and_touched_at_random() {
    let world = world_of_sizes();
    let mount = world.mount(&["--memory=64MiB"]);
    let mut random = fastrand::Rng::with_seed(13);
    each_size(&mount, |file, expected| {
        if expected.is_empty() {
            return;
        }
        let map = kernel::map(file);
        for _ in 0..200 {
            let at = random.usize(..expected.len());
            assert_eq!(map[at], expected[at]);
        }
        assert_same(&map, expected, "mapped");
    });
}

#[test]
fn nothing_is_read_at_the_end_and_past_it() {
    let world = World::open();
    for size in [0, 1, 4096, BLOCK_BYTES, BLOCK_BYTES + 1] {
        // Each in a directory of its own: beside the one that is read, others would be fetched ahead.
        world.put(&format!("{size}/file"), content(3, size));
    }
    let mount = world.mount(&[]);
    for size in [0, 1, 4096, BLOCK_BYTES as u64, BLOCK_BYTES as u64 + 1] {
        let path = mount.at(&format!("{size}/file"));
        for mut file in [
            File::open(&path).unwrap(),
            kernel::open_direct(&path).unwrap(),
        ] {
            let mut buffer = [7; 100];
            for offset in [size, size + 1, size + 4096, 1 << 40, i64::MAX as u64 - 100] {
                assert_eq!(file.read_at(&mut buffer, offset).unwrap(), 0);
            }
            assert_eq!(buffer, [7; 100]);
            assert_eq!(file.seek(SeekFrom::End(0)).unwrap(), size);
            assert_eq!(file.read(&mut buffer).unwrap(), 0);
        }
    }
    assert_eq!(world.server.stats().get(), 0, "there was nothing to fetch");
}

#[test]
fn one_file_is_read_by_many_at_once() {
    let world = World::open();
    let expected = Bytes::from(content(4, 40 * MIB + 12_345));
    world.put("shared", expected.clone());
    let mount = world.mount(&["--memory=64MiB"]);
    let shared = File::open(mount.at("shared")).unwrap();
    thread::scope(|scope| {
        for reader in 0..8_u64 {
            let (mount, shared, expected) = (&mount, &shared, &expected);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(reader);
                let own = match reader % 3 {
                    0 => None,
                    1 => Some(File::open(mount.at("shared")).unwrap()),
                    _ => Some(kernel::open_direct(&mount.at("shared")).unwrap()),
                };
                let file = own.as_ref().unwrap_or(shared);
                if reader < 4 {
                    let piece = random.usize(100_000..2 * MIB);
                    let bytes = kernel::read_by(file, piece).unwrap();
                    return assert_same(&bytes, expected, "in sequence");
                }
                for _ in 0..150 {
                    let offset = random.usize(..expected.len());
                    let mut piece = vec![0; random.usize(1..200_000)];
                    let len = file.read_at(&mut piece, offset as u64).unwrap();
                    assert_same(&piece[..len], &expected[offset..][..len], "at random");
                    assert_eq!(len, piece.len().min(expected.len() - offset));
                }
            });
        }
    });
}

#[test]
fn a_large_file_is_read_in_sequence_and_at_random() {
    let world = World::open();
    let expected = Bytes::from(content(5, 256 * MIB));
    world.put("large", expected.clone());
    let mount = world.mount(&["--memory=64MiB"]);
    let mut file = File::open(mount.at("large")).unwrap();
    let mut piece = vec![0; MIB + 1];
    let mut at = 0;
    loop {
        let len = file.read(&mut piece).unwrap();
        if len == 0 {
            break;
        }
        assert_same(&piece[..len], &expected[at..at + len], "in sequence");
        at += len;
    }
    assert_eq!(at, expected.len());
    kernel::forget_pages(&file);
    let mut random = fastrand::Rng::with_seed(14);
    for _ in 0..1_000 {
        let offset = random.usize(..expected.len());
        let len = file.read_at(&mut piece[..50_000], offset as u64).unwrap();
        assert_same(&piece[..len], &expected[offset..][..len], "at random");
    }
}

#[test]
fn the_tools_of_every_day_see_the_same_bytes() {
    let world = World::open();
    let names: Vec<String> = (0..60)
        .map(|at| format!("tree/{}/{}/file {at}", at % 3, at % 7))
        .collect();
    for (seed, name) in (0..).zip(&names) {
        world.put(
            name,
            content(seed, [0, 10, 5_000, 1_200_000][seed as usize % 4]),
        );
    }
    let mount = world.mount(&[]);
    shell(
        &mount.path,
        "cp -r tree ../copied && mkdir ../unpacked && tar cf - tree | tar xf - -C ../unpacked",
    );
    let sums = "find . -type f -print0 | sort -z | xargs -0 sha256sum";
    let there = shell(&mount.at("tree"), sums);
    assert_eq!(there.lines().count(), names.len());
    assert_eq!(there, shell(&world.path("copied"), sums));
    assert_eq!(there, shell(&world.path("unpacked/tree"), sums));
    for name in &names {
        let stored = world.server.get(BUCKET, name).unwrap();
        let copied = fs::read(world.path(&name.replacen("tree", "copied", 1))).unwrap();
        assert_same(&copied, &stored, name);
    }
}
