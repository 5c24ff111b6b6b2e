//! The live view of a mount, as lines of a terminal. Pure: what is styled and how wide the terminal is are arguments.

use std::collections::VecDeque;
use std::time::Duration;

use console::{Style, measure_text_width, pad_str, truncate_str};

use super::rates::{
    Between, DISK_HITS, DISK_MISSES, INLINE, NAME_HITS, NAME_MISSES, READS, RECEIVED, REQUESTS,
    RETRIES, SENT, SERVED, THROTTLED, WRITTEN, read_share,
};
use super::text;
use crate::control::{OperationStatus, Status};

/// Looks that the curves show.
pub(super) const HISTORY_MAX: usize = 40;

/// Letters of a bar.
const BAR: usize = 20;

/// The heights of a curve.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The rates of the last looks.
#[derive(Debug, Default)]
pub(super) struct History {
    read: VecDeque<u64>,
    written: VecDeque<u64>,
}

impl History {
    /// Takes note of a look.
    pub(super) fn note(&mut self, look: Between<'_>) {
        for (curve, names) in [(&mut self.read, SERVED), (&mut self.written, WRITTEN)] {
            if curve.len() == HISTORY_MAX {
                curve.pop_front();
            }
            curve.push_back(look.per_second(names));
        }
    }
}

/// The size of a terminal, and whether it shows styles.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) styled: bool,
}

impl Screen {
    fn style(self) -> Style {
        Style::new().force_styling(self.styled)
    }
}

/// The lines of one look, not more and not longer than the screen has room for.
pub(super) fn frame(look: Between<'_>, history: &History, screen: Screen) -> Vec<String> {
    let status = look.now;
    let mut lines = vec![header(status, screen), String::new()];
    lines.extend(throughput(look, history, screen));
    lines.push(requests(look, screen));
    lines.extend(hits(look, screen));
    lines.push(budget(status, screen));
    for (title, row) in [
        ("staged", text::staged(status)),
        ("in flight", text::in_flight(status)),
        ("role", text::credentials(status)),
        ("endpoint", text::endpoint(status)),
    ] {
        lines.push(titled(title, &row, screen));
    }
    let rest = screen.rows.saturating_sub(lines.len());
    let slowest = rest.saturating_sub(4) / 2;
    let (slow, failed) = (&status.slowest, &status.failures);
    lines.extend(list("slowest of ten minutes", slow, slowest, screen));
    let left = screen.rows.saturating_sub(lines.len());
    lines.extend(list("failed last", failed, left.saturating_sub(2), screen));
    let fit = |line: String| truncate_str(&line, screen.columns, "…").into_owned();
    lines.into_iter().take(screen.rows).map(fit).collect()
}

fn header(status: &Status, screen: Screen) -> String {
    let style = screen.style().bold();
    let left = format!(
        "{}  {} on {}",
        style.apply_to("rolefs"),
        text::target(status),
        text::harmless(&status.mountpoint)
    );
    let state = match &status.not_ready {
        None => screen
            .style()
            .green()
            .apply_to(text::state(status).to_owned()),
        Some(why) => screen
            .style()
            .red()
            .apply_to(format!("not ready: {}", text::harmless(why))),
    };
    let up = text::time(Duration::from_secs(status.uptime_seconds));
    let right = format!("{state}, {up}");
    let room = screen
        .columns
        .saturating_sub(measure_text_width(&left) + measure_text_width(&right));
    format!("{left}{}{right}", " ".repeat(room.max(1)))
}

fn throughput(look: Between<'_>, history: &History, screen: Screen) -> [String; 2] {
    let row = |title, curve: &VecDeque<u64>, here, there, direction| {
        let rate = format!("{}/s", text::size(look.per_second(here)));
        let wire = format!("{direction} {}/s", text::size(look.per_second(there)));
        let curve = screen.style().cyan().apply_to(sparkline(curve));
        let rate = screen.style().bold().apply_to(format!("{rate:>12}"));
        titled(title, &format!("{rate}  {curve}  {wire}"), screen)
    };
    [
        row("read", &history.read, SERVED, RECEIVED, "from OSS"),
        row("written", &history.written, WRITTEN, SENT, "to OSS"),
    ]
}

fn requests(look: Between<'_>, screen: Screen) -> String {
    let rates = REQUESTS
        .iter()
        .map(|(title, names)| (*title, look.per_second(*names)));
    let mut rates: Vec<String> = rates
        .filter(|(title, rate)| *rate > 0 || *title == "GET")
        .map(|(title, rate)| format!("{title} {rate}/s"))
        .collect();
    for (title, names) in [("retries", RETRIES), ("throttled", THROTTLED)] {
        let count = look.growth(names);
        if count > 0 {
            let warning = screen.style().yellow();
            rates.push(warning.apply_to(format!("{count} {title}")).to_string());
        }
    }
    titled("requests", &rates.join("  "), screen)
}

fn hits(look: Between<'_>, screen: Screen) -> Vec<String> {
    let reads = read_share(look.growth(READS), look.growth(INLINE));
    let names = look.share(NAME_HITS, NAME_MISSES);
    let mut rows = vec![
        ("reads", "from memory", reads),
        ("lookups", "from memory", names),
    ];
    if DISK_HITS.sum(look.now) + DISK_MISSES.sum(look.now) > 0 {
        rows.push(("blocks", "from disk", look.share(DISK_HITS, DISK_MISSES)));
    }
    let row = |(title, of, share): (&str, &str, Option<u64>)| {
        let bar = bar(share.unwrap_or(0), &screen.style().green());
        titled(
            title,
            &format!("{bar} {:>5} {of}", text::percent(share)),
            screen,
        )
    };
    rows.into_iter().map(row).collect()
}

fn budget(status: &Status, screen: Screen) -> String {
    let memory = &status.memory;
    let share = memory.leased_bytes.saturating_mul(100) / memory.total_bytes.max(1);
    let style = if share < 90 {
        screen.style().blue()
    } else {
        screen.style().yellow()
    };
    let row = format!(
        "{} {:>5} of {}, {} of it kept blocks",
        bar(share, &style),
        text::percent(Some(share)),
        text::size(memory.total_bytes),
        text::size(memory.cached_bytes)
    );
    titled("budget", &row, screen)
}

fn list(title: &str, operations: &[OperationStatus], max: usize, screen: Screen) -> Vec<String> {
    if operations.is_empty() || max == 0 {
        return Vec::new();
    }
    let title = screen.style().dim().apply_to(title);
    let mut lines = vec![String::new(), format!(" {title}")];
    let shown = operations.iter().take(max);
    lines.extend(shown.map(|operation| format!("  {}", text::operation(operation))));
    lines
}

fn titled(title: &str, row: &str, screen: Screen) -> String {
    let title = screen.style().dim().apply_to(title).to_string();
    let title = pad_str(&title, 10, console::Alignment::Left, None);
    format!(" {title} {row}")
}

/// A bar of so many percent.
fn bar(percent: u64, style: &Style) -> String {
    let full = usize::try_from(percent.min(100)).unwrap_or(0) * BAR / 100;
    let (full, rest) = ("█".repeat(full), "░".repeat(BAR - full));
    format!("{}{rest}", style.apply_to(full))
}

/// A curve between nothing and its own highest.
fn sparkline(values: &VecDeque<u64>) -> String {
    let highest = values.iter().copied().max().unwrap_or(0).max(1);
    let height = |value: &u64| {
        let step = value.saturating_mul(7).div_ceil(highest);
        HEIGHTS[usize::try_from(step).unwrap_or(7).min(7)]
    };
    let padding = std::iter::repeat_n(' ', HISTORY_MAX - values.len());
    padding.chain(values.iter().map(height)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{CredentialStatus, MemoryStatus};

    fn status(served: i64) -> Status {
        let metrics = [
            ("rolefs_read_bytes_served_total", served),
            ("rolefs_oss_bytes_received_total", served / 2),
            ("rolefs_read_reads_total", served / 1024),
            ("rolefs_read_inline_hits_total", served / 2048),
            ("rolefs_oss_get_requests_total", served / (1 << 20)),
        ];
        Status {
            bucket: "training".to_owned(),
            prefix: "imagenet/".to_owned(),
            mountpoint: "/mnt/data".to_owned(),
            endpoint: "https://oss-cn-hangzhou-internal.aliyuncs.com".to_owned(),
            endpoint_is_internal: true,
            region: Some("cn-hangzhou".to_owned()),
            uptime_seconds: 8000,
            memory: MemoryStatus {
                total_bytes: 4 << 30,
                leased_bytes: 1 << 30,
                cached_bytes: 32 << 20,
            },
            credentials: CredentialStatus {
                source: Some("auto".to_owned()),
                key: Some("STS.…WXYZ".to_owned()),
                expires_in_seconds: Some(3000),
                refresh_in_seconds: Some(1800),
                alive: true,
                ..CredentialStatus::default()
            },
            slowest: vec![OperationStatus {
                op: "read".to_owned(),
                subject: "a\u{1b}[2J.tar".to_owned(),
                took_ms: 2345,
                ago_seconds: 70,
                request_id: Some("5C3D9175B6FC201293AD".to_owned()),
                ..OperationStatus::default()
            }],
            metrics: metrics
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            ..Status::default()
        }
    }

    fn lines(columns: usize, rows: usize) -> Vec<String> {
        let (before, now) = (status(0), status(1 << 30));
        let look = Between {
            before: &before,
            now: &now,
            time: Duration::from_secs(1),
        };
        let mut history = History::default();
        history.note(look);
        let screen = Screen {
            rows,
            columns,
            styled: false,
        };
        frame(look, &history, screen)
    }

    #[test]
    fn a_frame_says_what_a_mount_does() {
        let lines = lines(120, 40);
        let has = |words: &[&str]| {
            let found = lines
                .iter()
                .any(|line| words.iter().all(|word| line.contains(word)));
            assert!(found, "{words:?} is in no line of:\n{}", lines.join("\n"));
        };
        has(&["oss://training/imagenet/ on /mnt/data", "ready, 2 h 13 min"]);
        has(&["read", "1.0 GiB/s", "█", "from OSS 512.0 MiB/s"]);
        has(&["requests", "GET 1024/s"]);
        has(&["reads", "██████████░░░░░░░░░░", "50 % from memory"]);
        has(&["budget", "25 % of 4.0 GiB, 32.0 MiB of it kept blocks"]);
        has(&["staged", "everything is stored"]);
        has(&[
            "role",
            "STS.…WXYZ, refreshed in 30 min 0 s, expires in 50 min 0 s",
        ]);
        has(&["endpoint", "(internal), region cn-hangzhou"]);
        has(&[
            "2.3 s",
            "read",
            "1 min 10 s ago",
            "request id 5C3D9175B6FC201293AD",
        ]);
    }

    #[test]
    fn a_frame_fits_the_screen_it_is_for() {
        for (columns, rows) in [(40, 5), (80, 24), (200, 60), (1, 1)] {
            let lines = lines(columns, rows);
            assert!(lines.len() <= rows, "{} lines in {rows} rows", lines.len());
            for line in lines {
                assert!(measure_text_width(&line) <= columns, "{line}");
            }
        }
    }

    #[test]
    fn a_key_cannot_steer_the_terminal() {
        assert!(!lines(120, 40).join("\n").contains('\u{1b}'));
    }
}
