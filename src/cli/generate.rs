//! `rolefs generate`: completions and manual pages, from the definition of the arguments.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, Subcommand};

use super::settings;

#[derive(Debug, ClapArgs)]
pub(super) struct GenerateArgs {
    #[command(subcommand)]
    what: Generated,
}

#[derive(Debug, Subcommand)]
enum Generated {
    /// Completions of a shell.
    Completions { shell: clap_complete::Shell },
    /// Manual pages, one for each command.
    Man { directory: PathBuf },
}

/// Writes them.
pub(super) fn run(args: &GenerateArgs) -> Result<()> {
    let mut definition = settings::definition();
    match &args.what {
        Generated::Completions { shell } => {
            // Into memory first: clap_complete takes a closed pipe for a programmer's error.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut definition, "rolefs", &mut script);
            io::stdout()
                .write_all(&script)
                .context("cannot write the completions")
        }
        Generated::Man { directory } => clap_mangen::generate_to(definition, directory)
            .with_context(|| format!("cannot write manual pages into {}", directory.display())),
    }
}
