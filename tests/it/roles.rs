//! What a role may not do is named: at start by a warning or a refusal, later by EACCES and a line in the log.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::harness::{BUCKET, Mount, World, content, run, shell};
use crate::launch::role;

const LIST: &str = r#"{"Effect": "Allow", "Action": "oss:ListObjects", "Resource": "acs:oss:*:*:workspace-default"}"#;
const GET: &str = r#"{"Effect": "Allow", "Action": "oss:GetObject", "Resource": "acs:oss:*:*:workspace-default/*"}"#;

fn world(statements: &[&str]) -> World {
    let world = World::with_roles(&role(&statements.join(",")));
    world.put("top.txt", "top");
    world.put("data/train/a.bin", content(1, 3_000_000));
    world.put("data/train/b.bin", content(2, 10));
    world.put("secret/c.bin", content(3, 10));
    world
}

fn line_with<'a>(text: &'a str, words: &[&str]) -> &'a str {
    text.lines()
        .find(|line| words.iter().all(|word| line.contains(word)))
        .unwrap_or_else(|| panic!("no line has {words:?}:\n{text}"))
}

/// Reading is refused as the role's policy says, and the log names the action.
fn assert_denied(mount: &Mount, what: &str, action: &str, outcome: std::io::Result<Vec<u8>>) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}: {error}");
    line_with(&mount.log_text(), &["WARN", action, "AccessDenied"]);
}

#[test]
fn the_default_role_mounts_no_other_bucket() {
    let world = World::with_roles(
        r#"
[[bucket]]
name = "workspace-default"
default = true
[[bucket]]
name = "other-bucket"
[role.AliyunPAIDLCDefaultRole]
default_bucket_only = true
[job]
role = "AliyunPAIDLCDefaultRole"
"#,
    );
    let bucket = ["oss://other-bucket"];
    world.refused(
        world.rolefs(),
        &bucket,
        &[
            "the role may neither list nor read",
            "oss:ListObjects",
            "oss:GetObject",
            "other-bucket",
        ],
    );
}

#[test]
fn a_role_that_may_do_nothing_mounts_nothing() {
    let world = World::with_roles(&role(
        r#"{"Effect": "Deny", "Action": "oss:*", "Resource": "*"}"#,
    ));
    world.refused(
        world.rolefs(),
        &[],
        &["oss:ListObjects", "oss:GetObject", "request id"],
    );
}

#[test]
fn a_role_that_may_only_list_mounts_and_reads_nothing() {
    let world = world(&[LIST]);
    let mount = world.launch("mnt", world.rolefs(), &["--read-only"]);
    let said = world.stderr("mnt");
    line_with(&said, &["lacks oss:GetObject", "oss://workspace-default/"]);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(
        shell(&mount.path, "find . -type f -size +1k -o -type f | sort"),
        "./data/train/a.bin\n./data/train/b.bin\n./secret/c.bin\n./top.txt\n"
    );
    assert_eq!(
        fs::metadata(mount.at("data/train/a.bin")).unwrap().len(),
        3_000_000
    );
    assert_denied(
        &mount,
        "cat",
        "oss:GetObject",
        fs::read(mount.at("data/train/a.bin")),
    );
    let cat = run(&mount.path, "cat top.txt");
    assert!(String::from_utf8_lossy(&cat.stderr).contains("Permission denied"));
}

#[test]
fn a_role_that_may_only_get_mounts_and_lists_nothing() {
    let world = world(&[GET]);
    let mount = world.launch("mnt", world.rolefs(), &["--read-only"]);
    let said = world.stderr("mnt");
    line_with(&said, &["lacks oss:ListObjects", "cannot be listed"]);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(mount.read("data/train/a.bin"), content(1, 3_000_000));
    assert_eq!(mount.read("top.txt"), b"top");
    let listed = fs::read_dir(mount.at("data")).and_then(|mut entries| {
        entries
            .next()
            .map_or(Ok(Vec::new()), |entry| entry.map(|_| Vec::new()))
    });
    assert_denied(&mount, "ls", "oss:ListObjects", listed);
    let ls = run(&mount.path, "ls");
    assert!(String::from_utf8_lossy(&ls.stderr).contains("Permission denied"));
}

#[test]
fn a_role_for_one_prefix_mounts_it_whole() {
    let list = r#"{"Effect": "Allow", "Action": "oss:ListObjects", "Resource": "acs:oss:*:*:workspace-default",
        "Condition": {"StringLike": {"oss:Prefix": ["data/", "data/*"]}}}"#;
    let get = r#"{"Effect": "Allow", "Action": "oss:GetObject", "Resource": "acs:oss:*:*:workspace-default/data/*"}"#;
    let world = world(&[list, get]);
    let bucket = format!("oss://{BUCKET}/data");
    let mount = world.launch("mnt", world.rolefs(), &["--read-only", &bucket]);
    assert_eq!(world.stderr("mnt"), "");
    assert_eq!(
        shell(&mount.path, "find . | sort"),
        ".\n./train\n./train/a.bin\n./train/b.bin\n"
    );
    assert_eq!(mount.read("train/a.bin"), content(1, 3_000_000));
    let absent = fs::metadata(mount.at("train/none")).unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    assert_eq!(mount.unmount().value("rolefs_fuse_errors_total"), 0);
    // The whole bucket is another matter.
    world.refused(world.rolefs(), &[], &["oss:ListObjects", "oss:GetObject"]);
}

#[test]
fn a_policy_that_shrinks_later_is_named_when_it_is_missed() {
    let world = world(&[LIST, GET]);
    let mount = world.launch("mnt", world.rolefs(), &["--read-only"]);
    assert_eq!(mount.read("top.txt"), b"top");
    let narrow = GET.replace("workspace-default/*", "workspace-default/data/*");
    let policy = format!(r#"{{"Version": "1", "Statement": [{LIST}, {narrow}]}}"#);
    let authority = &world.roles.as_ref().unwrap().authority;
    authority.set_policy("custom", &policy).unwrap();
    assert_eq!(mount.read("data/train/b.bin"), content(2, 10));
    assert_denied(
        &mount,
        "cat",
        "oss:GetObject",
        fs::read(mount.at("secret/c.bin")),
    );
    line_with(
        &mount.log_text(),
        &["WARN", "lacks the RAM action oss:GetObject"],
    );
}

#[test]
fn a_hierarchical_bucket_is_refused() {
    let world = World::with_roles(&role(
        r#"{"Effect": "Allow", "Action": "oss:*", "Resource": "*"}"#,
    ));
    world.refused(
        world.rolefs(),
        &["oss://hierarchical-bucket"],
        &[
            "hierarchical-bucket has a hierarchical namespace",
            "use a bucket without one",
        ],
    );
}

/// Stores an object of a storage class over the wire, where no signature is looked at.
fn put_in_class(world: &World, key: &str, class: &str, body: &str) {
    let mut stream = TcpStream::connect(world.server.address()).unwrap();
    write!(
        stream,
        "PUT /{BUCKET}/{key} HTTP/1.1\r\nHost: {}\r\nx-oss-storage-class: {class}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        world.server.address(),
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn an_archived_object_has_no_data_and_the_log_has_the_remedy() {
    let world = World::open();
    put_in_class(&world, "cold", "Archive", "ice");
    put_in_class(&world, "cool", "IA", "water");
    let mount = world.launch("mnt", world.rolefs(), &["--read-only"]);
    assert_eq!(mount.read("cool"), b"water");
    assert_eq!(fs::metadata(mount.at("cold")).unwrap().len(), 3);
    let class = shell(
        &mount.path,
        "python3 -c 'import os; print(os.getxattr(\"cold\", \"user.oss.storage-class\").decode())'",
    );
    assert_eq!(class, "Archive\n");
    let error = fs::read(mount.at("cold")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENODATA), "{error}");
    line_with(
        &mount.log_text(),
        &["WARN", "cold", "InvalidObjectState", "restore the object"],
    );
}
