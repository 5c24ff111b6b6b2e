//! How a mount ends: what is stored then, and what a process leaves behind that was killed.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use rolefs::dev_server::{Fault, Operation};

use crate::harness::{SOON, World, wait_for};
use crate::launch::{ended, signal};
use crate::written::stored;

/// The kernel's directory of FUSE connections, mounted for a while.
struct Connections(PathBuf);

impl Connections {
    fn new(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "fusectl", "none"]).arg(&path);
        assert!(command.status().unwrap().success());
        Self(path)
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_change_that_stands_still_keeps_nothing_else_from_being_stored_at_the_end() {
    let world = World::open();
    world.put("slow", "slow");
    let mut mount = world.mount(&[]);
    let mut file = File::create(mount.at("left")).unwrap();
    file.write_all(b"left open").unwrap();
    let faults = world.server.faults();
    faults.script(1, Some(Operation::CopyObject), "", Fault::StallAnswer);
    let (from, to) = (mount.at("slow"), mount.at("moved"));
    let renaming = std::thread::spawn(move || fs::rename(from, to));
    wait_for(SOON, "the copy stands still", || faults.stalled() == 1);
    signal(mount.child.id(), Signal::SIGTERM);
    wait_for(SOON, "the file is stored", || {
        stored(&world, "left").is_some()
    });
    assert_eq!(stored(&world, "left").unwrap(), b"left open");
    faults.release();
    // The mount goes on with it, or answers that it has ended.
    let _ = renaming.join().unwrap();
    drop(file);
    assert!(ended(&mut mount.child, SOON).success());
}

#[test]
fn what_was_written_is_stored_though_the_kernel_has_given_the_connection_up() {
    let world = World::open();
    let mut mount = world.mount(&[]);
    let mut file = File::create(mount.at("left")).unwrap();
    file.write_all(b"left open").unwrap();
    let connections = Connections::new(world.path("connections"));
    let device = fs::metadata(&mount.path).unwrap().dev();
    let minor = (device & 0xff) | ((device >> 12) & 0xfff00);
    let abort = connections.0.join(minor.to_string()).join("abort");
    fs::write(abort, "1").unwrap();
    drop(connections);
    ended(&mut mount.child, SOON);
    assert_eq!(stored(&world, "left").unwrap(), b"left open");
    drop(file);
}
