//! What was slow lately, and what failed: for whoever asks for the state of a mount, and for the log.
//!
//! Two kinds of operations meet here: requests of the kernel with the path that they are about, and requests to OSS with their key
//! and request id. A slow `read` and the slow `get object` behind it stand beside each other, for a reader may wait for a GET that
//! was sent on behalf of another.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Who asked for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A process, through the kernel.
    Kernel,
    /// This program, of OSS.
    Mount,
}

/// One operation that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it ended.
    pub ended: SystemTime,
    /// Who asked for it.
    pub asker: Asker,
    /// What it did, in words of the kernel or of OSS: `read`, `get object`.
    pub op: &'static str,
    /// The path in the mount, or the key.
    pub subject: String,
    /// How long it took.
    pub took: Duration,
    /// The request id of OSS's last answer, if one is known.
    pub request_id: Option<String>,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// What is faster is not worth looking for: a warm read takes microseconds, a near server answers in milliseconds.
pub const WORTH_NOTING: Duration = Duration::from_millis(20);

/// An operation that takes this long is logged, unless told otherwise.
pub const SLOW_AFTER: Duration = Duration::from_secs(5);

/// How long the slowest operations are remembered: [`SPANS`] spans of a minute.
const SPAN: Duration = Duration::from_secs(60);

/// Spans kept.
const SPANS: usize = 10;

/// The slowest operations kept of each span, of each kind. With [`SPANS`], at most 320 records.
const SLOWEST_MAX: usize = 16;

/// Failures kept: a screen of them.
const FAILURES_MAX: usize = 32;

/// Lines about slow operations in one span. A bucket that answers slowly makes all of them slow.
const LINES_MAX: u32 = 30;

/// The slowest operations of the last ten minutes, and the last failures.
#[derive(Debug)]
pub struct Journal {
    slow_after_ms: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Oldest first.
    spans: VecDeque<Span>,
    /// Oldest first.
    failures: VecDeque<Record>,
}

#[derive(Debug)]
struct Span {
    began: SystemTime,
    /// Of each kind at most [`SLOWEST_MAX`].
    slowest: Vec<Record>,
    lines: u32,
}

impl Default for Journal {
    fn default() -> Self {
        let slow_after_ms = AtomicU64::new(SLOW_AFTER.as_secs() * 1000);
        Self {
            slow_after_ms,
            inner: Mutex::default(),
        }
    }
}

impl Journal {
    /// From which duration on operations are logged as slow; zero for never.
    pub fn log_slow_after(&self, limit: Duration) {
        let ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.slow_after_ms.store(ms, Ordering::Relaxed);
    }

    /// Takes note of an operation that took at least [`WORTH_NOTING`], and logs it if it was slow.
    pub fn ended(&self, record: Record) {
        let limit = Duration::from_millis(self.slow_after_ms.load(Ordering::Relaxed));
        let is_slow = !limit.is_zero() && record.took >= limit;
        let mut inner = self.lock();
        let span = inner.span(record.ended);
        if is_slow {
            span.lines += 1;
        }
        let line = span.lines;
        let said = is_slow && line <= LINES_MAX;
        let told = said.then(|| record.clone());
        span.keep(record);
        drop(inner);
        if let Some(Record {
            op,
            subject,
            took,
            request_id,
            ..
        }) = told
        {
            let took_ms = took.as_millis();
            tracing::info!(op, subject, took_ms, request_id, "slow");
            if line == LINES_MAX {
                tracing::info!("more slow operations are not logged within this minute");
            }
        }
    }

    /// Takes note of an operation that failed. The log is the caller's.
    pub fn failed(&self, record: Record) {
        let mut inner = self.lock();
        if inner.failures.len() == FAILURES_MAX {
            inner.failures.pop_front();
        }
        inner.failures.push_back(record);
    }

    /// The slowest operations that ended in the ten minutes before `now`, slowest first, at most `max`.
    #[must_use]
    pub fn slowest(&self, now: SystemTime, max: usize) -> Vec<Record> {
        let inner = self.lock();
        let oldest = now.checked_sub(SPAN * 10);
        let recent = inner
            .spans
            .iter()
            .flat_map(|span| &span.slowest)
            .filter(|record| oldest.is_none_or(|oldest| record.ended >= oldest));
        let mut recent: Vec<&Record> = recent.collect();
        recent.sort_by_key(|record| std::cmp::Reverse(record.took));
        recent.into_iter().take(max).cloned().collect()
    }

    /// The last failures, newest first.
    #[must_use]
    pub fn failures(&self) -> Vec<Record> {
        self.lock().failures.iter().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The span that `now` is in; a clock that was set back begins a new one.
    fn span(&mut self, now: SystemTime) -> &mut Span {
        let is_current = self.spans.back().is_some_and(|span| {
            now.duration_since(span.began)
                .is_ok_and(|since| since < SPAN)
        });
        if !is_current {
            if self.spans.len() == SPANS {
                self.spans.pop_front();
            }
            self.spans.push_back(Span {
                began: now,
                slowest: Vec::new(),
                lines: 0,
            });
        }
        self.spans.back_mut().expect("one was pushed")
    }
}

impl Span {
    fn keep(&mut self, record: Record) {
        let alike = |kept: &&Record| kept.asker == record.asker;
        if self.slowest.iter().filter(alike).count() < SLOWEST_MAX {
            self.slowest.push(record);
            return;
        }
        let fastest = self
            .slowest
            .iter_mut()
            .filter(|kept| kept.asker == record.asker)
            .min_by_key(|kept| kept.took);
        if let Some(fastest) = fastest.filter(|fastest| fastest.took < record.took) {
            *fastest = record;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(asker: Asker, subject: &str, ms: u64, ended: SystemTime) -> Record {
        Record {
            ended,
            asker,
            op: "read",
            subject: subject.to_owned(),
            took: Duration::from_millis(ms),
            request_id: None,
            error: None,
        }
    }

    #[test]
    fn the_slowest_come_first_and_fast_ones_go() {
        let journal = Journal::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for ms in 0..100 {
            journal.ended(record(Asker::Kernel, &ms.to_string(), ms, now));
        }
        journal.ended(record(Asker::Mount, "of another kind", 1, now));
        let slowest = journal.slowest(now, 100);
        let subjects: Vec<&str> = slowest.iter().map(|at| at.subject.as_str()).collect();
        let expected: Vec<String> = (84..100).rev().map(|ms| ms.to_string()).collect();
        assert_eq!(subjects[..16], expected);
        assert_eq!(subjects[16..], ["of another kind"]);
    }

    #[test]
    fn what_was_slow_long_ago_is_forgotten() {
        let journal = Journal::default();
        let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for minute in 0..30 {
            let now = begin + Duration::from_secs(60 * minute);
            journal.ended(record(Asker::Kernel, &minute.to_string(), 100, now));
        }
        let now = begin + Duration::from_secs(60 * 29);
        let slowest = journal.slowest(now, 100);
        assert_eq!(slowest.len(), 10);
        assert!(slowest.iter().any(|at| at.subject == "29"));
        assert!(
            journal
                .slowest(now + Duration::from_secs(700), 100)
                .is_empty()
        );
    }

    #[test]
    fn only_the_last_failures_are_kept() {
        let journal = Journal::default();
        for number in 0..100 {
            let now = SystemTime::UNIX_EPOCH;
            journal.failed(record(Asker::Kernel, &number.to_string(), 1, now));
        }
        let failures = journal.failures();
        assert_eq!(failures.len(), FAILURES_MAX);
        assert_eq!(failures[0].subject, "99");
    }
}
