//! What programs write is stored when they are told so, and read at once; the README's table is quoted.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};

use rolefs::dev_server::{Fault, Operation};

use crate::harness::{BUCKET, Mount, SOON, World, content, shell, wait_for};
use crate::launch::role;

fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

pub(crate) fn stored(world: &World, key: &str) -> Option<Vec<u8>> {
    world.server.get(BUCKET, key).map(|bytes| bytes.to_vec())
}

/// OSS refuses to store objects.
fn deny(world: &World) {
    let denied = Fault::forbidden("AccessDenied");
    let faults = world.server.faults();
    faults.script(1000, Some(Operation::PutObject), "", denied);
}

/// Runs a Python program in the mount.
pub(crate) fn python(mount: &Mount, program: &str) -> String {
    let output = Command::new("python3")
        .arg("-c")
        .arg(program)
        .current_dir(&mount.path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn close_means_stored() {
    let world = World::open();
    let mount = world.mount(&[]);
    for (at, len) in [0, 1, 4095, 100_000, 1 << 20, (1 << 20) + 1, 30 << 20]
        .into_iter()
        .enumerate()
    {
        let (name, bytes) = (format!("f{at}"), content(at as u64, len));
        fs::write(mount.at(&name), &bytes).unwrap();
        assert!(stored(&world, &name) == Some(bytes.clone()), "{name}");
        assert!(mount.read(&name) == bytes, "{name}");
        assert_eq!(fs::metadata(mount.at(&name)).unwrap().len(), len as u64);
    }
    assert_eq!(world.server.upload_count(BUCKET), 0);
}

#[test]
fn fsync_stores_and_writing_goes_on() {
    let world = World::open();
    let mount = world.mount(&[]);
    let mut file = File::create(mount.at("x")).unwrap();
    let inode = file.metadata().unwrap().ino();
    let mut all = Vec::new();
    for round in 0..5 {
        let bytes = content(round, 700_000);
        file.write_all(&bytes).unwrap();
        all.extend_from_slice(&bytes);
        file.sync_all().unwrap();
        assert!(stored(&world, "x") == Some(all.clone()), "round {round}");
        file.sync_data().unwrap();
    }
    file.write_all(b"end").unwrap();
    all.extend_from_slice(b"end");
    assert!(stored(&world, "x") != Some(all.clone()));
    drop(file);
    assert!(stored(&world, "x") == Some(all.clone()));
    assert_eq!(fs::metadata(mount.at("x")).unwrap().ino(), inode);
    assert!(mount.read("x") == all);
}

#[test]
fn what_was_written_is_read_at_once_through_any_handle_and_mapping() {
    let world = World::open();
    world.put("x", content(1, 3 << 20));
    let mount = world.mount(&[]);
    let mut expected = content(1, 3 << 20);
    let reader = File::open(mount.at("x")).unwrap();
    let mut first = vec![0; 100_000];
    reader.read_exact_at(&mut first, 0).unwrap();
    let writer = OpenOptions::new().write(true).open(mount.at("x")).unwrap();
    for (at, len) in [
        (0, 10),
        (1_000_000, 70_000),
        (3 << 20, 5000),
        (2_500_000, 1),
    ] {
        let bytes = content(at as u64, len);
        writer.write_all_at(&bytes, at as u64).unwrap();
        expected.resize(expected.len().max(at + len), 0);
        expected[at..at + len].copy_from_slice(&bytes);
        let mut seen = vec![0; expected.len()];
        reader.read_exact_at(&mut seen, 0).unwrap();
        assert!(seen == expected, "at {at}");
        assert!(mount.read("x") == expected, "at {at}");
    }
    assert!(
        stored(&world, "x") == Some(content(1, 3 << 20)),
        "whole or not at all"
    );
    drop(writer);
    assert!(stored(&world, "x") == Some(expected.clone()));
    let mut seen = vec![0; expected.len()];
    reader.read_exact_at(&mut seen, 0).unwrap();
    assert!(seen == expected, "the reader goes on");
    python(
        &mount,
        "
import mmap, os
f = os.open('x', os.O_RDWR)
m = mmap.mmap(f, 0)
m[100:105] = b'hello'
assert os.pread(f, 5, 100) == b'hello'
m.flush()
m[7:9] = b'!!'
m.close(); os.close(f)
",
    );
    expected[100..105].copy_from_slice(b"hello");
    expected[7..9].copy_from_slice(b"!!");
    wait_for(SOON, "the mapping is stored", || {
        stored(&world, "x") == Some(expected.clone())
    });
}

#[test]
fn appends_sparse_writes_truncations_and_holes() {
    let world = World::open();
    world.put("log", "one\n");
    let mount = world.mount(&[]);
    shell(&mount.path, "echo two >> log; echo three >> log");
    assert_eq!(stored(&world, "log").unwrap(), b"one\ntwo\nthree\n");
    let file = File::create(mount.at("sparse")).unwrap();
    file.write_all_at(b"x", 5 << 20).unwrap();
    file.set_len(6 << 20).unwrap();
    drop(file);
    let mut expected = vec![0; 6 << 20];
    expected[5 << 20] = b'x';
    assert!(stored(&world, "sparse") == Some(expected.clone()));
    shell(&mount.path, "truncate -s 5242881 sparse; truncate -s 2 log");
    expected.truncate((5 << 20) + 1);
    assert!(stored(&world, "sparse") == Some(expected));
    assert_eq!(stored(&world, "log").unwrap(), b"on");
    shell(
        &mount.path,
        "fallocate -l 3000000 new; fallocate -p -o 0 -l 1000000 new; echo -n > log",
    );
    assert!(stored(&world, "new") == Some(vec![0; 3_000_000]));
    assert_eq!(stored(&world, "log").unwrap(), b"");
    python(
        &mount,
        "
import os
f = os.open('holes', os.O_RDWR | os.O_CREAT)
os.pwrite(f, b'a', 3000000)
assert os.lseek(f, 0, os.SEEK_DATA) == 3000000, os.lseek(f, 0, os.SEEK_DATA)
assert os.lseek(f, 0, os.SEEK_HOLE) == 0
assert os.lseek(f, 3000000, os.SEEK_HOLE) == 3000001
",
    );
}

#[test]
fn an_exit_of_a_forked_child_publishes_nothing() {
    let world = World::open();
    let mount = world.mount(&[]);
    let program = "
import os, sys
f = open('x', 'wb', buffering=0)
f.write(b'first half, ')
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
print('forked', flush=True)
sys.stdin.readline()
f.write(b'second half')
f.close()
";
    let mut writer = Command::new("python3")
        .args(["-c", program])
        .current_dir(&mount.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = [0; 7];
    let mut output = writer.stdout.take().unwrap();
    output.read_exact(&mut told).unwrap();
    assert_eq!(stored(&world, "x"), None, "no half file is published");
    assert_eq!(mount.read("x"), b"first half, ");
    writer.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(writer.wait().unwrap().success());
    assert_eq!(stored(&world, "x").unwrap(), b"first half, second half");
    // The end of a process closes what it has open.
    python(&mount, "f = open('y', 'wb', buffering=0); f.write(b'half')");
    assert_eq!(stored(&world, "y").unwrap(), b"half");
}

#[test]
fn dup_popen_and_other_threads_close_as_well() {
    let world = World::open();
    let mount = world.mount(&[]);
    python(
        &mount,
        "
import os, subprocess, threading
f = os.open('dup', os.O_WRONLY | os.O_CREAT)
g = os.dup(f)
os.write(f, b'one ')
os.close(f)
os.write(g, b'two')
os.close(g)
with open('popen', 'wb') as f:
    subprocess.run(['sh', '-c', 'echo from the child'], stdout=f, check=True)
f = os.open('thread', os.O_WRONLY | os.O_CREAT)
os.write(f, b'threads')
t = threading.Thread(target=lambda: os.close(f))
t.start(); t.join()
",
    );
    assert_eq!(stored(&world, "dup").unwrap(), b"one two");
    assert_eq!(stored(&world, "popen").unwrap(), b"from the child\n");
    assert_eq!(stored(&world, "thread").unwrap(), b"threads");
}

#[test]
fn a_file_is_renamed_while_it_is_written_and_over_others() {
    let world = World::open();
    world.put("final", content(9, 2 << 20));
    let mount = world.mount(&[]);
    let bytes = content(1, 20 << 20);
    let mut old = File::open(mount.at("final")).unwrap();
    let mut file = File::create(mount.at("x.tmp")).unwrap();
    file.write_all(&bytes[..9 << 20]).unwrap();
    fs::rename(mount.at("x.tmp"), mount.at("final")).unwrap();
    file.write_all(&bytes[9 << 20..]).unwrap();
    drop(file);
    assert!(stored(&world, "final") == Some(bytes.clone()));
    assert_eq!(stored(&world, "x.tmp"), None);
    assert!(mount.read("final") == bytes);
    let mut seen = Vec::new();
    old.read_to_end(&mut seen).unwrap();
    assert!(
        seen == content(9, 2 << 20),
        "who has the old one open keeps it"
    );
    // A rewrite that is stored already moves by a copy.
    let file = OpenOptions::new()
        .write(true)
        .open(mount.at("final"))
        .unwrap();
    file.write_all_at(b"head", 0).unwrap();
    fs::rename(mount.at("final"), mount.at("moved")).unwrap();
    file.write_all_at(b"tail", 20 << 20).unwrap();
    drop(file);
    let mut expected = bytes;
    expected[..4].copy_from_slice(b"head");
    expected.extend_from_slice(b"tail");
    assert!(stored(&world, "moved") == Some(expected));
    assert_eq!(world.server.keys(BUCKET, ""), ["moved"]);
}

#[test]
fn an_unlinked_file_is_there_for_who_has_it_open() {
    let world = World::open();
    let bytes = content(1, 3 << 20);
    world.put("x", bytes.clone());
    let mount = world.mount(&[]);
    let mut reader = File::open(mount.at("x")).unwrap();
    let mut writer = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(mount.at("y"))
        .unwrap();
    writer.write_all(b"some").unwrap();
    fs::remove_file(mount.at("x")).unwrap();
    fs::remove_file(mount.at("y")).unwrap();
    assert_eq!(world.server.keys(BUCKET, ""), [""; 0]);
    assert_eq!(reader.metadata().unwrap().nlink(), 0);
    let mut seen = Vec::new();
    reader.read_to_end(&mut seen).unwrap();
    assert!(seen == bytes);
    writer.write_all(b" more").unwrap();
    writer.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    writer.read_to_string(&mut text).unwrap();
    assert_eq!(text, "some more");
    drop((reader, writer));
    assert_eq!(world.server.keys(BUCKET, ""), [""; 0]);
    fs::write(mount.at("x"), "new").unwrap();
    assert_eq!(stored(&world, "x").unwrap(), b"new");
}

#[test]
fn exclusive_creation_is_local_or_asks_oss() {
    let world = World::open();
    let (one, two) = (
        world.mount_at("one", &["--exclusive-create=remote"]),
        world.mount_at("two", &[]),
    );
    let create = |mount: &Mount| {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(mount.at("lock"))
    };
    assert!(fs::metadata(one.at("lock")).is_err());
    let held = create(&two).unwrap();
    assert_eq!(errno(create(&two)), libc::EEXIST);
    drop(held);
    assert_eq!(errno(create(&one)), libc::EEXIST, "OSS knows");
    fs::remove_file(two.at("lock")).unwrap();
    let mut held = create(&one).unwrap();
    assert_eq!(
        stored(&world, "lock").unwrap(),
        b"",
        "others see it from the beginning"
    );
    held.write_all(b"mine").unwrap();
    drop(held);
    assert_eq!(stored(&world, "lock").unwrap(), b"mine");
}

#[test]
fn a_failed_commit_keeps_the_bytes_and_can_be_repeated() {
    let world = World::open();
    let mount = world.mount(&[]);
    let mut file = File::create(mount.at("x")).unwrap();
    file.write_all(b"precious").unwrap();
    deny(&world);
    assert_eq!(errno(file.sync_all()), libc::EACCES);
    assert_eq!(mount.read("x"), b"precious");
    drop(file);
    assert_eq!(stored(&world, "x"), None);
    assert_eq!(mount.read("x"), b"precious");
    world.server.faults().clear();
    let file = OpenOptions::new().write(true).open(mount.at("x")).unwrap();
    file.sync_all().unwrap();
    assert_eq!(stored(&world, "x").unwrap(), b"precious");
}

#[test]
fn the_end_of_the_mount_stores_what_is_left_or_names_it() {
    let world = World::open();
    let mut mount = world.mount(&[]);
    let mut file = File::create(mount.at("left")).unwrap();
    file.write_all(b"left open").unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(mount.child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    wait_for(SOON, "the mount ends", || {
        mount.child.try_wait().unwrap().is_some()
    });
    assert!(mount.child.wait().unwrap().success());
    assert_eq!(stored(&world, "left").unwrap(), b"left open");
    drop(file);
    let mut mount = world.mount_at("again", &[]);
    let mut file = File::create(mount.at("lost")).unwrap();
    file.write_all(b"lost").unwrap();
    deny(&world);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(mount.child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    wait_for(SOON, "the mount ends", || {
        mount.child.try_wait().unwrap().is_some()
    });
    assert!(!mount.child.wait().unwrap().success());
    let log = mount.log_text();
    assert!(log.contains("not stored") && log.contains("lost"), "{log}");
}

#[test]
fn a_lost_update_is_detected() {
    let world = World::open();
    world.put("x", "base");
    world.put("y", "base");
    let (careful, bold) = (
        world.mount_at("careful", &[]),
        world.mount_at("bold", &["--on-conflict=overwrite"]),
    );
    let open = |mount: &Mount, name: &str| {
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(mount.at(name))
            .unwrap()
    };
    let (mut x, mut y) = (open(&careful, "x"), open(&bold, "y"));
    world.put("x", "other");
    world.put("y", "other");
    x.write_all(b"mine").unwrap();
    y.write_all(b"mine").unwrap();
    assert_eq!(errno(x.sync_all()), libc::ESTALE);
    y.sync_all().unwrap();
    assert_eq!(stored(&world, "x").unwrap(), b"other");
    assert_eq!(stored(&world, "y").unwrap(), b"mine");
    drop((x, y));
    fs::remove_file(careful.at("x")).unwrap();
}

#[test]
fn a_role_that_may_not_write_is_told_at_mount_and_at_open() {
    let read = r#"{"Effect": "Allow", "Action": ["oss:ListObjects", "oss:GetObject"], "Resource": ["acs:oss:*:*:workspace-default", "acs:oss:*:*:workspace-default/*"]}"#;
    let world = World::with_roles(&role(read));
    world.put("x", "x");
    let mount = world.mount(&[]);
    assert!(mount.log_text().contains("oss:PutObject"));
    assert_eq!(errno(File::create(mount.at("new"))), libc::EACCES);
    assert_eq!(
        errno(OpenOptions::new().write(true).open(mount.at("x"))),
        libc::EACCES
    );
    assert_eq!(errno(fs::create_dir(mount.at("d"))), libc::EACCES);
    assert_eq!(errno(fs::remove_file(mount.at("x"))), libc::EACCES);
    assert_eq!(mount.read("x"), b"x");
}

#[test]
fn locks_work_within_the_mount() {
    let world = World::open();
    let mount = world.mount(&[]);
    python(
        &mount,
        "
import fcntl, os
a = open('lock', 'w'); b = open('lock', 'w')
fcntl.flock(a, fcntl.LOCK_EX | fcntl.LOCK_NB)
try:
    fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    raise SystemExit('two locks')
except BlockingIOError:
    pass
pid = os.fork()
fcntl.lockf(a, fcntl.LOCK_EX | fcntl.LOCK_NB) if pid else None
os.waitpid(pid, 0) if pid else os._exit(0)
",
    );
}
