//! `rolefs umount`.

use anyhow::{Context, Result, ensure};

use super::args::UmountArgs;
use crate::fuse;

/// Ends a mount of ours.
pub(super) fn run(args: &UmountArgs) -> Result<()> {
    // A dead mount cannot be looked at (ENOTCONN), but its parent can.
    let mountpoint = std::path::absolute(&args.mountpoint)?;
    let resolved = match (
        mountpoint.parent().map(std::path::Path::canonicalize),
        mountpoint.file_name(),
    ) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => mountpoint.canonicalize().unwrap_or(mountpoint),
    };
    ensure!(
        fuse::mounted_at(&resolved).is_some(),
        "{}: no rolefs mount is there",
        args.mountpoint.display()
    );
    fuse::unmount(&resolved, args.lazy)
        .map_err(|error| {
            let remedy = match error.raw_os_error() {
                Some(libc::EBUSY) => {
                    "files are open on it; end the programs that use it, or pass --lazy"
                }
                Some(libc::EPERM) => "only root, or whoever may mount, can end it",
                _ => "see umount(8)",
            };
            anyhow::Error::new(error).context(remedy)
        })
        .with_context(|| args.mountpoint.display().to_string())
}
