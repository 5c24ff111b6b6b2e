//! What a run prints: one line of JSON.

use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;

/// Ticks per second of the times in `/proc/self/stat`: `USER_HZ`, part of Linux's ABI on every architecture that this
/// program is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// The figures of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Bytes of content that reached the buffer.
    pub(crate) bytes: u64,
    /// Files, objects or random reads done.
    pub(crate) operations: u64,
    /// Wall-clock seconds of the measured part; preparation such as opening a list is left out.
    pub(crate) seconds: f64,
    /// User and system CPU-seconds of this process in that time, in steps of 10 ms.
    pub(crate) cpu_seconds: f64,
}

impl Report {
    /// Writes the report to standard output.
    #[expect(
        clippy::print_stdout,
        reason = "the report is what this program is for"
    )]
    pub(crate) fn print(&self) {
        println!(
            "{}",
            serde_json::to_string(self).expect("a struct of numbers is JSON")
        );
    }
}

/// A stopwatch for wall-clock and CPU time.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    started: Instant,
    cpu_seconds: f64,
}

impl Stopwatch {
    /// Starts measuring.
    ///
    /// # Errors
    /// If `/proc` is not there.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self {
            cpu_seconds: cpu_seconds()?,
            started: Instant::now(),
        })
    }

    /// The report of what was done since the start.
    ///
    /// # Errors
    /// If `/proc` is not there.
    pub(crate) fn stop(&self, bytes: u64, operations: u64) -> anyhow::Result<Report> {
        let seconds = self.started.elapsed().as_secs_f64();
        Ok(Report {
            bytes,
            operations,
            seconds,
            cpu_seconds: cpu_seconds()? - self.cpu_seconds,
        })
    }
}

/// CPU-seconds of this process, threads that have ended included.
///
/// From `/proc` and not from getrusage(2), which costs `unsafe` and says the same.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    ticks_of(&stat)
        .map(|ticks| ticks / TICKS_PER_SECOND)
        .context("/proc/self/stat has another form than proc(5) says")
}

/// User and system ticks of a line of `/proc/PID/stat`: fields 14 and 15. The second field, the program's name, may
/// hold spaces and parentheses, so fields are counted from its end.
fn ticks_of(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_an_odd_name() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 41 1 0 0 20 0 1 0";
        assert_eq!(ticks_of(stat), Some(42.0));
        assert_eq!(ticks_of("12 (a) S 1 2"), None);
    }

    #[test]
    fn work_costs_cpu_time() {
        let watch = Stopwatch::start().expect("/proc is mounted");
        let deadline = Instant::now() + std::time::Duration::from_secs(20);
        let mut report = watch.stop(1, 1).expect("/proc is mounted");
        while report.cpu_seconds <= 0.0 && Instant::now() < deadline {
            report = watch.stop(1, 1).expect("/proc is mounted");
        }
        assert!(report.cpu_seconds > 0.0, "{report:?}");
        assert!(report.seconds > 0.0, "{report:?}");
    }
}
