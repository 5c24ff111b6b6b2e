//! CopyObject and UploadPartCopy.

use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use super::object::readable;
use super::range::{Behavior, Served, served};
use super::{Call, attributes, conditions, multipart};
use crate::dev_server::answer::{self, Answer, iso_date, quoted};
use crate::dev_server::error::OssError;
use crate::dev_server::store::{Attributes, Object};
use crate::dev_server::xml::Xml;

/// The largest object that is copied into another bucket at once (OSS help "CopyObject"): 5 GB.
const OTHER_BUCKET_BYTES_MAX: u64 = 5 << 30;

/// The largest object whose class changes by a copy (the same page): 1 GB.
const OTHER_CLASS_BYTES_MAX: u64 = 1 << 30;

/// What is copied between two looks at other work.
const CHUNK_BYTES: usize = 1 << 20;

/// Copies an object of this server into the bucket of the request.
pub(super) fn copy(call: Call<'_>) -> Result<Answer, OssError> {
    conditions::refuse(call.request)?;
    let (bucket, source) = source(call)?;
    let given = attributes::read(call.request)?;
    let other_bucket = bucket != call.bucket.config.name;
    let onto_itself = !other_bucket && source.key == call.key;
    let replaces = match call.request.header("x-oss-metadata-directive") {
        None => onto_itself,
        Some(word) if word.eq_ignore_ascii_case("COPY") => onto_itself,
        Some(word) if word.eq_ignore_ascii_case("REPLACE") => true,
        Some(other) => {
            return Err(OssError::invalid_argument(
                "x-oss-metadata-directive",
                other,
                "The metadata directive is neither COPY nor REPLACE.",
            ));
        }
    };
    let other_class = given.storage_class != source.attributes.storage_class;
    if (other_bucket && source.size > OTHER_BUCKET_BYTES_MAX)
        || (other_class && source.size > OTHER_CLASS_BYTES_MAX)
    {
        return Err(OssError::new(
            400,
            "EntityTooLarge",
            "The object is too large to be copied by CopyObject.",
            "0016-00000502",
        ));
    }
    let attributes = match replaces {
        true => given,
        false => Attributes {
            storage_class: given.storage_class,
            headers: source.attributes.headers.clone(),
        },
    };
    let content = call.bucket.content_for_copy(&source)?;
    let object = source.copied_to(call.key, attributes, content);
    let object = call
        .bucket
        .commit(object, attributes::if_present(call.request))?;
    let etag = quoted(&object.etag);
    Ok(answered(
        "CopyObjectResult",
        object.modified,
        &etag,
        object.crc64,
    ))
}

/// Copies a range of an object, or all of it, into a part.
pub(super) async fn copy_part(call: Call<'_>) -> Result<Answer, OssError> {
    let id = multipart::upload_id(call);
    let number = multipart::part_number(call)?;
    call.bucket.upload(call.key, id, |_| ())?;
    let (_, source) = source(call)?;
    let header = call.request.header("x-oss-copy-source-range");
    let range = match header {
        Some(header) => part_range(header, source.size)?,
        None => 0..source.size,
    };
    let pieces = source
        .content
        .slice(range.clone())
        .map_err(OssError::internal)?;
    let mut sink = call.bucket.sink(Some(range.end - range.start))?;
    for chunk in pieces.iter().flat_map(|piece| piece.chunks(CHUNK_BYTES)) {
        sink.write(chunk).map_err(OssError::internal)?;
        tokio::task::yield_now().await;
    }
    let received = sink.finish();
    let etag = quoted(&received.etag());
    let crc = received.crc;
    call.bucket.put_part(call.key, id, number, received)?;
    let mut answer = answered("CopyPartResult", source.modified, &etag, crc);
    if header.is_some() {
        let (first, last) = (range.start, range.end.saturating_sub(1));
        if let Ok(text) = format!("bytes {first}-{last}/{}", source.size).parse() {
            answer
                .headers_mut()
                .insert(http::header::CONTENT_RANGE, text);
        }
    }
    Ok(answer)
}

/// The range of `x-oss-copy-source-range`, which has to lie inside the source.
fn part_range(header: &str, size: u64) -> Result<Range<u64>, OssError> {
    match served(Some(header), Behavior::Lenient, size) {
        Served::Part(range) => Ok(range),
        Served::Whole | Served::Unsatisfiable => Err(OssError::new(
            416,
            "InvalidRange",
            "The requested range cannot be satisfied.",
            "0026-00000021",
        )
        .with("ActualObjectSize", size.to_string())
        .with("RangeHeader", header)),
    }
}

/// The source that the request may read and that fulfils its conditions, and its bucket.
fn source(call: Call<'_>) -> Result<(String, Arc<Object>), OssError> {
    let (bucket, key) = source_name(call)?;
    call.allow("oss:GetObject", Some(&key))?;
    let source = call.service.store.bucket(&bucket)?.get(&key)?;
    readable(&source)?;
    conditions::check(&conditions::COPY_SOURCE, call.request, &source)?;
    Ok((bucket, source))
}

/// Bucket and key of `x-oss-copy-source`.
fn source_name(call: Call<'_>) -> Result<(String, String), OssError> {
    let header = call.request.header("x-oss-copy-source").unwrap_or_default();
    let invalid = || {
        OssError::invalid_argument(
            "x-oss-copy-source",
            header,
            "Copy Source must mention the source bucket and key: /sourcebucket/sourcekey.",
        )
    };
    let path = match header.split_once('?') {
        Some((_, _)) => return Err(OssError::not_implemented("versionId")),
        None => header,
    };
    let path = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| invalid())?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    match path.split_once('/') {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
            Ok((bucket.to_owned(), key.to_owned()))
        }
        Some(_) | None => Err(invalid()),
    }
}

fn answered(result: &str, modified: Timestamp, etag: &str, crc64: u64) -> Answer {
    let mut xml = Xml::new();
    xml.open(result);
    xml.text("LastModified", &iso_date(modified));
    xml.text("ETag", etag);
    xml.close(result);
    let mut answer = answer::xml(xml.finish());
    answer
        .headers_mut()
        .insert("x-oss-hash-crc64ecma", crc64.into());
    if let Ok(etag) = etag.parse() {
        answer.headers_mut().insert(http::header::ETAG, etag);
    }
    answer
}
