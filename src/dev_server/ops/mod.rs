//! The operations: a parsed request and its body in, an answer or a refusal out.

mod attributes;
mod bucket;
mod conditions;
mod copy;
mod list;
mod multipart;
mod object;
mod range;
mod receive;

use std::sync::Arc;

use hyper::body::Incoming as Body;

use super::answer::Answer;
use super::auth::Authority;
use super::error::OssError;
use super::operation::Operation;
use super::request::Incoming;
use super::store::{Bucket, Store};

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
}

impl Call<'_> {
    fn allow(&self, action: &str, key: Option<&str>) -> Result<(), OssError> {
        self.service.allow(self.request, action, key)
    }
}

impl Service {
    fn allow(&self, request: &Incoming, action: &str, key: Option<&str>) -> Result<(), OssError> {
        match &self.auth {
            Some(auth) => auth.check(request, action, key, auth.now()),
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
        body: &mut Body,
    ) -> Result<Answer, OssError> {
        self.allow(request, operation.action(), request.key.as_deref())?;
        let Some(bucket) = &request.bucket else {
            return Ok(bucket::list_buckets(self));
        };
        let call = Call {
            service: self,
            request,
            bucket: self.store.bucket(bucket)?,
            // Operations on a bucket don't look at it.
            key: request.key.as_deref().unwrap_or_default(),
        };
        match operation {
            Operation::GetObject => object::get(call),
            Operation::HeadObject => object::head(call),
            Operation::GetObjectMeta => object::meta(call),
            Operation::PutObject => object::put(call, body).await,
            Operation::DeleteObject => Ok(object::delete(call)),
            Operation::CopyObject => copy::copy(call),
            Operation::InitiateMultipartUpload => multipart::initiate(call),
            Operation::UploadPart => multipart::upload_part(call, body).await,
            Operation::UploadPartCopy => copy::copy_part(call).await,
            Operation::CompleteMultipartUpload => multipart::complete(call, body).await,
            Operation::AbortMultipartUpload => multipart::abort(call),
            Operation::ListParts => multipart::list_parts(call),
            Operation::ListObjects => list::list(call, list::Version::V1),
            Operation::ListObjectsV2 => list::list(call, list::Version::V2),
            Operation::GetBucketInfo => Ok(bucket::info(call)),
            Operation::GetBucketLocation => Ok(bucket::location(call)),
            Operation::ListBuckets => Ok(bucket::list_buckets(self)),
        }
    }
}
