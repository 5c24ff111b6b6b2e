//! The cache on disk of a mount, from its start to its end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::config::{Config, Disk};
use super::process;
use crate::disk::{self, DiskCache};
use crate::metrics::Metrics;

/// How long an ending mount goes on writing what was read last. With less, a short job would leave nothing to the next one.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// Memory that is left to readers before the disk gets more than an eighth: the farthest read-ahead of one stream.
const READERS_BYTES: u64 = 512 << 20;

/// Opens it, if it is asked for.
pub(super) fn open(config: &Config, metrics: &Arc<Metrics>) -> Result<Option<Arc<DiskCache>>> {
    let Some(wanted) = &config.disk else {
        return Ok(None);
    };
    let bucket = format!(
        "{}/{}",
        config.connection.endpoint, config.connection.bucket
    );
    let cache = open_for(bucket, wanted, config.memory_bytes, metrics)?;
    tracing::debug!(?cache, "disk cache");
    Ok(Some(Arc::new(cache)))
}

/// Opens it for a bucket and a budget.
pub(super) fn open_for(
    bucket: String,
    wanted: &Disk,
    memory_bytes: u64,
    metrics: &Arc<Metrics>,
) -> Result<DiskCache> {
    let config = disk::Config {
        size_max: wanted.size_max,
        queue_bytes_max: queue_bytes(memory_bytes),
        bucket,
        files_max: process::raise_files(),
    };
    DiskCache::open(&wanted.directory, config, Arc::clone(metrics)).context("--cache-dir")
}

/// Memory that may wait for the disk, of so much. What finds no room there has to be fetched again, but it is memory that nothing
/// else can use: at most three eighths, and of little memory no more than an eighth.
fn queue_bytes(memory_bytes: u64) -> u64 {
    let eighth = memory_bytes / 8;
    memory_bytes
        .saturating_sub(READERS_BYTES)
        .clamp(eighth, 3 * eighth)
}

/// Waits a while for what is not written yet.
pub(super) fn finish(cache: &DiskCache, metrics: &Metrics) {
    if !cache.finish(GOODBYE_MAX) {
        tracing::info!(
            "the disk cache was not done within {GOODBYE_MAX:?}; what is missing is read again next time"
        );
    }
    let disk = &metrics.disk;
    tracing::info!(
        hits = disk.hits.get(),
        written_bytes = disk.written_bytes.get(),
        dropped_writes = disk.dropped_writes.get(),
        filled_blocks = disk.filled_blocks.get(),
        bad_blocks = disk.bad_blocks.get(),
        passthrough_opens = disk.passthrough_opens.get(),
        "the disk cache has ended"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_gets_more_memory_where_there_is_much() {
        const MIB: u64 = 1 << 20;
        for (memory, queue) in [
            (16, 2),
            (512, 64),
            (584, 73),
            (768, 256),
            (1024, 384),
            (4096, 1536),
        ] {
            assert_eq!(queue_bytes(memory * MIB), queue * MIB, "{memory} MiB");
        }
    }
}
