//! Which paths a rule is for.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Patterns of paths from the root of the mount, as `imagenet/**` or `**/*.tar`; `*` does not cross a slash. What a directory
/// holds (`imagenet/**`) includes the directory itself.
#[derive(Debug, Clone, Default)]
pub struct Globs(GlobSet);

/// A pattern that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GlobError(String);

impl Globs {
    /// The paths that any of the patterns matches; without patterns, none.
    ///
    /// # Errors
    /// [`GlobError`] names what is wrong with the first bad pattern, in one line.
    pub fn new(patterns: &[String]) -> Result<Self, GlobError> {
        let mut set = GlobSetBuilder::new();
        let plain = |error: globset::Error| GlobError(error.kind().to_string());
        for pattern in patterns {
            // Paths of the mount begin without a slash; who writes one means the same.
            let pattern = pattern.trim_start_matches('/');
            if pattern.is_empty() {
                return Err(GlobError("it is empty".to_owned()));
            }
            let directory = pattern.strip_suffix("/**").filter(|name| !name.is_empty());
            for pattern in [Some(pattern), directory].into_iter().flatten() {
                let mut glob = GlobBuilder::new(pattern);
                set.add(glob.literal_separator(true).build().map_err(plain)?);
            }
        }
        Ok(Self(set.build().map_err(plain)?))
    }

    /// True if there are no patterns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if a pattern matches `path`: names from the root of the mount, joined by slashes.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        !self.0.is_empty() && self.0.is_match(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(patterns: &[&str]) -> Result<Globs, GlobError> {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        Globs::new(&patterns)
    }

    #[test]
    fn a_path_matches_any_of_the_patterns() -> Result<(), GlobError> {
        let globs = globs(&["imagenet/**", "/*.tar", "**/*.{rec,idx}"])?;
        for path in [
            "imagenet",
            "imagenet/a",
            "imagenet/a/b",
            "x.tar",
            "x.rec",
            "a/b/x.idx",
        ] {
            assert!(globs.matches(path), "{path}");
        }
        for path in ["imagenet2", "imagenet2/a", "a/x.tar", "x.tar2", ""] {
            assert!(!globs.matches(path), "{path}");
        }
        assert!(!Globs::default().matches("imagenet"));
        Ok(())
    }

    #[test]
    fn a_bad_pattern_is_told_in_one_line() {
        for bad in ["a[", "{a", "", "/"] {
            let told = globs(&[bad]).map_err(|error| error.to_string());
            assert!(
                told.is_err_and(|told| !told.is_empty() && !told.contains('\n')),
                "{bad}"
            );
        }
    }
}
