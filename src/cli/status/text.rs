//! How a mount stands, as lines of text. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use bytesize::ByteSize;

use super::rates::{
    Between, COMMITS, DISK_HITS, DISK_MISSES, INLINE, NAME_HITS, NAME_MISSES, Names, READS,
    RECEIVED, REQUESTS, RETRIES, SENT, SERVED, THROTTLED, WRITTEN, read_share, share,
};
use crate::control::{OperationStatus, Status};

/// Operations of each list that are shown.
const OPERATIONS_MAX: usize = 10;

/// All of it.
pub(super) fn full(status: &Status) -> String {
    let mut rows: Vec<(&str, String)> = vec![
        ("mount", mount(status)),
        ("endpoint", endpoint(status)),
        ("credentials", credentials(status)),
        ("read", read(status)),
        ("written", written(status)),
        ("names", names(status)),
    ];
    if DISK_HITS.sum(status) + DISK_MISSES.sum(status) > 0 {
        let hits = share(DISK_HITS.sum(status), DISK_MISSES.sum(status));
        rows.push(("disk", format!("{} of its blocks found", percent(hits))));
    }
    rows.push(("memory", memory(status)));
    rows.push(("staged", staged(status)));
    rows.push(("in flight", in_flight(status)));
    rows.push(("requests", requests(status)));
    let mut text = String::new();
    for (title, row) in rows {
        line(&mut text, &format!("{title:<12} {row}"));
    }
    for file in &status.staged.unstored {
        let bytes = size(file.bytes);
        line(&mut text, &format!("not stored   {bytes:>9}  {}", file.key));
    }
    list(&mut text, "slowest", &status.slowest);
    list(&mut text, "failed", &status.failures);
    text
}

/// One line for a look of `--watch`.
pub(super) fn short(look: Between<'_>, at: &str) -> String {
    let now = look.now;
    let rate = |names: Names| size(look.per_second(names));
    let gets = now
        .metrics
        .get("rolefs_oss_gets_in_flight")
        .copied()
        .unwrap_or(0);
    format!(
        "{at} read {}/s, {} from memory, OSS {}/s; written {}/s, OSS {}/s; names {}; in flight {} requests, {gets} GETs; \
         memory {} of {}; staged {} in {} files{}",
        rate(SERVED),
        percent(read_share(look.growth(READS), look.growth(INLINE))),
        rate(RECEIVED),
        rate(WRITTEN),
        rate(SENT),
        percent(look.share(NAME_HITS, NAME_MISSES)),
        kernel_requests(now),
        size(now.memory.leased_bytes),
        size(now.memory.total_bytes),
        size(now.staged.bytes),
        now.staged.files,
        match &now.not_ready {
            Some(why) => format!("; not ready: {why}"),
            None => String::new(),
        }
    )
}

pub(super) fn target(status: &Status) -> String {
    harmless(&format!("oss://{}/{}", status.bucket, status.prefix))
}

pub(super) fn state(status: &Status) -> &str {
    match &status.not_ready {
        None if status.read_only => "ready, read-only",
        None => "ready",
        Some(_) => "not ready",
    }
}

fn mount(status: &Status) -> String {
    let mut text = format!(
        "{} on {}, {}, for {} (rolefs {}, process {})",
        target(status),
        status.mountpoint,
        state(status),
        time(Duration::from_secs(status.uptime_seconds)),
        status.version,
        status.pid
    );
    if let Some(why) = &status.not_ready {
        text.push_str(": ");
        text.push_str(why);
    }
    text
}

pub(super) fn endpoint(status: &Status) -> String {
    let kind = match status.endpoint_is_internal {
        true => "internal",
        false => "not internal to Alibaba Cloud",
    };
    let region = status.region.as_deref().unwrap_or("not named");
    let mut text = format!("{} ({kind}), region {region}", status.endpoint);
    if let Some(address) = &status.metrics_address {
        let _ = write!(text, "; metrics at http://{address}/metrics"); // a String takes all
    }
    text
}

pub(super) fn credentials(status: &Status) -> String {
    let set = &status.credentials;
    let (Some(source), Some(key)) = (&set.source, &set.key) else {
        return format!(
            "none: {}",
            set.trouble.as_deref().unwrap_or("none have come yet")
        );
    };
    let mut text = format!("{source}, key {key}");
    let seconds = |left: i64| time(Duration::from_secs(left.unsigned_abs()));
    match set.refresh_in_seconds {
        Some(0) => text.push_str(", the next set is being sought"),
        Some(left) => text.push_str(&format!(", refreshed in {}", seconds(left))),
        None => {}
    }
    match set.expires_in_seconds {
        Some(left) if left < 0 => text.push_str(&format!(", expired {} ago", seconds(left))),
        Some(left) => text.push_str(&format!(", expires in {}", seconds(left))),
        None => text.push_str(", no expiration"),
    }
    if let Some(trouble) = &set.trouble {
        text.push_str(&format!("; the last attempt brought none: {trouble}"));
    }
    harmless(&text)
}

fn read(status: &Status) -> String {
    let (reads, inline) = (READS.sum(status), INLINE.sum(status));
    format!(
        "{} in {reads} reads, {} of them from memory; {} from OSS",
        size(SERVED.sum(status)),
        percent(read_share(reads, inline)),
        size(RECEIVED.sum(status))
    )
}

fn written(status: &Status) -> String {
    format!(
        "{}, stored by {} commits; {} to OSS",
        size(WRITTEN.sum(status)),
        COMMITS.sum(status),
        size(SENT.sum(status))
    )
}

fn names(status: &Status) -> String {
    let (hits, misses) = (NAME_HITS.sum(status), NAME_MISSES.sum(status));
    format!(
        "{} lookups, {} of them from memory",
        hits + misses,
        percent(share(hits, misses))
    )
}

fn memory(status: &Status) -> String {
    let memory = &status.memory;
    format!(
        "{} of {} leased, {} of it kept blocks",
        size(memory.leased_bytes),
        size(memory.total_bytes),
        size(memory.cached_bytes)
    )
}

pub(super) fn staged(status: &Status) -> String {
    let staged = &status.staged;
    match staged.files {
        0 => "everything is stored".to_owned(),
        files => format!(
            "{files} files are not stored, {} of them in no object; {} of memory, {} of the staging directory",
            size(staged.bytes),
            size(staged.memory_bytes),
            size(staged.disk_bytes)
        ),
    }
}

/// How many requests of the kernel a task works on.
pub(super) fn kernel_requests(status: &Status) -> i64 {
    let in_flight = status.metrics.get("rolefs_fuse_in_flight");
    in_flight.copied().unwrap_or(0)
}

pub(super) fn in_flight(status: &Status) -> String {
    let gauge = |name: &str| status.metrics.get(name).copied().unwrap_or(0);
    let mut text = format!(
        "{} requests of the kernel, {} GETs of the {} that the link rewards, {} waiting",
        kernel_requests(status),
        gauge("rolefs_oss_gets_in_flight"),
        gauge("rolefs_read_gets_target"),
        gauge("rolefs_read_gets_waiting")
    );
    if let Some(oldest) = status.in_flight.first() {
        let path = oldest.path.as_deref().unwrap_or("?");
        let age = time(Duration::from_millis(oldest.age_ms));
        text.push_str(&format!(
            "; the oldest for {age}: {} {}",
            oldest.op,
            shown(path)
        ));
    }
    text
}

fn requests(status: &Status) -> String {
    let counts = REQUESTS
        .iter()
        .map(|(title, names)| (title, names.sum(status)));
    let mut counts: Vec<String> = counts
        .filter(|(_, count)| *count > 0)
        .map(|(title, count)| format!("{title} {count}"))
        .collect();
    counts.push(format!("{} retries", RETRIES.sum(status)));
    counts.push(format!("{} throttled", THROTTLED.sum(status)));
    counts.join(", ")
}

fn list(text: &mut String, title: &str, operations: &[OperationStatus]) {
    for operation in operations.iter().take(OPERATIONS_MAX) {
        line(text, &format!("{title:<12} {}", self::operation(operation)));
    }
}

/// An operation in one line.
pub(super) fn operation(operation: &OperationStatus) -> String {
    let took = time(Duration::from_millis(operation.took_ms));
    let ago = time(Duration::from_secs(operation.ago_seconds));
    let mut text = format!(
        "{took:>9}  {} {}, {ago} ago",
        operation.op,
        shown(&operation.subject)
    );
    if let Some(error) = &operation.error {
        text.push_str(": ");
        text.push_str(&harmless(error));
    }
    if let Some(id) = &operation.request_id
        && !operation
            .error
            .as_ref()
            .is_some_and(|error| error.contains(id.as_str()))
    {
        text.push_str(&format!(", request id {id}"));
    }
    text
}

/// A path as it is shown; the root has a name, too.
fn shown(path: &str) -> String {
    harmless(if path.is_empty() { "/" } else { path })
}

/// Text of elsewhere, without what would steer a terminal: a key may hold anything.
pub(super) fn harmless(text: &str) -> String {
    let letters = text.chars().map(|letter| match letter.is_control() {
        true => char::REPLACEMENT_CHARACTER,
        false => letter,
    });
    letters.collect()
}

fn line(text: &mut String, line: &str) {
    text.push_str(&harmless(line));
    text.push('\n');
}

pub(super) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

pub(super) fn percent(share: Option<u64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{share} %"))
}

/// A time with its two largest units; below a minute, seconds with a tenth, if there is one.
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 if time.subsec_millis() == 0 => format!("{seconds} s"),
        1..60 => format!("{seconds}.{} s", time.subsec_millis() / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_exact_as_they_are_long() {
        let shown = [0, 999, 1000, 2345, 59_999, 61_000, 8_000_000, 180_000_000];
        let shown = shown.map(|ms| time(Duration::from_millis(ms)));
        let expected = [
            "0 ms",
            "999 ms",
            "1 s",
            "2.3 s",
            "59.9 s",
            "1 min 1 s",
            "2 h 13 min",
            "2 d 2 h",
        ];
        assert_eq!(shown, expected);
    }
}
