//! Examples of each rule, and properties: the tree against a bucket whose whole history is known, listings against the
//! directory that a reader of all keys would make.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod beside;
mod bucket;
mod changes;
mod counts;
mod directories;
mod examples;
mod local;
mod many;
mod sweep;
mod unsure;

use std::collections::BTreeMap;

use super::{More, Page};
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

/// A bucket of few keys, each with its version.
type FewKeys = BTreeMap<String, u64>;

/// A page of two keys or common prefixes.
fn page(keys: &FewKeys, prefix: &str, after: Option<&str>) -> (Page, More) {
    let mut found: Vec<(String, Option<u64>)> = Vec::new();
    for (key, version) in keys {
        let Some(rest) = key
            .strip_prefix(prefix)
            .filter(|_| after.is_none_or(|after| key.as_str() > after))
        else {
            continue;
        };
        let item = match rest.find('/') {
            Some(slash) => (format!("{prefix}{}", &rest[..=slash]), None),
            None => (key.clone(), Some(*version)),
        };
        if found.last() != Some(&item) {
            found.push(item);
        }
    }
    let more = if found.len() > 2 {
        More::Follows
    } else {
        More::Ends
    };
    let mut page = Page::default();
    for (key, version) in found.into_iter().take(2) {
        match version {
            Some(version) => page.objects.push((key, object(version))),
            None => page.prefixes.push(key),
        }
    }
    (page, more)
}
