//! `rolefs status`: how a mount stands, as text, as JSON, as a live view, or as an exit code for probes.

mod rates;
mod text;
mod view;
mod watch;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args as ClapArgs;

use super::args::path;
use super::block_on;
use super::config::duration;
use super::control::{client, find};
use crate::control::{Client, Status};

/// How often `--ready --wait` looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// `rolefs status`.
#[derive(Debug, ClapArgs)]
pub(super) struct StatusArgs {
    /// The directory that a bucket is mounted on, or any path in it.
    mountpoint: PathBuf,

    /// As JSON, all metrics included; with --watch one line for each look.
    #[arg(long)]
    json: bool,

    /// Look again and again: a live view on a terminal, else one line each time. Ends with the mount, or with Ctrl-C.
    #[arg(long, conflicts_with = "ready")]
    watch: bool,

    /// Time from one look of --watch to the next, from 100ms.
    #[arg(long, default_value = "1s", value_name = "DURATION")]
    interval: String,

    /// Print nothing, and exit with 0 if the mount answers and its credentials live, else with 1 and why.
    #[arg(long)]
    ready: bool,

    /// With --ready: how long to wait for it.
    #[arg(long, default_value = "0", value_name = "DURATION")]
    wait: String,

    /// How long to wait for an answer.
    #[arg(long, default_value = "5s", value_name = "DURATION")]
    timeout: String,

    /// Where the mount has its socket, if it was told so.
    #[arg(long, env = "ROLEFS_CONTROL_DIR", value_name = "DIR", value_parser = path())]
    control_dir: Option<PathBuf>,
}

/// What was asked for.
struct Wanted<'a> {
    path: &'a Path,
    control_dir: Option<&'a Path>,
    timeout: Duration,
}

impl Wanted<'_> {
    fn client(&self) -> Result<Client> {
        client(&find(self.path)?, self.control_dir, self.timeout)
    }

    async fn status(&self) -> Result<Status> {
        let status = self.client()?.status().await;
        status.with_context(|| self.path.display().to_string())
    }
}

/// Shows how a mount stands.
pub(super) fn run(args: &StatusArgs) -> Result<()> {
    let wanted = Wanted {
        path: &args.mountpoint,
        control_dir: args.control_dir.as_deref(),
        timeout: duration("--timeout", &args.timeout)?,
    };
    let wait = duration("--wait", &args.wait)?;
    let interval = duration("--interval", &args.interval)?;
    if interval < Duration::from_millis(100) {
        bail!("--interval {}: at least 100ms", args.interval);
    }
    block_on(async {
        if args.ready {
            return ready(&wanted, wait).await;
        }
        if args.watch {
            return watch::run(&wanted, interval, args.json).await;
        }
        let status = wanted.status().await?;
        let text = match args.json {
            true => serde_json::to_string_pretty(&status)? + "\n",
            false => text::full(&status),
        };
        match std::io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    })
}

/// Ends well once the mount is ready, at the latest after `wait`.
async fn ready(wanted: &Wanted<'_>, wait: Duration) -> Result<()> {
    let deadline = Instant::now() + wait;
    loop {
        let Err(why) = is_ready(wanted).await else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            return Err(why);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Asks the process behind the mount, and then the mount itself: a stat(2) of its root goes through the kernel.
async fn is_ready(wanted: &Wanted<'_>) -> Result<()> {
    let mount = find(wanted.path)?;
    let shown = mount.mountpoint.display();
    let client = client(&mount, wanted.control_dir, wanted.timeout)?;
    let status = client.status().await.with_context(|| shown.to_string())?;
    if let Some(why) = status.not_ready {
        bail!("{shown} is not ready: {why}");
    }
    let root = mount.mountpoint.clone();
    let (answered, answer) = tokio::sync::oneshot::channel();
    // A thread that nobody joins: it may hang in the kernel. statfs(2) is never answered from what the kernel remembers.
    std::thread::Builder::new()
        .name("probe".to_owned())
        .spawn(move || {
            let asked = nix::sys::statfs::statfs(&root);
            // Nobody listens any more if it took too long.
            let _ = answered.send(asked.err());
        })
        .context("cannot start a thread")?;
    match tokio::time::timeout(wanted.timeout, answer).await {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(error))) => Err(anyhow!("{shown} is not ready: {error}")),
        Ok(Err(_)) | Err(_) => {
            bail!(
                "{shown} is not ready: the mount does not answer within {:?}",
                wanted.timeout
            )
        }
    }
}
