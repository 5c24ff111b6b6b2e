//! `rolefs umount`.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::args::UmountArgs;
use crate::fuse;

/// Ends a mount of ours.
pub(super) fn run(args: &UmountArgs) -> Result<()> {
    let resolved = mounted(&args.mountpoint)?
        .with_context(|| format!("{}: no rolefs mount is there", args.mountpoint.display()))?;
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

/// Where a mount of ours is that `path` names, by itself or through links.
fn mounted(path: &Path) -> io::Result<Option<PathBuf>> {
    let path = std::path::absolute(path)?;
    // A dead mount may not be looked at (ENOTCONN), but its parent can.
    let by_parent = path
        .parent()
        .and_then(|parent| parent.canonicalize().ok())
        .zip(path.file_name())
        .map(|(parent, name)| parent.join(name));
    let by_links = || path.canonicalize().ok();
    let is_ours = |place: &PathBuf| fuse::mounted_at(place).is_some();
    Ok(by_parent
        .filter(is_ours)
        .or_else(|| by_links().filter(is_ours)))
}
