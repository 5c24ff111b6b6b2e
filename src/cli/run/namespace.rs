//! A user and mount namespace of our own, for who may not mount: there this process may (user_namespaces(7)), if it may open `/dev/fuse`.
//!
//! The user and the group keep their numbers, and are the only ones that are mapped: others' files show as nobody's, and setuid programs have no
//! effect. Nothing outside sees the mount.
//!
//! Once inside there is no way back, and fusermount3 has no rights there; so it is tried by a child first.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};

use crate::fuse::{self, MountOptions};

/// Set for the child that tries.
const TRIAL: &str = "ROLEFS_RUN_TRIAL";

/// capabilities(7): the bit of `CAP_SYS_ADMIN`.
const CAP_SYS_ADMIN: u32 = 21;

/// True if this process may mount as it is.
pub(super) fn may_mount() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    effective.is_some_and(|bits| bits >> CAP_SYS_ADMIN & 1 == 1)
}

/// Goes into a namespace in which `mountpoint` can be mounted on.
///
/// # Errors
/// If there is none; then nothing has changed.
pub(super) fn enter(mountpoint: &Path) -> Result<()> {
    try_by_a_child(mountpoint)?;
    unshare_both()
}

/// Has a child go into such a namespace, mount, and end.
///
/// # Errors
/// Why it could not.
pub(in crate::cli) fn try_by_a_child(mountpoint: &Path) -> Result<()> {
    let trial = Command::new(env::current_exe().context("cannot find the own executable")?)
        .args(["run", "--at"])
        .arg(mountpoint)
        .env(TRIAL, "1")
        .stdin(Stdio::null())
        .output()
        .context("cannot start a process")?;
    let said = [trial.stdout, trial.stderr].concat();
    ensure!(
        trial.status.success(),
        "{}",
        String::from_utf8_lossy(&said).trim()
    );
    Ok(())
}

/// True in the child that tries.
pub(super) fn is_trial() -> bool {
    env::var_os(TRIAL).is_some()
}

/// The child: mounts, and ends, and the mount with it. The exit code tells whether it could; standard output, why not.
#[expect(clippy::print_stdout, reason = "its parent reads it")]
pub(super) fn try_it(mountpoint: &Path) -> u8 {
    let options = MountOptions {
        source: "trial".to_owned(),
        allow_other: false,
        read_only: true,
    };
    let tried = unshare_both().and_then(|()| {
        fuse::mount_directly(mountpoint, &options).context("mounting in a user namespace")
    });
    match tried {
        Ok(_) => 0,
        Err(error) => {
            println!("{error:#}");
            1
        }
    }
}

fn unshare_both() -> Result<()> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if let Err(error) = unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS) {
        bail!("no user namespace of its own ({error})");
    }
    match fs::write("/proc/self/setgroups", "deny") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).context("/proc/self/setgroups");
        }
        Ok(()) | Err(_) => {}
    }
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).context("/proc/self/uid_map")?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).context("/proc/self/gid_map")
}
