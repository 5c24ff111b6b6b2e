//! How a file gets into the bucket, and with how many requests.

use std::sync::Arc;

use rolefs::object::{ObjectType, StorageClass};
use rolefs::op::Op;
use rolefs::oss::{Condition, Properties};
use rolefs::write::{Exclusive, Fallocate};

use super::*;
use crate::stack::soon;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_file_is_one_put_and_nothing_else() {
    let bench = Bench::new().await;
    let bytes = pattern(1, 300_000);
    let file = bench.create("a");
    for (at, piece) in bytes.chunks(4096).enumerate() {
        file.try_write(at as u64 * 4096, piece).unwrap();
    }
    assert!(file.is_dirty());
    assert_eq!(bench.content(&file, 5..200_000).await, bytes[5..200_000]);
    assert_eq!(bench.stack.server.stats().requests(), 0);
    let done = bench.commit(&file).await.unwrap();
    assert!(!done.is_dirty && !file.is_dirty());
    assert_eq!(bench.get("a").unwrap(), bytes);
    let stats = bench.stack.server.stats();
    assert_eq!((stats.put(), stats.requests()), (1, 1));
    let made = done.made.unwrap();
    assert_eq!((made.size, made.kind), (300_000, ObjectType::Normal));
    assert_eq!(
        Some(made.etag.as_str()),
        bench.stack.server.etag(BUCKET, "a").as_deref()
    );
    // Nothing was written since: there is nothing to do.
    assert!(bench.commit(&file).await.unwrap().made.is_none());
    assert_eq!(bench.stack.server.stats().requests(), 1);
    assert_eq!(file.dirty_bytes(), 0);
    soon("staged memory comes back", || {
        bench.stack.budget.leased() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_file_is_one_put() {
    let bench = Bench::new().await;
    let file = bench.create("dir/empty");
    assert!(file.is_dirty());
    bench.commit(&file).await.unwrap();
    assert_eq!(bench.get("dir/empty").unwrap(), "");
    assert_eq!(bench.stack.server.stats().requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_file_goes_up_behind_the_writer() {
    let bench = Bench::new().await;
    let bytes = pattern(2, 45 * MIB + 7);
    let file = bench.create("long");
    for (at, piece) in bytes.chunks(1 << 20).enumerate() {
        bench.write(&file, at as u64 * MIB, piece).await;
    }
    soon("parts are up before anybody asks for it", || {
        bench.stack.metrics.write.parts_sent.get() == 5
    })
    .await;
    assert_eq!(bench.get("long"), None);
    bench.commit(&file).await.unwrap();
    assert!(bench.get("long").unwrap() == bytes);
    let stats = bench.stack.server.stats();
    let counts = (stats.initiates(), stats.parts(), stats.completes());
    // The head and the tail go with the commit, and one part says whose upload it is.
    assert_eq!(counts, (1, 8, 1));
    assert_eq!(stats.requests(), 10);
    drop(file);
    bench.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_written_again_sends_its_part_again() {
    let bench = Bench::new().await;
    let mut bytes = pattern(3, 40 * MIB);
    let file = bench.create("model.npz");
    for (at, piece) in bytes.chunks(1 << 20).enumerate() {
        bench.write(&file, at as u64 * MIB, piece).await;
    }
    soon("parts are up", || {
        bench.stack.metrics.write.parts_sent.get() == 4
    })
    .await;
    for at in [0, 20 * MIB] {
        let header = pattern(at + 9, 100);
        bench.write(&file, at, &header).await;
        bytes[at as usize..at as usize + 100].copy_from_slice(&header);
    }
    bench.commit(&file).await.unwrap();
    assert!(bench.get("model.npz").unwrap() == bytes);
    let sent = bench.stack.server.stats().body_bytes_received;
    assert!(sent < 49 * MIB, "{sent} bytes were sent");
    assert_eq!(bench.stack.metrics.write.early_commits.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_object_only_what_was_changed_is_sent() {
    let bench = Bench::new().await;
    let mut bytes = pattern(4, 100 * MIB);
    let file = bench.open("big", &bytes);
    for at in [10, 40, 41, 90] {
        let change = pattern(at, MIB);
        bench.write(&file, at * MIB, &change).await;
        let at = (at * MIB) as usize;
        bytes[at..at + (1 << 20)].copy_from_slice(&change);
    }
    bench.commit(&file).await.unwrap();
    assert!(bench.get("big").unwrap() == bytes);
    let stats = bench.stack.server.stats();
    assert!(stats.body_bytes_received < 4 * MIB * 6 / 5);
    assert_eq!(stats.get(), 0);
    assert!(stats.part_copies() > 0);
    assert_eq!(bench.stack.metrics.write.unverified_copies.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_short_to_be_copied_is_read_and_sent() {
    let bench = Bench::new().await;
    let mut bytes = pattern(5, MIB);
    let file = bench.open("small", &bytes);
    bench.write(&file, 1000, b"changed").await;
    bytes[1000..1007].copy_from_slice(b"changed");
    bench.commit(&file).await.unwrap();
    assert!(bench.get("small").unwrap() == bytes);
    let stats = bench.stack.server.stats();
    assert_eq!((stats.put(), stats.head(), stats.part_copies()), (1, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_to_a_long_object_copies_what_is_there() {
    let bench = Bench::new().await;
    let mut bytes = pattern(6, 20 * MIB);
    let file = bench.open("log", &bytes);
    bench.write(&file, 20 * MIB, b"one more line\n").await;
    bytes.extend_from_slice(b"one more line\n");
    bench.commit(&file).await.unwrap();
    assert!(bench.get("log").unwrap() == bytes);
    assert!(bench.stack.server.stats().body_bytes_received < MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrite_keeps_what_is_said_of_the_object() {
    let bench = Bench::new().await;
    let headers = [
        ("content-type", "text/csv"),
        ("x-oss-meta-owner", "me"),
        ("cache-control", "no-cache"),
    ];
    let server = &bench.stack.server;
    for (name, len) in [("short", 10), ("long", 20 * MIB)] {
        let bytes = pattern(7, len);
        let etag = server.put_with(BUCKET, name, bytes, &headers).unwrap();
        let file = bench.writer.open(Base {
            version: version(name, &etag, len),
            copying: Copying::Ranges,
        });
        bench.write(&file, len, b"more").await;
        bench.commit(&file).await.unwrap();
        let stored = server.stored(BUCKET, name).unwrap();
        assert_eq!(stored.size, len + 4);
        for (name, value) in headers {
            assert_eq!(stored.header(name), Some(value));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_created_file_gets_its_properties_in_one_piece_or_many() {
    let bench = Bench::new().await;
    let properties = Properties {
        content_type: Some("application/json".to_owned()),
        storage_class: Some(StorageClass::InfrequentAccess),
        tags: vec![("a".to_owned(), "b".to_owned())],
        ..Properties::default()
    };
    for (name, len) in [("short", 10), ("long", 20 * MIB)] {
        let file = bench
            .writer
            .create(key(name), properties.clone(), Exclusive::Local);
        for at in 0..len.div_ceil(MIB) {
            bench
                .write(&file, at * MIB, &pattern(at, MIB.min(len)))
                .await;
        }
        let made = bench.commit(&file).await.unwrap().made.unwrap();
        assert_eq!(made.storage_class, StorageClass::InfrequentAccess);
        let stored = bench.stack.server.stored(BUCKET, name).unwrap();
        assert_eq!(stored.header("content-type"), Some("application/json"));
        assert_eq!(stored.storage_class, StorageClass::InfrequentAccess);
        assert_eq!(stored.tags, properties.tags);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_whole_object_moves_no_byte() {
    let bench = Bench::new().await;
    let bytes = pattern(8, 20 * MIB);
    let base = bench.base("from", &bytes);
    let file = bench.create("to");
    let op = Op::background("test");
    file.copy_object(&op, 0, base, 0..u64::MAX).await.unwrap();
    assert!(bench.content(&file, 0..u64::MAX).await == bytes);
    bench.commit(&file).await.unwrap();
    assert!(bench.get("to").unwrap() == bytes);
    let stats = bench.stack.server.stats();
    assert_eq!((stats.copies(), stats.put(), stats.parts()), (1, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_are_copied_between_files_that_are_written() {
    let bench = Bench::new().await;
    let op = Op::background("test");
    let bytes = pattern(9, 12 * MIB);
    let from = bench.create("from");
    for (at, piece) in bytes.chunks(1 << 20).enumerate() {
        bench.write(&from, at as u64 * MIB, piece).await;
    }
    let to = bench.create("to");
    let copied = to.copy_file(&op, 100, &from, MIB..u64::MAX).await.unwrap();
    assert_eq!(copied, 11 * MIB);
    let copied = to.copy_file(&op, 0, &to, 200..300).await.unwrap();
    assert_eq!(copied, 100);
    // The source goes; what is shared stays.
    drop(from);
    let mut expected = bytes[(1 << 20) + 100..(1 << 20) + 200].to_vec();
    expected.extend_from_slice(&bytes[1 << 20..]);
    assert!(bench.content(&to, 0..u64::MAX).await == expected);
    bench.commit(&to).await.unwrap();
    assert!(bench.get("to").unwrap() == expected);
    drop(to);
    bench.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holes_are_found_and_stored_as_zeros() {
    let bench = Bench::new().await;
    let op = Op::background("test");
    let file = bench.create("sparse");
    bench.write(&file, 0, &[7; 100]).await;
    bench.write(&file, 30 * MIB, &[8; 100]).await;
    file.truncate(&op, 31 * MIB).await.unwrap();
    let punch = Fallocate::PunchHole;
    file.fallocate(&op, punch, 10..20).await.unwrap();
    assert_eq!(file.seek_hole(0), Some(10));
    assert_eq!(file.seek_data(10), Some(20));
    assert_eq!(file.seek_data(100), Some(30 * MIB));
    bench.commit(&file).await.unwrap();
    let stored = bench.get("sparse").unwrap();
    assert_eq!(stored.len() as u64, 31 * MIB);
    assert_eq!(stored[..10], [7; 10]);
    assert!(stored[100..(30 << 20)].iter().all(|byte| *byte == 0));
    assert_eq!(stored[30 << 20], 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_not_stored_is_renamed_without_a_request() {
    let bench = Bench::new().await;
    let file = bench.create("dir/.tmp-1");
    let bytes = pattern(10, 20 * MIB);
    for (at, piece) in bytes.chunks(1 << 20).enumerate() {
        bench.write(&file, at as u64 * MIB, piece).await;
    }
    // Its name says that it is temporary.
    file.rename(key("dir/final"), Condition::None).unwrap();
    assert_eq!(bench.stack.server.stats().requests(), 0);
    bench.commit(&file).await.unwrap();
    assert!(bench.get("dir/final").unwrap() == bytes);
    assert_eq!(bench.stack.server.keys(BUCKET, "").len(), 1);
    assert!(file.rename(key("other"), Condition::None).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_copied_to_its_new_name_goes_on_there() {
    let bench = Bench::new().await;
    let mut bytes = pattern(11, 20 * MIB);
    let file = bench.open("old", &bytes);
    assert!(file.rename(key("new"), Condition::None).is_err());
    bench.write(&file, MIB, b"dirty").await;
    bytes[1 << 20..(1 << 20) + 5].copy_from_slice(b"dirty");
    // What fs does: the object is copied, then the source goes.
    let copied = bench.base("new", &bench.get("old").unwrap());
    bench.stack.server.delete(BUCKET, "old").unwrap();
    file.renamed(copied);
    assert!(file.is_dirty());
    bench.commit(&file).await.unwrap();
    assert!(bench.get("new").unwrap() == bytes);
    assert_eq!(bench.get("old"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writing_goes_on_while_a_commit_runs() {
    let bench = Arc::new(Bench::new().await);
    let mut bytes = pattern(12, 24 * MIB);
    let file = bench.create("growing");
    for (at, piece) in bytes.chunks(1 << 20).enumerate() {
        bench.write(&file, at as u64 * MIB, piece).await;
    }
    bench
        .stack
        .server
        .faults()
        .set_upload_bandwidth(Some(40 << 20));
    let commit = tokio::spawn({
        let (bench, file) = (Arc::clone(&bench), Arc::clone(&file));
        async move { bench.commit(&file).await }
    });
    let before = bytes.clone();
    let mut writes = 0;
    while !commit.is_finished() {
        let at = (writes * 131_071) % (30 * MIB);
        let change = pattern(writes, 1000);
        bench.write(&file, at, &change).await;
        let end = (at as usize + 1000).max(bytes.len());
        bytes.resize(end, 0);
        bytes[at as usize..at as usize + 1000].copy_from_slice(&change);
        writes += 1;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let done = commit.await.unwrap().unwrap();
    bench.stack.server.faults().set_upload_bandwidth(None);
    if done.is_dirty {
        assert!(file.is_dirty());
    }
    // Whole or not at all: what was stored is the file of one moment, at least as long as it was.
    assert!(bench.get("growing").unwrap().len() >= before.len());
    bench.commit(&file).await.unwrap();
    assert!(bench.get("growing").unwrap() == bytes);
    drop(file);
    bench.nothing_is_left().await;
}
