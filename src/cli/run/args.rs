//! What `rolefs run` takes.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::cli::args::MountArgs;

/// What `rolefs run` says about itself beyond its flags.
pub(in crate::cli) const RUN_HELP: &str = "\
The command has the terminal, the signals and the working directory of rolefs. When it ends, what it has written is stored, and rolefs
ends with the command's exit code; 128 + N if signal N has ended it. Other exit codes:

   74  the command ended with 0, but something that was written could not be stored, or the mount died
  125  the bucket could not be mounted; the command was not started
  126  the command could not be executed
  127  there is no such command

After SIGTERM the command has two thirds of --grace to end, then it is killed; what is staged is stored in the rest.";

/// `rolefs run`.
#[derive(Debug, Clone, ClapArgs)]
pub(in crate::cli) struct RunCommand {
    /// Directory to mount on; made if it is not there.
    #[arg(
        long,
        env = "ROLEFS_AT",
        default_value = "/mnt/data",
        value_name = "DIR"
    )]
    pub(in crate::cli) at: PathBuf,

    /// Time between SIGTERM and SIGKILL, as a pod's terminationGracePeriodSeconds says; at least 3s.
    #[arg(
        long,
        env = "ROLEFS_GRACE",
        default_value = "30s",
        value_name = "DURATION"
    )]
    pub(in crate::cli) grace: String,

    #[command(flatten)]
    pub(in crate::cli) mount: MountArgs,

    /// The command and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    pub(in crate::cli) command: Vec<OsString>,
}
