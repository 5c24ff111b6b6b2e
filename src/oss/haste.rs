//! When a GET is late: what is usual, and how much impatience the server is to bear.
//!
//! One of a hundred answers of an object store comes many times later than the others, and a reader that goes through a file
//! in order waits for each of them. So a GET whose head is far later than usual is sent a second time, and the first of the
//! two to be answered is taken; one whose body stands still, or comes at a fraction of the usual rate, is continued by a
//! new request. Both copies ask for the same bytes of the same version, and only one is ever read.
//!
//! Bounds: what is late is learned ([`HEADS_MIN`] answers first), at most one request in [`REQUESTS_PER_HEDGE`] is sent again, and none
//! while the server asks to slow down.

use std::time::{Duration, Instant};

/// Answers that are remembered.
const HEADS_MAX: usize = 256;

/// Answers that are needed before any is late.
const HEADS_MIN: usize = 16;

/// A head is late after so many times what all but one in a hundred take, but not before [`HEAD_MIN`].
const LATE: u32 = 2;

/// No head is late before.
const HEAD_MIN: Duration = Duration::from_millis(250);

/// No body stands still, and none is slow, before.
pub(super) const BODY_MIN: Duration = Duration::from_secs(1);

/// A body is slow at this share of the usual rate.
const SLOW: f64 = 0.125;

/// Bodies from here on say something of the rate.
const BODY_BYTES_MIN: u64 = 256 << 10;

/// One in so many requests may be sent again,
const REQUESTS_PER_HEDGE: f64 = 33.0;

/// and so many at once, after as many were not.
const HEDGES_MAX: f64 = 8.0;

/// How long a server that asked to slow down is not asked twice.
const CALM: Duration = Duration::from_secs(10);

/// What is known of the answers to GETs.
#[derive(Debug)]
pub(super) struct Haste {
    /// A ring of times to the head.
    heads: Vec<Duration>,
    next: usize,
    late: Option<Duration>,
    /// Bytes per second of one body.
    rate: Option<f64>,
    hedges: f64,
    calm_until: Option<Instant>,
}

impl Default for Haste {
    fn default() -> Self {
        Self {
            heads: Vec::new(),
            next: 0,
            late: None,
            rate: None,
            hedges: 1.0,
            calm_until: None,
        }
    }
}

impl Haste {
    /// A GET was sent.
    pub(super) fn sent(&mut self) {
        self.hedges = (self.hedges + 1.0 / REQUESTS_PER_HEDGE).min(HEDGES_MAX);
    }

    /// Its head came after so long.
    pub(super) fn head(&mut self, after: Duration) {
        if self.heads.len() < HEADS_MAX {
            self.heads.push(after);
        } else {
            self.heads[self.next] = after;
        }
        self.next = (self.next + 1) % HEADS_MAX;
        // Sorting 256 numbers costs some microseconds; once in sixteen GETs that is nothing.
        if self.heads.len() >= HEADS_MIN && self.next.is_multiple_of(HEADS_MIN) {
            let mut sorted = self.heads.clone();
            sorted.sort_unstable();
            let usual = sorted[(sorted.len() - 1) * 99 / 100];
            self.late = Some((LATE * usual).max(HEAD_MIN));
        }
    }

    /// A body came whole, in so long.
    pub(super) fn body(&mut self, bytes: u64, awaited: Duration) {
        if bytes >= BODY_BYTES_MIN && !awaited.is_zero() {
            let rate = bytes as f64 / awaited.as_secs_f64();
            let known = self.rate.get_or_insert(rate);
            *known += 0.1 * (rate - *known);
        }
    }

    /// The server asks to slow down.
    pub(super) fn throttled(&mut self, now: Instant) {
        self.calm_until = Some(now + CALM);
    }

    /// When a head is late; `None` while that is not known.
    pub(super) fn late_head(&self) -> Option<Duration> {
        self.late
    }

    /// When a body stands still.
    pub(super) fn late_body(&self) -> Option<Duration> {
        self.late.map(|late| (LATE * late).max(BODY_MIN))
    }

    /// True if a body that brought so much in such a time is better asked for anew.
    pub(super) fn is_slow(&self, bytes: u64, left: u64, awaited: Duration) -> bool {
        let usual = self.rate.unwrap_or(0.0) * awaited.as_secs_f64();
        awaited >= BODY_MIN && left >= BODY_BYTES_MIN && (bytes as f64) < SLOW * usual
    }

    /// Asks for leave to send one more request.
    pub(super) fn may_hedge(&mut self, now: Instant) -> bool {
        let is_calm = self.calm_until.is_none_or(|until| now >= until);
        if !is_calm || self.hedges < 1.0 {
            return false;
        }
        self.hedges -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_late_is_learned() {
        let mut haste = Haste::default();
        for _ in 0..HEADS_MIN - 1 {
            haste.head(20 * MS);
            assert_eq!((haste.late_head(), haste.late_body()), (None, None));
        }
        haste.head(20 * MS);
        assert_eq!(haste.late_head(), Some(HEAD_MIN));
        assert_eq!(haste.late_body(), Some(BODY_MIN));
        // A server that is slow for everybody is waited for.
        for _ in 0..HEADS_MAX {
            haste.head(800 * MS);
        }
        assert_eq!(haste.late_head(), Some(1600 * MS));
        assert_eq!(haste.late_body(), Some(3200 * MS));
    }

    #[test]
    fn one_late_answer_in_a_hundred_changes_nothing() {
        let mut haste = Haste::default();
        for at in 0..1000 {
            haste.head(if at % 200 == 0 { 5000 * MS } else { 200 * MS });
        }
        assert_eq!(haste.late_head(), Some(400 * MS));
    }

    #[test]
    fn few_requests_are_sent_again() {
        let mut haste = Haste::default();
        let now = Instant::now();
        let mut hedged = 0;
        for _ in 0..1000 {
            haste.sent();
            hedged += u32::from(haste.may_hedge(now));
        }
        assert!((28..=32).contains(&hedged), "{hedged}");
        for _ in 0..1000 {
            haste.sent();
        }
        let burst = (0..100).filter(|_| haste.may_hedge(now)).count();
        assert_eq!(burst, 8);
    }

    #[test]
    fn a_server_that_asks_for_calm_is_not_asked_twice() {
        let mut haste = Haste::default();
        let now = Instant::now();
        haste.throttled(now);
        assert!(!haste.may_hedge(now + CALM / 2));
        assert!(haste.may_hedge(now + CALM));
    }

    #[test]
    fn a_slow_body_is_one_far_below_the_usual_rate() {
        let mut haste = Haste::default();
        let mib = 1 << 20;
        assert!(!haste.is_slow(1, mib, 10 * BODY_MIN), "nothing is known");
        for _ in 0..10 {
            haste.body(8 * mib, 80 * MS);
        }
        assert!(haste.is_slow(8 * mib, mib, BODY_MIN));
        assert!(!haste.is_slow(16 * mib, mib, BODY_MIN));
        assert!(!haste.is_slow(mib, mib, BODY_MIN / 2), "too early to say");
        assert!(!haste.is_slow(mib, 4096, BODY_MIN), "little is left");
    }
}
