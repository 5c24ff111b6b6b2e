//! fusermount3, the setuid program of libfuse that mounts for users who may not: it does mount(2) and hands the descriptor back.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use super::handed;
use super::mount::MountOptions;

/// Its names; the second is that of libfuse 2, which the same call suits.
const PROGRAMS: [&str; 2] = ["fusermount3", "fusermount"];

/// Has it mount.
///
/// # Errors
/// `NotFound` if it is not installed, else what it says.
pub(super) fn mount(mountpoint: &Path, options: &MountOptions) -> io::Result<OwnedFd> {
    let (here, there) = UnixStream::pair()?;
    let there = OwnedFd::from(there);
    run(|command| {
        command
            .arg("-o")
            .arg(words(options))
            .arg("--")
            .arg(mountpoint)
            // fusermount.c: the number of the socket that the descriptor is sent on. Standard input needs no inheritance.
            .env("_FUSE_COMMFD", "0")
            .stdin(Stdio::from(there.try_clone()?));
        Ok(())
    })?;
    drop(there);
    let (_, fd) = handed::receive(here.as_fd(), &mut [0])?;
    fd.ok_or_else(|| io::Error::other("fusermount3 has mounted and sent no descriptor"))
}

/// Has it end a mount of this user.
///
/// # Errors
/// `NotFound` if it is not installed, `EBUSY`, else what it says.
pub(super) fn unmount(mountpoint: &Path, lazy: bool) -> io::Result<()> {
    run(|command| {
        command.arg("-u").args(lazy.then_some("-z"));
        command.arg("--").arg(mountpoint).stdin(Stdio::null());
        Ok(())
    })
}

fn words(options: &MountOptions) -> String {
    // fusermount.c do_mount: a comma in a value stands behind a backslash.
    let source = options.source.replace('\\', "\\\\").replace(',', "\\,");
    let mut words = format!("fsname={source},subtype=rolefs,default_permissions,nosuid,nodev");
    if options.allow_other {
        words.push_str(",allow_other");
    }
    if options.read_only {
        words.push_str(",ro");
    }
    words
}

fn run(prepare: impl Fn(&mut Command) -> io::Result<()>) -> io::Result<()> {
    for program in PROGRAMS {
        let mut command = Command::new(program);
        prepare(&mut command)?;
        let output = match command.output() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            output => output?,
        };
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(if said.contains("Device or resource busy") {
            nix::errno::Errno::EBUSY.into()
        } else {
            io::Error::other(said)
        });
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "fusermount3 is not installed",
    ))
}
