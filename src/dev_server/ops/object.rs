//! Operations on one object as a whole.

use http::{HeaderValue, Response, StatusCode, header};

use super::range::{Behavior, Served, served};
use super::symlink::Shown;
use super::{Call, attributes, conditions, described, receive};
use crate::dev_server::answer::{self, Answer, http_date, quoted};
use crate::dev_server::error::OssError;
use crate::dev_server::operation::OVERRIDES;
use crate::dev_server::store::Object;
use crate::dev_server::wire::Inbound;
use crate::object::StorageClass;

/// GetObject.
pub(super) fn get(call: Call<'_>) -> Result<Answer, OssError> {
    let shown = Shown::of(call)?;
    let content = &shown.content;
    readable(content)?;
    shown.check(call)?;
    let header = call.request.header("range");
    let behavior = match call.request.header("x-oss-range-behavior") {
        Some("standard") => Behavior::Standard,
        Some(_) | None => Behavior::Lenient,
    };
    let (status, range) = match served(header, behavior, content.size) {
        Served::Whole => (StatusCode::OK, 0..content.size),
        Served::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Served::Unsatisfiable => {
            return Err(OssError::new(
                416,
                "InvalidRange",
                "The requested range cannot be satisfied.",
                "0026-00000021",
            )
            .with("ActualObjectSize", content.size.to_string())
            .with("RangeHeader", header.unwrap_or_default())
            .with_header("content-range", format!("bytes */{}", content.size)));
        }
    };
    let pieces = content
        .content
        .slice(range.clone())
        .map_err(OssError::internal)?;
    let builder = Response::builder().status(status);
    let mut builder = described::shown(&shown.named, content, builder)
        .header(header::CONTENT_LENGTH, range.end - range.start);
    if status == StatusCode::PARTIAL_CONTENT {
        let (first, last) = (range.start, range.end - 1);
        builder = builder.header(
            header::CONTENT_RANGE,
            format!("bytes {first}-{last}/{}", content.size),
        );
    }
    let mut answer = answer::finish(builder, pieces);
    for (parameter, name) in OVERRIDES {
        if let Some(value) = call.request.param(parameter) {
            let value = HeaderValue::from_str(value).map_err(|_| {
                OssError::invalid_argument(parameter, value, "The value is not valid in a header.")
            })?;
            answer.headers_mut().insert(*name, value);
        }
    }
    Ok(answer)
}

/// HeadObject.
pub(super) fn head(call: Call<'_>) -> Result<Answer, OssError> {
    let shown = Shown::of(call)?;
    shown.check(call)?;
    let builder = described::shown(&shown.named, &shown.content, Response::builder())
        .header(header::CONTENT_LENGTH, shown.content.size);
    Ok(answer::finish(builder, Vec::new()))
}

/// GetObjectMeta, as HEAD or GET: less than a HEAD, and no body. A GET has to say that its body is empty, so the size
/// is only told to a HEAD. Of a link it tells the link's own.
pub(super) fn meta(call: Call<'_>) -> Result<Answer, OssError> {
    let object = call.object()?;
    conditions::check(
        &conditions::OBJECT,
        call.request,
        &object.etag,
        object.modified,
    )?;
    let length = match call.request.method {
        http::Method::HEAD => object.size,
        _ => 0,
    };
    let builder = described::version(&object, Response::builder())
        .header(header::ETAG, quoted(&object.etag))
        .header(header::LAST_MODIFIED, http_date(object.modified))
        .header("x-oss-hash-crc64ecma", object.crc64)
        .header(header::CONTENT_LENGTH, length);
    Ok(answer::finish(builder, Vec::new()))
}

/// PutObject.
pub(super) async fn put(call: Call<'_>, body: &mut Inbound<'_>) -> Result<Answer, OssError> {
    conditions::refuse(call.request)?;
    let attributes = attributes::read(call.request)?;
    let if_present = call.if_present()?;
    // Refused before the body is received, and again when it is: another writer may be faster.
    call.bucket.may_write(call.key, if_present)?;
    let received = receive::content(call, body).await?;
    let object = Object::normal(call.key, received, attributes);
    let object = call.bucket.commit(object, if_present)?;
    Ok(answer::empty(described::written(
        &object,
        Response::builder(),
    )))
}

/// DeleteObject: 204 whether or not there was one. Of a link, only the link is gone.
pub(super) fn delete(call: Call<'_>) -> Result<Answer, OssError> {
    let deleted = call
        .bucket
        .delete(call.key, call.request.param("versionId"))?;
    let mut builder = Response::builder().status(StatusCode::NO_CONTENT);
    if deleted.marker {
        builder = builder.header("x-oss-delete-marker", "true");
    }
    if let Some(version) = &deleted.version {
        builder = builder.header("x-oss-version-id", version);
    }
    Ok(answer::finish(builder, Vec::new()))
}

/// Whether an object's bytes can be had without a restore.
///
/// # Errors
/// 403 `InvalidObjectState`.
pub(super) fn readable(object: &Object) -> Result<(), OssError> {
    match object.attributes.storage_class {
        StorageClass::Standard | StorageClass::InfrequentAccess | StorageClass::Other => Ok(()),
        StorageClass::Archive | StorageClass::ColdArchive | StorageClass::DeepColdArchive => {
            Err(OssError::new(
                403,
                "InvalidObjectState",
                "The operation is not valid for the object's state",
                "0012-00000101",
            )
            .with("ObjectName", &object.key))
        }
    }
}
