//! The way from the prompt into the background, and back.

use std::fs::{self, File};
use std::io::Read;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use rolefs::dev_server::{Fault, Operation};

use crate::harness::{SOON, World, content, is_mounted, wait_for};
use crate::launch::{ended, output, signal};

/// A field of `/proc/PID/stat` behind the name, from 0: state, parent, group, session, terminal.
fn stat_field(pid: u32, field: usize) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, behind) = stat.rsplit_once(") ").unwrap();
    behind.split(' ').nth(field).unwrap().to_owned()
}

#[test]
fn the_prompt_returns_when_the_mount_answers() {
    let world = World::with_default_role();
    world.put("a", content(1, 100_000));
    fs::create_dir(world.path("mnt")).unwrap();
    // The pipes of this end with it: the process in the background holds none of them.
    let prompt = world.background("mnt", world.rolefs(), &[]);
    assert!(prompt.output.status.success(), "{}", prompt.stderr());
    assert_eq!(
        fs::read(prompt.path.join("a")).unwrap(),
        content(1, 100_000)
    );
    assert!(prompt.output.stdout.is_empty());
    let said = prompt.stderr();
    assert_eq!(said.lines().count(), 1, "{said}");
    let log = said.trim().rsplit_once("its log is ").unwrap().1.to_owned();
    assert!(
        log.starts_with(world.path("rolefs-").to_str().unwrap()),
        "{log}"
    );
    assert!(fs::read_to_string(&log).unwrap().contains(": mounted "));
    let daemon = prompt.daemon().unwrap();
    assert_eq!(stat_field(daemon, 3), daemon.to_string(), "its own session");
    assert_eq!(stat_field(daemon, 4), "0", "no terminal");
    let directory = fs::read_link(format!("/proc/{daemon}/cwd")).unwrap();
    assert_eq!(directory.to_str(), Some("/"), "no directory is kept busy");
    for fd in 0..3 {
        let open = fs::read_link(format!("/proc/{daemon}/fd/{fd}")).unwrap();
        assert_eq!(open.to_str(), Some("/dev/null"), "{fd}");
    }
    let mut umount = world.rolefs();
    umount.arg("umount").arg(&prompt.path);
    let umounted = output(umount);
    assert!(umounted.status.success(), "{umounted:?}");
    assert!(!is_mounted(&prompt.path));
    wait_for(SOON, "the background process ends", || {
        prompt.daemon().is_none()
    });
    assert!(
        fs::read_to_string(&log)
            .unwrap()
            .contains("the mount has ended")
    );
}

#[test]
fn a_busy_mount_is_not_ended_unless_lazily() {
    let world = World::with_default_role();
    world.put("a", content(1, 100_000));
    let mut mount = world.launch("mnt", world.rolefs(), &[]);
    let mut open = File::open(mount.at("a")).unwrap();
    let umount = |options: &[&str]| {
        let mut umount = world.rolefs();
        umount.arg("umount").args(options).arg(&mount.path);
        output(umount)
    };
    let refused = umount(&[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("pass --lazy"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(umount(&["--lazy"]).status.success());
    assert!(!is_mounted(&mount.path));
    // What is open lives on until it is closed.
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, content(1, 100_000));
    drop(open);
    assert!(ended(&mut mount.child, SOON).success());
}

#[test]
fn a_signal_leaves_alone_what_others_mounted_there() {
    let world = World::with_default_role();
    world.put("a", "x");
    let mut first = world.launch("mnt", world.rolefs(), &[]);
    let open = File::open(first.at("a")).unwrap();
    let mut umount = world.rolefs();
    umount.args(["umount", "--lazy"]).arg(&first.path);
    assert!(output(umount).status.success());
    let mut second = world.launch("mnt", world.rolefs(), &[]);
    signal(first.child.id(), Signal::SIGTERM);
    assert!(ended(&mut first.child, SOON).success());
    assert!(is_mounted(&second.path));
    assert_eq!(second.read("a"), b"x");
    drop(open);
    signal(second.child.id(), Signal::SIGTERM);
    assert!(ended(&mut second.child, SOON).success());
    assert!(!is_mounted(&second.path));
}

#[test]
fn a_signal_ends_the_mount_cleanly() {
    for (name, which) in [("term", Signal::SIGTERM), ("int", Signal::SIGINT)] {
        let world = World::with_default_role();
        let mut mount = world.launch(name, world.rolefs(), &[]);
        signal(mount.child.id(), which);
        assert!(ended(&mut mount.child, SOON).success());
        assert!(!is_mounted(&mount.path));
        assert!(mount.stats.exists());
    }
}

#[test]
fn a_signal_ends_a_busy_mount_too() {
    let world = World::with_default_role();
    world.put("a", content(1, 100_000));
    world.put("b", content(2, 100_000));
    let mut mount = world.launch("mnt", world.rolefs(), &[]);
    let idle = File::open(mount.at("a")).unwrap();
    let faults = world.server.faults();
    faults.script(
        u64::MAX,
        Some(Operation::GetObject),
        "b",
        Fault::StallAnswer,
    );
    let path = mount.at("b");
    let reader = thread::spawn(move || fs::read(path));
    wait_for(SOON, "the reader waits", || faults.stalled() > 0);
    signal(mount.child.id(), Signal::SIGTERM);
    let status = ended(&mut mount.child, SOON);
    assert!(status.success(), "{status}: {}", mount.log_text());
    assert!(!is_mounted(&mount.path));
    wait_for(SOON, "the reader is told", || reader.is_finished());
    assert!(reader.join().unwrap().is_err());
    assert!(
        mount
            .log_text()
            .contains("taken out of the tree all the same")
    );
    drop(idle);
}

#[test]
fn a_hangup_ends_nothing() {
    let world = World::with_default_role();
    world.put("a", "x");
    let mut mount = world.launch("mnt", world.rolefs(), &[]);
    signal(mount.child.id(), Signal::SIGHUP);
    assert_eq!(mount.read("a"), b"x");
    assert!(mount.child.try_wait().unwrap().is_none());
}

#[test]
fn a_prompt_that_is_interrupted_leaves_nothing_behind() {
    let world = World::with_default_role();
    fs::create_dir(world.path("mnt")).unwrap();
    let faults = world.server.faults();
    faults.script(1, None, "", Fault::Delay(Duration::from_secs(2)));
    let mut rolefs = world.rolefs();
    rolefs
        .arg("mount")
        .arg(world.path("mnt"))
        .arg("oss://workspace-default");
    let mut prompt = rolefs.spawn().unwrap();
    wait_for(SOON, "preflight asks", || faults.injected() > 0);
    signal(prompt.id(), Signal::SIGINT);
    ended(&mut prompt, SOON);
    let daemon = || crate::launch::daemon_of(&world.path("mnt"));
    wait_for(SOON, "the background process ends", || daemon().is_none());
    assert!(!is_mounted(&world.path("mnt")));
}
