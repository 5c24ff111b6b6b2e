//! One version of one object, and a range of its bytes.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use super::ObjectKey;
use super::key::one_line;

/// OSS's name for one content of a key, kept without its quotes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ETag(Arc<str>);

impl ETag {
    /// Takes the ETag of a header or a listing, with or without its quotes.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text.trim_matches('"')))
    }

    /// The text without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text for `If-Match`, with its quotes.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// For messages: in one line, control characters escaped.
impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        one_line(&self.0, f)
    }
}

/// One content of one key, for ever: cached bytes belong to a version, never to a key.
///
/// Shared as `Arc<Version>`. The hash is taken once, so that a look-up in the block cache costs the same for a
/// long key as for a short one.
pub struct Version {
    key: ObjectKey,
    etag: ETag,
    size: u64,
    hash: u64,
}

impl Version {
    /// The version of `key` that carries `etag` and has `size` bytes.
    #[must_use]
    pub fn new(key: ObjectKey, etag: ETag, size: u64) -> Arc<Self> {
        let mut hasher = DefaultHasher::new();
        (&key, &etag, size).hash(&mut hasher);
        Arc::new(Self {
            key,
            etag,
            size,
            hash: hasher.finish(),
        })
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// The ETag that every GET of this version sends as `If-Match`.
    #[must_use]
    pub fn etag(&self) -> &ETag {
        &self.etag
    }

    /// Bytes of the content.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A hash of the whole, the same for equal versions of one process.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.hash
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || (self.hash == other.hash
                && self.size == other.size
                && self.etag == other.etag
                && self.key == other.key)
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} ({} bytes)", self.key, self.etag, self.size)
    }
}

/// A range of the bytes of one version: what a GET fetches, what a cached block holds, and what an extent of a
/// file being written can point to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Whose bytes.
    pub version: Arc<Version>,
    /// Which bytes; within `0..version.size()`.
    pub range: Range<u64>,
}

impl Source {
    /// All bytes of a version.
    #[must_use]
    pub fn whole(version: Arc<Version>) -> Self {
        let range = 0..version.size();
        Self { version, range }
    }

    /// True if the range is the whole version.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.range == (0..self.version.size())
    }

    /// Bytes of the range.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// True if the range has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_compares_without_its_quotes() {
        assert_eq!(ETag::new("\"ABC\""), ETag::new("ABC"));
        assert_eq!(ETag::new("ABC").quoted(), "\"ABC\"");
    }

    #[test]
    fn versions_are_equal_by_key_etag_and_size() -> Result<(), crate::object::KeyError> {
        let key = ObjectKey::new("a")?;
        let version = Version::new(key.clone(), ETag::new("1"), 3);
        assert_eq!(version, Version::new(key.clone(), ETag::new("1"), 3));
        assert_ne!(version, Version::new(key.clone(), ETag::new("2"), 3));
        assert_ne!(version, Version::new(key, ETag::new("1"), 4));
        assert!(Source::whole(version).is_whole());
        Ok(())
    }
}
