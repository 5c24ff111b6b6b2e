//! Files that were made here under a name that had nothing, and that somebody else has given an object meanwhile.

use rolefs::dev_server::{Fault, Operation};
use rolefs::op::Op;
use rolefs::oss::Condition;
use rolefs::write::OnConflict;

use super::failing::give_up_and_go_on;
use super::*;
use crate::stack::soon;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_make_one_name_the_second_learns_of_the_first() {
    let bench = Bench::new().await;
    for (name, len) in [("put", 1000), ("parts", 20 * MIB)] {
        let bytes = pattern(1, len);
        let file = bench.create(name);
        bench.write(&file, 0, &bytes).await;
        bench.base(name, b"theirs");
        for _ in 0..2 {
            let error = bench.commit(&file).await.unwrap_err();
            assert!(matches!(error, Error::Taken(_)), "{error}");
        }
        assert_eq!(bench.get(name).unwrap(), "theirs");
        assert!(bench.content(&file, 0..u64::MAX).await == bytes, "staged");
        // Once the name is free again.
        bench.stack.server.delete(BUCKET, name).unwrap();
        bench.commit(&file).await.unwrap();
        assert!(bench.get(name).unwrap() == bytes);
        bench.write(&file, 1, b"and again").await;
        bench.commit(&file).await.unwrap();
    }
    let copy = bench.create("copy");
    let op = Op::background("test");
    let source = bench.base("source", b"source");
    copy.copy_object(&op, 0, source, 0..6).await.unwrap();
    bench.base("copy", b"theirs");
    let error = bench.commit(&copy).await.unwrap_err();
    assert!(matches!(error, Error::Taken(_)), "{error}");
    assert_eq!(bench.stack.metrics.write.conflicts.get(), 5);
    drop(copy);
    bench.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_wins_where_that_is_wanted_and_under_a_name_that_a_rename_has_taken() {
    let overwrite = |config: &mut Config| config.on_conflict = OnConflict::Overwrite;
    let bench = Bench::with(256 * MIB, overwrite).await;
    let file = bench.create("x");
    bench.write(&file, 0, b"mine").await;
    bench.base("x", b"theirs");
    bench.commit(&file).await.unwrap();
    assert_eq!(bench.get("x").unwrap(), "mine");
    let bench = Bench::new().await;
    let file = bench.create("tmp");
    bench.write(&file, 0, b"mine").await;
    bench.base("x", b"theirs");
    file.rename(key("x"), Condition::None).unwrap();
    bench.commit(&file).await.unwrap();
    assert_eq!(bench.get("x").unwrap(), "mine");
    let careful = bench.create("tmp");
    bench.write(&careful, 0, b"not mine").await;
    careful
        .rename(key("x"), Condition::ForbidOverwrite)
        .unwrap();
    let error = bench.commit(&careful).await.unwrap_err();
    assert!(matches!(error, Error::Taken(_)), "{error}");
    assert_eq!(bench.get("x").unwrap(), "mine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_file_itself_has_stored_is_not_somebody_elses() {
    for (operation, name, len) in [
        (Operation::PutObject, "put", 100_000),
        (Operation::CompleteMultipartUpload, "complete", 20 * MIB),
    ] {
        let bench = Bench::new().await;
        let bytes = pattern(2, len);
        let file = bench.create(name);
        bench.write(&file, 0, &bytes).await;
        give_up_and_go_on(bench, file, operation, (name, bytes)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_comes_late_is_not_somebody_elses() {
    let bench = Bench::new().await;
    let faults = bench.stack.server.faults();
    let file = bench.create("late");
    bench.write(&file, 0, b"first").await;
    // Its request lies somewhere when the commit is given up.
    faults.script(1, Some(Operation::PutObject), "late", Fault::StallAnswer);
    let op = Op::background("test");
    tokio::select! {
        _ = file.commit(&op) => panic!("its answer does not come"),
        () = soon("the request stands still", || faults.stalled() == 1) => {}
    }
    bench.write(&file, 5, b" and second").await;
    // Nothing is there when it is looked for, and then it comes.
    faults.script(1, Some(Operation::PutObject), "late", Fault::StallAnswer);
    let committing = {
        let file = Arc::clone(&file);
        tokio::spawn(async move { file.commit(&Op::background("test")).await })
    };
    soon("the second stands still", || faults.injected() == 2).await;
    bench.base("late", b"first");
    faults.release();
    committing.await.unwrap().unwrap();
    assert_eq!(bench.get("late").unwrap(), "first and second");
    assert_eq!(bench.stack.metrics.write.commit_failures.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_wrong_is_replaced_though_it_is_there() {
    let bench = Bench::new().await;
    let faults = bench.stack.server.faults();
    let flip = Fault::FlipRequestByte { at: 10 };
    let bytes = pattern(3, 1000);
    let file = bench.create("wrong");
    bench.write(&file, 0, &bytes).await;
    // Twice: then the commit fails, and the object is there and wrong.
    faults.script(2, Some(Operation::PutObject), "wrong", flip);
    bench.commit(&file).await.unwrap_err();
    assert!(bench.get("wrong").unwrap() != bytes);
    bench.commit(&file).await.unwrap();
    assert!(bench.get("wrong").unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_after_a_lost_answer_does_not_make_an_own_object_somebody_elses() {
    let bench = Bench::new().await;
    let faults = bench.stack.server.faults();
    let file = bench.create("doubt");
    bench.write(&file, 0, b"mine").await;
    let put = Some(Operation::PutObject);
    faults.script(1, put, "doubt", Fault::AnswerLost);
    faults.script(1, put, "doubt", Fault::forbidden("AccessDenied"));
    bench.commit(&file).await.unwrap_err();
    assert_eq!(bench.get("doubt").unwrap(), "mine");
    bench.write(&file, 4, b" too").await;
    bench.commit(&file).await.unwrap();
    assert_eq!(bench.get("doubt").unwrap(), "mine too");
}
