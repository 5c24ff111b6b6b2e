//! What goes wrong on the way to OSS costs time, never bytes.
//!
//! One byte that is wrong inside a body is found by the object's CRC-64 alone. What fits into one block is compared before
//! anybody sees it, and fetched again. Of a larger object, bytes are served as they arrive; so what holds for it is that
//! **nobody reads it whole, from first to last byte, without an error** if one of its blocks came wrong: the last block to come
//! is compared before its last byte is served. After the error its name is a new inode, and read anew. Not covered are the pages
//! that the kernel keeps of a block that never came to its end, because the file was closed, or of a random read of a few bytes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rolefs::dev_server::{Fault, FaultKind, Operation, RandomFaults};

use crate::harness::{BUCKET, Mount, SOON, World, content, shell, wait_for};
use crate::kernel::{self, DirectoryStream};

const MIB: usize = 1 << 20;

/// Printed with every failure; another seed is as good.
const SEED: u64 = 41;

/// Objects of a faulty world: many small ones, some of several requests.
fn objects() -> Vec<(String, Vec<u8>)> {
    let mut random = fastrand::Rng::with_seed(SEED);
    (0..160)
        .map(|at| {
            let len = match at % 16 {
                0 => random.usize(MIB + 1..12 * MIB),
                1 => random.usize(500_000..MIB),
                _ => random.usize(0..100_000),
            };
            (format!("d{}/object {at}", at % 3), content(at, len))
        })
        .collect()
}

fn read_direct(mount: &Mount, name: &str) -> io::Result<Vec<u8>> {
    kernel::read_by(&kernel::open_direct(&mount.at(name))?, 300_000)
}

/// Reads all objects by several threads, twice each: buffered, and past the page cache.
fn read_all(
    mount: &Mount,
    objects: &[(String, Vec<u8>)],
    check: impl Fn(io::Result<Vec<u8>>, &[u8], &str) + Sync,
) {
    thread::scope(|scope| {
        for reader in 0..4 {
            let check = &check;
            scope.spawn(move || {
                for (name, expected) in objects.iter().skip(reader).step_by(4) {
                    check(fs::read(mount.at(name)), expected, name);
                    check(read_direct(mount, name), expected, name);
                }
            });
        }
    });
}

/// Not `unwrap_err`, which would print megabytes.
fn errno(read: io::Result<Vec<u8>>) -> Option<i32> {
    read.err().and_then(|error| error.raw_os_error())
}

fn names_in(mount: &Mount) -> BTreeSet<String> {
    let found = shell(&mount.path, "find . -type f");
    found.lines().map(|line| line[2..].to_owned()).collect()
}

#[test]
fn faults_at_random_change_no_byte() {
    eprintln!("seed {SEED}");
    let world = World::with_default_role();
    let objects = objects();
    for (name, bytes) in &objects {
        world.put(name, bytes.clone());
    }
    let mount = world.mount(&["--memory=32MiB"]);
    world.server.faults().set_random(
        RandomFaults::default()
            .with_seed(SEED)
            .with(FaultKind::ServerError, 0.04)
            .with(FaultKind::Throttle, 0.02)
            .with(FaultKind::Delay, 0.03)
            .with(FaultKind::Reset, 0.04)
            .with(FaultKind::AnswerLost, 0.02)
            .with(FaultKind::Cut, 0.05)
            .with(FaultKind::Stall, 0.02),
    );
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        // Stalls end before their time-out; `stalls_are_waited_out` has the long ones.
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                world.server.faults().release();
                thread::park_timeout(Duration::from_millis(100));
            }
        });
        let reading = scope.spawn(|| {
            let expected: BTreeSet<String> = objects.iter().map(|(name, _)| name.clone()).collect();
            assert_eq!(names_in(&mount), expected);
            read_all(&mount, &objects, |read, expected, name| {
                assert!(read.unwrap() == expected, "{name}: other bytes");
            });
            assert_eq!(names_in(&mount), expected);
        });
        let outcome = reading.join();
        is_done.store(true, Ordering::Relaxed);
        outcome.unwrap();
    });
    // Of about 230 requests a fifth meets a fault; how many there are depends on what is fetched ahead in time.
    let injected = world.server.faults().injected();
    assert!(injected > 15, "only {injected} faults");
    assert!(mount.unmount().value("rolefs_oss_retries_total") > 10);
}

#[test]
fn lies_and_flipped_bytes_at_random_are_never_served_whole() {
    eprintln!("seed {SEED}");
    let world = World::open();
    let objects = objects();
    for (name, bytes) in &objects {
        world.put(name, bytes.clone());
    }
    let mount = world.mount(&["--memory=32MiB"]);
    assert_eq!(names_in(&mount).len(), objects.len());
    world.server.faults().set_random(
        RandomFaults::default()
            .with_seed(SEED)
            .with(FaultKind::Lie, 0.05)
            .with(FaultKind::Flip, 0.08),
    );
    let refused = AtomicU64::new(0);
    read_all(&mount, &objects, |read, expected, name| match read {
        Ok(bytes) => assert!(bytes == expected, "{name}: wrong bytes as success"),
        // EIO is the wrong checksum of a large object. ESTALE follows the wrong ETag of a HEAD, or the EIO of another reader.
        Err(error) => {
            let errno = error.raw_os_error();
            let is_large = expected.len() > MIB;
            assert!(
                errno == Some(libc::ESTALE) || (is_large && errno == Some(libc::EIO)),
                "{name}: {error}"
            );
            refused.fetch_add(1, Ordering::Relaxed);
        }
    });
    eprintln!("{refused:?} reads were refused");
    // Nothing of it lasts.
    world.server.faults().clear();
    for (name, expected) in &objects {
        // A wrong ETag is believed for the time to live.
        wait_for(SOON, name, || match fs::read(mount.at(name)) {
            Ok(bytes) => {
                assert!(bytes == *expected, "{name}: wrong bytes stayed");
                true
            }
            Err(_) => false,
        });
    }
}

/// Every kind of fault that costs nothing but time.
fn harmless() -> [Fault; 14] {
    [
        Fault::internal_error(),
        Fault::service_unavailable(),
        Fault::throttled(),
        Fault::Delay(Duration::from_millis(300)),
        Fault::ResetBeforeAnswer,
        Fault::AnswerLost,
        Fault::ResetBody { after: 0 },
        Fault::ResetBody { after: 70_000 },
        Fault::CutBody { after: 0 },
        Fault::CutBody { after: 70_000 },
        Fault::IgnoreRange,
        Fault::WrongContentRange,
        Fault::WrongETag,
        Fault::CutBody { after: 1 << 40 },
    ]
}

#[test]
fn each_kind_of_fault_is_recovered_from() {
    let world = World::open();
    let small = content(1, 100_000);
    let large = content(2, 3 * MIB + 1);
    for at in 0..harmless().len() {
        world.put(&format!("small-{at:02}"), small.clone());
        world.put(&format!("large-{at:02}"), large.clone());
        world.put(&format!("list-{at:02}/a"), "x");
        world.put(&format!("list-{at:02}/b"), "x");
    }
    // So that nothing is fetched ahead: each file is to meet its own faults.
    let mount = world.mount(&["--attr-ttl=0"]);
    let faults = world.server.faults();
    for (at, fault) in harmless().into_iter().enumerate() {
        faults.script(
            2,
            Some(Operation::GetObject),
            format!("small-{at:02}"),
            fault,
        );
        faults.script(
            2,
            Some(Operation::GetObject),
            format!("large-{at:02}"),
            fault,
        );
        // What a HEAD says of the ETag cannot be known to be wrong.
        if fault != Fault::WrongETag {
            let key = format!("small-{at:02}");
            faults.script(1, Some(Operation::HeadObject), key, fault);
        }
        let since = Instant::now();
        faults.script(
            1,
            Some(Operation::ListObjectsV2),
            format!("list-{at:02}/"),
            fault,
        );
        assert!(mount.read(&format!("small-{at:02}")) == small, "{fault:?}");
        assert!(mount.read(&format!("large-{at:02}")) == large, "{fault:?}");
        // Not by a process that is started there: it would hold the server's sockets open while it changes to it.
        let mut listed = DirectoryStream::open(&mount.at(&format!("list-{at:02}"))).unwrap();
        assert_eq!(listed.rest(), ["a", "b"], "{fault:?}");
        let waited = since.elapsed();
        assert!(waited < Duration::from_secs(9), "{fault:?}: {waited:?}");
    }
    assert!(
        faults.injected() >= 5 * harmless().len() as u64,
        "{}",
        faults.injected()
    );
    assert_eq!(mount.unmount().value("rolefs_fuse_errors_total"), 0);
}

#[test]
fn a_small_object_with_a_wrong_byte_is_fetched_again() {
    let world = World::open();
    let expected = content(3, 200_000);
    let mount = world.mount(&[]);
    for (at, fault) in [
        Fault::FlipByte { at: 0 },
        Fault::FlipByte { at: 1 << 40 },
        Fault::WrongCrc,
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("flipped-{at}");
        world.put(&name, expected.clone());
        let faults = world.server.faults();
        faults.script(2, Some(Operation::GetObject), &name, fault);
        assert!(mount.read(&name) == expected, "{fault:?}");
        assert_eq!(
            faults.injected(),
            2 * (at as u64 + 1),
            "it was fetched three times"
        );
    }
    // A third time is no accident.
    world.put("always", expected.clone());
    let faults = world.server.faults();
    faults.script(
        u64::MAX,
        Some(Operation::GetObject),
        "always",
        Fault::FlipByte { at: 7 },
    );
    assert_eq!(errno(fs::read(mount.at("always"))), Some(libc::EIO));
    faults.clear();
    assert!(mount.read("always") == expected, "and then it is right");
}

#[test]
fn a_large_object_with_a_wrong_byte_is_never_read_whole() {
    let world = World::open();
    let expected = content(4, 9 * MIB + 17);
    let mount = world.mount(&[]);
    for (round, at) in [0, 5, MIB as u64, 1 << 40].into_iter().enumerate() {
        for request in 0..3 {
            let name = format!("flipped-{round}-{request}");
            world.put(&name, expected.clone());
            let faults = world.server.faults();
            // Requests of other blocks pass before it.
            faults.script(
                request,
                Some(Operation::GetObject),
                &name,
                Fault::Delay(Duration::ZERO),
            );
            faults.script(1, Some(Operation::GetObject), &name, Fault::FlipByte { at });
            assert_eq!(
                errno(fs::read(mount.at(&name))),
                Some(libc::EIO),
                "{name} {at}"
            );
            // Blocks that were on their way when it was found may be found once more.
            let reads = read_until_right(&expected, || fs::read(mount.at(&name)));
            assert!(reads <= 3, "{name}: {reads}");
        }
    }
    assert!(mount.log_text().contains("its cached bytes are dropped"));
}

/// Reads until the bytes are right; anything but EIO on the way is a failure. Returns how many reads it took.
#[track_caller]
fn read_until_right(expected: &[u8], read: impl Fn() -> io::Result<Vec<u8>>) -> u32 {
    let mut reads = 0;
    wait_for(SOON, "the right bytes", || {
        reads += 1;
        match read() {
            Ok(bytes) => {
                assert!(bytes == expected, "the wrong byte is still there");
                true
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EIO));
                false
            }
        }
    });
    reads
}

#[test]
fn wrong_pages_are_given_up_with_their_inode() {
    let world = World::open();
    let expected = content(5, 2 * MIB - 5);
    world.put("a", expected.clone());
    let mount = world.mount(&[]);
    let flip = Fault::FlipByte { at: 100 };
    world
        .server
        .faults()
        .script(u64::MAX, Some(Operation::GetObject), "a", flip);
    let file = File::open(mount.at("a")).unwrap();
    let before = file.metadata().unwrap().ino();
    // The rest comes ahead of the reader: no READ meets the error.
    let mut page = vec![0; 4096];
    file.read_exact_at(&mut page, 0).unwrap();
    wait_for(SOON, "the wrong byte is found", || {
        mount.log_text().contains("its cached bytes are dropped")
    });
    world.server.faults().clear();
    drop(file);
    assert!(page != expected[..4096], "it was served as it came");
    assert!(read_until_right(&expected, || fs::read(mount.at("a"))) <= 2);
    assert_ne!(fs::metadata(mount.at("a")).unwrap().ino(), before);
}

#[test]
fn a_wrong_block_is_found_by_a_later_open() {
    let world = World::open();
    let expected = content(6, 9 * MIB);
    world.put("a", expected.clone());
    let mount = world.mount(&[]);
    let faults = world.server.faults();
    let flip = Fault::FlipByte { at: 100 };
    faults.script(u64::MAX, Some(Operation::GetObject), "a", flip);
    let file = kernel::open_direct(&mount.at("a")).unwrap();
    let mut block = vec![0; MIB];
    file.read_exact_at(&mut block, 0).unwrap();
    assert!(block != expected[..MIB], "it is served as it arrives");
    drop(file);
    faults.clear();
    let reads = read_until_right(&expected, || read_direct(&mount, "a"));
    assert_eq!(reads, 2, "the block was in memory: one refusal");
}

#[test]
fn stalls_are_waited_out() {
    let world = World::open();
    let expected = content(6, 3 * MIB);
    let stalls = [
        ("answer", Fault::StallAnswer),
        ("first", Fault::StallBody { after: 0 }),
        ("middle", Fault::StallBody { after: 1_500_000 }),
        ("last", Fault::StallBody { after: 1 << 40 }),
    ];
    for (name, fault) in stalls {
        world.put(name, expected.clone());
        let faults = world.server.faults();
        faults.script(1, Some(Operation::GetObject), name, fault);
    }
    let mount = world.mount(&[]);
    let since = Instant::now();
    thread::scope(|scope| {
        for (name, _) in stalls {
            let (mount, expected) = (&mount, &expected);
            scope.spawn(move || assert!(mount.read(name) == *expected, "{name}"));
        }
    });
    let waited = since.elapsed();
    // 20 s for the head of an answer, 10 s for a body that stands still.
    assert!(
        waited > Duration::from_secs(9),
        "{waited:?}: nothing has stalled"
    );
    assert!(waited < Duration::from_secs(40), "{waited:?}");
    assert_eq!(world.server.get(BUCKET, "last").unwrap(), expected);
}
