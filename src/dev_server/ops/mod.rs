//! The operations: a parsed request and its body in, an answer or a refusal out.

mod append;
mod attributes;
mod bucket;
mod conditions;
mod copy;
mod delete;
mod described;
mod hierarchical;
mod list;
mod multipart;
mod object;
mod range;
mod receive;
mod symlink;
mod tagging;
mod uploads;

use std::sync::Arc;

use super::answer::Answer;
use super::auth::Authority;
use super::error::OssError;
use super::faults::Fault;
use super::operation::Operation;
use super::request::Incoming;
use super::store::{Bucket, IfPresent, Object, Store};
use super::wire::Inbound;

pub(super) use receive::drain;

/// What all operations work on.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) store: Store,
    /// With the `cn-` and without the `oss-` of endpoints.
    pub(super) region: String,
    /// `None`: everybody may do everything.
    pub(super) auth: Option<Arc<Authority>>,
}

/// One request on its way through its operation.
#[derive(Debug, Clone, Copy)]
struct Call<'a> {
    service: &'a Service,
    request: &'a Incoming,
    bucket: &'a Bucket,
    key: &'a str,
    /// For what goes wrong inside the operation; all else is done around it.
    fault: Option<Fault>,
}

impl Call<'_> {
    fn allow(&self, action: &str, key: Option<&str>) -> Result<(), OssError> {
        self.service.allow(self.request, action, key)
    }

    /// Asks for an object of any bucket.
    fn allow_in(&self, action: &str, bucket: &str, key: &str) -> Result<(), OssError> {
        match &self.service.auth {
            Some(auth) => auth.authenticate(self.request, auth.now())?.may(
                self.request,
                action,
                Some(bucket),
                Some(key),
            ),
            None => Ok(()),
        }
    }

    /// The object of the request's key, of the version that it names if it names one.
    fn object(&self) -> Result<Arc<Object>, OssError> {
        match self.request.param("versionId") {
            None => self.bucket.get(self.key),
            Some(version) => self.bucket.get_version(self.key, version),
        }
    }

    /// `x-oss-forbid-overwrite`.
    ///
    /// # Errors
    /// 400 `OperationNotSupported` in a hierarchical bucket.
    fn if_present(&self) -> Result<IfPresent, OssError> {
        let if_present = attributes::if_present(self.request);
        if if_present == IfPresent::Refuse {
            self.refuse_hierarchical("x-oss-forbid-overwrite")?;
        }
        Ok(if_present)
    }

    /// Refuses what a hierarchical bucket has not.
    ///
    /// # Errors
    /// 400 `OperationNotSupported`.
    fn refuse_hierarchical(&self, what: &str) -> Result<(), OssError> {
        match self.bucket.config.hierarchical {
            true => Err(OssError::new(
                400,
                "OperationNotSupported",
                "The operation is not supported for a bucket with a hierarchical namespace.",
                "",
            )
            .with("Operation", what)),
            false => Ok(()),
        }
    }
}

impl Service {
    fn allow(&self, request: &Incoming, action: &str, key: Option<&str>) -> Result<(), OssError> {
        match &self.auth {
            Some(auth) => auth.check(request, action, key, auth.now()),
            None => Ok(()),
        }
    }

    fn authenticate(&self, request: &Incoming) -> Result<(), OssError> {
        match &self.auth {
            Some(auth) => auth.authenticate(request, auth.now()).map(drop),
            None => Ok(()),
        }
    }

    /// What the request asks. Of a bucket that is not there that is said first, whatever is asked: a client finds out by it
    /// whether a bucket exists.
    pub(super) fn operation(&self, request: &Incoming) -> Result<Operation, OssError> {
        Operation::of(request).or_else(|error| {
            if let Some(bucket) = &request.bucket {
                self.store.bucket(bucket)?;
            }
            Err(error)
        })
    }

    /// Does what the request asks. The caller is known to be allowed before anything else is looked at.
    pub(super) async fn perform(
        &self,
        operation: Operation,
        request: &Incoming,
        body: &mut Inbound<'_>,
        fault: Option<Fault>,
    ) -> Result<Answer, OssError> {
        if operation == Operation::DeleteMultipleObjects {
            // Whom this asks for which key is known when its body is.
            self.authenticate(request)?;
        } else {
            let action = operation.action(request.has("versionId"));
            self.allow(request, action, request.key.as_deref())?;
        }
        if operation.writes_tags() && request.headers.contains_key("x-oss-tagging") {
            self.allow(request, "oss:PutObjectTagging", request.key.as_deref())?;
        }
        let Some(bucket) = &request.bucket else {
            return Ok(bucket::list_buckets(self));
        };
        let call = Call {
            service: self,
            request,
            bucket: self.store.bucket(bucket)?,
            // Operations on a bucket don't look at it.
            key: request.key.as_deref().unwrap_or_default(),
            fault,
        };
        match operation {
            Operation::GetObject => object::get(call),
            Operation::HeadObject => object::head(call),
            Operation::GetObjectMeta => object::meta(call),
            Operation::PutObject => object::put(call, body).await,
            Operation::AppendObject => append::append(call, body).await,
            Operation::DeleteObject => object::delete(call),
            Operation::DeleteMultipleObjects => delete::delete_multiple(call, body).await,
            Operation::CopyObject => copy::copy(call),
            Operation::PutSymlink => symlink::put(call),
            Operation::GetSymlink => symlink::get(call),
            Operation::PutObjectTagging => tagging::put(call, body).await,
            Operation::GetObjectTagging => tagging::get(call),
            Operation::DeleteObjectTagging => tagging::delete(call),
            Operation::InitiateMultipartUpload => multipart::initiate(call),
            Operation::UploadPart => multipart::upload_part(call, body).await,
            Operation::UploadPartCopy => copy::copy_part(call).await,
            Operation::CompleteMultipartUpload => multipart::complete(call, body).await,
            Operation::AbortMultipartUpload => multipart::abort(call),
            Operation::ListParts => multipart::list_parts(call),
            Operation::ListMultipartUploads => uploads::list(call),
            Operation::CreateDirectory => hierarchical::create(call),
            Operation::DeleteDirectory => hierarchical::delete(call),
            Operation::Rename => hierarchical::rename(call),
            Operation::ListObjects => list::list(call, list::Version::V1),
            Operation::ListObjectsV2 => list::list(call, list::Version::V2),
            Operation::GetBucketInfo => Ok(bucket::info(call)),
            Operation::GetBucketLocation => Ok(bucket::location(call)),
            Operation::GetBucketVersioning => Ok(bucket::versioning(call)),
            Operation::ListBuckets => Ok(bucket::list_buckets(self)),
        }
    }
}
