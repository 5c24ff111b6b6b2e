//! Where events go.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Sends events of `level` to `file`, or to standard error.
pub(super) fn start(level: &str, file: Option<&Path>) -> Result<()> {
    let filter = EnvFilter::builder()
        .parse(level)
        .with_context(|| format!("--log-level {level}: write error, warn, info, debug or trace"))?;
    let builder = fmt().with_env_filter(filter);
    let started = match file {
        None => builder.with_writer(io::stderr).try_init(),
        Some(path) => {
            // Never through a link that somebody else put into a shared directory, and readable by us alone.
            let log = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(path)
                .with_context(|| format!("--log-file {}", path.display()))?;
            builder
                .with_ansi(false)
                .with_writer(std::sync::Mutex::new(log))
                .try_init()
        }
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
