//! The bandwidth of one direction of one connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How late a wake-up may come without the average falling below the cap. Timers have a resolution of 1 ms, and two
/// busy cores are later than that.
const CATCH_UP: Duration = Duration::from_millis(10);

/// Bytes that go at once: what the line carries in 2 ms, so that timers are few and a stream is even.
const CHUNKS_PER_SECOND: u64 = 500;

/// And at least these: below, system calls would dominate.
const CHUNK_BYTES_MIN: u64 = 16 << 10;

/// A line of fixed speed: every byte occupies it for a time, and the next waits until it is free.
#[derive(Debug, Default)]
pub(super) struct Pace {
    free_at: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// How many bytes may go now; pending while the line is busy. A rate of 0 is no cap.
    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>, rate: u64) -> Poll<usize> {
        if rate == 0 {
            self.free_at = None;
            return Poll::Ready(usize::MAX);
        }
        if let Some(free_at) = self.free_at
            && free_at > Instant::now()
        {
            let sleep = match &mut self.sleep {
                Some(sleep) => {
                    if sleep.deadline() != free_at {
                        sleep.as_mut().reset(free_at);
                    }
                    sleep
                }
                None => self
                    .sleep
                    .insert(Box::pin(tokio::time::sleep_until(free_at))),
            };
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        let chunk = (rate / CHUNKS_PER_SECOND).max(CHUNK_BYTES_MIN);
        Poll::Ready(usize::try_from(chunk).unwrap_or(usize::MAX))
    }

    /// Bytes have gone.
    pub(super) fn used(&mut self, bytes: usize, rate: u64) {
        if rate == 0 {
            return;
        }
        let now = Instant::now();
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        let from = self.free_at.map_or(now, |free_at| free_at.max(earliest));
        let micros = (bytes as u64).saturating_mul(1_000_000) / rate;
        self.free_at = Some(from + Duration::from_micros(micros));
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn the_average_is_the_rate() {
        // 10 MB/s in real time: the timer's rounding is what this is about. A loaded machine may only be late.
        const RATE: u64 = 10_000_000;
        let mut pace = Pace::default();
        let begin = Instant::now();
        let mut sent = 0_u64;
        while sent < RATE / 4 {
            let allowed = poll_fn(|context| pace.poll_ready(context, RATE)).await;
            pace.used(allowed, RATE);
            sent += allowed as u64;
        }
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(230), "{took:?}");
        assert!(took <= Duration::from_millis(600), "{took:?}");
    }
}
