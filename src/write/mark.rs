//! The mark of our uploads, by which those of a crashed mount are known from everybody else's.
//!
//! A listing of uploads tells key, id and time, and nothing that an upload was begun with; and the disk of a job that has crashed is
//! mostly gone with it. So the mark is in the bucket: **part number 10,000 of each upload, whose content is derived from the upload's id**. Listing
//! the parts shows its size and checksums, so whoever lists can tell that we began the upload, and nobody else has such a part by chance. A
//! completion names the parts that it takes, so the mark is never in an object. It costs one request for each file that is
//! large enough to be sent in parts, beside the first of them.
//!
//! What it does not tell is whether the mount still lives: whoever gives uploads up takes only those that were begun long ago.

use crc_fast::CrcAlgorithm::Crc64Xz;
use md5::{Digest, Md5};

use super::limits::PARTS_MAX;
use crate::object::ETag;
use crate::op::Op;
use crate::oss::{Body, Bucket, Error, Upload};

/// What the mark of an upload consists of.
fn content(upload: &Upload) -> String {
    format!("rolefs began this upload\n{}\n", upload.id)
}

/// Marks an upload as ours.
///
/// # Errors
/// Those of an upload of a part. Nothing depends on the mark but the cleaning after a crash.
pub async fn mark(bucket: &Bucket, op: &Op, upload: &Upload) -> Result<(), Error> {
    let body = Body::from(bytes::Bytes::from(content(upload)));
    bucket.upload_part(op, upload, PARTS_MAX, &body).await?;
    Ok(())
}

/// True if a mount of this program began the upload, and has not come as far as to use the mark's number for bytes of a file.
///
/// # Errors
/// Those of ListParts; [`crate::oss::Kind::NoSuchUpload`] if it is over.
pub async fn is_ours(bucket: &Bucket, op: &Op, upload: &Upload) -> Result<bool, Error> {
    let page = bucket.list_parts(op, upload, PARTS_MAX - 1).await?;
    let content = content(upload);
    let etag = ETag::new(&hex::encode_upper(Md5::digest(&content)));
    let crc64 = crc_fast::checksum(Crc64Xz, content.as_bytes());
    Ok(page.parts.iter().any(|part| {
        let is_size = part.number == PARTS_MAX && part.size == content.len() as u64;
        // With keys of KMS an ETag is no MD5.
        is_size && part.crc64.map_or(part.etag == etag, |told| told == crc64)
    }))
}

/// How many parts of an upload are up, and their bytes; the mark is not counted.
///
/// # Errors
/// As [`is_ours`].
pub async fn sent(bucket: &Bucket, op: &Op, upload: &Upload) -> Result<(usize, u64), Error> {
    let (mut parts, mut bytes) = (0, 0);
    let mut after = Some(0);
    while let Some(number) = after {
        let page = bucket.list_parts(op, upload, number).await?;
        for part in page.parts.iter().filter(|part| part.number < PARTS_MAX) {
            parts += 1;
            bytes += part.size;
        }
        after = page.next;
    }
    Ok((parts, bytes))
}
