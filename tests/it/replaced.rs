//! Objects are replaced at random moments while they are read: no reader ever sees bytes of two versions.
//!
//! Every version of every object can be told from any 64 bytes of it. A reader starts by believing all versions possible,
//! and each read leaves those that it agrees with: none left means mixed bytes. What may happen instead is `ESTALE`, or
//! SIGBUS for a mapped file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{Mount, SOON, World, wait_for};
use crate::kernel;

const OBJECTS: usize = 1_000;
const READERS: usize = 4;
const LINE: usize = 64;

/// Where the child finds what to map, and leaves what it has seen.
const MAP: &str = "ROLEFS_TEST_MAP";
const SEEN: &str = "ROLEFS_TEST_SEEN";

/// One object and its versions so far.
#[derive(Debug)]
struct Subject {
    number: usize,
    base_len: usize,
    /// Versions `0..versions` exist or have existed.
    versions: AtomicU64,
    /// Held while a version is stored: the last one counted is the last one stored.
    storing: Mutex<()>,
}

impl Subject {
    fn new(number: usize, random: &mut fastrand::Rng) -> Self {
        let base_len = match number % 50 {
            0 => random.usize(8 << 20..10 << 20),
            1..=6 => random.usize(1 << 20..3 << 20),
            _ => random.usize(1..100_000),
        };
        Self {
            number,
            base_len,
            versions: AtomicU64::new(0),
            storing: Mutex::default(),
        }
    }

    fn key(&self) -> String {
        format!("d{}/{}", self.number % 7, self.number)
    }

    /// Each version has another length.
    fn len(&self, version: u64) -> usize {
        self.base_len + version as usize * 3
    }

    /// The 64 bytes at `index` times 64: object, version and offset, and more that depends on all three.
    fn line(&self, version: u64, index: usize) -> [u8; LINE] {
        let mut line = [0; LINE];
        let words = [self.number as u64, version, index as u64 * LINE as u64];
        let mut mixed = (words[0] << 40 | version) ^ words[2].rotate_left(32);
        for (at, word) in line.chunks_exact_mut(8).enumerate() {
            mixed = (mixed ^ mixed >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            // From the first byte on: the shortest objects have no more.
            let value = words.get(at.wrapping_sub(5)).copied().unwrap_or(mixed);
            word.copy_from_slice(&value.to_le_bytes());
        }
        line
    }

    fn content(&self, version: u64) -> Vec<u8> {
        let len = self.len(version);
        let lines = (0..len.div_ceil(LINE)).map(|index| self.line(version, index));
        let mut bytes: Vec<u8> = lines.flatten().collect();
        bytes.truncate(len);
        bytes
    }

    /// Whether a read of `asked` bytes at `offset` of this version can give `bytes`.
    fn agrees(&self, version: u64, offset: usize, asked: Asked, bytes: &[u8]) -> bool {
        let left = self.len(version).saturating_sub(offset);
        let is_possible = match asked {
            Asked::Whole => bytes.len() == left,
            // The kernel gives what comes before the page that failed. Nothing at all is the end of the file.
            Asked::Piece(len) => bytes.len() <= len.min(left) && (left == 0 || !bytes.is_empty()),
        };
        if !is_possible {
            return false;
        }
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let line = &self.line(version, at / LINE)[at % LINE..];
            let len = line.len().min(rest.len());
            if line[..len] != rest[..len] {
                return false;
            }
            at += len;
            rest = &rest[len..];
        }
        true
    }
}

/// How much a read has asked for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// All up to the end of the file.
    Whole,
    /// At most so many bytes.
    Piece(usize),
}

/// What one open file has shown so far.
struct Witness<'a> {
    subject: &'a Subject,
    denied: Vec<u64>,
}

impl<'a> Witness<'a> {
    fn new(subject: &'a Subject) -> Self {
        Self {
            subject,
            denied: Vec::new(),
        }
    }

    /// Takes a read in; panics if no single version explains all of them.
    #[track_caller]
    fn saw(&mut self, offset: usize, asked: Asked, bytes: &[u8]) {
        let versions = self.subject.versions.load(Ordering::SeqCst);
        let denied = (0..versions)
            .filter(|version| {
                self.denied.contains(version)
                    || !self.subject.agrees(*version, offset, asked, bytes)
            })
            .collect();
        self.denied = denied;
        assert!(
            (self.denied.len() as u64) < versions,
            "mixed: object {}, {asked:?} at {offset}, {versions} versions",
            self.subject.number
        );
    }
}

/// How reads have ended.
#[derive(Debug, Default)]
struct Outcomes {
    whole: AtomicUsize,
    stale: AtomicUsize,
    killed: AtomicUsize,
}

struct Scene {
    // Before the world, which cannot be taken away under it.
    mount: Mount,
    world: World,
    subjects: Vec<Subject>,
    /// What each reader reads now.
    current: [AtomicUsize; READERS],
    outcomes: Outcomes,
}

impl Scene {
    fn open() -> Self {
        let mut random = fastrand::Rng::with_seed(31);
        let world = World::open();
        let mount = world.mount(&["--memory=64MiB"]);
        let subjects = (0..OBJECTS)
            .map(|number| Subject::new(number, &mut random))
            .collect();
        let scene = Self {
            mount,
            world,
            subjects,
            current: Default::default(),
            outcomes: Outcomes::default(),
        };
        for subject in &scene.subjects {
            scene.replace(subject);
        }
        scene
    }

    fn replace(&self, subject: &Subject) {
        let _storing = subject.storing.lock().unwrap();
        // Counted first: a reader may see it before `put` returns.
        let version = subject.versions.fetch_add(1, Ordering::SeqCst);
        self.world.put(&subject.key(), subject.content(version));
    }

    fn path(&self, subject: &Subject) -> PathBuf {
        self.mount.at(&subject.key())
    }

    /// Reads in pieces, in sequence or at random, and replaces the object somewhere on the way.
    fn read_files(&self, subject: &Subject, open: &[Open], random: &mut fastrand::Rng) {
        let mut files = Vec::new();
        for open in open {
            match open(&self.path(subject)) {
                Ok(file) => files.push((file, Witness::new(subject), 0)),
                Err(error) => return self.stale(&error),
            }
        }
        let piece = random.usize(1_000..1 << 20).min(subject.base_len / 3 + 1);
        let steps = (subject.base_len / piece + 1) * files.len();
        let replaced_at = random.usize(..steps);
        let mut buffer = vec![0; piece];
        let mut is_whole = true;
        for step in 0..steps + 2 * files.len() {
            if step == replaced_at {
                self.replace(subject);
            }
            let at = step % files.len();
            let (file, witness, next) = &mut files[at];
            let offset = if subject.number.is_multiple_of(2) {
                *next
            } else {
                random.usize(..subject.base_len)
            };
            match file.read_at(&mut buffer, offset as u64) {
                Ok(len) => {
                    witness.saw(offset, Asked::Piece(piece), &buffer[..len]);
                    *next = offset + len;
                }
                Err(error) => {
                    self.stale(&error);
                    is_whole = false;
                }
            }
        }
        if is_whole {
            self.outcomes.whole.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read_whole(&self, subject: &Subject) {
        match fs::read(self.path(subject)) {
            Ok(bytes) => {
                Witness::new(subject).saw(0, Asked::Whole, &bytes);
                self.outcomes.whole.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.stale(&error),
        }
        self.replace(subject);
    }

    /// Lets a child map the file and touch all of it, in an order of its own. The object is replaced when it has touched the
    /// half.
    fn read_mapped(&self, subject: &Subject) {
        let seen = self.world.path(&format!("seen-{}", subject.number));
        let half = half_of(&seen);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "replaced::what_a_child_maps", "--nocapture"])
            .env(MAP, self.path(subject))
            .env(SEEN, &seen)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for(SOON, "the child has touched the half, or ended", || {
            half.exists() || child.try_wait().unwrap().is_some()
        });
        self.replace(subject);
        // Waiting closes the pipe, upon which the child goes on.
        let status = child.wait().unwrap();
        if status.success() {
            match fs::read(&seen) {
                Ok(bytes) => Witness::new(subject).saw(0, Asked::Whole, &bytes),
                Err(_) => self.stale(&io::Error::from_raw_os_error(libc::ESTALE)),
            }
            self.outcomes.whole.fetch_add(1, Ordering::Relaxed);
        } else {
            assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
            self.outcomes.killed.fetch_add(1, Ordering::Relaxed);
        }
        // A child that was killed has left only one of them, or none.
        let _ = (fs::remove_file(seen), fs::remove_file(half));
    }

    #[track_caller]
    fn stale(&self, error: &io::Error) {
        assert_eq!(error.raw_os_error(), Some(libc::ESTALE), "{error}");
        self.outcomes.stale.fetch_add(1, Ordering::Relaxed);
    }

    fn reader(&self, reader: usize) {
        let mut random = fastrand::Rng::with_seed(reader as u64);
        for subject in self.subjects.iter().skip(reader).step_by(READERS) {
            self.current[reader].store(subject.number, Ordering::Relaxed);
            // Large ones above all: a small one comes whole with the first page that is touched.
            let is_mapped = random.u32(..if subject.base_len > 1 << 20 { 3 } else { 10 }) == 0;
            match random.u32(..5) {
                _ if is_mapped => self.read_mapped(subject),
                0 => self.read_whole(subject),
                1 => self.read_files(subject, &[buffered], &mut random),
                2 => self.read_files(subject, &[kernel::open_direct], &mut random),
                3 => self.read_files(subject, &[buffered, buffered], &mut random),
                _ => self.read_files(subject, &[buffered, kernel::open_direct], &mut random),
            }
        }
    }
}

/// The file that says that the child has come half-way.
fn half_of(seen: &Path) -> PathBuf {
    seen.with_extension("half")
}

type Open = fn(&Path) -> io::Result<File>;

fn buffered(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Not a test of its own: what [`Scene::read_mapped`] runs in a process that SIGBUS may kill.
#[test]
fn what_a_child_maps() {
    let (Some(path), Some(seen)) = (std::env::var_os(MAP), std::env::var_os(SEEN)) else {
        return;
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(libc::ESTALE) => return,
        Err(error) => panic!("{error}"),
    };
    let map = kernel::map(&file);
    let mut bytes = vec![0; map.len()];
    let mut pages: Vec<usize> = (0..map.len().div_ceil(4096)).collect();
    fastrand::shuffle(&mut pages);
    let half = pages.len() / 2;
    for (at, page) in pages.into_iter().enumerate() {
        if at == half {
            fs::write(half_of(Path::new(&seen)), "").unwrap();
            io::stdin().read_to_end(&mut Vec::new()).unwrap();
        }
        let range = page * 4096..map.len().min((page + 1) * 4096);
        bytes[range.clone()].copy_from_slice(&map[range]);
    }
    fs::write(seen, bytes).unwrap();
}

#[test]
fn no_read_mixes_versions() {
    let scene = Scene::open();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(32);
            while !stop.load(Ordering::Relaxed) {
                let reader = random.usize(..READERS);
                let subject = &scene.subjects[scene.current[reader].load(Ordering::Relaxed)];
                // More versions would make the test long, not sharper.
                if subject.versions.load(Ordering::Relaxed) < 8 {
                    scene.replace(subject);
                }
                thread::park_timeout(Duration::from_micros(random.u64(..4_000)));
            }
        });
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let scene = &scene;
                scope.spawn(move || scene.reader(reader))
            })
            .collect();
        let failed = readers.into_iter().filter_map(|reader| reader.join().err());
        let failed: Vec<_> = failed.collect();
        stop.store(true, Ordering::Relaxed);
        assert!(failed.is_empty(), "{} readers failed", failed.len());
    });
    eprintln!("{:?}", scene.outcomes);
    let count = |outcome: &AtomicUsize| outcome.load(Ordering::Relaxed);
    assert!(count(&scene.outcomes.whole) > 100, "{:?}", scene.outcomes);
    assert!(count(&scene.outcomes.stale) > 100, "{:?}", scene.outcomes);
    // When nothing changes any more, every name soon shows its last version.
    for subject in &scene.subjects {
        let last = subject.content(subject.versions.load(Ordering::SeqCst) - 1);
        wait_for(SOON, &subject.key(), || {
            fs::read(scene.path(subject)).is_ok_and(|bytes| bytes == last)
        });
    }
}
