//! Object keys and the prefixes that stand for directories.

use std::fmt::{self, Write as _};
use std::sync::Arc;

/// Bytes of the longest object key (OSS help "Object naming conventions": 1 to 1023 bytes of UTF-8).
pub const KEY_BYTES_MAX: usize = 1023;

/// Why a string is not a key or prefix of OSS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key has no byte.
    #[error("an object key cannot be empty")]
    Empty,
    /// The key is longer than [`KEY_BYTES_MAX`].
    #[error("an object key has at most {KEY_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// OSS refuses keys that begin with `/` or `\`.
    #[error("an object key cannot begin with '/' or '\\'")]
    LeadingSlash,
    /// A prefix that is not empty ends with `/`.
    #[error("a prefix that stands for a directory ends with '/'")]
    NotADirectory,
}

fn check(text: &str) -> Result<(), KeyError> {
    if text.len() > KEY_BYTES_MAX {
        return Err(KeyError::TooLong(text.len()));
    }
    if text.starts_with(['/', '\\']) {
        return Err(KeyError::LeadingSlash);
    }
    Ok(())
}

/// Shows a text from the bucket in a message: whoever writes objects chooses it, and must not begin a line of our log.
pub(super) fn one_line(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    text.chars().try_for_each(|letter| {
        if letter.is_control() {
            write!(f, "{}", letter.escape_default())
        } else {
            f.write_char(letter)
        }
    })
}

/// The name of one object in its bucket: 1 to 1023 bytes of UTF-8 that do not begin with `/` or `\`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// Checks a key.
    ///
    /// # Errors
    /// [`KeyError`] says which rule the text breaks.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, KeyError> {
        let text = text.into();
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        check(&text)?;
        Ok(Self(text))
    }

    /// The key as OSS stores it, not percent-encoded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// For messages: in one line, control characters escaped.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        one_line(&self.0, f)
    }
}

/// The beginning that all keys of one directory share: empty (the bucket's root) or ending with `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// The whole bucket.
    #[must_use]
    pub fn root() -> Self {
        Self(Arc::from(""))
    }

    /// Checks a prefix.
    ///
    /// # Errors
    /// [`KeyError`] says which rule the text breaks.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, KeyError> {
        let text = text.into();
        check(&text)?;
        if !text.is_empty() && !text.ends_with('/') {
            return Err(KeyError::NotADirectory);
        }
        Ok(Self(text))
    }

    /// The prefix as OSS stores it, not percent-encoded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of the object `name` in this directory.
    ///
    /// # Errors
    /// [`KeyError::TooLong`] when prefix and name together pass the limit of OSS.
    pub fn object(&self, name: &str) -> Result<ObjectKey, KeyError> {
        ObjectKey::new(format!("{}{name}", self.0))
    }

    /// The prefix of the directory `name` in this directory.
    ///
    /// # Errors
    /// [`KeyError::TooLong`] when prefix and name together pass the limit of OSS.
    pub fn directory(&self, name: &str) -> Result<Self, KeyError> {
        Self::new(format!("{}{name}/", self.0))
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// For messages: in one line, control characters escaped.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        one_line(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_1_to_1023_bytes() {
        assert_eq!(ObjectKey::new(""), Err(KeyError::Empty));
        assert!(ObjectKey::new("a").is_ok());
        assert!(ObjectKey::new("k".repeat(KEY_BYTES_MAX)).is_ok());
        assert_eq!(
            ObjectKey::new("k".repeat(KEY_BYTES_MAX + 1)),
            Err(KeyError::TooLong(KEY_BYTES_MAX + 1))
        );
    }

    #[test]
    fn a_key_does_not_begin_with_a_slash() {
        assert_eq!(ObjectKey::new("/a"), Err(KeyError::LeadingSlash));
        assert_eq!(ObjectKey::new("\\a"), Err(KeyError::LeadingSlash));
        assert!(ObjectKey::new("a//b").is_ok());
    }

    #[test]
    fn a_key_is_shown_in_one_line() -> Result<(), KeyError> {
        let key = ObjectKey::new("a b/ü\n2026 ERROR\u{1b}[31m")?;
        assert_eq!(key.to_string(), "a b/ü\\n2026 ERROR\\u{1b}[31m");
        assert_eq!(Prefix::new("x\r/")?.to_string(), "x\\r/");
        Ok(())
    }

    #[test]
    fn a_prefix_is_empty_or_ends_with_a_slash() {
        assert_eq!(Prefix::new(""), Ok(Prefix::root()));
        assert_eq!(Prefix::new("a"), Err(KeyError::NotADirectory));
        let directory = Prefix::new("a/").and_then(|prefix| prefix.directory("b"));
        assert_eq!(directory.as_ref().map(Prefix::as_str), Ok("a/b/"));
        assert_eq!(
            Prefix::root().object("x").as_ref().map(ObjectKey::as_str),
            Ok("x")
        );
    }
}
