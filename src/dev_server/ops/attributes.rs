//! What the writer of an object says of it, read from the request's headers.

use super::tagging;
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

/// Headers of server-side encryption.
const ENCRYPTION: [&str; 3] = [
    "x-oss-server-side-encryption",
    "x-oss-server-side-encryption-key-id",
    "x-oss-server-side-data-encryption",
];

/// # Errors
/// 400 `InvalidArgument` for an unknown storage class or too much metadata, `InvalidEncryptionAlgorithmError`,
/// `InvalidTag`.
pub(super) fn read(request: &Incoming) -> Result<Attributes, OssError> {
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut meta_bytes = 0;
    for (name, value) in &request.headers {
        let meta = name.as_str().strip_prefix("x-oss-meta-");
        if meta.is_none() && !KEPT.contains(&name.as_str()) {
            continue;
        }
        if let Some(meta) = meta {
            meta_bytes += name.as_str().len() + value.len();
            // OSS help "PutObject": hyphens, digits and letters.
            if !meta
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            {
                return Err(OssError::invalid_argument(
                    name.as_str(),
                    meta,
                    "The name of user metadata has letters, digits and hyphens.",
                ));
            }
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
        storage_class: storage_class(request)?,
        headers,
        encryption: encryption(request)?,
        tags: match request.header("x-oss-tagging") {
            None => Vec::new(),
            Some(header) => tagging::of_header(header)?,
        },
    })
}

fn storage_class(request: &Incoming) -> Result<StorageClass, OssError> {
    match request.header("x-oss-storage-class") {
        None => Ok(StorageClass::Standard),
        Some(word) => match StorageClass::from(word) {
            StorageClass::Other => Err(OssError::invalid_argument(
                "x-oss-storage-class",
                word,
                "The storage class is not valid.",
            )),
            class => Ok(class),
        },
    }
}

fn encryption(request: &Incoming) -> Result<Vec<(String, String)>, OssError> {
    if let Some(word) = request.header(ENCRYPTION[0])
        && !["AES256", "KMS", "SM4"].contains(&word)
    {
        return Err(OssError::new(
            400,
            "InvalidEncryptionAlgorithmError",
            "The Encryption request you specified is not valid. Supported value: AES256/KMS/SM4.",
            "",
        ));
    }
    let given = |name: &str| Some((name.to_owned(), request.header(name)?.to_owned()));
    Ok(ENCRYPTION.iter().filter_map(|name| given(name)).collect())
}

/// `x-oss-forbid-overwrite`.
pub(super) fn if_present(request: &Incoming) -> IfPresent {
    match request.header("x-oss-forbid-overwrite") {
        Some(word) if word.eq_ignore_ascii_case("true") => IfPresent::Refuse,
        Some(_) | None => IfPresent::Replace,
    }
}
