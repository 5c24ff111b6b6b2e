//! Values as they are typed: durations, modes, sizes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytesize::ByteSize;

use crate::buffer::MEMORY_BYTES_MIN;
use crate::tree::Globs;

/// The fewest names that a mount can work with: several open directories, a page of each.
const NAMES_MIN: usize = 1000;

/// Default of `--memory`, unless 1/8 of the memory limit is less.
const MEMORY_BYTES_DEFAULT_MAX: u64 = 4 << 30;

/// A duration with its unit, at most a day.
pub(in crate::cli) fn duration(flag: &str, text: &str) -> Result<Duration> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let parsed = text
        .parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .with_context(|| {
            format!("{flag} {text}: not a duration; write for instance 500ms, 30s or 2min")
        })?;
    ensure!(
        parsed <= Duration::from_secs(86_400),
        "{flag} {text}: at most 24h"
    );
    Ok(parsed)
}

/// Permission bits, octal.
pub(super) fn mode(flag: &str, text: &str) -> Result<u16> {
    u16::from_str_radix(text, 8)
        .ok()
        .filter(|&mode| mode <= 0o777)
        .with_context(|| format!("{flag} {text}: not permission bits; write for instance 0644"))
}

/// Patterns of paths from the mount's root.
pub(super) fn globs(flag: &str, patterns: &[String]) -> Result<Globs> {
    // Each by itself: the message shows the one that is wrong.
    for pattern in patterns {
        Globs::new(std::slice::from_ref(pattern)).map_err(|error| {
            anyhow::anyhow!(
                "{flag} {pattern}: not a pattern: {error}; write for instance imagenet/** or '**/*.tar'"
            )
        })?;
    }
    Globs::new(patterns).map_err(|error| anyhow::anyhow!("{flag}: too many patterns: {error}"))
}

/// `--max-cached-names`.
pub(super) fn names(text: &str) -> Result<usize> {
    text.parse::<usize>()
        .ok()
        .filter(|names| *names >= NAMES_MIN)
        .with_context(|| {
            format!("--max-cached-names {text}: not a number of at least {NAMES_MIN}; write for instance 1000000")
        })
}

/// `--memory`, or its default for a machine with so much.
pub(super) fn memory(flag: Option<&str>, limit: u64) -> Result<u64> {
    let Some(text) = flag else {
        return Ok((limit / 8).clamp(MEMORY_BYTES_MIN, MEMORY_BYTES_DEFAULT_MAX));
    };
    let bytes = text
        .parse::<ByteSize>()
        .map_err(|_| anyhow::anyhow!("--memory {text}: not a size; write for instance 512MiB"))?
        .as_u64();
    ensure!(
        bytes >= MEMORY_BYTES_MIN,
        "--memory {text}: at least {}",
        ByteSize::b(MEMORY_BYTES_MIN).display().iec()
    );
    Ok(bytes)
}

/// `--max-qps`: requests per second, at least one.
pub(super) fn max_qps(text: &str) -> Result<u64> {
    text.parse()
        .ok()
        .filter(|&requests| requests > 0)
        .with_context(|| format!("--max-qps {text}: not a number of requests from 1 on"))
}

/// The least `--max-bandwidth`: below, a block of 1 MiB takes longer than a caller waits.
const BANDWIDTH_MIN: u64 = 64 << 10;

/// `--max-bandwidth`: bytes per second.
pub(super) fn max_bandwidth(text: &str) -> Result<u64> {
    let bytes = text.strip_suffix("/s").unwrap_or(text).parse::<ByteSize>();
    let bytes = bytes.map_err(|_| {
        anyhow::anyhow!("--max-bandwidth {text}: not a size; write for instance 500MiB")
    })?;
    ensure!(
        bytes.as_u64() >= BANDWIDTH_MIN,
        "--max-bandwidth {text}: at least {}",
        ByteSize::b(BANDWIDTH_MIN).display().iec()
    );
    Ok(bytes.as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_a_bound() {
        assert_eq!(
            duration("--hold", "2min").ok(),
            Some(Duration::from_secs(120))
        );
        assert_eq!(
            duration("--hold", "500ms").ok(),
            Some(Duration::from_millis(500))
        );
        assert_eq!(duration("--hold", "0").ok(), Some(Duration::ZERO));
        assert_eq!(duration("--hold", "0s").ok(), Some(Duration::ZERO));
        for bad in ["", "soon", "-1s", "25h", "12"] {
            assert!(duration("--hold", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn memory_has_a_minimum_and_a_default() {
        assert_eq!(memory(None, 64 << 30).ok(), Some(4 << 30));
        assert_eq!(memory(None, 8 << 30).ok(), Some(1 << 30));
        assert_eq!(memory(None, 1 << 20).ok(), Some(MEMORY_BYTES_MIN));
        assert_eq!(memory(Some("512MiB"), 0).ok(), Some(512 << 20));
        let below = (MEMORY_BYTES_MIN - 1).to_string();
        assert!(memory(Some(&below), 0).is_err());
        assert!(memory(Some(&MEMORY_BYTES_MIN.to_string()), 0).is_ok());
        assert!(memory(Some("much"), 0).is_err());
    }

    #[test]
    fn limits_are_whole_and_not_nothing() {
        assert_eq!(max_qps("250").ok(), Some(250));
        assert_eq!(max_bandwidth("500MiB").ok(), Some(500 << 20));
        assert_eq!(max_bandwidth("1GB/s").ok(), Some(1_000_000_000));
        assert_eq!(max_bandwidth("64KiB").ok(), Some(BANDWIDTH_MIN));
        for bad in ["", "0", "-1", "1.5", "many"] {
            assert!(max_qps(bad).is_err(), "{bad}");
        }
        for bad in ["", "0", "65535", "fast"] {
            assert!(max_bandwidth(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_have_a_minimum() {
        assert_eq!(names("1000").ok(), Some(1000));
        for bad in ["999", "", "many", "-1"] {
            assert!(names(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_pattern_is_named_with_its_flag_and_a_remedy() {
        let patterns = ["good/**", "bad/{a", "*"].map(str::to_owned);
        let told = globs("--direct", &patterns).map_err(|error| error.to_string());
        let told = told.expect_err("an open brace");
        assert!(
            told.starts_with("--direct bad/{a: ") && told.contains("write"),
            "{told}"
        );
        assert!(!told.contains('\n'));
        assert!(globs("--direct", &patterns[..1]).is_ok_and(|globs| globs.matches("good/x")));
    }

    #[test]
    fn modes_are_octal_permission_bits() {
        assert_eq!(mode("--file-mode", "0640").ok(), Some(0o640));
        assert!(mode("--file-mode", "0888").is_err());
        assert!(mode("--file-mode", "1777").is_err());
    }
}
