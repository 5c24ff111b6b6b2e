//! The cache on disk, by real mounts: what it saves, what it survives, and that no reader ever notices it.

use std::fs::{self, File};
use std::ops::RangeBounds;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;

use bytes::Bytes;
use rolefs::dev_server::{FaultKind, RandomFaults};

use crate::harness::{Metrics, Mount, SOON, World, content, wait_for};
use crate::kernel;

const MIB: usize = 1 << 20;

/// Where a map has its seal.
pub(crate) const SEAL: std::ops::Range<usize> = 3984..4040;

fn hits(metrics: &Metrics) -> u64 {
    metrics.value("rolefs_disk_hits_total")
}

pub(crate) fn passthrough_opens(metrics: &Metrics) -> u64 {
    metrics.value("rolefs_disk_passthrough_opens_total")
}

pub(crate) fn gets(metrics: &Metrics) -> u64 {
    metrics.value("rolefs_oss_get_requests_total")
}

/// True where the kernel can read files by itself: from Linux 6.9 on.
pub(crate) fn is_passthrough_there() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(9))
}

/// The kernel has read by itself in so many opens, where it can.
#[track_caller]
fn assert_passthrough(metrics: &Metrics, opens: impl RangeBounds<u64>) {
    let counted = passthrough_opens(metrics);
    assert!(
        opens.contains(&counted) || !is_passthrough_there(),
        "{counted}"
    );
}

/// READs that reached us. What the kernel reads by itself is not among them.
fn reads(metrics: &Metrics) -> u64 {
    metrics.value("rolefs_read_reads_total")
}

pub(crate) fn mount(world: &World, name: &str) -> Mount {
    let cache = format!("--cache-dir={}", world.path("cache").display());
    world.mount_at(name, &["--memory=256MiB", &cache])
}

/// The cache's files that end so.
pub(crate) fn files(world: &World, suffix: &str) -> Vec<PathBuf> {
    let below = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let cache = world.path("cache/rolefs-cache-v1");
    let mut found: Vec<PathBuf> = below(&cache).iter().flat_map(|path| below(path)).collect();
    found.retain(|path| path.to_str().unwrap().ends_with(suffix));
    found
}

/// Objects that were read back and may be read by the kernel.
fn sealed(world: &World) -> usize {
    let is_sealed = |map: &PathBuf| {
        let bytes = fs::read(map).unwrap_or_default();
        bytes.get(SEAL).is_some_and(|seal| seal != [0; 56])
    };
    files(world, ".map")
        .iter()
        .filter(|map| is_sealed(map))
        .count()
}

pub(crate) fn wait_sealed(world: &World, count: usize) {
    wait_for(SOON, "the objects are read back", || sealed(world) == count);
}

/// A world with one large object and one small one, both in its cache.
pub(crate) fn cached_world() -> (World, Bytes, Vec<u8>) {
    let world = World::open();
    let large = Bytes::from(content(1, 24 * MIB + 12_345));
    let small = content(2, 100_000);
    world.put("large", large.clone());
    world.put("small", small.clone());
    let first = mount(&world, "first");
    assert!(first.read("large") == large);
    assert!(first.read("small") == small);
    let metrics = first.unmount();
    assert_eq!(hits(&metrics), 0);
    assert_eq!(metrics.value("rolefs_disk_dropped_writes_total"), 0);
    let bytes = (large.len() + small.len()) as u64;
    assert_eq!(metrics.value("rolefs_disk_written_bytes_total"), bytes);
    assert_eq!(sealed(&world), 1);
    (world, large, small)
}

#[test]
fn a_second_mount_asks_for_no_byte_and_lets_the_kernel_read() {
    let (world, large, small) = cached_world();
    let second = mount(&world, "second");
    for _ in 0..3 {
        assert!(second.read("large") == large);
        assert!(second.read("small") == small);
    }
    let metrics = second.unmount();
    assert_eq!(gets(&metrics), 0);
    assert_passthrough(&metrics, 3..=3);
    // The small object, once: from then on it is in the page cache.
    if is_passthrough_there() {
        assert_eq!((hits(&metrics), reads(&metrics)), (1, 1));
    }
}

#[test]
fn files_that_were_fetched_ahead_of_a_scan_are_there_after_a_restart() {
    const FILES: u64 = 300;
    let world = World::open();
    let name = |number: u64| format!("d/{number:03}");
    let bytes_of = |number: u64| content(number, 40_000);
    for number in 0..FILES {
        world.put(&name(number), bytes_of(number));
    }
    let read_all = |mount: &Mount| {
        assert_eq!(fs::read_dir(mount.at("d")).unwrap().count() as u64, FILES);
        for number in 0..FILES {
            assert!(mount.read(&name(number)) == bytes_of(number), "{number}");
        }
    };
    let first = mount(&world, "first");
    read_all(&first);
    let metrics = first.unmount();
    let ahead = metrics.value("rolefs_read_ahead_bytes_total");
    assert!(ahead > FILES * 40_000 / 2, "{ahead} bytes ahead");
    assert_eq!(gets(&metrics), FILES, "one for each");
    assert_eq!(metrics.value("rolefs_disk_dropped_writes_total"), 0);
    let second = mount(&world, "second");
    read_all(&second);
    let metrics = second.unmount();
    assert_eq!((gets(&metrics), hits(&metrics)), (0, FILES));
}

#[test]
fn what_was_just_read_is_read_by_the_kernel_once_it_is_closed() {
    let world = World::open();
    let bytes = content(3, 9 * MIB);
    world.put("x", bytes.clone());
    let mount = mount(&world, "mnt");
    let open = File::open(mount.at("x")).unwrap();
    assert!(kernel::read_by(&open, MIB).unwrap() == bytes);
    wait_sealed(&world, 1);
    // Somebody still has it open through the page cache: then everybody has.
    let beside = File::open(mount.at("x")).unwrap();
    let map = kernel::map(&beside);
    assert!(map[..] == bytes[..]);
    drop(open);
    drop(beside);
    // The mapping holds it open.
    assert!(mount.read("x") == bytes);
    drop(map);
    // The last RELEASE is sent in the background.
    wait_for(SOON, "the kernel reads by itself", || {
        assert!(mount.read("x") == bytes);
        mount.log_text().contains("the kernel reads") || !is_passthrough_there()
    });
    let metrics = mount.unmount();
    assert_passthrough(&metrics, 1..);
    assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0);
}

#[test]
fn all_ways_of_reading_mix_on_a_file_that_the_kernel_reads() {
    let (world, large, _) = cached_world();
    let second = mount(&world, "second");
    let buffered = File::open(second.at("large")).unwrap();
    thread::scope(|scope| {
        for reader in 0..6_u64 {
            let (second, large, buffered) = (&second, &large, &buffered);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(reader);
                for _ in 0..20 {
                    let path = second.at("large");
                    let file = match reader % 3 {
                        0 => buffered.try_clone(),
                        1 => File::open(path),
                        _ => kernel::open_direct(&path),
                    };
                    let file = file.unwrap();
                    let map = (reader % 2 == 0).then(|| kernel::map(&file));
                    for _ in 0..10 {
                        let offset = random.usize(..large.len());
                        let mut piece = vec![0; random.usize(1..200_000)];
                        let end = (offset + piece.len()).min(large.len());
                        if let Some(map) = &map {
                            assert!(map[offset..end] == large[offset..end]);
                        }
                        // Unaligned, also past the page cache.
                        let len = file.read_at(&mut piece, offset as u64).unwrap();
                        assert!(piece[..len] == large[offset..end]);
                    }
                }
            });
        }
    });
    drop(buffered);
    let metrics = second.unmount();
    assert_eq!(gets(&metrics), 0);
    assert_passthrough(&metrics, 1..);
    assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0);
}

#[test]
fn opens_mix_while_the_file_becomes_complete() {
    let world = World::open();
    let objects: Vec<Bytes> = (0..6)
        .map(|at| Bytes::from(content(at, 5 * MIB + 99)))
        .collect();
    for (at, bytes) in objects.iter().enumerate() {
        world.put(&at.to_string(), bytes.clone());
    }
    let mount = mount(&world, "mnt");
    thread::scope(|scope| {
        for reader in 0..6_u64 {
            let (mount, objects) = (&mount, &objects);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(reader);
                let mut kept = Vec::new();
                for _ in 0..60 {
                    let at = random.usize(..objects.len());
                    let path = mount.at(&at.to_string());
                    let file = if random.u8(0..3) == 0 {
                        kernel::open_direct(&path)
                    } else {
                        File::open(&path)
                    };
                    let file = file.unwrap();
                    let piece = random.usize(200_000..3 * MIB);
                    assert!(kernel::read_by(&file, piece).unwrap() == objects[at]);
                    if random.u8(0..4) == 0 {
                        kept.push(file);
                    }
                    if kept.len() == 4 {
                        kept.clear();
                    }
                }
            });
        }
    });
    for (at, bytes) in objects.iter().enumerate() {
        assert!(mount.read(&at.to_string()) == *bytes);
    }
    let metrics = mount.unmount();
    assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0);
    assert_eq!(metrics.value("rolefs_disk_verified_total"), 6);
    assert_passthrough(&metrics, 1..);
}

#[test]
fn a_replaced_object_is_read_anew_after_a_restart() {
    let (world, large, _) = cached_world();
    let other = content(77, large.len());
    world.put("large", other.clone());
    let second = mount(&world, "second");
    assert!(second.read("large") == other);
    let metrics = second.unmount();
    assert_eq!((hits(&metrics), passthrough_opens(&metrics)), (0, 0));
    // Both versions have their place.
    assert_eq!(sealed(&world), 2);
}

#[test]
fn an_object_that_is_replaced_under_the_kernels_eyes_stays_one_version() {
    let (world, large, _) = cached_world();
    let second = mount(&world, "second");
    let old = File::open(second.at("large")).unwrap();
    let map = kernel::map(&old);
    let other = content(78, 4 * MIB);
    world.put("large", other.clone());
    wait_for(SOON, "the new object is seen", || {
        second.read("large") == other
    });
    assert!(kernel::read_by(&old, MIB).unwrap() == large);
    assert!(map[..] == large[..]);
    drop((old, map));
    let metrics = second.unmount();
    assert_passthrough(&metrics, 1..);
    assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0);
}

#[test]
fn bytes_that_were_altered_on_disk_are_fetched_again() {
    let (world, large, small) = cached_world();
    for path in files(&world, ".data").iter().chain(&files(&world, ".map")) {
        let file = File::options().read(true).write(true).open(path).unwrap();
        // In the data of both: the small object's lies in its map.
        let at = if path.extension().unwrap() == "data" {
            5 * MIB as u64 + 1
        } else if fs::metadata(path).unwrap().len() > 50_000 {
            50_000
        } else {
            continue;
        };
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
    let second = mount(&world, "second");
    assert!(second.read("large") == large);
    assert!(second.read("small") == small);
    let metrics = second.unmount();
    // The block that lies in the middle of the large one is found either by its reader or by the thread that reads back.
    assert!(metrics.value("rolefs_disk_bad_blocks_total") >= 2);
    assert!(gets(&metrics) >= 2);
    let third = mount(&world, "third");
    assert!(third.read("large") == large);
    assert!(third.read("small") == small);
    let metrics = third.unmount();
    assert_eq!(gets(&metrics), 0, "what was fetched again is there again");
    assert_passthrough(&metrics, 1..=1);
}

#[test]
fn garbage_in_the_cache_is_a_miss() {
    /// What is done to all files of one kind.
    type Damage = (&'static str, fn(&Path));
    let damage: [Damage; 5] = [
        (".map", |path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(100)
                .unwrap();
        }),
        (".map", |path| fs::write(path, content(5, 10_000)).unwrap()),
        (".map", |path| {
            // The first record of a block.
            let file = File::options().write(true).open(path).unwrap();
            file.write_all_at(&content(6, 16), 4096).unwrap();
        }),
        (".data", |path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(MIB as u64)
                .unwrap();
        }),
        (".data", |path| fs::remove_file(path).unwrap()),
    ];
    let (world, large, small) = cached_world();
    for (at, (suffix, damage)) in damage.iter().enumerate() {
        for path in files(&world, suffix) {
            damage(&path);
        }
        let mount = mount(&world, &format!("damaged-{at}"));
        assert!(mount.read("large") == large, "{at}");
        assert!(mount.read("small") == small, "{at}");
        let metrics = mount.unmount();
        assert!(gets(&metrics) > 0, "{at}");
        assert_eq!(passthrough_opens(&metrics), 0, "{at}");
        assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0, "{at}");
        assert_eq!(sealed(&world), 1, "{at}: it is whole again");
    }
}

#[test]
fn two_mounts_share_a_cache() {
    let world = World::open();
    let objects: Vec<Bytes> = (0..4)
        .map(|at| Bytes::from(content(at, 6 * MIB + 7)))
        .collect();
    for (at, bytes) in objects.iter().enumerate() {
        world.put(&at.to_string(), bytes.clone());
    }
    let mounts = [mount(&world, "one"), mount(&world, "two")];
    thread::scope(|scope| {
        for (number, mount) in mounts.iter().enumerate() {
            let objects = &objects;
            scope.spawn(move || {
                for round in 0..12 {
                    let at = (round * (number + 1)) % objects.len();
                    assert!(mount.read(&at.to_string()) == objects[at]);
                }
            });
        }
    });
    wait_sealed(&world, objects.len());
    // What the one has read the other has, once it looks: when it opens the file anew.
    let [one, two] = mounts;
    let before = world.server.stats().get();
    for mount in [&one, &two] {
        for (at, bytes) in objects.iter().enumerate() {
            assert!(mount.read(&at.to_string()) == *bytes);
        }
    }
    assert_eq!(world.server.stats().get(), before);
    for mount in [one, two] {
        let metrics = mount.unmount();
        assert_eq!(metrics.value("rolefs_disk_bad_blocks_total"), 0);
        assert_eq!(metrics.value("rolefs_disk_errors_total"), 0);
        assert_passthrough(&metrics, 1..);
    }
}

/// Two mounts, one cache with too little room, a server that fails: every byte is compared, however it is read.
#[test]
fn every_byte_is_right_whatever_happens_at_the_same_time() {
    let world = World::open();
    let mut random = fastrand::Rng::with_seed(99);
    let objects: Vec<Bytes> = (0..20)
        .map(|at| Bytes::from(content(at, random.usize(1..8 * MIB))))
        .collect();
    for (at, bytes) in objects.iter().enumerate() {
        world.put(&at.to_string(), bytes.clone());
    }
    let cache = format!("--cache-dir={}", world.path("cache").display());
    let arguments = ["--memory=32MiB", &cache, "--cache-size=64MiB"];
    let mounts = [
        world.mount_at("one", &arguments),
        world.mount_at("two", &arguments),
    ];
    let faults = RandomFaults::default()
        .with_seed(99)
        .with(FaultKind::ServerError, 0.03)
        .with(FaultKind::Reset, 0.03)
        .with(FaultKind::Cut, 0.05);
    world.server.faults().set_random(faults);
    thread::scope(|scope| {
        for reader in 0..8_u64 {
            let (mounts, objects) = (&mounts, &objects);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(reader);
                let mut kept: Vec<File> = Vec::new();
                for _ in 0..120 {
                    let at = random.usize(..objects.len());
                    let path = mounts[random.usize(..2)].at(&at.to_string());
                    let file = if random.u8(0..4) == 0 {
                        kernel::open_direct(&path)
                    } else {
                        File::open(&path)
                    };
                    let (file, expected) = (file.unwrap(), &objects[at]);
                    match random.u8(0..4) {
                        0 => {
                            let map = kernel::map(&file);
                            let start = random.usize(..expected.len());
                            assert!(map[start..] == expected[start..]);
                        }
                        1 => {
                            let mut piece = vec![0; 50_000];
                            for _ in 0..10 {
                                let offset = random.usize(..expected.len());
                                let len = file.read_at(&mut piece, offset as u64).unwrap();
                                assert!(piece[..len] == expected[offset..][..len]);
                                assert_eq!(len, piece.len().min(expected.len() - offset));
                            }
                        }
                        _ => {
                            let piece = random.usize(100_000..3 * MIB);
                            assert!(kernel::read_by(&file, piece).unwrap() == *expected);
                        }
                    }
                    if random.bool() {
                        kernel::forget_pages(&file);
                    }
                    kept.push(file);
                    kept.truncate(random.usize(..4));
                }
            });
        }
    });
    for mount in mounts {
        let metrics = mount.unmount();
        assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0);
        assert_eq!(metrics.value("rolefs_disk_bad_blocks_total"), 0);
        assert!(hits(&metrics) > 0);
        assert_passthrough(&metrics, 1..);
    }
}
