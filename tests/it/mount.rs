//! The main job: a bucket's objects are files.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::harness::{BUCKET, World, content, run, shell};

#[test]
fn objects_are_files_and_prefixes_are_directories() {
    let world = World::with_default_role();
    world.put("top.txt", "top");
    world.put("data/train/a.bin", content(1, 3_000_000));
    world.put("data/marker/", "");
    let mount = world.mount(&[]);
    assert_eq!(mount.read("top.txt"), b"top");
    assert_eq!(mount.read("data/train/a.bin"), content(1, 3_000_000));
    assert_eq!(
        shell(&mount.path, "find . | sort"),
        ".\n./data\n./data/marker\n./data/train\n./data/train/a.bin\n./top.txt\n"
    );
    let metrics = mount.unmount();
    assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0);
}

#[test]
fn a_warm_read_costs_no_get() {
    let world = World::open();
    world.put("a", content(2, 5_000_000));
    let mount = world.mount(&[]);
    assert_eq!(mount.read("a"), content(2, 5_000_000));
    let gets = world.server.stats().get();
    assert_eq!(mount.read("a"), content(2, 5_000_000));
    shell(
        &mount.path,
        "dd if=a of=/dev/null bs=1M iflag=direct status=none",
    );
    assert_eq!(world.server.stats().get(), gets);
}

#[test]
fn every_write_answers_erofs() {
    let world = World::open();
    world.put("d/a", "x");
    let mount = world.mount(&["--read-only"]);
    for script in [
        "touch n",
        "mkdir n",
        "rm d/a",
        "rmdir d",
        "mv d/a d/b",
        "ln -s d/a n",
        "ln d/a n",
        "truncate -s 0 d/a",
        "chmod 600 d/a",
        "echo y >> d/a",
    ] {
        let output = run(&mount.path, script);
        assert!(!output.status.success(), "{script} succeeded");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("Read-only file system"), "{script}: {said}");
    }
}

#[test]
fn owner_and_modes_are_as_asked() {
    let world = World::open();
    world.put("d/a", "x");
    let mount = world.mount(&[
        "--uid=1234",
        "--gid=77",
        "--file-mode=0640",
        "--dir-mode=0750",
        "--allow-other",
    ]);
    let file = fs::metadata(mount.at("d/a")).unwrap();
    assert_eq!(
        (file.uid(), file.gid(), file.mode() & 0o7777),
        (1234, 77, 0o640)
    );
    let directory = fs::metadata(mount.at("d")).unwrap();
    assert_eq!(
        (directory.uid(), directory.gid(), directory.mode() & 0o7777),
        (1234, 77, 0o750)
    );
}

#[test]
fn a_prefix_is_mounted_as_the_root() {
    let world = World::open();
    world.put("data/train/a", "x");
    world.put("other", "y");
    let mount = world.mount(&[&format!("oss://{BUCKET}/data")]);
    assert_eq!(shell(&mount.path, "find . -type f"), "./train/a\n");
}
