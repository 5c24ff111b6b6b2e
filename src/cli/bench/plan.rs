//! Which objects are read.

use std::sync::Arc;

use anyhow::Result;

use crate::object::{ObjectKey, ObjectMeta, ObjectType, Prefix, StorageClass, Version};
use crate::op::Op;
use crate::oss::{Bucket, ListRequest};

/// Pages of the listing that are looked through: what is found in 10,000 keys is enough.
const PAGES_MAX: usize = 10;

/// Bytes of the smallest object that counts as large: two GETs of read-ahead.
const LARGE_BYTES_MIN: u64 = 16 << 20;

/// Large objects together, at least where there are so many: more than is read in the time.
const LARGE_BYTES_SUM: u64 = 1 << 30;

/// Bytes of the largest object that counts as small: what comes whole in one GET.
const SMALL_BYTES_MAX: u64 = 1 << 20;

/// Small objects, at most.
const SMALL_MAX: usize = 4096;

/// Bytes of a read at random.
pub(super) const RANDOM_BYTES: u64 = 4 << 10;

/// Reads at random, at most.
const RANDOM_MAX: usize = 200;

/// What is read.
#[derive(Debug)]
pub(super) struct Plan {
    prefix: Prefix,
    /// The largest first.
    pub(super) large: Vec<Arc<Version>>,
    pub(super) small: Vec<Arc<Version>>,
}

impl Plan {
    /// Where a version is in the mount.
    pub(super) fn path(&self, version: &Version) -> String {
        let key = version.key().as_str();
        key.strip_prefix(self.prefix.as_str())
            .unwrap_or(key)
            .to_owned()
    }

    pub(super) fn paths(&self, versions: &[Arc<Version>]) -> Vec<String> {
        versions.iter().map(|version| self.path(version)).collect()
    }

    fn new(prefix: &Prefix, found: Vec<(String, ObjectMeta)>) -> Self {
        let mut plan = Self {
            prefix: prefix.clone(),
            large: Vec::new(),
            small: Vec::new(),
        };
        for (key, meta) in found {
            let (size, etag) = (meta.size, meta.etag.clone());
            if !is_readable(&meta) || !is_path(key.strip_prefix(prefix.as_str()).unwrap_or("")) {
                continue;
            }
            let Ok(key) = ObjectKey::new(key) else {
                continue;
            };
            match size {
                1..=SMALL_BYTES_MAX if plan.small.len() < SMALL_MAX => {
                    plan.small.push(Version::new(key, etag, size));
                }
                LARGE_BYTES_MIN.. => plan.large.push(Version::new(key, etag, size)),
                _ => {}
            }
        }
        plan.large
            .sort_by_key(|version| std::cmp::Reverse(version.size()));
        let mut bytes = 0;
        plan.large.retain(|version| {
            let is_needed = bytes < LARGE_BYTES_SUM;
            bytes += version.size();
            is_needed
        });
        plan
    }
}

/// True for what a GET brings as it is.
fn is_readable(meta: &ObjectMeta) -> bool {
    let is_plain = match meta.kind {
        ObjectType::Symlink | ObjectType::Other => false,
        ObjectType::Normal | ObjectType::Multipart | ObjectType::Appendable => true,
    };
    is_plain
        && matches!(
            meta.storage_class,
            StorageClass::Standard | StorageClass::InfrequentAccess
        )
}

/// True for a key that is a path in the mount.
fn is_path(key: &str) -> bool {
    key.split('/')
        .all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255)
}

/// Looks for objects below a prefix.
pub(super) async fn choose(bucket: &Bucket, prefix: &Prefix) -> Result<Plan> {
    let op = Op::awaited("bench");
    let mut request = ListRequest {
        delimiter: false,
        ..ListRequest::directory(prefix.as_str())
    };
    let mut found = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = bucket.list(&op, &request).await?;
        found.extend(page.objects);
        request.continuation = page.next;
        if request.continuation.is_none() {
            break;
        }
    }
    Ok(Plan::new(prefix, found))
}

/// Where an object of so many bytes is read at random; the same places for both sides.
pub(super) fn places(size: u64) -> Vec<u64> {
    let mut random = fastrand::Rng::with_seed(size);
    let blocks = (size / RANDOM_BYTES).max(1);
    (0..RANDOM_MAX)
        .map(|_| random.u64(..blocks) * RANDOM_BYTES)
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::object::{ETag, UnixTime};

    #[test]
    fn large_and_small_objects_are_chosen_and_odd_ones_left_out() {
        let object = |key: &str, size: u64, class: StorageClass| {
            let meta = ObjectMeta {
                size,
                etag: ETag::new("e"),
                modified: UnixTime(0),
                kind: ObjectType::Normal,
                storage_class: class,
                crc64: None,
            };
            (key.to_owned(), meta)
        };
        let standard = StorageClass::Standard;
        let plan = Plan::new(
            &Prefix::new("p/").unwrap(),
            vec![
                object("p/", 0, standard),
                object("p/a/small", SMALL_BYTES_MAX, standard),
                object("p/b//odd", 1, standard),
                object("p/cold", 1, StorageClass::Archive),
                object("p/empty", 0, standard),
                object("p/large", LARGE_BYTES_MIN, standard),
                object("p/larger", LARGE_BYTES_SUM, standard),
                object("p/middle", SMALL_BYTES_MAX + 1, standard),
            ],
        );
        assert_eq!(plan.paths(&plan.small), ["a/small"]);
        assert_eq!(plan.paths(&plan.large), ["larger"]);
    }

    #[test]
    fn places_lie_within_the_object() {
        let size = LARGE_BYTES_MIN + 1;
        assert!(places(size).iter().all(|at| at + RANDOM_BYTES <= size));
        assert_eq!(places(size), places(size));
    }
}
