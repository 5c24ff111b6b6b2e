//! Bodies of requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use hyper::body::Incoming as Body;
use md5::{Digest as _, Md5};

use super::Call;
use crate::dev_server::error::OssError;
use crate::dev_server::request::Incoming;
use crate::dev_server::store::{Expected, Received};
use crate::dev_server::wire::Inbound;

/// The largest body of one request (OSS help "PutObject" and "UploadPart"): 5 GB.
const BODY_BYTES_MAX: u64 = 5 << 30;

/// How much of an unwanted body is read before the refusal is sent. A client that is still writing when the
/// connection closes would see a broken pipe instead of the answer.
const DRAIN_BYTES_MAX: usize = 64 << 20;

/// Receives an object or a part.
///
/// # Errors
/// 411 without a length, 400 `EntityTooLarge`, `InvalidDigest` or `RequestTimeout`.
pub(super) async fn content(call: Call<'_>, body: &mut Inbound<'_>) -> Result<Received, OssError> {
    let len = announced(call.request)?;
    let md5 = call.request.header("content-md5").map(digest).transpose()?;
    let mut sink = call.bucket.sink(Expected {
        len,
        md5: md5.is_some(),
    })?;
    let mut size = 0;
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|_| timed_out())?;
        size += bytes.len() as u64;
        if size > BODY_BYTES_MAX {
            return Err(too_large(size));
        }
        sink.write(&bytes).map_err(OssError::internal)?;
    }
    let received = sink.finish();
    match md5 {
        Some(_) if md5 != received.md5 => Err(other_digest()),
        Some(_) | None => Ok(received),
    }
}

/// Checks the `Content-MD5` of a document that must have one.
///
/// # Errors
/// 400 `MissingArgument` or `InvalidDigest`.
pub(super) fn check_md5(request: &Incoming, document: &[u8]) -> Result<(), OssError> {
    let header = request.header("content-md5").ok_or_else(|| {
        OssError::new(
            400,
            "MissingArgument",
            "Missing Some Required Arguments.",
            "0016-00000606",
        )
        .with("ArgumentName", "Content-MD5")
    })?;
    match digest(header)? == <[u8; 16]>::from(Md5::digest(document)) {
        true => Ok(()),
        false => Err(other_digest()),
    }
}

/// Receives a document of at most `max` bytes.
///
/// # Errors
/// 400 `MalformedXML` past them, `RequestTimeout` if the body breaks off.
pub(super) async fn document(body: &mut Inbound<'_>, max: usize) -> Result<Vec<u8>, OssError> {
    let mut document = Vec::new();
    while let Some(bytes) = body.next().await {
        document.extend_from_slice(&bytes.map_err(|_| timed_out())?);
        if document.len() > max {
            return Err(malformed_xml());
        }
    }
    Ok(document)
}

/// Reads what is left of a body and forgets it.
pub(in crate::dev_server) async fn drain(body: &mut Body) {
    let mut left = DRAIN_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let len = frame.data_ref().map_or(0, bytes::Bytes::len);
        match left.checked_sub(len) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// What `Content-Length` says; `None` for a chunked body.
pub(super) fn announced(request: &Incoming) -> Result<Option<u64>, OssError> {
    if request.headers.contains_key("transfer-encoding") {
        return Ok(None);
    }
    let length = request
        .header("content-length")
        .and_then(|length| length.parse().ok())
        .ok_or_else(|| {
            OssError::new(
                411,
                "MissingContentLength",
                "You must provide the Content-Length HTTP header.",
                "0002-00000909",
            )
        })?;
    if length > BODY_BYTES_MAX {
        return Err(too_large(length));
    }
    Ok(Some(length))
}

fn digest(header: &str) -> Result<[u8; 16], OssError> {
    STANDARD
        .decode(header)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| {
            OssError::new(
                400,
                "InvalidDigest",
                "The Content-MD5 you specified is invalid.",
                "0016-00000511",
            )
            .with("Content-MD5", header)
        })
}

fn other_digest() -> OssError {
    OssError::new(
        400,
        "InvalidDigest",
        "The Content-MD5 you specified did not match what we received.",
        "0016-00000512",
    )
}

pub(super) fn too_large(size: u64) -> OssError {
    OssError::new(
        400,
        "EntityTooLarge",
        "Your proposed upload exceeds the maximum allowed size.",
        "",
    )
    .with("ProposedSize", size.to_string())
    .with("MaxSizeAllowed", BODY_BYTES_MAX.to_string())
}

fn timed_out() -> OssError {
    OssError::new(
        400,
        "RequestTimeout",
        "Your socket connection to the server was not read from or written to within the timeout period.",
        "0002-00000911",
    )
}

pub(super) fn malformed_xml() -> OssError {
    malformed_xml_as("0042-00000205")
}

/// The same with the EC of an operation.
pub(super) fn malformed_xml_as(ec: &'static str) -> OssError {
    OssError::new(
        400,
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema.",
        ec,
    )
}
