//! `rolefs credentials`: the same sets that a mount signs with, for whoever wants to see them and for other programs.
//!
//! [`show`] tells what each source says. [`serve`] gives the sets out by the credentials-URI protocol, which every official
//! SDK speaks: one process asks the platform's service once for each set, and all others ask it. [`exec`] runs one command
//! with such a service beside it.

mod args;
mod exec;
mod serve;
mod service;
mod show;

use std::path::Path;

use anyhow::Result;

use args::Command;
pub(super) use args::{CredentialsArgs, SourceArgs};

/// Runs one of the commands; `config` is the file of settings that is named.
pub(super) fn run(args: CredentialsArgs, config: Option<&Path>) -> Result<()> {
    match args.command {
        Command::Show(args) => show::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Exec(args) => exec::run(&args, config),
    }
}

/// Does one of them, in a process that leaves no secrets behind.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    super::process::harden();
    super::block_on(work)
}
