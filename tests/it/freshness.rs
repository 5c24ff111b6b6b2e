//! How soon others' changes are seen, and that an open file is one version.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

use crate::harness::{BUCKET, Mount, SOON, World, content, read_rest, shell, wait_for};
use crate::kernel;

const MIB: usize = 1 << 20;

/// The default of `--attr-ttl`, and of the time that "not there" is believed.
const TTL: Duration = Duration::from_secs(1);

/// What a busy machine may add to it.
const SLACK: Duration = Duration::from_millis(700);

/// Waits until it is true, and insists that it was not long after the time to live.
#[track_caller]
fn within_ttl(what: &str, is_true: impl FnMut() -> bool) {
    let since = Instant::now();
    wait_for(SOON, what, is_true);
    let waited = since.elapsed();
    assert!(waited < TTL + SLACK, "{what}: only after {waited:?}");
}

fn is_stale(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESTALE)
}

fn is_missing(mount: &Mount, name: &str) -> bool {
    match fs::metadata(mount.at(name)) {
        Ok(_) => false,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => panic!("{name}: {error}"),
    }
}

#[test]
fn what_another_node_creates_appears_within_a_second() {
    let world = World::open();
    world.put("d/old", "x");
    let mount = world.mount(&[]);
    for name in ["new", "d/new", "e/new"] {
        assert!(is_missing(&mount, name));
        world.put(name, "here");
        within_ttl(name, || !is_missing(&mount, name));
        assert_eq!(mount.read(name), b"here");
    }
    // A complete listing says what is not there, for as long.
    assert_eq!(shell(&mount.at("d"), "ls"), "new\nold\n");
    assert!(is_missing(&mount, "d/newer"));
    world.put("d/newer", "here");
    within_ttl("after a listing", || !is_missing(&mount, "d/newer"));
    // A listing itself is never old.
    world.put("d/newest", "here");
    assert_eq!(shell(&mount.at("d"), "ls"), "new\nnewer\nnewest\nold\n");
}

#[test]
fn a_longer_attr_ttl_does_not_hide_what_is_created() {
    let world = World::open();
    let mount = world.mount(&["--attr-ttl=1h"]);
    assert!(is_missing(&mount, "new"));
    world.put("new", "here");
    within_ttl("the new object", || !is_missing(&mount, "new"));
}

#[test]
fn a_replaced_object_is_seen_within_the_ttl() {
    let world = World::open();
    let mount = world.mount(&[]);
    for round in 0..3 {
        let versions = [content(round, 100_000), content(round + 100, 3 * MIB)];
        world.put("a", versions[0].clone());
        within_ttl("the first version", || {
            fs::read(mount.at("a")).is_ok_and(|bytes| bytes == versions[0])
        });
        world.put("a", versions[1].clone());
        within_ttl("the second version", || match fs::read(mount.at("a")) {
            Ok(bytes) => {
                assert!(versions.contains(&bytes), "bytes of neither version");
                bytes == versions[1]
            }
            Err(error) => panic!("open looks the name up again by itself: {error}"),
        });
        assert_eq!(fs::metadata(mount.at("a")).unwrap().len(), 3 << 20);
    }
}

#[test]
fn without_a_ttl_every_open_is_checked() {
    let world = World::open();
    let mount = world.mount(&["--attr-ttl=0"]);
    for round in 0..50_usize {
        let version = content(round as u64, 1 + round * 4_321);
        world.put("d/a", version.clone());
        if round % 3 == 0 {
            assert_eq!(
                fs::metadata(mount.at("d/a")).unwrap().len() as usize,
                version.len()
            );
        }
        if round % 5 == 0 {
            assert_eq!(shell(&mount.at("d"), "ls -l a | wc -l").trim(), "1");
        }
        let file = File::open(mount.at("d/a")).unwrap();
        assert_eq!(file.metadata().unwrap().len() as usize, version.len());
        let bytes = read_rest(&file).unwrap();
        assert!(bytes == version, "round {round}: not the new bytes");
    }
    world.server.delete(BUCKET, "d/a").unwrap();
    assert!(is_missing(&mount, "d/a"));
    world.put("d/a", "again");
    assert_eq!(mount.read("d/a"), b"again");
}

#[test]
fn a_deleted_object_vanishes_within_the_ttl() {
    let world = World::open();
    world.put("kept", "x");
    world.put("a", "x");
    world.put("d/a", "x");
    let mount = world.mount(&[]);
    assert_eq!(
        (mount.read("a"), mount.read("d/a")),
        (b"x".to_vec(), b"x".to_vec())
    );
    world.server.delete(BUCKET, "a").unwrap();
    world.server.delete(BUCKET, "d/a").unwrap();
    within_ttl("the file", || is_missing(&mount, "a"));
    within_ttl("the directory with its last key", || {
        is_missing(&mount, "d")
    });
    assert_eq!(shell(&mount.path, "ls"), "kept\n");
}

#[test]
fn an_object_becomes_a_directory_and_back() {
    let world = World::open();
    world.put("a", "file");
    let mount = world.mount(&["--attr-ttl=0"]);
    assert_eq!(mount.read("a"), b"file");
    world.server.delete(BUCKET, "a").unwrap();
    world.put("a/inner", "below");
    assert_eq!(mount.read("a/inner"), b"below");
    assert_eq!(shell(&mount.path, "find ."), ".\n./a\n./a/inner\n");
    world.server.delete(BUCKET, "a/inner").unwrap();
    world.put("a", "file again");
    assert_eq!(mount.read("a"), b"file again");
}

#[test]
fn an_open_file_keeps_its_version_or_says_that_it_is_gone() {
    for direct in [false, true] {
        let world = World::open();
        let (old, new) = (content(1, 40 * MIB), content(2, 40 * MIB));
        world.put("a", old.clone());
        let mount = world.mount(&["--memory=16MiB"]);
        let path = mount.at("a");
        let file = if direct {
            kernel::open_direct(&path)
        } else {
            File::open(&path)
        };
        let file = file.unwrap();
        let before = file.metadata().unwrap();
        let mut piece = vec![0; 4096];
        assert_eq!(file.read_at(&mut piece, 0).unwrap(), piece.len());
        assert_eq!(piece, old[..4096]);
        world.put("a", new.clone());
        let mut stale = 0;
        for at in (0..old.len()).step_by(MIB) {
            match file.read_at(&mut piece, at as u64) {
                Ok(len) => assert!(piece[..len] == old[at..at + len], "mixed at {at}"),
                Err(error) => {
                    assert!(is_stale(&error), "{error}");
                    stale += 1;
                }
            }
        }
        assert!(stale > 0, "40 MiB were not all in memory");
        // What the open file says of itself stays what it was; the name leads to another inode.
        assert_eq!(file.metadata().unwrap().len(), before.len());
        let reopened = File::open(&path).unwrap();
        assert_ne!(reopened.metadata().unwrap().ino(), before.ino());
        assert!(kernel::read_by(&reopened, MIB).unwrap() == new);
        assert_ne!(fs::metadata(&path).unwrap().ino(), before.ino());
    }
}

#[test]
fn a_file_deleted_while_it_is_open_is_stale() {
    let world = World::open();
    let bytes = content(1, 40 * MIB);
    world.put("a", bytes.clone());
    let mount = world.mount(&["--memory=16MiB"]);
    let file = File::open(mount.at("a")).unwrap();
    world.server.delete(BUCKET, "a").unwrap();
    let mut piece = vec![0; 4096];
    let error = file.read_at(&mut piece, 30 << 20).unwrap_err();
    assert!(is_stale(&error), "{error}");
    within_ttl("the name", || is_missing(&mount, "a"));
}

#[test]
fn the_same_content_written_again_is_the_same_inode() {
    let world = World::open();
    world.put("a", "same");
    let mount = world.mount(&["--attr-ttl=0"]);
    let before = fs::metadata(mount.at("a")).unwrap().ino();
    world.put("a", "same");
    assert_eq!(fs::metadata(mount.at("a")).unwrap().ino(), before);
    world.put("a", "other");
    assert_ne!(fs::metadata(mount.at("a")).unwrap().ino(), before);
}

#[test]
fn extended_attributes_say_what_oss_says() {
    let world = World::open();
    let bytes = content(1, 12_345);
    let etag = world.put("d/a", bytes.clone());
    world.put("d/empty", "");
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Xz, &bytes).to_string();
    let looked_up = world.mount_at("looked-up", &[]);
    let listed = world.mount_at("listed", &[]);
    // A listing knows no CRC: it has to be asked for.
    shell(&listed.at("d"), "ls -l");
    for mount in [looked_up, listed] {
        let path = mount.at("d/a");
        let value = |name: &str| kernel::xattr(&path, name);
        assert_eq!(value("user.oss.etag").unwrap(), etag);
        assert_eq!(value("user.oss.crc64").unwrap(), crc);
        assert_eq!(value("user.oss.storage-class").unwrap(), "Standard");
        assert_eq!(value("user.oss.type").unwrap(), "Normal");
        assert_eq!(
            kernel::xattr(&mount.at("d/empty"), "user.oss.crc64").unwrap(),
            "0"
        );
        let refused = |name: &str| value(name).unwrap_err().raw_os_error();
        assert_eq!(refused("user.oss.nothing"), Some(libc::ENODATA));
        assert_eq!(refused("user.other"), Some(libc::ENODATA));
        assert_eq!(refused("trusted.other"), Some(libc::EOPNOTSUPP));
        assert_eq!(refused("security.selinux"), Some(libc::EOPNOTSUPP));
        assert_eq!(
            kernel::xattr_names(&path).unwrap(),
            [
                "user.oss.etag",
                "user.oss.crc64",
                "user.oss.storage-class",
                "user.oss.type"
            ]
        );
        assert_eq!(kernel::xattr_names(&mount.at("d")).unwrap(), [""; 0]);
        let of_directory = kernel::xattr(&mount.at("d"), "user.oss.etag").unwrap_err();
        assert_eq!(of_directory.raw_os_error(), Some(libc::ENODATA));
    }
}
