//! Small files against a development server, without a kernel: how many requests they cost, and that what is fetched ahead is
//! never old and never mixed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rolefs::fs::{Error, FileSystem, Found, Room};
use rolefs::op::Op;
use rolefs::tree::Ino;

use crate::harness::{BUCKET, content};
use crate::stack::{Stack, soon};

const MEMORY: u64 = 64 << 20;
const BYTES: usize = 10_000;
const SHORT_TTL: Duration = Duration::from_millis(150);
const TTL: Duration = Duration::from_secs(1);

/// Contents of a file, each with the moment at which the next one was there.
type Contents = Vec<(Vec<u8>, Option<Instant>)>;

fn op() -> Op {
    Op::background("test")
}

fn name(number: usize) -> String {
    format!("{number:04}.bin")
}

fn bytes_of(number: usize) -> Vec<u8> {
    content(number as u64, BYTES + number)
}

/// A server with so many small objects in `d/`, and a file system over it.
async fn data_set(files: usize, attr_ttl: Duration) -> (Stack, Arc<FileSystem>) {
    let stack = Stack::new(MEMORY).await;
    for number in 0..files {
        stack.put(&format!("d/{}", name(number)), &bytes_of(number));
    }
    let (fs, _) = stack.file_system(attr_ttl, 100_000).await;
    (stack, fs)
}

/// What the kernel does for a path component; what it is given it forgets at once.
async fn lookup(fs: &Arc<FileSystem>, parent: Ino, name: &str) -> Result<Option<Ino>, Error> {
    let found = match fs.lookup_known(parent, name) {
        Some(known) => known?,
        None => fs.lookup(&op(), parent, name).await?,
    };
    Ok(match found {
        Found::Entry(entry) => Some(entry.attributes().ino),
        Found::Nothing(_) => None,
    })
}

/// Opens and reads a file whole, as often as it is told that the name has moved on; `None` if there is none.
async fn read(fs: &Arc<FileSystem>, parent: Ino, name: &str) -> Option<Vec<u8>> {
    for _ in 0..100 {
        let ino = lookup(fs, parent, name).await.unwrap()?;
        let opened = match fs.open_known(ino) {
            Some(known) => known,
            None => fs.open(&op(), ino).await,
        };
        let Ok(rolefs::fs::Opened { handle, .. }) = opened else {
            continue;
        };
        let served = match fs.try_read(handle, 0, 1 << 20).unwrap() {
            Ok(served) => Ok(served),
            Err(pending) => fs.read(&op(), pending).await,
        };
        fs.release(handle);
        match served {
            Ok(served) => return Some(served.with(<[u8]>::to_vec)),
            Err(Error::Stale(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("{name} moves on for ever");
}

async fn directory(fs: &Arc<FileSystem>) -> Ino {
    lookup(fs, Ino::ROOT, "d").await.unwrap().unwrap()
}

/// Reads a directory to its end.
async fn list(fs: &Arc<FileSystem>, ino: Ino) {
    let handle = fs.opendir(ino).unwrap();
    let mut cookie = 0;
    loop {
        let before = cookie;
        let view = fs.readdir(&op(), handle, cookie).await.unwrap();
        view.fill(|entry| {
            cookie = entry.cookie;
            Room::More
        });
        if cookie == before {
            break;
        }
    }
    fs.releasedir(handle);
}

/// Reads all files by so many tasks, in the order given, and compares them.
async fn read_all(fs: &Arc<FileSystem>, parent: Ino, order: Vec<usize>, tasks: usize) {
    let (order, next) = (Arc::new(order), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (fs, order, next) = (Arc::clone(fs), Arc::clone(&order), Arc::clone(&next));
            tokio::spawn(async move {
                while let Some(&number) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let bytes = read(&fs, parent, &name(number)).await;
                    assert!(bytes.unwrap() == bytes_of(number), "{number} is another");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

fn shuffled(files: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..files).collect();
    fastrand::Rng::with_seed(7).shuffle(&mut order);
    order
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_data_set_costs_one_get_a_file_in_any_order() {
    const FILES: usize = 1500;
    for (order, tasks) in [
        (shuffled(FILES), 16),
        (shuffled(FILES), 1),
        ((0..FILES).collect(), 16),
        ((0..FILES).collect(), 1),
    ] {
        let (stack, fs) = data_set(FILES, TTL).await;
        let before = stack.server.stats();
        let parent = directory(&fs).await;
        read_all(&fs, parent, order, tasks).await;
        let after = stack.server.stats();
        let gets = after.get() - before.get();
        assert_eq!(gets, FILES as u64, "with {tasks} tasks");
        let others = (after.head() - before.head()) + (after.list() - before.list());
        assert!(
            others <= 150,
            "{others} beside the GETs, with {tasks} tasks"
        );
        let ahead = stack.metrics.read.ahead_bytes.get();
        assert!(ahead > 5_000_000, "{ahead} bytes ahead, with {tasks} tasks");
    }
}

/// A cache of 64 MiB keeps 16 MiB of what was read until more proves to be worth it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fetched_ahead_uses_the_memory_of_what_was_read() {
    let stack = Stack::new(MEMORY).await;
    for number in 0..100 {
        let bytes = content(number, 400_000);
        let version = stack.put(&format!("d/{number}"), &bytes);
        let whole = stack.reader.claim_whole_ahead(&version).unwrap();
        whole.fetch(&op(), |_| {}).await.unwrap();
        let file = stack.reader.open(version);
        let served = stack.reader.try_read(&file, 0, 400_000).unwrap();
        served.with(|served| assert!(served == bytes));
        let kept = stack.metrics.cache.bytes.get();
        assert!(kept <= 17 << 20, "{kept} bytes are kept");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_from_a_listing_that_have_grown_old_cost_a_get_and_no_head() {
    const FILES: usize = 300;
    let (stack, fs) = data_set(FILES, SHORT_TTL).await;
    let parent = directory(&fs).await;
    list(&fs, parent).await;
    tokio::time::sleep(SHORT_TTL).await;
    let before = stack.server.stats();
    // Far apart in time: nothing is fetched ahead of a reader this slow but a few.
    for number in shuffled(FILES).into_iter().take(30) {
        assert!(read(&fs, parent, &name(number)).await.unwrap() == bytes_of(number));
    }
    let after = stack.server.stats();
    assert!(after.head() - before.head() <= 2, "the first lookup of all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_fetched_ahead_too_where_a_listing_has_shown_them() {
    const FILES: usize = 500;
    let (stack, fs) = data_set(FILES, Duration::from_secs(60)).await;
    let parent = directory(&fs).await;
    list(&fs, parent).await;
    read_all(&fs, parent, shuffled(FILES), 4).await;
    assert_eq!(stack.server.stats().get(), FILES as u64);
    let ahead = stack.metrics.read.ahead_bytes.get();
    assert!(ahead > 1_000_000, "{ahead} bytes ahead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_stats_fetches_no_bodies() {
    const FILES: usize = 300;
    let (stack, fs) = data_set(FILES, SHORT_TTL).await;
    let parent = directory(&fs).await;
    for round in 0..3 {
        list(&fs, parent).await;
        tokio::time::sleep(SHORT_TTL).await;
        for number in 0..FILES {
            assert!(lookup(&fs, parent, &name(number)).await.unwrap().is_some());
        }
        assert_eq!(stack.server.stats().get(), 0, "round {round}");
    }
    // A reader, and then the storm again: what was learned is soon unlearned.
    read_all(&fs, parent, (0..50).collect(), 1).await;
    tokio::time::sleep(SHORT_TTL).await;
    let before = stack.server.stats().get();
    for number in 100..FILES {
        lookup(&fs, parent, &name(number)).await.unwrap();
    }
    let wasted = stack.server.stats().get() - before;
    assert!(wasted <= 64, "{wasted} bodies for a storm of stats");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fetched_ahead_is_never_older_than_the_ttl_and_never_mixed() {
    const FILES: usize = 200;
    let (stack, fs) = data_set(FILES, SHORT_TTL).await;
    let parent = directory(&fs).await;
    let written: Vec<Mutex<Contents>> = (0..FILES)
        .map(|number| Mutex::new(vec![(bytes_of(number), None)]))
        .collect();
    let written = Arc::new(written);
    let end = Instant::now() + Duration::from_secs(4);
    let readers: Vec<_> = (0..4_u64)
        .map(|seed| {
            let (fs, written) = (Arc::clone(&fs), Arc::clone(&written));
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut read_files = 0;
                while Instant::now() < end {
                    let in_order = random.bool();
                    let mut order: Vec<usize> = (0..FILES).collect();
                    if !in_order {
                        random.shuffle(&mut order);
                    }
                    for number in order {
                        let opened = Instant::now();
                        let bytes = read(&fs, parent, &name(number)).await.unwrap();
                        let known = written[number].lock().unwrap();
                        let found = known.iter().find(|(content, _)| *content == bytes);
                        let (_, replaced) = found.expect("a content that was written, whole");
                        let age =
                            replaced.map(|replaced| opened.saturating_duration_since(replaced));
                        assert!(
                            age.unwrap_or_default() <= SHORT_TTL,
                            "{number}: {age:?} too old"
                        );
                        read_files += 1;
                    }
                }
                read_files
            })
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(99);
    let mut round = FILES as u64;
    while Instant::now() < end {
        let number = random.usize(0..FILES);
        round += 1;
        let bytes = content(round, BYTES + random.usize(0..3));
        let before = {
            // Before the write: a reader may be quicker than its return.
            let mut known = written[number].lock().unwrap();
            known.push((bytes.clone(), None));
            known.len() - 2
        };
        stack.put(&format!("d/{}", name(number)), &bytes);
        written[number].lock().unwrap()[before].1 = Some(Instant::now());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for reader in readers {
        assert!(reader.await.unwrap() > FILES, "it has read");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_vanishes_or_becomes_a_directory_is_seen_within_the_ttl() {
    const FILES: usize = 100;
    let (stack, fs) = data_set(FILES, SHORT_TTL).await;
    let parent = directory(&fs).await;
    read_all(&fs, parent, (0..20).collect(), 1).await;
    // By now the rest is on its way, or here.
    stack
        .server
        .delete(BUCKET, &format!("d/{}", name(50)))
        .unwrap();
    stack
        .server
        .delete(BUCKET, &format!("d/{}", name(60)))
        .unwrap();
    stack.put(&format!("d/{}/below", name(60)), b"x");
    tokio::time::sleep(SHORT_TTL).await;
    assert_eq!(read(&fs, parent, &name(50)).await, None);
    let ino = lookup(&fs, parent, &name(60)).await.unwrap().unwrap();
    assert!(fs.opendir(ino).is_ok(), "a directory");
    assert!(read(&fs, ino, "below").await.unwrap() == b"x");
    read_all(&fs, parent, (61..FILES).collect(), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_names_of_many_do_not_pay_for_the_whole_listing() {
    let stack = Stack::new(MEMORY).await;
    for number in 0..12_000 {
        stack.put(&format!("d/{number:06}"), b"content");
    }
    let (fs, _) = stack.file_system(TTL, 100_000).await;
    let parent = directory(&fs).await;
    let before = stack.server.stats();
    for number in [3, 11_000] {
        assert!(read(&fs, parent, &format!("{number:06}")).await.is_some());
    }
    let after = stack.server.stats();
    assert_eq!(
        after.list() - before.list(),
        2,
        "whether they are directories"
    );
    assert_eq!(after.get() - before.get(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefetch_list_is_there_before_its_reader() {
    const FILES: usize = 400;
    let (stack, fs) = data_set(FILES, TTL).await;
    let large = content(1, 3 << 20);
    stack.put("large", &large);
    stack.put("empty", b"");
    let order = shuffled(FILES);
    let mut paths: Vec<Box<str>> =
        vec!["large".into(), "empty".into(), "missing".into(), "d".into()];
    paths.extend(
        order
            .iter()
            .map(|&number| format!("d/{}", name(number)).into_boxed_str()),
    );
    fs.prefetch(paths);
    let all = (0..FILES)
        .map(|number| bytes_of(number).len())
        .sum::<usize>()
        + large.len();
    soon("all of the list is here", || {
        stack.metrics.oss.bytes_received.get() >= all as u64
            && stack.metrics.oss.gets_in_flight.get() == 0
    })
    .await;
    let before = stack.server.stats();
    let parent = directory(&fs).await;
    read_all(&fs, parent, order, 1).await;
    assert!(read(&fs, Ino::ROOT, "large").await.unwrap() == large[..1 << 20]);
    assert_eq!(
        stack.server.stats().get(),
        before.get(),
        "nothing is fetched twice"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn little_memory_makes_it_slower_and_not_wrong() {
    const FILES: usize = 400;
    let stack = Stack::new(16 << 20).await;
    let mut contents = HashMap::new();
    for number in 0..FILES {
        let bytes = content(number as u64, 100_000 + number);
        stack.put(&format!("d/{}", name(number)), &bytes);
        contents.insert(number, bytes);
    }
    let (fs, _) = stack.file_system(TTL, 100_000).await;
    let parent = directory(&fs).await;
    for number in shuffled(FILES) {
        assert!(read(&fs, parent, &name(number)).await.unwrap() == contents[&number]);
    }
    let gets = stack.server.stats().get();
    assert!(
        gets <= FILES as u64 * 102 / 100,
        "{gets} GETs for {FILES} files"
    );
}
