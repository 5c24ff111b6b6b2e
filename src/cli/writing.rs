//! What is written, from the start of a mount to its end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::runtime::Handle;

use super::config::Config;
use super::parent::Parent;
use crate::buffer::Budget;
use crate::fs::{self as file_system, FileSystem};
use crate::metrics::Metrics;
use crate::oss::Bucket;
use crate::read::Reader;
use crate::write::{self, StagingDirectory, Writer};

/// The writer of a mount.
pub(super) fn writer(
    config: &Config,
    bucket: &Arc<Bucket>,
    reader: &Arc<Reader>,
    budget: &Arc<Budget>,
    metrics: &Arc<Metrics>,
    runtime: &Handle,
) -> Result<Arc<Writer>> {
    let directory = match &config.staging {
        Some(staging) => {
            let opened = StagingDirectory::open(&staging.directory, staging.bytes_max);
            Some(opened.with_context(|| format!("--staging-dir {}", staging.directory.display()))?)
        }
        None => None,
    };
    let config = write::Config {
        on_conflict: config.on_conflict,
        directory,
        ..write::Config::new(budget)
    };
    let fetch = file_system::fetch(Arc::clone(reader));
    Ok(Writer::new(
        config,
        Arc::clone(bucket),
        Arc::clone(budget),
        fetch,
        Arc::clone(metrics),
        runtime.clone(),
    ))
}

/// Stores what is not stored when a mount ends, and tells the parent.
///
/// # Errors
/// If something could not be: it is named, in the log too.
pub(super) async fn finish(config: &Config, fs: &Arc<FileSystem>, parent: &Parent) -> Result<()> {
    let unstored = tokio::select! {
        unstored = fs.finish(config.limits.store_grace) => unstored,
        // No time to try again: what is not stored is named.
        () = parent.enough() => fs.finish(Duration::ZERO).await,
    };
    parent.stored(unstored.is_empty());
    if unstored.is_empty() {
        return Ok(());
    }
    for file in &unstored {
        let why = file.why.as_deref().unwrap_or("there was no time for it");
        tracing::error!(key = %file.key, bytes = file.bytes, "not stored: {why}");
    }
    let (first, count) = (&unstored[0].key, unstored.len());
    bail!(
        "{count} files that were written could not be stored, {first} among them; the log names all"
    );
}
