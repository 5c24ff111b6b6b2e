//! Seals: who makes them, and for how long they count.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tempfile::TempDir;

use super::super::format::{self, Boot, Identity, SEAL_AT, SEAL_BYTES};
use super::super::{Object, Soft};
use super::{Host, SOON, content, files, version};
use crate::buffer::BLOCK_BYTES;

/// The seal as it stands in the only map.
fn seal(directory: &Path) -> [u8; SEAL_BYTES] {
    let [map] = files(directory, ".map").try_into().unwrap();
    let mut bytes = [0; SEAL_BYTES];
    let map = File::open(map).unwrap();
    map.read_exact_at(&mut bytes, SEAL_AT).unwrap();
    bytes
}

/// The seal that the only data file would have.
fn seal_for(directory: &Path, content: &[u8], boot: Option<Boot>) -> [u8; SEAL_BYTES] {
    let [data] = files(directory, ".data").try_into().unwrap();
    let identity = Identity::new("endpoint/bucket", &version("a", content)).unwrap();
    let metadata = std::fs::metadata(data).unwrap();
    format::seal(identity.id, &metadata, boot)
}

#[test]
fn of_several_processes_one_seals_whoever_wrote_the_last_block() {
    let directory = TempDir::new().unwrap();
    let content = content(1, 3 * BLOCK_BYTES);
    let version = version("a", &content);
    let hosts = [Host::new(directory.path()), Host::new(directory.path())];
    let objects = hosts.each_ref().map(|host| host.object(&version));
    // The last block that comes is the first's, which does not know of the second's; each meets the rest as there already.
    hosts[0].write(&objects[0], &content, [0]);
    hosts[1].write(&objects[1], &content, [1]);
    hosts[0].write(&objects[0], &content, [2]);
    assert!(objects.iter().all(|object| object.sealed().is_none()));
    hosts[1].write(&objects[1], &content, [2]);
    assert!(objects[1].sealed().is_some());
    hosts[0].write(&objects[0], &content, [1]);
    assert!(objects[0].sealed().is_some());
    let verified = hosts
        .each_ref()
        .map(|host| host.metrics.disk.verified.get());
    assert_eq!(verified, [0, 1], "a seal of another is believed");
}

#[test]
fn a_seal_counts_at_once_and_for_good_once_the_disk_has_the_bytes() {
    let directory = TempDir::new().unwrap();
    let content = content(1, 3 * BLOCK_BYTES);
    let version = version("a", &content);
    let boot = format::boot();
    assert!(boot.is_some(), "this kernel says which start it is");
    let first = Host::new(directory.path());
    first.write(&first.object(&version), &content, 0..3);
    assert!(seal(directory.path()) == seal_for(directory.path(), &content, boot));
    // Another process of the same start believes it, and makes it last.
    let second = Host::new(directory.path());
    let object = second.object(&version);
    object.look();
    assert!(object.sealed().is_some() && object.needs_hardening());
    drop(object);
    second.cache.inner.harden(&Soft {
        identity: Identity::new("endpoint/bucket", &version).unwrap(),
        size: version.size(),
        due: std::time::Instant::now(),
    });
    assert!(seal(directory.path()) == seal_for(directory.path(), &content, None));
    let object = second.object(&version);
    object.look();
    assert!(object.sealed().is_some() && !object.needs_hardening());
    assert_eq!(second.metrics.disk.verified.get(), 0);
}

#[test]
fn a_seal_of_another_start_is_read_back() {
    let directory = TempDir::new().unwrap();
    let content = content(1, 3 * BLOCK_BYTES);
    let version = version("a", &content);
    let first = Host::new(directory.path());
    first.write(&first.object(&version), &content, 0..3);
    drop(first);
    let other = seal_for(directory.path(), &content, Some([7; 16]));
    let [map] = files(directory.path(), ".map").try_into().unwrap();
    let map = File::options().write(true).open(map).unwrap();
    map.write_all_at(&other, SEAL_AT).unwrap();
    // What a crash of the machine can leave: the page cache was lost, and a block with it.
    let [data] = files(directory.path(), ".data").try_into().unwrap();
    let data = File::options().write(true).open(data).unwrap();
    data.write_all_at(&[0; 4096], BLOCK_BYTES as u64).unwrap();
    let other = seal_for(directory.path(), &content, Some([7; 16]));
    map.write_all_at(&other, SEAL_AT).unwrap();
    let second = Host::new(directory.path());
    let object = second.object(&version);
    object.look();
    assert!(object.sealed().is_none());
    assert!(second.cache.finish(SOON));
    assert!(object.sealed().is_none());
    assert_eq!(second.metrics.disk.bad_blocks.get(), 1);
    assert_eq!(second.check(&object, &content), 2);
}

/// An object of three blocks whose bytes the disk does not take, held open.
fn not_taken(no_boot: bool, then: impl FnOnce(&Host, &Arc<Object>, &[u8])) {
    let directory = TempDir::new().unwrap();
    let content = content(1, 3 * BLOCK_BYTES);
    let host = Host::new(directory.path());
    let faults = &host.cache.inner.directory.faults;
    faults.no_boot.store(no_boot, Ordering::Relaxed);
    faults.no_sync.store(true, Ordering::Relaxed);
    let version = version("a", &content);
    let object = host.object(&version);
    host.write(&object, &content, 0..3);
    then(&host, &object, &content);
    assert!(object.sealed().is_none() && !object.has(0));
    assert_eq!(host.metrics.disk.errors.get(), 1);
    assert!(host.cache.finish(SOON), "its removal stands in line");
    assert_eq!(files(directory.path(), ""), Vec::<PathBuf>::new());
    // The kernel has told its error, and takes everything from now on.
    faults.no_sync.store(false, Ordering::Relaxed);
    drop(object);
    let object = host.object(&version);
    object.look();
    assert!(object.sealed().is_none() && !object.has(0));
}

#[test]
fn what_the_disk_did_not_take_is_not_sealed_later() {
    not_taken(true, |host, _, _| {
        assert_eq!(host.metrics.disk.verified.get(), 0);
    });
}

#[test]
fn what_the_disk_did_not_take_loses_its_seal_where_it_is_open() {
    not_taken(false, |host, object, content| {
        assert!(object.sealed().is_some());
        host.cache.inner.harden(&Soft {
            identity: Identity::new("endpoint/bucket", &version("a", content)).unwrap(),
            size: content.len() as u64,
            due: std::time::Instant::now(),
        });
    });
}
