//! The supervisor: three phases, each waiting for what may happen in it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::ending::{GOODBYE_MAX, OwnMount};
use super::super::preflight;
use super::command;
use super::events::{Event, Events};
use super::holders::{self, Named};
use super::line::{Line, Order, Request};
use super::{namespace, server};
use crate::fuse::{self, MountOptions, Mounted};

/// How long processes that the command has left behind may take to let go of the mount.
const LEFT_BEHIND_MAX: Duration = Duration::from_secs(3);

/// How often it is looked whether they have.
const LEFT_BEHIND_LOOK: Duration = Duration::from_millis(50);

/// The process that was started.
#[derive(Debug)]
pub(super) struct Supervisor<'a> {
    mountpoint: &'a Path,
    grace: Duration,
    events: Events,
    /// The process behind the mount.
    server: Pid,
    is_served: bool,
    mount: Option<OwnMount<'a>>,
    /// Why this process has no namespace of its own, if it needs one.
    no_namespace: Option<anyhow::Error>,
    /// When whoever has sent SIGTERM loses patience.
    stop_at: Option<Instant>,
    /// Whether something is lost, as the mount has said.
    is_lost: Option<bool>,
    /// How often somebody has had enough since the command has ended.
    interrupts: u32,
}

impl<'a> Supervisor<'a> {
    /// Starts the process behind the mount.
    pub(super) fn start(mountpoint: &'a Path, grace: Duration) -> Result<Self> {
        let (line, there) = Line::pair().context("cannot make a socket")?;
        let events = Events::new(line).context("cannot wait for signals")?;
        // What the command leaves behind comes to us, also where we are not process 1.
        nix::sys::prctl::set_child_subreaper(true).context("cannot reap")?;
        let no_namespace = match namespace::may_mount() {
            true => None,
            false => namespace::enter(mountpoint).err(),
        };
        Ok(Self {
            mountpoint,
            grace,
            server: server::spawn(there, events.mask)?,
            events,
            is_served: true,
            mount: None,
            no_namespace,
            stop_at: None,
            is_lost: None,
            interrupts: 0,
        })
    }

    /// Runs a command in the mount; returns the exit code.
    pub(super) fn run(mut self, words: &[OsString]) -> Result<u8> {
        if let Some(code) = self.mounting()? {
            return Ok(code);
        }
        let started = command::spawn(words, self.events.mask);
        let (ended, is_ours) = match started {
            Ok(pid) => self.running(pid)?,
            Err((code, error)) => {
                say(&format!("{}: {error}", words[0].display()));
                self.ending()?;
                return Ok(code);
            }
        };
        self.ending()?;
        // A mount that ends without a word has died.
        Ok(command::code(ended, self.is_lost.unwrap_or(true), is_ours))
    }

    /// Until the mount answers; an exit code if it will not.
    fn mounting(&mut self) -> Result<Option<u8>> {
        let (mut ended_by, mut deadline) = (None, None);
        let mut refused = None;
        loop {
            match self.events.next(deadline)? {
                Event::Said(Request::Mount {
                    source,
                    allow_other,
                    read_only,
                }) => {
                    let options = MountOptions {
                        source,
                        allow_other,
                        read_only,
                    };
                    if let Err(error) = self.mount(&options) {
                        refused = Some(error);
                        deadline = Some(self.dismiss());
                        // It waits for the mount, not for signals.
                        self.order_end();
                    }
                }
                Event::Said(Request::Ready) if ended_by.is_none() => return Ok(None),
                Event::Said(Request::Ready | Request::Stored { .. }) => {}
                Event::Signal { signal, .. } => match signal {
                    Signal::SIGUSR1 | Signal::SIGUSR2 => {}
                    _ => {
                        ended_by = Some(signal);
                        deadline = Some(self.dismiss());
                    }
                },
                Event::Ended(pid, _) if pid == self.server => {
                    self.is_served = false;
                    let code = ended_by.map(|signal| command::killed(signal as i32));
                    return match refused {
                        Some(error) => Err(error),
                        // It has said why.
                        None => Ok(code.or(Some(command::NO_MOUNT))),
                    };
                }
                Event::Ended(..) => {}
                Event::Late => deadline = self.kill_server(),
            }
        }
    }

    /// Mounts, and hands the descriptor over. None stays here: with it a mount whose process has died would hang instead of failing.
    fn mount(&mut self, options: &MountOptions) -> Result<()> {
        let Mounted { fd, .. } =
            fuse::mount(self.mountpoint, options).map_err(|error| self.explain(&error))?;
        self.mount = Some(OwnMount::new(self.mountpoint));
        self.events
            .line
            .send(&Order::Serve, Some(fd.as_fd()))
            .context("the process behind the mount is gone")
    }

    fn explain(&self, error: &io::Error) -> anyhow::Error {
        match &self.no_namespace {
            Some(why) => preflight::explain_no_way(error, why),
            None => preflight::explain_mount(error),
        }
    }

    /// Until the command has ended; says how, and whether this process has ended it.
    fn running(&mut self, command: Pid) -> Result<(ExitStatus, bool)> {
        let (mut kill_at, mut is_ours) = (None, false);
        loop {
            match self.events.next(kill_at)? {
                Event::Signal {
                    signal,
                    by_terminal,
                } => {
                    if !by_terminal {
                        send(command, signal);
                    }
                    if signal == Signal::SIGTERM {
                        self.stop();
                        kill_at = kill_at.or(Some(Instant::now() + self.grace * 2 / 3));
                    }
                }
                Event::Said(Request::Stored { lost }) => self.is_lost = Some(lost),
                Event::Said(Request::Ready | Request::Mount { .. }) => {}
                Event::Ended(pid, ended) if pid == command => return Ok((ended, is_ours)),
                Event::Ended(pid, ended) if pid == self.server => {
                    self.is_served = false;
                    if self.is_lost.is_some() {
                        say("the mount was ended by somebody else; the command goes on without it");
                    } else {
                        say(&format!(
                            "the mount has died ({ended}), and with it what was not stored; the command gets SIGTERM"
                        ));
                        send(command, Signal::SIGTERM);
                        is_ours = true;
                        kill_at = kill_at.or(Some(Instant::now() + self.grace * 2 / 3));
                    }
                }
                Event::Ended(..) => {}
                Event::Late => {
                    say("the command has not ended in time; it is killed");
                    send(command, Signal::SIGKILL);
                    kill_at = None;
                }
            }
        }
    }

    /// Unmounts, and waits until what is staged is stored.
    fn ending(&mut self) -> Result<()> {
        // Whatever has become of the mount: what is staged is stored.
        if let Err(error) = self.unmount() {
            say(&format!("{error:#}"));
        }
        self.order_end();
        while self.is_served {
            let deadline = self.stop_at.map(|at| at - self.grace / 60);
            match self.events.next(deadline)? {
                Event::Said(Request::Stored { lost }) => self.is_lost = Some(lost),
                Event::Said(Request::Ready | Request::Mount { .. }) => {}
                Event::Ended(pid, _) if pid == self.server => self.is_served = false,
                Event::Ended(..) => {}
                Event::Signal { signal, .. } => match signal {
                    Signal::SIGTERM => {
                        self.stop();
                        self.order_end();
                    }
                    Signal::SIGINT | Signal::SIGQUIT => {
                        self.interrupted();
                        self.order_end();
                    }
                    _ => {}
                },
                Event::Late => {
                    let _ = self.kill_server();
                    self.stop_at = None;
                }
            }
        }
        Ok(())
    }

    /// Takes the mount out of the tree. Who still uses it and was started by the command gets a signal and a moment.
    fn unmount(&mut self) -> Result<()> {
        let Some(mut mount) = self.mount.take() else {
            return Ok(());
        };
        let mut deadline = Instant::now() + LEFT_BEHIND_MAX;
        let mut is_told = false;
        while let Err(error) = mount.end(false) {
            deadline = self
                .stop_at
                .map_or(deadline, |at| deadline.min(at - self.grace / 4));
            if error.raw_os_error() != Some(libc::EBUSY) || Instant::now() > deadline {
                let holders = holders::of(self.mountpoint);
                say(&format!(
                    "{}: taken away from who still uses it: {}",
                    self.mountpoint.display(),
                    Named(&holders)
                ));
                return mount.end(true).context("cannot unmount");
            }
            if !is_told {
                is_told = true;
                for holder in holders::of(self.mountpoint) {
                    if holder.pid != self.server && holders::is_below_us(holder.pid) {
                        send(holder.pid, Signal::SIGTERM);
                    }
                }
            }
            match self.events.next(Some(Instant::now() + LEFT_BEHIND_LOOK))? {
                Event::Signal { signal, .. } => match signal {
                    Signal::SIGTERM => self.stop(),
                    Signal::SIGINT | Signal::SIGQUIT => {
                        self.interrupted();
                        deadline = Instant::now();
                    }
                    _ => {}
                },
                Event::Said(Request::Stored { lost }) => self.is_lost = Some(lost),
                Event::Ended(pid, _) if pid == self.server => self.is_served = false,
                Event::Ended(..) | Event::Said(_) | Event::Late => {}
            }
        }
        Ok(())
    }

    /// Somebody has interrupted what comes after the command. The first time may be the one that has ended the command.
    fn interrupted(&mut self) {
        self.interrupts += 1;
        if self.interrupts == 1 {
            say("what is staged is being stored; interrupt again to give it up");
        }
    }

    /// Somebody has sent SIGTERM: their patience begins.
    fn stop(&mut self) {
        let at = Instant::now() + self.grace;
        self.stop_at.get_or_insert(at);
    }

    /// Tells the process behind the mount to store and to end.
    fn order_end(&self) {
        let left = |at: Instant| at.saturating_duration_since(Instant::now());
        let within = match self.interrupts {
            0 | 1 => self
                .stop_at
                .map(|at| left(at).saturating_sub(self.grace / 15)),
            _ => Some(Duration::ZERO),
        };
        // If it is gone, its end is an event.
        let _ = self.events.line.send(&Order::End { within }, None);
    }

    /// Ends the process behind a mount that is not up; returns how long it may take.
    fn dismiss(&self) -> Instant {
        send(self.server, Signal::SIGTERM);
        Instant::now() + GOODBYE_MAX
    }

    fn kill_server(&self) -> Option<Instant> {
        send(self.server, Signal::SIGKILL);
        None
    }
}

/// Sends a signal to a process that may have ended.
fn send(pid: Pid, signal: Signal) {
    let _ = kill(pid, signal);
}

/// Says it on the command's standard error, where a job's owner looks: the supervisor has no log. A pipe that nobody reads any more must not
/// end what is under way, as it would by eprintln!.
pub(in crate::cli) fn say(what: &str) {
    let _ = writeln!(io::stderr(), "rolefs: {what}");
}
