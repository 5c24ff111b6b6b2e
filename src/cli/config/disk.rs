//! The cache on disk, as it is asked for.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use bytesize::ByteSize;

use crate::disk::CACHE_BYTES_MIN;

/// `--cache-dir` and `--cache-size`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Disk {
    /// Absolute.
    pub(in crate::cli) directory: PathBuf,
    /// By default half of what the file system has free beside the cache.
    pub(in crate::cli) size_max: Option<u64>,
}

impl Disk {
    /// `None` without a directory.
    pub(super) fn new(directory: Option<PathBuf>, size: Option<&str>) -> Result<Option<Self>> {
        let Some(directory) = directory else {
            if let Some(size) = size {
                bail!("--cache-size {size}: there is no --cache-dir");
            }
            return Ok(None);
        };
        let size_max = size.map(bytes).transpose()?;
        Ok(Some(Self {
            directory,
            size_max,
        }))
    }
}

fn bytes(text: &str) -> Result<u64> {
    let Ok(size) = text.parse::<ByteSize>() else {
        bail!("--cache-size {text}: not a size; write for instance 200GiB");
    };
    ensure!(
        size.as_u64() >= CACHE_BYTES_MIN,
        "--cache-size {text}: at least {}",
        ByteSize::b(CACHE_BYTES_MIN).display().iec()
    );
    Ok(size.as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_minimum_and_needs_a_directory() {
        let new = |size| Disk::new(Some(PathBuf::from("/d")), size);
        let size = |text| {
            new(Some(text))
                .ok()
                .flatten()
                .and_then(|disk| disk.size_max)
        };
        assert_eq!(size("64MiB"), Some(64 << 20));
        assert_eq!(size("1TiB"), Some(1 << 40));
        assert!(new(Some("67108863")).is_err());
        assert!(new(Some("much")).is_err());
        assert!(new(None).is_ok_and(|disk| disk.is_some_and(|disk| disk.size_max.is_none())));
        assert!(Disk::new(None, Some("64MiB")).is_err());
        assert_eq!(Disk::new(None, None).ok(), Some(None));
    }
}
