//! CopyObject and UploadPartCopy. Both share the source's bytes; none is copied.

use std::ops::Range;
use std::sync::Arc;

use http::HeaderValue;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use super::object::readable;
use super::range::{Behavior, Served, served};
use super::{Call, attributes, conditions, described, multipart};
use crate::dev_server::answer::{self, Answer, iso_date, quoted};
use crate::dev_server::error::OssError;
use crate::dev_server::store::{Attributes, Object, PART_BYTES_MAX, Versioning};
use crate::dev_server::xml::Xml;
use crate::object::{ObjectType, StorageClass};

/// The largest object that is copied into another bucket at once (OSS help "CopyObject"): 5 GB.
const OTHER_BUCKET_BYTES_MAX: u64 = 5 << 30;

/// The largest object whose class changes by a copy (the same page): 1 GB.
const OTHER_CLASS_BYTES_MAX: u64 = 1 << 30;

/// What is summed between two looks at other work.
const CHUNK_BYTES: usize = 1 << 20;

/// Copies an object of this server into the bucket of the request. A link is copied as a link.
pub(super) fn copy(call: Call<'_>) -> Result<Answer, OssError> {
    conditions::refuse(call.request)?;
    let Source { bucket, object, .. } = source(call)?;
    let given = attributes::read(call.request)?;
    let other_bucket = bucket != call.bucket.config.name;
    let onto_itself = !other_bucket && object.key == call.key;
    let replaces = replaces(call, "x-oss-metadata-directive")?;
    // OSS help "CopyObject": a copy onto itself replaces the metadata whatever the directive says.
    let replaces = replaces || onto_itself;
    let replaces_tags = self::replaces(call, "x-oss-tagging-directive")?;
    if object.kind == ObjectType::Appendable && call.bucket.config.versioning != Versioning::Never {
        return Err(not_supported("An appendable object cannot be copied here."));
    }
    let other_class = given.storage_class != object.attributes.storage_class;
    if (other_bucket && object.size > OTHER_BUCKET_BYTES_MAX)
        || (other_class && object.size > OTHER_CLASS_BYTES_MAX)
    {
        return Err(OssError::new(
            400,
            "EntityTooLarge",
            "The object is too large to be copied by CopyObject.",
            "",
        ));
    }
    let attributes = Attributes {
        storage_class: given.storage_class,
        headers: match replaces {
            true => given.headers,
            false => object.attributes.headers.clone(),
        },
        // The encryption of the source is not carried over.
        encryption: given.encryption,
        tags: match replaces_tags {
            true => given.tags,
            false => object.attributes.tags.clone(),
        },
    };
    let content = call.bucket.content_for_copy(&object.content)?;
    let copied = object.copied_to(call.key, attributes, content);
    let copied = call.bucket.commit(copied, call.if_present()?)?;
    let mut answer = answered("CopyObjectResult", copied.modified, &quoted(&copied.etag));
    described::add_written(&copied, answer.headers_mut());
    add_source_version(&object, &mut answer);
    Ok(answer)
}

/// Whether a directive says REPLACE; without one it is COPY.
fn replaces(call: Call<'_>, name: &'static str) -> Result<bool, OssError> {
    match call.request.header(name) {
        None => Ok(false),
        Some(word) if word.eq_ignore_ascii_case("COPY") => Ok(false),
        Some(word) if word.eq_ignore_ascii_case("REPLACE") => Ok(true),
        Some(other) => Err(OssError::invalid_argument(
            name,
            other,
            "The directive is neither COPY nor REPLACE.",
        )),
    }
}

/// Copies a range of an object, or all of it, into a part. The part's CRC is told by ListParts only.
pub(super) async fn copy_part(call: Call<'_>) -> Result<Answer, OssError> {
    let id = multipart::upload_id(call);
    let number = multipart::part_number(call)?;
    call.bucket.upload(call.key, id, |_| ())?;
    let Source { object, .. } = source(call)?;
    match object.kind {
        ObjectType::Normal | ObjectType::Multipart | ObjectType::Other => {}
        ObjectType::Appendable => {
            return Err(not_supported(
                "An appendable object cannot be copied into a part.",
            ));
        }
        // What OSS does here is not public.
        ObjectType::Symlink => return Err(OssError::not_implemented("x-oss-copy-source")),
    }
    let header = call.request.header("x-oss-copy-source-range");
    let range = match header {
        Some(header) => part_range(header, object.size)?,
        None => 0..object.size,
    };
    if range.end - range.start > PART_BYTES_MAX {
        return Err(super::receive::too_large(range.end - range.start));
    }
    let content = call.bucket.range_for_copy(&object, range.clone())?;
    let pieces = object
        .content
        .slice(range.clone())
        .map_err(OssError::internal)?;
    let mut checksums = call.bucket.checksums();
    for chunk in pieces.iter().flat_map(|piece| piece.chunks(CHUNK_BYTES)) {
        checksums.update(chunk);
        tokio::task::yield_now().await;
    }
    let received = checksums.finish(content);
    let etag = quoted(&received.etag());
    let mut answer = answered("CopyPartResult", object.modified, &etag);
    let headers = answer.headers_mut();
    if let Ok(etag) = etag.parse() {
        headers.insert(http::header::ETAG, etag);
    }
    if header.is_some() {
        let (first, last) = (range.start, range.end.saturating_sub(1));
        if let Ok(text) = format!("bytes {first}-{last}/{}", object.size).parse() {
            headers.insert(http::header::CONTENT_RANGE, text);
        }
    }
    add_source_version(&object, &mut answer);
    call.bucket.put_part(call.key, id, number, received)?;
    Ok(answer)
}

fn add_source_version(source: &Object, answer: &mut Answer) {
    if source.has_version()
        && let Ok(version) = HeaderValue::from_str(source.version())
    {
        answer
            .headers_mut()
            .insert("x-oss-copy-source-version-id", version);
    }
}

fn not_supported(why: &str) -> OssError {
    OssError::new(400, "OperationNotSupported", why, "")
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

struct Source {
    bucket: String,
    object: Arc<Object>,
}

/// The source that the request may read and that fulfils its conditions.
fn source(call: Call<'_>) -> Result<Source, OssError> {
    let (bucket, key, version) = source_name(call)?;
    let store = &call.service.store;
    let object = match &version {
        None => {
            call.allow_in("oss:GetObject", &bucket, &key)?;
            store.bucket(&bucket)?.get(&key)?
        }
        Some(version) => {
            call.allow_in("oss:GetObjectVersion", &bucket, &key)?;
            store.bucket(&bucket)?.get_version(&key, version)?
        }
    };
    let archived = |class| {
        let classes = [
            StorageClass::Archive,
            StorageClass::ColdArchive,
            StorageClass::DeepColdArchive,
        ];
        classes.contains(&class)
    };
    if call.request.has("uploadId") && archived(object.attributes.storage_class) {
        return Err(not_supported(
            "An archived object cannot be copied into a part.",
        ));
    }
    readable(&object)?;
    conditions::check(
        &conditions::COPY_SOURCE,
        call.request,
        &object.etag,
        object.modified,
    )?;
    Ok(Source { bucket, object })
}

/// Bucket, key and version of `x-oss-copy-source`.
fn source_name(call: Call<'_>) -> Result<(String, String, Option<String>), OssError> {
    let header = call.request.header("x-oss-copy-source").unwrap_or_default();
    let invalid = || {
        OssError::invalid_argument(
            "x-oss-copy-source",
            header,
            "Copy Source must mention the source bucket and key: /sourcebucket/sourcekey.",
        )
    };
    let (path, query) = header.split_once('?').unwrap_or((header, ""));
    let version = match query {
        "" => None,
        query => Some(query.strip_prefix("versionId=").ok_or_else(invalid)?),
    };
    let path = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| invalid())?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    match path.split_once('/') {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => Ok((
            bucket.to_owned(),
            key.to_owned(),
            version.map(str::to_owned),
        )),
        Some(_) | None => Err(invalid()),
    }
}

fn answered(result: &str, modified: Timestamp, etag: &str) -> Answer {
    let mut xml = Xml::new();
    xml.open(result);
    xml.text("LastModified", &iso_date(modified));
    xml.text("ETag", etag);
    xml.close(result);
    answer::xml(xml.finish())
}
