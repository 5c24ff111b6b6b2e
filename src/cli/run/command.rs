//! The command: how it starts, and what its end means.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

use super::super::process::Start;

/// The command ended with 0, but something that was written is lost (sysexits.h, `EX_IOERR`).
pub(super) const LOST: u8 = 74;
/// There is no mount, so the command was not started; as env(1) and timeout(1) say of themselves.
pub(in crate::cli) const NO_MOUNT: u8 = 125;
/// The command cannot be executed (POSIX, "Exit Status for Commands").
const NOT_EXECUTABLE: u8 = 126;
/// There is no such command.
const NOT_FOUND: u8 = 127;

/// Starts it, with our terminal, directory and environment, and the signal mask that we had; it gets SIGTERM if this process dies.
///
/// # Errors
/// The exit code that says why it was not started, and the reason.
pub(super) fn spawn(words: &[OsString], mask: SigSet) -> Result<Pid, (u8, io::Error)> {
    let Some((program, arguments)) = words.split_first() else {
        return Err((NOT_FOUND, io::ErrorKind::InvalidInput.into()));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    let start = Start {
        mask,
        when_parent_dies: Some(Signal::SIGTERM),
    };
    start.arm(&mut command);
    match command.spawn() {
        Ok(child) => Ok(Pid::from_raw(child.id().cast_signed())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err((NOT_FOUND, error)),
        Err(error) => Err((NOT_EXECUTABLE, error)),
    }
}

/// The exit code of rolefs: the command's own failure goes first. `is_ours`: it was this process that ended the command, because the mount
/// died.
pub(super) fn code(ended: ExitStatus, is_lost: bool, is_ours: bool) -> u8 {
    match (ended.code(), ended.signal()) {
        (Some(0), _) if is_lost => LOST,
        // exit(3): eight bits.
        (Some(code), _) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
        (None, Some(_)) if is_ours => LOST,
        (None, signal) => killed(signal.unwrap_or(0)),
    }
}

/// What shells make of a death by a signal.
pub(super) fn killed(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_failure_goes_before_what_was_lost() {
        let exited = |code: i32| ExitStatus::from_raw(code << 8);
        let signalled = ExitStatus::from_raw;
        assert_eq!(code(exited(0), false, false), 0);
        assert_eq!(code(exited(0), true, false), LOST);
        assert_eq!(code(exited(3), true, false), 3);
        assert_eq!(code(exited(255), false, false), 255);
        assert_eq!(code(signalled(15), false, false), 143);
        assert_eq!(code(signalled(9), true, false), 137);
        assert_eq!(code(signalled(15), true, true), LOST);
        assert_eq!(code(exited(3), true, true), 3);
        assert_eq!(code(signalled(64), false, false), 192, "SIGRTMAX");
    }
}
