//! `rolefs-bench`: the yardsticks that a mount is measured with.
//!
//! A throughput says little alone, so each figure of the mount stands beside two others taken in the same minute on the
//! same machine:
//!
//! - `raw` fetches the same bytes through the same HTTP client without any file system: what is left to gain on the
//!   network's side. It copies every frame of a body into a buffer, as every reader has to.
//! - `null` is a FUSE file system that answers from memory: what is left to gain on the kernel's side.
//! - `read` is the reader of both file systems: system calls into one buffer per thread, nothing else.
//! - `write` is the writer of a file system, and `raw put` what is left to gain on the network's side.
//!
//! `raw`, `read` and `write` print one line of JSON (see [`report::Report`]); `scripts/bench.sh` runs all three in turn and sets
//! the figures in relation. The client's cache is cold only if the caller made it so (a fresh mount, `drop_caches`).

mod null;
mod raw;
mod read;
mod report;
mod write;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Yardsticks for measuring a mount.
#[derive(Debug, Parser)]
#[command(name = "rolefs-bench")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch or store objects over HTTP, without a file system.
    #[command(subcommand)]
    Raw(raw::Command),
    /// Serve a file system from memory until SIGTERM.
    Null(null::Args),
    /// Read files.
    #[command(subcommand)]
    Read(read::Command),
    /// Write files.
    #[command(subcommand)]
    Write(write::Command),
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Raw(command) => raw::run(command).map(|report| report.print()),
        Command::Null(args) => null::run(&args).map(|report| report.print()),
        Command::Read(command) => read::run(command).map(|report| report.print()),
        Command::Write(command) => write::run(command).map(|report| report.print()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rolefs-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
