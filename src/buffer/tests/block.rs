//! Blocks.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::{
    Abandoned, BLOCK_BYTES, Block, BlockWriter, Budget, Class, Failure, Publish, State,
    capacity_for,
};
use super::small_budget;

fn block(budget: &Arc<Budget>, len: usize, publish: Publish) -> (Arc<Block>, BlockWriter) {
    let lease = budget.try_lease(Class::Demand, BLOCK_BYTES as u64).unwrap();
    Block::writer(lease, len, publish)
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Byte `at` of the stress test's content.
fn pattern(seed: u64, at: usize) -> u8 {
    let mixed = (at as u64)
        .wrapping_add(seed)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed.to_be_bytes()[0]
}

#[test]
fn a_block_takes_whole_pages_or_one_mib() {
    let sizes = [
        (0, 4096),
        (1, 4096),
        (4096, 4096),
        (4097, 8192),
        (512 << 10, 512 << 10),
        ((512 << 10) + 1, 1 << 20),
        (1 << 20, 1 << 20),
    ];
    let (budget, _) = small_budget();
    for (len, capacity) in sizes {
        assert_eq!(capacity_for(len), capacity, "{len}");
        let (block, writer) = block(&budget, len, Publish::AsItArrives);
        assert_eq!(budget.leased(), capacity, "the rest of the lease goes back");
        assert_eq!(block.memory_bytes(), capacity);
        drop((block, writer));
        assert_eq!(budget.leased(), 0);
    }
}

#[test]
fn bytes_are_read_as_they_arrive() {
    let (budget, _) = small_budget();
    let (block, mut writer) = block(&budget, 10, Publish::AsItArrives);
    assert_eq!(block.get(0..0), Some(&[][..]));
    assert_eq!(block.get(0..1), None);
    writer.put(b"hello");
    assert_eq!(block.get(1..5), Some(&b"ello"[..]));
    assert_eq!(block.get(1..6), None);
    assert_eq!((block.filled(), writer.remaining()), (5, 5));
    writer.put(b"world");
    assert!(matches!(block.state(), State::Filling));
    writer.finish();
    assert!(matches!(block.state(), State::Whole));
    assert_eq!(block.get(0..10), Some(&b"helloworld"[..]));
}

#[test]
fn bytes_to_be_checked_are_not_read_before_the_end() {
    let (budget, _) = small_budget();
    let (block, mut writer) = block(&budget, 3, Publish::WhenWhole);
    writer.put(b"abc");
    assert_eq!((block.filled(), block.get(0..1)), (0, None));
    writer.finish();
    assert_eq!(block.get(0..3), Some(&b"abc"[..]));
}

#[test]
#[should_panic(expected = "a block has room for 1 more bytes, not for 2")]
fn a_block_is_not_overfilled() {
    let (budget, _) = small_budget();
    let (_block, mut writer) = block(&budget, 3, Publish::AsItArrives);
    writer.put(b"ab");
    writer.put(b"cd");
}

#[test]
#[should_panic(expected = "finished when it is full")]
fn a_block_is_not_finished_before_it_is_full() {
    let (budget, _) = small_budget();
    let (_block, writer) = block(&budget, 3, Publish::AsItArrives);
    writer.finish();
}

#[test]
fn a_waiter_is_woken_once_and_when_its_bytes_are_there() {
    let (budget, _) = small_budget();
    let (block, mut writer) = block(&budget, 100, Publish::AsItArrives);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut context = Context::from_waker(&waker);
    let mut wait = pin!(block.wait(50));
    assert!(wait.as_mut().poll(&mut context).is_pending());
    for _ in 0..4 {
        writer.put(&[0; 10]);
    }
    assert_eq!(bell.0.load(Ordering::SeqCst), 0);
    writer.put(&[0; 10]);
    writer.put(&[0; 10]);
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    assert!(matches!(
        wait.as_mut().poll(&mut context),
        Poll::Ready(Ok(()))
    ));
}

#[tokio::test]
async fn a_failure_reaches_every_waiter_as_its_own_type() {
    #[derive(Debug, PartialEq, thiserror::Error)]
    #[error("the wire broke")]
    struct Broken(u32);

    let (budget, _) = small_budget();
    let (block, mut writer) = block(&budget, 10, Publish::AsItArrives);
    writer.put(b"abc");
    let waiting = tokio::spawn({
        let block = Arc::clone(&block);
        async move { block.wait(10).await }
    });
    tokio::task::yield_now().await;
    writer.fail(Failure::new(Broken(7)));
    let failure = waiting.await.unwrap().unwrap_err();
    assert_eq!(failure.downcast_ref(), Some(&Broken(7)));
    assert_eq!(failure.to_string(), "the wire broke");
    assert!(
        block.wait(3).await.is_ok(),
        "what was published stays readable"
    );
    assert!(block.wait(4).await.is_err());
    assert!(matches!(block.state(), State::Failed(_)));
}

#[tokio::test]
async fn a_dropped_writer_lets_nobody_hang() {
    let (budget, _) = small_budget();
    let (block, writer) = block(&budget, 10, Publish::WhenWhole);
    let waiting = tokio::spawn({
        let block = Arc::clone(&block);
        async move { block.wait(1).await }
    });
    tokio::task::yield_now().await;
    drop(writer);
    let failure = waiting.await.unwrap().unwrap_err();
    assert_eq!(failure.downcast_ref(), Some(&Abandoned));
}

#[test]
fn waits_that_were_dropped_leave_no_trace() {
    let (budget, _) = small_budget();
    let (block, mut writer) = block(&budget, 10, Publish::AsItArrives);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        assert!(pin!(block.wait(5)).poll(&mut context).is_pending());
    }
    assert!(block.waiters() <= 1, "{} waiters", block.waiters());
    writer.put(&[0; 5]);
    assert_eq!(block.waiters(), 0);
}

/// Each waits for the other after every byte, so that a wake-up lost once is a wait without end.
#[test]
fn no_wake_up_is_lost_between_a_writer_and_a_reader() {
    const STEPS: usize = 200_000;

    let (budget, _) = small_budget();
    let (block, mut writer) = block(&budget, STEPS, Publish::AsItArrives);
    let read = Arc::new(AtomicUsize::new(0));
    let writing = std::thread::spawn({
        let read = Arc::clone(&read);
        move || {
            let begun = Instant::now();
            for at in 1..=STEPS {
                // Sooner or later than the reader begins to wait, by some nanoseconds.
                for _ in 0..at % 128 {
                    std::hint::spin_loop();
                }
                writer.put(&[0]);
                while read.load(Ordering::SeqCst) < at {
                    if begun.elapsed() > Duration::from_secs(60) {
                        // Dropping the writer ends the reader's wait with a failure.
                        panic!("stuck at {at}");
                    }
                    std::thread::yield_now();
                }
            }
            writer.finish();
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        for at in 1..=STEPS {
            block.wait(at).await.unwrap();
            read.store(at, Ordering::SeqCst);
        }
    });
    writing.join().unwrap();
}

#[test]
fn idle_memory_and_leases_stay_within_the_budget() {
    let (budget, _) = small_budget();
    let mut large: Vec<_> = (0..16)
        .map(|_| block(&budget, BLOCK_BYTES, Publish::AsItArrives))
        .collect();
    assert_eq!(
        budget.pool().used_bytes(),
        0,
        "memory comes with the first byte"
    );
    for (_, writer) in &mut large {
        writer.put(&[0]);
    }
    assert_eq!(budget.pool().idle_bytes(), 0);
    drop(large);
    assert_eq!(budget.pool().idle_bytes(), budget.total());
    let mut small = Vec::new();
    while let Some(lease) = budget.try_lease(Class::Demand, 512 << 10) {
        let (block, mut writer) = Block::writer(lease, 512 << 10, Publish::AsItArrives);
        writer.put(&[0]);
        small.push((block, writer));
        assert!(budget.pool().idle_bytes() + budget.leased() <= budget.total());
    }
    assert_eq!(budget.pool().idle_bytes(), 0);
}

/// One writer thread, and readers that check every byte below the watermark they have waited for.
#[test]
fn readers_see_every_byte_of_a_block_that_fills() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .unwrap();
    let (budget, _) = small_budget();
    runtime.block_on(async {
        for seed in 0..40 {
            // Recycled memory holds the bytes of the round before: a read above the watermark would show.
            let len = match seed % 4 {
                0 => 100_000,
                _ => BLOCK_BYTES - usize::try_from(seed).unwrap(),
            };
            let (block, mut writer) = block(&budget, len, Publish::AsItArrives);
            let mut readers = tokio::task::JoinSet::new();
            for reader in 0..4 {
                let block = Arc::clone(&block);
                readers.spawn(async move {
                    let mut random = fastrand::Rng::with_seed(seed * 10 + reader);
                    let mut from = 0;
                    while from < block.len() {
                        let upto = (from + random.usize(1..70_000)).min(block.len());
                        block.wait(upto).await.unwrap();
                        let bytes = block.get(from..upto).unwrap();
                        for (at, &byte) in (from..upto).zip(bytes) {
                            assert_eq!(byte, pattern(seed, at), "byte {at} of {seed}");
                        }
                        from = upto;
                    }
                });
            }
            let writing = std::thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut at = 0;
                while writer.remaining() > 0 {
                    let next = at + random.usize(1..40_000).min(writer.remaining());
                    let bytes: Vec<u8> = (at..next).map(|at| pattern(seed, at)).collect();
                    writer.put(&bytes);
                    at = next;
                }
                writer.finish();
            });
            while let Some(read) = readers.join_next().await {
                read.unwrap();
            }
            writing.join().unwrap();
        }
    });
    assert_eq!(budget.leased(), 0);
}

proptest! {
    /// Against a `Vec` that knows how much of it may be seen.
    #[test]
    fn a_block_reads_like_a_vector(
        len in 0..20_000_usize,
        puts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5_000), 0..8),
        publish in prop::sample::select(&[Publish::AsItArrives, Publish::WhenWhole][..]),
        ranges in prop::collection::vec((0..20_000_usize, 0..20_000_usize), 1..10),
    ) {
        let (budget, _) = small_budget();
        let (block, mut writer) = block(&budget, len, publish);
        let mut twin = Vec::new();
        let mut seen = 0;
        for mut bytes in puts {
            bytes.truncate(writer.remaining());
            writer.put(&bytes);
            twin.extend(bytes);
            if publish == Publish::AsItArrives {
                seen = twin.len();
            }
            for &(start, end) in &ranges {
                let expected = if start <= end { twin[..seen].get(start..end) } else { None };
                prop_assert_eq!(block.get(start..end), expected);
            }
        }
        let is_full = writer.remaining() == 0;
        if is_full {
            writer.finish();
            prop_assert_eq!(block.get(0..len), Some(&twin[..]));
        } else {
            drop(writer);
            prop_assert_eq!(block.filled(), seen);
        }
    }
}
