//! What is asked of the disk is taken back when the disk does not answer.
//!
//! A call that the kernel does not answer cannot be ended: its thread is lost until the disk comes back. So the thread has the
//! blocks only on loan ([`Loan`]) and touches them only to copy bytes that the disk has given; whoever waits takes them back and
//! goes to OSS.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::Metrics;

/// How long the disk may take for one step: a look, or the next bytes of a read.
const LIMIT: Duration = Duration::from_secs(10);

/// How long nothing is asked of a disk that has not answered.
const REST: Duration = Duration::from_secs(60);

/// Who waits for the disk, and for how long.
#[derive(Debug)]
pub(super) struct Patience {
    /// Until when the disk is left alone.
    rests_until: Mutex<Option<Instant>>,
    limit: Duration,
    rest: Duration,
    metrics: Arc<Metrics>,
}

impl Patience {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self::with(LIMIT, REST, metrics)
    }

    fn with(limit: Duration, rest: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            rests_until: Mutex::default(),
            limit,
            rest,
            metrics,
        }
    }

    /// Waits until one of those who ask the disk is done; `None` if it takes too long, or the disk is left alone.
    pub(super) async fn turn(&self, turns: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        if self.rests() {
            return None;
        }
        // Those before may be slow and not hung: that is for them to find out.
        let turn = tokio::time::timeout(self.limit, Arc::clone(turns).acquire_owned());
        turn.await.ok()?.ok()
    }

    /// Waits for what the disk does; `None` if it is left alone, or has made no step in time. What it is still asked for then
    /// goes on by itself.
    pub(super) async fn wait<T>(
        &self,
        steps: &Steps,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        if self.rests() {
            return None;
        }
        let mut answer = std::pin::pin!(answer);
        loop {
            let before = steps.count();
            match tokio::time::timeout(self.limit, answer.as_mut()).await {
                Ok(answer) => return Some(answer),
                Err(_elapsed) if steps.count() != before => {}
                Err(_elapsed) => {
                    self.rest();
                    return None;
                }
            }
        }
    }

    fn rests(&self) -> bool {
        self.lock().is_some_and(|until| Instant::now() < until)
    }

    fn rest(&self) {
        let now = Instant::now();
        let mut rests_until = self.lock();
        if rests_until.is_some_and(|until| now < until) {
            // Somebody else has waited for the same.
            return;
        }
        *rests_until = Some(now + self.rest);
        drop(rests_until);
        self.metrics.disk.given_up.inc();
        tracing::warn!(
            "the cache disk has not answered for {} s; for {} s all is read from OSS",
            self.limit.as_secs(),
            self.rest.as_secs()
        );
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.rests_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts what the disk has done.
#[derive(Debug, Default)]
pub(super) struct Steps(AtomicU64);

impl Steps {
    pub(super) fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Something that a thread that waits for the disk works on, and that can be taken from it between two steps.
#[derive(Debug)]
pub(super) struct Loan<T> {
    lent: Mutex<Option<T>>,
    pub(super) steps: Steps,
}

impl<T> Loan<T> {
    pub(super) fn new(lent: T) -> Self {
        Self {
            lent: Mutex::new(Some(lent)),
            steps: Steps::default(),
        }
    }

    /// A step; `None` if it was taken back. The step may not wait for the disk.
    pub(super) fn with<R>(&self, step: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.steps.step();
        self.lock().as_mut().map(step)
    }

    /// Takes it back; `None` if it was before.
    pub(super) fn take_back(&self) -> Option<T> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(600);

    #[tokio::test]
    async fn a_disk_that_makes_no_step_is_left_alone_for_a_while() {
        let metrics = Arc::new(Metrics::default());
        let patience = Patience::with(SHORT, REST, Arc::clone(&metrics));
        let steps = Steps::default();
        let slow = async {
            let begin = Instant::now();
            while begin.elapsed() < 2 * SHORT {
                tokio::time::sleep(SHORT / 60).await;
                steps.step();
            }
        };
        assert!(patience.wait(&steps, slow).await.is_some(), "it is slow");
        let hung = std::future::pending::<()>;
        assert!(patience.wait(&steps, hung()).await.is_none());
        // Nobody else asks it.
        let turns = Arc::new(Semaphore::new(1));
        assert!(patience.wait(&steps, async {}).await.is_none());
        assert!(patience.turn(&turns).await.is_none());
        assert_eq!(metrics.disk.given_up.get(), 1);
    }

    #[tokio::test]
    async fn a_disk_that_has_rested_is_asked_again() {
        let metrics = Arc::new(Metrics::default());
        let patience = Patience::with(Duration::ZERO, Duration::ZERO, Arc::clone(&metrics));
        let steps = Steps::default();
        let hung = std::future::pending::<()>;
        assert!(patience.wait(&steps, hung()).await.is_none());
        assert!(patience.wait(&steps, async {}).await.is_some());
        assert!(patience.wait(&steps, hung()).await.is_none());
        assert_eq!(metrics.disk.given_up.get(), 2);
    }

    #[test]
    fn what_was_taken_back_is_touched_no_more() {
        let loan = Loan::new(vec![1]);
        assert_eq!(loan.with(|lent| lent.push(2)), Some(()));
        assert_eq!(loan.take_back(), Some(vec![1, 2]));
        assert_eq!(loan.with(|lent| lent.push(3)), None);
        assert_eq!(loan.take_back(), None);
    }
}
