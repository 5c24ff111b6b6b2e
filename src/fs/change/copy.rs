//! How an object gets another key: OSS copies it, and everything that its writer said of it.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::fs::{Error, FileSystem};
use crate::object::{ObjectKey, ObjectMeta, ObjectType, Source, Version};
use crate::op::Op;
use crate::oss::{
    self, Bucket, Condition, CopyProperties, CopySource, Description, Kind, Part, Stored, Upload,
};
use crate::write;

/// An object of more bytes is copied in parts: the oldest page of OSS ("CopyObject") takes 1 GB at once.
const WHOLE_BYTES_MAX: u64 = 1 << 30;

/// Bytes of a part that is copied, while 10,000 of them are enough: no request takes long, and several run side by side.
const PART_BYTES: u64 = 256 << 20;

/// Parts, of which the last number is that of the mark; and the most of them that are copied at the same time.
const PARTS_MAX: u64 = 9_999;
const PARTS_AT_ONCE: usize = 8;

/// A copy that was made.
#[derive(Debug)]
pub(in crate::fs) struct Copied {
    /// The version that was copied.
    pub(in crate::fs) source: ObjectMeta,
    /// What the new key has now.
    pub(in crate::fs) made: ObjectMeta,
}

impl Copied {
    /// What undoes it for those who have the file open.
    pub(super) fn back(&self) -> Self {
        Self {
            source: self.made.clone(),
            made: self.source.clone(),
        }
    }
}

impl FileSystem {
    /// Copies what is at `from` to `to`, with type, metadata, class, encryption and tags; of a link the link. `from` stays. The version that is
    /// found at the beginning is the one that is copied, or none.
    pub(super) async fn copy(
        &self,
        op: &Op,
        from: &ObjectKey,
        to: &ObjectKey,
        condition: Condition,
    ) -> Result<Copied, oss::Error> {
        let found = self.bucket.describe_with_tags(op, from).await?;
        let size = found.meta.size;
        let whole = match size <= WHOLE_BYTES_MAX {
            true => Some(copy_whole(&self.bucket, op, from, to, &found, condition).await),
            false => None,
        };
        let (stored, kind) = match whole {
            Some(Ok(stored)) => (stored, ObjectType::Normal),
            Some(Err(error)) if !is_too_large(&error) || size == 0 => return Err(error),
            Some(Err(_)) | None => {
                let stored = self.copy_in_parts(op, from, to, &found, condition).await?;
                (stored, ObjectType::Multipart)
            }
        };
        let made = ObjectMeta {
            etag: stored.etag,
            crc64: stored.crc64.or(found.meta.crc64),
            kind,
            ..found.meta.clone()
        };
        Ok(Copied {
            source: found.meta,
            made,
        })
    }

    /// Makes the same link at another key.
    pub(super) async fn copy_link(
        &self,
        op: &Op,
        from: &ObjectKey,
        to: &ObjectKey,
        condition: Condition,
    ) -> Result<(), Error> {
        let link = self.bucket.get_symlink(op, from).await;
        let link = link.map_err(|error| self.noted(error))?;
        let target = ObjectKey::new(link.target)?;
        let put = self
            .bucket
            .put_symlink(op, to, &target, &link.properties, condition);
        put.await.map_err(|error| self.noted(error))?;
        Ok(())
    }

    async fn copy_in_parts(
        &self,
        op: &Op,
        from: &ObjectKey,
        to: &ObjectKey,
        found: &Description,
        condition: Condition,
    ) -> Result<Stored, oss::Error> {
        let upload = self
            .bucket
            .initiate(op, to, &found.properties, condition)
            .await?;
        let version = Version::new(from.clone(), found.meta.etag.clone(), found.meta.size);
        // It only tells `rolefs cleanup` whose it is, should this process die; what is wrong with the upload the parts will say.
        let _ = write::mark(&self.bucket, op, &upload).await;
        let completed = match self.copy_parts(op, &upload, &version).await {
            Ok(parts) => {
                let crc64 = found.meta.crc64;
                let completing = self.bucket.complete(op, &upload, &parts, condition, crc64);
                completing.await
            }
            Err(error) => Err(error),
        };
        if completed.is_err() {
            // What it fails with is told; an upload that stays is found by its mark.
            let _ = self.bucket.abort(op, &upload).await;
        }
        completed
    }

    async fn copy_parts(
        &self,
        op: &Op,
        upload: &Upload,
        version: &Arc<Version>,
    ) -> Result<Vec<Part>, oss::Error> {
        let size = version.size();
        let part_bytes = PART_BYTES.max(size.div_ceil(PARTS_MAX));
        let mut left = (1u16..).zip((0..size).step_by(usize::try_from(part_bytes).unwrap_or(1)));
        let mut copying = JoinSet::new();
        let mut parts = Vec::new();
        loop {
            while copying.len() < PARTS_AT_ONCE
                && let Some((number, begin)) = left.next()
            {
                let (bucket, upload) = (Arc::clone(&self.bucket), upload.clone());
                let range = begin..size.min(begin + part_bytes);
                let source = Source {
                    version: Arc::clone(version),
                    range,
                };
                let part = async move {
                    let op = Op::awaited("copy");
                    let copied = bucket.upload_part_copy(&op, &upload, number, &source, None);
                    copied.await
                };
                copying.spawn_on(part, &self.runtime);
            }
            let Some(copied) = copying.join_next().await else {
                break;
            };
            op.progressed();
            match copied {
                Ok(part) => parts.push(part?),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        parts.sort_by_key(|part| part.number);
        Ok(parts)
    }
}

async fn copy_whole(
    bucket: &Bucket,
    op: &Op,
    from: &ObjectKey,
    to: &ObjectKey,
    found: &Description,
    condition: Condition,
) -> Result<Stored, oss::Error> {
    let source = CopySource {
        key: from,
        if_match: Some(&found.meta.etag),
        size: Some(found.meta.size),
        crc64: found.meta.crc64,
    };
    let kept = CopyProperties::Keep(&found.properties);
    bucket.copy_object(op, source, to, kept, condition).await
}

fn is_too_large(error: &oss::Error) -> bool {
    matches!(error.kind(), Kind::TooLarge | Kind::Invalid)
}
