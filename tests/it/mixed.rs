//! Every way of reading at once, at random, with faults: every byte that comes is compared. Half of the readers have a mount
//! with a cache on disk, where the kernel reads by itself what is whole.
//!
//! Ten seconds; ten minutes with `ROLEFS_TEST_SOAK=1`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rolefs::dev_server::{FaultKind, RandomFaults};

use crate::harness::{Mount, World, content};
use crate::kernel;

const MIB: usize = 1 << 20;

/// Printed with every failure; another seed is as good.
const SEED: u64 = 77;

const READERS: u64 = 8;

/// The lengths at which something changes: empty, one block and its neighbours, several requests.
const LENGTHS: [usize; 12] = [
    0,
    1,
    4_095,
    100_000,
    MIB - 1,
    MIB,
    MIB + 1,
    2 * MIB,
    5 * MIB + 12_345,
    8 * MIB,
    17 * MIB + 1,
    40 * MIB,
];

/// How one reader goes through a file.
#[derive(Debug, Clone, Copy)]
enum Pattern {
    Forward,
    Backward,
    Strided,
    Random,
    Whole,
}

/// How bytes come to a reader.
#[derive(Debug, Clone, Copy)]
enum Way {
    Buffered,
    /// As `Buffered`, with the file's pages dropped first.
    Cold,
    Direct,
    Mapped,
}

fn objects() -> Vec<(String, Vec<u8>)> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let odd = (0..20).map(|_| random.usize(1..3 * MIB));
    let lengths: Vec<usize> = LENGTHS.into_iter().chain(odd).collect();
    lengths
        .into_iter()
        .enumerate()
        .map(|(at, len)| (format!("d{}/{at}", at % 3), content(at as u64, len)))
        .collect()
}

/// The pieces of a file of `len` bytes that one reader asks for, in order.
fn pieces(pattern: Pattern, len: usize, random: &mut fastrand::Rng) -> Vec<(usize, usize)> {
    let piece = random.usize(1..300_000);
    let forward = || (0..len).step_by(piece).map(|at| (at, piece));
    match pattern {
        Pattern::Whole => vec![(0, len)],
        Pattern::Forward => {
            let skipped = random.usize(..=forward().count());
            forward().skip(skipped / 2).collect()
        }
        Pattern::Backward => forward().collect::<Vec<_>>().into_iter().rev().collect(),
        Pattern::Strided => {
            let stride = random.usize(piece..4 * MIB);
            (0..len).step_by(stride).map(|at| (at, piece)).collect()
        }
        Pattern::Random => (0..random.usize(1..60))
            .map(|_| (random.usize(..=len), piece))
            .collect(),
    }
}

/// Reads one file once and compares; returns the bytes read.
fn read_once(mount: &Mount, name: &str, expected: &[u8], random: &mut fastrand::Rng) -> u64 {
    let ways = [Way::Buffered, Way::Cold, Way::Direct, Way::Mapped];
    let patterns = [
        Pattern::Forward,
        Pattern::Backward,
        Pattern::Strided,
        Pattern::Random,
        Pattern::Whole,
    ];
    let way = ways[random.usize(..ways.len())];
    let pattern = patterns[random.usize(..patterns.len())];
    let path = mount.at(name);
    let file = match way {
        Way::Direct => kernel::open_direct(&path).unwrap(),
        Way::Buffered | Way::Cold | Way::Mapped => File::open(&path).unwrap(),
    };
    if matches!(way, Way::Cold) {
        kernel::forget_pages(&file);
    }
    let map = matches!(way, Way::Mapped).then(|| kernel::map(&file));
    let mut buffer = Vec::new();
    let mut total = 0;
    for (at, len) in pieces(pattern, expected.len(), random) {
        let end = (at + len).min(expected.len());
        let got: &[u8] = match &map {
            Some(map) => &map[at..end],
            None => {
                buffer.resize(end - at, 0);
                let said = |error| panic!("{name} {way:?} {pattern:?} {at}..{end}: {error}");
                file.read_exact_at(&mut buffer, at as u64)
                    .unwrap_or_else(said);
                &buffer
            }
        };
        assert!(
            got == &expected[at..end],
            "{name} {way:?} {pattern:?}: other bytes in {at}..{end}"
        );
        total += got.len() as u64;
    }
    total
}

/// Reads at random by many threads, in turns of both mounts, for the test's time.
fn read_for_a_while(mounts: [&Mount; 2], objects: &[(String, Vec<u8>)]) -> u64 {
    let is_soak = std::env::var_os("ROLEFS_TEST_SOAK").is_some();
    let deadline = Instant::now() + Duration::from_secs(if is_soak { 600 } else { 10 });
    let total = AtomicU64::new(0);
    thread::scope(|scope| {
        for reader in 0..READERS {
            let total = &total;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(SEED + reader);
                while Instant::now() < deadline {
                    let (name, expected) = &objects[random.usize(..objects.len())];
                    let mount = mounts[random.usize(..2)];
                    let bytes = read_once(mount, name, expected, &mut random);
                    total.fetch_add(bytes, Ordering::Relaxed);
                }
            });
        }
    });
    total.into_inner()
}

fn faults() -> RandomFaults {
    RandomFaults::default()
        .with_seed(SEED)
        .with(FaultKind::ServerError, 0.02)
        .with(FaultKind::Throttle, 0.01)
        .with(FaultKind::Delay, 0.02)
        .with(FaultKind::Reset, 0.02)
        .with(FaultKind::Cut, 0.03)
}

#[test]
fn all_ways_of_reading_at_once_give_the_same_bytes() {
    eprintln!("seed {SEED}");
    let world = World::with_default_role();
    let objects = objects();
    for (name, bytes) in &objects {
        world.put(name, bytes.clone());
    }
    // Little memory: blocks go while others come. A cache that is smaller than the data: files go while others are read.
    let mount = world.mount(&["--memory=32MiB"]);
    let cache = format!("--cache-dir={}", world.path("cache").display());
    let arguments = ["--memory=32MiB", &cache, "--cache-size=80MiB"];
    let cached = world.mount_at("cached", &arguments);
    world.server.faults().set_random(faults());
    let total = read_for_a_while([&mount, &cached], &objects);
    let budget = 32 * MIB as u64;
    for mount in [&mount, &cached] {
        let peak = mount.peak_rss_bytes();
        eprintln!("{} MiB read, {} MiB at most", total >> 20, peak >> 20);
        assert!(peak <= budget + 96 * MIB as u64, "{} MiB", peak >> 20);
    }
    let injected = world.server.faults().injected();
    assert!(injected > 20, "only {injected} faults");
    let metrics = cached.unmount();
    let by_the_kernel = metrics.value("rolefs_disk_passthrough_opens_total");
    assert!(by_the_kernel > 0, "the kernel has read nothing by itself");
    for metrics in [metrics, mount.unmount()] {
        assert_eq!(metrics.value("rolefs_read_checksum_failures_total"), 0);
    }
}
