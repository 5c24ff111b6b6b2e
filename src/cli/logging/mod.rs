//! Where events go, in which form, and how many of them.

mod rotation;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::str::FromStr;
use std::sync::{Mutex, OnceLock};

use anyhow::{Context, Error, Result, anyhow, bail};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use rotation::Rotating;
pub(super) use rotation::Rotation;

/// `--log-format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Format {
    /// A line to be read: time, level, room, what happened.
    #[default]
    Human,
    /// A JSON object a line, with `timestamp`, `level`, `target`, `message`, and the event's fields beside them.
    Json,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => bail!("'{other}' is neither human nor json"),
        }
    }
}

/// How the log looks, and how long it becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) format: Format,
    pub(super) rotation: Rotation,
}

/// How much is logged by this process: one filter, as there is one log.
static LEVEL: OnceLock<LogLevel> = OnceLock::new();

/// Logs as much as `--log-level` with this text would, from now on.
///
/// # Errors
/// A text that `--log-level` does not take either. Then nothing changes.
pub(super) fn set_level(level: &str) -> Result<()> {
    LEVEL.get().context("nothing is logged")?.set(level)
}

/// The filter that events go through, which may be replaced.
#[derive(Debug)]
struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    fn set(&self, level: &str) -> Result<()> {
        let filter = filter(level).with_context(|| remedy(level))?;
        self.0.reload(filter).context("nothing is logged")
    }
}

/// Sends events of `level` to `file`, or to standard error.
///
/// # Errors
/// A level that does not exist, or a file that cannot be opened, or is somebody else's trap.
pub(super) fn start(level: &str, file: Option<&Path>, style: Style) -> Result<()> {
    let filter = filter(level).with_context(|| format!("--log-level {}", remedy(level)))?;
    let (filter, handle) = reload::Layer::new(filter);
    let writer = match file {
        None => BoxMakeWriter::new(io::stderr),
        Some(path) => {
            let log = Rotating::open(path, style.rotation)
                .with_context(|| format!("--log-file {}", path.display()))?;
            BoxMakeWriter::new(Mutex::new(log))
        }
    };
    let is_terminal = file.is_none() && io::stderr().is_terminal();
    Registry::default()
        .with(filter)
        .with(lines(style.format, writer, is_terminal))
        .try_init()
        .map_err(|error| anyhow!("cannot start logging: {error}"))?;
    // A second log has failed to start.
    let _ = LEVEL.set(LogLevel(handle));
    Ok(())
}

type Filtered = tracing_subscriber::layer::Layered<reload::Layer<EnvFilter, Registry>, Registry>;

/// What writes events as lines.
fn lines(
    format: Format,
    writer: BoxMakeWriter,
    is_terminal: bool,
) -> Box<dyn Layer<Filtered> + Send + Sync> {
    let lines = fmt::layer()
        .with_ansi(is_terminal)
        // A disk that is full would be told on standard error, for each line anew.
        .log_internal_errors(false)
        .with_writer(writer);
    match format {
        Format::Human => lines.boxed(),
        Format::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    }
}

fn remedy(level: &str) -> String {
    format!("{level}: write error, warn, info, debug or trace")
}

/// A level, or a list of `target=level`. To tracing-subscriber any other word is a target, so that a level that is mistyped
/// would silence the log.
fn filter(text: &str) -> Option<EnvFilter> {
    let is_known = |part: &str| part.contains('=') || part.parse::<LevelFilter>().is_ok();
    if !text.split(',').all(is_known) {
        return None;
    }
    EnvFilter::builder().parse(text).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    /// A log in memory.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
        }
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
            assert!(filter(good).is_some(), "{good}");
        }
        for bad in ["loud", "warn,loud", "rolefs=loud"] {
            assert!(filter(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_level_changes_while_the_process_runs() {
        let (layer, handle) = reload::Layer::new(filter("warn").unwrap());
        let level = LogLevel(handle);
        let kept = Kept::default();
        let writer = kept.clone();
        let writer = BoxMakeWriter::new(move || writer.clone());
        let subscriber = Registry::default()
            .with(layer)
            .with(lines(Format::Human, writer, false));
        tracing::subscriber::with_default(subscriber, || {
            let say = || tracing::debug!("a detail");
            say();
            assert_eq!(kept.take(), "");
            level.set("debug").unwrap();
            say();
            assert!(kept.take().contains("a detail"));
            let error = level.set("loud").unwrap_err().to_string();
            assert_eq!(error, remedy("loud"));
            say();
            assert!(kept.take().contains("a detail"), "nothing has changed");
            level.set("info").unwrap();
            say();
            assert_eq!(kept.take(), "");
        });
    }

    #[test]
    fn a_line_of_json_has_the_fields_beside_the_message() {
        let kept = Kept::default();
        let writer = kept.clone();
        let writer = BoxMakeWriter::new(move || writer.clone());
        let (layer, _handle) = reload::Layer::new(filter("info").unwrap());
        let subscriber = Registry::default()
            .with(layer)
            .with(lines(Format::Json, writer, false));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(ino = 7, key = "a \"b\"\n", "it failed");
        });
        let text = kept.take();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(
            (&line["level"], &line["message"]),
            (&"WARN".into(), &"it failed".into())
        );
        assert_eq!(
            (&line["ino"], &line["key"]),
            (&7.into(), &"a \"b\"\n".into())
        );
        assert!(
            line["timestamp"]
                .as_str()
                .is_some_and(|time| time.ends_with('Z'))
        );
        assert_eq!(text.matches('\n').count(), 1);
    }
}
