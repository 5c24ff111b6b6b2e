//! What walks, names and rules cost: requests, and memory.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use rolefs::fuse::{self, MountOptions, Session, SessionOptions};
use tempfile::TempDir;

use crate::harness::{SOON, World, content, runtime, shell, wait_for};
use crate::kernel;
use crate::stack::Stack;

#[test]
fn walks_of_a_large_directory_cost_lists_only_and_few_too_many() {
    let world = World::open();
    let count = 20_300;
    for at in 0..count {
        world.put(&format!("d/img_{at}.jpg"), "x");
    }
    for (name, script) in [
        ("find", "find d -type f"),
        ("ls", "ls -l d"),
        ("glob", "shopt -s nullglob; printf '%s\n' d/*.jpg"),
    ] {
        let mount = world.mount_at(name, &[]);
        let before = world.server.stats();
        let lines = shell(&mount.path, script);
        assert_eq!(
            lines.lines().filter(|line| line.contains("img_")).count(),
            count
        );
        let after = world.server.stats();
        let (lists, pages) = (after.list() - before.list(), count.div_ceil(1000) as u64);
        // Beside the pages: the lookup of the directory's name, which is a HEAD and a LIST.
        assert!(
            lists <= pages * 6 / 5 + 4 + 1,
            "{script}: {lists} LISTs for {pages} pages"
        );
        let others = after.requests() - before.requests() - lists;
        assert!(others <= 1, "{script}: {others} requests that are no LISTs");
    }
}

#[test]
fn a_reader_of_the_first_names_costs_two_lists() {
    let world = World::open();
    for at in 0..20_000 {
        world.put(&format!("{at:05}"), "x");
    }
    let mount = world.mount(&[]);
    let before = world.server.stats();
    let mut stream = kernel::DirectoryStream::open(&mount.path).unwrap();
    assert_eq!(stream.next_name().as_deref(), Some("00000"));
    drop(stream);
    let lists = world.server.stats().list() - before.list();
    assert!(lists <= 2, "{lists} LISTs for one name");
}

/// In this process, where the metrics can be seen while the kernel holds the mount.
#[test]
fn the_kernel_is_asked_to_forget_what_is_too_much() {
    let names_max = 5_000;
    let runtime = runtime();
    let stack = runtime.block_on(Stack::new(64 << 20));
    for at in 0..20_000 {
        stack.put(&format!("d/{at:05}"), b"still here");
    }
    let ttl = Duration::from_secs(60);
    let (fs, _) = runtime.block_on(stack.file_system(ttl, names_max));
    let directory = TempDir::with_prefix("rolefs-test-").unwrap();
    let options = MountOptions {
        source: "test".to_owned(),
        allow_other: false,
        read_only: true,
    };
    let mounted = fuse::mount(directory.path(), &options).unwrap();
    let session = Session::new(
        mounted.fd,
        fs,
        &SessionOptions {
            threads: 2,
            max_background: 16,
            allow_other: false,
            passthrough: None,
        },
        Arc::clone(&stack.metrics),
        runtime.handle(),
    )
    .unwrap();
    let session = std::thread::spawn(move || session.run());
    let outcome = std::panic::catch_unwind(|| {
        let mut open = File::open(directory.path().join("d/00000")).unwrap();
        let listed = shell(directory.path(), "ls -l d");
        assert_eq!(listed.lines().count(), 20_001);
        wait_for(SOON, "the names are fewer than the bound", || {
            stack.metrics.tree.inodes.get() <= names_max as i64
        });
        let mut text = String::new();
        open.read_to_string(&mut text).unwrap();
        assert_eq!(text, "still here");
        // And again, with readers beside the walk.
        let script = "for at in 1 2; do find d -type f | wc -l & cat d/0*9 | wc -c; wait; done";
        let printed: BTreeSet<String> = shell(directory.path(), script)
            .lines()
            .map(str::to_owned)
            .collect();
        assert_eq!(printed, ["10000", "20000"].map(str::to_owned).into());
        wait_for(SOON, "the names are fewer than the bound again", || {
            stack.metrics.tree.inodes.get() <= names_max as i64
        });
    });
    fuse::unmount(directory.path(), true).unwrap();
    session.join().unwrap().unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn what_never_changes_is_checked_once() {
    let world = World::open();
    for at in 0..5 {
        world.put(&format!("data/deep/{at}"), "x");
        world.put(&format!("other/deep/{at}"), "x");
    }
    let mount = world.mount(&["--attr-ttl=0", "--immutable=data/**", "--immutable=*.never"]);
    let cost = |script: &str| {
        let before = world.server.stats();
        shell(&mount.path, script);
        let after = world.server.stats();
        (
            after.head() - before.head(),
            after.list() - before.list(),
            after.requests() - before.requests(),
        )
    };
    let (_, lists, _) = cost("ls data/deep");
    assert!(lists >= 1);
    // Each is read whole once; the page cache has it then.
    let (heads, lists, requests) = cost("for at in 1 2 3; do cat data/deep/*; done");
    assert_eq!((heads, requests - lists), (0, 5), "only the GETs");
    let (heads, ..) = cost("for at in 1 2 3; do cat data/deep/0 data/deep/4; done");
    assert_eq!(heads, 0);
    let (heads, ..) = cost("cat other/deep/0; cat other/deep/0; cat other/deep/0");
    assert!(heads >= 3, "{heads} HEADs of what may change");
    // It has changed all the same: no mixture, and the new one is found.
    world.put("data/deep/0", "something else");
    shell(
        &mount.path,
        "for at in 1 2 3; do cat data/deep/0 > /dev/null || true; done",
    );
}

#[test]
fn what_is_read_directly_is_not_in_the_page_cache() {
    let world = World::open();
    let bytes = content(5, 300_000);
    world.put("shards/0.tar", bytes.clone());
    let reads = |name: &str, options: &[&str]| {
        let mount = world.mount_at(name, options);
        for _ in 0..20 {
            assert!(mount.read("shards/0.tar") == bytes);
        }
        assert!(kernel::map(&File::open(mount.at("shards/0.tar")).unwrap())[..] == bytes);
        mount.unmount().value("rolefs_read_reads_total")
    };
    let (cached, direct) = (
        reads("cached", &[]),
        reads("direct", &["--direct=**/*.tar"]),
    );
    assert!(cached < 20 && direct >= 20, "{cached} and {direct} READs");
}

#[test]
fn a_bad_pattern_is_told_in_one_line() {
    let world = World::open();
    for flag in ["--immutable", "--direct"] {
        let output = world
            .rolefs()
            .args(["mount", flag, "data/{a", "/nowhere", "oss://b"])
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(
            told.contains(&format!("{flag} data/{{a: ")) && told.contains("write for instance"),
            "{told}"
        );
        assert_eq!(told.trim_end().lines().count(), 1, "{told}");
    }
}
