//! `write`: a writer as plain as can be, for any file system. What it writes is stored when it ends: closing counts.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, ensure};
use bytesize::ByteSize;
use clap::Subcommand;

use crate::report::{Report, Stopwatch};

/// What to write.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// New files from their first byte to their last, a thread each.
    Sequential {
        /// The files.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Bytes of each file.
        #[arg(long)]
        size: ByteSize,
        /// Bytes of one write(2).
        #[arg(long, default_value = "1MiB")]
        block: ByteSize,
    },
    /// New small files of a directory, each created, written by one write(2), and closed.
    Small {
        /// The directory.
        directory: PathBuf,
        /// How many files.
        #[arg(long)]
        count: usize,
        /// Bytes of each file.
        #[arg(long, default_value = "100KiB")]
        size: ByteSize,
        /// Threads that write.
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// Begin no further file after so many seconds.
        #[arg(long, default_value_t = u64::MAX)]
        seconds: u64,
    },
    /// Blocks of a file that is there, one after the other from its middle on.
    Changes {
        /// The file.
        path: PathBuf,
        /// How many blocks.
        #[arg(long, default_value_t = 100)]
        count: usize,
        /// Bytes of one write(2).
        #[arg(long, default_value = "1MiB")]
        block: ByteSize,
    },
    /// Gives a file or directory another name.
    Rename {
        /// Its name.
        from: PathBuf,
        /// The name that it gets.
        to: PathBuf,
    },
}

/// Writes and reports.
///
/// # Errors
/// The first error of any thread, with its path; that of a close too.
pub(crate) fn run(command: Command) -> anyhow::Result<Report> {
    match command {
        Command::Sequential { paths, size, block } => sequential(&paths, size.0, block.0),
        Command::Small {
            directory,
            count,
            size,
            threads,
            seconds,
        } => small(&directory, count, size.0, threads, seconds),
        Command::Changes { path, count, block } => changes(&path, count, block.0),
        Command::Rename { from, to } => {
            let watch = Stopwatch::start()?;
            std::fs::rename(&from, &to)
                .with_context(|| format!("cannot rename {}", from.display()))?;
            watch.stop(0, 1)
        }
    }
}

fn sequential(paths: &[PathBuf], size: u64, block: u64) -> anyhow::Result<Report> {
    ensure!(block > 0, "--block must not be 0");
    let watch = Stopwatch::start()?;
    std::thread::scope(|scope| {
        let writers: Vec<_> = paths
            .iter()
            .enumerate()
            .map(|(number, path)| {
                scope.spawn(move || {
                    let mut content = content(block, number)?;
                    let mut file = created(path)?;
                    let mut left = size;
                    while left > 0 {
                        let len = block.min(left);
                        // No block like another: nothing on the way may take it for one that is there.
                        stamp(&mut content, left);
                        let piece = &content[..usize::try_from(len)?];
                        file.write_all(piece).with_context(|| failed(path))?;
                        left -= len;
                    }
                    close(file, path)
                })
            })
            .collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().expect("a writer does not panic"))
    })?;
    watch.stop(size * paths.len() as u64, paths.len() as u64)
}

fn small(
    directory: &Path,
    count: usize,
    size: u64,
    threads: usize,
    seconds: u64,
) -> anyhow::Result<Report> {
    let next = AtomicUsize::new(0);
    let watch = Stopwatch::start()?;
    let files = std::thread::scope(|scope| {
        let (next, watch) = (&next, &watch);
        let writers: Vec<_> = (0..threads.max(1))
            .map(|thread| {
                scope.spawn(move || {
                    let mut content = content(size, thread)?;
                    let mut files = 0;
                    while watch.seconds() < seconds {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            break;
                        }
                        let path = directory.join(format!("{number:06}.bin"));
                        let mut file = created(&path)?;
                        stamp(&mut content, number as u64);
                        file.write_all(&content).with_context(|| failed(&path))?;
                        close(file, &path)?;
                        files += 1;
                    }
                    anyhow::Ok(files)
                })
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().expect("a writer does not panic"))
            .sum::<anyhow::Result<u64>>()
    })?;
    watch.stop(files * size, files)
}

fn changes(path: &Path, count: usize, block: u64) -> anyhow::Result<Report> {
    ensure!(block > 0, "--block must not be 0");
    let watch = Stopwatch::start()?;
    let opened = OpenOptions::new().read(true).write(true).open(path);
    let file = opened.with_context(|| failed(path))?;
    let size = file.metadata().with_context(|| failed(path))?.len();
    let bytes = count as u64 * block;
    ensure!(bytes <= size, "{} is too short", path.display());
    let middle = (size - bytes) / 2 / block * block;
    let mut content = content(block, 0)?;
    for number in 0..count as u64 {
        stamp(&mut content, number);
        file.write_all_at(&content, middle + number * block)
            .with_context(|| failed(path))?;
    }
    close(file, path)?;
    watch.stop(bytes, count as u64)
}

/// Bytes that do not compress, others for every `seed`.
pub(crate) fn content(len: u64, seed: usize) -> anyhow::Result<Vec<u8>> {
    let mut content = vec![0; usize::try_from(len)?];
    fastrand::Rng::with_seed(seed as u64).fill(&mut content);
    Ok(content)
}

/// Makes a block unlike the one before.
pub(crate) fn stamp(content: &mut [u8], number: u64) {
    for (byte, value) in content.iter_mut().zip(number.to_le_bytes()) {
        *byte = value;
    }
}

fn created(path: &Path) -> anyhow::Result<File> {
    File::create_new(path).with_context(|| failed(path))
}

/// Closes a file and says what came of it, which dropping it would not.
fn close(file: File, path: &Path) -> anyhow::Result<()> {
    nix::unistd::close(file).with_context(|| failed(path))
}

fn failed(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_their_sizes_and_no_two_blocks_are_alike() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let paths = [directory.path().join("a"), directory.path().join("b")];
        let report = sequential(&paths, 2500, 1000).expect("room on the disk");
        assert_eq!((report.bytes, report.operations), (5000, 2));
        let content = std::fs::read(&paths[0]).expect("readable");
        assert_eq!(content.len(), 2500);
        assert_ne!(content[..1000], content[1000..2000]);
        assert_ne!(content, std::fs::read(&paths[1]).expect("readable"));
    }

    #[test]
    fn every_small_file_is_written_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let report = small(directory.path(), 20, 100, 4, 1000).expect("room on the disk");
        assert_eq!((report.bytes, report.operations), (2000, 20));
        let files = std::fs::read_dir(directory.path()).expect("a listing");
        assert_eq!(files.count(), 20);
    }

    #[test]
    fn changes_are_contiguous_and_change_no_size() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), vec![0; 10_000]).expect("room on the disk");
        changes(file.path(), 3, 1000).expect("writable");
        let content = std::fs::read(file.path()).expect("readable");
        assert_eq!(content.len(), 10_000);
        assert!(content[..3000].iter().all(|byte| *byte == 0));
        assert!(content[6000..].iter().all(|byte| *byte == 0));
        assert!(content[3000..6000].iter().any(|byte| *byte != 0));
    }
}
