//! The one place that makes and ends a mount: it yields a `/dev/fuse` descriptor and knows nothing of sessions.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};

use super::fusermount;

/// The type that `/proc/mounts` shows; the part after the dot is the kernel's "subtype".
pub(super) const FILE_SYSTEM_TYPE: &str = "fuse.rolefs";

/// How a mount is made.
#[derive(Debug, Clone)]
pub struct MountOptions {
    /// What `/proc/mounts` shows as its source, e.g. `oss://bucket/prefix/`.
    pub source: String,
    /// Let other users in. Permissions are then checked by the modes that files show.
    pub allow_other: bool,
    /// The kernel refuses every change by itself (EROFS).
    pub read_only: bool,
}

/// A mount that was made, and the descriptor on which the kernel speaks of it.
#[derive(Debug)]
pub struct Mounted {
    /// Where, as an absolute path without links.
    pub mountpoint: PathBuf,
    /// For [`Session::new`](super::Session::new).
    pub fd: OwnedFd,
}

/// Mounts directly, or, for a user who may not, by fusermount3 if that is installed.
///
/// # Errors
/// As [`mount_directly`]; what fusermount3 says, if it was asked.
pub fn mount(mountpoint: &Path, options: &MountOptions) -> io::Result<Mounted> {
    let refused = match mount_directly(mountpoint, options) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
        mounted => return mounted,
    };
    let mountpoint = mountpoint.canonicalize()?;
    match fusermount::mount(&mountpoint, options) {
        Ok(fd) => Ok(Mounted { mountpoint, fd }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(refused),
        Err(error) => Err(error),
    }
}

/// Opens `/dev/fuse` and mounts it. Needs `CAP_SYS_ADMIN` in the user namespace of this mount namespace.
///
/// # Errors
/// Of opening `/dev/fuse`, of `mountpoint` (it must be a directory), or of mount(2).
pub fn mount_directly(mountpoint: &Path, options: &MountOptions) -> io::Result<Mounted> {
    let mountpoint = mountpoint.canonicalize()?;
    if !mountpoint.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    let device = File::options().read(true).write(true).open("/dev/fuse")?;
    // fuse(4) and fs/fuse/inode.c fuse_fs_parameters: rootmode is octal; default_permissions lets the kernel check modes.
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_fd().as_raw_fd(),
        nix::unistd::geteuid(),
        nix::unistd::getegid()
    );
    if options.allow_other {
        data.push_str(",allow_other");
    }
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    flags.set(MsFlags::MS_RDONLY, options.read_only);
    nix::mount::mount(
        Some(options.source.as_str()),
        &mountpoint,
        Some(FILE_SYSTEM_TYPE),
        flags,
        Some(data.as_str()),
    )?;
    Ok(Mounted {
        mountpoint,
        fd: device.into(),
    })
}

/// Ends the mount at `mountpoint`. With `lazy` it leaves the tree at once and ends with its last open file.
///
/// # Errors
/// `EBUSY` while files are open and `lazy` is not set, `EINVAL` if nothing is mounted there, `EPERM` if this user may not and fusermount3
/// is not there to do it, else what that says.
pub fn unmount(mountpoint: &Path, lazy: bool) -> io::Result<()> {
    let flags = if lazy {
        MntFlags::MNT_DETACH
    } else {
        MntFlags::UMOUNT_NOFOLLOW
    };
    match nix::mount::umount2(mountpoint, flags) {
        Err(Errno::EPERM) => match fusermount::unmount(mountpoint, lazy) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Errno::EPERM.into()),
            ended => ended,
        },
        ended => Ok(ended?),
    }
}

/// True if the process behind the mount at `mountpoint` has ended. Unlike stat(2), which the kernel may answer from what
/// it remembers, statfs(2) always asks it.
#[must_use]
pub fn is_dead(mountpoint: &Path) -> bool {
    nix::sys::statfs::statfs(mountpoint).err() == Some(Errno::ENOTCONN)
}
