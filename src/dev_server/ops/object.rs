//! Operations on one object as a whole.

use std::sync::Arc;

use http::response::Builder;
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::Incoming as Body;

use super::range::{Behavior, Served, served};
use super::{Call, attributes, conditions, receive};
use crate::dev_server::answer::{self, Answer, http_date, quoted};
use crate::dev_server::error::OssError;
use crate::dev_server::operation::OVERRIDES;
use crate::dev_server::store::Object;
use crate::object::StorageClass;

/// What an object without a `Content-Type` is served as.
const CONTENT_TYPE_DEFAULT: &str = "application/octet-stream";

/// GetObject.
pub(super) fn get(call: Call<'_>) -> Result<Answer, OssError> {
    let object = call.bucket.get(call.key)?;
    readable(&object)?;
    conditions::check(&conditions::OBJECT, call.request, &object)?;
    let header = call.request.header("range");
    let behavior = match call.request.header("x-oss-range-behavior") {
        Some("standard") => Behavior::Standard,
        Some(_) | None => Behavior::Lenient,
    };
    let (status, range) = match served(header, behavior, object.size) {
        Served::Whole => (StatusCode::OK, 0..object.size),
        Served::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Served::Unsatisfiable => {
            return Err(OssError::new(
                416,
                "InvalidRange",
                "The requested range cannot be satisfied.",
                "0026-00000021",
            )
            .with("ActualObjectSize", object.size.to_string())
            .with("RangeHeader", header.unwrap_or_default())
            .with_header("content-range", format!("bytes */{}", object.size)));
        }
    };
    let pieces = object
        .content
        .slice(range.clone())
        .map_err(OssError::internal)?;
    let mut builder = described(&object, Response::builder().status(status))
        .header(header::CONTENT_LENGTH, range.end - range.start);
    if status == StatusCode::PARTIAL_CONTENT {
        let (first, last) = (range.start, range.end - 1);
        builder = builder.header(
            header::CONTENT_RANGE,
            format!("bytes {first}-{last}/{}", object.size),
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
    let object = call.bucket.get(call.key)?;
    conditions::check(&conditions::OBJECT, call.request, &object)?;
    let builder =
        described(&object, Response::builder()).header(header::CONTENT_LENGTH, object.size);
    Ok(answer::finish(builder, Vec::new()))
}

/// GetObjectMeta, as HEAD or GET: less than a HEAD, and no body. A GET has to say that its body is empty, so the size
/// is only told to a HEAD.
pub(super) fn meta(call: Call<'_>) -> Result<Answer, OssError> {
    let object = call.bucket.get(call.key)?;
    conditions::check(&conditions::OBJECT, call.request, &object)?;
    let length = match call.request.method {
        http::Method::HEAD => object.size,
        _ => 0,
    };
    let builder = Response::builder()
        .header(header::ETAG, quoted(&object.etag))
        .header(header::LAST_MODIFIED, http_date(object.modified))
        .header("x-oss-hash-crc64ecma", object.crc64)
        .header(header::CONTENT_LENGTH, length);
    Ok(answer::finish(builder, Vec::new()))
}

/// PutObject.
pub(super) async fn put(call: Call<'_>, body: &mut Body) -> Result<Answer, OssError> {
    conditions::refuse(call.request)?;
    let attributes = attributes::read(call.request)?;
    let received = receive::content(call, body).await?;
    let object = Object::normal(call.key, received, attributes);
    let object = call
        .bucket
        .commit(object, attributes::if_present(call.request))?;
    Ok(answer::empty(checksums(&object, Response::builder())))
}

/// DeleteObject: 204 whether or not there was one.
pub(super) fn delete(call: Call<'_>) -> Answer {
    call.bucket.delete(call.key);
    answer::finish(
        Response::builder().status(StatusCode::NO_CONTENT),
        Vec::new(),
    )
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

fn checksums(object: &Arc<Object>, builder: Builder) -> Builder {
    let builder = builder
        .header(header::ETAG, quoted(&object.etag))
        .header("x-oss-hash-crc64ecma", object.crc64);
    match &object.content_md5 {
        Some(md5) => builder.header("content-md5", md5),
        None => builder,
    }
}

/// Everything that GetObject and HeadObject say of an object, but its length.
fn described(object: &Arc<Object>, builder: Builder) -> Builder {
    let attributes = &object.attributes;
    let mut builder = checksums(object, builder)
        .header(header::LAST_MODIFIED, http_date(object.modified))
        .header(header::ACCEPT_RANGES, "bytes")
        .header("x-oss-object-type", object.kind.as_str())
        .header("x-oss-storage-class", attributes.storage_class.as_str());
    let has_type = |(name, _): &(String, String)| name == "content-type";
    if !attributes.headers.iter().any(has_type) {
        builder = builder.header(header::CONTENT_TYPE, CONTENT_TYPE_DEFAULT);
    }
    for (name, value) in &attributes.headers {
        builder = builder.header(name, value.as_bytes());
    }
    builder
}
