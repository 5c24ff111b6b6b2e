//! The mount's end of the line.

use std::env;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::SigSet;
use nix::unistd::Pid;
use tokio::sync::watch;

use super::super::process::Start;
use super::line::{Line, Order, Request};
use crate::fuse::{MountOptions, Mounted};

/// Set for the process behind the mount: its standard input is the line.
const SERVED: &str = "ROLEFS_RUN_MOUNT";

/// Starts the process behind the mount: this executable with these arguments up to `--`.
pub(super) fn spawn(line: OwnedFd, mask: SigSet) -> Result<Pid> {
    let arguments = env::args_os().skip(1).take_while(|word| word != "--");
    let mut command = Command::new(env::current_exe().context("cannot find the own executable")?);
    command
        .args(arguments)
        .env(SERVED, "1")
        .stdin(Stdio::from(line))
        .stdout(Stdio::null());
    let start = Start {
        mask,
        // The line breaks; what is staged is stored all the same.
        when_parent_dies: None,
    };
    start.arm(&mut command);
    let child = command
        .spawn()
        .context("cannot start the process behind the mount")?;
    Ok(Pid::from_raw(child.id().cast_signed()))
}

/// What the supervisor wants by now.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    end: bool,
    /// When storing is over.
    until: Option<Instant>,
}

/// The process behind the mount of a [`super::Supervisor`].
#[derive(Debug)]
pub(in crate::cli) struct Supervised {
    line: Arc<Line>,
    wanted: watch::Sender<Wanted>,
}

impl Supervised {
    /// `None` if this process is not one.
    pub(super) fn new() -> Result<Option<Self>> {
        if env::var_os(SERVED).is_none() {
            return Ok(None);
        }
        // No key of the terminal is meant for this process, and its end is told by the line.
        nix::unistd::setsid().context("cannot leave the supervisor's session")?;
        let line = std::io::stdin().as_fd().try_clone_to_owned()?;
        nix::unistd::dup2_stdin(&File::open("/dev/null")?)?;
        Ok(Some(Self {
            line: Arc::new(Line::new(line)),
            wanted: watch::Sender::new(Wanted::default()),
        }))
    }

    /// Has the supervisor mount. Nothing else is said meanwhile.
    pub(in crate::cli) fn mount(
        &self,
        mountpoint: &Path,
        options: &MountOptions,
    ) -> Result<Mounted> {
        let mountpoint = mountpoint.canonicalize()?;
        let request = Request::Mount {
            source: options.source.clone(),
            allow_other: options.allow_other,
            read_only: options.read_only,
        };
        self.line
            .send(&request, None)
            .context("the supervisor is gone")?;
        let Some((Order::Serve, Some(fd))) = self.line.receive()? else {
            // It could not mount, or is gone, and says why itself.
            std::process::exit(1);
        };
        Ok(Mounted { mountpoint, fd })
    }

    /// The mount answers; from now on orders are heard.
    pub(in crate::cli) fn ready(&self) -> Result<()> {
        let (line, wanted) = (Arc::clone(&self.line), self.wanted.clone());
        // Ends with the process: the supervisor outlives it.
        thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || listen(&line, &wanted))
            .context("cannot start a thread")?;
        self.line
            .send(&Request::Ready, None)
            .context("the supervisor is gone")
    }

    /// What was staged is stored, or as much of it as could be.
    pub(in crate::cli) fn stored(&self, is_all: bool) {
        // If the supervisor is gone nobody asks.
        let _ = self.line.send(&Request::Stored { lost: !is_all }, None);
    }

    /// Resolves when the supervisor wants the mount to end, or is gone.
    pub(in crate::cli) async fn end(&self) {
        // The sender lives as long as this.
        let _ = self.wanted.subscribe().wait_for(|wanted| wanted.end).await;
    }

    /// Resolves when the time for storing is over.
    pub(in crate::cli) async fn enough(&self) {
        let mut wanted = self.wanted.subscribe();
        loop {
            let until = wanted.borrow_and_update().until;
            let over = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                Ok(()) = wanted.changed() => {}
            }
        }
    }
}

/// Hears orders until the supervisor is gone, which is one, too.
fn listen(line: &Line, wanted: &watch::Sender<Wanted>) {
    loop {
        let within: Option<Duration> = match line.receive() {
            Ok(Some((Order::End { within }, _))) => within,
            Ok(Some((Order::Serve, _))) => continue,
            Ok(None) | Err(_) => {
                tracing::warn!("the process that supervises this mount is gone");
                wanted.send_modify(|wanted| wanted.end = true);
                return;
            }
        };
        wanted.send_modify(|wanted| {
            wanted.end = true;
            if let Some(within) = within {
                wanted.until = Some(Instant::now() + within);
            }
        });
    }
}
