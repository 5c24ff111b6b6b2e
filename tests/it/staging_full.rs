//! Writers when there is no room to stage, and when the bucket takes nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::thread;

use rolefs::dev_server::{Fault, Operation};

use crate::disk_full::Mounted;
use crate::harness::{BUCKET, Mount, World, content};
use crate::written::stored;

const MIB: usize = 1 << 20;

/// OSS takes nothing.
fn deny(world: &World) {
    for operation in [
        Operation::PutObject,
        Operation::InitiateMultipartUpload,
        Operation::UploadPart,
    ] {
        let denied = Fault::forbidden("AccessDenied");
        let faults = world.server.faults();
        faults.script(u64::MAX, Some(operation), "", denied);
    }
}

/// Writes until that fails, in pieces that the kernel does not divide; how much was written, and the error.
fn write_until_full(file: &mut File, bytes: &[u8]) -> (usize, Option<i32>) {
    let mut at = 0;
    while at < bytes.len() {
        match file.write(&bytes[at..bytes.len().min(at + (64 << 10))]) {
            Ok(written) => at += written,
            Err(error) => return (at, error.raw_os_error()),
        }
    }
    (at, None)
}

/// What a writer meets whom OSS denies everything, and what becomes of his file when it no longer does.
fn denied_then_allowed(world: &World, mount: &Mount, room: usize) {
    let bytes = content(1, 120 * MIB);
    fs::write(mount.at("earlier"), &bytes[..MIB]).unwrap();
    deny(world);
    let mut file = File::create(mount.at("stuck")).unwrap();
    let (mut at, error) = write_until_full(&mut file, &bytes);
    assert!(
        matches!(error, Some(libc::ENOSPC | libc::EACCES)),
        "{error:?} after {at}"
    );
    assert!(at >= room / 2, "{at} of {room} bytes were taken");
    let log = mount.log_text();
    assert!(
        log.lines()
            .any(|line| line.contains("stuck") && (line.contains("WARN") || line.contains("ERROR"))),
        "the log names the file"
    );
    // Nothing of what was taken is lost, here or in the bucket.
    let mut seen = Vec::new();
    let mut reader = File::open(mount.at("stuck")).unwrap();
    reader.read_to_end(&mut seen).unwrap();
    assert!(seen == bytes[..at], "{} of {at} bytes", seen.len());
    assert!(stored(world, "earlier").unwrap() == bytes[..MIB]);
    assert!(mount.read("earlier") == bytes[..MIB]);
    assert!(file.sync_all().is_err());
    assert_eq!(stored(world, "stuck"), None);
    world.server.faults().clear();
    file.sync_all().unwrap();
    assert!(stored(world, "stuck").unwrap() == bytes[..at]);
    while at < bytes.len() {
        let (more, error) = write_until_full(&mut file, &bytes[at..]);
        assert_eq!(error, None, "after {at} and {more}");
        at += more;
    }
    drop(file);
    assert!(stored(world, "stuck").unwrap() == bytes);
    assert!(mount.read("stuck") == bytes);
}

#[test]
fn a_bucket_that_denies_stops_writers_when_memory_is_full() {
    let world = World::open();
    let mount = world.mount(&["--memory=32MiB"]);
    denied_then_allowed(&world, &mount, 16 * MIB);
}

#[test]
fn a_bucket_that_denies_stops_writers_when_the_staging_disk_is_full() {
    let world = World::open();
    let disk = Mounted::tmpfs(world.path("staging"), "40M");
    let staging = format!("--staging-dir={}", disk.0.display());
    let mount = world.mount(&["--memory=32MiB", &staging]);
    denied_then_allowed(&world, &mount, 40 * MIB);
    mount.unmount();
}

#[test]
fn a_full_staging_disk_is_no_writers_error_while_oss_takes_bytes() {
    let world = World::open();
    let disk = Mounted::tmpfs(world.path("staging"), "24M");
    let staging = format!("--staging-dir={}", disk.0.display());
    let mount = world.mount(&["--memory=16MiB", &staging]);
    // Somebody else fills it to the last byte, in the middle of things.
    let bytes: Vec<Vec<u8>> = (0..6).map(|at| content(at, 30 * MIB + 7)).collect();
    thread::scope(|scope| {
        for (at, bytes) in bytes.iter().enumerate() {
            let mount = &mount;
            scope.spawn(move || {
                let mut file = File::create(mount.at(&at.to_string())).unwrap();
                file.write_all(&bytes[..10 * MIB]).unwrap();
                file.write_all(&bytes[10 * MIB..]).unwrap();
                file.sync_all().unwrap();
            });
        }
        let mut filler = OpenOptions::new()
            .create(true)
            .append(true)
            .open(disk.0.join("filler"))
            .unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
    });
    for (at, bytes) in bytes.iter().enumerate() {
        assert!(stored(&world, &at.to_string()).unwrap() == *bytes, "{at}");
    }
    assert_eq!(world.server.upload_count(BUCKET), 0);
    mount.unmount();
}
