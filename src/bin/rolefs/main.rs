//! The `rolefs` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    rolefs::cli::main()
}
