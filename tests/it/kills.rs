//! The process of a mount is killed while programs write: what was stored is in the bucket, whole; what was only written is recovered.
//!
//! A dozen kills, or as many as `ROLEFS_KILLS` says, from the seed `ROLEFS_SEED` on (else another one each time; it is printed). `scripts/suites.sh --suite kills`
//! runs many.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Output;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{BUCKET, SOON, World, content, is_mounted, wait_for};
use crate::launch::{ended, output, signal};
use crate::written::stored;

/// Programs that write at once.
const WRITERS: u64 = 3;

/// Bytes of the longest file.
const BYTES_MAX: u64 = 24 << 20;

#[derive(Debug, Clone)]
enum Step {
    Write { at: u64, seed: u64, len: usize },
    Truncate(u64),
    Store,
}

/// A file and what was done to it.
#[derive(Debug)]
struct History {
    key: String,
    /// What the file system has answered to.
    done: Vec<Step>,
    /// What it was asked when it died.
    asked: Option<Step>,
}

impl History {
    /// The content after the first so many steps.
    fn after(&self, steps: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for step in &self.done[..steps] {
            apply(&mut bytes, step);
        }
        bytes
    }

    /// What may be in the bucket after the kill: the last version that was stored, or a later one, which was being stored, or had to be where memory
    /// was short. Never one that the file did not consist of.
    fn check_stored(&self, found: Option<&[u8]>) {
        let is_store = |step: &Step| matches!(step, Step::Store);
        let last = self.done.iter().rposition(is_store);
        let is_right = match found {
            None => last.is_none(),
            Some(found) => {
                (last.unwrap_or(0)..=self.done.len()).any(|steps| self.after(steps) == found)
            }
        };
        let key = &self.key;
        assert!(is_right, "{key} is no version that was stored");
    }

    /// What must be there once all is recovered: all that was answered to, and of the last write any number of its bytes.
    fn check_recovered(&self, found: Option<&[u8]>) {
        let known = self.after(self.done.len());
        let Some(found) = found else {
            assert!(known.is_empty(), "{} is lost", self.key);
            return;
        };
        let mut may_be = known.clone();
        match &self.asked {
            Some(Step::Write { at, seed, len }) => {
                let written = content(*seed, *len);
                let there = found.get(*at as usize..).unwrap_or_default();
                let same = there
                    .iter()
                    .zip(&written)
                    .take_while(|(one, other)| one == other);
                let part = &written[..same.count()];
                put(&mut may_be, *at, part);
            }
            Some(step) => apply(&mut may_be, step),
            None => {}
        }
        let is_right = found == known || found == may_be;
        assert!(is_right, "{} is not what was written", self.key);
    }
}

fn put(bytes: &mut Vec<u8>, at: u64, written: &[u8]) {
    if written.is_empty() {
        return;
    }
    let range = at as usize..at as usize + written.len();
    if bytes.len() < range.end {
        bytes.resize(range.end, 0);
    }
    bytes[range].copy_from_slice(written);
}

fn apply(bytes: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Write { at, seed, len } => put(bytes, *at, &content(*seed, *len)),
        Step::Truncate(len) => bytes.resize(*len as usize, 0),
        Step::Store => {}
    }
}

/// Writes files until the file system is gone.
fn write_on(directory: &Path, prefix: &str, seed: u64) -> Vec<History> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut histories = Vec::new();
    for number in 0.. {
        let name = format!("{seed}-{number}");
        let mut history = History {
            key: format!("{prefix}{name}"),
            done: Vec::new(),
            asked: None,
        };
        let is_gone = write_file(&directory.join(name), &mut random, &mut history).is_err();
        histories.push(history);
        if is_gone {
            break;
        }
    }
    histories
}

/// Writes one file, closes and opens it now and then; an error if the file system is gone.
fn write_file(
    path: &Path,
    random: &mut fastrand::Rng,
    history: &mut History,
) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let mut len = 0;
    // Short files, and such as are sent in parts.
    let (steps, longest) = match random.u8(..3) {
        0 => (random.usize(1..4), 5000),
        1 => (random.usize(1..40), 300_000),
        _ => (random.usize(1..40), 1 << 20),
    };
    for index in 0..=steps {
        let step = match random.u8(..20) {
            _ if index == steps => Step::Store,
            0 | 1 => Step::Store,
            2 => Step::Truncate(random.u64(..=len)),
            way => {
                let at = if way < 7 { random.u64(..=len) } else { len };
                let seed = random.u64(..);
                let len = random.usize(1..longest);
                Step::Write { at, seed, len }
            }
        };
        history.asked = Some(step.clone());
        match &step {
            Step::Write {
                at,
                seed,
                len: bytes,
            } => {
                if at + *bytes as u64 > BYTES_MAX {
                    history.asked = None;
                    continue;
                }
                file.write_all_at(&content(*seed, *bytes), *at)?;
                len = len.max(at + *bytes as u64);
            }
            Step::Truncate(to) => {
                file.set_len(*to)?;
                len = *to;
            }
            Step::Store => {
                file.sync_all()?;
                if random.bool() {
                    drop(file);
                    file = OpenOptions::new().write(true).open(path)?;
                }
            }
        }
        history.done.push(step);
        history.asked = None;
    }
    Ok(())
}

fn recover(world: &World, staging: &Path, arguments: &[&str]) -> Output {
    let mut command = world.rolefs();
    command.args(["recover", "--staging-dir"]).arg(staging);
    command.args(arguments);
    output(command)
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Mounts, has files written, kills; then looks at what is there. Returns how many files had to be recovered.
fn kill_once(world: &World, seed: u64) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let latency = Duration::from_millis(random.u64(..30));
    world.server.faults().set_first_byte(latency);
    let (name, staging) = (
        format!("mnt-{seed}"),
        world.path(&format!("staging-{seed}")),
    );
    let staged = format!("--staging-dir={}", staging.display());
    let target = format!("oss://{BUCKET}/{seed}");
    let mut mount = world.mount_at(&name, &[&target, &staged, "--memory=64MiB"]);
    let writers: Vec<JoinHandle<_>> = (0..WRITERS)
        .map(|writer| {
            let (directory, prefix) = (mount.path.clone(), format!("{seed}/"));
            let seed = seed.wrapping_mul(1000).wrapping_add(writer);
            std::thread::spawn(move || write_on(&directory, &prefix, seed))
        })
        .collect();
    // Any moment will do.
    std::thread::sleep(Duration::from_millis(random.u64(10..600)));
    signal(mount.child.id(), Signal::SIGKILL);
    ended(&mut mount.child, SOON);
    let written = writers
        .into_iter()
        .flat_map(|writer| writer.join().unwrap());
    let written: Vec<History> = written.collect();
    let mut umount = world.rolefs();
    umount.args(["umount", "--lazy"]).arg(&mount.path);
    assert!(output(umount).status.success());
    assert!(!is_mounted(&mount.path));
    // What was sent before the kill may still be on its way through the server.
    let (mut requests, mut since) = (0, Instant::now());
    wait_for(SOON, "the server is done", || {
        let now = world.server.stats().requests();
        if std::mem::replace(&mut requests, now) != now {
            since = Instant::now();
        }
        since.elapsed() > 2 * latency
    });
    for history in &written {
        history.check_stored(stored(world, &history.key).as_deref());
    }
    let restored = said(&recover(world, &staging, &["restore"]));
    for history in &written {
        history.check_recovered(stored(world, &history.key).as_deref());
    }
    assert!(fs::read_dir(&staging).unwrap().next().is_none());
    restored
        .lines()
        .filter(|line| line.ends_with("restored"))
        .count()
}

#[test]
fn a_killed_mount_has_stored_what_it_said_and_the_rest_is_recovered() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let kills = number("ROLEFS_KILLS").unwrap_or(12);
    let seed = number("ROLEFS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    let world = World::open();
    let mut recovered = 0;
    for seed in seed..seed + kills {
        eprintln!("ROLEFS_SEED={seed}");
        recovered += kill_once(&world, seed);
    }
    eprintln!("{kills} kills, {recovered} files were recovered");
    assert!(recovered as u64 >= kills / 2);
}

#[test]
fn a_mount_tells_of_what_a_crashed_one_has_left_and_recover_lists_and_drops_it() {
    let world = World::open();
    world.put("changed", content(1, 100_000));
    let staging = world.path("staging");
    let staged = format!("--staging-dir={}", staging.display());
    let mut mount = world.mount(&[&staged]);
    let new = File::create(mount.at("new")).unwrap();
    new.write_all_at(b"new", 0).unwrap();
    let open = |name: &str| OpenOptions::new().write(true).open(mount.at(name));
    let changed = open("changed").unwrap();
    changed.write_all_at(b"mine", 50_000).unwrap();
    // Of a mount that lives nothing is shown.
    assert!(said(&recover(&world, &staging, &[])).contains("nothing of a crashed mount"));
    signal(mount.child.id(), Signal::SIGKILL);
    ended(&mut mount.child, SOON);
    drop((new, changed, mount));
    world.put("changed", "theirs");

    let again = world.mount_at("again", &[&staged]);
    let log = again.log_text();
    let warning = log.lines().find(|line| line.contains("WARN")).unwrap();
    assert!(warning.contains("2 files of a crashed mount"), "{warning}");
    assert!(
        warning.contains("rolefs recover --staging-dir"),
        "{warning}"
    );
    again.unmount();

    let list = said(&recover(&world, &staging, &["list"]));
    let line = |key: &str| {
        let start = format!("oss://{BUCKET}/{key}\t");
        let line = list.lines().find(|line| line.starts_with(&start));
        line.unwrap_or_else(|| panic!("{key} is not in {list}"))
    };
    assert!(line("new").ends_with("\tcan be restored"), "{list}");
    assert!(line("new").contains("3 B"), "{list}");
    assert!(
        line("changed").contains("somebody else has changed"),
        "{list}"
    );

    let absent = recover(&world, &staging, &["drop", "newer"]);
    let why = String::from_utf8_lossy(&absent.stderr).into_owned();
    assert!(
        !absent.status.success() && why.contains("nothing of newer is there"),
        "{why}"
    );

    let refused = recover(&world, &staging, &["restore"]);
    assert!(!refused.status.success());
    assert_eq!(stored(&world, "new").unwrap(), b"new");
    assert_eq!(stored(&world, "changed").unwrap(), b"theirs");
    let to = world.path("to");
    let arguments = ["restore", "changed", "--to", to.to_str().unwrap()];
    let told = said(&recover(&world, &staging, &arguments));
    assert!(told.contains("99996 bytes of the object"), "{told}");
    let saved = fs::read(to.join("changed")).unwrap();
    assert_eq!(
        (saved.len(), &saved[50_000..50_004]),
        (100_000, &b"mine"[..])
    );

    let mut mount = world.mount_at("third", &[&staged]);
    let file = File::create(mount.at("dropped")).unwrap();
    file.write_all_at(b"dropped", 0).unwrap();
    signal(mount.child.id(), Signal::SIGKILL);
    ended(&mut mount.child, SOON);
    drop((file, mount));
    let told = said(&recover(&world, &staging, &["drop"]));
    assert!(
        told.contains("/dropped\t") && told.contains("\tdropped"),
        "{told}"
    );
    assert!(fs::read_dir(&staging).unwrap().next().is_none());
}
