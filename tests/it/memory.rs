//! The process stays within its budget: what it has in use is at most `--memory` and 96 MiB.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use rolefs::buffer::MEMORY_BYTES_MIN;

use crate::harness::{BUCKET, Mount, World, content, run, shell};
use crate::kernel;

const MIB: u64 = 1 << 20;

/// What is not in the budget: the program, its stacks, sockets, the tree.
const BESIDE_BYTES_MAX: u64 = 96 * MIB;

#[track_caller]
fn assert_within(mount: &Mount, budget: u64) {
    let peak = mount.peak_rss_bytes();
    let now = mount.rss_bytes();
    eprintln!("{} MiB now, {} at most", now / MIB, peak / MIB);
    assert!(
        peak <= budget + BESIDE_BYTES_MAX,
        "{} MiB in use with a budget of {}",
        peak / MIB,
        budget / MIB
    );
}

/// `count` objects of the same bytes; the server keeps them once.
fn put_large(world: &World, count: usize, len: u64) -> Bytes {
    let bytes = Bytes::from(content(count as u64, usize::try_from(len).unwrap()));
    for at in 0..count {
        world.put(&format!("large-{at}"), bytes.clone());
    }
    bytes
}

/// Reads `file` to its end by pieces of `piece` bytes.
#[track_caller]
fn read_through(mut file: impl Read, expected: &[u8], piece: usize) {
    let mut buffer = vec![0; piece];
    let mut at = 0;
    loop {
        let len = file.read(&mut buffer).unwrap();
        if len == 0 {
            return assert_eq!(at, expected.len());
        }
        assert!(
            buffer[..len] == expected[at..at + len],
            "other bytes at {at}"
        );
        at += len;
    }
}

#[test]
fn the_smallest_budget_serves_eight_readers() {
    let world = World::open();
    let expected = put_large(&world, 8, 63 * MIB + 77);
    let mount = world.mount(&[&format!("--memory={MEMORY_BYTES_MIN}B")]);
    thread::scope(|scope| {
        for reader in 0..8 {
            let (mount, expected) = (&mount, &expected);
            scope.spawn(move || {
                let path = mount.at(&format!("large-{reader}"));
                let file = if reader % 2 == 0 {
                    File::open(path)
                } else {
                    kernel::open_direct(&path)
                };
                read_through(&file.unwrap(), expected, 100_000 * (reader + 1));
            });
        }
    });
    assert_within(&mount, MEMORY_BYTES_MIN);
}

#[test]
fn two_gigabytes_pass_through_a_quarter() {
    let world = World::open();
    let expected = put_large(&world, 8, 128 * MIB);
    let mount = world.mount(&["--memory=256MiB"]);
    // 1 GiB by eight at once, then half a GiB by one, then half a GiB at random.
    thread::scope(|scope| {
        for reader in 0..8 {
            let (mount, expected) = (&mount, &expected);
            scope.spawn(move || {
                let file = File::open(mount.at(&format!("large-{reader}"))).unwrap();
                read_through(&file, expected, 1 << 20);
                kernel::forget_pages(&file);
            });
        }
    });
    for at in 0..4 {
        let file = kernel::open_direct(&mount.at(&format!("large-{at}"))).unwrap();
        read_through(&file, &expected, 4 << 20);
    }
    thread::scope(|scope| {
        for reader in 0..4_u64 {
            let (mount, expected) = (&mount, &expected);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(reader);
                let file = kernel::open_direct(&mount.at(&format!("large-{}", reader + 4)));
                let (file, mut buffer) = (file.unwrap(), vec![0; 128 << 10]);
                for _ in 0..1_000 {
                    let offset = random.usize(..expected.len() - buffer.len());
                    file.read_exact_at(&mut buffer, offset as u64).unwrap();
                    assert!(buffer == expected[offset..offset + buffer.len()]);
                }
            });
        }
    });
    assert_within(&mount, 256 * MIB);
}

#[test]
fn ten_thousand_small_files_stay_within_the_smallest_budget() {
    let world = World::open();
    let len = |at: usize| at * 7_919 % 20_000;
    for at in 0..10_000 {
        world.put(
            &format!("{}/{at}.txt", at % 20),
            content(at as u64, len(at)),
        );
    }
    let mount = world.mount(&["--memory=16MiB"]);
    assert_eq!(shell(&mount.path, "ls -lR | grep -c '[.]txt$'"), "10000\n");
    thread::scope(|scope| {
        for reader in 0..4 {
            let mount = &mount;
            scope.spawn(move || {
                for at in (reader..10_000).step_by(4) {
                    let bytes = fs::read(mount.at(&format!("{}/{at}.txt", at % 20))).unwrap();
                    assert!(bytes == content(at as u64, len(at)), "{at}");
                }
            });
        }
    });
    assert_within(&mount, 16 * MIB);
}

/// A memory cgroup (v2, else v1) with a limit; it is removed when the last process in it has ended.
struct Container(PathBuf);

impl Container {
    /// `None` where this process may not make one.
    fn new(limit: u64) -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rolefs-test-{}-{count}", std::process::id());
        let (root, knob) = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ]
        .into_iter()
        .find(|(root, _)| Path::new(root).join("cgroup.procs").exists())?;
        let container = Self(Path::new(root).join(name));
        fs::create_dir(&container.0).ok()?;
        fs::write(container.0.join(knob), limit.to_string()).ok()?;
        Some(container)
    }

    fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // What still runs in it moves up: only an empty one can be removed.
        if let Some(parent) = self.0.parent() {
            for pid in fs::read_to_string(self.0.join("cgroup.procs"))
                .unwrap_or_default()
                .lines()
            {
                let _ = fs::write(parent.join("cgroup.procs"), pid);
            }
        }
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_container_of_half_a_gibibyte_holds_mount_and_readers() {
    const LIMIT: u64 = 512 * MIB;
    let Some(container) = Container::new(LIMIT) else {
        eprintln!("no memory cgroup can be made here");
        return;
    };
    let world = World::open();
    let expected = put_large(&world, 8, 128 * MIB);
    let mount = world.mount(&["--memory=64MiB"]);
    container.take(mount.child.id());
    let readers: Vec<_> = (0..8)
        .map(|at| {
            let reader = Command::new("bash")
                .args(["-c", "read go; exec cat \"$0\""])
                .arg(mount.at(&format!("large-{at}")))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            container.take(reader.id());
            reader
        })
        .collect();
    thread::scope(|scope| {
        for mut reader in readers {
            let expected = &expected;
            scope.spawn(move || {
                reader.stdin.take().unwrap().write_all(b"go\n").unwrap();
                let out = reader.stdout.take().unwrap();
                read_through(out, expected, 1 << 16);
                assert!(reader.wait().unwrap().success());
            });
        }
    });
    assert_within(&mount, 64 * MIB);
}

/// Writes pieces to all files of a directory in turns, and closes them.
const WRITE_IN_TURNS: &str = "
import os, resource, sys
directory, files, pieces = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, files + 100), hard))
sys.stdin.readline()
opened = [os.open(f'{directory}/{at:04}', os.O_WRONLY | os.O_CREAT) for at in range(files)]
for piece in range(pieces):
    for at, file in enumerate(opened):
        bytes = f'{at:04}{piece:04}'.encode() * 8000
        assert os.write(file, bytes) == len(bytes)
for file in opened:
    os.close(file)
";

/// 1,000 files are open and written in turns, in a container of half a GiB with a mount that has `memory`.
fn a_thousand_files(memory: u64, staging: bool, pieces: usize) {
    const FILES: usize = 1000;
    let Some(container) = Container::new(512 * MIB) else {
        eprintln!("no memory cgroup can be made here");
        return;
    };
    let world = World::open();
    let memory_option = format!("--memory={memory}B");
    let mut options = vec![memory_option];
    if staging {
        fs::create_dir(world.path("staging")).unwrap();
        options.push(format!("--staging-dir={}", world.path("staging").display()));
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mount = world.mount(&options);
    container.take(mount.child.id());
    let mut writer = Command::new("python3")
        .args(["-c", WRITE_IN_TURNS])
        .arg(&mount.path)
        .args([FILES.to_string(), pieces.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    container.take(writer.id());
    writer.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert!(writer.wait().unwrap().success());
    for at in 0..FILES {
        let expected: String = (0..pieces)
            .map(|piece| format!("{at:04}{piece:04}").repeat(8000))
            .collect();
        let stored = world.server.get(BUCKET, &format!("{at:04}")).unwrap();
        assert!(stored == expected, "{at:04}");
    }
    assert_eq!(world.server.upload_count(BUCKET), 0);
    assert_within(&mount, memory);
    mount.unmount();
}

#[test]
fn a_thousand_files_are_open_for_writing_in_half_a_gibibyte() {
    a_thousand_files(128 * MIB, true, 16);
}

#[test]
fn a_thousand_files_are_open_for_writing_without_a_staging_disk() {
    a_thousand_files(256 * MIB, false, 8);
}

#[test]
fn a_budget_below_the_smallest_is_refused() {
    let world = World::open();
    let mut command = world.rolefs();
    command
        .args(["mount", "--foreground", "--memory=15MiB"])
        .arg(world.path("nothing"))
        .arg(format!("oss://{BUCKET}"));
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--memory 15MiB: at least 16.0 MiB"), "{said}");
    assert!(
        run(world.directory.path(), "! ls nothing 2> /dev/null")
            .status
            .success()
    );
}
