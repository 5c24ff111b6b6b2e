//! One object of the store.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::content::Content;
use super::sink::Received;
use crate::object::{ObjectType, StorageClass};

/// What the writer of an object says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) storage_class: StorageClass,
    /// Headers that come back with the content: its type, its caching, `x-oss-meta-*`. Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            storage_class: StorageClass::Standard,
            headers: Vec::new(),
        }
    }
}

/// One object, never changed: a new content or new attributes make a new one.
#[derive(Debug)]
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
    pub(crate) content: Content,
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
            content_md5: Some(STANDARD.encode(received.md5)),
            kind: ObjectType::Normal,
            modified: now(),
            attributes,
            content: received.content,
            record: None,
        }
    }

    /// The same bytes under another key: ETag, CRC and type stay, the time does not.
    pub(crate) fn copied_to(&self, key: &str, attributes: Attributes, content: Content) -> Self {
        Self {
            key: key.to_owned(),
            etag: self.etag.clone(),
            size: self.size,
            crc64: self.crc64,
            content_md5: self.content_md5.clone(),
            kind: self.kind,
            modified: now(),
            attributes,
            content,
            record: None,
        }
    }
}

/// Now, in whole seconds: OSS knows no finer time, and comparing finer ones would lie.
pub(super) fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}
