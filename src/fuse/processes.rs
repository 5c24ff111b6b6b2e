//! Which process a thread is of: the kernel names threads, and a file is closed by processes.

use std::collections::HashMap;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::fs::Process;

/// How long an answer of /proc is believed: a number is used again much later.
const FRESH: Duration = Duration::from_secs(1);

/// Threads that are remembered; beyond that all are asked for again.
const THREADS_MAX: usize = 1024;

/// The processes of the threads that have asked for something of late.
#[derive(Debug, Default)]
pub(super) struct Processes(Mutex<HashMap<u32, (Option<Process>, Instant)>>);

impl Processes {
    /// The process of a thread; `None` if it is gone, or in another name space.
    pub(super) fn of(&self, tid: u32) -> Option<Process> {
        let now = Instant::now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((process, asked)) = known.get(&tid)
            && now.saturating_duration_since(*asked) < FRESH
        {
            return *process;
        }
        let process = look_up(tid);
        if known.len() >= THREADS_MAX {
            known.clear();
        }
        known.insert(tid, (process, now));
        process
    }
}

/// True while a process exists.
pub(super) fn lives(process: Process) -> bool {
    fs::exists(format!("/proc/{}", process.0)).unwrap_or(true)
}

fn look_up(tid: u32) -> Option<Process> {
    // Outside our pid namespace the kernel gives 0, and nothing can be known.
    if tid == 0 {
        return None;
    }
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let tgid = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    tgid.trim().parse().ok().map(Process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_of_its_process() {
        let own = Some(Process(std::process::id()));
        let processes = Processes::default();
        let tid = nix::unistd::gettid().as_raw().unsigned_abs();
        assert_eq!(processes.of(tid), own);
        assert_eq!(processes.of(std::process::id()), own);
        assert_eq!(processes.of(0), None);
        assert!(lives(Process(std::process::id())));
    }
}
