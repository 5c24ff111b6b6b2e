//! `rolefs run`: a mount for the life of one command.
//!
//! Three processes. The **supervisor** is the one that was started: it has one thread, no runtime and no secrets in use, forwards signals, reaps
//! whatever is orphaned to it (so it may be process 1 of a container), makes and ends the mount, and lives longest. The **mount** is the
//! same executable with the same arguments up to `--`, in a session of its own, so that no key of the terminal reaches it; it does all
//! that `rolefs mount` does, but has the supervisor mount ([`mod@line`]). The **command** is started when the mount answers.
//!
//! They are apart because their lives are: a mount that dies must not take the command's exit code along, credentials and caches must not be where
//! `waitpid(-1)` is, and only a process with one thread may make a user namespace ([`namespace`]), in which the mount and the command
//! then start, and the supervisor alone keeps the right to mount and unmount.
//!
//! **Signals.** Command and supervisor are in one process group, that of whoever started rolefs, so the terminal speaks to the command itself: Ctrl-C
//! and Ctrl-Z reach it from the kernel, and are not sent a second time; the supervisor stops and goes on with it. What a process sends to the supervisor is
//! forwarded. After SIGTERM the command has two thirds of `--grace`, then it is killed; the rest is for storing.
//!
//! **Ends.** When the command has ended, the mount is taken out of the tree, what is staged is stored, and the exit code is the command's. Processes that
//! the command has left behind and that still use the mount get SIGTERM and a moment. If the mount dies first, the command gets SIGTERM, for
//! nothing that it does in the mount can succeed any more. If the supervisor is killed, the kernel sends SIGTERM to the command
//! (`PR_SET_PDEATHSIG`), and the mount, whose line breaks, stores what is staged and ends.

mod args;
mod command;
mod events;
mod holders;
mod line;
mod namespace;
mod server;
mod supervisor;

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::config::{Config, Surroundings, duration};
use super::parent::Parent;
use super::{discover, mount};
use supervisor::Supervisor;
pub(super) use supervisor::say;

pub(super) use args::{RUN_HELP, RunCommand};
pub(super) use command::NO_MOUNT;
pub(super) use namespace::try_by_a_child;
pub(super) use server::Supervised;

/// The shortest `--grace`: a second for each of ending the command, storing, and unmounting.
const GRACE_MIN: Duration = Duration::from_secs(3);

/// Runs the command in its mount; returns the exit code.
pub(super) fn run(args: RunCommand) -> Result<u8> {
    if let Some(supervised) = Supervised::new()? {
        return serve(args, supervised);
    }
    let mountpoint = env::current_dir().unwrap_or_default().join(&args.at);
    if namespace::is_trial() {
        return Ok(namespace::try_it(&mountpoint));
    }
    ensure!(
        !args.command.is_empty(),
        "no command is given; write it behind --, e.g. 'rolefs run oss://my-bucket -- python train.py'"
    );
    let grace = duration("--grace", &args.grace)?;
    ensure!(grace >= GRACE_MIN, "--grace: at least {GRACE_MIN:?}");
    make(&mountpoint)?;
    // As the kernel names it. A dead mount answers nothing, and stands there by its own name.
    let mountpoint = mountpoint.canonicalize().unwrap_or(mountpoint);
    let supervisor = Supervisor::start(&mountpoint, grace)?;
    supervisor.run(&args.command)
}

/// The process behind the mount.
fn serve(mut args: RunCommand, supervised: Supervised) -> Result<u8> {
    super::process::tune_allocator();
    let around = Surroundings::now();
    let mount = &mut args.mount;
    discover::complete(&mut mount.bucket, &mut mount.connection, &around)?;
    let config = Config::new(args.at, args.mount, &around)?;
    mount::serve(&config, &mut Parent::Supervisor(supervised))?;
    Ok(0)
}

/// Makes the mountpoint if nothing is there. What else may be wrong with it, preflight says.
fn make(mountpoint: &Path) -> Result<()> {
    match fs::symlink_metadata(mountpoint) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(mountpoint)
            .with_context(|| {
                let shown = mountpoint.display();
                format!(
                    "{shown} is not there and cannot be made; pass --at with a directory of yours"
                )
            }),
        Ok(_) | Err(_) => Ok(()),
    }
}
