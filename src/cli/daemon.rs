//! The background: the same command once more, in a session of its own.
//!
//! The parent starts its own executable again with the same arguments and one end of a pipe, and waits. The child does all
//! the work; when the mount answers it writes one line into the pipe, and the parent ends with 0. When the child cannot
//! mount it writes why, and the parent ends with that. A child that dies without a word closes the pipe.
//!
//! fork(2) without exec would be shorter, but leaves the child with whatever threads and locks the parent had.

use std::env;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::fstab;

/// Set for the child: it is the one in the background, and its standard output is the pipe to the parent.
const CHILD: &str = "ROLEFS_BACKGROUND_CHILD";

/// What the child writes when the mount answers.
const READY: &str = "ready";

/// The pipe to the parent that waits.
#[derive(Debug)]
pub(super) struct Readiness(Option<File>);

/// True in the child.
pub(super) fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// Where the log of a background mount goes unless it is told: it has no terminal.
pub(super) fn default_log_file(mountpoint: &Path) -> PathBuf {
    let slug: String = mountpoint
        .to_string_lossy()
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect();
    let uid = nix::unistd::geteuid();
    env::temp_dir().join(format!("rolefs-{uid}{slug}.log"))
}

/// Starts the child and waits until it has mounted. `found` are variables for it beside the own ones.
pub(super) fn spawn(found: &[(&'static str, String)]) -> Result<()> {
    let executable = env::current_exe().context("cannot find the own executable")?;
    let mut child = Command::new(&executable)
        // These are translated; as a helper of mount(8) it would do so once more.
        .arg0(executable.with_file_name("rolefs"))
        .args(fstab::typed().into_iter().skip(1))
        .env(CHILD, "1")
        .envs(found.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the background process")?;
    let mut said = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut said)
            .context("cannot hear from the background process")?;
    }
    match said.trim() {
        READY => Ok(()),
        "" => bail!(
            "the background process ended without a word: {}",
            child.wait()?
        ),
        error => bail!("{error}"),
    }
}

impl Readiness {
    /// In the child: leaves the parent's session and takes the pipe away from standard output, so that nothing else can
    /// keep the parent waiting. In the foreground: nothing to tell, nobody to tell it to.
    pub(super) fn new() -> Result<Self> {
        if !is_child() {
            return Ok(Self(None));
        }
        // From here on a Ctrl-C at the parent's terminal is not meant for this process.
        nix::unistd::setsid().context("cannot leave the parent's session")?;
        let pipe: OwnedFd = std::io::stdout().as_fd().try_clone_to_owned()?;
        let nowhere = File::options().write(true).open("/dev/null")?;
        nix::unistd::dup2_stdout(&nowhere)?;
        Ok(Self(Some(File::from(pipe))))
    }

    /// The mount answers: the parent may go. From now on nothing is written to its standard error either.
    pub(super) fn ready(&mut self) -> Result<()> {
        self.tell(READY)
    }

    /// There will be no mount.
    pub(super) fn failed(&mut self, error: &anyhow::Error) -> Result<()> {
        self.tell(&format!("{error:#}"))
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let Some(mut pipe) = self.0.take() else {
            return Ok(());
        };
        writeln!(pipe, "{line}").context("the parent is gone")?;
        let nowhere = File::options().write(true).open("/dev/null")?;
        nix::unistd::dup2_stderr(&nowhere)?;
        Ok(())
    }
}
