//! The cache on disk of a mount, from its start to its end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::config::Config;
use super::process;
use crate::disk::{self, DiskCache};
use crate::metrics::Metrics;

/// How long an ending mount goes on writing what was read last. With less, a short job would leave nothing to the next one.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// Opens it, if it is asked for.
pub(super) fn open(config: &Config, metrics: &Arc<Metrics>) -> Result<Option<Arc<DiskCache>>> {
    let Some(wanted) = &config.disk else {
        return Ok(None);
    };
    let opened = DiskCache::open(
        &wanted.directory,
        disk::Config {
            size_max: wanted.size_max,
            // Blocks in line are memory that nothing else can use.
            queue_bytes_max: config.memory_bytes / 8,
            bucket: format!("{}/{}", config.endpoint, config.bucket),
            files_max: process::raise_files(),
        },
        Arc::clone(metrics),
    );
    let cache = opened.context("--cache-dir")?;
    tracing::debug!(?cache, "disk cache");
    Ok(Some(Arc::new(cache)))
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
        bad_blocks = disk.bad_blocks.get(),
        passthrough_opens = disk.passthrough_opens.get(),
        "the disk cache has ended"
    );
}
