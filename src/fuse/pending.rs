//! The requests that wait for the network, and the watchdog that frees their callers.
//!
//! fuser answers the kernel's `INTERRUPT` with ENOSYS, so a process that is killed while it waits for us would stay in D
//! state until we answer. So the watchdog looks after each request that waits longer than [`PATIENCE`]: if its caller has
//! a signal pending that asks it to stop, the request is cancelled and answered EINTR.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::metrics::Metrics;
use crate::op::{Caller, Op};

/// A request that waits this long is looked after. Shorter ones would cost more to watch than they take.
const PATIENCE: Duration = Duration::from_millis(400);

/// How often the watchdog looks. With [`PATIENCE`] it bounds the time for which a killed process lingers.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Signals that ask a process to stop even if it catches them: it can only do so once its system call returns.
const STOP_SIGNALS: [libc::c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGQUIT, libc::SIGHUP];

/// Signals whose default is to be ignored or to stop the process for a while: no reason to give up a request.
const HARMLESS_SIGNALS: [libc::c_int; 8] = [
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// All requests that a task works on.
#[derive(Debug)]
pub(super) struct Pending {
    ops: Mutex<HashMap<u64, Arc<Op>>>,
    metrics: Arc<Metrics>,
}

impl Pending {
    pub(super) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            ops: Mutex::default(),
            metrics,
        })
    }

    /// Enters a request; it leaves when the result is dropped.
    pub(super) fn enter(self: &Arc<Self>, op: Op) -> Entered {
        let op = Arc::new(op);
        self.lock().insert(op.id(), Arc::clone(&op));
        self.metrics.fuse.in_flight.inc();
        Entered {
            op,
            pending: Arc::clone(self),
        }
    }

    /// All requests that a task works on.
    pub(super) fn all(&self) -> Vec<Arc<Op>> {
        self.lock().values().map(Arc::clone).collect()
    }

    /// Cancels every request: the mount ends.
    pub(super) fn cancel_all(&self) {
        for op in self.lock().values() {
            op.cancel();
        }
    }

    /// Looks after the waiting requests until it is dropped.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut clock = tokio::time::interval(LOOK_EVERY);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            let waiting: Vec<Arc<Op>> = self
                .lock()
                .values()
                .filter(|op| op.age() > PATIENCE)
                .map(Arc::clone)
                .collect();
            for op in waiting {
                let Caller::Thread(tid) = op.caller() else {
                    continue;
                };
                if !op.is_cancelled() && wants_to_stop(tid) {
                    tracing::debug!(
                        op = op.name(),
                        ino = op.ino(),
                        tid,
                        waited_ms = op.age().as_millis(),
                        idle_ms = op.idle().as_millis(),
                        "the caller was interrupted; its request is given up"
                    );
                    self.metrics.fuse.interrupted.inc();
                    op.cancel();
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Op>>> {
        self.ops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in the table.
#[derive(Debug)]
pub(super) struct Entered {
    op: Arc<Op>,
    pending: Arc<Pending>,
}

impl Entered {
    pub(super) fn op(&self) -> &Arc<Op> {
        &self.op
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.op.id());
        self.pending.metrics.fuse.in_flight.dec();
    }
}

/// True if the thread has a pending signal that should end its wait, or is gone.
fn wants_to_stop(tid: u32) -> bool {
    // Outside our pid namespace the kernel gives 0, and nothing can be known.
    if tid == 0 {
        return false;
    }
    match fs::read_to_string(format!("/proc/{tid}/status")) {
        Ok(status) => stop_is_pending(&status),
        // A /proc that hides other users' processes (hidepid) shows nothing of one that lives.
        Err(_) => i32::try_from(tid).is_ok_and(|tid| {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(tid), None)
                == Err(nix::errno::Errno::ESRCH)
        }),
    }
}

/// Reads the signal masks of `/proc/TID/status` (proc(5)): bit n - 1 is signal n.
fn stop_is_pending(status: &str) -> bool {
    let mask = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .unwrap_or(0)
    };
    let pending = (mask("SigPnd") | mask("ShdPnd")) & !mask("SigBlk") & !mask("SigIgn");
    let bit = |signal: libc::c_int| 1u64 << (signal - 1);
    let stop = STOP_SIGNALS
        .iter()
        .fold(0, |bits, &signal| bits | bit(signal));
    let harmless = HARMLESS_SIGNALS
        .iter()
        .fold(0, |bits, &signal| bits | bit(signal));
    let deadly = pending & !mask("SigCgt") & !harmless;
    deadly != 0 || pending & stop != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pending: &[i32], blocked: &[i32], ignored: &[i32], caught: &[i32]) -> String {
        let mask = |signals: &[i32]| {
            signals
                .iter()
                .fold(0u64, |bits, signal| bits | 1 << (signal - 1))
        };
        format!(
            "Name:\tcat\nSigPnd:\t{:016x}\nShdPnd:\t{:016x}\nSigBlk:\t{:016x}\nSigIgn:\t{:016x}\nSigCgt:\t{:016x}\n",
            0,
            mask(pending),
            mask(blocked),
            mask(ignored),
            mask(caught)
        )
    }

    #[test]
    fn kill_and_interrupt_end_a_wait() {
        assert!(stop_is_pending(&status(&[libc::SIGKILL], &[], &[], &[])));
        assert!(stop_is_pending(&status(
            &[libc::SIGINT],
            &[],
            &[],
            &[libc::SIGINT]
        )));
        assert!(stop_is_pending(&status(&[libc::SIGTERM], &[], &[], &[])));
        assert!(stop_is_pending(&status(&[libc::SIGALRM], &[], &[], &[])));
    }

    #[test]
    fn other_signals_do_not() {
        assert!(!stop_is_pending(&status(&[], &[], &[], &[])));
        assert!(
            !stop_is_pending(&status(&[libc::SIGURG], &[], &[], &[libc::SIGURG])),
            "Go preempts by it"
        );
        assert!(!stop_is_pending(&status(
            &[libc::SIGALRM],
            &[],
            &[],
            &[libc::SIGALRM]
        )));
        assert!(!stop_is_pending(&status(&[libc::SIGCHLD], &[], &[], &[])));
        assert!(!stop_is_pending(&status(
            &[libc::SIGINT],
            &[libc::SIGINT],
            &[],
            &[]
        )));
        assert!(!stop_is_pending(&status(
            &[libc::SIGHUP],
            &[],
            &[libc::SIGHUP],
            &[]
        )));
    }
}
