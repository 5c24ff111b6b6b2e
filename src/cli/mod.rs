//! The command line: what was typed becomes what is meant, and the rooms below are wired together.
//!
//! Two steps, as in ripgrep: [`args`] is what was typed (by flag or by environment), [`config`] what it means, with all
//! units, defaults, bounds and checks. Below this room nobody reads arguments, environment or files of settings.
//!
//! The commands: [`mount`] builds upwards from the credentials to the kernel and stays until the mount ends, [`umount`]
//! ends one. [`preflight`] turns what can be wrong before mounting into one sentence with its remedy. [`daemon`] is the
//! background: the same command once more, in a session of its own, that reports to its parent when the mount answers.

mod args;
mod config;
mod daemon;
mod logging;
mod mount;
mod preflight;
mod process;
mod umount;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

/// Runs the command that the process was started with.
#[must_use]
#[expect(
    clippy::print_stderr,
    reason = "this is the one place where the command speaks to its user"
)]
pub fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Mount(args) => mount::run(args),
        Command::Umount(args) => umount::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rolefs: {error:#}");
            ExitCode::FAILURE
        }
    }
}
