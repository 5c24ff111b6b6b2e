//! Reading against a development server, without a kernel: every answer is compared with the content itself.

use std::sync::Arc;
use std::time::Duration;

use rolefs::buffer::{BLOCK_BYTES, MEMORY_BYTES_MIN};
use rolefs::dev_server::{Fault, FaultKind, Operation, RandomFaults};
use rolefs::oss::Kind;
use rolefs::read::{Error, File, Reader};
use tokio::task::JoinSet;

use crate::harness::{BUCKET, content};
use crate::stack::{Stack, read, soon};

const MIB: u64 = 1 << 20;
const BLOCK: u64 = BLOCK_BYTES as u64;

/// How one reader goes through a file.
#[derive(Debug, Clone, Copy)]
enum Walk {
    Forward,
    Backward,
    Strided,
    Random,
}

impl Walk {
    const ALL: [Self; 4] = [Self::Forward, Self::Backward, Self::Strided, Self::Random];

    /// The next READ after one at `at`.
    fn next(self, random: &mut fastrand::Rng, at: u64, size: u64) -> (u64, u64) {
        let len = match random.u8(0..4) {
            0 => random.u64(1..=8192),
            1 => 128 << 10,
            2 => random.u64(1..=BLOCK),
            _ => BLOCK,
        };
        let offset = match self {
            Self::Forward => at,
            Self::Backward => at.saturating_sub(2 * len),
            Self::Strided => at + 3 * len,
            Self::Random => random.u64(0..=size),
        };
        (if offset > size { 0 } else { offset }, len)
    }
}

/// A size near an edge of a block, or anything.
fn size(random: &mut fastrand::Rng) -> u64 {
    let blocks = random.u64(0..20);
    match random.u8(0..4) {
        0 => random.u64(0..=20 * MIB),
        1 => blocks * BLOCK,
        2 => blocks * BLOCK + random.u64(1..=4096),
        _ => (blocks + 1) * BLOCK - random.u64(1..=4096),
    }
}

/// Reads as `walk` says, comparing; lets some READs go half-way, and opens the file anew now and then.
async fn wander(
    reader: Arc<Reader>,
    mut file: Arc<File>,
    content: Arc<Vec<u8>>,
    walk: Walk,
    seed: u64,
) {
    let mut random = fastrand::Rng::with_seed(seed);
    let size = content.len() as u64;
    let mut at = random.u64(0..=size);
    for _ in 0..40 {
        let (offset, len) = walk.next(&mut random, at, size);
        let end = (offset + len).min(size);
        at = end;
        let reading = read(&reader, &file, offset, len);
        if random.u8(0..6) == 0 {
            let patience = Duration::from_micros(random.u64(0..2000));
            // Dropped half-way, or done: either is fine.
            let _ = tokio::time::timeout(patience, reading).await;
            continue;
        }
        let bytes = reading
            .await
            .unwrap_or_else(|error| panic!("{walk:?} {offset}+{len}, seed {seed}: {error}"));
        let range = usize::try_from(offset).unwrap()..usize::try_from(end).unwrap();
        assert!(
            bytes == content[range],
            "{walk:?} {offset}+{len}, seed {seed}: other bytes"
        );
        if random.u8(0..12) == 0 {
            file = reader.open(Arc::clone(file.version()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_the_content_whatever_goes_wrong() {
    for seed in 0..14 {
        let mut random = fastrand::Rng::with_seed(seed);
        let stack = Stack::new(random.u64(MEMORY_BYTES_MIN..64 * MIB)).await;
        let content = Arc::new(content(seed, usize::try_from(size(&mut random)).unwrap()));
        let version = stack.put("x", &content);
        if seed % 2 == 1 {
            let faults = RandomFaults::default()
                .with_seed(seed)
                .with(FaultKind::ServerError, 0.05)
                .with(FaultKind::Throttle, 0.05)
                .with(FaultKind::Reset, 0.05)
                .with(FaultKind::AnswerLost, 0.03)
                .with(FaultKind::Cut, 0.1);
            stack.server.faults().set_random(faults);
        }
        let shared = stack.reader.open(Arc::clone(&version));
        let mut readers = JoinSet::new();
        for number in 0..random.u64(1..8) {
            let file = if random.bool() {
                Arc::clone(&shared)
            } else {
                stack.reader.open(Arc::clone(&version))
            };
            readers.spawn(wander(
                Arc::clone(&stack.reader),
                file,
                Arc::clone(&content),
                Walk::ALL[random.usize(0..Walk::ALL.len())],
                seed * 100 + number,
            ));
        }
        while let Some(read) = readers.join_next().await {
            read.unwrap();
            assert!(stack.budget.leased() <= stack.budget.total());
        }
        drop(shared);
        stack.nothing_is_leaked(&[version]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_about_range_and_version_are_never_served() {
    let stack = Stack::new(64 * MIB).await;
    let content = content(1, 9 << 20);
    let version = stack.put("x", &content);
    for fault in [
        Fault::IgnoreRange,
        Fault::WrongContentRange,
        Fault::WrongETag,
    ] {
        stack
            .server
            .faults()
            .script(2, Some(Operation::GetObject), "x", fault);
        let file = stack.reader.open(Arc::clone(&version));
        for offset in (0..content.len() as u64).step_by(300 << 10) {
            let at = usize::try_from(offset).unwrap();
            match stack.read(&file, offset, 300 << 10).await {
                Ok(bytes) => assert!(bytes == content[at..(at + (300 << 10)).min(content.len())]),
                // A server that insists on another ETag has replaced the object, as far as anybody can know.
                Err(Error::Oss(error)) => {
                    assert!(matches!(error.kind(), Kind::Changed), "{error}");
                }
                Err(error) => panic!("{error}"),
            }
        }
        stack.server.faults().clear();
        stack.cache.purge(&version);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_object_is_an_error_never_other_bytes() {
    let stack = Stack::new(32 * MIB).await;
    for round in 0..10 {
        let old = Arc::new(content(round, 12 << 20));
        let version = stack.put("x", &old);
        let before = stack.server.stats().get();
        let mut readers = JoinSet::new();
        for number in 0..4 {
            let file = stack.reader.open(Arc::clone(&version));
            let (reader, old) = (Arc::clone(&stack.reader), Arc::clone(&old));
            readers.spawn(async move {
                let mut random = fastrand::Rng::with_seed(round * 10 + number);
                let mut failed = 0;
                for step in 0..96_usize {
                    let at = if number % 2 == 0 {
                        step << 17
                    } else {
                        random.usize(0..12 << 20)
                    };
                    match read(&reader, &file, at as u64, 128 << 10).await {
                        Ok(bytes) => assert!(bytes == old[at..(at + (128 << 10)).min(old.len())]),
                        Err(Error::Oss(error)) if matches!(error.kind(), Kind::Changed) => {
                            failed += 1;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                failed
            });
        }
        soon("reading has begun", || {
            stack.server.stats().get() > before + round % 4
        })
        .await;
        stack.put("x", &content(1000 + round, 12 << 20));
        while let Some(failed) = readers.join_next().await {
            failed.unwrap();
        }
        stack.nothing_is_leaked(&[version]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_replaced_object_nothing_is_asked_for_again() {
    let stack = Stack::new(32 * MIB).await;
    let old = content(1, 4 << 20);
    let version = stack.put("x", &old);
    let file = stack.reader.open(Arc::clone(&version));
    let first = || stack.read(&file, 0, 1 << 20);
    assert!(first().await.unwrap() == old[..1 << 20]);
    stack.put("x", &content(2, 4 << 20));
    let is_changed = |read: Result<Vec<u8>, Error>| match read {
        Err(Error::Oss(error)) => assert!(matches!(error.kind(), Kind::Changed), "{error}"),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("bytes of a version that is gone"),
    };
    stack.cache.purge(&version);
    is_changed(stack.read(&file, 3 << 20, 1000).await);
    let before = stack.server.stats().get();
    for at in 0..100 {
        is_changed(stack.read(&file, at * 40_000, 1000).await);
    }
    assert_eq!(stack.server.stats().get(), before);
    // Who opens it anew asks anew.
    let again = stack.reader.open(version);
    is_changed(stack.read(&again, 0, 1000).await);
    assert_eq!(stack.server.stats().get(), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_fetched_twice() {
    let content = Arc::new(content(2, 32 << 20));
    for whole in [true, false] {
        let stack = Stack::new(256 * MIB).await;
        let version = stack.put("x", &content);
        let file = stack.reader.open(Arc::clone(&version));
        let before = stack.server.stats().bytes_sent;
        let mut readers = JoinSet::new();
        for number in 0..8_usize {
            let (reader, file) = (Arc::clone(&stack.reader), Arc::clone(&file));
            let content = Arc::clone(&content);
            readers.spawn(async move {
                let part = content.len() / 8;
                let range = if whole {
                    0..content.len()
                } else {
                    number * part..(number + 1) * part
                };
                for at in range.step_by(64 << 10) {
                    let bytes = read(&reader, &file, at as u64, 64 << 10).await.unwrap();
                    assert!(bytes == content[at..at + (64 << 10)]);
                }
            });
        }
        while let Some(done) = readers.join_next().await {
            done.unwrap();
        }
        let sent = stack.server.stats().bytes_sent - before;
        let bound = content.len() as u64 * 102 / 100;
        assert!(
            sent <= bound,
            "{sent} bytes for {}, whole: {whole}",
            content.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_file_is_one_get() {
    let stack = Stack::new(MEMORY_BYTES_MIN).await;
    for len in [1, 4096, BLOCK_BYTES - 1, BLOCK_BYTES] {
        let content = content(3, len);
        let version = stack.put("x", &content);
        let before = stack.server.stats().get();
        let file = stack.reader.open(version);
        let step = len.div_ceil(7);
        for at in (0..len).step_by(step).rev() {
            let bytes = stack.read(&file, at as u64, step as u64).await.unwrap();
            assert!(bytes == content[at..(at + step).min(len)]);
        }
        assert_eq!(stack.server.stats().get() - before, 1, "{len} bytes");
    }
    let empty = stack.reader.open(stack.put("empty", b""));
    assert_eq!(stack.read(&empty, 0, 4096).await.unwrap(), b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_straddling_readers_live_with_the_least_memory() {
    let stack = Stack::new(MEMORY_BYTES_MIN).await;
    let content = Arc::new(content(4, 40 << 20));
    let version = stack.put("x", &content);
    let shared = stack.reader.open(Arc::clone(&version));
    let mut readers = JoinSet::new();
    for number in 0..32 {
        let file = if number % 2 == 0 {
            Arc::clone(&shared)
        } else {
            stack.reader.open(Arc::clone(&version))
        };
        let (reader, content) = (Arc::clone(&stack.reader), Arc::clone(&content));
        readers.spawn(async move {
            let mut random = fastrand::Rng::with_seed(number);
            let mut at = random.usize(1..30 << 20);
            for _ in 0..8 {
                let bytes = read(&reader, &file, at as u64, BLOCK).await.unwrap();
                assert!(bytes == content[at..at + BLOCK_BYTES]);
                at = if number % 3 == 0 {
                    at + BLOCK_BYTES
                } else {
                    random.usize(1..38 << 20)
                };
            }
        });
    }
    while let Some(done) = readers.join_next().await {
        done.unwrap();
    }
    drop(shared);
    stack.nothing_is_leaked(&[version]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_object_that_arrives_wrong_is_fetched_again() {
    let stack = Stack::new(MEMORY_BYTES_MIN).await;
    let content = content(5, 300_000);
    let version = stack.put("x", &content);
    let flip = Fault::FlipByte { at: 77 };
    let faults = stack.server.faults();
    faults.script(2, Some(Operation::GetObject), "x", flip);
    let file = stack.reader.open(Arc::clone(&version));
    assert!(stack.read(&file, 0, 300_000).await.unwrap() == content);
    assert_eq!(stack.server.stats().get(), 3);

    stack.cache.purge(&version);
    faults.script(3, Some(Operation::GetObject), "x", flip);
    let wrong = stack.read(&file, 0, 300_000).await.map(|_| "bytes");
    assert!(matches!(wrong, Err(Error::Corrupt { .. })), "{wrong:?}");
    assert!(stack.read(&file, 0, 300_000).await.unwrap() == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_that_arrives_wrong_is_found_out_and_forgotten() {
    let stack = Stack::new(64 * MIB).await;
    let content = content(6, 6 << 20);
    let version = stack.put("x", &content);
    let flip = Fault::FlipByte { at: 77 };
    stack
        .server
        .faults()
        .script(1, Some(Operation::GetObject), "x", flip);
    let file = stack.reader.open(Arc::clone(&version));
    for at in (0..content.len() as u64).step_by(1 << 17) {
        let _ = stack.read(&file, at, 1 << 17).await;
    }
    soon("the checksum is compared", || {
        stack.metrics.read.checksum_failures.get() == 1
    })
    .await;
    let wrong = stack.read(&file, 0, 4096).await.map(|_| "bytes");
    assert!(matches!(wrong, Err(Error::Corrupt { .. })), "{wrong:?}");
    soon("the cached bytes are dropped", || stack.cache.bytes() == 0).await;

    let again = stack.reader.open(Arc::clone(&version));
    for at in (0..content.len()).step_by(1 << 17) {
        let bytes = stack.read(&again, at as u64, 1 << 17).await.unwrap();
        assert!(bytes == content[at..at + (1 << 17)]);
    }
}

/// Its blocks were another file's to fill, which was closed before they came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_survives_that_another_closes_his_file() {
    let stack = Stack::new(64 * MIB).await;
    let content = content(7, 4 << 20);
    let version = stack.put("x", &content);
    let stall = Fault::StallBody { after: 1000 };
    let faults = stack.server.faults();
    faults.script(8, Some(Operation::GetObject), "x", stall);
    for offset in [0, 500_000] {
        let first = stack.reader.open(Arc::clone(&version));
        let reader = Arc::clone(&stack.reader);
        let reading = tokio::spawn(async move { read(&reader, &first, 0, 100_000).await });
        soon("the first waits for a body", || faults.stalled() > 0).await;
        let hits = stack.metrics.cache.hits.get();
        let reader = Arc::clone(&stack.reader);
        let second = stack.reader.open(Arc::clone(&version));
        let waiting = tokio::spawn(async move { read(&reader, &second, offset, 100_000).await });
        soon("the second waits for the same block", || {
            stack.metrics.cache.hits.get() >= hits + 2
        })
        .await;
        faults.clear();
        reading.abort();
        assert!(reading.await.unwrap_err().is_cancelled());
        let at = usize::try_from(offset).unwrap();
        assert!(waiting.await.unwrap().unwrap() == content[at..at + 100_000]);
        stack.cache.purge(&version);
        faults.script(8, Some(Operation::GetObject), "x", stall);
    }
    assert_eq!(
        stack.server.get(BUCKET, "x").map(|bytes| bytes.len()),
        Some(4 << 20)
    );
}
