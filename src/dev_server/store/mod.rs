//! Buckets and their objects, in memory or on disk.
//!
//! A bucket is an ordered index under one lock that is held for microseconds, or for one small file's writing. Objects
//! are immutable and shared: a reader keeps its version whatever happens to the key, as it does in OSS. A copy, of an object
//! or of a part of one, shares the bytes of its source; on disk by a hard link.

mod change;
mod content;
mod disk;
mod index;
mod mmap;
mod object;
mod sink;
mod upload;
mod uploads;
mod versions;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;

pub(crate) use content::Content;
pub(crate) use index::{Ask, Entry, Page};
pub(crate) use object::{Attributes, Object};
pub use sink::ETags;
pub(crate) use sink::{Checksums, Expected, Received, Sink};
pub(crate) use upload::{Chosen, PART_BYTES_MAX, PART_NUMBER_MAX, Upload};
pub(crate) use uploads::{AskUploads, UploadEntry};
pub use versions::Versioning;
pub(crate) use versions::{Deleted, Past};

use super::BucketConfig;
use super::error::OssError;
use disk::Disk;
use index::Index;
use versions::History;

/// What a write does to an object that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfPresent {
    Replace,
    /// `x-oss-forbid-overwrite: true`.
    Refuse,
}

/// All buckets. Their set is fixed at start.
#[derive(Debug)]
pub(crate) struct Store(BTreeMap<String, Bucket>);

impl Store {
    /// Opens the buckets, under `data` or in memory.
    pub(crate) fn open(
        data: Option<&Path>,
        buckets: &[BucketConfig],
        etags: ETags,
    ) -> io::Result<Self> {
        let mappings = Arc::new(AtomicUsize::new(0));
        let mut opened = BTreeMap::new();
        for config in buckets {
            let mut state = State::default();
            let disk = match data {
                Some(data) => {
                    let (disk, objects) =
                        Disk::open(&data.join(&config.name), Arc::clone(&mappings))?;
                    for object in objects {
                        state.objects.insert(&object.key.clone(), Arc::new(object));
                    }
                    Some(disk)
                }
                None => None,
            };
            let bucket = Bucket {
                config: config.clone(),
                created: object::now(),
                etags,
                disk,
                state: Mutex::new(state),
            };
            opened.insert(config.name.clone(), bucket);
        }
        Ok(Self(opened))
    }

    /// # Errors
    /// 404 `NoSuchBucket`.
    pub(crate) fn bucket(&self, name: &str) -> Result<&Bucket, OssError> {
        self.0
            .get(name)
            .ok_or_else(|| OssError::no_such_bucket(name))
    }

    /// In the order of their names.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.0.values()
    }
}

/// One bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) config: BucketConfig,
    pub(crate) created: Timestamp,
    etags: ETags,
    disk: Option<Arc<Disk>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The current object of each key.
    objects: Index<Arc<Object>>,
    history: History,
    uploads: BTreeMap<String, Upload>,
}

impl Bucket {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves the maps whole: each changes by one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// 404 `NoSuchKey`, which tells of a delete marker in its headers.
    pub(crate) fn get(&self, key: &str) -> Result<Arc<Object>, OssError> {
        let state = self.state();
        if let Some(object) = state.objects.get(key) {
            return Ok(Arc::clone(object));
        }
        let error = OssError::no_such_key(key);
        match state.history.latest(key) {
            Some(Past::Marker(version)) => Err(marked(error, version)),
            Some(Past::Object(_)) | None => Err(error),
        }
    }

    /// One version of a key.
    ///
    /// # Errors
    /// 404 `NoSuchVersion`, 405 `MethodNotAllowed` if it is a delete marker.
    pub(crate) fn get_version(&self, key: &str, version: &str) -> Result<Arc<Object>, OssError> {
        let state = self.state();
        if let Some(object) = state.objects.get(key)
            && object.version() == version
        {
            return Ok(Arc::clone(object));
        }
        match state.history.find(key, version) {
            Some(Past::Object(object)) => Ok(Arc::clone(object)),
            Some(Past::Marker(version)) => {
                let error = OssError::new(
                    405,
                    "MethodNotAllowed",
                    "The specified method is not allowed against this resource.",
                    "",
                );
                Err(marked(error.with("ResourceType", "DeleteMarker"), version))
            }
            None => Err(OssError::new(
                404,
                "NoSuchVersion",
                "The specified version does not exist.",
                "",
            )
            .with("Key", key)
            .with("VersionId", version)),
        }
    }

    pub(crate) fn object_count(&self) -> usize {
        self.state().objects.len()
    }

    /// A place for a body.
    pub(crate) fn sink(&self, expected: Expected) -> Result<Sink, OssError> {
        Sink::new(self.disk.as_ref(), self.etags, expected).map_err(OssError::internal)
    }

    /// Takes a body that is in memory already.
    pub(crate) fn received(&self, bytes: Bytes) -> Result<Received, OssError> {
        Sink::whole(self.disk.as_ref(), self.etags, bytes).map_err(OssError::internal)
    }

    /// The checksums of bytes that are in the store already.
    pub(crate) fn checksums(&self) -> Checksums {
        Checksums::of_copy(self.etags)
    }

    /// A content for another object, which shares its bytes.
    pub(crate) fn content_for_copy(&self, content: &Content) -> Result<Content, OssError> {
        match &self.disk {
            Some(disk) => disk.link(content).map_err(OssError::internal),
            None => Ok(content.clone()),
        }
    }

    pub(crate) fn list(&self, ask: Ask<'_>) -> Page<Arc<Object>> {
        self.state().objects.page(ask)
    }
}

/// A refusal that meets a delete marker says so.
fn marked(error: OssError, version: &str) -> OssError {
    error
        .with_header("x-oss-delete-marker", "true")
        .with_header("x-oss-version-id", version)
}

#[cfg(test)]
mod tests;
