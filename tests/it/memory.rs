//! The process stays within its budget: what it has in use is at most `--memory` and 96 MiB.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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
        let name = format!("rolefs-test-{}", std::process::id());
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
