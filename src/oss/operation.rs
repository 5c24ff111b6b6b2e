//! What can be asked of OSS, and what is true of each kind of asking.

/// What is asked of OSS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// GetObject
    Get,
    /// HeadObject
    Head,
    /// ListObjectsV2
    List,
    /// GetBucketInfo
    Info,
    /// PutObject
    Put,
    /// AppendObject
    Append,
    /// CopyObject
    Copy,
    /// InitiateMultipartUpload
    Initiate,
    /// UploadPart
    Part,
    /// UploadPartCopy
    PartCopy,
    /// CompleteMultipartUpload
    Complete,
    /// AbortMultipartUpload
    Abort,
    /// ListParts
    Parts,
    /// ListMultipartUploads
    Uploads,
    /// DeleteObject
    Delete,
    /// DeleteMultipleObjects
    DeleteBatch,
    /// PutSymlink
    PutSymlink,
    /// GetSymlink
    GetSymlink,
    /// PutObjectTagging
    PutTagging,
    /// GetObjectTagging
    GetTagging,
    /// DeleteObjectTagging
    DeleteTagging,
    /// Opening a bucket: nothing is sent.
    Open,
}

impl Operation {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Get => "get object",
            Self::Head => "head object",
            Self::List => "list objects",
            Self::Info => "get bucket info",
            Self::Put => "put object",
            Self::Append => "append object",
            Self::Copy => "copy object",
            Self::Initiate => "initiate multipart upload",
            Self::Part => "upload part",
            Self::PartCopy => "upload part copy",
            Self::Complete => "complete multipart upload",
            Self::Abort => "abort multipart upload",
            Self::Parts => "list parts",
            Self::Uploads => "list multipart uploads",
            Self::Delete => "delete object",
            Self::DeleteBatch => "delete multiple objects",
            Self::PutSymlink => "put symlink",
            Self::GetSymlink => "get symlink",
            Self::PutTagging => "put object tagging",
            Self::GetTagging => "get object tagging",
            Self::DeleteTagging => "delete object tagging",
            Self::Open => "open bucket",
        }
    }

    /// The RAM action that allows it (OSS help "RAM policy", table of actions). A copy needs `oss:GetObject` on its source too,
    /// a write with tags `oss:PutObjectTagging`.
    pub(super) fn action(self) -> &'static str {
        match self {
            Self::Get | Self::Head | Self::GetSymlink => "oss:GetObject",
            Self::List => "oss:ListObjects",
            Self::Info | Self::Open => "oss:GetBucketInfo",
            Self::Put
            | Self::Append
            | Self::Copy
            | Self::Initiate
            | Self::Part
            | Self::PartCopy
            | Self::Complete
            | Self::PutSymlink => "oss:PutObject",
            Self::Abort => "oss:AbortMultipartUpload",
            Self::Parts => "oss:ListParts",
            Self::Uploads => "oss:ListMultipartUploads",
            Self::Delete | Self::DeleteBatch => "oss:DeleteObject",
            Self::PutTagging => "oss:PutObjectTagging",
            Self::GetTagging => "oss:GetObjectTagging",
            Self::DeleteTagging => "oss:DeleteObjectTagging",
        }
    }

    /// True if it needs an object that is there: then a 404 with an unknown code is about that object.
    pub(super) fn is_of_an_object(self) -> bool {
        match self {
            Self::Get
            | Self::Head
            | Self::Copy
            | Self::PartCopy
            | Self::Delete
            | Self::GetSymlink
            | Self::PutTagging
            | Self::GetTagging
            | Self::DeleteTagging => true,
            Self::List
            | Self::Info
            | Self::Put
            | Self::Append
            | Self::Initiate
            | Self::Part
            | Self::Complete
            | Self::Abort
            | Self::Parts
            | Self::Uploads
            | Self::DeleteBatch
            | Self::PutSymlink
            | Self::Open => false,
        }
    }

    /// True if success is 204, an answer without a body.
    pub(super) fn is_answered_empty(self) -> bool {
        matches!(self, Self::Abort | Self::Delete | Self::DeleteTagging)
    }

    /// True if OSS works on the data before the head of the answer comes, in proportion to its size.
    pub(super) fn is_slow(self) -> bool {
        matches!(self, Self::Copy | Self::PartCopy | Self::Complete)
    }

    /// True if sending the bytes again makes good what went wrong with them on the wire. Bytes that were appended cannot be
    /// taken back, and an upload that was completed is gone.
    pub(super) fn can_store_again(self) -> bool {
        !matches!(self, Self::Append | Self::Complete)
    }
}
