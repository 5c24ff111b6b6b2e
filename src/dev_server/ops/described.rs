//! The headers that answers say of objects.

use http::response::Builder;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::dev_server::answer::{http_date, quoted};
use crate::dev_server::store::Object;
use crate::object::ObjectType;

/// What an object without a `Content-Type` is served as.
const CONTENT_TYPE_DEFAULT: &str = "application/octet-stream";

/// What every write of an object answers: ETag, CRC, version, encryption.
pub(super) fn written(object: &Object, builder: Builder) -> Builder {
    let mut builder = version(object, checksums(object, builder));
    for (name, value) in &object.attributes.encryption {
        builder = builder.header(name, value);
    }
    builder
}

/// The same for an answer that is there already.
pub(super) fn add_written(object: &Object, headers: &mut HeaderMap) {
    headers.insert("x-oss-hash-crc64ecma", object.crc64.into());
    if let Ok(etag) = quoted(&object.etag).parse() {
        headers.insert(header::ETAG, etag);
    }
    add_version(object, headers);
    add_encryption(&object.attributes.encryption, headers);
}

/// The headers of server-side encryption, as they were given.
pub(super) fn add_encryption(encryption: &[(String, String)], headers: &mut HeaderMap) {
    for (name, value) in encryption {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), value.parse()) {
            headers.insert(name, value);
        }
    }
}

fn checksums(object: &Object, builder: Builder) -> Builder {
    let builder = builder
        .header(header::ETAG, quoted(&object.etag))
        .header("x-oss-hash-crc64ecma", object.crc64);
    match &object.content_md5 {
        Some(md5) => builder.header("content-md5", md5),
        None => builder,
    }
}

/// `x-oss-version-id`, in a bucket that keeps versions or did.
pub(super) fn version(object: &Object, builder: Builder) -> Builder {
    match object.has_version() {
        true => builder.header("x-oss-version-id", object.version()),
        false => builder,
    }
}

/// The same for an answer that is there already.
pub(super) fn add_version(object: &Object, headers: &mut HeaderMap) {
    if object.has_version()
        && let Ok(version) = HeaderValue::from_str(object.version())
    {
        headers.insert("x-oss-version-id", version);
    }
}

/// Everything that GetObject and HeadObject say of an object, but its length. Of a link, `content` is the target: its
/// checksums are told, and of the times the later one (OSS help "HeadObject").
pub(super) fn shown(named: &Object, content: &Object, builder: Builder) -> Builder {
    let attributes = &named.attributes;
    let modified = named.modified.max(content.modified);
    let mut builder = version(named, checksums(content, builder))
        .header(header::LAST_MODIFIED, http_date(modified))
        .header(header::ACCEPT_RANGES, "bytes")
        .header("x-oss-object-type", named.kind.as_str())
        .header("x-oss-storage-class", attributes.storage_class.as_str());
    if named.kind == ObjectType::Appendable {
        builder = builder.header("x-oss-next-append-position", named.size);
    }
    if !attributes.tags.is_empty() {
        builder = builder.header("x-oss-tagging-count", attributes.tags.len());
    }
    let has_type = |(name, _): &(String, String)| name == "content-type";
    if !attributes.headers.iter().any(has_type) {
        builder = builder.header(header::CONTENT_TYPE, CONTENT_TYPE_DEFAULT);
    }
    for (name, value) in attributes.headers.iter().chain(&attributes.encryption) {
        builder = builder.header(name, value.as_bytes());
    }
    builder
}
