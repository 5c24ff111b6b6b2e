//! Where events go.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

/// Sends events of `level` to `file`, or to standard error.
pub(super) fn start(level: &str, file: Option<&Path>) -> Result<()> {
    let filter = filter(level)?;
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
    started.map_err(|error| anyhow!("cannot start logging: {error}"))
}

/// A level, or a list of `target=level`. To tracing-subscriber any other word is a target, so that a level that is mistyped
/// would silence the log.
fn filter(text: &str) -> Result<EnvFilter> {
    let remedy = || anyhow!("--log-level {text}: write error, warn, info, debug or trace");
    let is_known = |part: &str| part.contains('=') || part.parse::<LevelFilter>().is_ok();
    if !text.split(',').all(is_known) {
        return Err(remedy());
    }
    EnvFilter::builder().parse(text).map_err(|_| remedy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_does_not_exist_is_no_filter() {
        for good in [
            "info",
            "TRACE",
            "off",
            "rolefs::oss=debug",
            "warn,rolefs::oss=debug",
        ] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["loud", "warn,loud", "rolefs=loud"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
