//! The words of object storage: keys, prefixes, ETags, versions and what a bucket says of an object.
//!
//! Plain data, no I/O. Everything above speaks of objects in these types, never in bare strings: a key cannot be
//! passed where a prefix is meant, and an ETag compares without its quotes.

mod key;
mod meta;
mod version;

pub use key::{KEY_BYTES_MAX, KeyError, ObjectKey, Prefix};
pub use meta::{ObjectMeta, ObjectType, StorageClass, UnixTime};
pub use version::{ETag, Source, Version};
