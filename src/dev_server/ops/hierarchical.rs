//! What only a bucket with a hierarchical namespace has: directories as objects, and a rename that is atomic.
//!
//! A directory is an object whose key ends with a slash. That listings show it so is unconfirmed, and that a parent has
//! to be made first is said of Rename only.

use http::{Response, header};
use percent_encoding::percent_decode_str;

use super::{Call, described};
use crate::dev_server::answer::{self, Answer};
use crate::dev_server::error::OssError;
use crate::dev_server::store::{Attributes, IfPresent, Object};
use crate::dev_server::xml::Xml;

/// CreateDirectory.
pub(super) fn create(call: Call<'_>) -> Result<Answer, OssError> {
    only_here(call)?;
    let key = directory(call.key);
    if call.bucket.get(&key).is_ok() || call.bucket.get(key.trim_end_matches('/')).is_ok() {
        return Err(exists(&key));
    }
    let attributes = Attributes {
        headers: vec![(
            header::CONTENT_TYPE.as_str().to_owned(),
            "application/x-directory".to_owned(),
        )],
        ..Attributes::default()
    };
    let received = call.bucket.received(bytes::Bytes::new())?;
    let mut object = Object::normal(&key, received, attributes);
    "null".clone_into(&mut object.etag);
    let object = call.bucket.commit(object, IfPresent::Replace)?;
    Ok(answer::empty(described::written(
        &object,
        Response::builder(),
    )))
}

/// DeleteDirectory: with `x-oss-delete-recursive: true` all that is in it goes too, all at once.
pub(super) fn delete(call: Call<'_>) -> Result<Answer, OssError> {
    only_here(call)?;
    let key = directory(call.key);
    let keys = call.bucket.keys(&key);
    if keys.is_empty() {
        return Err(OssError::no_such_key(call.key));
    }
    let recursive = call
        .request
        .header("x-oss-delete-recursive")
        .is_some_and(|word| word.eq_ignore_ascii_case("true"));
    if !recursive && keys.iter().any(|inner| *inner != key) {
        return Err(exists(call.key));
    }
    for inner in &keys {
        call.bucket.delete(inner, None)?;
    }
    let mut xml = Xml::new();
    xml.open("DeleteDirectoryResult");
    xml.text("DirectoryName", call.key);
    xml.value("DeleteNumber", keys.len());
    xml.close("DeleteDirectoryResult");
    Ok(answer::xml(xml.finish()))
}

/// Rename of an object, or of a directory with all that is in it.
pub(super) fn rename(call: Call<'_>) -> Result<Answer, OssError> {
    only_here(call)?;
    let header = call
        .request
        .header("x-oss-rename-source")
        .unwrap_or_default();
    let source = percent_decode_str(header).decode_utf8().ok();
    let source = source.filter(|source| !source.is_empty());
    let source = source.ok_or_else(|| {
        OssError::invalid_argument("x-oss-rename-source", header, "There is no such path.")
    })?;
    let source = source.strip_prefix('/').unwrap_or(&source);
    call.allow("oss:DeleteObject", Some(source))?;
    call.bucket.rename(source, call.key)?;
    Ok(answer::empty(Response::builder()))
}

fn only_here(call: Call<'_>) -> Result<(), OssError> {
    match call.bucket.config.hierarchical {
        true => Ok(()),
        false => Err(OssError::new(
            400,
            "OperationNotSupported",
            "The bucket has no hierarchical namespace.",
            "",
        )),
    }
}

fn directory(key: &str) -> String {
    format!("{}/", key.trim_end_matches('/'))
}

fn exists(key: &str) -> OssError {
    OssError::new(
        409,
        "FileAlreadyExists",
        "The object you specified already exists and can not be overwritten.",
        "",
    )
    .with("Key", key)
}
