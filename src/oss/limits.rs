//! `--max-qps` and `--max-bandwidth`: what the program takes of a bucket that others use too.
//!
//! Token buckets that all requests, all received bytes and all sent bytes of a [`super::Bucket`] pass; the two directions of a
//! line do not share their bytes. What somebody waits for may empty them; what nobody waits for leaves half of a burst, so that
//! read-ahead is what slows down first. It does so for [`LATER_MAX`] at most: by then a reader may have come to it, and
//! while others take all there is, half of a burst never comes together.
//!
//! Bytes are counted when they have come, and whoever wants more waits until they are paid for: meanwhile the socket is
//! not read, and the server is slowed down by TCP. Bytes that are sent are paid for in the same way, step by step.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// A bucket holds what comes in so long, at least [`REQUESTS_MIN`] or [`BYTES_MIN`].
const BURST_SECONDS: f64 = 0.1;
const REQUESTS_MIN: f64 = 2.0;
const BYTES_MIN: f64 = 65_536.0;

/// The longest that [`Urgency::Later`] stands back.
const LATER_MAX: Duration = Duration::from_millis(500);

/// Who wants something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Somebody waits for it.
    Now,
    /// Nobody does yet.
    Later,
}

impl Urgency {
    /// What it has become after a wait.
    fn after(self, waited: Duration) -> Self {
        match self {
            Self::Later if waited < LATER_MAX => Self::Later,
            Self::Later | Self::Now => Self::Now,
        }
    }
}

/// The limits of one bucket.
#[derive(Debug)]
pub(super) struct Limits {
    requests: Option<Mutex<Tokens>>,
    bytes: Option<Mutex<Tokens>>,
    bytes_sent: Option<Mutex<Tokens>>,
}

impl Limits {
    /// So much per second; `None` is no limit, and 0 is taken as 1.
    pub(super) fn new(requests: Option<u64>, bytes: Option<u64>) -> Self {
        let now = Instant::now();
        let tokens = |rate: Option<u64>, least: f64| {
            rate.map(|rate| Mutex::new(Tokens::new(rate.max(1) as f64, least, now)))
        };
        Self {
            requests: tokens(requests, REQUESTS_MIN),
            bytes: tokens(bytes, BYTES_MIN),
            bytes_sent: tokens(bytes, BYTES_MIN),
        }
    }

    /// Resolves when one more request may be sent. Says how long that took.
    pub(super) async fn request(&self, urgency: Urgency) -> Duration {
        wait(self.requests.as_ref(), urgency, 1.0).await
    }

    /// True if one more request may be sent at once, on behalf of nobody.
    pub(super) fn try_request(&self) -> bool {
        let Some(requests) = &self.requests else {
            return true;
        };
        let mut tokens = requests.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.take(Instant::now(), Urgency::Later, 1.0).is_ok()
    }

    /// Resolves when the bytes that were received are paid for.
    pub(super) async fn bandwidth(&self, urgency: Urgency) -> Duration {
        wait(self.bytes.as_ref(), urgency, 0.0).await
    }

    /// Bytes were received.
    pub(super) fn received(&self, bytes: usize) {
        charge(self.bytes.as_ref(), bytes);
    }

    /// Whether the bytes that were sent are paid for, for somebody who has waited so long; else how long to wait before asking again.
    pub(super) fn may_send(&self, urgency: Urgency, waited: Duration) -> Result<(), Duration> {
        let Some(tokens) = &self.bytes_sent else {
            return Ok(());
        };
        let mut tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = tokens.take(Instant::now(), urgency.after(waited), 0.0);
        taken.map_err(|missing| missing.min(LATER_MAX))
    }

    /// Bytes were sent.
    pub(super) fn sent(&self, bytes: usize) {
        charge(self.bytes_sent.as_ref(), bytes);
    }
}

fn charge(tokens: Option<&Mutex<Tokens>>, bytes: usize) {
    if let Some(tokens) = tokens {
        let mut tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.charge(Instant::now(), bytes as f64);
    }
}

async fn wait(tokens: Option<&Mutex<Tokens>>, urgency: Urgency, amount: f64) -> Duration {
    let Some(tokens) = tokens else {
        return Duration::ZERO;
    };
    let began = Instant::now();
    loop {
        let now = Instant::now();
        let taken = {
            let mut tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
            tokens.take(now, urgency.after(now - began), amount)
        };
        match taken {
            Ok(()) => return now - began,
            Err(missing) => sleep(missing.min(LATER_MAX)).await,
        }
    }
}

/// A token bucket that can be in debt. Pure.
#[derive(Debug)]
struct Tokens {
    /// Per second.
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Tokens {
    fn new(rate: f64, burst_min: f64, now: Instant) -> Self {
        let burst = (rate * BURST_SECONDS).max(burst_min);
        Self {
            rate,
            burst,
            tokens: burst,
            at: now,
        }
    }

    /// Takes `amount`, or says how long to wait before asking again.
    fn take(&mut self, now: Instant, urgency: Urgency, amount: f64) -> Result<(), Duration> {
        self.fill(now);
        let left = match urgency {
            Urgency::Now => 0.0,
            Urgency::Later => self.burst / 2.0,
        };
        let missing = amount + left - self.tokens;
        if missing > 0.0 {
            // Timers have a resolution of a millisecond.
            let wait = Duration::from_secs_f64((missing / self.rate).min(3600.0));
            return Err(wait.max(Duration::from_millis(1)));
        }
        self.tokens -= amount;
        Ok(())
    }

    /// Takes what cannot be refused any more.
    fn charge(&mut self, now: Instant, amount: f64) {
        self.fill(now);
        self.tokens -= amount;
    }

    fn fill(&mut self, now: Instant) {
        let past = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + past * self.rate).min(self.burst);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks again whenever it is told to, for so many seconds; how much it got.
    fn drive(tokens: &mut Tokens, from: Instant, urgency: Urgency, seconds: u64) -> u32 {
        let (mut now, mut taken) = (from, 0);
        while now < from + Duration::from_secs(seconds) {
            match tokens.take(now, urgency, 1.0) {
                Ok(()) => taken += 1,
                Err(wait) => now += wait,
            }
        }
        taken
    }

    #[test]
    fn the_rate_is_kept_whoever_asks() {
        for urgency in [Urgency::Now, Urgency::Later] {
            for rate in [1, 7, 100, 500] {
                let now = Instant::now();
                let mut tokens = Tokens::new(f64::from(rate), REQUESTS_MIN, now);
                let taken = drive(&mut tokens, now, urgency, 100);
                let expected = 100 * rate;
                assert!(taken <= expected + rate / 10 + 2, "{rate}: {taken}");
                assert!(taken * 100 >= expected * 98, "{rate}: {taken}");
            }
        }
    }

    #[test]
    fn what_somebody_waits_for_goes_first() {
        let now = Instant::now();
        let mut tokens = Tokens::new(100.0, REQUESTS_MIN, now);
        while tokens.take(now, Urgency::Later, 1.0).is_ok() {}
        assert!(tokens.take(now, Urgency::Now, 1.0).is_ok());
    }

    #[test]
    fn a_debt_is_paid_before_more_is_taken() {
        let now = Instant::now();
        let mut tokens = Tokens::new(1e6, BYTES_MIN, now);
        tokens.charge(now, 2.1e6);
        let wait = tokens.take(now, Urgency::Now, 0.0);
        assert_eq!(wait, Err(Duration::from_secs(2)));
        let later = now + Duration::from_secs(2);
        assert_eq!(tokens.take(later, Urgency::Now, 0.0), Ok(()));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_starved() {
        let limits = std::sync::Arc::new(Limits::new(Some(100), None));
        let greedy = std::sync::Arc::clone(&limits);
        let others = tokio::spawn(async move {
            loop {
                greedy.request(Urgency::Now).await;
            }
        });
        let waited = tokio::time::timeout(Duration::from_secs(20), limits.request(Urgency::Later));
        waited.await.expect("its turn comes");
        others.abort();
    }

    #[tokio::test]
    async fn without_a_limit_nothing_waits() {
        let limits = Limits::new(None, None);
        limits.received(usize::MAX);
        assert_eq!(limits.request(Urgency::Later).await, Duration::ZERO);
        assert_eq!(limits.bandwidth(Urgency::Later).await, Duration::ZERO);
        assert!(limits.try_request());
        limits.sent(usize::MAX);
        assert_eq!(limits.may_send(Urgency::Later, Duration::ZERO), Ok(()));
    }

    #[test]
    fn the_two_directions_do_not_share_their_bytes() {
        let limits = Limits::new(None, Some(1 << 20));
        limits.received(10 << 20);
        assert_eq!(limits.may_send(Urgency::Now, Duration::ZERO), Ok(()));
        limits.sent(10 << 20);
        let wait = limits.may_send(Urgency::Now, Duration::ZERO);
        assert_eq!(wait, Err(LATER_MAX));
    }
}
