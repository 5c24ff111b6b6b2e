//! The command line: what was typed becomes what is meant, and the rooms below are wired together.
//!
//! Two steps, as in ripgrep: [`args`] is what was typed (by flag or by environment), [`config`] what it means, with all
//! units, defaults, bounds and checks. Below this room nobody reads arguments, environment or files of settings.
//!
//! The commands: [`mount`] builds upwards from the credentials to the kernel and stays until the mount ends ([`ending`]),
//! [`run`] does so for the life of one command, [`umount`] ends one, [`warm`] reads files through one before they are needed. [`preflight`] turns what can be wrong before
//! mounting into one sentence with its remedy. [`daemon`] is the background: the same command once more, in a session of its
//! own, that reports to its parent when the mount answers.

mod args;
mod config;
mod daemon;
mod disk;
mod ending;
mod fstab;
mod generate;
mod logging;
mod mount;
mod parent;
mod prefetch;
mod preflight;
mod process;
mod run;
mod umount;
mod warm;
mod writing;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::error::ErrorKind;

use args::{Args, Command};

/// Runs the command that the process was started with.
#[must_use]
#[expect(
    clippy::print_stderr,
    reason = "this is the one place where the command speaks to its user"
)]
pub fn main() -> ExitCode {
    let result = match Args::read().map(|args| args.command) {
        Ok(Command::Mount(args)) => mount::run(*args),
        Ok(Command::Run(args)) => return run_command(*args),
        Ok(Command::Umount(args)) => umount::run(&args),
        Ok(Command::Warm(args)) => warm::run(&args),
        Ok(Command::Generate(args)) => generate::run(&args),
        Err(error) => mistyped(&error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rolefs: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `rolefs run` ends with the exit code of its command.
#[expect(clippy::print_stderr, reason = "as in main")]
fn run_command(args: args::RunCommand) -> ExitCode {
    let code = run::run(args).unwrap_or_else(|error| {
        eprintln!("rolefs: {error:#}");
        run::NO_MOUNT
    });
    ExitCode::from(code)
}

/// Shows the help that was asked for, or says in one line what cannot be understood.
fn mistyped(error: &clap::Error) -> Result<()> {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        _ => {}
    }
    let text = error.to_string();
    // Behind the first empty line stand tips and the usage.
    let what: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let what = what.join(" ");
    bail!(
        "{}; see 'rolefs --help'",
        what.strip_prefix("error: ").unwrap_or(&what)
    )
}
