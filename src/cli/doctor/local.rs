//! This machine: the kernel's FUSE, and room in memory and on disk.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use bytesize::ByteSize;

use super::report::Report;
use crate::cli::config::{Disk, Surroundings, memory as memory_bytes};
use crate::cli::{disk, preflight, process, run};
use crate::fuse::{self, MountOptions, Mounted};
use crate::metrics::Metrics;
use crate::write::StagingDirectory;

/// From which version on the kernel can do what; what it cannot is done without.
const FEATURES: [((u32, u32), &str); 4] = [
    ((5, 4), "everything that is needed"),
    ((5, 11), "quick writes (HANDLE_KILLPRIV_V2)"),
    ((6, 9), "files of --cache-dir read by the kernel itself"),
    ((6, 18), "many names forgotten at once"),
];

/// The oldest kernel that mounts were tried with.
const KERNEL_MIN: (u32, u32) = (5, 4);

/// Open files that a cache on disk and a hundred connections need.
const FILES_MIN: u64 = 4096;

/// A directory with less room than this is soon full.
const ROOM_MIN: u64 = 1 << 30;

/// The device, the right to mount, and what the kernel offers.
pub(super) fn kernel(report: &mut Report) {
    match preflight::device() {
        Ok(()) => right(report),
        Err(missing) => {
            report.check("/dev/fuse", Err(missing));
            report.skip("right", "there is no /dev/fuse");
        }
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    match version(release) {
        None => report.warn("kernel", format!("{release:?} is no version that is known")),
        Some(version) if version < KERNEL_MIN => report.warn(
            "kernel",
            format!("Linux {release} is older than any that was tried; use 5.4 or newer"),
        ),
        Some(version) => {
            let has = |(since, _): &&((u32, u32), &str)| *since <= version;
            let features: Vec<&str> = FEATURES.iter().filter(has).map(|(_, what)| *what).collect();
            let said = format!("Linux {release}: {}", features.join(", "));
            report.check("kernel", Ok(said));
        }
    }
    let files = process::raise_files();
    if files < FILES_MIN {
        let said = format!(
            "{files} open files at most; raise the hard limit (ulimit -Hn) to {FILES_MIN}, or the cache on disk keeps few objects open"
        );
        report.warn("open files", said);
    } else {
        report.check("open files", Ok(format!("{files} at most")));
    }
}

/// Whether this user may mount, and by which way.
fn right(report: &mut Report) {
    let opened = File::options().read(true).write(true).open("/dev/fuse");
    let tried = try_to_mount();
    let device = match (&opened, &tried) {
        (Ok(_), _) => Ok("it can be opened".to_owned()),
        (Err(error), Ok(_)) => Ok(format!("it is there; this user may not open it ({error})")),
        (Err(error), Err(_)) => Err(anyhow!(
            "/dev/fuse cannot be opened: {error}; the user needs the right to read and write it, and the container's device rules must allow it"
        )),
    };
    report.check("/dev/fuse", device);
    report.check("right", tried.map(str::to_owned));
}

/// Mounts on a directory of our own, and ends it before anybody can look at it. Says how.
fn try_to_mount() -> Result<&'static str> {
    let directory = std::env::temp_dir().join(format!("rolefs-doctor-{}", std::process::id()));
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&directory)
        .with_context(|| format!("cannot make {} to mount on", directory.display()))?;
    let options = MountOptions {
        source: "rolefs-doctor".to_owned(),
        allow_other: false,
        read_only: true,
    };
    let ended = |mounted: Mounted| {
        // First: with its descriptor closed nobody waits for an answer any more.
        drop(mounted.fd);
        fuse::unmount(&mounted.mountpoint, true).context("cannot end the mount again")
    };
    let directly = fuse::mount_directly(&directory, &options).ok();
    let tried = match directly {
        Some(mounted) => ended(mounted).map(|()| "a mount was made, and ended again"),
        None => match fuse::mount(&directory, &options) {
            Ok(mounted) => {
                ended(mounted).map(|()| "a mount was made by fusermount3, and ended again")
            }
            Err(refused) => match run::try_by_a_child(&directory) {
                Ok(()) => Ok(
                    "'rolefs run' mounts in namespaces of its own, as was tried; 'rolefs mount' has no right here, and fusermount3 does not give it",
                ),
                Err(why) => Err(preflight::explain_no_way(&refused, &why)),
            },
        },
    };
    // What is left of it is an empty directory.
    let _ = fs::remove_dir(&directory);
    tried
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?))
}

/// The budget, and whether there is memory for it.
pub(super) fn memory(report: &mut Report, flag: Option<&str>, around: &Surroundings) {
    let budget = memory_bytes(flag.filter(|text| !text.is_empty()), around.memory_limit);
    let budget = match budget {
        Ok(budget) => budget,
        Err(error) => return report.check("memory", Err(error)),
    };
    let available = available().unwrap_or(around.memory_limit);
    let available = available.min(around.memory_limit);
    let said = format!(
        "{} for the budget of a mount; {} are free, the limit is {}",
        size(budget),
        size(available),
        size(around.memory_limit)
    );
    if budget > available {
        report.warn("memory", format!("{said}; pass a smaller --memory"));
    } else {
        report.check("memory", Ok(said));
    }
}

/// `MemAvailable` of the machine.
fn available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// The cache on disk, opened as a mount opens it.
pub(super) fn cache(report: &mut Report, directory: Option<&Path>) {
    let Some(directory) = directory.filter(|path| !path.as_os_str().is_empty()) else {
        return report.skip(
            "cache",
            "no --cache-dir: what was read is kept in memory only",
        );
    };
    let wanted = Disk {
        directory: absolute(directory),
        size_max: None,
    };
    let metrics = Arc::new(Metrics::default());
    match disk::open_for("doctor".to_owned(), &wanted, ROOM_MIN, &metrics) {
        Ok(_) => room(report, "cache", directory),
        Err(error) => report.check("cache", Err(error)),
    }
}

/// The staging directory, opened as a mount opens it.
pub(super) fn staging(report: &mut Report, directory: Option<&Path>) {
    let Some(directory) = directory.filter(|path| !path.as_os_str().is_empty()) else {
        return report.skip(
            "staging",
            "no --staging-dir: writers wait for uploads when memory is full",
        );
    };
    let opened = StagingDirectory::open(&absolute(directory), ROOM_MIN)
        .with_context(|| format!("--staging-dir {}", directory.display()));
    match opened {
        Ok(_) => room(report, "staging", directory),
        Err(error) => report.check("staging", Err(error)),
    }
}

fn absolute(path: &Path) -> PathBuf {
    // It fails for an empty path only.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// How much room a directory that can be used has.
fn room(report: &mut Report, name: &'static str, directory: &Path) {
    let shown = directory.display();
    match free(directory) {
        Err(error) => report.check(name, Err(anyhow!("{shown}: {error}"))),
        Ok(free) if free < ROOM_MIN => {
            report.warn(
                name,
                format!("{shown} has only {} left; choose a larger disk", size(free)),
            );
        }
        Ok(free) => report.check(
            name,
            Ok(format!("{shown} can be used, {} are free", size(free))),
        ),
    }
}

fn free(directory: &Path) -> io::Result<u64> {
    let found = nix::sys::statvfs::statvfs(directory)?;
    Ok(found
        .blocks_available()
        .saturating_mul(found.fragment_size()))
}

fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_kernel_is_its_first_two_numbers() {
        assert_eq!(version("6.18.3-rolefs"), Some((6, 18)));
        assert_eq!(version("5.10.134-16.al8.x86_64"), Some((5, 10)));
        assert_eq!(version("unknown"), None);
    }
}
