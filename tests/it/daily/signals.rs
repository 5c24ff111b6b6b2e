//! Signals, processes that die, and mounts that others take away or that stand in the way.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;

use nix::sys::signal::Signal;
use rolefs::dev_server::{Fault, Operation};

use crate::harness::{SOON, World, is_mounted, wait_for};
use crate::launch::{daemon_of, ended, output, signal, wrapped};
use crate::run::{Run, run_script, said, start, wait_for_file};
use crate::written::stored;

/// The next stores of small files stand still.
fn stall_stores(world: &World, times: u64) {
    let faults = world.server.faults();
    faults.script(times, Some(Operation::PutObject), "", Fault::StallAnswer);
}

#[test]
fn a_second_sigint_gives_up_what_is_not_stored_and_names_it() {
    let world = World::open();
    let mut mount = world.mount(&[]);
    let mut file = File::create(mount.at("left")).unwrap();
    file.write_all(b"left open").unwrap();
    stall_stores(&world, u64::MAX);
    let is_storing = || world.server.faults().stalled() == 1;
    signal(mount.child.id(), Signal::SIGINT);
    wait_for(SOON, "the file is being stored", is_storing);
    assert!(mount.child.try_wait().unwrap().is_none());
    signal(mount.child.id(), Signal::SIGINT);
    assert!(!ended(&mut mount.child, SOON).success());
    let log = mount.log_text();
    let line = log.lines().find(|line| line.contains("not stored: "));
    assert!(line.is_some_and(|line| line.contains("left")), "{log}");
    assert!(!is_mounted(&mount.path));
    world.server.faults().release();
    drop(file);
}

#[test]
fn a_second_sigterm_is_no_impatience() {
    let world = World::open();
    let mut mount = world.mount(&[]);
    let mut file = File::create(mount.at("left")).unwrap();
    file.write_all(b"left open").unwrap();
    stall_stores(&world, 1);
    signal(mount.child.id(), Signal::SIGTERM);
    wait_for(SOON, "the file is being stored", || {
        world.server.faults().stalled() == 1
    });
    signal(mount.child.id(), Signal::SIGTERM);
    world.server.faults().release();
    wait_for(SOON, "the file is stored", || {
        stored(&world, "left").is_some()
    });
    drop(file);
    assert!(ended(&mut mount.child, SOON).success());
    assert_eq!(stored(&world, "left").unwrap(), b"left open");
}

#[test]
fn a_second_sigint_ends_a_run_that_stores() {
    let world = World::with_default_role();
    let faults = world.server.faults();
    let denied = Fault::forbidden("AccessDenied");
    faults.script(u64::MAX, Some(Operation::PutObject), "left", denied);
    let script = r#"
        echo x > $MNT/left; touch $OUT/begun
        for i in {1..3000}; do [ ! -e $OUT/go ] || break; sleep 0.02; done; exit 0"#;
    let mut command = run_script(&world, &[], script);
    command.stderr(File::create(world.path("said")).unwrap());
    let mut run = Run::start(&world, command);
    wait_for_file(&world, "begun");
    faults.clear();
    stall_stores(&world, u64::MAX);
    fs::write(world.path("go"), "").unwrap();
    wait_for(SOON, "the mount is taken away", || {
        faults.stalled() > 0 && !is_mounted(&world.path("mnt"))
    });
    let said = || fs::read_to_string(world.path("said")).unwrap();
    signal(run.child.id(), Signal::SIGINT);
    wait_for(SOON, "the first is answered", || {
        said().contains("interrupt again to give it up")
    });
    signal(run.child.id(), Signal::SIGINT);
    assert_eq!(ended(&mut run.child, SOON).code(), Some(74), "{}", said());
    assert!(said().contains("left"), "{}", said());
    faults.release();
}

#[test]
fn a_mount_in_the_foreground_outlives_its_parent() {
    let world = World::open();
    world.put("a", "x");
    let shell = ["bash", "-c", r#""$@" & wait"#, "bash"];
    let mut mount = world.launch("mnt", wrapped(&shell, &world.rolefs()), &[]);
    let daemon = daemon_of(&mount.path).unwrap();
    assert_ne!(daemon, mount.child.id());
    mount.child.kill().unwrap();
    mount.child.wait().unwrap();
    assert_eq!(mount.read("a"), b"x");
    let mut file = File::create(mount.at("b")).unwrap();
    file.write_all(b"left open").unwrap();
    signal(daemon, Signal::SIGTERM);
    wait_for(SOON, "the file is stored", || stored(&world, "b").is_some());
    drop(file);
    wait_for(SOON, "the mount ends", || daemon_of(&mount.path).is_none());
    assert_eq!(stored(&world, "b").unwrap(), b"left open");
    assert!(!is_mounted(&mount.path));
}

#[test]
fn what_is_written_is_stored_though_others_unmount() {
    let world = World::open();
    let mut mount = world.mount(&[]);
    let denied = Fault::forbidden("AccessDenied");
    let faults = world.server.faults();
    faults.script(1, Some(Operation::PutObject), "refused", denied);
    let mut refused = File::create(mount.at("refused")).unwrap();
    refused.write_all(b"at first").unwrap();
    assert!(refused.sync_all().is_err());
    let mut file = File::create(mount.at("open")).unwrap();
    file.write_all(b"before").unwrap();
    let umount = |options: &[&str]| {
        let mut umount = Command::new("umount");
        umount.args(options).arg(&mount.path);
        output(umount).status.success()
    };
    assert!(!umount(&[]), "files are open");
    assert!(umount(&["--lazy"]));
    assert!(!is_mounted(&mount.path));
    file.write_all(b" and after").unwrap();
    file.sync_all().unwrap();
    assert_eq!(stored(&world, "open").unwrap(), b"before and after");
    drop((file, refused));
    assert!(ended(&mut mount.child, SOON).success());
    assert_eq!(stored(&world, "refused").unwrap(), b"at first");
}

#[test]
fn a_command_goes_on_when_others_unmount() {
    let world = World::with_default_role();
    let script = r#"
        exec 3> $MNT/x; echo before >&3; umount --lazy $MNT; echo after >&3; exec 3>&-; touch $OUT/gone
        for i in {1..3000}; do [ ! -e $OUT/go ] || break; sleep 0.02; done; exit 5"#;
    let mut run = start(&world, &[], script);
    wait_for_file(&world, "gone");
    wait_for(SOON, "what was written is stored", || {
        stored(&world, "x").is_some_and(|bytes| bytes == b"before\nafter\n")
    });
    assert!(run.child.try_wait().unwrap().is_none());
    fs::write(world.path("go"), "").unwrap();
    assert_eq!(ended(&mut run.child, SOON).code(), Some(5));
}

#[test]
fn a_run_where_a_mount_stands_or_has_died_says_how_to_end_it() {
    let world = World::with_default_role();
    let run = || output(run_script(&world, &[], "true"));
    let assert_refused = |words: &str| {
        let done = run();
        assert_eq!(done.status.code(), Some(125), "{}", said(&done));
        assert_eq!(said(&done).lines().count(), 1, "{}", said(&done));
        assert!(said(&done).contains(words), "{}", said(&done));
    };
    let mut mount = world.mount(&[]);
    assert_refused("is a rolefs mount already; end it with 'rolefs umount");
    assert!(is_mounted(&mount.path));
    mount.child.kill().unwrap();
    mount.child.wait().unwrap();
    assert_refused("is a mount whose process has died; end it with 'rolefs umount --lazy");
    let mut umount = world.rolefs();
    umount.args(["umount", "--lazy"]).arg(&mount.path);
    assert!(output(umount).status.success());
    let done = run();
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
}
