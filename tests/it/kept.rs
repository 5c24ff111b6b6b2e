//! What the writer of an object has said of it stays with it: type, headers, metadata, class, encryption, tags.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;

use rolefs::dev_server::Stored;

use crate::harness::{BUCKET, World, content};
use crate::written::stored;

const MIB: usize = 1 << 20;
const SMALL: usize = 5000;
const LARGE: usize = 20 * MIB + 5;

const SAID: [(&str, &str); 12] = [
    ("Content-Type", "text/csv"),
    ("Cache-Control", "no-cache"),
    ("Content-Disposition", "attachment; filename=\"x\""),
    ("Content-Encoding", "gzip"),
    ("Content-Language", "de"),
    ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
    ("x-oss-meta-owner", "me"),
    ("x-oss-meta-step", "7"),
    ("x-oss-storage-class", "IA"),
    ("x-oss-server-side-encryption", "KMS"),
    ("x-oss-server-side-encryption-key-id", "key-1"),
    ("x-oss-tagging", "team=vision&step=7"),
];

/// A PutObject of somebody who says all that can be said.
fn put(world: &World, key: &str, len: usize) -> Vec<u8> {
    let bytes = content(len as u64, len);
    let endpoint = world.server.endpoint();
    let address = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let mut head =
        format!("PUT /{BUCKET}/{key} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in SAID {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {len}\r\n\r\n"));
    let mut connection = TcpStream::connect(address).unwrap();
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(&bytes).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    bytes
}

fn said(world: &World, key: &str) -> Stored {
    let mut said = world.server.stored(BUCKET, key).unwrap();
    said.headers.sort();
    said
}

/// The object of a key has these bytes, and is described as `before` was.
#[track_caller]
fn assert_kept(world: &World, before: &Stored, key: &str, bytes: &[u8]) {
    let now = said(world, key);
    assert_eq!(before.headers.len(), 8, "all was said");
    assert_eq!(now.headers, before.headers, "{key}");
    assert_eq!(now.storage_class, before.storage_class, "{key}");
    assert_eq!(now.encryption, before.encryption, "{key}");
    assert_eq!(now.tags, before.tags, "{key}");
    assert!(stored(world, key).unwrap() == bytes, "{key}");
}

fn write_at(world: &crate::harness::Mount, name: &str, bytes: &[u8], at: u64) {
    let file = OpenOptions::new().write(true).open(world.at(name)).unwrap();
    file.write_all_at(bytes, at).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn a_small_rewrite_by_one_put_keeps_what_was_said() {
    let world = World::open();
    let mut bytes = put(&world, "x", SMALL);
    let before = said(&world, "x");
    let mount = world.mount(&[]);
    let puts = world.server.stats().put();
    write_at(&mount, "x", b"!", 17);
    bytes[17] = b'!';
    assert_eq!(world.server.stats().put(), puts + 1);
    assert_kept(&world, &before, "x", &bytes);
    // And one that begins anew.
    fs::write(mount.at("x"), "new").unwrap();
    assert_kept(&world, &before, "x", b"new");
}

#[test]
fn a_rewrite_of_one_byte_by_part_copies_keeps_what_was_said() {
    let world = World::open();
    let mut bytes = put(&world, "x", LARGE);
    let before = said(&world, "x");
    let mount = world.mount(&[]);
    let (copies, received) = {
        let stats = world.server.stats();
        (stats.part_copies(), stats.body_bytes_received)
    };
    write_at(&mount, "x", b"!", 10 << 20);
    bytes[10 << 20] = b'!';
    let stats = world.server.stats();
    assert!(stats.part_copies() > copies);
    assert!(stats.body_bytes_received - received < 2 << 20);
    assert_kept(&world, &before, "x", &bytes);
    // In parts that are sent.
    let anew = content(3, LARGE);
    fs::write(mount.at("x"), &anew).unwrap();
    assert_kept(&world, &before, "x", &anew);
}

#[test]
fn a_renamed_file_keeps_what_was_said_also_with_changes_that_are_not_stored() {
    let world = World::open();
    let mount = world.mount(&[]);
    for (name, len) in [("small", SMALL), ("large", LARGE)] {
        let mut bytes = put(&world, name, len);
        let before = said(&world, name);
        let moved = format!("{name}-moved");
        fs::rename(mount.at(name), mount.at(&moved)).unwrap();
        assert_kept(&world, &before, &moved, &bytes);
        let file = OpenOptions::new().write(true).open(mount.at(&moved));
        let file = file.unwrap();
        file.write_all_at(b"!", 100).unwrap();
        fs::rename(mount.at(&moved), mount.at(name)).unwrap();
        drop(file);
        bytes[100] = b'!';
        assert_kept(&world, &before, name, &bytes);
        // Over another one, of which nothing stays.
        world.put(&moved, "other");
        fs::rename(mount.at(name), mount.at(&moved)).unwrap();
        assert_kept(&world, &before, &moved, &bytes);
    }
}

#[test]
fn a_copy_within_the_mount_takes_along_what_was_said() {
    let world = World::open();
    let mount = world.mount(&[]);
    for (name, len) in [("small", SMALL), ("large", LARGE)] {
        let bytes = put(&world, name, len);
        let before = said(&world, name);
        let copy = format!("{name}-copy");
        let received = world.server.stats().body_bytes_received;
        // By copy_file_range(2).
        fs::copy(mount.at(name), mount.at(&copy)).unwrap();
        assert!(world.server.stats().body_bytes_received - received < MIB as u64);
        assert_kept(&world, &before, &copy, &bytes);
    }
}

#[test]
fn a_renamed_directory_keeps_what_was_said_of_its_files() {
    let world = World::open();
    let mut all = Vec::new();
    for (name, len) in [("d/a", SMALL), ("d/e/b", LARGE), ("d/e/c", 0)] {
        let bytes = put(&world, name, len);
        all.push((name, bytes, said(&world, name)));
    }
    let mount = world.mount(&[]);
    fs::rename(mount.at("d"), mount.at("other")).unwrap();
    for (name, bytes, before) in all {
        let moved = name.replacen('d', "other", 1);
        assert_kept(&world, &before, &moved, &bytes);
        assert_eq!(stored(&world, name), None);
    }
}
