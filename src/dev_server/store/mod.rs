//! Buckets and their objects, in memory or on disk.
//!
//! A bucket is an ordered index under one lock that is held for microseconds, or for one small file's writing. Objects
//! are immutable and shared: a reader keeps its version whatever happens to the key, as it does in OSS.

mod content;
mod disk;
mod index;
mod mmap;
mod object;
mod sink;
mod upload;

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
pub(crate) use sink::{Received, Sink};
pub(crate) use upload::{Chosen, PART_NUMBER_MAX, Upload};

use super::BucketConfig;
use super::error::OssError;
use disk::Disk;
use index::Index;
use upload::Part;

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
    pub(crate) fn open(data: Option<&Path>, buckets: &[BucketConfig]) -> io::Result<Self> {
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
    disk: Option<Arc<Disk>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: Index<Arc<Object>>,
    uploads: BTreeMap<String, Upload>,
}

impl Bucket {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves the maps whole: each changes by one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// 404 `NoSuchKey`.
    pub(crate) fn get(&self, key: &str) -> Result<Arc<Object>, OssError> {
        let found = self.state().objects.get(key).cloned();
        found.ok_or_else(|| OssError::no_such_key(key))
    }

    pub(crate) fn object_count(&self) -> usize {
        self.state().objects.len()
    }

    /// A place for a body whose `Content-Length` is `expected`.
    pub(crate) fn sink(&self, expected: Option<u64>) -> Result<Sink, OssError> {
        Sink::new(self.disk.as_ref(), expected).map_err(OssError::internal)
    }

    /// Takes a body that is in memory already.
    pub(crate) fn received(&self, bytes: Bytes) -> Result<Received, OssError> {
        Sink::whole(self.disk.as_ref(), bytes).map_err(OssError::internal)
    }

    /// Makes an object visible, all of it at once.
    ///
    /// # Errors
    /// 409 `FileAlreadyExists` if there is one and it must stay.
    pub(crate) fn commit(
        &self,
        object: Object,
        if_present: IfPresent,
    ) -> Result<Arc<Object>, OssError> {
        self.commit_locked(&mut self.state(), object, if_present)
    }

    fn commit_locked(
        &self,
        state: &mut State,
        mut object: Object,
        if_present: IfPresent,
    ) -> Result<Arc<Object>, OssError> {
        let present = state.objects.get(&object.key);
        // OSS help "PutObject": a versioned bucket ignores the header, since nothing is ever overwritten there.
        if if_present == IfPresent::Refuse && present.is_some() && !self.config.versioned {
            return Err(OssError::new(
                409,
                "FileAlreadyExists",
                "The object you specified already exists and can not be overwritten.",
                "0026-00000007",
            )
            .with("Key", &object.key));
        }
        if let Some(disk) = &self.disk {
            object.record = Some(disk.record(&object).map_err(OssError::internal)?);
            object.content.keep();
        }
        let object = Arc::new(object);
        if let Some(old) = state.objects.insert(&object.key, Arc::clone(&object)) {
            forget(&old);
        }
        Ok(object)
    }

    /// Removes an object, if there is one.
    pub(crate) fn delete(&self, key: &str) {
        let removed = self.state().objects.remove(key);
        if let Some(old) = removed {
            forget(&old);
        }
    }

    /// The content of an object for another one.
    pub(crate) fn content_for_copy(&self, source: &Object) -> Result<Content, OssError> {
        match &self.disk {
            Some(disk) => disk.link(&source.content).map_err(OssError::internal),
            None => Ok(source.content.clone()),
        }
    }

    pub(crate) fn list(&self, ask: Ask<'_>) -> Page<Arc<Object>> {
        self.state().objects.page(ask)
    }

    /// Begins an upload and returns its id.
    pub(crate) fn initiate(&self, upload: Upload) -> String {
        let id = format!("{:032X}", fastrand::u128(..));
        self.state().uploads.insert(id.clone(), upload);
        id
    }

    /// Looks at an upload of `key`.
    ///
    /// # Errors
    /// 404 `NoSuchUpload`.
    pub(crate) fn upload<T>(
        &self,
        key: &str,
        id: &str,
        look: impl FnOnce(&mut Upload) -> T,
    ) -> Result<T, OssError> {
        match self.state().uploads.get_mut(id) {
            Some(upload) if upload.key == key => Ok(look(upload)),
            Some(_) | None => Err(OssError::no_such_upload(id)),
        }
    }

    /// Keeps a part; one of the same number is replaced.
    pub(crate) fn put_part(
        &self,
        key: &str,
        id: &str,
        number: u16,
        received: Received,
    ) -> Result<(), OssError> {
        let replaced = self.upload(key, id, |upload| {
            upload.parts.insert(number, Part::new(received))
        })?;
        drop(replaced);
        Ok(())
    }

    /// Turns an upload into an object. A refused completion leaves the upload as it was.
    pub(crate) fn complete(
        &self,
        key: &str,
        id: &str,
        chosen: &Chosen,
        if_present: IfPresent,
    ) -> Result<Arc<Object>, OssError> {
        let state = &mut *self.state();
        let upload = match state.uploads.get(id) {
            Some(upload) if upload.key == key => upload,
            Some(_) | None => return Err(OssError::no_such_upload(id)),
        };
        let object = upload.assemble(id, chosen)?;
        let if_present = match upload.if_present {
            IfPresent::Refuse => IfPresent::Refuse,
            IfPresent::Replace => if_present,
        };
        let object = self.commit_locked(state, object, if_present)?;
        state.uploads.remove(id);
        Ok(object)
    }

    /// # Errors
    /// 404 `NoSuchUpload`.
    pub(crate) fn abort(&self, key: &str, id: &str) -> Result<(), OssError> {
        self.upload(key, id, |_| ())?;
        let removed = self.state().uploads.remove(id);
        drop(removed);
        Ok(())
    }

    pub(crate) fn upload_count(&self) -> usize {
        self.state().uploads.len()
    }
}

/// Takes an object off the disk; its bytes stay until the last reader is done.
fn forget(old: &Object) {
    if let Some(record) = &old.record {
        // A record that stays behind would come back at the next start; there is nobody to tell but the log.
        if let Err(error) = std::fs::remove_file(record) {
            tracing::warn!(%error, key = old.key, "dev server: a record could not be removed");
        }
    }
    old.content.discard();
}

#[cfg(test)]
mod tests;
