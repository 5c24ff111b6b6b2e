//! Examples of each rule, and properties: the tree against a bucket whose whole history is known, listings against the
//! directory that a reader of all keys would make.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bucket;
mod counts;
mod directories;
mod examples;
mod sweep;

use crate::object::{ETag, ObjectMeta, ObjectType, StorageClass, UnixTime};

/// An object whose content is number `version`.
fn object(version: u64) -> ObjectMeta {
    ObjectMeta {
        size: version,
        etag: ETag::new(&format!("{version:032X}")),
        modified: UnixTime(0),
        kind: ObjectType::Normal,
        storage_class: StorageClass::Standard,
        crc64: None,
    }
}
