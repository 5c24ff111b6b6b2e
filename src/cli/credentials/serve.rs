//! `rolefs credentials serve`.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;

use super::args::{ServeArgs, impatient};
use super::service;
use crate::cli::config::Surroundings;
use crate::cli::logging;
use crate::credentials::{Config, Provider};

/// What says to whoever started it that it answers; the URL follows.
pub(super) const READY: &str = "ready ";
/// Set for the process that stays; the one that was started by `exec` is gone by then, so that the command of `exec` has no
/// child that it does not know.
const DETACHED: &str = "ROLEFS_CREDENTIALS_DETACHED";
/// How often the command of `exec` is looked for when nobody holds its end of the pipe any more: a program may have closed it
/// and run on.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Serves until SIGTERM or SIGINT; of `exec`, until the command and all who have its end of the pipe are gone.
pub(super) fn run(args: ServeArgs) -> Result<()> {
    let Some(parent) = args.for_process else {
        return serve(args, None);
    };
    if std::env::var_os(DETACHED).is_none() {
        Command::new(std::env::current_exe().context("cannot find the own executable")?)
            .args(std::env::args_os().skip(1))
            .env(DETACHED, "1")
            .stdin(Stdio::inherit())
            .spawn()
            .context("cannot start the service")?;
        return Ok(());
    }
    if let Err(error) = serve(args, Some(parent)) {
        // Who started it says it.
        writeln!(io::stdout(), "{error:#}")?;
    }
    Ok(())
}

fn serve(args: ServeArgs, parent: Option<u32>) -> Result<()> {
    logging::start(&args.log_level, None, logging::Style::default())?;
    let config = impatient(args.source.clone().config(&Surroundings::now())?);
    super::block_on(serve_on(args, config, parent))
}

async fn serve_on(args: ServeArgs, config: Config, parent: Option<u32>) -> Result<()> {
    let path = match args.listen_path.filter(|path| !path.is_empty()) {
        Some(path) => path,
        None => service::secret_path().context("no random numbers")?,
    };
    ensure!(
        path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()),
        "--listen-path {path}: a path begins with a slash and has no blanks"
    );
    ensure!(
        args.listen.ip().is_loopback() || args.allow_remote,
        "--listen {}: other machines reach that address, and whoever asks there has the role; pass --allow-remote if that is meant",
        args.listen
    );
    // Before anybody knows of it: who does may end it at once.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let provider = Provider::new(config, Arc::default())?;
    let set = provider.first().await?;
    if set.token().is_none() {
        bail!(
            "{} is a permanent key, which is not given out; take a role with it by --role-arn, or pass the key to the program itself",
            set.short_id()
        );
    }
    let _watch = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&provider).watch()));
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let url = format!("http://{}{path}", listener.local_addr()?);
    announce(&url, parent)?;
    tokio::select! {
        () = service::serve(listener, path, provider) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = last_user(parent) => ended?,
    }
    Ok(())
}

/// Says where it is.
fn announce(url: &str, parent: Option<u32>) -> Result<()> {
    let mut out = io::stdout();
    if parent.is_none() {
        let line = format!("export ALIBABA_CLOUD_CREDENTIALS_URI={url}\n");
        out.write_all(line.as_bytes())?;
        out.flush()?;
        tracing::info!("credentials are served");
        return Ok(());
    }
    // From here on a Ctrl-C at the terminal is the command's, not ours.
    nix::unistd::setsid().context("cannot leave the session")?;
    out.write_all(format!("{READY}{url}\n").as_bytes())?;
    out.flush()?;
    let nowhere = File::options().write(true).open("/dev/null")?;
    nix::unistd::dup2_stdout(&nowhere)?;
    Ok(())
}

/// Resolves when nobody is left who was started by `exec`; never without one.
async fn last_user(parent: Option<u32>) -> Result<()> {
    let Some(parent) = parent else {
        return std::future::pending().await;
    };
    let since = started(parent);
    let held = io::stdin().as_fd().try_clone_to_owned()?;
    let mut held = pipe::Receiver::from_owned_fd(held).context("no pipe from exec")?;
    // Nothing is ever written: it ends when the last one who has the other end is gone.
    while held.read(&mut [0; 64]).await? > 0 {}
    while since.is_some() && started(parent) == since {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// When a process was started, in the kernel's ticks; `None` if there is none, or a dead one (proc(5), fields 3 and 22).
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_when_it_was_started() {
        let own = started(std::process::id());
        assert!(own.is_some() && own == started(std::process::id()));
        assert_ne!(own, started(1));
        assert_eq!(started(u32::MAX), None);
    }
}
