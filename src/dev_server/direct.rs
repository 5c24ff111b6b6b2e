//! The store past HTTP, faults and counters: for those who run the server in their own process.

use bytes::Bytes;

use super::store::{Attributes, Bucket, IfPresent, Object};
use super::{DevServer, Error};
use crate::object::{ObjectType, StorageClass};

/// What the server keeps of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Without quotes.
    pub etag: String,
    /// Bytes of the content; of a link, of its target's key.
    pub size: u64,
    /// CRC-64/XZ of the content.
    pub crc64: u64,
    /// How it was written.
    pub kind: ObjectType,
    /// Where it is said to be kept.
    pub storage_class: StorageClass,
    /// Content type, caching, `x-oss-meta-*`: names in lower case.
    pub headers: Vec<(String, String)>,
    /// Headers of server-side encryption.
    pub encryption: Vec<(String, String)>,
    /// Tags, in the order they were given.
    pub tags: Vec<(String, String)>,
    /// The version, in a bucket that keeps versions or did.
    pub version: Option<String>,
    /// The key that a link points to.
    pub target: Option<String>,
}

/// A multipart upload that is neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// What it would become.
    pub key: String,
    /// `UploadId`.
    pub id: String,
    /// Numbers of the parts that are up, ascending.
    pub parts: Vec<u16>,
}

impl Stored {
    /// A header that was given with the object.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(given, _)| given == name)?;
        Some(value)
    }
}

impl DevServer {
    fn bucket(&self, name: &str) -> Result<&Bucket, Error> {
        Ok(self.server.service.store.bucket(name)?)
    }

    /// Stores an object, and returns its ETag without quotes.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown bucket or a disk that fails.
    pub fn put(&self, bucket: &str, key: &str, bytes: impl Into<Bytes>) -> Result<String, Error> {
        self.put_with(bucket, key, bytes, &[])
    }

    /// The same with headers that come back with the object, such as its type and `x-oss-meta-*`; names in lower case.
    ///
    /// # Errors
    /// As [`DevServer::put`].
    pub fn put_with(
        &self,
        bucket: &str,
        key: &str,
        bytes: impl Into<Bytes>,
        headers: &[(&str, &str)],
    ) -> Result<String, Error> {
        let bucket = self.bucket(bucket)?;
        let received = bucket.received(bytes.into())?;
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let attributes = Attributes {
            headers: headers.iter().map(pair).collect(),
            ..Attributes::default()
        };
        let object = Object::normal(key, received, attributes);
        Ok(bucket.commit(object, IfPresent::Replace)?.etag.clone())
    }

    /// Makes a symbolic link, whether or not there is a target.
    ///
    /// # Errors
    /// As [`DevServer::put`].
    pub fn put_symlink(&self, bucket: &str, key: &str, target: &str) -> Result<(), Error> {
        let bucket = self.bucket(bucket)?;
        let received = bucket.received(Bytes::copy_from_slice(target.as_bytes()))?;
        let object = Object::symlink(key, received, Attributes::default());
        bucket.commit(object, IfPresent::Replace)?;
        Ok(())
    }

    /// Appends to an object, which is made if there is none, and returns its length.
    ///
    /// # Errors
    /// [`Error::Refused`] also for an object that is not appendable.
    pub fn append(&self, bucket: &str, key: &str, bytes: impl Into<Bytes>) -> Result<u64, Error> {
        let bucket = self.bucket(bucket)?;
        let received = bucket.received(bytes.into())?;
        let position = bucket.get(key).map_or(0, |object| object.size);
        let attributes = Attributes::default();
        let object = bucket.append(key, position, received, attributes, IfPresent::Replace)?;
        Ok(object.size)
    }

    /// The whole content of an object, `None` if there is no such object. Of a link, the key of its target.
    #[must_use]
    pub fn get(&self, bucket: &str, key: &str) -> Option<Bytes> {
        let object = self.bucket(bucket).ok()?.get(key).ok()?;
        let mut pieces = object.content.slice(0..object.size).ok()?;
        match pieces.len() {
            1 => pieces.pop(),
            _ => Some(Bytes::from(pieces.concat())),
        }
    }

    /// The ETag of an object, without quotes, `None` if there is no such object.
    #[must_use]
    pub fn etag(&self, bucket: &str, key: &str) -> Option<String> {
        let object = self.bucket(bucket).ok()?.get(key).ok()?;
        Some(object.etag.clone())
    }

    /// What is kept of an object beside its content, `None` if there is no such object.
    #[must_use]
    pub fn stored(&self, bucket: &str, key: &str) -> Option<Stored> {
        let object = self.bucket(bucket).ok()?.get(key).ok()?;
        let attributes = &object.attributes;
        Some(Stored {
            etag: object.etag.clone(),
            size: object.size,
            crc64: object.crc64,
            kind: object.kind,
            storage_class: attributes.storage_class,
            headers: attributes.headers.clone(),
            encryption: attributes.encryption.clone(),
            tags: attributes.tags.clone(),
            version: object.has_version().then(|| object.version().to_owned()),
            target: match object.kind {
                ObjectType::Symlink => object.target().ok(),
                ObjectType::Normal
                | ObjectType::Multipart
                | ObjectType::Appendable
                | ObjectType::Other => None,
            },
        })
    }

    /// The keys that begin with a prefix, in their order; none of an unknown bucket.
    #[must_use]
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        self.bucket(bucket)
            .map(|bucket| bucket.keys(prefix))
            .unwrap_or_default()
    }

    /// Removes an object, if there is one; in a bucket that keeps versions, makes a delete marker.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown bucket.
    pub fn delete(&self, bucket: &str, key: &str) -> Result<(), Error> {
        self.bucket(bucket)?.delete(key, None)?;
        Ok(())
    }

    /// How many objects a bucket has, 0 for an unknown bucket.
    #[must_use]
    pub fn object_count(&self, bucket: &str) -> usize {
        self.bucket(bucket).map_or(0, Bucket::object_count)
    }

    /// How many multipart uploads of a bucket are neither completed nor aborted, 0 for an unknown bucket.
    #[must_use]
    pub fn upload_count(&self, bucket: &str) -> usize {
        self.bucket(bucket).map_or(0, Bucket::upload_count)
    }

    /// The multipart uploads of a bucket that are neither completed nor aborted, in no order; none of an unknown bucket.
    #[must_use]
    pub fn unfinished_uploads(&self, bucket: &str) -> Vec<Unfinished> {
        let uploads = self.bucket(bucket).map(Bucket::unfinished);
        let told = |(key, id, parts)| Unfinished { key, id, parts };
        uploads.unwrap_or_default().into_iter().map(told).collect()
    }
}
