//! A bucket that is gone while it is mounted, and a role that becomes another one.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::FileExt;

use jiff::SignedDuration;
use nix::sys::signal::Signal;
use rolefs::dev_server::Fault;

use crate::harness::{Mount, SOON, World, content, wait_for};
use crate::launch::{ended, signal};
use crate::written::stored;

const GONE: Fault = Fault::Refuse {
    status: 404,
    code: "NoSuchBucket",
};

fn errno<T>(outcome: std::io::Result<T>) -> i32 {
    outcome
        .err()
        .expect("it fails")
        .raw_os_error()
        .expect("by an errno")
}

#[test]
fn a_bucket_that_is_gone_is_an_error_until_it_is_back() {
    let world = World::open();
    for at in 0..3 {
        world.put(&format!("d/{at}"), content(at, 100_000));
    }
    let mount = world.mount(&[]);
    let mut held = File::open(mount.at("d/0")).unwrap();
    let mut bytes = Vec::new();
    held.read_to_end(&mut bytes).unwrap();
    let mut staged = File::create(mount.at("staged")).unwrap();
    staged.write_all(&content(9, 50_000)).unwrap();
    world.server.faults().script(u64::MAX, None, "", GONE);
    // Never "no such file": a program would take that for an empty data set.
    assert_eq!(errno(fs::read(mount.at("d/1"))), libc::EIO);
    assert_eq!(errno(fs::metadata(mount.at("other"))), libc::EIO);
    assert_eq!(errno(fs::write(mount.at("new"), "x")), libc::EIO);
    assert_eq!(errno(staged.sync_all()), libc::EIO);
    let log = mount.log_text();
    let line = log.lines().find(|line| line.contains("NoSuchBucket"));
    assert!(line.is_some(), "{log}");
    // What is here is still here.
    held.rewind().unwrap();
    bytes.clear();
    held.read_to_end(&mut bytes).unwrap();
    assert!(bytes == content(0, 100_000));
    assert!(mount.read("staged") == content(9, 50_000));
    world.server.faults().clear();
    assert!(mount.read("d/1") == content(1, 100_000));
    assert_eq!(fs::read_dir(mount.at("d")).unwrap().count(), 3);
    staged.sync_all().unwrap();
    assert!(stored(&world, "staged").unwrap() == content(9, 50_000));
    fs::write(mount.at("new"), "y").unwrap();
    assert_eq!(stored(&world, "new").unwrap(), b"y");
}

#[test]
fn a_mount_ends_at_once_when_its_bucket_is_gone() {
    let world = World::open();
    let mut mount = world.mount(&[]);
    let mut staged = File::create(mount.at("staged")).unwrap();
    staged.write_all(b"x").unwrap();
    world.server.faults().script(u64::MAX, None, "", GONE);
    drop(staged);
    signal(mount.child.id(), Signal::SIGTERM);
    assert!(!ended(&mut mount.child, SOON).success());
    let log = mount.log_text();
    let line = log.lines().find(|line| line.contains("not stored: "));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(
        line.contains("staged") && line.contains("NoSuchBucket"),
        "{line}"
    );
}

const TWO_ROLES: &str = r#"
[[bucket]]
name = "workspace-default"
[role.owner]
policy = '''{"Version": "1", "Statement": [{"Effect": "Allow", "Action": "oss:*", "Resource": "*"}]}'''
[role.guest]
policy = '''{"Version": "1", "Statement": [
    {"Effect": "Allow", "Action": "oss:ListObjects", "Resource": "*", "Condition": {"StringLike": {"oss:Prefix": ["public/*"]}}},
    {"Effect": "Allow", "Action": "oss:GetObject", "Resource": "acs:oss:*:*:workspace-default/public/*"}]}'''
"#;

/// Injects a set of a role that ends after so many hours.
fn inject(world: &World, role: &str, hours: i64) {
    let authority = &world.roles.as_ref().unwrap().authority;
    let set = authority.issue(role, SignedDuration::from_hours(hours));
    let set = set.unwrap();
    let text = format!(
        r#"{{"AccessKeyId": "{}", "AccessKeySecret": "{}", "SecurityToken": "{}", "Expiration": "{}"}}"#,
        set.access_key_id,
        set.access_key_secret,
        set.security_token,
        set.expiration.strftime("%Y-%m-%dT%H:%M:%SZ")
    );
    fs::write(world.path("next"), text).unwrap();
    fs::rename(world.path("next"), world.path("credentials")).unwrap();
}

/// As [`inject`], and waits until the mount has taken it.
fn swap(world: &World, mount: &Mount, role: &str, hours: i64) {
    let renewals = || mount.log_text().matches("credentials renewed").count();
    let before = renewals();
    inject(world, role, hours);
    wait_for(SOON, "the other role is taken", || renewals() > before);
}

#[test]
fn a_role_that_is_swapped_counts_from_the_next_request_on() {
    let world = World::with_roles(TWO_ROLES);
    for key in ["secret/a", "secret/b", "secret/c", "public/a"] {
        world.put(key, content(key.len() as u64, 100_000));
    }
    inject(&world, "owner", 1);
    let source = format!("--credentials=file:{}", world.path("credentials").display());
    let mount = world.launch("mnt", world.rolefs(), &[&source]);
    let held = File::open(mount.at("secret/a")).unwrap();
    let mut bytes = vec![0; 100_000];
    held.read_exact_at(&mut bytes, 0).unwrap();
    let mut staged = File::create(mount.at("secret/staged")).unwrap();
    staged.write_all(b"as the owner").unwrap();

    swap(&world, &mount, "guest", 2);
    assert_eq!(errno(fs::read(mount.at("secret/b"))), libc::EACCES);
    let log = mount.log_text();
    let is_told = |line: &str| line.contains("WARN") && line.contains("oss:GetObject");
    assert!(log.lines().any(is_told), "{log}");
    // An open file is one version, and what is here of it may be read on; the name is asked for again within the TTL.
    held.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == content(8, 100_000));
    wait_for(SOON, "an open asks OSS again", || {
        fs::read(mount.at("secret/a"))
            .is_err_and(|error| error.raw_os_error() == Some(libc::EACCES))
    });
    assert!(mount.read("public/a") == content(8, 100_000));
    assert_eq!(errno(staged.sync_all()), libc::EACCES);
    assert_eq!(stored(&world, "secret/staged"), None);

    swap(&world, &mount, "owner", 3);
    assert!(mount.read("secret/c") == content(8, 100_000));
    staged.sync_all().unwrap();
    assert_eq!(stored(&world, "secret/staged").unwrap(), b"as the owner");
    // A set that ends before the one that lives is a stale copy, whoever it is of.
    inject(&world, "guest", 1);
    assert!(mount.read("secret/b") == content(8, 100_000));
}
