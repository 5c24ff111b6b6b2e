//! `rolefs bench` over a development server.

use std::fs;
use std::process::{Output, Stdio};

use nix::sys::signal::Signal;
use rolefs::dev_server::{Fault, Operation};

use crate::harness::{BUCKET, SOON, World, content, wait_for};
use crate::launch::{ended, output, signal};

fn bench(world: &World, words: &[&str]) -> (Output, String) {
    let mut command = world.rolefs();
    command.arg("bench").args(words);
    let output = output(command);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

/// Neither a mount nor a file of ours is left.
fn assert_nothing_is_left(world: &World) {
    let is_ours = |name: &str| name.starts_with("rolefs-bench-");
    wait_for(SOON, "the directory of the bench is gone", || {
        let mut names = fs::read_dir(world.path("")).unwrap().flatten();
        !names.any(|entry| entry.file_name().to_str().is_some_and(is_ours))
    });
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(world.path("rolefs-bench-").to_str().unwrap()));
}

#[test]
fn both_ways_are_measured_and_nothing_is_left() {
    let world = World::open();
    world.put("data/large", content(1, 20 << 20));
    for n in 0..50 {
        world.put(&format!("data/small/{n}"), content(n, 10_000));
    }
    let target = format!("oss://{BUCKET}/data");
    let (output, text) = bench(&world, &["--seconds=8", &target]);
    assert!(output.status.success(), "{output:?}");
    for what in ["4 KiB at random", "files of up to 1 MiB", "large files"] {
        assert!(text.contains(what), "{text}");
    }
    assert!(
        !text.contains("writing") && !text.contains("no result"),
        "{text}"
    );
    assert_eq!(text.matches("\n  mount ").count(), 3, "{text}");
    assert_eq!(world.server.stats().put(), 0, "nothing is written");
    assert_nothing_is_left(&world);
    let written = ["--write", "--seconds=16", &target, "--", "--memory=64MiB"];
    let (output, text) = bench(&world, &written);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("writing 64"), "{text}");
    assert_nothing_is_left(&world);
    let mount = world.mount(&["--read-only"]);
    let names: Vec<_> = fs::read_dir(mount.at("data")).unwrap().flatten().collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn ended_while_it_mounts_it_leaves_no_mount_behind() {
    let world = World::open();
    world.put("data/large", content(1, 20 << 20));
    // Only the mount asks for it, before it is there.
    let faults = world.server.faults();
    let late = Fault::Delay(std::time::Duration::from_secs(1));
    faults.script(u64::MAX, Some(Operation::GetBucketInfo), "", late);
    let mut command = world.rolefs();
    command.args(["bench", &format!("oss://{BUCKET}/data")]);
    let mut bench = command.stdout(Stdio::null()).spawn().unwrap();
    wait_for(SOON, "it mounts", || {
        world.server.stats().count(Operation::GetBucketInfo) > 0
    });
    signal(bench.id(), Signal::SIGTERM);
    let status = ended(&mut bench, SOON);
    assert_eq!(status.code(), Some(1), "{status}");
    assert_nothing_is_left(&world);
}

#[test]
fn what_cannot_be_measured_is_one_sentence() {
    let world = World::open();
    for (words, said) in [
        (
            &["oss://workspace-default/none"][..],
            "there is no object to read below",
        ),
        (&["s3://b"], "is not oss://"),
        (&["--seconds=1"], "1 is not in 2..=600"),
        (
            &["oss://workspace-default", "--write", "--", "--memory=much"],
            "--memory much: not a size",
        ),
    ] {
        let (output, _) = bench(&world, words);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(said), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_nothing_is_left(&world);
    }
}
