//! Content that this mount writes.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::{Error, FileSystem};
use crate::object::{ObjectKey, ObjectMeta, ObjectType, Prefix, StorageClass, UnixTime};
use crate::op::Op;
use crate::oss::{Body, Condition, Properties};
use crate::tree::Ino;

/// Where the content of a file is that is about to get another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BeforeRename {
    /// Nowhere but here: the name is all that changes.
    Local,
    /// In the bucket.
    Stored,
}

impl FileSystem {
    pub(super) async fn before_rename(
        &self,
        _op: &Op,
        _ino: Ino,
        _to: &ObjectKey,
    ) -> Result<BeforeRename, Error> {
        Ok(BeforeRename::Stored)
    }

    pub(super) async fn before_unlink(&self, _op: &Op, _ino: Ino) -> Result<Option<()>, Error> {
        Ok(None)
    }

    pub(super) async fn before_rename_below(
        &self,
        _op: &Op,
        _ino: Ino,
        _prefix: &Prefix,
    ) -> Result<Option<()>, Error> {
        Ok(None)
    }

    pub(super) fn orphaned(&self, _ino: Ino) {}

    pub(super) fn renamed_below(&self, _ino: Ino) {}

    /// Stores an empty file under a name that nothing has.
    pub(super) async fn store_empty(
        self: &Arc<Self>,
        op: &Op,
        parent: Ino,
        name: &str,
    ) -> Result<Ino, Error> {
        let key = self.tree().key_of(parent, name)?;
        let (nothing, said) = (Body::new([]), Properties::default());
        let put = self
            .bucket
            .put_object(op, &key, &nothing, &said, Condition::None);
        let stored = put.await.map_err(|error| self.noted(error))?;
        let now = SystemTime::now();
        let seconds = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let meta = ObjectMeta {
            size: 0,
            etag: stored.etag,
            modified: UnixTime(i64::try_from(seconds).unwrap_or(i64::MAX)),
            kind: ObjectType::Normal,
            storage_class: StorageClass::Standard,
            crc64: stored.crc64,
        };
        let done = Instant::now();
        let mut tree = self.tree();
        let ino = tree.create(parent, name, now, done)?;
        tree.committed(ino, &meta, done)?;
        Ok(ino)
    }
}
