//! Where written bytes wait that memory has no room for, and what O_EXCL and a conflict mean.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use bytesize::ByteSize;

use crate::write::{Exclusive, OnConflict};

/// Room for staged bytes by default. A disk that has less is full earlier, and writers then wait for the uploads.
const BYTES_MAX: u64 = 64 << 30;

/// The smallest room that is of use: a few parts.
const BYTES_MIN: u64 = 64 << 20;

/// `--staging-dir`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Staging {
    pub(in crate::cli) directory: PathBuf,
    pub(in crate::cli) bytes_max: u64,
}

impl Staging {
    pub(super) fn new(directory: Option<PathBuf>, bytes: Option<&str>) -> Result<Option<Self>> {
        let Some(directory) = directory else {
            if let Some(size) = bytes {
                bail!("--staging-size {size}: there is no --staging-dir");
            }
            return Ok(None);
        };
        let bytes_max = match bytes {
            Some(text) => size(text)?,
            None => BYTES_MAX,
        };
        Ok(Some(Self {
            directory,
            bytes_max,
        }))
    }
}

fn size(text: &str) -> Result<u64> {
    let Ok(size) = text.parse::<ByteSize>() else {
        bail!("--staging-size {text}: not a size; write for instance 200GiB");
    };
    ensure!(
        size.as_u64() >= BYTES_MIN,
        "--staging-size {text}: at least {}",
        ByteSize::b(BYTES_MIN).display().iec()
    );
    Ok(size.as_u64())
}

/// `--on-conflict`.
pub(super) fn on_conflict(word: &str) -> Result<OnConflict> {
    match word {
        "fail" => Ok(OnConflict::Fail),
        "overwrite" => Ok(OnConflict::Overwrite),
        other => bail!("--on-conflict: '{other}' is neither fail nor overwrite"),
    }
}

/// `--exclusive-create`.
pub(super) fn exclusive_create(word: &str) -> Result<Exclusive> {
    match word {
        "local" => Ok(Exclusive::Local),
        "remote" => Ok(Exclusive::Remote),
        other => bail!("--exclusive-create: '{other}' is neither local nor remote"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staging_has_a_minimum_and_needs_a_directory() {
        let new = |size| Staging::new(Some(PathBuf::from("/d")), size);
        let bytes = |text| new(text).ok().flatten().map(|staging| staging.bytes_max);
        assert_eq!(bytes(None), Some(BYTES_MAX));
        assert_eq!(bytes(Some("64MiB")), Some(BYTES_MIN));
        for wrong in ["63MiB", "0", "much"] {
            assert!(new(Some(wrong)).is_err(), "{wrong}");
        }
        assert!(Staging::new(None, Some("1GiB")).is_err());
        assert!(matches!(Staging::new(None, None), Ok(None)));
    }

    #[test]
    fn words_are_told_apart() {
        assert!(on_conflict("fail").is_ok() && on_conflict("overwrite").is_ok());
        assert!(on_conflict("").is_err() && exclusive_create("yes").is_err());
        assert!(exclusive_create("local").is_ok() && exclusive_create("remote").is_ok());
    }
}
