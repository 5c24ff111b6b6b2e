//! Correctness under speed: policy, queue, fetcher and cache together, against the content itself.
//!
//! What is drawn comes from a seed: sizes, budgets, patterns, how many read at once, and how the link misbehaves. Every byte
//! is compared with a naive twin, which is the content in memory; afterwards no lease is left.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rolefs::buffer::{BLOCK_BYTES, MEMORY_BYTES_MIN};
use rolefs::dev_server::{Fault, FaultKind, Operation, RandomFaults};
use rolefs::read::{File, Reader};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{content, runtime};
use crate::stack::{Stack, read, soon};

const MIB: u64 = 1 << 20;
const BLOCK: u64 = BLOCK_BYTES as u64;

/// How one reader goes through a file.
#[derive(Debug, Clone, Copy)]
enum Walk {
    /// Piece by piece to the end, or downwards to the start.
    Up,
    Down,
    /// Pieces with gaps of a few times their length.
    Strided(u64),
    /// Runs of some megabytes at random places, as of a mapped file of tensors.
    Runs,
    Random,
}

fn walk() -> impl Strategy<Value = Walk> {
    prop_oneof![
        3 => Just(Walk::Up),
        1 => Just(Walk::Down),
        1 => (1u64..12).prop_map(Walk::Strided),
        1 => Just(Walk::Runs),
        1 => Just(Walk::Random),
    ]
}

/// One reader.
#[derive(Debug, Clone)]
struct Wanderer {
    walk: Walk,
    /// Where it starts, in thousandths of the file.
    from: u64,
    len: u64,
    reads: u64,
    /// On a handle of its own, or on the shared one.
    own: bool,
}

fn wanderer() -> impl Strategy<Value = Wanderer> {
    let len = prop_oneof![
        1u64..9000,
        Just(4096),
        Just(128 << 10),
        1..BLOCK,
        Just(BLOCK)
    ];
    let parts = (walk(), 0u64..1000, len, 10u64..120, any::<bool>());
    parts.prop_map(|(walk, from, len, reads, own)| Wanderer {
        walk,
        from,
        len,
        reads,
        own,
    })
}

/// How the link is.
#[derive(Debug, Clone, Copy)]
enum Weather {
    Fine,
    /// Latency and a cap per connection.
    Far,
    Throttled,
    /// Everything at once, stalls too.
    Storm,
}

#[derive(Debug, Clone)]
struct Scene {
    seed: u64,
    size: u64,
    memory: u64,
    weather: Weather,
    wanderers: Vec<Wanderer>,
}

fn scene() -> impl Strategy<Value = Scene> {
    let size = prop_oneof![
        1..3 * MIB,
        1..40 * MIB,
        (1u64..40).prop_map(|blocks| blocks * MIB),
        (1u64..40, 1u64..4096).prop_map(|(blocks, more)| blocks * MIB + more),
    ];
    let memory = prop_oneof![Just(MEMORY_BYTES_MIN), MEMORY_BYTES_MIN..80 * MIB];
    let weather = prop_oneof![
        Just(Weather::Fine),
        Just(Weather::Far),
        Just(Weather::Throttled),
        Just(Weather::Storm),
    ];
    let wanderers = proptest::collection::vec(wanderer(), 1..9);
    let parts = (any::<u64>(), size, memory, weather, wanderers);
    parts.prop_map(|(seed, size, memory, weather, wanderers)| Scene {
        seed,
        size,
        memory,
        weather,
        wanderers,
    })
}

fn set_weather(stack: &Stack, weather: Weather, seed: u64) {
    let faults = stack.server.faults();
    let random = RandomFaults::default().with_seed(seed);
    match weather {
        Weather::Fine => {}
        Weather::Far => {
            faults.set_first_byte(Duration::from_millis(3));
            faults.set_bandwidth(Some(60_000_000));
        }
        Weather::Throttled => faults.set_random(random.with(FaultKind::Throttle, 0.3)),
        Weather::Storm => faults.set_random(
            random
                .with(FaultKind::ServerError, 0.05)
                .with(FaultKind::Throttle, 0.03)
                .with(FaultKind::Reset, 0.08)
                .with(FaultKind::AnswerLost, 0.03)
                .with(FaultKind::Cut, 0.08)
                .with(FaultKind::Stall, 0.08),
        ),
    }
}

/// The reads of one wanderer, in order.
fn reads(wanderer: &Wanderer, size: u64, seed: u64) -> Vec<(u64, u64)> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut at = wanderer.from * size / 1000;
    let mut run = 0;
    let mut reads = Vec::new();
    for _ in 0..wanderer.reads {
        let len = wanderer.len;
        reads.push((at, len));
        at = match wanderer.walk {
            Walk::Up => at + len,
            Walk::Down if at == 0 => break,
            Walk::Down => at.saturating_sub(len),
            Walk::Strided(times) => at + len * (1 + times),
            Walk::Runs if run < 5 => at + len,
            Walk::Runs | Walk::Random => random.u64(0..=size),
        };
        run = (run + 1) % 6;
        if at > size {
            break;
        }
    }
    reads
}

/// Reads and compares; what differs is the error.
async fn wander(
    reader: Arc<Reader>,
    file: Arc<File>,
    content: Arc<Vec<u8>>,
    reads: Vec<(u64, u64)>,
) -> Result<(), String> {
    for (offset, len) in reads {
        let end = (offset + len).min(content.len() as u64);
        let bytes = read(&reader, &file, offset, len).await;
        let bytes = bytes.map_err(|error| format!("{offset}+{len}: {error}"))?;
        if bytes != content[offset as usize..end as usize] {
            return Err(format!("{offset}+{len}: other bytes"));
        }
    }
    Ok(())
}

async fn play(scene: &Scene) -> Result<(), TestCaseError> {
    let stack = Stack::new(scene.memory).await;
    let content = Arc::new(content(scene.seed, usize::try_from(scene.size).unwrap()));
    let version = stack.put("x", &content);
    set_weather(&stack, scene.weather, scene.seed);
    let server = Arc::new(stack.server);
    // What stalls goes on some time.
    let helper = Arc::clone(&server);
    let _releases = AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(30)).await;
            helper.faults().release();
        }
    }));
    let shared = stack.reader.open(Arc::clone(&version));
    let mut readers = JoinSet::new();
    for (number, wanderer) in scene.wanderers.iter().enumerate() {
        let file = if wanderer.own {
            stack.reader.open(Arc::clone(&version))
        } else {
            Arc::clone(&shared)
        };
        let reads = reads(wanderer, scene.size, scene.seed ^ number as u64);
        let reader = Arc::clone(&stack.reader);
        readers.spawn(wander(reader, file, Arc::clone(&content), reads));
    }
    while let Some(done) = readers.join_next().await {
        done.unwrap().map_err(TestCaseError::fail)?;
        prop_assert!(stack.budget.leased() <= stack.budget.total());
    }
    drop(shared);
    soon("only cached blocks are leased", || {
        stack.budget.leased() == stack.cache.bytes()
    })
    .await;
    stack.cache.purge(&version);
    soon("nothing is leased", || stack.budget.leased() == 0).await;
    prop_assert_eq!(stack.metrics.read.gets_waiting.get(), 0);
    prop_assert_eq!(stack.metrics.oss.gets_in_flight.get(), 0);
    Ok(())
}

#[test]
fn every_byte_is_right_and_every_lease_comes_back() {
    let runtime = runtime();
    let config = Config {
        cases: 40,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let played = runner.run(&scene(), |scene| runtime.block_on(play(&scene)));
    if let Err(error) = played {
        panic!("{error}");
    }
}

/// With memory for all of it, also before it has proven its worth, and a link without faults.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_block_is_fetched_twice_whoever_reads() {
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let stack = Stack::new(1024 * MIB).await;
        stack
            .server
            .faults()
            .set_first_byte(Duration::from_millis(2));
        let size = random.u64(10 * MIB..30 * MIB);
        let content = Arc::new(content(seed, usize::try_from(size).unwrap()));
        let version = stack.put("x", &content);
        let file = stack.reader.open(Arc::clone(&version));
        let (gets, sent) = (stack.server.stats().get(), stack.server.stats().bytes_sent);
        let mut readers = JoinSet::new();
        let mut exact = 0;
        for number in 0..8 {
            let walks = [Walk::Up, Walk::Up, Walk::Down, Walk::Runs, Walk::Strided(6)];
            let wanderer = Wanderer {
                walk: walks[random.usize(0..walks.len())],
                from: random.u64(0..1000),
                len: [128 << 10, BLOCK][random.usize(0..2)],
                reads: 200,
                own: false,
            };
            let reads = reads(&wanderer, size, seed * 10 + number);
            // What was asked for exactly may come once more with its block.
            let small = reads.iter().filter(|(_, len)| *len < BLOCK / 2);
            exact += match wanderer.walk {
                Walk::Up | Walk::Down => 4 * wanderer.len,
                _ => small.map(|(_, len)| len).sum(),
            };
            let reader = Arc::clone(&stack.reader);
            readers.spawn(wander(
                reader,
                Arc::clone(&file),
                Arc::clone(&content),
                reads,
            ));
        }
        while let Some(done) = readers.join_next().await {
            done.unwrap().unwrap();
        }
        soon("all has come", || {
            stack.metrics.oss.gets_in_flight.get() == 0
        })
        .await;
        assert_eq!(stack.metrics.cache.evictions.get(), 0);
        let (gets, sent) = (
            stack.server.stats().get() - gets,
            stack.server.stats().bytes_sent - sent,
        );
        let bound = size + exact + 1024 * gets;
        assert!(sent <= bound, "seed {seed}: {sent} bytes, at most {bound}");
    }
}

/// All GETs in flight stand still, and the block is one of those behind them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_pulls_its_block_out_of_the_queue() {
    let stack = Stack::new(512 * MIB).await;
    let size = 220 * MIB;
    let content = content(9, usize::try_from(size).unwrap());
    let version = stack.put("x", &content);
    let file = stack.reader.open(Arc::clone(&version));
    let mut at = 0;
    while at < 24 * MIB {
        stack.read(&file, at, BLOCK).await.unwrap();
        at += BLOCK;
    }
    soon("all has come", || {
        stack.metrics.oss.gets_in_flight.get() == 0
    })
    .await;
    let faults = stack.server.faults();
    faults.script(
        u64::MAX,
        Some(Operation::GetObject),
        "x",
        Fault::StallAnswer,
    );
    while stack.metrics.read.gets_waiting.get() == 0 {
        assert!(at < size, "nothing ever waits");
        assert!(
            stack.reader.try_read(&file, at, BLOCK).is_ok(),
            "read ahead of {at}"
        );
        at += BLOCK;
    }
    soon("those in flight stand still", || {
        i64::try_from(faults.stalled()).unwrap() >= stack.metrics.read.gets_target.get()
    })
    .await;
    faults.clear();
    let mut queued = size - BLOCK;
    while !stack.cache.contains(&version, queued / BLOCK) {
        queued -= BLOCK;
    }
    let bytes = stack.read(&file, queued, BLOCK).await.unwrap();
    assert!(bytes == content[queued as usize..(queued + BLOCK) as usize]);
    assert_eq!(stack.metrics.read.promoted.get(), 1);
    assert!(faults.stalled() > 0, "the others stand still yet");
    faults.release();
}
