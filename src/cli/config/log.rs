//! How the log looks, and how long it becomes.

use anyhow::{Context, Result, bail, ensure};
use bytesize::ByteSize;

use crate::cli::logging::{Rotation, Style};

/// The least `--log-size`: several of the longest lines.
const LOG_BYTES_MIN: u64 = 4 << 10;

/// `--log-format`, `--log-size` and `--log-keep`.
pub(super) fn style(format: &str, size: &str, kept: u16) -> Result<Style> {
    Ok(Style {
        format: format.parse().context("--log-format")?,
        rotation: Rotation {
            bytes_max: bytes(size)?,
            kept,
        },
    })
}

/// A size, or `0` for a log without bound.
fn bytes(text: &str) -> Result<u64> {
    if text == "0" {
        return Ok(u64::MAX);
    }
    let Ok(size) = text.parse::<ByteSize>() else {
        bail!(
            "--log-size {text}: not a size; write for instance 64MiB, or 0 for a log that only grows"
        );
    };
    ensure!(
        size.as_u64() >= LOG_BYTES_MIN,
        "--log-size {text}: at least {}, or 0 for a log that only grows",
        ByteSize::b(LOG_BYTES_MIN).display().iec()
    );
    Ok(size.as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_a_least_size_or_none() {
        assert_eq!(bytes("4KiB").ok(), Some(LOG_BYTES_MIN));
        assert_eq!(bytes("0").ok(), Some(u64::MAX));
        for bad in ["", "4095", "much", "-1"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_given_is_the_default_of_the_log() {
        assert_eq!(style("human", "64MiB", 3).ok(), Some(Style::default()));
        assert!(style("xml", "0", 0).is_err());
    }
}
