//! A command that prints a set.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::document::{self, DOCUMENT_BYTES_MAX, Writer};
use super::error::Trouble;
use super::fetch::Answer;

/// How long the command may run: what the official clients give it.
pub(super) const RUN_MAX: Duration = Duration::from_secs(60);

/// A command and what it has started, in a process group of their own. Dropped before its end, all of them are killed.
struct Group {
    child: Child,
    is_running: bool,
}

impl Group {
    fn start(program: &str, arguments: &[String]) -> io::Result<Self> {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self {
            child,
            is_running: true,
        })
    }

    /// All that it prints, up to one byte more than a document may have, and how it ends.
    async fn output(&mut self) -> io::Result<(ExitStatus, Zeroizing<Vec<u8>>)> {
        let mut text = Zeroizing::new(Vec::with_capacity(DOCUMENT_BYTES_MAX + 1));
        if let Some(stdout) = self.child.stdout.take() {
            let mut bounded = stdout.take(DOCUMENT_BYTES_MAX as u64 + 1);
            bounded.read_to_end(&mut text).await?;
        }
        let status = self.child.wait().await?;
        self.is_running = false;
        Ok((status, text))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its leader has not been waited for, so the number is still the group's.
        let leader = self.child.id().filter(|_| self.is_running);
        if let Some(leader) = leader.and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
        }
    }
}

/// Runs the command and reads its standard output; its standard error goes where ours goes.
///
/// It is killed, and what it has started with it, when it takes longer than [`RUN_MAX`], or when nobody waits for it any more.
pub(super) async fn ask(command: &str) -> Answer {
    ask_for(command, RUN_MAX).await
}

async fn ask_for(command: &str, run_max: Duration) -> Answer {
    let Some((program, arguments)) = shlex::split(command)
        .and_then(|words| words.split_first().map(|(a, b)| (a.clone(), b.to_vec())))
    else {
        return Err(Trouble::unusable("its quotes do not match"));
    };
    let started = Group::start(&program, &arguments);
    let mut group = started.map_err(|error| Trouble::Unusable(format!("cannot run: {error}")))?;
    match timeout(run_max, group.output()).await {
        Err(_) => Err(Trouble::Unusable(format!("not done within {run_max:?}"))),
        Ok(Err(error)) => Err(Trouble::Unusable(format!("cannot be read: {error}"))),
        Ok(Ok((_, text))) if text.len() > DOCUMENT_BYTES_MAX => {
            Err(Trouble::unusable("its output is too long"))
        }
        Ok(Ok((status, _))) if !status.success() => {
            Err(Trouble::Unusable(format!("it ended with {status}")))
        }
        Ok(Ok((_, text))) => document::parse(&text, Writer::File),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_killed_with_what_it_has_started() {
        let place = tempfile::tempdir().unwrap();
        let fifo = place.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (sender, ended) = std::sync::mpsc::channel();
        let reading = fifo.clone();
        // Until the child, which has the other end, is gone.
        std::thread::spawn(move || sender.send(std::fs::read(reading)));
        let script = format!("(echo; exec sleep 1000) >{} & wait", fifo.display());
        let asked = ask_for(&format!("sh -c '{script}'"), Duration::from_secs(2)).await;
        let reason = asked.unwrap_err();
        assert!(reason.reason().contains("not done within"), "{reason:?}");
        let said = ended.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(said.unwrap(), b"\n");
    }
}
