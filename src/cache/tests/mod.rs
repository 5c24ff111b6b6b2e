//! The cache under a real budget.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(
    clippy::single_range_in_vec_init,
    reason = "a list of one run is what is meant"
)]

mod twin;

use std::sync::Arc;
use std::time::Duration;

use super::{BlockCache, Origin, block_len};
use crate::buffer::{
    BLOCK_BYTES, Block, BlockWriter, Budget, Class, Failure, MEMORY_BYTES_MIN, Publish,
    capacity_for,
};
use crate::metrics::Metrics;
use crate::object::{ETag, ObjectKey, Version};

const BLOCK: u64 = BLOCK_BYTES as u64;

fn version(name: &str, size: u64) -> Arc<Version> {
    Version::new(ObjectKey::new(name).unwrap(), ETag::new("1"), size)
}

/// A cache on the smallest budget, 16 blocks; 10 for read-ahead.
fn cache() -> (Arc<BlockCache>, Arc<Budget>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let budget = Budget::new(MEMORY_BYTES_MIN, Arc::clone(&metrics));
    let cache = BlockCache::new(&budget, Arc::clone(&metrics));
    (cache, budget, metrics)
}

fn filling(budget: &Arc<Budget>, class: Class, len: usize) -> (Arc<Block>, BlockWriter) {
    let lease = budget.try_lease(class, capacity_for(len)).unwrap();
    Block::writer(lease, len, Publish::AsItArrives)
}

fn fill(mut writer: BlockWriter) {
    writer.put(&vec![0; writer.remaining()]);
    writer.finish();
}

/// Puts a whole block in.
fn put(cache: &BlockCache, version: &Arc<Version>, index: u64, origin: Origin) {
    let class = match origin {
        Origin::Demand => Class::Demand,
        Origin::Ahead => Class::ReadAhead,
    };
    let len = block_len(version, index).unwrap();
    let (block, writer) = filling(&cache.budget, class, len);
    assert!(cache.insert(version, index, block, origin).is_ok());
    fill(writer);
}

#[test]
fn an_object_is_cut_into_blocks_of_which_the_last_is_short() {
    let sizes = [
        (0, 0, Some(0)),
        (0, 1, None),
        (1, 0, Some(1)),
        (1, 1, None),
        (BLOCK, 0, Some(BLOCK_BYTES)),
        (BLOCK, 1, None),
        (BLOCK + 1, 1, Some(1)),
        (u64::MAX, 1, Some(BLOCK_BYTES)),
        (u64::MAX, u64::MAX, None),
    ];
    for (size, index, len) in sizes {
        assert_eq!(block_len(&version("a", size), index), len, "{size} {index}");
    }
}

#[test]
fn the_second_to_fetch_a_block_gets_the_first_ones() {
    let (cache, budget, metrics) = cache();
    let version = version("a", 10);
    assert!(cache.get(&version, 0).is_none());
    let (first, mut writer) = filling(&budget, Class::Demand, 10);
    assert!(
        cache
            .insert(&version, 0, Arc::clone(&first), Origin::Demand)
            .is_ok()
    );
    let (second, _writer) = filling(&budget, Class::Demand, 10);
    let existing = cache.insert(&version, 0, second, Origin::Demand);
    assert!(Arc::ptr_eq(&existing.unwrap_err(), &first));
    writer.put(b"abc");
    let found = cache.get(&version, 0).unwrap();
    assert_eq!(found.get(0..3), Some(&b"abc"[..]));
    assert_eq!(metrics.cache.hits.get(), 1);
    assert_eq!(metrics.cache.misses.get(), 1);
}

#[test]
fn a_failed_block_is_a_miss_and_makes_room_for_another_try() {
    let (cache, budget, _) = cache();
    let version = version("a", 2 * BLOCK);
    for index in 0..2 {
        let (block, writer) = filling(&budget, Class::Demand, BLOCK_BYTES);
        assert!(cache.insert(&version, index, block, Origin::Ahead).is_ok());
        writer.fail(Failure::new(std::fmt::Error));
    }
    assert!(!cache.contains(&version, 1));
    assert_eq!(cache.missing(&version, 0..2), [0..2]);
    assert!(cache.get(&version, 0).is_none());
    assert_eq!(budget.leased(), BLOCK, "the other one is still there");
    put(&cache, &version, 1, Origin::Demand);
    assert!(cache.get(&version, 1).is_some());
    assert_eq!((cache.bytes(), budget.leased()), (BLOCK, BLOCK));
}

#[test]
fn missing_blocks_are_told_in_runs() {
    let (cache, _, _) = cache();
    let version = version("a", 8 * BLOCK);
    assert_eq!(cache.missing(&version, 2..5), [2..5]);
    for index in [0, 3, 4, 6] {
        put(&cache, &version, index, Origin::Ahead);
    }
    assert_eq!(cache.missing(&version, 0..8), [1..3, 5..6, 7..8]);
    assert_eq!(cache.missing(&version, 3..5), []);
    assert_eq!(cache.missing(&version, 4..4), []);
}

#[test]
fn memory_is_reused_by_the_least_recently_used_block() {
    let (cache, budget, metrics) = cache();
    let version = version("a", 100 * BLOCK);
    for index in 0..16 {
        put(&cache, &version, index, Origin::Demand);
    }
    assert_eq!(budget.leased(), budget.total());
    assert!(cache.get(&version, 0).is_some());
    put(&cache, &version, 16, Origin::Demand);
    assert!(cache.contains(&version, 0) && !cache.contains(&version, 1));
    assert_eq!(metrics.cache.evictions.get(), 1);
    assert_eq!(metrics.cache.bytes.get(), 16 * BLOCK as i64);
    assert_eq!(budget.leased(), budget.total());
}

#[test]
fn one_lease_may_take_the_place_of_many_small_blocks() {
    let (cache, budget, metrics) = cache();
    for at in 0..budget.total() >> 12 {
        put(&cache, &version(&at.to_string(), 4096), 0, Origin::Demand);
    }
    assert_eq!(budget.leased(), budget.total());
    let lease = budget.try_lease(Class::Demand, 2 * BLOCK);
    assert!(lease.is_some());
    assert_eq!(metrics.cache.evictions.get(), (2 * BLOCK) >> 12);
    assert_eq!(cache.bytes(), budget.total() - 2 * BLOCK);
}

#[test]
fn blocks_that_fill_or_are_held_outlive_those_that_nobody_needs() {
    let (cache, budget, _) = cache();
    let version = version("a", 100 * BLOCK);
    let (block, writer) = filling(&budget, Class::Demand, BLOCK_BYTES);
    assert!(cache.insert(&version, 0, block, Origin::Demand).is_ok());
    for index in 1..16 {
        put(&cache, &version, index, Origin::Demand);
    }
    let held = cache.get(&version, 1).unwrap();
    // Uses that make the held block an old one.
    for index in 2..16 {
        assert!(cache.get(&version, index).is_some());
    }
    for index in 16..25 {
        put(&cache, &version, index, Origin::Demand);
    }
    assert!(cache.contains(&version, 0) && cache.contains(&version, 1));
    drop((held, writer));
}

#[tokio::test]
async fn a_waiter_gets_its_lease_when_the_last_reader_lets_go() {
    let (cache, budget, _) = cache();
    let version = version("a", 100 * BLOCK);
    for index in 0..16 {
        put(&cache, &version, index, Origin::Demand);
    }
    let mut held: Vec<_> = (0..16)
        .map(|index| cache.get(&version, index).unwrap())
        .collect();
    let waiting = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { budget.lease(Class::Demand, BLOCK).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    let evicted: Vec<u64> = (0..16)
        .filter(|&index| !cache.contains(&version, index))
        .collect();
    assert_eq!(evicted, [0], "no more than needed is forgotten");
    held.remove(0);
    let lease = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    assert_eq!(lease.unwrap().unwrap().bytes(), BLOCK);
}

#[tokio::test]
async fn a_waiter_gets_its_lease_when_a_block_has_filled() {
    let (cache, budget, _) = cache();
    let version = version("a", 100 * BLOCK);
    let mut writers: Vec<_> = (0..16)
        .map(|index| {
            let (block, writer) = filling(&budget, Class::Demand, BLOCK_BYTES);
            assert!(cache.insert(&version, index, block, Origin::Demand).is_ok());
            writer
        })
        .collect();
    let waiting = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { budget.lease(Class::Demand, BLOCK).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    fill(writers.remove(3));
    let lease = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    assert_eq!(lease.unwrap().unwrap().bytes(), BLOCK);
    assert!(!cache.contains(&version, 3));
}

#[tokio::test]
async fn read_ahead_takes_nothing_that_is_still_to_be_read() {
    let (cache, budget, _) = cache();
    let version = version("a", 100 * BLOCK);
    for index in 0..10 {
        put(&cache, &version, index, Origin::Ahead);
    }
    assert!(budget.try_lease(Class::ReadAhead, BLOCK).is_none());
    assert_eq!(cache.missing(&version, 0..10), []);
    // Blocks become reclaimable by being read, but for the last two, which may not have been read to their end.
    let waiting = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { budget.lease(Class::ReadAhead, BLOCK).await }
    });
    for index in [4, 5] {
        drop(cache.get(&version, index));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
    }
    drop(cache.get(&version, 6));
    let lease = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    drop(lease.unwrap().unwrap());
    assert_eq!(cache.missing(&version, 0..10), [4..5]);
    // Demand may take any of them.
    let _demand: Vec<_> = (0..4)
        .map(|_| budget.try_lease(Class::Demand, 2 * BLOCK).unwrap())
        .collect();
    assert_eq!(cache.missing(&version, 0..10), [0..1, 4..5]);
}

#[test]
fn read_ahead_comes_back_after_a_reader_has_gone_away() {
    let (cache, budget, _) = cache();
    let gone = version("gone", 100 * BLOCK);
    let version = version("a", 100 * BLOCK);
    for index in 0..10 {
        put(&cache, &gone, index, Origin::Ahead);
    }
    assert!(budget.try_lease(Class::ReadAhead, BLOCK).is_none());
    // Nine blocks came after the first; with seven more, as many bytes as the budget has.
    for _ in 0..7 {
        put(&cache, &version, 0, Origin::Demand);
        cache.purge(&version);
    }
    assert!(budget.try_lease(Class::ReadAhead, BLOCK).is_none());
    put(&cache, &version, 0, Origin::Demand);
    cache.purge(&version);
    assert!(budget.try_lease(Class::ReadAhead, BLOCK).is_some());
    assert_eq!(cache.missing(&gone, 0..10), [0..1]);
}

#[test]
fn a_purged_version_is_gone_and_its_readers_keep_theirs() {
    let (cache, budget, metrics) = cache();
    let (bad, good) = (version("bad", 4 * BLOCK), version("good", 4 * BLOCK));
    for index in 0..4 {
        put(&cache, &bad, index, Origin::Ahead);
        put(&cache, &good, index, Origin::Demand);
    }
    let held = cache.get(&bad, 2).unwrap();
    cache.purge(&bad);
    assert_eq!(cache.missing(&bad, 0..4), [0..4]);
    assert_eq!(cache.missing(&good, 0..4), []);
    assert_eq!((cache.bytes(), budget.leased()), (4 * BLOCK, 5 * BLOCK));
    assert_eq!(held.get(0..3), Some(&[0; 3][..]));
    drop(held);
    assert_eq!(budget.leased(), 4 * BLOCK);
    assert_eq!(metrics.cache.evictions.get(), 0);
}

/// Readers, fetchers and purges on several threads: bytes stay right, and everyone comes to an end.
#[test]
fn many_readers_share_a_cache_smaller_than_what_they_read() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    let (cache, budget, metrics) = cache();
    let versions: Arc<Vec<_>> = Arc::new(
        (0..4)
            .map(|at| version(&at.to_string(), 10 * BLOCK))
            .collect(),
    );
    let work = async {
        let mut tasks = tokio::task::JoinSet::new();
        for seed in 0..16 {
            let (cache, versions) = (Arc::clone(&cache), Arc::clone(&versions));
            tasks.spawn(async move {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..200 {
                    let at = random.usize(..4);
                    let index = random.u64(..10);
                    let block = read(&cache, &versions[at], index).await;
                    let mark = mark(&versions[at], index);
                    assert!(
                        block
                            .get(0..BLOCK_BYTES)
                            .unwrap()
                            .iter()
                            .all(|&byte| byte == mark)
                    );
                    if random.u8(..50) == 0 {
                        cache.purge(&versions[at]);
                    }
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    };
    let ended =
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), work).await });
    assert!(ended.is_ok(), "{budget:?} {cache:?} is stuck");
    assert_eq!(budget.leased(), cache.bytes());
    assert!(metrics.cache.evictions.get() > 0);
    drop(cache);
    assert_eq!(budget.leased(), 0);
}

/// What every byte of a block holds in the test above.
fn mark(version: &Version, index: u64) -> u8 {
    let name: u8 = version.key().as_str().parse().unwrap();
    name << 4 | u8::try_from(index).unwrap()
}

/// A reader as it is meant to be: it leases first, then looks again, and holds nothing while it waits for a lease.
async fn read(cache: &BlockCache, version: &Arc<Version>, index: u64) -> Arc<Block> {
    let block = match cache.get(version, index) {
        Some(block) => block,
        None => {
            let lease = cache.budget.lease(Class::Demand, BLOCK).await;
            let (block, mut writer) = Block::writer(lease, BLOCK_BYTES, Publish::AsItArrives);
            match cache.insert(version, index, Arc::clone(&block), Origin::Demand) {
                Ok(()) => {
                    let mark = mark(version, index);
                    for _ in 0..16 {
                        writer.put(&[mark; BLOCK_BYTES / 16]);
                        tokio::task::yield_now().await;
                    }
                    writer.finish();
                    block
                }
                Err(existing) => existing,
            }
        }
    };
    block.wait(BLOCK_BYTES).await.unwrap();
    block
}
