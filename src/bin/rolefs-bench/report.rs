//! What a run prints: one line of JSON.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// Ticks per second of the times in `/proc/self/stat`: `USER_HZ`, part of Linux's ABI on every architecture that this
/// program is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// The figures of one run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Bytes of content that reached the buffer.
    pub(crate) bytes: u64,
    /// Files, objects or random reads done.
    pub(crate) operations: u64,
    /// Wall-clock seconds of the measured part; preparation such as opening a list is left out.
    pub(crate) seconds: f64,
    /// CPU-seconds of this process in that time, spent in the program itself, in steps of 10 ms.
    pub(crate) user_seconds: f64,
    /// The same, spent in the kernel on its behalf.
    pub(crate) system_seconds: f64,
    /// The most memory that this process ever held, in bytes.
    pub(crate) peak_rss_bytes: u64,
    /// Median time of one operation; only where each was timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency_median_seconds: Option<f64>,
    /// The time that 99 of 100 operations stay below; only where each was timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency_99_seconds: Option<f64>,
}

impl Report {
    /// Adds what single operations took.
    pub(crate) fn with_latencies(mut self, mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        self.latency_median_seconds = quantile(&latencies, 1, 2);
        self.latency_99_seconds = quantile(&latencies, 99, 100);
        self
    }

    /// The figures of several processes that worked at the same time.
    pub(crate) fn together(reports: &[Self], seconds: f64) -> Self {
        Self {
            bytes: reports.iter().map(|report| report.bytes).sum(),
            operations: reports.iter().map(|report| report.operations).sum(),
            seconds,
            user_seconds: reports.iter().map(|report| report.user_seconds).sum(),
            system_seconds: reports.iter().map(|report| report.system_seconds).sum(),
            peak_rss_bytes: reports.iter().map(|report| report.peak_rss_bytes).sum(),
            latency_median_seconds: None,
            latency_99_seconds: None,
        }
    }

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
    spent: Cpu,
}

/// CPU-seconds of this process.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cpu {
    user: f64,
    system: f64,
}

impl Stopwatch {
    /// Starts measuring.
    ///
    /// # Errors
    /// If `/proc` is not there.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self {
            spent: cpu()?,
            started: Instant::now(),
        })
    }

    /// Whole seconds since the start.
    pub(crate) fn seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// The report of what was done since the start.
    ///
    /// # Errors
    /// If `/proc` is not there.
    pub(crate) fn stop(&self, bytes: u64, operations: u64) -> anyhow::Result<Report> {
        let seconds = self.started.elapsed().as_secs_f64();
        let spent = cpu()?;
        Ok(Report {
            bytes,
            operations,
            seconds,
            user_seconds: spent.user - self.spent.user,
            system_seconds: spent.system - self.spent.system,
            peak_rss_bytes: peak_rss_bytes()?,
            latency_median_seconds: None,
            latency_99_seconds: None,
        })
    }
}

/// The value that `part` of `whole` values are not above; `None` of no values.
fn quantile(sorted: &[Duration], part: usize, whole: usize) -> Option<f64> {
    let at = (sorted.len() * part).div_ceil(whole).saturating_sub(1);
    sorted.get(at).map(Duration::as_secs_f64)
}

/// What this process has spent so far, threads that have ended included.
///
/// From `/proc` and not from getrusage(2), which costs `unsafe` and says the same.
fn cpu() -> anyhow::Result<Cpu> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    cpu_of(&stat).context("/proc/self/stat has another form than proc(5) says")
}

/// `VmHWM` of this process. What wait4(2) tells its parent begins with the parent's own memory.
fn peak_rss_bytes() -> anyhow::Result<u64> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.context("/proc/self/status has another form than proc(5) says")? << 10)
}

/// User and system time of a line of `/proc/PID/stat`: fields 14 and 15. The second field, the program's name, may
/// hold spaces and parentheses, so fields are counted from its end.
fn cpu_of(stat: &str) -> Option<Cpu> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    Some(Cpu {
        user: seconds()?,
        system: seconds()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_an_odd_name() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 41 1 0 0 20 0 1 0";
        let expected = Cpu {
            user: 0.41,
            system: 0.01,
        };
        assert_eq!(cpu_of(stat), Some(expected));
        assert_eq!(cpu_of("12 (a) S 1 2"), None);
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let seconds: Vec<_> = (1..=200).map(Duration::from_secs).collect();
        assert_eq!(quantile(&seconds, 1, 2), Some(100.0));
        assert_eq!(quantile(&seconds, 99, 100), Some(198.0));
        assert_eq!(quantile(&seconds[..1], 99, 100), Some(1.0));
        assert_eq!(quantile(&[], 1, 2), None);
    }

    #[test]
    fn a_report_comes_back_from_its_line() {
        let watch = Stopwatch::start().expect("/proc is mounted");
        let report = watch.stop(1, 2).expect("/proc is mounted");
        for report in [
            report,
            report.with_latencies(vec![Duration::from_millis(20)]),
        ] {
            let line = serde_json::to_string(&report).expect("numbers");
            assert_eq!(serde_json::from_str::<Report>(&line).ok(), Some(report));
        }
    }

    #[test]
    fn work_costs_cpu_time() {
        let watch = Stopwatch::start().expect("/proc is mounted");
        let deadline = Instant::now() + std::time::Duration::from_secs(20);
        let mut report = watch.stop(1, 1).expect("/proc is mounted");
        let spent = |report: &Report| report.user_seconds + report.system_seconds;
        while spent(&report) <= 0.0 && Instant::now() < deadline {
            report = watch.stop(1, 1).expect("/proc is mounted");
        }
        assert!(spent(&report) > 0.0, "{report:?}");
        assert!(report.seconds > 0.0, "{report:?}");
        assert!(report.peak_rss_bytes > 1 << 20, "{report:?}");
    }
}
