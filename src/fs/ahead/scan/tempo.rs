//! How fast files are read, smoothed.

use std::time::{Duration, Instant};

/// How fast files are read.
#[derive(Debug, Default)]
pub(in crate::fs::ahead) struct Tempo {
    last: Option<Instant>,
    /// Seconds between two, averaged; 0 before the second.
    interval: f64,
}

impl Tempo {
    /// A pause longer than this says nothing of the tempo.
    const PAUSE_MAX: Duration = Duration::from_secs(5);

    /// A file was read.
    pub(in crate::fs::ahead) fn event(&mut self, now: Instant) {
        if let Some(last) = self.last {
            let gap = now.saturating_duration_since(last).min(Self::PAUSE_MAX);
            let gap = gap.as_secs_f64().max(1e-6);
            self.interval = match self.interval {
                0.0 => gap,
                interval => 0.9 * interval + 0.1 * gap,
            };
        }
        self.last = Some(now);
    }

    /// When the last one was read.
    pub(in crate::fs::ahead) fn last(&self) -> Option<Instant> {
        self.last
    }

    /// How many come in so long, as things go; 0 before the second.
    pub(in crate::fs::ahead) fn events_in(&self, time: Duration) -> f64 {
        if self.interval > 0.0 {
            time.as_secs_f64() / self.interval
        } else {
            0.0
        }
    }
}
