//! Files whose content is this mount's, and symbolic links.

use std::time::{Instant, SystemTime};

use super::packed::Object;
use super::special::Special;
use crate::object::{ETag, UnixTime};

/// A file whose content is this mount's until it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    size: u64,
    modified: SystemTime,
    expected: Option<Object>,
    /// Answers asked before are older than what is expected.
    since: Instant,
    seen: Option<(Instant, Elsewhere)>,
    /// INVARIANT: then nothing is expected, for it takes no object's place.
    special: Option<Special>,
}

/// What the bucket has shown under the name of a local file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elsewhere {
    /// There is nothing.
    Nothing,
    /// Keys begin with the name and a slash.
    Directory,
    /// An object.
    Object(Object),
    /// A symbolic link of OSS.
    Symlink,
    /// Not what was expected; what it is must be asked.
    Changed,
}

impl LocalFile {
    pub(super) fn new(
        size: u64,
        modified: SystemTime,
        expected: Option<Object>,
        since: Instant,
    ) -> Self {
        Self {
            size,
            modified,
            expected,
            since,
            seen: None,
            special: None,
        }
    }

    /// That has no content, and is never stored. Nothing may be expected of the bucket.
    pub(super) fn of(mut self, special: Special) -> Self {
        self.special = Some(special);
        self
    }

    /// What it is if it is no regular file.
    #[must_use]
    pub fn special(&self) -> Option<Special> {
        self.special
    }

    /// Bytes of the content.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Last change of the content.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        self.modified
    }

    /// What the bucket should have under this name until the file is stored: the version that is being rewritten, or the one
    /// that the file was renamed over; `None`: nothing.
    #[must_use]
    pub fn expected(&self) -> Option<&Object> {
        self.expected.as_ref()
    }

    /// The newest answer of the bucket, and when it was asked for, if it is not what was expected: somebody else has
    /// changed the object meanwhile.
    #[must_use]
    pub fn seen_elsewhere(&self) -> Option<(&Elsewhere, Instant)> {
        let (asked, seen) = self.seen.as_ref()?;
        let is_expected = match (seen, &self.expected) {
            (Elsewhere::Object(seen), Some(expected)) => seen.is_same_version(expected),
            (Elsewhere::Nothing, None) => true,
            (
                Elsewhere::Nothing
                | Elsewhere::Directory
                | Elsewhere::Object(_)
                | Elsewhere::Symlink
                | Elsewhere::Changed,
                _,
            ) => false,
        };
        (!is_expected).then_some((seen, *asked))
    }

    /// True if the bucket has, or may have, something under this name that is this file's. What a special file hides is not.
    #[must_use]
    pub fn covers(&self) -> bool {
        if self.special.is_some() {
            return false;
        }
        match self.seen_elsewhere() {
            Some((Elsewhere::Nothing, _)) => false,
            Some(_) => true,
            None => self.expected.is_some(),
        }
    }

    pub(super) fn write(&mut self, size: u64, modified: SystemTime) {
        (self.size, self.modified) = (size, modified);
    }

    /// Takes in an answer.
    pub(super) fn see(&mut self, seen: Elsewhere, asked: Instant) {
        let newest = self.seen.as_ref().map_or(self.since, |(newest, _)| *newest);
        if asked >= newest {
            self.seen = Some((asked, seen));
        }
    }

    /// From now on the bucket should have that.
    pub(super) fn expect(&mut self, expected: Option<Object>, since: Instant) {
        let expected = expected.filter(|_| self.special.is_none());
        (self.expected, self.since, self.seen) = (expected, since, None);
    }
}

/// A symbolic link of OSS, as its inode keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symlink {
    /// `None`: this mount has made it, and no answer has told it yet.
    etag: Option<ETag>,
    modified: UnixTime,
    target: Option<Box<str>>,
    /// The link was seen with another ETag than when `target` was asked for.
    doubtful: bool,
}

impl Symlink {
    pub(super) fn new(etag: Option<ETag>, modified: UnixTime, target: Option<&str>) -> Self {
        Self {
            etag,
            modified,
            target: target.map(Into::into),
            doubtful: false,
        }
    }

    /// What readlink(2) answers, if it is known: a listing does not tell it.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref().filter(|_| !self.doubtful)
    }

    /// Last change of the link.
    #[must_use]
    pub fn modified(&self) -> UnixTime {
        self.modified
    }

    /// Takes over a later answer. False if that is another link: one with another target.
    ///
    /// The target decides, not the ETag: should a listing and GetSymlink ever tell different ETags of one link, then the
    /// target is asked for more often than needed, but the name does not go from inode to inode.
    pub(super) fn renew(&mut self, later: Self) -> bool {
        let is_other = match (&self.target, &later.target) {
            (Some(known), Some(later)) => known != later,
            (None, _) | (_, None) => false,
        };
        if is_other {
            return false;
        }
        match later.target {
            Some(_) => (self.target, self.doubtful) = (later.target, false),
            None => self.doubtful |= later.etag != self.etag,
        }
        (self.etag, self.modified) = (later.etag, later.modified);
        true
    }
}
