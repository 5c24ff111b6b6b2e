//! Where events go.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::reload;

/// The permission bit of a directory in which any user may make files.
const OTHERS_WRITE: u32 = 0o002;

/// Puts another filter in the place of the one that events go through. One for the process, as the log is.
type Reload = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

static RELOAD: OnceLock<Reload> = OnceLock::new();

/// Changes what is logged from now on.
///
/// # Errors
/// If it is no level and no filter.
pub(super) fn set_level(level: &str) -> Result<()> {
    let filter = filter(level)?;
    let reload = RELOAD.get().context("nothing is logged")?;
    reload(filter).map_err(|error| anyhow!("cannot change the log level: {error}"))
}

/// Sends events of `level` to `file`, or to standard error.
pub(super) fn start(level: &str, file: Option<&Path>) -> Result<()> {
    let filter = filter(level)?;
    let builder = fmt().with_env_filter(filter);
    let started = match file {
        None => {
            let builder = builder
                .with_ansi(io::stderr().is_terminal())
                .with_writer(io::stderr)
                .with_filter_reloading();
            reloads(builder.reload_handle());
            builder.try_init()
        }
        Some(path) => {
            let log = open(path).with_context(|| format!("--log-file {}", path.display()))?;
            let builder = builder
                .with_ansi(false)
                .with_writer(std::sync::Mutex::new(log))
                .with_filter_reloading();
            reloads(builder.reload_handle());
            builder.try_init()
        }
    };
    started.map_err(|error| anyhow!("cannot start logging: {error}"))
}

/// Keeps what changes the filter.
fn reloads<S: 'static>(handle: reload::Handle<EnvFilter, S>) {
    let reload = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    // The second one is of no log: there is one in a process.
    let _ = RELOAD.set(Box::new(reload));
}

/// Opens a log to be appended to, readable by us alone if it is new.
///
/// In a directory where others may write, such as the temporary one, whatever has the name may be somebody else's trap: a
/// link to a file of ours, a pipe that nobody reads, a file that only waits for what we write. It must be our own file.
fn open(path: &Path) -> io::Result<File> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let is_shared = fs::metadata(parent.unwrap_or(Path::new(".")))?.mode() & OTHERS_WRITE != 0;
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    if !is_shared {
        return options.open(path);
    }
    let log = options
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let found = log.metadata()?;
    let is_ours = found.is_file() && found.uid() == nix::unistd::geteuid().as_raw();
    if is_ours && found.nlink() == 1 {
        Ok(log)
    } else {
        Err(io::Error::other(
            "somebody else put it into a directory that all may write to; choose another place",
        ))
    }
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
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_log_in_a_shared_directory_is_our_own_file() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let (log, link, pipe) = (
            place.path().join("log"),
            place.path().join("link"),
            place.path().join("pipe"),
        );
        symlink(&log, &link)?;
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU)?;
        assert!(open(&link).is_ok(), "nobody else can have made it");
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o1777))?;
        assert!(open(&log).is_ok());
        assert!(open(&link).is_err());
        assert!(open(&pipe).is_err(), "it would wait for a reader");
        fs::hard_link(&log, place.path().join("other name"))?;
        assert!(open(&log).is_err());
        Ok(())
    }

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
