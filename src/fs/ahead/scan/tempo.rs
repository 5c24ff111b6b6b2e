//! How fast files are read, smoothed.

use std::time::{Duration, Instant};

/// How fast files are read.
#[derive(Debug, Default)]
pub(in crate::fs::ahead) struct Tempo {
    last: Option<Instant>,
    /// Nanoseconds between two, averaged; 0 before the second.
    interval_ns: u128,
}

impl Tempo {
    /// A pause longer than this says nothing of the tempo.
    const PAUSE_MAX: Duration = Duration::from_secs(5);

    /// Each new interval counts for a tenth.
    const SMOOTHING: u128 = 10;

    /// A file was read.
    pub(in crate::fs::ahead) fn event(&mut self, now: Instant) {
        if let Some(last) = self.last {
            let gap = now.saturating_duration_since(last).min(Self::PAUSE_MAX);
            let gap = gap.as_nanos().max(1000);
            self.interval_ns = match self.interval_ns {
                0 => gap,
                interval => (interval * (Self::SMOOTHING - 1) + gap) / Self::SMOOTHING,
            };
        }
        self.last = Some(now);
    }

    /// When the last one was read.
    pub(in crate::fs::ahead) fn last(&self) -> Option<Instant> {
        self.last
    }

    /// How many come in so long, as things go; 0 before the second.
    pub(in crate::fs::ahead) fn events_in(&self, time: Duration) -> usize {
        let events = time.as_nanos().checked_div(self.interval_ns);
        usize::try_from(events.unwrap_or(0)).unwrap_or(usize::MAX)
    }
}
