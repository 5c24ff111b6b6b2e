//! `rolefs generate`: completions and manual pages, from the definition of the arguments.

use std::io::{self, Write};

use anyhow::{Context, Result};

use super::args::{GenerateArgs, Generated};
use super::settings;

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
