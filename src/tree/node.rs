//! One inode, packed: millions of them may be held.

use std::num::NonZeroU64;
use std::time::Instant;

use crate::object::{ETag, ObjectMeta, ObjectType, StorageClass, UnixTime};

/// The number of an inode: 1 is the mount's root, others are given out once and never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(NonZeroU64);

impl Ino {
    /// The root of the mount (`FUSE_ROOT_ID`).
    pub const ROOT: Self = Self(NonZeroU64::MIN);

    /// Takes the number that the kernel sent; 0 is none.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The number for the kernel.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }

    pub(super) fn next(self) -> Self {
        // 2^64 inodes at a million a second last half a million years.
        Self(self.0.saturating_add(1))
    }
}

/// What an inode is.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    /// A prefix that keys share.
    Directory,
    /// One version of one object.
    Object(&'a Object),
}

/// One version of an object, as its inode keeps it. Size and ETag never change; the rest is as last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    size: u64,
    modified: UnixTime,
    etag: PackedETag,
    /// `None`: unknown. The CRC-64/XZ of nothing is 0, so 0 needs no place here for empty objects; any other object whose
    /// CRC is 0 (one of 2^64) just isn't checked.
    crc64: Option<NonZeroU64>,
    kind: ObjectType,
    storage_class: StorageClass,
}

impl Object {
    pub(super) fn new(meta: &ObjectMeta) -> Self {
        Self {
            size: meta.size,
            modified: meta.modified,
            etag: PackedETag::new(&meta.etag),
            crc64: meta.crc64.and_then(NonZeroU64::new),
            kind: meta.kind,
            storage_class: meta.storage_class,
        }
    }

    /// Bytes of the content.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The ETag of this version.
    #[must_use]
    pub fn etag(&self) -> ETag {
        self.etag.unpack()
    }

    /// Last change.
    #[must_use]
    pub fn modified(&self) -> UnixTime {
        self.modified
    }

    /// How the object was written.
    #[must_use]
    pub fn object_type(&self) -> ObjectType {
        self.kind
    }

    /// Where the object is kept.
    #[must_use]
    pub fn storage_class(&self) -> StorageClass {
        self.storage_class
    }

    /// CRC-64/XZ of the content, if a HEAD has told it.
    #[must_use]
    pub fn crc64(&self) -> Option<u64> {
        match self.crc64 {
            Some(crc) => Some(crc.get()),
            None => (self.size == 0).then_some(0),
        }
    }

    /// True if both have the same content: size, ETag, and CRC where both know it.
    pub(super) fn is_same_version(&self, other: &Self) -> bool {
        let same_crc = match (self.crc64, other.crc64) {
            (Some(a), Some(b)) => a == b,
            (None, _) | (_, None) => true,
        };
        self.size == other.size && self.etag == other.etag && same_crc
    }

    /// Takes over what a later answer says of the same version. A listing has no CRC: the known one stays.
    pub(super) fn refresh(&mut self, later: &Self) {
        self.modified = later.modified;
        self.kind = later.kind;
        self.storage_class = later.storage_class;
        self.learn_crc(later);
    }

    /// Takes over the CRC from another answer about the same version, of whatever age.
    pub(super) fn learn_crc(&mut self, other: &Self) {
        self.crc64 = self.crc64.or(other.crc64);
    }
}

/// An ETag in 24 bytes without a heap block, if it is one of the two forms that OSS gives: the MD5 in upper-case hex, or
/// that and the number of parts after a dash.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PackedETag {
    Digest { md5: [u8; 16], parts: u32 },
    Other(ETag),
}

impl PackedETag {
    fn new(etag: &ETag) -> Self {
        Self::digest(etag.as_str()).unwrap_or_else(|| Self::Other(etag.clone()))
    }

    /// `None` if [`Self::unpack`] would not give exactly `text` again.
    fn digest(text: &str) -> Option<Self> {
        let (digits, parts) = match text.split_once('-') {
            None => (text, 0),
            Some((digits, parts)) => {
                let canonical =
                    parts.bytes().all(|byte| byte.is_ascii_digit()) && !parts.starts_with('0');
                (digits, canonical.then(|| parts.parse().ok())??)
            }
        };
        if digits.len() != 32 || digits.bytes().any(|digit| digit.is_ascii_lowercase()) {
            return None;
        }
        let mut md5 = [0; 16];
        for (byte, pair) in md5.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        Some(Self::Digest { md5, parts })
    }

    fn unpack(&self) -> ETag {
        match self {
            Self::Digest { md5, parts } => {
                let mut text = format!("{:032X}", u128::from_be_bytes(*md5));
                if *parts > 0 {
                    text.push('-');
                    text.push_str(&parts.to_string());
                }
                ETag::new(&text)
            }
            Self::Other(etag) => etag.clone(),
        }
    }
}

/// What the tree knows of one name, or knew before the name went to another inode.
#[derive(Debug)]
pub struct Node {
    pub(super) ino: Ino,
    pub(super) parent: Ino,
    pub(super) name: Box<str>,
    pub(super) what: What,
    /// When the question was asked whose answer is the youngest knowledge here.
    pub(super) asked: Instant,
    pub(super) lookups: u64,
    pub(super) opens: u32,
    /// Nodes whose parent this is, stale ones too.
    pub(super) children: u32,
    /// The name belongs to another inode now, or to none. INVARIANT: never false again, and not in the index of names.
    pub(super) stale: bool,
    /// Nothing holds this node: it may go. Kept by `Tree::settle`, counted in `Tree::idle`.
    pub(super) idle: bool,
    /// The queue of eviction has this node, once.
    pub(super) queued: bool,
    /// Confirmed, or given to the kernel, since it was last looked at by whoever seeks the coldest.
    pub(super) touched: bool,
    /// Its path is of a data set that never changes.
    pub(super) immutable: bool,
    /// The kernel was asked to forget it.
    pub(super) asked_back: bool,
}

#[derive(Debug)]
pub(super) enum What {
    Directory(Directory),
    Object(Object),
    /// The bucket has nothing of this name. The inode number is never shown.
    Nothing,
    /// What was known turned out wrong; nothing asked before `asked` may be believed. The inode number is never shown.
    Unknown,
}

#[derive(Debug, Default)]
pub(super) struct Directory {
    /// When the youngest complete listing began: who was last heard of before that was not in it.
    pub(super) listed: Option<Instant>,
    /// `listed` also speaks for names that the tree has no node of: none was lost since.
    pub(super) whole: bool,
    /// How many names a listing may have shown that the tree holds no knowledge of; wraps.
    pub(super) losses: u32,
}

impl Node {
    pub(super) fn new(ino: Ino, parent: Ino, name: &str, what: What, asked: Instant) -> Self {
        Self {
            ino,
            parent,
            name: name.into(),
            what,
            asked,
            lookups: 0,
            opens: 0,
            children: 0,
            stale: false,
            idle: false,
            queued: false,
            touched: false,
            immutable: false,
            asked_back: false,
        }
    }

    /// The directory that the name is in; the root's is the root.
    #[must_use]
    pub fn parent(&self) -> Ino {
        self.parent
    }

    /// The name in its directory; the root's is empty.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the inode is. It stays what it is also when it is stale.
    #[must_use]
    pub fn kind(&self) -> Kind<'_> {
        match &self.what {
            What::Object(object) => Kind::Object(object),
            What::Directory(_) | What::Nothing | What::Unknown => Kind::Directory,
        }
    }

    /// The version, if the inode is an object.
    #[must_use]
    pub fn object(&self) -> Option<&Object> {
        match &self.what {
            What::Object(object) => Some(object),
            What::Directory(_) | What::Nothing | What::Unknown => None,
        }
    }

    /// True once the name has gone to another inode, or to none: to be answered with ESTALE.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// When the question was asked that last confirmed this inode.
    #[must_use]
    pub fn checked(&self) -> Instant {
        self.asked
    }

    /// True if it is taken as unchanged for ever ([`Ttl::immutable`](super::Ttl::immutable)).
    #[must_use]
    pub fn is_immutable(&self) -> bool {
        self.immutable
    }

    /// How often the kernel was given this inode and has not forgotten it.
    #[must_use]
    pub fn lookups(&self) -> u64 {
        self.lookups
    }

    /// How many handles hold this inode.
    #[must_use]
    pub fn opens(&self) -> u32 {
        self.opens
    }

    /// True for what the kernel may see: an object or a directory, not a note about a name.
    pub(super) fn is_inode(&self) -> bool {
        match self.what {
            What::Directory(_) | What::Object(_) => true,
            What::Nothing | What::Unknown => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_node_is_small() {
        assert!(size_of::<Option<Node>>() <= 128, "{}", size_of::<Node>());
    }

    #[test]
    fn the_etags_of_oss_are_packed() {
        for text in [
            "5B3C1A2E053D763E1B002CC607C5A0FE",
            "5B3C1A2E053D763E1B002CC607C5A0FE-10000",
        ] {
            let packed = PackedETag::new(&ETag::new(text));
            assert!(matches!(packed, PackedETag::Digest { .. }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_etag_is_the_same_after_packing(text in "[0-9A-F]{31,33}(-[0-9]{0,11})?|[0-9A-Fa-f]{32}|.{0,12}") {
            let etag = ETag::new(&text);
            prop_assert_eq!(PackedETag::new(&etag).unpack(), etag);
        }
    }
}
