//! `read`: a reader as plain as can be, for any file system.

mod mapped;
mod processes;
mod random;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, ensure};
use bytesize::ByteSize;
use clap::{Args, Subcommand};

use crate::report::{Report, Stopwatch};

/// Alignment of a buffer and its length for `O_DIRECT`: one page satisfies every file system (open(2), "O_DIRECT").
const DIRECT_ALIGNMENT: usize = 4096;

/// What to read.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One file from its first byte to its last. Several threads read one contiguous share each.
    Sequential {
        /// The file.
        path: PathBuf,
        #[command(flatten)]
        how: How,
    },
    /// Every file of a directory, each whole.
    Small {
        /// The directory.
        directory: PathBuf,
        /// File with one name per line, relative to the directory. Without it the directory is listed first; the time
        /// of that is not counted, but a file system may have learned from it.
        #[arg(long)]
        list: Option<PathBuf>,
        /// Seed of the order; without it the order of the list.
        #[arg(long)]
        shuffle: Option<u64>,
        /// Stop after so many files.
        #[arg(long, default_value_t = usize::MAX)]
        count: usize,
        /// Begin no further file after so many seconds.
        #[arg(long, default_value_t = u64::MAX)]
        seconds: u64,
        #[command(flatten)]
        how: How,
    },
    /// Blocks of one file at random, block-aligned places.
    Random {
        /// The file.
        path: PathBuf,
        /// Reads of all threads together.
        #[arg(long, default_value_t = 1000)]
        count: usize,
        /// Seed of the places.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Stay within so many bytes at the start of the file; by default all of it.
        #[arg(long)]
        span: Option<ByteSize>,
        #[command(flatten)]
        how: How,
    },
    /// Every page of the tensors of a safetensors file, through a mapping.
    Mmap {
        /// The file.
        path: PathBuf,
        /// Order of the tensors; the pages of each are touched from its first to its last.
        #[arg(long, value_enum, default_value_t = mapped::Order::File)]
        order: mapped::Order,
        /// Seed of the random order.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// File that begins with the header, if it is another one: the null file system's bytes have no meaning.
        #[arg(long)]
        header: Option<PathBuf>,
    },
    /// One file from its first byte to its last, by several processes at once, each all of it.
    Processes {
        /// The file.
        path: PathBuf,
        /// How many processes.
        #[arg(long, default_value_t = 8)]
        processes: usize,
        /// Bytes of one read(2).
        #[arg(long, default_value = "1MiB")]
        block: ByteSize,
    },
}

/// How to read.
#[derive(Debug, Args)]
pub(crate) struct How {
    /// Threads that read.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Bytes of one read(2).
    #[arg(long, default_value = "1MiB")]
    block: ByteSize,
    /// Open with `O_DIRECT`.
    #[arg(long)]
    direct: bool,
}

/// Reads and reports.
///
/// # Errors
/// The first error of any thread, with its path.
pub(crate) fn run(command: Command) -> anyhow::Result<Report> {
    match command {
        Command::Sequential { path, how } => sequential(&path, &how),
        Command::Small {
            directory,
            list,
            shuffle,
            count,
            seconds,
            how,
        } => {
            let mut names = names(&directory, list.as_deref())?;
            if let Some(seed) = shuffle {
                fastrand::Rng::with_seed(seed).shuffle(&mut names);
            }
            names.truncate(count);
            small(&directory, &names, seconds, &how)
        }
        Command::Random {
            path,
            count,
            seed,
            span,
            how,
        } => {
            let span = span.map_or(u64::MAX, |span| span.0);
            random::random(&path, span, count, seed, &how)
        }
        Command::Mmap {
            path,
            order,
            seed,
            header,
        } => mapped::touch(&path, header.as_deref().unwrap_or(&path), order, seed),
        Command::Processes {
            path,
            processes,
            block,
        } => processes::sequential(&path, processes, block),
    }
}

fn sequential(path: &Path, how: &How) -> anyhow::Result<Report> {
    // Opening and asking the size count: a reader pays for them too.
    let watch = Stopwatch::start()?;
    let size = how.open(path)?.metadata()?.len();
    let block = how.block.0.max(1);
    let share = size
        .div_ceil(how.threads.max(1) as u64)
        .next_multiple_of(block);
    let bytes = how.on_every_thread(|thread| {
        let file = how.open(path)?;
        let mut buffer = Buffer::new(how)?;
        let start = (share * thread as u64).min(size);
        let end = (start + share).min(size);
        let mut offset = start;
        while offset < end {
            // Read whole blocks also at the end of a file: `O_DIRECT` takes no odd length.
            let got = file.read_at(buffer.block(), offset).context_of(path)?;
            ensure!(got > 0, "{} ends at {offset}", path.display());
            offset += got as u64;
        }
        Ok(offset - start)
    })?;
    ensure!(bytes == size, "read {bytes} bytes of {size}");
    watch.stop(bytes, 1)
}

fn small(directory: &Path, names: &[String], seconds: u64, how: &How) -> anyhow::Result<Report> {
    let next = AtomicUsize::new(0);
    let watch = Stopwatch::start()?;
    let threads = how.of_every_thread(|_| {
        let mut buffer = Buffer::new(how)?;
        let (mut bytes, mut files) = (0, 0);
        while watch.seconds() < seconds
            && let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let path = directory.join(name);
            let file = how.open(&path)?;
            let mut offset = 0;
            loop {
                let got = file.read_at(buffer.block(), offset).context_of(&path)?;
                if got == 0 {
                    break;
                }
                offset += got as u64;
            }
            bytes += offset;
            files += 1;
        }
        Ok((bytes, files))
    })?;
    let bytes = threads.iter().map(|(bytes, _)| bytes).sum();
    watch.stop(bytes, threads.iter().map(|(_, files)| files).sum())
}

/// The names to read: those of the list, or those of the directory in sorted order, so that a seed means one order.
fn names(directory: &Path, list: Option<&Path>) -> anyhow::Result<Vec<String>> {
    if let Some(list) = list {
        let text = std::fs::read_to_string(list).context_of(list)?;
        return Ok(text.lines().map(str::to_owned).collect());
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).context_of(directory)? {
        let entry = entry.context_of(directory)?;
        if entry.file_type().context_of(directory)?.is_file() {
            let name = entry.file_name().into_string();
            names.push(name.ok().context("a name is not UTF-8")?);
        }
    }
    names.sort_unstable();
    Ok(names)
}

impl How {
    fn open(&self, path: &Path) -> anyhow::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true);
        if self.direct {
            options.custom_flags(libc::O_DIRECT);
        }
        options.open(path).context_of(path)
    }

    /// Runs `work` once per thread, with the thread's number, and adds up the bytes.
    fn on_every_thread(
        &self,
        work: impl Fn(usize) -> anyhow::Result<u64> + Sync,
    ) -> anyhow::Result<u64> {
        Ok(self.of_every_thread(work)?.into_iter().sum())
    }

    /// Runs `work` once per thread, with the thread's number, and returns what each made.
    fn of_every_thread<T: Send>(
        &self,
        work: impl Fn(usize) -> anyhow::Result<T> + Sync,
    ) -> anyhow::Result<Vec<T>> {
        std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = (0..self.threads.max(1))
                .map(|thread| scope.spawn(move || work(thread)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a reader does not panic"))
                .collect()
        })
    }
}

/// One block, aligned for `O_DIRECT`.
struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    fn new(how: &How) -> anyhow::Result<Self> {
        let len = usize::try_from(how.block.0.max(1))?;
        ensure!(
            !how.direct || len.is_multiple_of(DIRECT_ALIGNMENT),
            "--direct wants a --block that is a multiple of {DIRECT_ALIGNMENT}"
        );
        let memory = vec![0; len + DIRECT_ALIGNMENT];
        let start = memory.as_ptr().align_offset(DIRECT_ALIGNMENT);
        Ok(Self { memory, start, len })
    }

    fn block(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

/// Says which path an I/O error belongs to.
trait ContextOf<T> {
    fn context_of(self, path: &Path) -> anyhow::Result<T>;
}

impl<T> ContextOf<T> for io::Result<T> {
    fn context_of(self, path: &Path) -> anyhow::Result<T> {
        self.with_context(|| format!("cannot read {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(threads: usize, block: u64) -> How {
        How {
            threads,
            block: ByteSize(block),
            direct: false,
        }
    }

    #[test]
    fn threads_share_a_file_without_gap_or_overlap() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        for size in [0, 1, 9_999, 10_000, 10_001] {
            std::fs::write(file.path(), vec![7; size]).expect("room on the disk");
            for threads in [1, 2, 3, 16] {
                let report = sequential(file.path(), &how(threads, 1_000)).expect("readable");
                assert_eq!(report.bytes, size as u64, "{threads} threads");
            }
        }
    }

    #[test]
    fn every_small_file_is_read_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for number in 0..20_usize {
            std::fs::write(
                directory.path().join(format!("{number:02}")),
                vec![0; number],
            )
            .expect("room on the disk");
        }
        let names = names(directory.path(), None).expect("a listing");
        let report = small(directory.path(), &names, 1000, &how(4, 7)).expect("readable");
        assert_eq!((report.operations, report.bytes), (20, 190));
        let report = small(directory.path(), &names, 0, &how(4, 7)).expect("readable");
        assert_eq!((report.operations, report.bytes), (0, 0));
    }
}
