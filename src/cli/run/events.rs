//! What the supervisor waits for: signals, children, the mount's words, and time.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitStatus;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::super::process;
use super::line::{Line, Request};

/// The signals that are forwarded. Those that only a terminal's driver sends (SIGTSTP, SIGWINCH) have their default effect.
const FORWARDED: [Signal; 6] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// What has happened.
#[derive(Debug)]
pub(super) enum Event {
    /// Somebody sent a signal, or, with `by_terminal`, the kernel sent it to our whole process group.
    Signal { signal: Signal, by_terminal: bool },
    /// A child has ended, or an orphan that came to us.
    Ended(Pid, ExitStatus),
    /// The mount says something.
    Said(Request),
    /// It is as late as was said.
    Late,
}

/// Where they come from.
#[derive(Debug)]
pub(super) struct Events {
    signals: SignalFd,
    /// The signal mask that this process was started with.
    pub(super) mask: SigSet,
    pub(super) line: Line,
    is_line_open: bool,
    /// Taken, and told after what was said.
    ended: Option<(Pid, ExitStatus)>,
}

impl Events {
    /// From now on the signals are kept for [`Events::next`]. Blocked signals reach even process 1 of a container, which the kernel
    /// spares those that it has no handler for.
    pub(super) fn new(line: Line) -> io::Result<Self> {
        let mut mask: SigSet = FORWARDED.into_iter().collect();
        mask.add(Signal::SIGCHLD);
        let before = mask.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self {
            signals: SignalFd::with_flags(&mask, flags)?,
            mask: before,
            line,
            is_line_open: true,
            ended: None,
        })
    }

    /// Waits for the next one, at most until `deadline`.
    pub(super) fn next(&mut self, deadline: Option<Instant>) -> io::Result<Event> {
        loop {
            // Before the ends: what a process has said on its last breath is heard first.
            if let Some(request) = self.said()? {
                return Ok(Event::Said(request));
            }
            if let Some((pid, ended)) = self.ended.take() {
                return Ok(Event::Ended(pid, ended));
            }
            // Before the ends, too: Ctrl-C comes before the end that it is the reason of.
            if let Some(event) = self.signal()? {
                return Ok(event);
            }
            // Before each wait: several ends may have made one SIGCHLD.
            if let Some((pid, ended)) = process::reap()? {
                // It may have spoken since.
                if let Some(request) = self.said()? {
                    self.ended = Some((pid, ended));
                    return Ok(Event::Said(request));
                }
                return Ok(Event::Ended(pid, ended));
            }
            let timeout = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                None => PollTimeout::NONE,
                Some(left) if left.is_zero() => return Ok(Event::Late),
                // Rounded up: it must not wake a moment too early, and turn.
                Some(left) => PollTimeout::try_from(left.as_millis().saturating_add(1))
                    .unwrap_or(PollTimeout::MAX),
            };
            self.wait(timeout)?;
        }
    }

    /// Waits for a signal or a word.
    fn wait(&self, timeout: PollTimeout) -> io::Result<()> {
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if self.is_line_open {
            fds.push(PollFd::new(self.line.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What the mount says, if it has said anything.
    fn said(&mut self) -> io::Result<Option<Request>> {
        if !self.is_line_open {
            return Ok(None);
        }
        let mut fds = [PollFd::new(self.line.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::ZERO)? == 0 {
            return Ok(None);
        }
        match self.line.receive()? {
            Some((request, _)) => Ok(Some(request)),
            // That the process has ended is an event of its own.
            None => {
                self.is_line_open = false;
                Ok(None)
            }
        }
    }

    /// The next signal but SIGCHLD.
    fn signal(&self) -> io::Result<Option<Event>> {
        while let Some(info) = self.signals.read_signal()? {
            let number = info.ssi_signo.cast_signed();
            match Signal::try_from(number)? {
                Signal::SIGCHLD => {}
                signal => {
                    return Ok(Some(Event::Signal {
                        signal,
                        // sigaction(2), si_code: what kill(2) sends is SI_USER. A terminal that is gone tells the leader of the session alone.
                        by_terminal: info.ssi_code == libc::SI_KERNEL && signal != Signal::SIGHUP,
                    }));
                }
            }
        }
        Ok(None)
    }
}
