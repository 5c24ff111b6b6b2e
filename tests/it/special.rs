//! Pipes, sockets and devices, which are names of one mount; the README's table is quoted.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;

use crate::harness::{BUCKET, Mount, World, shell};

const MODE: Mode = Mode::S_IRWXU;

fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

fn keys(world: &World) -> Vec<String> {
    world.server.keys(BUCKET, "")
}

/// `find`'s letter for the type of each name below a directory.
fn types(mount: &Mount) -> String {
    let script = "find . -mindepth 1 -printf '%P:%y\\n' | LC_ALL=C sort";
    shell(&mount.path, script).replace('\n', " ")
}

/// Writes into a pipe from a thread and reads it here.
fn passes(pipe: &Path) {
    let to = pipe.to_owned();
    let writer = thread::spawn(move || {
        let mut end = OpenOptions::new().write(true).open(to).unwrap();
        end.write_all(b"through").unwrap();
    });
    let mut read = String::new();
    let mut end = fs::File::open(pipe).unwrap();
    end.read_to_string(&mut read).unwrap();
    writer.join().unwrap();
    assert_eq!(read, "through");
}

#[test]
fn pipes_and_sockets_work_and_are_never_stored() {
    let world = World::open();
    let (mount, other) = (world.mount_at("one", &[]), world.mount_at("two", &[]));
    mkfifo(&mount.at("pipe"), MODE).unwrap();
    passes(&mount.at("pipe"));
    let listener = UnixListener::bind(mount.at("socket")).unwrap();
    let mut client = UnixStream::connect(mount.at("socket")).unwrap();
    client.write_all(b"hello").unwrap();
    drop(client);
    let mut read = String::new();
    listener
        .accept()
        .unwrap()
        .0
        .read_to_string(&mut read)
        .unwrap();
    assert_eq!(read, "hello");
    // `find` without stat(2) of each shows what readdir(3) says.
    let script = "python3 -c \"import os
for e in sorted(os.scandir('.'), key=lambda e: e.name): print(e.name, e.is_file(), e.is_dir())\"";
    assert_eq!(
        shell(&mount.path, script),
        "pipe False False\nsocket False False\n"
    );
    assert_eq!(types(&mount).trim(), "pipe:p socket:s");
    assert_eq!(
        errno(mkfifo(&mount.at("pipe"), MODE).map_err(Into::into)),
        libc::EEXIST
    );
    assert_eq!(errno(fs::metadata(other.at("pipe"))), libc::ENOENT);
    assert_eq!(keys(&world), [""; 0]);
    // A bound socket keeps its file system mounted.
    drop(listener);
    let metrics = mount.unmount();
    assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0);
}

#[test]
fn a_device_shows_its_number_and_what_was_set() {
    let world = World::open();
    let mount = world.mount(&[]);
    for (name, kind) in [("c", SFlag::S_IFCHR), ("b", SFlag::S_IFBLK)] {
        let path = mount.at(name);
        mknod(&path, kind, Mode::S_IRUSR, makedev(259, 70_000)).unwrap();
        shell(
            &mount.path,
            &format!(
                "chmod 2751 {name}; chown 12:34 {name}; touch -d '2001-02-03 04:05:06 UTC' {name}; chmod 751 {name}"
            ),
        );
        let shown = fs::symlink_metadata(&path).unwrap();
        assert_eq!(shown.rdev(), makedev(259, 70_000));
        assert_eq!(
            (
                shown.permissions().mode() & 0o7777,
                shown.uid(),
                shown.gid(),
                shown.mtime()
            ),
            (0o751, 12, 34, 981_173_106)
        );
        assert_eq!((shown.size(), shown.nlink()), (0, 1));
    }
    assert!(
        fs::metadata(mount.at("c"))
            .unwrap()
            .file_type()
            .is_char_device()
    );
    assert!(
        fs::metadata(mount.at("b"))
            .unwrap()
            .file_type()
            .is_block_device()
    );
    assert_eq!(errno(fs::File::open(mount.at("c"))), libc::EACCES);
}

#[test]
fn a_pipe_is_renamed_unlinked_and_moves_with_its_directory() {
    let world = World::open();
    let mount = world.mount(&[]);
    fs::create_dir_all(mount.at("d/e")).unwrap();
    mkfifo(&mount.at("d/e/p"), MODE).unwrap();
    let inode = fs::metadata(mount.at("d/e/p")).unwrap().ino();
    assert_eq!(errno(fs::remove_dir(mount.at("d/e"))), libc::ENOTEMPTY);
    fs::rename(mount.at("d"), mount.at("f")).unwrap();
    fs::rename(mount.at("f/e/p"), mount.at("q")).unwrap();
    assert_eq!(fs::metadata(mount.at("q")).unwrap().ino(), inode);
    assert_eq!(errno(fs::metadata(mount.at("f/e/p"))), libc::ENOENT);
    assert_eq!(types(&mount).trim(), "f/e:d f:d q:p");
    passes(&mount.at("q"));
    assert_eq!(
        errno(fs::rename(mount.at("q"), mount.at("f"))),
        libc::EISDIR
    );
    assert_eq!(
        errno(fs::rename(mount.at("f"), mount.at("q"))),
        libc::ENOTDIR
    );
    fs::remove_dir(mount.at("f/e")).unwrap();
    fs::remove_dir(mount.at("f")).unwrap();
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .open(mount.at("q"))
        .unwrap();
    fs::remove_file(mount.at("q")).unwrap();
    assert_eq!(open.metadata().unwrap().nlink(), 0);
    assert_eq!(errno(fs::metadata(mount.at("q"))), libc::ENOENT);
    assert_eq!(keys(&world), [""; 0]);
}

#[test]
fn a_pipe_and_a_file_take_each_others_names() {
    let world = World::open();
    world.put("a", "a");
    world.put("b", "b");
    let mount = world.mount(&[]);
    let mut open = fs::File::open(mount.at("a")).unwrap();
    mkfifo(&mount.at("p"), MODE).unwrap();
    fs::rename(mount.at("p"), mount.at("a")).unwrap();
    assert_eq!(keys(&world), ["b"], "what had the name is gone");
    assert!(fs::metadata(mount.at("a")).unwrap().file_type().is_fifo());
    let mut read = String::new();
    open.read_to_string(&mut read).unwrap();
    assert_eq!(read, "a", "who has it open reads on");
    fs::rename(mount.at("b"), mount.at("a")).unwrap();
    assert_eq!(keys(&world), ["a"]);
    assert_eq!(mount.read("a"), b"b");
    // What another client has stored under a pipe's name is hidden, and is there when the pipe is not.
    mkfifo(&mount.at("q"), MODE).unwrap();
    world.put("q", "foreign");
    fs::rename(mount.at("q"), mount.at("r")).unwrap();
    fs::remove_file(mount.at("r")).unwrap();
    assert_eq!(keys(&world), ["a", "q"]);
}
