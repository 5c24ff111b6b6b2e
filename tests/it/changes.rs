//! Names that a mount makes, moves and removes; the README's table is quoted.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::harness::{BUCKET, World, content, shell};

fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

fn keys(world: &World) -> Vec<String> {
    world.server.keys(BUCKET, "")
}

#[test]
fn an_empty_directory_is_there_for_other_mounts() {
    let world = World::open();
    let (one, two) = (world.mount_at("one", &[]), world.mount_at("two", &[]));
    fs::create_dir_all(one.at("a/b")).unwrap();
    assert!(two.at("a/b").is_dir());
    assert_eq!(keys(&world), ["a/", "a/b/"]);
    assert_eq!(errno(fs::create_dir(one.at("a"))), libc::EEXIST);
    assert_eq!(errno(fs::remove_dir(one.at("a"))), libc::ENOTEMPTY);
    fs::remove_dir(one.at("a/b")).unwrap();
    fs::remove_dir(one.at("a")).unwrap();
    assert_eq!(keys(&world), [""; 0]);
    assert_eq!(errno(fs::remove_dir(one.at("a"))), libc::ENOENT);
}

#[test]
fn a_directory_stays_when_its_last_file_is_removed() {
    let world = World::open();
    world.put("d/x", "x");
    let mount = world.mount(&["--attr-ttl=0"]);
    fs::remove_file(mount.at("d/x")).unwrap();
    assert_eq!(shell(&mount.path, "ls -A d | wc -l; test -d d").trim(), "0");
    fs::remove_dir(mount.at("d")).unwrap();
    assert_eq!(errno(fs::metadata(mount.at("d"))), libc::ENOENT);
}

#[test]
fn removing_a_tree_removes_its_keys() {
    let world = World::open();
    for at in 0..2500 {
        world.put(&format!("d/{}/{at}", at % 3), "x");
    }
    let mount = world.mount(&[]);
    shell(&mount.path, "rm -rf d");
    assert_eq!(keys(&world), [""; 0]);
    assert!(!mount.at("d").exists());
}

#[test]
fn a_renamed_file_keeps_its_bytes_its_inode_and_what_was_said_of_it() {
    let world = World::open();
    let bytes = content(1, 3_000_000);
    world.put("a", bytes.clone());
    world.put("old", "old");
    let mount = world.mount(&[]);
    let mut open = fs::File::open(mount.at("a")).unwrap();
    let before = fs::metadata(mount.at("a")).unwrap().ino();
    fs::rename(mount.at("a"), mount.at("old")).unwrap();
    assert_eq!(keys(&world), ["old"]);
    assert_eq!(fs::metadata(mount.at("old")).unwrap().ino(), before);
    assert_eq!(mount.read("old"), bytes);
    let mut read = Vec::new();
    open.read_to_end(&mut read).unwrap();
    assert_eq!(read, bytes, "who has it open reads on");
    assert_eq!(errno(fs::metadata(mount.at("a"))), libc::ENOENT);
    assert_eq!(
        errno(fs::rename(mount.at("a"), mount.at("b"))),
        libc::ENOENT
    );
}

#[test]
fn rename_knows_noreplace_and_no_exchange() {
    let world = World::open();
    world.put("a", "a");
    world.put("b", "b");
    let mount = world.mount(&[]);
    let rename = |flag| renameat2(AT_FDCWD, &mount.at("a"), AT_FDCWD, &mount.at("b"), flag);
    assert_eq!(rename(RenameFlags::RENAME_NOREPLACE), Err(Errno::EEXIST));
    assert_eq!(rename(RenameFlags::RENAME_EXCHANGE), Err(Errno::EINVAL));
    fs::remove_file(mount.at("b")).unwrap();
    assert_eq!(rename(RenameFlags::RENAME_NOREPLACE), Ok(()));
    assert_eq!(keys(&world), ["b"]);
}

#[test]
fn a_renamed_directory_takes_everything_along() {
    let world = World::open();
    for at in 0..2100 {
        world.put(&format!("d/{}/{at:04}", at % 7), format!("{at}"));
    }
    let mount = world.mount(&[]);
    fs::create_dir(mount.at("d/empty")).unwrap();
    let mut open = fs::File::open(mount.at("d/3/0003")).unwrap();
    let inode = fs::metadata(mount.at("d/3/0003")).unwrap().ino();
    fs::create_dir(mount.at("e")).unwrap();
    fs::rename(mount.at("d"), mount.at("e")).unwrap();
    assert_eq!(
        shell(&mount.path, "ls; find e -type f | wc -l; ls e"),
        "e\n2100\n0\n1\n2\n3\n4\n5\n6\nempty\n"
    );
    assert_eq!(fs::metadata(mount.at("e/3/0003")).unwrap().ino(), inode);
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "3");
    assert!(keys(&world).iter().all(|key| key.starts_with("e/")));
    assert_eq!(
        errno(fs::rename(mount.at("e"), mount.at("e/x"))),
        libc::EINVAL
    );
    world.put("f/x", "x");
    assert_eq!(
        errno(fs::rename(mount.at("e"), mount.at("f"))),
        libc::ENOTEMPTY
    );
}

#[test]
fn a_symbolic_link_gives_back_its_text() {
    let world = World::open();
    world.put("d/a", "aaa");
    let (one, two) = (world.mount_at("one", &[]), world.mount_at("two", &[]));
    for (at, text) in ["a", "../d/a", "/etc/hostname", "nowhere", "ü .. x"]
        .iter()
        .enumerate()
    {
        let link = format!("d/l{at}");
        symlink(text, one.at(&link)).unwrap();
        assert_eq!(fs::read_link(one.at(&link)).unwrap(), Path::new(text));
        assert_eq!(fs::read_link(two.at(&link)).unwrap(), Path::new(text));
    }
    assert_eq!(shell(&two.path, "cat d/l0 d/l1"), "aaaaaa");
    assert_eq!(shell(&two.path, "cat d/a"), "aaa");
    let link = shell(&one.path, "ls -l d | grep -c '^l'");
    assert_eq!(link.trim(), "5");
    fs::rename(one.at("d/l3"), one.at("moved")).unwrap();
    assert_eq!(
        fs::read_link(one.at("moved")).unwrap(),
        Path::new("nowhere")
    );
    fs::remove_file(one.at("d/a")).unwrap();
    assert_eq!(shell(&one.path, "ls d | wc -l").trim(), "4");
}

#[test]
fn hard_links_are_refused() {
    let world = World::open();
    world.put("a", "a");
    let mount = world.mount(&[]);
    assert_eq!(
        errno(fs::hard_link(mount.at("a"), mount.at("b"))),
        libc::EPERM
    );
}

#[test]
fn modes_owners_times_and_attributes_last_as_long_as_the_mount() {
    let world = World::open();
    world.put("a", "a");
    let mount = world.mount(&[]);
    fs::set_permissions(mount.at("a"), fs::Permissions::from_mode(0o751)).unwrap();
    shell(
        &mount.path,
        "chown 12:34 a; touch -d '2001-02-03 04:05:06 UTC' a",
    );
    let shown = fs::metadata(mount.at("a")).unwrap();
    assert_eq!(
        (
            shown.mode() & 0o7777,
            shown.uid(),
            shown.gid(),
            shown.mtime()
        ),
        (0o751, 12, 34, 981_173_106)
    );
    fs::rename(mount.at("a"), mount.at("b")).unwrap();
    let shown = fs::metadata(mount.at("b")).unwrap();
    assert_eq!((shown.mode() & 0o7777, shown.mtime()), (0o751, 981_173_106));
    let script = "python3 - <<'X'
import os
os.setxattr('b', 'user.x', b'1')
assert os.getxattr('b', 'user.x') == b'1' and 'user.x' in os.listxattr('b')
os.removexattr('b', 'user.x')
assert 'user.x' not in os.listxattr('b')
X";
    shell(&mount.path, script);
}

#[test]
fn who_changes_owner_or_content_takes_the_set_user_id_bits() {
    let world = World::open();
    world.put("a", "some text");
    let mount = world.mount(&["--allow-other"]);
    let as_nobody = |work: &str| {
        let script = format!(
            "chown 65534:65534 a; chmod 6777 a; test \"$(stat -c %a a)\" = 6777
             setpriv --reuid 65534 --regid 65534 --clear-groups sh -ec '{work}'"
        );
        shell(&mount.path, &script);
        fs::metadata(mount.at("a")).unwrap().mode() & 0o7777
    };
    assert_eq!(as_nobody("true"), 0o6777);
    assert_eq!(as_nobody("truncate -s 5 a"), 0o777);
    assert_eq!(as_nobody("echo more >> a"), 0o777);
    assert_eq!(as_nobody("fallocate -l 20 a; stat a"), 0o777);
    // Root keeps them when it writes, and loses them by chown, as everywhere.
    shell(&mount.path, "chmod 6777 a; truncate -s 3 a; echo x >> a");
    assert_eq!(fs::metadata(mount.at("a")).unwrap().mode() & 0o7777, 0o6777);
    shell(&mount.path, "chown 1:1 a");
    assert_eq!(fs::metadata(mount.at("a")).unwrap().mode() & 0o7777, 0o777);
    shell(&mount.path, "mkdir d; chmod 2777 d; chown 1:1 d");
    assert_eq!(fs::metadata(mount.at("d")).unwrap().mode() & 0o7777, 0o2777);
}

#[test]
fn a_read_only_mount_answers_erofs() {
    let world = World::open();
    world.put("a", "a");
    let mount = world.mount(&["--read-only"]);
    for result in [
        fs::create_dir(mount.at("d")),
        fs::remove_file(mount.at("a")),
        fs::rename(mount.at("a"), mount.at("b")),
        fs::write(mount.at("a"), "b"),
        fs::set_permissions(mount.at("a"), fs::Permissions::from_mode(0o600)),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    }
}
