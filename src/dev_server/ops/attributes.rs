//! What the writer of an object says of it, read from the request's headers.

use crate::dev_server::error::OssError;
use crate::dev_server::request::Incoming;
use crate::dev_server::store::{Attributes, IfPresent};
use crate::object::StorageClass;

/// Bytes of all user metadata of an object together (OSS help "PutObject").
const META_BYTES_MAX: usize = 8 << 10;

/// Standard headers that come back as they were sent.
const KEPT: [&str; 6] = [
    "content-type",
    "content-language",
    "content-encoding",
    "content-disposition",
    "cache-control",
    "expires",
];

/// # Errors
/// 400 `InvalidArgument` for an unknown storage class or too much metadata.
pub(super) fn read(request: &Incoming) -> Result<Attributes, OssError> {
    let storage_class = match request.header("x-oss-storage-class") {
        None => StorageClass::Standard,
        Some(word) => match StorageClass::from(word) {
            StorageClass::Other => {
                return Err(OssError::invalid_argument(
                    "x-oss-storage-class",
                    word,
                    "The storage class is not valid.",
                ));
            }
            class => class,
        },
    };
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut meta_bytes = 0;
    for (name, value) in &request.headers {
        let is_meta = name.as_str().starts_with("x-oss-meta-");
        if !is_meta && !KEPT.contains(&name.as_str()) {
            continue;
        }
        if is_meta {
            meta_bytes += name.as_str().len() + value.len();
        }
        // OSS takes UTF-8 in metadata.
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.push((name.as_str().to_owned(), value));
    }
    if meta_bytes > META_BYTES_MAX {
        return Err(OssError::invalid_argument(
            "x-oss-meta",
            &meta_bytes.to_string(),
            "The user metadata exceeds 8 KB.",
        ));
    }
    Ok(Attributes {
        storage_class,
        headers,
    })
}

/// `x-oss-forbid-overwrite`.
pub(super) fn if_present(request: &Incoming) -> IfPresent {
    match request.header("x-oss-forbid-overwrite") {
        Some(word) if word.eq_ignore_ascii_case("true") => IfPresent::Refuse,
        Some(_) | None => IfPresent::Replace,
    }
}
