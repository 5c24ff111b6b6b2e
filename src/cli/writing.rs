//! What is written, from the start of a mount to its end.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::runtime::Handle;

use super::config::{Config, Staging};
use super::parent::Parent;
use super::process;
use crate::buffer::Budget;
use crate::fs::{self as file_system, FileSystem, Unstored};
use crate::metrics::Metrics;
use crate::oss::Bucket;
use crate::read::Reader;
use crate::write::{self, CrashedMount, StagingDirectory, Writer};

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
        Some(staging) => Some(
            open(config, staging)
                .with_context(|| format!("--staging-dir {}", staging.directory.display()))?,
        ),
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

/// The staging directory. What crashed mounts have left in it is told, in the log and to whoever waits at the prompt.
#[expect(
    clippy::print_stderr,
    reason = "a warning that only a log file holds is not seen"
)]
fn open(config: &Config, staging: &Staging) -> io::Result<StagingDirectory> {
    process::raise_files();
    let crashed = CrashedMount::find(&staging.directory)?;
    let files: usize = crashed.iter().map(|crashed| crashed.files().len()).sum();
    let damaged: usize = crashed.iter().map(CrashedMount::damaged).sum();
    if files + damaged > 0 {
        let directory = staging.directory.display();
        let warning = format!(
            "{} files of a crashed mount are not stored; look at them with 'rolefs recover --staging-dir {directory}'",
            files + damaged
        );
        tracing::warn!("{warning}");
        if config.log_file.is_some() {
            eprintln!("rolefs: {warning}");
        }
    }
    let opened = StagingDirectory::open(&staging.directory, staging.bytes_max)?;
    let connection = &config.connection;
    Ok(opened.of_bucket(connection.endpoint.to_string(), connection.bucket.clone()))
}

/// The end of a mount: what is stored then, and how long that may take in all.
pub(super) struct LastStores<'a> {
    config: &'a Config,
    fs: &'a Arc<FileSystem>,
    parent: &'a Parent,
    /// From the first call on.
    deadline: OnceLock<Instant>,
    /// What the first attempt could not store: the second one may have no time to find out why.
    left: OnceLock<Vec<Unstored>>,
}

impl<'a> LastStores<'a> {
    pub(super) fn new(config: &'a Config, fs: &'a Arc<FileSystem>, parent: &'a Parent) -> Self {
        Self {
            config,
            fs,
            parent,
            deadline: OnceLock::new(),
            left: OnceLock::new(),
        }
    }

    /// Stores what is not stored while files may still be open.
    pub(super) async fn begin(&self) {
        let left = self.attempt().await;
        self.left.get_or_init(|| left);
    }

    /// Stores what is left, and tells the parent. Both share one time limit.
    ///
    /// # Errors
    /// If something could not be: it is named, in the log too.
    pub(super) async fn finish(&self) -> Result<()> {
        let unstored = self.attempt().await;
        self.parent.stored(unstored.is_empty());
        let Some(first) = unstored.first() else {
            return Ok(());
        };
        let left = self.left.get().map_or(&[][..], Vec::as_slice);
        for file in &unstored {
            let before = left.iter().find(|before| before.key == file.key);
            let why = file
                .why
                .as_ref()
                .or(before.and_then(|file| file.why.as_ref()));
            let why = why.map_or("there was no time for it", String::as_str);
            tracing::error!(key = %file.key, bytes = file.bytes, "not stored: {why}");
        }
        bail!(
            "{} files that were written could not be stored, {} among them; the log names all",
            unstored.len(),
            first.key
        );
    }

    async fn attempt(&self) -> Vec<Unstored> {
        let now = Instant::now();
        let grace = self.config.limits.store_grace;
        let deadline = self.deadline.get_or_init(|| now + grace);
        tokio::select! {
            unstored = self.fs.finish(deadline.duration_since(now)) => unstored,
            // No time to try again: what is not stored is named.
            () = self.parent.enough() => self.fs.finish(Duration::ZERO).await,
        }
    }
}
