//! CopyObject.

use percent_encoding::percent_decode_str;

use super::object::readable;
use super::{Call, attributes, conditions};
use crate::dev_server::answer::{self, Answer, iso_date, quoted};
use crate::dev_server::error::OssError;
use crate::dev_server::store::{Attributes, Object};
use crate::dev_server::xml::Xml;

/// The largest object that is copied into another bucket at once (OSS help "CopyObject"): 5 GB.
const OTHER_BUCKET_BYTES_MAX: u64 = 5 << 30;

/// The largest object whose class changes by a copy (the same page): 1 GB.
const OTHER_CLASS_BYTES_MAX: u64 = 1 << 30;

/// Copies an object of this server into the bucket of the request.
pub(super) fn copy(call: Call<'_>) -> Result<Answer, OssError> {
    conditions::refuse(call.request)?;
    let (bucket, key) = source(call)?;
    call.allow("oss:GetObject", Some(&key))?;
    let from = call.service.store.bucket(&bucket)?;
    let source = from.get(&key)?;
    readable(&source)?;
    conditions::check(&conditions::COPY_SOURCE, call.request, &source)?;
    let given = attributes::read(call.request)?;
    let other_bucket = bucket != call.bucket.config.name;
    let onto_itself = !other_bucket && key == call.key;
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
    let received_content = call.bucket.content_for_copy(&source)?;
    let object = source.copied_to(call.key, attributes, received_content);
    let object = call
        .bucket
        .commit(object, attributes::if_present(call.request))?;
    Ok(answered(&object))
}

/// Bucket and key of `x-oss-copy-source`.
fn source(call: Call<'_>) -> Result<(String, String), OssError> {
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

fn answered(object: &Object) -> Answer {
    let mut xml = Xml::new();
    xml.open("CopyObjectResult");
    xml.text("LastModified", &iso_date(object.modified));
    xml.text("ETag", &quoted(&object.etag));
    xml.close("CopyObjectResult");
    let mut answer = answer::xml(xml.finish());
    answer
        .headers_mut()
        .insert("x-oss-hash-crc64ecma", object.crc64.into());
    if let Ok(etag) = quoted(&object.etag).parse() {
        answer.headers_mut().insert(http::header::ETAG, etag);
    }
    answer
}
