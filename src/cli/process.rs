//! What the process asks of the kernel for itself.

#![expect(
    unsafe_code,
    reason = "prctl(PR_SET_IO_FLUSHER), mallopt, waitpid for any signal, and what runs between fork and exec have no safe wrapper"
)]

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

/// Keeps secrets out of core dumps and out of other processes' reach (`/proc/PID/mem`), and the process alive where the
/// kernel needs it to free memory.
pub(super) fn harden() {
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        tracing::warn!("cannot switch core dumps off, they would hold credentials: {error}");
    }
    // Allocations of this process must not wait for write-back that may have to go through it (prctl(2), Linux 5.6). Needs
    // CAP_SYS_RESOURCE; without it nothing is lost but that guarantee.
    const PR_SET_IO_FLUSHER: libc::c_int = 57;
    // SAFETY: PR_SET_IO_FLUSHER takes one integer and touches no memory of ours.
    let flusher = unsafe { libc::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) };
    tracing::debug!(granted = flusher == 0, "PR_SET_IO_FLUSHER");
}

/// Raises the limit of open files as far as it goes, and says where it is: 1024 is too few for a cache on disk beside a hundred
/// connections.
pub(super) fn raise_files() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 1024;
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// Makes the allocator give memory back: blocks of small objects come and go, and the budget counts them, not what an
/// arena keeps of them.
pub(super) fn tune_allocator() {
    // From this size on each allocation is its own mapping, which free(3) returns to the kernel. Above the buffers that hyper
    // reads bodies into (8 KiB + 100 pages): mapped and unmapped for each of them, their pages would be zeroed once per byte
    // received. Setting it also stops glibc from raising it by itself up to 32 MiB (mallopt(3)).
    const MMAP_THRESHOLD: libc::c_int = 512 << 10;
    // What an arena may keep free at its end, for the same reason.
    const TRIM_THRESHOLD: libc::c_int = 4 << 20;
    // SAFETY: called before any other thread exists; sets three integers of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD);
        libc::mallopt(libc::M_ARENA_MAX, 4);
    }
}

/// Takes the exit status of any child that has ended, and of any orphan that came to this process. Not for a process that waits for children of its own.
pub(super) fn reap() -> io::Result<Option<(Pid, ExitStatus)>> {
    let mut status = 0;
    // Not nix's: that loses a child which a real-time signal has ended.
    // SAFETY: waitpid writes one integer, which is ours.
    match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
        0 => Ok(None),
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
            error => Err(error),
        },
        pid => Ok(Some((Pid::from_raw(pid), ExitStatus::from_raw(status)))),
    }
}

/// What a command starts with, beyond what it inherits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    /// Its signal mask: the standard library hands ours on.
    pub(super) mask: SigSet,
    /// Sent by the kernel when this process dies, whose only thread must be the one that starts it.
    pub(super) when_parent_dies: Option<Signal>,
}

impl Start {
    /// Arms a command with it.
    pub(super) fn arm(self, command: &mut Command) {
        let parent = nix::unistd::getpid();
        let begin = move || {
            self.mask.thread_set_mask()?;
            let Some(signal) = self.when_parent_dies else {
                return Ok(());
            };
            nix::sys::prctl::set_pdeathsig(signal)?;
            // It may have died before that.
            if nix::unistd::getppid() == parent {
                Ok(())
            } else {
                Err(io::Error::from(nix::errno::Errno::ESRCH))
            }
        };
        // SAFETY: three system calls that touch no memory of ours and take no lock.
        unsafe {
            command.pre_exec(begin);
        }
    }
}
