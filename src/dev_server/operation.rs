//! Which operation of OSS a request is.

use http::Method;

use super::error::OssError;
use super::request::Incoming;

/// The operations this server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are OSS's own")]
pub enum Operation {
    GetObject,
    HeadObject,
    GetObjectMeta,
    PutObject,
    CopyObject,
    DeleteObject,
    InitiateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    ListObjects,
    ListObjectsV2,
    GetBucketInfo,
    GetBucketLocation,
    ListBuckets,
}

/// How many operations there are.
pub(super) const OPERATIONS: usize = Operation::ListBuckets as usize + 1;

/// Query names that choose another operation or another object: a request with one that its operation does not take is
/// refused, never served as if it were not there. The union of what the official SDKs sign as sub-resources, and the
/// calls of hierarchical buckets, without what only concerns signing, billing and speed.
const SUB_RESOURCES: &[&str] = &[
    "accessPoint",
    "accessPointPolicy",
    "acl",
    "append",
    "asyncFetch",
    "bucketArchiveDirectRead",
    "bucketInfo",
    "callback",
    "callback-var",
    "cloudboxes",
    "cname",
    "comp",
    "continuation-token",
    "cors",
    "delete",
    "encryption",
    "group",
    "httpsConfig",
    "img",
    "inventory",
    "inventoryId",
    "lifecycle",
    "link",
    "live",
    "location",
    "logging",
    "metaQuery",
    "objectInfo",
    "objectMeta",
    "partNumber",
    "policy",
    "position",
    "publicAccessBlock",
    "qos",
    "qosInfo",
    "qosRequester",
    "redundancyTransition",
    "referer",
    "regionList",
    "replication",
    "replicationLocation",
    "replicationProgress",
    "requestPayment",
    "requesterQosInfo",
    "resourceGroup",
    "resourcePool",
    "resourcePoolBuckets",
    "resourcePoolInfo",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "seal",
    "sequential",
    "stat",
    "status",
    "style",
    "styleName",
    "symlink",
    "tagging",
    "transferAcceleration",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "vod",
    "website",
    "worm",
    "wormExtend",
    "wormId",
    "x-oss-async-process",
    "x-oss-delete",
    "x-oss-dir",
    "x-oss-process",
    "x-oss-rename",
    "x-oss-write-get-object-response",
];

/// `response-*` of GetObject and the headers they set.
pub(super) const OVERRIDES: &[(&str, &str)] = &[
    ("response-content-type", "content-type"),
    ("response-content-language", "content-language"),
    ("response-content-encoding", "content-encoding"),
    ("response-content-disposition", "content-disposition"),
    ("response-cache-control", "cache-control"),
    ("response-expires", "expires"),
];

impl Operation {
    /// # Errors
    /// 405 `MethodNotAllowed`, and 501 `NotImplemented` for what OSS has and this server has not.
    pub(crate) fn of(request: &Incoming) -> Result<Self, OssError> {
        let operation = match (&request.bucket, &request.key) {
            (None, _) => Self::of_service(request)?,
            (Some(_), None) => Self::of_bucket(request)?,
            (Some(_), Some(_)) => Self::of_object(request)?,
        };
        let taken = |name: &str| operation.sub_resources().contains(&name);
        match request
            .query
            .iter()
            .find(|(name, _)| SUB_RESOURCES.contains(&name.as_str()) && !taken(name))
        {
            Some((name, _)) => Err(OssError::not_implemented(name)),
            None => Ok(operation),
        }
    }

    fn of_service(request: &Incoming) -> Result<Self, OssError> {
        match request.method {
            Method::GET => Ok(Self::ListBuckets),
            _ => Err(not_allowed(request)),
        }
    }

    fn of_bucket(request: &Incoming) -> Result<Self, OssError> {
        match request.method {
            Method::GET if request.has("bucketInfo") => Ok(Self::GetBucketInfo),
            Method::GET if request.has("location") => Ok(Self::GetBucketLocation),
            Method::GET => match request.param("list-type") {
                Some("2") => Ok(Self::ListObjectsV2),
                Some(other) => Err(OssError::invalid_argument(
                    "list-type",
                    other,
                    "The list-type is not supported.",
                )),
                None => Ok(Self::ListObjects),
            },
            Method::HEAD | Method::PUT | Method::POST | Method::DELETE => {
                Err(OssError::not_implemented("bucket"))
            }
            _ => Err(not_allowed(request)),
        }
    }

    fn of_object(request: &Incoming) -> Result<Self, OssError> {
        let copies = request.headers.contains_key("x-oss-copy-source");
        match request.method {
            Method::GET | Method::HEAD if request.has("objectMeta") => Ok(Self::GetObjectMeta),
            Method::GET if request.has("uploadId") => Ok(Self::ListParts),
            Method::GET => Ok(Self::GetObject),
            Method::HEAD => Ok(Self::HeadObject),
            Method::PUT if request.has("uploadId") && copies => Ok(Self::UploadPartCopy),
            Method::PUT if request.has("uploadId") => Ok(Self::UploadPart),
            Method::PUT if copies => Ok(Self::CopyObject),
            Method::PUT => Ok(Self::PutObject),
            Method::POST if request.has("uploads") => Ok(Self::InitiateMultipartUpload),
            Method::POST if request.has("uploadId") => Ok(Self::CompleteMultipartUpload),
            Method::POST => Err(OssError::not_implemented("POST")),
            Method::DELETE if request.has("uploadId") => Ok(Self::AbortMultipartUpload),
            Method::DELETE => Ok(Self::DeleteObject),
            _ => Err(not_allowed(request)),
        }
    }

    /// Which of [`SUB_RESOURCES`] it takes.
    fn sub_resources(self) -> &'static [&'static str] {
        match self {
            Self::GetObject => &[
                "response-content-type",
                "response-content-language",
                "response-content-encoding",
                "response-content-disposition",
                "response-cache-control",
                "response-expires",
            ],
            Self::GetObjectMeta => &["objectMeta"],
            Self::InitiateMultipartUpload => &["uploads", "sequential"],
            Self::UploadPart | Self::UploadPartCopy => &["uploadId", "partNumber"],
            Self::CompleteMultipartUpload | Self::AbortMultipartUpload | Self::ListParts => {
                &["uploadId"]
            }
            Self::ListObjectsV2 => &["continuation-token"],
            Self::GetBucketInfo => &["bucketInfo"],
            Self::GetBucketLocation => &["location"],
            Self::HeadObject
            | Self::PutObject
            | Self::CopyObject
            | Self::DeleteObject
            | Self::ListObjects
            | Self::ListBuckets => &[],
        }
    }

    /// The action a RAM policy names it by.
    pub(crate) fn action(self) -> &'static str {
        match self {
            Self::GetObject | Self::HeadObject | Self::GetObjectMeta => "oss:GetObject",
            Self::PutObject
            | Self::CopyObject
            | Self::InitiateMultipartUpload
            | Self::UploadPart
            | Self::UploadPartCopy
            | Self::CompleteMultipartUpload => "oss:PutObject",
            Self::DeleteObject => "oss:DeleteObject",
            Self::AbortMultipartUpload => "oss:AbortMultipartUpload",
            Self::ListParts => "oss:ListParts",
            Self::ListObjects | Self::ListObjectsV2 => "oss:ListObjects",
            Self::GetBucketInfo => "oss:GetBucketInfo",
            Self::GetBucketLocation => "oss:GetBucketLocation",
            Self::ListBuckets => "oss:ListBuckets",
        }
    }
}

fn not_allowed(request: &Incoming) -> OssError {
    OssError::new(
        405,
        "MethodNotAllowed",
        "The specified method is not allowed against this resource.",
        "0002-00000905",
    )
    .with("Method", request.method.as_str())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn of(method: &str, target: &str) -> Result<Operation, &'static str> {
        let request = http::Request::builder()
            .method(method)
            .uri(target)
            .header("host", "127.0.0.1")
            .body(())
            .unwrap();
        let request = Incoming::parse(&request.into_parts().0).unwrap();
        Operation::of(&request).map_err(|error| error.code)
    }

    #[test]
    fn methods_and_sub_resources_choose_the_operation() {
        for (method, target, operation) in [
            ("GET", "/", Operation::ListBuckets),
            ("GET", "/b", Operation::ListObjects),
            (
                "GET",
                "/b?list-type=2&continuation-token=x",
                Operation::ListObjectsV2,
            ),
            ("GET", "/b/?bucketInfo=", Operation::GetBucketInfo),
            ("HEAD", "/b/k?objectMeta", Operation::GetObjectMeta),
            (
                "GET",
                "/b/k?response-content-type=a%2Fb",
                Operation::GetObject,
            ),
            ("PUT", "/b/k?partNumber=1&uploadId=x", Operation::UploadPart),
            ("POST", "/b/k?uploads=", Operation::InitiateMultipartUpload),
            ("DELETE", "/b/k?uploadId=x", Operation::AbortMultipartUpload),
        ] {
            assert_eq!(of(method, target), Ok(operation), "{method} {target}");
        }
    }

    #[test]
    fn what_is_unknown_is_never_taken_for_something_else() {
        for (method, target) in [
            ("GET", "/b/k?acl"),
            ("GET", "/b/k?versionId=x"),
            ("GET", "/b/k?x-oss-process=image%2Finfo"),
            ("GET", "/b?versions"),
            ("GET", "/b?uploads"),
            ("GET", "/b?continuation-token=x"),
            ("PUT", "/b/k?symlink"),
            ("PUT", "/b"),
            ("POST", "/b/k?append&position=0"),
            ("POST", "/b?delete"),
            ("POST", "/b/k?x-oss-rename"),
            ("DELETE", "/b/k?tagging"),
        ] {
            assert_eq!(
                of(method, target),
                Err("NotImplemented"),
                "{method} {target}"
            );
        }
        assert_eq!(of("PATCH", "/b/k"), Err("MethodNotAllowed"));
    }
}
