//! What a staging directory holds at any moment is what a process leaves behind that dies then: it is copied, and recovered from the copy.

use std::fs;
use std::path::Path;

use rolefs::dev_server::{Fault, Operation};
use rolefs::op::Op;
use rolefs::oss::Condition;
use rolefs::write::{CrashedMount, Fallocate, StagingDirectory, Standing};

use super::*;
use crate::stack::soon;

/// A bench whose staging directory has so much room.
async fn staged(memory_bytes: u64, directory: &Path, bytes_max: u64) -> Bench {
    let directory = StagingDirectory::open(directory, bytes_max).unwrap();
    Bench::with(memory_bytes, |config| config.directory = Some(directory)).await
}

/// The staging directory as it is now, of nobody who lives.
fn crash(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for mount in fs::read_dir(directory).unwrap() {
        let mount = mount.unwrap();
        let to = copy.path().join(mount.file_name());
        fs::create_dir(&to).unwrap();
        for file in fs::read_dir(mount.path()).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    copy
}

/// What a crash now would leave of the one file that is written: where it stands, its content, and how many bytes of that are gone. `None`: it is stored.
pub(super) async fn recovered(bench: &Bench, directory: &Path) -> Option<(Standing, Vec<u8>, u64)> {
    let crashed = crash(directory);
    recovered_from(bench, crashed.path()).await
}

async fn recovered_from(bench: &Bench, crashed: &Path) -> Option<(Standing, Vec<u8>, u64)> {
    let mounts = CrashedMount::find(crashed).unwrap();
    let file = mounts.first()?.files().first()?;
    let op = Op::background("test");
    let found = file.look(&bench.stack.bucket, &op).await.unwrap();
    let to = tempfile::tempdir().unwrap();
    let path = to.path().join("a/file");
    let fetch = rolefs::fs::fetch(Arc::clone(&bench.stack.reader));
    let is_gone = |failure: &Failure| {
        let error = failure.downcast_ref::<rolefs::read::Error>();
        error.is_some_and(rolefs::read::Error::is_of_a_lost_version)
    };
    let missing = found.save(&path, &fetch, is_gone).await.unwrap();
    Some((found.standing(), fs::read(path).unwrap(), missing))
}

/// Stores all that is left there, as by a restore.
async fn restore(bench: &Bench, crashed: &Path) {
    let op = Op::background("test");
    for mount in CrashedMount::find(crashed).unwrap() {
        for file in mount.files() {
            let found = file.look(&bench.stack.bucket, &op).await.unwrap();
            assert_eq!(found.standing(), Standing::Unchanged, "{}", file.key());
            found.store(&bench.writer, &op).await.unwrap();
            file.remove();
        }
    }
    assert!(fs::read_dir(crashed).unwrap().next().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_change_of_a_new_file_and_of_an_object_is_recovered() {
    let directory = tempfile::tempdir().unwrap();
    let bench = staged(256 * MIB, directory.path(), 64 * MIB).await;
    let op = Op::background("test");
    let new = bench.create("new");
    bench.write(&new, 3, b"written").await;
    let old = pattern(1, 3 * MIB);
    let other = bench.base("other", &pattern(2, MIB));
    let file = bench.open("old", &old);
    bench.write(&file, 100, b"changed").await;
    file.truncate(&op, 2 * MIB).await.unwrap();
    bench.write(&file, 2 * MIB + 10, b"behind a hole").await;
    let (punch, zero) = (Fallocate::PunchHole, Fallocate::ZeroRange);
    file.fallocate(&op, punch, 5000..9000).await.unwrap();
    file.fallocate(&op, zero, 3 * MIB..3 * MIB + 9)
        .await
        .unwrap();
    file.copy_object(&op, MIB, other, 7..100_007).await.unwrap();
    file.copy_file(&op, 50, &new, 0..10).await.unwrap();
    file.copy_file(&op, 60_000, &file, 90..120).await.unwrap();
    let expected = bench.content(&file, 0..u64::MAX).await;
    let crashed = crash(directory.path());
    restore(&bench, crashed.path()).await;
    assert_eq!(bench.get("new").unwrap(), b"\0\0\0written"[..]);
    assert!(bench.get("old").unwrap() == expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_memory_has_let_go_of_is_recovered_and_what_is_stored_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let bench = staged(16 * MIB, directory.path(), 256 * MIB).await;
    let file = bench.create("large");
    let mut bytes = pattern(3, 50 * MIB);
    for (at, piece) in bytes.chunks(1 << 20).enumerate() {
        bench.write(&file, at as u64 * MIB, piece).await;
    }
    bench.write(&file, 20 * MIB + 3, b"changed").await;
    bytes[(20 << 20) + 3..(20 << 20) + 10].copy_from_slice(b"changed");
    let (standing, found, _) = recovered(&bench, directory.path()).await.unwrap();
    assert!(standing == Standing::Unchanged && found == bytes);
    bench.commit(&file).await.unwrap();
    assert!(recovered(&bench, directory.path()).await.is_none());
    bench.write(&file, 50 * MIB, b"more").await;
    bytes.extend_from_slice(b"more");
    file.rename(key("moved"), Condition::None).unwrap_err();
    let (standing, found, _) = recovered(&bench, directory.path()).await.unwrap();
    assert!(standing == Standing::Unchanged && found == bytes);
    file.unlinked();
    assert!(recovered(&bench, directory.path()).await.is_none());
    drop(file);
    bench.nothing_is_left().await;
    soon("nothing is staged on disk", || {
        bench.stack.metrics.write.staged_disk_bytes.get() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_the_process_did_not_live_to_see_is_recognised() {
    for (operation, name, len) in [
        (Operation::PutObject, "put", 100_000),
        (Operation::CompleteMultipartUpload, "complete", 20 * MIB),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let bench = staged(256 * MIB, directory.path(), 256 * MIB).await;
        let mut bytes = pattern(5, len);
        let file = bench.open(name, &bytes);
        bench.write(&file, len, b"appended").await;
        bytes.extend_from_slice(b"appended");
        let faults = bench.stack.server.faults();
        faults.script(1, Some(operation), "", Fault::AnswerLost);
        faults.script(1, Some(operation), "", Fault::StallAnswer);
        let op = Op::background("test");
        let committing = file.commit(&op);
        tokio::pin!(committing);
        tokio::select! {
            _ = &mut committing => panic!("its answer does not come"),
            () = soon("the second attempt stands still", || faults.stalled() == 1) => {}
        }
        assert!(bench.get(name).unwrap() == bytes);
        let (standing, found, _) = recovered(&bench, directory.path()).await.unwrap();
        assert!(standing == Standing::Stored && found == bytes, "{name}");
        // What was written meanwhile begins from what is stored.
        bench.write(&file, 0, b"meanwhile").await;
        bytes[..9].copy_from_slice(b"meanwhile");
        let (standing, found, _) = recovered(&bench, directory.path()).await.unwrap();
        assert!(standing == Standing::Unchanged && found == bytes, "{name}");
        faults.clear();
        faults.release();
        committing.await.unwrap();
        let (standing, found, _) = recovered(&bench, directory.path()).await.unwrap();
        assert!(standing == Standing::Unchanged && found == bytes, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_somebody_else_has_changed_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let bench = staged(256 * MIB, directory.path(), 64 * MIB).await;
    let file = bench.open("x", &pattern(1, 10_000));
    bench.write(&file, 0, b"mine").await;
    bench.stack.put("x", b"theirs");
    let (standing, found, missing) = recovered(&bench, directory.path()).await.unwrap();
    assert_eq!((standing, missing), (Standing::Changed, 9996));
    assert_eq!((&found[..4], found.len()), (&b"mine"[..], 10_000));
    drop(file);
    let new = bench.create("y");
    bench.write(&new, 0, b"mine").await;
    bench.stack.put("y", b"theirs");
    let crashed = crash(directory.path());
    let mounts = CrashedMount::find(crashed.path()).unwrap();
    assert_eq!(mounts[0].files().len(), 2, "x was given up unstored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_log_leaves_the_file_as_it_was_after_one_of_its_writes() {
    let directory = tempfile::tempdir().unwrap();
    let bench = staged(256 * MIB, directory.path(), 64 * MIB).await;
    let file = bench.create("x");
    let mut states = vec![Vec::new()];
    for round in 0..20_u64 {
        let bytes = pattern(round, 900 + round);
        bench.write(&file, round * 500, &bytes).await;
        states.push(bench.content(&file, 0..u64::MAX).await);
    }
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..60 {
        let crashed = crash(directory.path());
        let mount = fs::read_dir(crashed.path()).unwrap().next().unwrap();
        let mut entries = fs::read_dir(mount.unwrap().path()).unwrap();
        let is_log = |path: &std::path::PathBuf| path.extension().is_some_and(|it| it == "log");
        let log = entries.find_map(|entry| Some(entry.unwrap().path()).filter(is_log));
        let log = log.unwrap();
        let mut bytes = fs::read(&log).unwrap();
        let at = random.usize(1..bytes.len());
        if random.bool() {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << random.u8(..8);
        }
        fs::write(&log, bytes).unwrap();
        let (_, found, _) = recovered_from(&bench, crashed.path()).await.unwrap();
        assert!(states.contains(&found), "cut or changed at {at}");
        assert_ne!(Some(&found), states.last());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_written_over_and_over_takes_no_more_of_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let bench = staged(256 * MIB, directory.path(), 512 * MIB).await;
    let file = bench.create("database");
    for round in 0..400_u64 {
        let piece = pattern(round, MIB);
        bench.write(&file, round % 5 * MIB + 7, &piece).await;
        let staged = bench.stack.metrics.write.staged_disk_bytes.get();
        assert!(staged <= 90 << 20, "{staged}");
    }
    let expected = bench.content(&file, 0..u64::MAX).await;
    let (standing, found, _) = recovered(&bench, directory.path()).await.unwrap();
    assert!(standing == Standing::Unchanged && found == expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_first_change_found_no_room_is_named_as_lost_though_room_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let bench = staged(256 * MIB, directory.path(), 8 * MIB).await;
    let first = bench.create("first");
    for at in 0..7 {
        bench.write(&first, at * MIB, &pattern(at, MIB)).await;
    }
    let second = bench.create("second");
    bench.write(&second, 0, &pattern(7, MIB)).await;
    bench.commit(&first).await.unwrap();
    bench.write(&second, MIB, b"logged it could be").await;
    let (standing, ..) = recovered(&bench, directory.path()).await.unwrap();
    assert_eq!(standing, Standing::GivenUp);
    bench.commit(&second).await.unwrap();
    assert_eq!(recovered(&bench, directory.path()).await, None);
    bench.write(&second, 0, b"anew").await;
    let (standing, found, _) = recovered(&bench, directory.path()).await.unwrap();
    assert_eq!((standing, &found[..4]), (Standing::Unchanged, &b"anew"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_the_directory_has_no_room_for_is_named_as_lost_until_it_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let bench = staged(256 * MIB, directory.path(), 8 * MIB).await;
    let file = bench.create("large");
    for at in 0..20 {
        bench.write(&file, at * MIB, &pattern(at, MIB)).await;
    }
    let (standing, ..) = recovered(&bench, directory.path()).await.unwrap();
    assert_eq!(standing, Standing::GivenUp);
    // Its room is for others.
    let other = bench.create("other");
    bench.write(&other, 0, b"other").await;
    bench.commit(&file).await.unwrap();
    let (standing, found, _) = recovered(&bench, directory.path()).await.unwrap();
    assert_eq!((standing, &found[..]), (Standing::Unchanged, &b"other"[..]));
    bench.write(&file, 0, b"changed").await;
    let crashed = crash(directory.path());
    let mounts = CrashedMount::find(crashed.path()).unwrap();
    assert_eq!(mounts[0].files().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_living_mount_stages_is_not_taken_for_a_crashed_ones() {
    let directory = tempfile::tempdir().unwrap();
    let first = staged(256 * MIB, directory.path(), 64 * MIB).await;
    let second = staged(256 * MIB, directory.path(), 64 * MIB).await;
    let mine = first.create("mine");
    first.write(&mine, 0, b"mine").await;
    let theirs = second.create("theirs");
    second.write(&theirs, 0, b"theirs").await;
    assert!(CrashedMount::find(directory.path()).unwrap().is_empty());
    drop((theirs, second));
    // It has ended without storing its file.
    let found = CrashedMount::find(directory.path()).unwrap();
    let keys: Vec<&str> = found
        .iter()
        .flat_map(|mount| mount.files().iter().map(|file| file.key().as_str()))
        .collect();
    assert_eq!(keys, ["theirs"]);
    // Whoever looks at it has it alone.
    assert!(CrashedMount::find(directory.path()).unwrap().is_empty());
    found[0].files()[0].remove();
    drop(found);
    first.commit(&mine).await.unwrap();
    drop((mine, first));
    soon("nothing is left", || {
        fs::read_dir(directory.path()).unwrap().next().is_none()
    })
    .await;
    assert!(
        CrashedMount::find(Path::new("/nowhere"))
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_dies_after_its_store_has_stored_it() {
    let op = Op::background("test");
    for (name, len) in [("new", 0), ("old", 10_000), ("large", 20 * MIB)] {
        let directory = tempfile::tempdir().unwrap();
        let bench = staged(256 * MIB, directory.path(), 64 * MIB).await;
        let file = match len {
            0 => bench.create(name),
            len => bench.open(name, &pattern(1, len)),
        };
        bench.write(&file, 0, b"first").await;
        bench.write(&file, len + 5, b"second").await;
        let expected = bench.content(&file, 0..u64::MAX).await;
        let crashed = crash(directory.path());
        {
            let mounts = CrashedMount::find(crashed.path()).unwrap();
            let found = mounts[0].files()[0].look(&bench.stack.bucket, &op).await;
            found.unwrap().store(&bench.writer, &op).await.unwrap();
        }
        assert!(bench.get(name).unwrap() == expected);
        let (standing, found, _) = recovered_from(&bench, crashed.path()).await.unwrap();
        assert!(
            standing == Standing::Stored && found == expected,
            "{name}: {standing:?}"
        );
        // What somebody else stores then is told.
        bench.stack.put(name, b"theirs");
        let (standing, ..) = recovered_from(&bench, crashed.path()).await.unwrap();
        assert_eq!(standing, Standing::Changed, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_renamed_over_another_replaces_that_and_nothing_newer() {
    let directory = tempfile::tempdir().unwrap();
    let bench = staged(256 * MIB, directory.path(), 64 * MIB).await;
    bench.stack.put("target", b"old");
    let file = bench.create("temporary");
    bench.write(&file, 0, b"new").await;
    file.rename(key("target"), Condition::None).unwrap();
    bench.write(&file, 3, b" content").await;
    let crashed = crash(directory.path());
    // The object is newer than the last change.
    let past = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let mount = fs::read_dir(crashed.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let set_times = |time| {
        for entry in fs::read_dir(mount.path()).unwrap() {
            let file = fs::File::options().write(true).open(entry.unwrap().path());
            file.unwrap().set_modified(time).unwrap();
        }
    };
    set_times(past);
    let (standing, ..) = recovered_from(&bench, crashed.path()).await.unwrap();
    assert_eq!(standing, Standing::Changed);
    set_times(std::time::SystemTime::now());
    restore(&bench, crashed.path()).await;
    assert_eq!(bench.get("target").unwrap(), b"new content"[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_save_has_made_before_is_taken_as_done() {
    let directory = tempfile::tempdir().unwrap();
    let bench = staged(256 * MIB, directory.path(), 64 * MIB).await;
    let file = bench.open("x", &pattern(1, 3 * MIB));
    bench.write(&file, MIB, b"changed").await;
    let expected = bench.content(&file, 0..u64::MAX).await;
    let crashed = crash(directory.path());
    let mounts = CrashedMount::find(crashed.path()).unwrap();
    let op = Op::background("test");
    let found = mounts[0].files()[0]
        .look(&bench.stack.bucket, &op)
        .await
        .unwrap();
    let fetch = rolefs::fs::fetch(Arc::clone(&bench.stack.reader));
    let to = tempfile::tempdir().unwrap();
    let path = to.path().join("x");
    for _ in 0..2 {
        let missing = found.save(&path, &fetch, |_| false).await.unwrap();
        assert!(missing == 0 && fs::read(&path).unwrap() == expected);
    }
    let mut other = expected.clone();
    other[2 << 20] ^= 1;
    fs::write(&path, &other).unwrap();
    let refused = found.save(&path, &fetch, |_| false).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
    assert!(fs::read(&path).unwrap() == other);
    assert_eq!(
        fs::read_dir(to.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_surely_refused_is_not_noted_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let bench = staged(256 * MIB, directory.path(), 64 * MIB).await;
    let file = bench.create("x");
    bench.write(&file, 0, b"x").await;
    let denied = Fault::Refuse {
        status: 403,
        code: "AccessDenied",
    };
    let faults = bench.stack.server.faults();
    faults.script(1, Some(Operation::PutObject), "", denied);
    bench.commit(&file).await.unwrap_err();
    let crashed = crash(directory.path());
    let mount = fs::read_dir(crashed.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let is_head = |path: &std::path::PathBuf| path.extension().is_some_and(|it| it == "head");
    let mut entries = fs::read_dir(mount.path()).unwrap();
    let head = entries.find_map(|entry| Some(entry.unwrap().path()).filter(is_head));
    let head = fs::read_to_string(head.unwrap()).unwrap();
    assert!(head.contains("\"unsure\":null"), "{head}");
}
