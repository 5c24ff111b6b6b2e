//! Uploads and names that files lose while they are written.

use std::time::{Duration, Instant};

use rolefs::dev_server::{Fault, Operation};
use rolefs::op::Op;
use rolefs::oss::{Condition, Upload};
use rolefs::write::FILE_BYTES_MAX;

use super::failing::give_up_commit;
use super::*;
use crate::stack::soon;

/// Aborts all uploads, as somebody else may.
async fn abort_all(bench: &Bench) {
    let op = Op::background("test");
    let bucket = &bench.stack.bucket;
    let all = bucket.list_uploads(&op, "", None).await.unwrap();
    for upload in all.uploads {
        let upload = Upload {
            key: key(&upload.key),
            id: upload.id,
        };
        bucket.abort(&op, &upload).await.unwrap();
    }
}

/// Writes until it succeeds: after a failure nothing is sent for a while.
async fn insist(bench: &Bench, file: &Arc<File>, at: u64, bytes: &[u8]) {
    let began = Instant::now();
    while let Err(error) = bench.try_write(file, at, bytes).await {
        assert!(began.elapsed() < NEVER, "{at}: {error}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_late_failure_of_an_upload_that_is_over_does_not_end_the_next_one() {
    let bench = Bench::new().await;
    let faults = bench.stack.server.faults();
    let bytes = pattern(1, 60 * MIB);
    let file = bench.create("long");
    let write = async |range: Range<u64>| {
        for at in range {
            let piece = (at << 20) as usize..((at + 1) << 20) as usize;
            bench.write(&file, at * MIB, &bytes[piece]).await;
        }
    };
    write(0..10).await;
    soon("a part is up, and its upload is marked", || {
        bench.stack.metrics.write.parts_sent.get() == 1
    })
    .await;
    let stall = Fault::StallAnswer;
    faults.script(1, Some(Operation::UploadPart), "long", stall);
    write(10..20).await;
    soon("a part stands still", || faults.stalled() == 1).await;
    abort_all(&bench).await;
    write(20..30).await;
    soon("the loss is seen", || {
        bench.stack.metrics.write.part_failures.get() == 1
    })
    .await;
    // After a failure nothing is sent for a while.
    let mut at = 30;
    while bench.stack.server.stats().initiates() < 2 {
        write(at..at + 1).await;
        at = (at + 1).min(59);
        tokio::task::yield_now().await;
    }
    faults.release();
    soon("the part that stood still fails", || {
        bench.stack.metrics.write.part_failures.get() == 2
    })
    .await;
    write(at..60).await;
    bench.commit(&file).await.unwrap();
    assert!(bench.get("long").unwrap() == bytes);
    assert_eq!(bench.stack.server.stats().initiates(), 2);
    drop(file);
    bench.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_lost_upload_had_is_an_error_until_it_is_written_again() {
    let bench = Bench::with(16 * MIB, |_| {}).await;
    let mut bytes = pattern(2, 30 * MIB);
    let file = bench.create("lost");
    for (at, piece) in bytes.chunks(1 << 20).enumerate() {
        bench.write(&file, at as u64 * MIB, piece).await;
    }
    assert!(bench.stack.metrics.write.let_go_bytes.get() > 0);
    abort_all(&bench).await;
    let error = bench.commit(&file).await.unwrap_err();
    assert!(matches!(error, Error::UploadGone(_)), "{error}");
    let error = bench.commit(&file).await.unwrap_err();
    assert!(matches!(error, Error::UploadGone(_)), "{error}");
    // Something short amidst what is lost, and no memory left: all that could go up has a hole.
    bench.write(&file, 10 * MIB + 7, b"short").await;
    let other = bench.create("other");
    other.unlinked();
    let (began, mut at) = (Instant::now(), 0);
    // After a failure nothing is sent for five seconds.
    while began.elapsed() < Duration::from_secs(6) {
        if bench.try_write(&other, at, &pattern(at, MIB)).await.is_ok() {
            at += MIB;
            assert!(at < 16 * MIB);
        }
        tokio::task::yield_now().await;
    }
    drop(other);
    assert!(file.read(0..30 * MIB).is_err());
    assert_eq!(bench.get("lost"), None);
    // What went up since then is cut, while the file cannot be stored.
    for at in 0..30 {
        insist(&bench, &file, at * MIB + 1, b"cut").await;
    }
    assert!(file.read(0..30 * MIB).is_err());
    bytes.reverse();
    for (at, piece) in bytes.chunks(1 << 20).enumerate() {
        insist(&bench, &file, at as u64 * MIB, piece).await;
    }
    bench.commit(&file).await.unwrap();
    assert!(bench.get("lost").unwrap() == bytes);
    drop(file);
    bench.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_let_go_while_nobody_knows_what_a_commit_has_made() {
    let bench = Bench::with(16 * MIB, |config| config.head_bytes = 0).await;
    let mut bytes = pattern(3, MIB);
    let file = bench.create("unsure");
    bench.write(&file, 0, &bytes).await;
    give_up_commit(&bench, &file, Operation::PutObject).await;
    assert!(bench.get("unsure").unwrap() == bytes);
    // All of it is other bytes now, which go up in parts.
    bytes = pattern(4, 30 * MIB);
    for (at, piece) in bytes.chunks(1 << 20).enumerate() {
        bench.write(&file, at as u64 * MIB, piece).await;
    }
    bench.commit(&file).await.unwrap();
    assert!(bench.get("unsure").unwrap() == bytes);
    bench.stack.server.faults().release();
    drop(file);
    bench.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_not_completed_under_a_name_that_its_file_has_lost() {
    let bench = Bench::new().await;
    let mut bytes = pattern(5, 10 * MIB);
    let file = bench.open("old", &bytes);
    let more = pattern(6, 20 * MIB);
    for (at, piece) in more.chunks(1 << 20).enumerate() {
        bench.write(&file, (10 + at as u64) * MIB, piece).await;
    }
    bytes.extend_from_slice(&more);
    soon("parts are up", || {
        bench.stack.metrics.write.parts_sent.get() >= 2
    })
    .await;
    let copied = bench.base("new", &bytes[..10 << 20]);
    bench.stack.server.delete(BUCKET, "old").unwrap();
    file.renamed(copied);
    bench.commit(&file).await.unwrap();
    assert!(bench.get("new").unwrap() == bytes);
    assert_eq!(bench.get("old"), None);
    soon("the upload of the old name is given up", || {
        bench.stack.metrics.write.uploads_aborted.get() == 1
    })
    .await;
    drop(file);
    bench.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_name_changes_is_neither_sent_nor_stored_to_make_room() {
    let bench = Arc::new(Bench::with(16 * MIB, |_| {}).await);
    let file = bench.create("frozen");
    bench.write(&file, 0, &pattern(7, 90_000)).await;
    let frozen = file.freeze().await;
    assert!(file.try_freeze().is_none());
    let filler: Vec<_> = (0..400).map(|at| bench.create(&format!("f{at}"))).collect();
    for (at, file) in filler.iter().enumerate() {
        bench.write(file, 0, &pattern(at as u64, 40_000)).await;
    }
    assert!(bench.stack.metrics.write.early_commits.get() > 0);
    assert_eq!(bench.get("frozen"), None);
    drop(filler);
    // It can be written as far as there is room, and then waits.
    let writing = {
        let (bench, file) = (Arc::clone(&bench), Arc::clone(&file));
        tokio::spawn(async move {
            for at in 0..20 {
                bench.write(&file, at * MIB, &pattern(at, MIB)).await;
            }
        })
    };
    soon("the writer waits", || file.len() >= 6 * MIB).await;
    assert_eq!(bench.stack.server.upload_count(BUCKET), 0);
    assert!(!writing.is_finished());
    frozen.commit(&Op::background("test")).await.unwrap();
    assert!(bench.get("frozen").is_some());
    drop(frozen);
    writing.await.unwrap();
    bench.commit(&file).await.unwrap();
    let expected: Vec<u8> = (0..20).flat_map(|at| pattern(at, MIB)).collect();
    assert!(bench.get("frozen").unwrap() == expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_file_that_follows_its_directory_is_stored_there() {
    let bench = Bench::new().await;
    let file = bench.create("d/new");
    let frozen = file.try_freeze().unwrap();
    let bytes = pattern(8, 20 * MIB);
    for (at, piece) in bytes.chunks(1 << 20).enumerate() {
        bench.write(&file, at as u64 * MIB, piece).await;
    }
    file.follow(key("e/new"));
    drop(frozen);
    bench.base("e/new", b"theirs");
    let error = bench.commit(&file).await.unwrap_err();
    assert!(matches!(error, Error::Taken(_)), "{error}");
    file.rename(key("e/new"), Condition::None).unwrap_err();
    bench.stack.server.delete(BUCKET, "e/new").unwrap();
    bench.commit(&file).await.unwrap();
    assert!(bench.get("e/new").unwrap() == bytes);
    assert_eq!(bench.get("d/new"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_were_spent_are_free_again_once_the_upload_is_over() {
    let bench = Bench::new().await;
    // So far behind the beginning that all that lies before takes all numbers.
    let spend = async |file: &Arc<File>| {
        for at in 1..=10 {
            let far = FILE_BYTES_MAX - 12 * MIB + at * MIB;
            file.try_write(far, &pattern(at, MIB)).unwrap();
            if file.try_write(0, b"x").is_err() {
                return file.try_truncate(20 * MIB).unwrap();
            }
        }
        panic!("there are numbers left");
    };
    let long = async |name: &str| {
        let file = bench.create(name);
        for at in 0..10 {
            bench.write(&file, at * MIB, &pattern(at, MIB)).await;
        }
        file
    };
    let sent = || bench.stack.metrics.write.parts_sent.get();
    let file = long("aborted").await;
    soon("a part is up", || sent() == 1).await;
    let faults = bench.stack.server.faults();
    let stall = Fault::StallAnswer;
    faults.script(1, Some(Operation::UploadPart), "aborted", stall);
    for at in 10..20 {
        bench.write(&file, at * MIB, &pattern(at, MIB)).await;
    }
    soon("a part stands still", || faults.stalled() == 1).await;
    spend(&file).await;
    assert!(file.try_write(0, b"x").is_err());
    abort_all(&bench).await;
    faults.release();
    soon("its failure makes room", || file.try_write(0, b"x").is_ok()).await;
    let file = bench.open("old", &pattern(1, 20 * MIB));
    for at in 20..30 {
        bench.write(&file, at * MIB, &pattern(at, MIB)).await;
    }
    soon("a part is up", || sent() == 2).await;
    spend(&file).await;
    assert!(file.try_write(0, b"x").is_err());
    file.renamed(bench.base("new", &pattern(1, 20 * MIB)));
    file.try_write(0, b"x").unwrap();
    assert_eq!(bench.stack.metrics.write.early_commits.get(), 0);
}
