//! Commits that fail, conflicts, answers that are lost.

use rolefs::dev_server::{Fault, Operation};
use rolefs::op::Op;
use rolefs::oss::Kind;
use rolefs::write::{FILE_BYTES_MAX, OnConflict, is_ours};

use super::*;
use crate::stack::soon;

const DENIED: Fault = Fault::Refuse {
    status: 403,
    code: "AccessDenied",
};

fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Oss(error) if matches!(error.kind(), Kind::Denied { .. }))
}

async fn long(bench: &Bench, name: &str, seed: u64) -> (Arc<File>, Vec<u8>) {
    let bytes = pattern(seed, 30 * MIB + 5);
    let file = bench.create(name);
    for (at, piece) in bytes.chunks(1 << 20).enumerate() {
        bench.write(&file, at as u64 * MIB, piece).await;
    }
    (file, bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_commit_loses_nothing_and_can_be_repeated() {
    let bench = Bench::new().await;
    let faults = bench.stack.server.faults();
    let bytes = pattern(1, 100_000);
    let file = bench.create("small");
    bench.write(&file, 0, &bytes).await;
    faults.script(1, Some(Operation::PutObject), "small", DENIED);
    assert!(is_denied(&bench.commit(&file).await.unwrap_err()));
    assert!(file.is_dirty());
    assert_eq!(bench.get("small"), None);
    assert_eq!(bench.content(&file, 0..u64::MAX).await, bytes);
    bench.write(&file, 100_000, b"more").await;
    bench.commit(&file).await.unwrap();
    assert_eq!(bench.get("small").unwrap().len(), 100_004);
    assert_eq!(bench.stack.metrics.write.commit_failures.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_a_failed_commit_are_not_sent_again() {
    let bench = Bench::new().await;
    let (file, bytes) = long(&bench, "long", 2).await;
    let faults = bench.stack.server.faults();
    faults.script(1, Some(Operation::CompleteMultipartUpload), "long", DENIED);
    assert!(is_denied(&bench.commit(&file).await.unwrap_err()));
    assert!(bench.content(&file, 0..u64::MAX).await == bytes);
    let parts = bench.stack.server.stats().parts();
    bench.commit(&file).await.unwrap();
    assert!(bench.get("long").unwrap() == bytes);
    // All but the tail, which is too short to be kept as a part in the middle of a file.
    assert!(bench.stack.server.stats().parts() <= parts + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_was_refused_is_sent_by_the_commit() {
    let bench = Bench::new().await;
    let faults = bench.stack.server.faults();
    // The mark goes beside the first part, or after it.
    faults.script(2, Some(Operation::UploadPart), "long", DENIED);
    let (file, bytes) = long(&bench, "long", 3).await;
    soon("a part is refused", || {
        bench.stack.metrics.write.part_failures.get() >= 1
    })
    .await;
    bench.commit(&file).await.unwrap();
    assert!(bench.get("long").unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_whose_answer_was_lost_has_succeeded() {
    let bench = Bench::new().await;
    let (file, bytes) = long(&bench, "long", 4).await;
    let complete = Some(Operation::CompleteMultipartUpload);
    bench
        .stack
        .server
        .faults()
        .script(1, complete, "long", Fault::AnswerLost);
    bench.commit(&file).await.unwrap();
    assert!(bench.get("long").unwrap() == bytes);
    assert_eq!(bench.stack.metrics.oss.recognised.get(), 1);
    drop(file);
    bench.nothing_is_left().await;
}

/// Begins a commit, whose answer is lost and whose second attempt stands still, and gives it up.
pub(super) async fn give_up_commit(bench: &Bench, file: &Arc<File>, operation: Operation) {
    let faults = bench.stack.server.faults();
    faults.script(1, Some(operation), "", Fault::AnswerLost);
    faults.script(1, Some(operation), "", Fault::StallAnswer);
    let op = Op::background("test");
    tokio::select! {
        _ = file.commit(&op) => panic!("its answer does not come"),
        () = soon("the second attempt stands still", || faults.stalled() == 1) => {}
    }
    faults.clear();
    assert!(file.is_dirty());
}

/// Gives a commit up that has had its effect. What is written afterwards is stored as any change is.
pub(super) async fn give_up_and_go_on(
    bench: Bench,
    file: Arc<File>,
    operation: Operation,
    (name, mut bytes): (&str, Vec<u8>),
) {
    give_up_commit(&bench, &file, operation).await;
    assert!(bench.get(name).unwrap() == bytes, "it had its effect");
    bench.write(&file, 7, b"and changed").await;
    bytes[7..18].copy_from_slice(b"and changed");
    bench.commit(&file).await.unwrap();
    assert!(bench.get(name).unwrap() == bytes);
    bench.stack.server.faults().release();
    drop(file);
    bench.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_given_up_and_had_succeeded_is_no_conflict() {
    for (operation, name, len) in [
        (Operation::PutObject, "put", 100_000),
        (Operation::CompleteMultipartUpload, "complete", 20 * MIB),
    ] {
        let bench = Bench::new().await;
        let mut bytes = pattern(5, len);
        let file = bench.open(name, &bytes);
        bench.write(&file, len, b"appended").await;
        bytes.extend_from_slice(b"appended");
        // What the object was made of is gone with the old version.
        give_up_and_go_on(bench, file, operation, (name, bytes)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_arrive_wrong_are_sent_again() {
    let bench = Bench::new().await;
    let faults = bench.stack.server.faults();
    let flip = Fault::FlipRequestByte { at: 1000 };
    faults.script(2, Some(Operation::UploadPart), "", flip);
    faults.script(1, Some(Operation::PutObject), "", flip);
    let (file, bytes) = long(&bench, "long", 6).await;
    bench.commit(&file).await.unwrap();
    assert!(bench.get("long").unwrap() == bytes);
    let small = bench.create("small");
    bench.write(&small, 0, &bytes[..5000]).await;
    bench.commit(&small).await.unwrap();
    assert_eq!(bench.get("small").unwrap(), bytes[..5000]);
    assert_eq!(bench.stack.metrics.oss.corrupt_uploads.get(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_commit_has_made_wrong_its_next_attempt_replaces() {
    let bench = Bench::new().await;
    let faults = bench.stack.server.faults();
    let file = bench.open("changed", b"as it was");
    bench.write(&file, 0, b"as it is!").await;
    let flip = Fault::FlipRequestByte { at: 3 };
    faults.script(1000, Some(Operation::PutObject), "", flip);
    let error = bench.commit(&file).await.unwrap_err();
    assert!(error.to_string().contains("CRC"), "{error}");
    assert_ne!(bench.get("changed").unwrap(), "as it is!");
    faults.clear();
    bench.commit(&file).await.unwrap();
    assert_eq!(bench.get("changed").unwrap(), "as it is!");
    // What somebody else writes is a conflict again.
    bench.stack.put("changed", b"of another");
    bench.write(&file, 0, b"As").await;
    let error = bench.commit(&file).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_the_second_learns_of_the_first() {
    let bench = Bench::new().await;
    let base = bench.base("shared", b"as it was");
    let (one, two) = (bench.writer.open(base.clone()), bench.writer.open(base));
    bench.write(&one, 0, b"AS").await;
    bench.write(&two, 3, b"IT").await;
    bench.commit(&one).await.unwrap();
    let error = bench.commit(&two).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    assert_eq!(bench.get("shared").unwrap(), "AS it was");
    // What was staged still is.
    assert!(two.is_dirty());
    let staged = &two.read(3..5).unwrap()[0];
    assert!(matches!(staged, Fragment::Staged(_)));
    assert_eq!(bench.stack.metrics.write.conflicts.get(), 1);
    // Who made the version goes on.
    bench.write(&one, 0, b"so").await;
    bench.commit(&one).await.unwrap();
    assert_eq!(bench.get("shared").unwrap(), "so it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_wrote_is_overwritten_only_as_a_whole() {
    let overwrite = |config: &mut Config| config.on_conflict = OnConflict::Overwrite;
    let bench = Bench::with(256 * MIB, overwrite).await;
    let base = bench.base("shared", b"as it was");
    let (whole, part) = (bench.writer.open(base.clone()), bench.writer.open(base));
    bench.base("shared", b"something else");
    bench.write(&part, 0, b"AS").await;
    let error = bench.commit(&part).await.unwrap_err();
    assert!(matches!(error, Error::Lost(_)), "{error}");
    assert_eq!(bench.get("shared").unwrap(), "something else");
    let op = Op::background("test");
    whole.truncate(&op, 0).await.unwrap();
    bench.write(&whole, 0, b"all new").await;
    bench.commit(&whole).await.unwrap();
    assert_eq!(bench.get("shared").unwrap(), "all new");
    // It was deleted by somebody else.
    bench.stack.server.delete(BUCKET, "shared").unwrap();
    whole.truncate(&op, 3).await.unwrap();
    assert!(matches!(
        bench.commit(&whole).await.unwrap_err(),
        Error::Lost(_)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_created_exclusively_replaces_nothing() {
    let bench = Bench::new().await;
    for (name, len) in [("short", 10), ("long", 20 * MIB)] {
        let create = || {
            let properties = Properties::default();
            bench
                .writer
                .create(key(name), properties, Exclusive::Remote)
        };
        let file = create();
        let op = Op::background("test");
        file.truncate(&op, len).await.unwrap();
        bench.commit(&file).await.unwrap();
        // Its second commit replaces its own object.
        bench.write(&file, 0, b"x").await;
        bench.commit(&file).await.unwrap();
        let other = create();
        other.truncate(&op, len).await.unwrap();
        let error = bench.commit(&other).await.unwrap_err();
        assert!(matches!(error, Error::Exists(_)), "{error}");
        assert_eq!(bench.get(name).unwrap()[0], b'x');
        drop((file, other));
    }
    bench.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_somebody_aborts_is_begun_again() {
    let bench = Bench::new().await;
    let (file, bytes) = long(&bench, "long", 7).await;
    soon("parts are up", || {
        bench.stack.metrics.write.parts_sent.get() >= 3
    })
    .await;
    let op = Op::background("test");
    let uploads = bench
        .stack
        .bucket
        .list_uploads(&op, "", None)
        .await
        .unwrap();
    assert_eq!(uploads.uploads.len(), 1);
    for upload in uploads.uploads {
        let upload = rolefs::oss::Upload {
            key: key(&upload.key),
            id: upload.id,
        };
        assert!(is_ours(&bench.stack.bucket, &op, &upload).await.unwrap());
        bench.stack.bucket.abort(&op, &upload).await.unwrap();
    }
    bench.commit(&file).await.unwrap();
    assert!(bench.get("long").unwrap() == bytes);
    drop(file);
    bench.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_of_somebody_else_is_not_ours() {
    let bench = Bench::new().await;
    let op = Op::background("test");
    let bucket = &bench.stack.bucket;
    let properties = Properties::default();
    let none = rolefs::oss::Condition::None;
    let theirs = key("theirs");
    let upload = bucket.initiate(&op, &theirs, &properties, none);
    let upload = upload.await.unwrap();
    assert!(!is_ours(bucket, &op, &upload).await.unwrap());
    for number in [1, 10_000] {
        let body = rolefs::oss::Body::from(Bytes::from_static(b"rolefs"));
        let part = bucket.upload_part(&op, &upload, number, &body);
        part.await.unwrap();
    }
    assert!(!is_ours(bucket, &op, &upload).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_oss_does_not_copy_bytes_are_read_and_sent() {
    let bench = Bench::new().await;
    let part = bench
        .stack
        .server
        .append(BUCKET, "appended", pattern(8, 20 * MIB));
    assert_eq!(part.unwrap(), 20 * MIB);
    let etag = bench.stack.server.etag(BUCKET, "appended").unwrap();
    // Opened as if nobody knew what it is.
    let file = bench.writer.open(Base {
        version: version("appended", &etag, 20 * MIB),
        copying: Copying::Ranges,
    });
    bench.write(&file, 9 * MIB, b"changed").await;
    bench.commit(&file).await.unwrap();
    let mut expected = pattern(8, 20 * MIB);
    expected[9 << 20..(9 << 20) + 7].copy_from_slice(b"changed");
    assert!(bench.get("appended").unwrap() == expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unlinked_file_is_read_and_written_and_never_stored() {
    let bench = Bench::new().await;
    let file = bench.create("gone");
    bench.write(&file, 0, &pattern(9, MIB)).await;
    file.unlinked();
    for at in 1..20 {
        bench.write(&file, at * MIB, &pattern(at, MIB)).await;
    }
    assert!(bench.content(&file, MIB..2 * MIB).await == pattern(1, MIB));
    // What no file may do is told apart from what it cannot do without a name.
    let error = file
        .truncate(&Op::background("test"), FILE_BYTES_MAX + 1)
        .await;
    assert!(matches!(error, Err(Error::TooLong(None))));
    let error = bench.commit(&file).await.unwrap_err();
    assert!(matches!(error, Error::Unlinked));
    drop(file);
    bench.nothing_is_left().await;
    assert_eq!(bench.stack.server.stats().requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_just_begun_is_given_up_with_its_file() {
    let bench = Bench::new().await;
    let faults = bench.stack.server.faults();
    let initiate = Some(Operation::InitiateMultipartUpload);
    faults.script(1, initiate, "gone", Fault::StallAnswer);
    let (file, _) = long(&bench, "gone", 10).await;
    soon("the upload is being begun", || faults.stalled() == 1).await;
    drop(file);
    faults.release();
    bench.writer.ended().await;
    assert_eq!(bench.stack.metrics.write.uploads_aborted.get(), 1);
    bench.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_begin_was_not_answered_is_all_that_is_left_of_a_file() {
    let bench = Bench::new().await;
    let initiate = Some(Operation::InitiateMultipartUpload);
    bench
        .stack
        .server
        .faults()
        .script(1, initiate, "long", Fault::AnswerLost);
    let (file, bytes) = long(&bench, "long", 9).await;
    bench.commit(&file).await.unwrap();
    drop(file);
    assert!(bench.get("long").unwrap() == bytes);
    let left = bench.stack.server.unfinished_uploads(BUCKET);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].parts, [0; 0], "nobody knows its id");
}
