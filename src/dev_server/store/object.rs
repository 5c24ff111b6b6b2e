//! One object of the store.

use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm::Crc64Xz;
use jiff::Timestamp;
use md5::{Digest as _, Md5};

use super::content::Content;
use super::sink::Received;
use crate::object::{ObjectType, StorageClass};

/// What the writer of an object says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) storage_class: StorageClass,
    /// Headers that come back with the content: its type, its caching, `x-oss-meta-*`. Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Headers of server-side encryption: told to writers and readers, never done.
    pub(crate) encryption: Vec<(String, String)>,
    /// In the order they were given.
    pub(crate) tags: Vec<(String, String)>,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            storage_class: StorageClass::Standard,
            headers: Vec::new(),
            encryption: Vec::new(),
            tags: Vec::new(),
        }
    }
}

/// One object, never changed: a new content or new attributes make a new one.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) key: String,
    /// Without quotes.
    pub(crate) etag: String,
    pub(crate) size: u64,
    /// CRC-64/XZ of the content.
    pub(crate) crc64: u64,
    /// Base64; only normal objects have one.
    pub(crate) content_md5: Option<String>,
    pub(crate) kind: ObjectType,
    /// Whole seconds.
    pub(crate) modified: Timestamp,
    pub(crate) attributes: Attributes,
    /// Of a symbolic link, the key of its target.
    pub(crate) content: Content,
    /// Its version, in a bucket that keeps versions or did.
    pub(super) version: Option<String>,
    /// Its record on disk, once it has one.
    pub(super) record: Option<PathBuf>,
}

impl Object {
    /// An object whose content came in one request.
    pub(crate) fn normal(key: &str, received: Received, attributes: Attributes) -> Self {
        Self {
            key: key.to_owned(),
            etag: received.etag(),
            size: received.size,
            crc64: received.crc,
            content_md5: received.md5.map(|md5| STANDARD.encode(md5)),
            kind: ObjectType::Normal,
            modified: now(),
            attributes,
            content: received.content,
            version: None,
            record: None,
        }
    }

    /// A link whose content, the key of its target, was received.
    pub(crate) fn symlink(key: &str, target: Received, attributes: Attributes) -> Self {
        Self {
            content_md5: None,
            kind: ObjectType::Symlink,
            ..Self::normal(key, target, attributes)
        }
    }

    /// The first bytes of an object that can grow.
    pub(crate) fn appendable(key: &str, received: Received, attributes: Attributes) -> Self {
        Self {
            content_md5: None,
            kind: ObjectType::Appendable,
            ..Self::normal(key, received, attributes)
        }
    }

    /// This appendable object with more bytes at its end. Its attributes and version stay.
    pub(super) fn appended(&self, received: Received) -> Self {
        let mut md5 = Md5::new();
        md5.update(&self.etag);
        md5.update(received.digest);
        let mut content = self.content.clone();
        content.0.extend(received.content.0);
        let crc64 = crc_fast::checksum_combine(Crc64Xz, self.crc64, received.crc, received.size);
        Self {
            etag: hex::encode_upper(md5.finalize()),
            size: self.size + received.size,
            crc64,
            modified: now(),
            content,
            record: None,
            ..self.clone()
        }
    }

    /// The same bytes under another key: ETag, CRC and type stay, the time does not. The copy of an appendable object
    /// is a normal one (unconfirmed).
    pub(crate) fn copied_to(&self, key: &str, attributes: Attributes, content: Content) -> Self {
        Self {
            key: key.to_owned(),
            kind: match self.kind {
                ObjectType::Appendable => ObjectType::Normal,
                kind => kind,
            },
            modified: now(),
            attributes,
            content,
            version: None,
            record: None,
            ..self.clone()
        }
    }

    /// The version that this object is; `null` is one from before versions were kept.
    pub(crate) fn version(&self) -> &str {
        self.version.as_deref().unwrap_or(NULL_VERSION)
    }

    /// Whether answers tell the version.
    pub(crate) fn has_version(&self) -> bool {
        self.version.is_some()
    }

    /// The key that a symbolic link points to.
    pub(crate) fn target(&self) -> io::Result<String> {
        let target = self.content.slice(0..self.size)?.concat();
        String::from_utf8(target).map_err(io::Error::other)
    }
}

/// The version that a bucket keeps once for each key while it keeps no versions.
pub(crate) const NULL_VERSION: &str = "null";

/// Now, in whole seconds: OSS knows no finer time, and comparing finer ones would lie.
pub(super) fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}
