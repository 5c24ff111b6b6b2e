//! How many small objects may be fetched ahead at the same time.
//!
//! Such GETs are all latency: the more are in flight the more files a second, until OSS asks to slow down. So there is a
//! fixed bound, which halves with each time that OSS asked and comes back by one for each round of answers (additive increase,
//! multiplicative decrease, as TCP does). The GETs of large objects have their own number, in [`super::queue`]: theirs is
//! a question of bandwidth.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::Metrics;

/// In flight when OSS never asked to slow down: 3,000 files a second at 20 ms.
const GETS_MAX: usize = 64;

/// In flight however often it asked.
const GETS_MIN: usize = 2;

/// The bound, and who is in flight. Shared as `Arc`.
#[derive(Debug)]
pub(super) struct Crowd {
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct State {
    in_flight: usize,
    bound: usize,
    /// Answers since the bound changed last.
    answers: usize,
    /// How often OSS had asked to slow down by then.
    throttled: u64,
}

impl State {
    fn answered(&mut self, throttled: u64) {
        if throttled > self.throttled {
            self.throttled = throttled;
            self.bound = (self.bound / 2).max(GETS_MIN);
            self.answers = 0;
            return;
        }
        self.answers += 1;
        if self.answers >= self.bound && self.bound < GETS_MAX {
            self.bound += 1;
            self.answers = 0;
        }
    }
}

impl Crowd {
    pub(super) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                in_flight: 0,
                bound: GETS_MAX,
                answers: 0,
                throttled: metrics.oss.throttled.get(),
            }),
            metrics,
        })
    }

    /// Room for one more, until the result is dropped; `None` if there is none.
    pub(super) fn join(self: &Arc<Self>) -> Option<Member> {
        let mut state = self.lock();
        if state.in_flight >= state.bound {
            return None;
        }
        state.in_flight += 1;
        Some(Member(Arc::clone(self)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One GET in flight.
#[derive(Debug)]
pub(super) struct Member(Arc<Crowd>);

impl Member {
    /// OSS has answered, or refused. What came from elsewhere, or was not sent at all, says nothing of it.
    pub(super) fn answered(&self) {
        let throttled = self.0.metrics.oss.throttled.get();
        self.0.lock().answered(throttled);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_gives_back() {
        let crowd = Crowd::new(Arc::new(Metrics::default()));
        let members: Vec<Member> = std::iter::from_fn(|| crowd.join()).collect();
        assert_eq!(members.len(), GETS_MAX);
        drop(members);
        assert!(crowd.join().is_some());
    }

    #[test]
    fn it_halves_when_oss_asks_and_comes_back() {
        let metrics = Arc::new(Metrics::default());
        let crowd = Crowd::new(Arc::clone(&metrics));
        for _ in 0..20 {
            metrics.oss.throttled.inc();
            crowd.join().expect("a place").answered();
        }
        assert_eq!(crowd.lock().bound, GETS_MIN);
        for _ in 0..GETS_MAX * GETS_MAX {
            drop(crowd.join());
        }
        assert_eq!(crowd.lock().bound, GETS_MIN, "nobody was asked");
        for _ in 0..GETS_MAX * GETS_MAX {
            crowd.join().expect("a place").answered();
        }
        assert_eq!(crowd.lock().bound, GETS_MAX);
    }
}
