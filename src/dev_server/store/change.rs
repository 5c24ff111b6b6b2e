//! Writes of one bucket: each makes its change visible at once, under the bucket's lock.

use std::ops::Range;
use std::sync::Arc;

use super::content::Content;
use super::versions::{Deleted, Past};
use super::{
    Ask, Attributes, Bucket, Entry, IfPresent, Object, OssError, Received, State, Versioning,
};
use crate::object::ObjectType;

/// Bytes of the longest appendable object (OSS help "AppendObject"): 5 GB.
const APPENDABLE_BYTES_MAX: u64 = 5 << 30;

impl Bucket {
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

    pub(super) fn commit_locked(
        &self,
        state: &mut State,
        mut object: Object,
        if_present: IfPresent,
    ) -> Result<Arc<Object>, OssError> {
        self.may_replace(state, &object.key, if_present)?;
        let versioning = self.config.versioning;
        object.version = versioning.new_version();
        let object = self.recorded(object)?;
        state.history.forget_null(versioning, &object.key);
        if let Some(old) = state.objects.insert(&object.key, Arc::clone(&object)) {
            forget(&old);
            state.history.retire(versioning, old);
        }
        Ok(object)
    }

    /// # Errors
    /// 409 `FileAlreadyExists` if there is an object of this key and it must stay.
    pub(crate) fn may_write(&self, key: &str, if_present: IfPresent) -> Result<(), OssError> {
        self.may_replace(&self.state(), key, if_present)
    }

    fn may_replace(&self, state: &State, key: &str, if_present: IfPresent) -> Result<(), OssError> {
        // OSS help "PutObject": a bucket that keeps versions, or did, ignores the header.
        let refuses =
            if_present == IfPresent::Refuse && self.config.versioning == Versioning::Never;
        if refuses && state.objects.get(key).is_some() {
            return Err(OssError::new(
                409,
                "FileAlreadyExists",
                "The object you specified already exists and can not be overwritten.",
                "0026-00000007",
            )
            .with("Key", key));
        }
        Ok(())
    }

    /// The object with its record on disk, if this bucket has a disk.
    fn recorded(&self, mut object: Object) -> Result<Arc<Object>, OssError> {
        if let Some(disk) = &self.disk {
            object.record = Some(disk.record(&object).map_err(OssError::internal)?);
            object.content.keep();
        }
        Ok(Arc::new(object))
    }

    /// Puts an object in the place of one that shares its bytes: its version stays, and nothing becomes past.
    fn replace_locked(&self, state: &mut State, object: Object) -> Result<Arc<Object>, OssError> {
        let object = self.recorded(object)?;
        if let Some(old) = state.objects.insert(&object.key, Arc::clone(&object)) {
            unrecord(&old);
        }
        Ok(object)
    }

    /// Whether bytes may be appended at this position. Zero bytes at the end of an object are no error.
    ///
    /// # Errors
    /// 409 `ObjectNotAppendable`, `PositionNotEqualToLength` with the right position, or `FileAlreadyExists`; 400
    /// `EntityTooLarge`.
    pub(crate) fn may_append(
        &self,
        key: &str,
        position: u64,
        len: u64,
        if_present: IfPresent,
    ) -> Result<(), OssError> {
        self.may_append_locked(&self.state(), key, position, len, if_present)
    }

    fn may_append_locked(
        &self,
        state: &State,
        key: &str,
        position: u64,
        len: u64,
        if_present: IfPresent,
    ) -> Result<(), OssError> {
        self.may_replace(state, key, if_present)?;
        let size = match state.objects.get(key) {
            None => 0,
            Some(old) if old.kind == ObjectType::Appendable => old.size,
            Some(_) => {
                return Err(OssError::new(
                    409,
                    "ObjectNotAppendable",
                    "The object is not appendable",
                    "0026-00000017",
                )
                .with("Key", key));
            }
        };
        if position != size {
            return Err(OssError::new(
                409,
                "PositionNotEqualToLength",
                "Position is not equal to file length",
                "0026-00000016",
            )
            .with("Key", key)
            .with_header("x-oss-next-append-position", size.to_string()));
        }
        if size + len > APPENDABLE_BYTES_MAX {
            return Err(OssError::new(
                400,
                "EntityTooLarge",
                "The appendable object would exceed the maximum allowed size.",
                "",
            )
            .with("MaxSizeAllowed", APPENDABLE_BYTES_MAX.to_string()));
        }
        Ok(())
    }

    /// Appends, and makes the object if there is none.
    ///
    /// # Errors
    /// As [`Bucket::may_append`]: only one of two appends at one position wins.
    pub(crate) fn append(
        &self,
        key: &str,
        position: u64,
        received: Received,
        attributes: Attributes,
        if_present: IfPresent,
    ) -> Result<Arc<Object>, OssError> {
        let state = &mut *self.state();
        self.may_append_locked(state, key, position, received.size, if_present)?;
        match state.objects.get(key).cloned() {
            None => {
                let object = Object::appendable(key, received, attributes);
                self.commit_locked(state, object, if_present)
            }
            Some(old) if received.size == 0 => Ok(old),
            Some(old) => self.replace_locked(state, old.appended(received)),
        }
    }

    /// Replaces the tags of an object; nothing else of it changes.
    ///
    /// # Errors
    /// 404 `NoSuchKey`.
    pub(crate) fn set_tags(
        &self,
        key: &str,
        tags: Vec<(String, String)>,
    ) -> Result<Arc<Object>, OssError> {
        let state = &mut *self.state();
        let old = state.objects.get(key);
        let mut object = Object::clone(old.ok_or_else(|| OssError::no_such_key(key))?);
        object.attributes.tags = tags;
        object.record = None;
        self.replace_locked(state, object)
    }

    /// Removes an object, or makes a delete marker; with a version, removes that for good. What is not there is no
    /// error.
    ///
    /// # Errors
    /// 500 if the disk fails.
    pub(crate) fn delete(&self, key: &str, version: Option<&str>) -> Result<Deleted, OssError> {
        let state = &mut *self.state();
        if let Some(version) = version {
            return self.delete_version(state, key, version);
        }
        let versioning = self.config.versioning;
        if let Some(old) = state.objects.remove(key) {
            forget(&old);
            state.history.retire(versioning, old);
        }
        state.history.forget_null(versioning, key);
        let marker = versioning.new_version();
        if let Some(version) = &marker {
            state.history.mark(version.clone(), key);
        }
        Ok(Deleted {
            marker: marker.is_some(),
            version: marker,
        })
    }

    fn delete_version(
        &self,
        state: &mut State,
        key: &str,
        version: &str,
    ) -> Result<Deleted, OssError> {
        let mut deleted = Deleted {
            marker: false,
            version: Some(version.to_owned()),
        };
        match state.objects.get(key) {
            Some(current) if current.version() == version => {
                if let Some(old) = state.objects.remove(key) {
                    forget(&old);
                }
            }
            Some(_) | None => {
                let removed = state.history.remove(key, version);
                deleted.marker = matches!(removed, Some(Past::Marker(_)));
            }
        }
        // The newest that is left is current again, unless it is a marker.
        if state.objects.get(key).is_none()
            && let Some(Past::Object(object)) = state.history.latest(key)
        {
            let object = self.recorded(Object::clone(object))?;
            drop(state.history.remove(key, object.version()));
            state.objects.insert(key, object);
        }
        Ok(deleted)
    }

    /// Moves an object, or a directory with all that is in it, as only a hierarchical bucket can: all at once, and bytes,
    /// version and time stay.
    ///
    /// # Errors
    /// 404 `NoSuchKey` without a source or the target's parent, 409 `FileAlreadyExists` with a target.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), OssError> {
        let (from, to) = (from.trim_end_matches('/'), to.trim_end_matches('/'));
        let state = &mut *self.state();
        let inside = format!("{from}/");
        let mut keys = keys_locked(state, &inside);
        if state.objects.get(from).is_some() {
            keys.push(from.to_owned());
        }
        if keys.is_empty() {
            return Err(OssError::no_such_key(from));
        }
        if state.objects.get(to).is_some() || !keys_locked(state, &format!("{to}/")).is_empty() {
            return Err(OssError::new(
                409,
                "FileAlreadyExists",
                "The object you specified already exists and can not be overwritten.",
                "",
            )
            .with("Key", to));
        }
        if let Some((parent, _)) = to.rsplit_once('/')
            && keys_locked(state, &format!("{parent}/")).is_empty()
        {
            return Err(OssError::no_such_key(parent));
        }
        for key in keys {
            let Some(old) = state.objects.remove(&key) else {
                continue;
            };
            let key = format!("{to}{}", &key[from.len()..]);
            let object = self.recorded(Object {
                key: key.clone(),
                record: None,
                ..Object::clone(&old)
            })?;
            unrecord(&old);
            state.objects.insert(&key, object);
        }
        Ok(())
    }

    /// All keys that begin with a prefix, in their order.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        keys_locked(&self.state(), prefix)
    }

    /// A part of an object as a content of its own, with its checksums still to be taken.
    ///
    /// # Errors
    /// 500 if the disk fails.
    pub(crate) fn range_for_copy(
        &self,
        source: &Object,
        range: Range<u64>,
    ) -> Result<Content, OssError> {
        let cut = source.content.cut(range).map_err(OssError::internal)?;
        self.content_for_copy(&cut)
    }
}

fn keys_locked(state: &State, prefix: &str) -> Vec<String> {
    let page = state.objects.page(Ask {
        prefix,
        delimiter: "",
        after: "",
        entries_max: usize::MAX,
    });
    let key = |entry: Entry<Arc<Object>>| match entry {
        Entry::Object(object) => Some(object.key.clone()),
        Entry::CommonPrefix(_) => None,
    };
    page.entries.into_iter().filter_map(key).collect()
}

/// Takes an object off the disk; its bytes stay until the last reader is done.
fn forget(old: &Object) {
    unrecord(old);
    old.content.discard();
}

fn unrecord(old: &Object) {
    if let Some(record) = &old.record {
        // A record that stays behind would come back at the next start; there is nobody to tell but the log.
        if let Err(error) = std::fs::remove_file(record) {
            tracing::warn!(%error, key = old.key, "dev server: a record could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use bytes::Bytes;

    use super::super::object::NULL_VERSION;
    use super::super::{ETags, Store};
    use super::*;
    use crate::dev_server::BucketConfig;

    fn store(versioning: Versioning) -> Store {
        let mut config = BucketConfig::new("b");
        config.versioning = versioning;
        Store::open(None, &[config], ETags::Md5).unwrap()
    }

    fn put(bucket: &Bucket, text: &'static str) -> String {
        let received = bucket.received(Bytes::from(text)).unwrap();
        let object = Object::normal("k", received, Attributes::default());
        let object = bucket.commit(object, IfPresent::Replace).unwrap();
        object.version().to_owned()
    }

    fn text(bucket: &Bucket) -> Result<String, &'static str> {
        let object = bucket.get("k").map_err(|error| error.code)?;
        let bytes = object.content.slice(0..object.size).unwrap().concat();
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_marker_hides_and_its_removal_brings_back() {
        let store = store(Versioning::Enabled);
        let bucket = store.bucket("b").unwrap();
        let first = put(bucket, "one");
        let second = put(bucket, "two");
        let marker = bucket.delete("k", None).unwrap();
        assert!(marker.marker);
        let refused = bucket.get("k").unwrap_err();
        assert!(
            refused
                .headers
                .contains(&("x-oss-delete-marker", "true".to_owned()))
        );
        assert_eq!(bucket.get_version("k", &second).unwrap().size, 3);
        let marker = marker.version.unwrap();
        let refused = bucket.get_version("k", &marker).unwrap_err();
        assert_eq!(refused.code, "MethodNotAllowed");
        let gone = bucket.delete("k", Some(&marker)).unwrap();
        assert_eq!((gone.marker, gone.version), (true, Some(marker)));
        assert_eq!(text(bucket), Ok("two".to_owned()));
        bucket.delete("k", Some(&second)).unwrap();
        assert_eq!(text(bucket), Ok("one".to_owned()));
        bucket.delete("k", Some(&first)).unwrap();
        assert_eq!(text(bucket), Err("NoSuchKey"));
        assert_eq!(
            bucket.get_version("k", &first).unwrap_err().code,
            "NoSuchVersion"
        );
    }

    #[test]
    fn a_suspended_bucket_has_one_null_version() {
        let store = store(Versioning::Suspended);
        let bucket = store.bucket("b").unwrap();
        assert_eq!(put(bucket, "one"), "null");
        assert_eq!(put(bucket, "two"), "null");
        let deleted = bucket.delete("k", None).unwrap();
        assert_eq!(deleted.version.as_deref(), Some("null"));
        assert_eq!(
            bucket.get_version("k", "null").unwrap_err().code,
            "MethodNotAllowed"
        );
        assert_eq!(put(bucket, "three"), "null");
        assert_eq!(text(bucket), Ok("three".to_owned()));
        bucket.delete("k", Some("null")).unwrap();
        assert_eq!(text(bucket), Err("NoSuchKey"));
    }

    #[test]
    fn a_bucket_without_versions_keeps_nothing() {
        let store = store(Versioning::Never);
        let bucket = store.bucket("b").unwrap();
        put(bucket, "one");
        put(bucket, "two");
        assert_eq!(bucket.delete("k", None).unwrap(), Deleted::default());
        assert!(bucket.state().history.latest("k").is_none());
        assert!(!bucket.delete("k", Some(NULL_VERSION)).unwrap().marker);
    }
}
