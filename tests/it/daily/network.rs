//! A network that is gone for a while: mount and server in network namespaces of their own, and the link between them is taken down.
//!
//! The outages are seconds long, and `--retry-for` is shortened to go with them. With `ROLEFS_TEST_SOAK=1` they take the full two minutes, and
//! `--retry-for` is what it is by default, or longer than the outage.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

use crate::credentials::{put_files, read_on};
use crate::harness::{BUCKET, Mount, SOON, World, content, wait_for};
use crate::launch::{output, wrapped};
use crate::written::stored;

const MIB: usize = 1 << 20;

/// The server's end of the link.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Takes the other end of the link into a network namespace of its own, and becomes the command.
const BEYOND: &str = r#"
    nsenter --net="/proc/$1/ns/net" ip link set beyond netns $$; shift
    ip link set lo up; ip address add 10.77.0.2/24 dev beyond; ip link set beyond up; exec "$@""#;

fn is_soak() -> bool {
    std::env::var_os("ROLEFS_TEST_SOAK").is_some()
}

fn ip(line: &str) -> io::Result<bool> {
    let mut command = Command::new("ip");
    Ok(command.args(line.split(' ')).status()?.success())
}

/// A link from the thread that it is made on, which gets a network namespace of its own, to whatever [`Link::beyond`] starts. Nothing
/// else sees it, and it goes with the last process and thread at its ends.
struct Link;

impl Link {
    /// `None`, and why, where there can be none.
    fn new() -> Option<Self> {
        let made = unshare(CloneFlags::CLONE_NEWNET).is_ok()
            && [
                "link set lo up",
                "link add here type veth peer name beyond",
                "address add 10.77.0.1/24 dev here",
                "link set here up",
            ]
            .into_iter()
            .all(|line| ip(line).is_ok_and(|done| done));
        if !made {
            eprintln!("skipped: network namespaces, veth or ip(8) are not to be had here");
        }
        made.then_some(Self)
    }

    /// The command at the other end.
    fn beyond(&self, command: &Command) -> Command {
        let thread = gettid().to_string();
        let wrapper = ["unshare", "--net", "sh", "-euc", BEYOND, "sh", &thread];
        wrapped(&wrapper, command)
    }

    fn set(&self, state: &str) {
        assert!(ip(&format!("link set here {state}")).unwrap());
    }
}

/// Runs a test on a thread whose network becomes another one.
fn with_link(test: impl FnOnce(&Link, &World) + Send + 'static) {
    let running = thread::spawn(|| {
        let Some(link) = Link::new() else { return };
        let world = World::open_at(SocketAddr::from((SERVER, 0)));
        test(&link, &world);
    });
    if let Err(panic) = running.join() {
        std::panic::resume_unwind(panic);
    }
}

/// What is written to one of them: each third one goes up in parts.
fn written_to(at: u64) -> Vec<u8> {
    content(
        at,
        if at.is_multiple_of(3) {
            9 * MIB
        } else {
            300_000
        },
    )
}

/// Stores one file after the other until told to stop; returns how many, or what failed.
fn write_on(mount: &Mount, stop: &AtomicBool, stored: &AtomicU64) -> io::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let at = stored.load(Ordering::Relaxed);
        let mut file = File::create(mount.at(&format!("w{at}")))?;
        file.write_all(&written_to(at))?;
        file.sync_all()?;
        stored.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

#[test]
fn a_network_that_is_gone_for_a_while_costs_time_and_nothing_else() {
    with_link(|link, world| {
        let (outage, patience) = match is_soak() {
            true => (Duration::from_secs(120), "--retry-for=10min"),
            false => (Duration::from_secs(4), "--retry-for=1min"),
        };
        put_files(world);
        let options = ["--memory=32MiB", "--attr-ttl=0", patience];
        let mount = world.launch("mnt", link.beyond(&world.rolefs()), &options);
        let (stop, read, written) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let all_go_on = || {
            let (reads, writes) = (
                read.load(Ordering::Relaxed),
                written.load(Ordering::Relaxed),
            );
            wait_for(Duration::from_secs(90), "readers and writer go on", || {
                read.load(Ordering::Relaxed) > reads + 12
                    && written.load(Ordering::Relaxed) > writes + 3
            });
        };
        thread::scope(|scope| {
            let readers: Vec<_> = (0..4)
                .map(|seed| {
                    let (path, stop, read) = (&mount.path, &stop, &read);
                    scope.spawn(move || read_on(path, seed, stop, read))
                })
                .collect();
            let writer = scope.spawn(|| write_on(&mount, &stop, &written));
            let went_on = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                all_go_on();
                link.set("down");
                // The outage itself, not a wait for anything.
                thread::sleep(outage);
                link.set("up");
                all_go_on();
            }));
            stop.store(true, Ordering::Relaxed);
            for reader in readers {
                assert_eq!(reader.join().unwrap(), None);
            }
            writer.join().unwrap().unwrap();
            if let Err(panic) = went_on {
                std::panic::resume_unwind(panic);
            }
        });
        for at in 0..written.load(Ordering::Relaxed) {
            let found = stored(world, &format!("w{at}")).unwrap();
            assert!(found == written_to(at), "w{at}");
        }
        let metrics = mount.unmount();
        assert_eq!(metrics.value("rolefs_fuse_errors_total"), 0);
        assert_eq!(world.server.upload_count(BUCKET), 0);
    });
}

/// Something that asks OSS.
type Call<'a> = Box<dyn FnOnce() -> io::Result<()> + Send + 'a>;

/// It fails with EIO, within the time that `--retry-for` says for each of a few requests, and what a slow machine adds to it.
fn assert_given_up<T>(what: &str, patience: Duration, call: impl FnOnce() -> io::Result<T>) {
    let begin = Instant::now();
    let error = call().err().unwrap_or_else(|| panic!("{what} succeeds"));
    let took = begin.elapsed();
    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{what}: {error}");
    assert!(took < patience * 3 + SOON / 4, "{what} took {took:?}");
}

#[test]
fn a_network_that_is_gone_for_longer_is_an_error_and_nothing_is_lost() {
    with_link(|link, world| {
        let (patience, option) = match is_soak() {
            true => (Duration::from_secs(60), "--retry-for=1min"),
            false => (Duration::from_secs(2), "--retry-for=2s"),
        };
        for at in 0..4 {
            world.put(&format!("d/{at}"), content(at, 3 * MIB));
        }
        let rolefs = link.beyond(&world.rolefs());
        let mount = world.launch("mnt", rolefs, &["--memory=64MiB", option]);
        let mut held = File::open(mount.at("d/0")).unwrap();
        let mut bytes = Vec::new();
        held.read_to_end(&mut bytes).unwrap();
        // One is long enough that a part of it is up.
        let staged = ["short", "long"].map(|name| File::create(mount.at(name)).unwrap());
        let content_of = |at: usize| content(50 + at as u64, [10_000, 20 * MIB][at]);
        for (at, mut file) in staged.iter().enumerate() {
            file.write_all(&content_of(at)[..content_of(at).len() / 2])
                .unwrap();
        }
        link.set("down");
        let begin = Instant::now();
        thread::scope(|scope| {
            let tried: [(&str, Call<'_>); 4] = [
                ("read", Box::new(|| fs::read(mount.at("d/1")).map(drop))),
                (
                    "stat",
                    Box::new(|| fs::metadata(mount.at("other")).map(drop)),
                ),
                ("create", Box::new(|| fs::write(mount.at("new"), "x"))),
                (
                    "rename",
                    Box::new(|| fs::rename(mount.at("d/2"), mount.at("d/9"))),
                ),
            ];
            for (what, call) in tried {
                scope.spawn(move || assert_given_up(what, patience, call));
            }
        });
        for (at, mut file) in staged.iter().enumerate() {
            file.write_all(&content_of(at)[content_of(at).len() / 2..])
                .unwrap();
            assert_given_up("fsync", patience, || file.sync_all());
        }
        // What is here can be read, and the mount can be looked at.
        held.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes == content(0, 3 * MIB));
        assert!(mount.read("short") == content_of(0));
        let mut status = world.rolefs();
        status.arg("status").arg(&mount.path);
        assert!(output(status).status.success());
        if is_soak() {
            // The outage itself, not a wait for anything.
            thread::sleep(Duration::from_secs(120).saturating_sub(begin.elapsed()));
        }
        link.set("up");
        wait_for(Duration::from_secs(60), "reads go on", || {
            fs::read(mount.at("d/1")).is_ok_and(|bytes| bytes == content(1, 3 * MIB))
        });
        for (at, file) in staged.iter().enumerate() {
            file.sync_all().unwrap();
            let found = stored(world, ["short", "long"][at]).unwrap();
            assert!(found == content_of(at), "{at}");
        }
        assert!(mount.read("d/2") == content(2, 3 * MIB));
        assert!(
            fs::metadata(mount.at("other"))
                .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        );
        drop((staged, held));
        drop(mount);
        assert_eq!(world.server.upload_count(BUCKET), 0);
    });
}
