//! `rolefs warm`: reads files through a mount, so that its caches have them.
//!
//! It is a reader like any other and works on any directory. One thread walks the directories, others read the files it
//! finds; a file that cannot be read is counted, and the rest is read all the same.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{BinaryBytes, HumanDuration, ProgressBar, ProgressStyle};

use super::args::WarmArgs;

/// One read(2): the largest that a mount answers at once.
const READ_BYTES: usize = 1 << 20;

/// Paths that were found and wait for a reader.
const WAITING_MAX: usize = 4096;

/// How often progress is shown where no terminal is.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What was done so far.
#[derive(Debug, Default)]
struct Done {
    files: AtomicU64,
    bytes: AtomicU64,
    /// What was found, of what is known so far.
    found_files: AtomicU64,
    found_bytes: AtomicU64,
    failures: AtomicU64,
    first_failure: Mutex<Option<String>>,
}

impl Done {
    fn failed(&self, path: &Path, error: &std::io::Error) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut first = self
            .first_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| format!("{}: {error}", path.display()));
    }
}

/// Reads everything below the paths.
pub(super) fn run(args: &WarmArgs) -> Result<()> {
    let done = Done::default();
    let progress = Progress::new();
    let (found, waiting) = std::sync::mpsc::sync_channel(WAITING_MAX);
    let waiting = Mutex::new(waiting);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..args.jobs)
            .map(|_| scope.spawn(|| read_all(&waiting, &done)))
            .collect();
        let walker = scope.spawn(|| {
            let found = found;
            for path in &args.paths {
                walk(path, &done, &mut |path| found.send(path).is_ok());
            }
        });
        while !walker.is_finished() || readers.iter().any(|reader| !reader.is_finished()) {
            thread::park_timeout(Progress::TICK);
            progress.show(&done, walker.is_finished());
        }
    });
    progress.end(&done);
    let failures = done.failures.load(Ordering::Relaxed);
    let first = done
        .first_failure
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    match (failures, first) {
        (0, _) | (_, None) => Ok(()),
        (1, Some(first)) => bail!("{first}"),
        (failures, Some(first)) => bail!("{first}; and {} more failures", failures - 1),
    }
}

/// Hands over all regular files below `path`, until nobody takes them.
fn walk(path: &Path, done: &Done, take: &mut impl FnMut(PathBuf) -> bool) -> bool {
    // What was typed may be a link to a mount; links that are found on the way may lead in circles.
    visit(path, fs::metadata(path), done, take)
}

fn visit(
    path: &Path,
    of_path: io::Result<fs::Metadata>,
    done: &Done,
    take: &mut impl FnMut(PathBuf) -> bool,
) -> bool {
    let of_path = match of_path {
        Ok(metadata) => metadata,
        Err(error) => {
            done.failed(path, &error);
            return true;
        }
    };
    if of_path.is_file() {
        done.found_files.fetch_add(1, Ordering::Relaxed);
        done.found_bytes.fetch_add(of_path.len(), Ordering::Relaxed);
        return take(path.to_owned());
    }
    if !of_path.is_dir() {
        return true;
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => {
            done.failed(path, &error);
            return true;
        }
    };
    for entry in entries {
        match entry {
            Ok(entry) => {
                if !visit(&entry.path(), entry.metadata(), done, take) {
                    return false;
                }
            }
            Err(error) => {
                done.failed(path, &error);
                return true;
            }
        }
    }
    true
}

fn read_all(waiting: &Mutex<std::sync::mpsc::Receiver<PathBuf>>, done: &Done) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(path) = next else { return };
        match read_file(&path, &mut buffer, done) {
            Ok(()) => drop(done.files.fetch_add(1, Ordering::Relaxed)),
            Err(error) => done.failed(&path, &error),
        }
    }
}

fn read_file(path: &Path, buffer: &mut [u8], done: &Done) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => drop(done.bytes.fetch_add(len as u64, Ordering::Relaxed)),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A bar on a terminal, a line now and then elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Mutex<Instant>,
}

impl Progress {
    const TICK: Duration = Duration::from_millis(100);

    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg}",
            );
            let bar = ProgressBar::new(0);
            match style {
                Ok(style) => bar.with_style(style),
                Err(_) => bar, // the template is ours; its own default shows a bar too
            }
        });
        Self {
            bar,
            started: Instant::now(),
            last_line: Mutex::new(Instant::now()),
        }
    }

    fn show(&self, done: &Done, is_all_found: bool) {
        let Some(bar) = &self.bar else {
            let mut last = self
                .last_line
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() >= LINE_EVERY {
                *last = Instant::now();
                self.line(done, is_all_found);
            }
            return;
        };
        bar.set_length(done.found_bytes.load(Ordering::Relaxed));
        bar.set_position(done.bytes.load(Ordering::Relaxed));
        let files = done.files.load(Ordering::Relaxed);
        let found = done.found_files.load(Ordering::Relaxed);
        let left = if is_all_found {
            format!(", {:#} left", HumanDuration(bar.eta()))
        } else {
            "+".to_owned() // more is being found
        };
        bar.set_message(format!("{files}/{found} files{left}"));
    }

    #[expect(
        clippy::print_stderr,
        reason = "progress is for who started the command"
    )]
    fn line(&self, done: &Done, is_all_found: bool) {
        let (bytes, found_bytes) = (
            done.bytes.load(Ordering::Relaxed),
            done.found_bytes.load(Ordering::Relaxed),
        );
        let elapsed = self.started.elapsed().as_millis().max(1);
        let rate = u64::try_from(u128::from(bytes) * 1000 / elapsed).unwrap_or(u64::MAX);
        let left = match found_bytes.saturating_sub(bytes).checked_div(rate) {
            Some(seconds) if is_all_found => {
                format!(", {:#} left", HumanDuration(Duration::from_secs(seconds)))
            }
            Some(_) | None => String::new(),
        };
        eprintln!(
            "{}/{} files, {}/{}, {}/s{left}",
            done.files.load(Ordering::Relaxed),
            done.found_files.load(Ordering::Relaxed),
            BinaryBytes(bytes),
            BinaryBytes(found_bytes),
            BinaryBytes(rate),
        );
    }

    fn end(&self, done: &Done) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.line(done, false);
    }
}
