//! A line of jobs between those who may not wait and the threads that may.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// First in, first out; bounded by bytes.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    bytes_max: u64,
    /// Something came, or the end.
    changed: Condvar,
    /// Nothing is left.
    idle: Condvar,
    /// Something is done, or the end, for tasks.
    less: Notify,
}

struct State<T> {
    jobs: VecDeque<(T, u64)>,
    /// Of jobs in line and in work.
    bytes: u64,
    in_work: usize,
    is_closed: bool,
}

/// What comes next.
pub(super) enum Next<T> {
    /// A job of so many bytes. To be given back by [`Queue::done`].
    Job(T, u64),
    /// Nothing came in time.
    Nothing,
    /// Nothing will come any more.
    End,
}

impl<T> Queue<T> {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                bytes: 0,
                in_work: 0,
                is_closed: false,
            }),
            bytes_max,
            changed: Condvar::new(),
            idle: Condvar::new(),
            less: Notify::new(),
        }
    }

    /// Takes a job of so many bytes; false if there is no room for it.
    pub(super) fn push(&self, job: T, bytes: u64) -> bool {
        let mut state = self.lock();
        if state.is_closed || state.bytes + bytes > self.bytes_max {
            return false;
        }
        state.bytes += bytes;
        state.jobs.push_back((job, bytes));
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Waits for a job, at most so long. After [`Queue::close`] there is none.
    pub(super) fn next(&self, limit: Duration) -> Next<T> {
        let state = self.lock();
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, limit, |state| {
                state.jobs.is_empty() && !state.is_closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        if state.is_closed {
            return Next::End;
        }
        match state.jobs.pop_front() {
            Some((job, bytes)) => {
                state.in_work += 1;
                Next::Job(job, bytes)
            }
            None => Next::Nothing,
        }
    }

    /// A job is done, and its memory free.
    pub(super) fn done(&self, bytes: u64) {
        let mut state = self.lock();
        state.bytes -= bytes;
        state.in_work -= 1;
        let is_idle = state.is_idle();
        drop(state);
        if is_idle {
            self.idle.notify_all();
        }
        self.less.notify_waiters();
    }

    /// Bytes of jobs in line and in work.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Resolves when no more than so many bytes are in line and in work; false if the line is closed.
    pub(super) async fn shrinks_to(&self, bytes: u64) -> bool {
        loop {
            // Made before the look: what is done after it is heard.
            let less = self.less.notified();
            {
                let state = self.lock();
                if state.is_closed || state.bytes <= bytes {
                    return !state.is_closed;
                }
            }
            less.await;
        }
    }

    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Waits until then; false if the line is closed before.
    pub(super) fn rest_until(&self, due: Instant) -> bool {
        let mut state = self.lock();
        while !state.is_closed {
            let rest = due.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return true;
            }
            // Somebody may have come meanwhile, who waits behind.
            (state, _) = self
                .changed
                .wait_timeout(state, rest)
                .unwrap_or_else(PoisonError::into_inner);
        }
        false
    }

    /// Waits until no job is left, at most so long; false if some are.
    pub(super) fn wait_idle(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let state = self.lock();
        let (state, _) = self
            .idle
            .wait_timeout_while(
                state,
                until.saturating_duration_since(Instant::now()),
                |state| !state.is_idle(),
            )
            .unwrap_or_else(PoisonError::into_inner);
        state.is_idle()
    }

    /// Ends the line; what stands in it is dropped.
    pub(super) fn close(&self) {
        let jobs = {
            let mut state = self.lock();
            state.is_closed = true;
            let jobs = std::mem::take(&mut state.jobs);
            state.bytes -= jobs.iter().map(|(_, bytes)| bytes).sum::<u64>();
            jobs
        };
        drop(jobs);
        self.changed.notify_all();
        self.idle.notify_all();
        self.less.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.in_work == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_until_something_is_done() {
        let queue = Queue::new(10);
        assert!(queue.push('a', 6));
        assert!(!queue.push('b', 5));
        assert!(queue.push('c', 4));
        let Next::Job('a', bytes) = queue.next(Duration::ZERO) else {
            panic!("the first that came");
        };
        assert!(!queue.push('d', 1), "it is still in work");
        queue.done(bytes);
        assert!(queue.push('d', 6));
    }

    #[test]
    fn a_line_is_idle_when_all_work_is_done() {
        let queue = Queue::new(10);
        assert!(queue.wait_idle(Duration::ZERO));
        assert!(queue.push('a', 1));
        assert!(!queue.wait_idle(Duration::ZERO));
        let Next::Job(_, bytes) = queue.next(Duration::ZERO) else {
            panic!("a job");
        };
        assert!(!queue.wait_idle(Duration::ZERO));
        queue.done(bytes);
        assert!(queue.wait_idle(Duration::ZERO));
    }

    #[test]
    fn a_closed_line_ends_for_all() {
        let queue = Queue::new(10);
        assert!(queue.push('a', 1));
        queue.close();
        assert!(matches!(queue.next(Duration::from_secs(60)), Next::End));
        assert!(!queue.push('b', 1));
        assert!(queue.wait_idle(Duration::ZERO));
    }
}
