//! Memory, staging files, and what happens when there is no more.

use std::time::Duration;

use rolefs::dev_server::{Fault, Operation};
use rolefs::op::Op;
use rolefs::oss::Condition;
use rolefs::write::StagingDirectory;

use super::*;
use crate::stack::soon;

const DENIED: Fault = Fault::Refuse {
    status: 403,
    code: "AccessDenied",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_much_larger_than_memory_is_written() {
    let bench = Bench::with(16 * MIB, |_| {}).await;
    let bytes = pattern(1, 60 * MIB + 3);
    let file = bench.create("large");
    for (at, piece) in bytes.chunks(1 << 20).enumerate() {
        bench.write(&file, at as u64 * MIB, piece).await;
        assert!(bench.stack.budget.leased() <= 16 * MIB);
        assert!(bench.stack.metrics.write.staged_bytes.get() <= 8 << 20);
    }
    assert!(bench.stack.metrics.write.let_go_bytes.get() > 0);
    bench.commit(&file).await.unwrap();
    assert!(bench.get("large").unwrap() == bytes);
    assert_eq!(bench.stack.metrics.write.early_commits.get(), 0);
    drop(file);
    bench.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_only_the_upload_has_are_changed_and_read_after_an_early_commit() {
    let bench = Bench::with(16 * MIB, |_| {}).await;
    let mut bytes = pattern(2, 40 * MIB);
    let file = bench.create("archive.zip");
    for (at, piece) in bytes.chunks(1 << 20).enumerate() {
        bench.write(&file, at as u64 * MIB, piece).await;
    }
    // What zip does: the header of a member that was written long ago.
    bench.write(&file, 9 * MIB + 5, b"header").await;
    bytes[(9 << 20) + 5..(9 << 20) + 11].copy_from_slice(b"header");
    assert_eq!(bench.stack.metrics.write.early_commits.get(), 1);
    assert!(bench.content(&file, 0..u64::MAX).await == bytes);
    let sent = bench.stack.server.stats().body_bytes_received;
    bench.commit(&file).await.unwrap();
    assert!(bench.get("archive.zip").unwrap() == bytes);
    let sent = bench.stack.server.stats().body_bytes_received - sent;
    assert!(sent < 2 * MIB, "the rest was copied: {sent}");
    drop(file);
    bench.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_small_files_take_what_they_hold() {
    let bench = Bench::with(32 * MIB, |_| {}).await;
    let mut files = Vec::new();
    for at in 0..1000 {
        let file = bench.create(&format!("f{at}"));
        for piece in 0..8 {
            file.try_write(piece * 1000, &pattern(at, 1000)).unwrap();
        }
        files.push(file);
    }
    // 8,000 bytes each, and no more than as much again.
    let staged = bench.stack.metrics.write.staged_bytes.get();
    assert!(staged <= 1000 * 16_384, "{staged}");
    for (at, file) in files.iter().enumerate() {
        bench.commit(file).await.unwrap();
        let expected = pattern(at as u64, 1000).repeat(8);
        assert_eq!(bench.get(&format!("f{at}")).unwrap(), expected);
    }
    // They are still open.
    soon("staged memory comes back", || {
        bench.stack.budget.leased() == 0
    })
    .await;
    assert_eq!(bench.stack.server.stats().requests(), 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_files_that_are_too_much_for_memory_share_it() {
    let bench = Bench::with(64 * MIB, |_| {}).await;
    let files: Vec<_> = (0..250).map(|at| bench.create(&format!("f{at}"))).collect();
    for round in 0..3 {
        for (at, file) in files.iter().enumerate() {
            let bytes = pattern(at as u64 * 10 + round, 200_000);
            bench.write(file, round * 200_000, &bytes).await;
        }
    }
    for (at, file) in files.iter().enumerate() {
        bench.commit(file).await.unwrap();
        let stored = bench.get(&format!("f{at}")).unwrap();
        let expected: Vec<u8> = (0..3)
            .flat_map(|round| pattern(at as u64 * 10 + round, 200_000))
            .collect();
        assert!(stored == expected, "f{at}");
    }
    drop(files);
    bench.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_file_written_over_and_over_takes_no_more_memory() {
    let bench = Bench::new().await;
    let file = bench.create("database");
    let mut bytes = vec![0; 1 << 20];
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..20_000 {
        let at = random.usize(..256) * 4096;
        let page = pattern(round, 4096);
        file.try_write(at as u64, &page).unwrap();
        bytes[at..at + 4096].copy_from_slice(&page);
        let staged = bench.stack.metrics.write.staged_bytes.get();
        assert!(staged <= 5 << 20, "{staged}");
    }
    let len = file.len() as usize;
    assert!(bench.content(&file, 0..MIB).await == bytes[..len]);
    bench.commit(&file).await.unwrap();
    assert!(bench.get("database").unwrap() == bytes[..len]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_waits_while_anything_is_on_its_way() {
    let bench = Bench::with(16 * MIB, |_| {}).await;
    bench
        .stack
        .server
        .faults()
        .set_first_byte(Duration::from_millis(200));
    let bytes = pattern(4, 30 * MIB);
    let file = bench.create("slow");
    for (at, piece) in bytes.chunks(1 << 20).enumerate() {
        bench.write(&file, at as u64 * MIB, piece).await;
    }
    assert!(bench.stack.metrics.write.waits.get() > 0);
    bench.commit(&file).await.unwrap();
    assert!(bench.get("slow").unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_is_told_why_nothing_can_go_up() {
    let bench = Bench::with(16 * MIB, |_| {}).await;
    let faults = bench.stack.server.faults();
    faults.script(u64::MAX, Some(Operation::UploadPart), "stuck", DENIED);
    let file = bench.create("stuck");
    let mut at = 0;
    let error = loop {
        match bench.try_write(&file, at, &pattern(at, MIB)).await {
            Ok(()) => at += MIB,
            Err(error) => break error,
        }
        assert!(at < 16 * MIB);
    };
    let is_cause = matches!(error, Error::Oss(_) | Error::NoRoom { .. });
    assert!(is_cause, "{error}");
    // Another file has no room either, and is not to blame.
    let other = bench.create("other");
    let error = bench
        .try_write(&other, 0, &pattern(0, MIB))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error}");
    assert_eq!(bench.writer.unfinished().len(), 2);
    // Nothing is lost, and once the role may write all is well.
    faults.clear();
    bench.commit(&file).await.unwrap();
    let stored = bench.get("stuck").unwrap();
    assert_eq!(stored.len() as u64, at);
    for piece in 0..at / MIB {
        let range = (piece << 20) as usize..((piece + 1) << 20) as usize;
        assert!(stored[range] == pattern(piece * MIB, MIB));
    }
    bench.write(&other, 0, b"room").await;
    bench.commit(&other).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_memory_has_no_room_for_is_staged_in_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let bench = Bench::with(16 * MIB, |config| {
        config.directory = Some(StagingDirectory::open(&path, 48 * MIB).unwrap());
        config.temporary_bytes_max = u64::MAX;
    })
    .await;
    let mut bytes = pattern(5, 40 * MIB);
    let file = bench.create("dir/.tmp-file");
    for (at, piece) in bytes.chunks(1 << 20).enumerate() {
        bench.write(&file, at as u64 * MIB, piece).await;
    }
    assert!(bench.stack.metrics.write.staged_disk_bytes.get() > 20 << 20);
    bench.write(&file, 30 * MIB + 1, b"changed").await;
    bytes[(30 << 20) + 1..(30 << 20) + 8].copy_from_slice(b"changed");
    assert_eq!(bench.stack.server.stats().requests(), 0);
    assert!(bench.content(&file, 0..u64::MAX).await == bytes);
    file.rename(key("dir/file"), Condition::None).unwrap();
    bench.commit(&file).await.unwrap();
    assert!(bench.get("dir/file").unwrap() == bytes);
    drop(file);
    bench.nothing_is_left().await;
    soon("staging files are empty", || {
        bench.stack.metrics.write.staged_disk_bytes.get() == 0
    })
    .await;
    // What a crash would leave behind.
    let own = std::fs::read_dir(directory.path()).unwrap().next();
    let own = own.unwrap().unwrap().path();
    assert_eq!(std::fs::read_dir(own).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_staging_directory_is_no_room() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let bench = Bench::with(16 * MIB, |config| {
        config.directory = Some(StagingDirectory::open(&path, 12 * MIB).unwrap());
    })
    .await;
    let file = bench.create("unlinked");
    file.unlinked();
    let mut at = 0;
    let error = loop {
        match bench.try_write(&file, at, &pattern(at, MIB)).await {
            Ok(()) => at += MIB,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::NoRoom { .. }), "{error}");
    assert!(at >= 18 * MIB, "{at}");
    let read = bench.content(&file, at - MIB..at).await;
    assert!(read == pattern(at - MIB, MIB));
    let op = Op::background("test");
    file.truncate(&op, MIB).await.unwrap();
    bench.write(&file, MIB, &pattern(1, MIB)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_too_short_for_parts_are_stored_early_when_memory_is_full_of_them() {
    let bench = Bench::with(16 * MIB, |_| {}).await;
    let files: Vec<_> = (0..200).map(|at| bench.create(&format!("f{at}"))).collect();
    for round in 0..2 {
        for (at, file) in files.iter().enumerate() {
            let bytes = pattern(at as u64 * 10 + round, 40_000);
            bench.write(file, round * 40_000, &bytes).await;
        }
    }
    assert!(bench.stack.metrics.write.early_commits.get() > 0);
    for (at, file) in files.iter().enumerate() {
        bench.commit(file).await.unwrap();
        let mut expected = pattern(at as u64 * 10, 40_000);
        expected.extend(pattern(at as u64 * 10 + 1, 40_000));
        assert_eq!(bench.get(&format!("f{at}")).unwrap(), expected);
    }
    drop(files);
    bench.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_staged_in_files_goes_up_in_parts_that_memory_can_hold() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let bench = Bench::with(16 * MIB, |config| {
        config.directory = Some(StagingDirectory::open(&path, 16 * MIB).unwrap());
    })
    .await;
    let file = bench.create("far");
    // So far behind the beginning that parts would be as long as all that is staged.
    let far = 64 << 30;
    for at in 0..60 {
        bench.write(&file, far + at * MIB, &pattern(at, MIB)).await;
    }
    assert_eq!(bench.stack.metrics.write.part_failures.get(), 0);
    drop(file);
    bench.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_of_an_object_is_changed_though_the_whole_is_more_than_a_commit_may_lease() {
    let bench = Bench::with(64 * MIB, |_| {}).await;
    let mut bytes = pattern(6, 6 * MIB);
    let file = bench.open("six", &bytes);
    bench.write(&file, 3 * MIB, b"x").await;
    bytes[3 << 20] = b'x';
    bench.commit(&file).await.unwrap();
    assert!(bench.get("six").unwrap() == bytes);
}
