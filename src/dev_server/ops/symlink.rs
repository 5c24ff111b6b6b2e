//! PutSymlink, GetSymlink, and what reading through a link means.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, header};
use percent_encoding::{percent_decode_str, utf8_percent_encode};

use super::list::PLAIN;
use super::{Call, attributes, conditions, described};
use crate::dev_server::answer::{self, Answer, http_date, quoted};
use crate::dev_server::error::OssError;
use crate::dev_server::store::Object;
use crate::object::{ObjectKey, ObjectType};

/// What a key shows to readers: its own object or, through a link, another one's bytes.
pub(super) struct Shown {
    /// The object of the key.
    pub(super) named: Arc<Object>,
    /// The object whose bytes are read: the same, or the link's target.
    pub(super) content: Arc<Object>,
}

impl Shown {
    /// # Errors
    /// 404 `NoSuchKey`, `NoSuchVersion` or `SymlinkTargetNotExist`, 400 `InvalidTargetType` of a link to a link, 403 if
    /// the caller may not read the target.
    pub(super) fn of(call: Call<'_>) -> Result<Self, OssError> {
        let named = call.object()?;
        if named.kind != ObjectType::Symlink {
            return Ok(Self {
                content: Arc::clone(&named),
                named,
            });
        }
        let target = named.target().map_err(OssError::internal)?;
        call.allow("oss:GetObject", Some(&target))?;
        let content = call.bucket.get(&target).map_err(|_| {
            OssError::new(
                404,
                "SymlinkTargetNotExist",
                "The symlink target object does not exist",
                "0026-00000012",
            )
            .with("Key", call.key)
        })?;
        if content.kind == ObjectType::Symlink {
            return Err(OssError::new(
                400,
                "InvalidTargetType",
                "The symbolic's target file type is invalid",
                "",
            )
            .with("Key", call.key));
        }
        Ok(Self { named, content })
    }

    /// Checks the request's conditions, on the target's ETag and the later of both times.
    ///
    /// # Errors
    /// As [`conditions::check`].
    pub(super) fn check(&self, call: Call<'_>) -> Result<(), OssError> {
        let modified = self.named.modified.max(self.content.modified);
        conditions::check(
            &conditions::OBJECT,
            call.request,
            &self.content.etag,
            modified,
        )
    }
}

/// PutSymlink: whether there is a target is only looked at when the link is read.
pub(super) fn put(call: Call<'_>) -> Result<Answer, OssError> {
    call.refuse_hierarchical("symlink")?;
    conditions::refuse(call.request)?;
    let attributes = attributes::read(call.request)?;
    let header = call
        .request
        .header("x-oss-symlink-target")
        .unwrap_or_default();
    let target = percent_decode_str(header).decode_utf8().ok();
    let target = target.filter(|target| ObjectKey::new(target.as_ref()).is_ok());
    let target = target.ok_or_else(|| {
        OssError::invalid_argument(
            "x-oss-symlink-target",
            header,
            "The symlink target is not the name of an object.",
        )
    })?;
    let received = call.bucket.received(Bytes::from(target.into_owned()))?;
    let object = Object::symlink(call.key, received, attributes);
    let object = call
        .bucket
        .commit(object, attributes::if_present(call.request))?;
    Ok(answer::empty(described::version(
        &object,
        Response::builder(),
    )))
}

/// GetSymlink: the link itself.
pub(super) fn get(call: Call<'_>) -> Result<Answer, OssError> {
    let object = call.object()?;
    if object.kind != ObjectType::Symlink {
        return Err(OssError::new(
            400,
            "NotSymlink",
            "The object is not a symlink object",
            "0043-00000101",
        )
        .with("Key", call.key));
    }
    let target = object.target().map_err(OssError::internal)?;
    let target = utf8_percent_encode(&target, PLAIN).to_string();
    let mut builder = described::version(&object, Response::builder())
        .header(header::ETAG, quoted(&object.etag))
        .header(header::LAST_MODIFIED, http_date(object.modified))
        .header("x-oss-symlink-target", target);
    for (name, value) in &object.attributes.headers {
        if name.starts_with("x-oss-meta-") {
            builder = builder.header(name, value.as_bytes());
        }
    }
    Ok(answer::empty(builder))
}
