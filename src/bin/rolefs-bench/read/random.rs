//! Blocks of one file at random places, each read timed.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::ensure;

use super::{Buffer, ContextOf as _, How};
use crate::report::{Report, Stopwatch};

/// `count` reads of all threads together, within the first `span` bytes.
pub(super) fn random(
    path: &Path,
    span: u64,
    count: usize,
    seed: u64,
    how: &How,
) -> anyhow::Result<Report> {
    let size = how.open(path)?.metadata().context_of(path)?.len();
    let block = how.block.0.max(1);
    let blocks = size.min(span) / block;
    ensure!(blocks > 0, "{} is shorter than one block", path.display());
    let next = AtomicUsize::new(0);
    let watch = Stopwatch::start()?;
    let latencies = how.of_every_thread(|thread| {
        let file = how.open(path)?;
        let mut buffer = Buffer::new(how)?;
        let mut places = fastrand::Rng::with_seed(seed.wrapping_add(thread as u64));
        let mut latencies = Vec::new();
        while next.fetch_add(1, Ordering::Relaxed) < count {
            let offset = places.u64(..blocks) * block;
            let asked = Instant::now();
            file.read_exact_at(buffer.block(), offset)
                .context_of(path)?;
            latencies.push(asked.elapsed());
        }
        Ok(latencies)
    })?;
    let report = watch.stop(count as u64 * block, count as u64)?;
    Ok(report.with_latencies(latencies.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytesize::ByteSize;

    #[test]
    fn every_read_is_counted_and_timed() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), vec![7; 10_000]).expect("room on the disk");
        let how = How {
            threads: 3,
            block: ByteSize(1_000),
            direct: false,
        };
        let report = random(file.path(), u64::MAX, 50, 1, &how).expect("readable");
        assert_eq!((report.operations, report.bytes), (50, 50_000));
        assert!(report.latency_median_seconds <= report.latency_99_seconds);
        assert!(report.latency_median_seconds.is_some());
        assert!(random(file.path(), 999, 1, 1, &how).is_err());
    }
}
