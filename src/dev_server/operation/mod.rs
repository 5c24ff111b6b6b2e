//! Which operation of OSS a request is.

mod sub_resources;

use http::Method;

use super::error::OssError;
use super::request::Incoming;
use sub_resources::SUB_RESOURCES;

/// The operations this server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are OSS's own")]
pub enum Operation {
    GetObject,
    HeadObject,
    GetObjectMeta,
    PutObject,
    AppendObject,
    CopyObject,
    DeleteObject,
    DeleteMultipleObjects,
    PutSymlink,
    GetSymlink,
    PutObjectTagging,
    GetObjectTagging,
    DeleteObjectTagging,
    InitiateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    ListMultipartUploads,
    CreateDirectory,
    DeleteDirectory,
    Rename,
    ListObjects,
    ListObjectsV2,
    GetBucketInfo,
    GetBucketLocation,
    GetBucketVersioning,
    ListBuckets,
}

/// How many operations there are.
pub(super) const OPERATIONS: usize = Operation::ListBuckets as usize + 1;

/// All of them, in their order.
pub(super) const ALL: [Operation; OPERATIONS] = [
    Operation::GetObject,
    Operation::HeadObject,
    Operation::GetObjectMeta,
    Operation::PutObject,
    Operation::AppendObject,
    Operation::CopyObject,
    Operation::DeleteObject,
    Operation::DeleteMultipleObjects,
    Operation::PutSymlink,
    Operation::GetSymlink,
    Operation::PutObjectTagging,
    Operation::GetObjectTagging,
    Operation::DeleteObjectTagging,
    Operation::InitiateMultipartUpload,
    Operation::UploadPart,
    Operation::UploadPartCopy,
    Operation::CompleteMultipartUpload,
    Operation::AbortMultipartUpload,
    Operation::ListParts,
    Operation::ListMultipartUploads,
    Operation::CreateDirectory,
    Operation::DeleteDirectory,
    Operation::Rename,
    Operation::ListObjects,
    Operation::ListObjectsV2,
    Operation::GetBucketInfo,
    Operation::GetBucketLocation,
    Operation::GetBucketVersioning,
    Operation::ListBuckets,
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
            Method::GET if request.has("versioning") => Ok(Self::GetBucketVersioning),
            Method::GET if request.has("uploads") => Ok(Self::ListMultipartUploads),
            Method::POST if request.has("delete") => Ok(Self::DeleteMultipleObjects),
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
            Method::GET if request.has("symlink") => Ok(Self::GetSymlink),
            Method::GET if request.has("tagging") => Ok(Self::GetObjectTagging),
            Method::GET => Ok(Self::GetObject),
            Method::HEAD => Ok(Self::HeadObject),
            Method::PUT if request.has("uploadId") && copies => Ok(Self::UploadPartCopy),
            Method::PUT if request.has("uploadId") => Ok(Self::UploadPart),
            Method::PUT if request.has("symlink") => Ok(Self::PutSymlink),
            Method::PUT if request.has("tagging") => Ok(Self::PutObjectTagging),
            Method::PUT if copies => Ok(Self::CopyObject),
            Method::PUT => Ok(Self::PutObject),
            Method::POST if request.has("uploads") => Ok(Self::InitiateMultipartUpload),
            Method::POST if request.has("uploadId") => Ok(Self::CompleteMultipartUpload),
            Method::POST if request.has("append") => Ok(Self::AppendObject),
            Method::POST if request.has("x-oss-dir") => Ok(Self::CreateDirectory),
            Method::POST if request.has("x-oss-delete") => Ok(Self::DeleteDirectory),
            Method::POST if request.has("x-oss-rename") => Ok(Self::Rename),
            Method::POST => Err(OssError::not_implemented("POST")),
            Method::DELETE if request.has("uploadId") => Ok(Self::AbortMultipartUpload),
            Method::DELETE if request.has("tagging") => Ok(Self::DeleteObjectTagging),
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
                "versionId",
            ],
            Self::HeadObject | Self::DeleteObject => &["versionId"],
            Self::GetObjectMeta => &["objectMeta", "versionId"],
            Self::AppendObject => &["append", "position"],
            Self::DeleteMultipleObjects => &["delete"],
            Self::PutSymlink => &["symlink"],
            Self::GetSymlink => &["symlink", "versionId"],
            Self::PutObjectTagging | Self::GetObjectTagging | Self::DeleteObjectTagging => {
                &["tagging"]
            }
            Self::CreateDirectory => &["x-oss-dir"],
            Self::DeleteDirectory => &["x-oss-delete"],
            Self::Rename => &["x-oss-rename"],
            Self::InitiateMultipartUpload => &["uploads", "sequential"],
            Self::UploadPart | Self::UploadPartCopy => &["uploadId", "partNumber"],
            Self::CompleteMultipartUpload | Self::AbortMultipartUpload | Self::ListParts => {
                &["uploadId"]
            }
            Self::ListMultipartUploads => &["uploads"],
            Self::ListObjectsV2 => &["continuation-token"],
            Self::GetBucketInfo => &["bucketInfo"],
            Self::GetBucketLocation => &["location"],
            Self::GetBucketVersioning => &["versioning"],
            Self::PutObject | Self::CopyObject | Self::ListObjects | Self::ListBuckets => &[],
        }
    }

    /// True if its request may carry `x-oss-tagging`, which takes a permission of its own.
    pub(crate) fn writes_tags(self) -> bool {
        matches!(
            self,
            Self::PutObject
                | Self::AppendObject
                | Self::CopyObject
                | Self::PutSymlink
                | Self::InitiateMultipartUpload
        )
    }

    /// The action a RAM policy names it by; with a version in the request it is another one.
    pub(crate) fn action(self, of_version: bool) -> &'static str {
        match self {
            Self::GetObject | Self::HeadObject | Self::GetObjectMeta | Self::GetSymlink
                if of_version =>
            {
                "oss:GetObjectVersion"
            }
            Self::DeleteObject if of_version => "oss:DeleteObjectVersion",
            Self::GetObject | Self::HeadObject | Self::GetObjectMeta | Self::GetSymlink => {
                "oss:GetObject"
            }
            Self::PutObjectTagging => "oss:PutObjectTagging",
            Self::GetObjectTagging => "oss:GetObjectTagging",
            Self::DeleteObjectTagging => "oss:DeleteObjectTagging",
            Self::PutObject
            | Self::AppendObject
            | Self::PutSymlink
            | Self::CreateDirectory
            | Self::Rename
            | Self::CopyObject
            | Self::InitiateMultipartUpload
            | Self::UploadPart
            | Self::UploadPartCopy
            | Self::CompleteMultipartUpload => "oss:PutObject",
            Self::DeleteObject | Self::DeleteMultipleObjects | Self::DeleteDirectory => {
                "oss:DeleteObject"
            }
            Self::AbortMultipartUpload => "oss:AbortMultipartUpload",
            Self::ListParts => "oss:ListParts",
            Self::ListMultipartUploads => "oss:ListMultipartUploads",
            Self::ListObjects | Self::ListObjectsV2 => "oss:ListObjects",
            Self::GetBucketInfo => "oss:GetBucketInfo",
            Self::GetBucketLocation => "oss:GetBucketLocation",
            Self::GetBucketVersioning => "oss:GetBucketVersioning",
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
            ("GET", "/b/k?versionId=x", Operation::GetObject),
            ("GET", "/b?uploads", Operation::ListMultipartUploads),
            ("PUT", "/b/k?symlink", Operation::PutSymlink),
            ("POST", "/b/k?append&position=0", Operation::AppendObject),
            ("POST", "/b?delete", Operation::DeleteMultipleObjects),
            ("POST", "/b/k?x-oss-rename", Operation::Rename),
            ("DELETE", "/b/k?tagging", Operation::DeleteObjectTagging),
        ] {
            assert_eq!(of(method, target), Ok(operation), "{method} {target}");
        }
    }

    #[test]
    fn what_is_unknown_is_never_taken_for_something_else() {
        for (method, target) in [
            ("GET", "/b/k?acl"),
            ("GET", "/b/k?x-oss-process=image%2Finfo"),
            ("GET", "/b?versions"),
            ("PUT", "/b?versioning"),
            ("PUT", "/b/k?versionId=x"),
            ("GET", "/b?continuation-token=x"),
            ("POST", "/b/k?append&position=0&versionId=x"),
            ("PUT", "/b"),
            ("POST", "/b/k?seal&position=0"),
            ("POST", "/b/k?restore"),
            ("PUT", "/b/k?acl"),
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
