//! The command line: what was typed becomes what is meant, and the rooms below are wired together.
//!
//! Three steps: [`args`] is the list of what can be typed, [`settings`] finds each value (flag, environment, file, profile), and
//! [`config`] says what it means, with all units, defaults, bounds and checks. Below this room nobody reads arguments, environment or
//! files of settings.
//!
//! The commands: [`mount`] builds upwards from the credentials to the kernel and stays until the mount ends ([`ending`]),
//! [`run`] does so for the life of one command, [`umount`] ends one, [`warm`] reads files through one before they are needed, [`mod@bench`] measures one, [`cleanup`] gives up the uploads of crashed ones, [`recover`] stores what they had staged
//! ([`connect`]: a bucket without a mount). [`status`] shows how a mount stands, [`control`] has its doors opened and tells it things.
//! [`credentials`] shows what a mount would sign with, and gives it to other programs; [`discover`] finds what a job of PAI does not have to say.
//! [`doctor`] checks all that a mount needs. [`preflight`] turns what can be wrong before
//! mounting into one sentence with its remedy. [`daemon`] is the background: the same command once more, in a session of its
//! own, that reports to its parent when the mount answers.

mod args;
mod bench;
mod cleanup;
mod config;
mod connect;
mod control;
mod credentials;
mod daemon;
mod discover;
mod disk;
mod doctor;
mod ending;
mod fstab;
mod generate;
mod logging;
mod mount;
mod parent;
mod prefetch;
mod preflight;
mod process;
mod recover;
mod run;
mod settings;
mod status;
mod umount;
mod warm;
mod writing;

use std::process::ExitCode;

use anyhow::{Context, Result};

use args::Command;
use settings::{Settings, Typed};

/// Runs the command that the process was started with.
#[must_use]
#[expect(
    clippy::print_stderr,
    reason = "this is the one place where the command speaks to its user"
)]
pub fn main() -> ExitCode {
    let (result, settings) = match settings::read() {
        Ok(Typed { args, settings }) => {
            let result = match args.command {
                Command::Mount(args) => mount::run(*args),
                Command::Run(args) => return run_command(*args, &settings),
                Command::Umount(args) => umount::run(&args),
                Command::Warm(args) => warm::run(&args),
                Command::Cleanup(args) => cleanup::run(*args),
                Command::Recover(args) => recover::run(&args),
                Command::Status(args) => status::run(&args),
                Command::Invalidate(args) => control::invalidate(&args),
                Command::LogLevel(args) => control::log_level(&args),
                Command::Doctor(args) => doctor::run(&args),
                Command::Bench(bench) => bench::run(&bench, args.config.as_deref()),
                Command::Credentials(command) => credentials::run(*command, args.config.as_deref()),
                Command::Generate(args) => generate::run(&args),
                Command::Config(command) => settings::run(&command, args.config.as_deref()),
            };
            (result, settings)
        }
        Err(error) => (Err(error), Settings::default()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rolefs: {}", settings.named(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// `rolefs run` ends with the exit code of its command.
fn run_command(args: run::RunCommand, settings: &Settings) -> ExitCode {
    let code = run::run(args).unwrap_or_else(|error| {
        run::say(&settings.named(&format!("{error:#}")));
        run::NO_MOUNT
    });
    ExitCode::from(code)
}

/// Does something asynchronous in a process, or a moment of it, that needs one thread for it.
///
/// # Errors
/// Those of the work, and if there can be no runtime.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let done = runtime.block_on(work);
    // Not by its drop, which waits for ever: a thread may hang in a name resolution, in a mount that does not answer, or in a file that is a pipe.
    runtime.shutdown_background();
    done
}
