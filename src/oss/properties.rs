//! What the writer of an object says of it, and what a rewrite has to keep.

use std::collections::BTreeMap;

use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_TYPE, EXPIRES,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Error;
use super::ask::{Ask, FORBID_OVERWRITE};
use super::bucket::{Bucket, Request, check_key};
use super::operation::Operation;
use super::operations::meta;
use super::refusal::text;
use super::send::Exchange;
use super::sign::encode_param;
use crate::object::{ObjectKey, ObjectMeta, StorageClass};
use crate::op::Op;

const META: &str = "x-oss-meta-";
const CLASS: HeaderName = HeaderName::from_static("x-oss-storage-class");
const ENCRYPTION: HeaderName = HeaderName::from_static("x-oss-server-side-encryption");
const KEY_ID: HeaderName = HeaderName::from_static("x-oss-server-side-encryption-key-id");
const DATA: HeaderName = HeaderName::from_static("x-oss-server-side-data-encryption");
const TAGS: HeaderName = HeaderName::from_static("x-oss-tagging");

/// What a write asks of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// Nothing: whatever is there is replaced.
    #[default]
    None,
    /// That there is no object yet; else [`super::Kind::AlreadyExists`]. OSS ignores it in buckets that keep versions.
    ForbidOverwrite,
}

impl Condition {
    pub(super) fn add_to(self, headers: &mut HeaderMap) {
        match self {
            Self::None => {}
            Self::ForbidOverwrite => {
                headers.insert(FORBID_OVERWRITE, HeaderValue::from_static("true"));
            }
        }
    }
}

/// How OSS encrypts an object where it keeps it. The words are OSS's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// `AES256`, `KMS` or `SM4`.
    pub method: String,
    /// The key in KMS; `None` for the account's own.
    pub key_id: Option<String>,
    /// What KMS encrypts the data with, `SM4` for instance.
    pub data: Option<String>,
}

/// What the writer of an object says of it. The default says nothing. The ACL is left alone.
///
/// What a HEAD tells ([`Bucket::describe`]) and a later write sends comes back equal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    /// `Content-Type`; OSS takes `application/octet-stream` for none.
    pub content_type: Option<String>,
    /// `Cache-Control`
    pub cache_control: Option<String>,
    /// `Content-Disposition`
    pub content_disposition: Option<String>,
    /// `Content-Encoding`
    pub content_encoding: Option<String>,
    /// `Content-Language`
    pub content_language: Option<String>,
    /// `Expires`, as it was given
    pub expires: Option<String>,
    /// `x-oss-meta-…` by the rest of the name: lower-case letters, digits and hyphens. Names and values together at most 8 KB.
    pub user: BTreeMap<String, String>,
    /// Where it is kept; the bucket's default for none and for [`StorageClass::Other`].
    pub storage_class: Option<StorageClass>,
    /// The bucket's default for none.
    pub encryption: Option<Encryption>,
    /// At most 10 tags, name and value. A HEAD only counts them.
    pub tags: Vec<(String, String)>,
}

/// All that a HEAD tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Size, version, times.
    pub meta: ObjectMeta,
    /// What its writer said; tags only from [`Bucket::describe_with_tags`].
    pub properties: Properties,
    /// How many tags it has.
    pub tag_count: u32,
    /// In a bucket that keeps versions.
    pub version_id: Option<String>,
}

impl Bucket {
    /// All that a HEAD tells of an object. A symbolic link of OSS is resolved.
    ///
    /// # Errors
    /// As [`Bucket::head`]; [`super::Kind::Lied`] if metadata is not UTF-8, which no rewrite could keep.
    pub async fn describe(&self, op: &Op, key: &ObjectKey) -> Result<Description, Error> {
        check_key(Operation::Head, key)?;
        let mut ask = Ask {
            request: Request::new(Method::HEAD, Vec::new()),
            read: Box::new(|headers, _| described(headers)),
        };
        let mut exchange = Exchange::new(self, op, Operation::Head, Some(key));
        exchange.persist(&mut ask).await
    }

    /// The same with its tags: what a rewrite keeps. A second request only if there are tags.
    ///
    /// # Errors
    /// As [`Bucket::describe`] and [`Bucket::get_tagging`].
    pub async fn describe_with_tags(&self, op: &Op, key: &ObjectKey) -> Result<Description, Error> {
        let mut description = self.describe(op, key).await?;
        if description.tag_count > 0 {
            description.properties.tags = self.get_tagging(op, key).await?;
        }
        Ok(description)
    }
}

/// Reads the head of an answer to HEAD.
pub(super) fn described(headers: &HeaderMap) -> Result<Description, String> {
    let number = |name: &str| text(headers, name)?.parse::<u64>().ok();
    let length = number(CONTENT_LENGTH.as_str()).ok_or("the answer has no length")?;
    let tags = number("x-oss-tagging-count").unwrap_or(0);
    Ok(Description {
        meta: meta(headers, length)?,
        properties: Properties::read(headers)?,
        tag_count: u32::try_from(tags).unwrap_or(u32::MAX),
        version_id: text(headers, "x-oss-version-id").map(str::to_owned),
    })
}

impl Properties {
    /// What the headers of a HEAD or GET tell; tags are not among it.
    ///
    /// # Errors
    /// Says which header is not UTF-8.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, String> {
        let utf8 = |name: &str| {
            let Some(value) = headers.get(name) else {
                return Ok(None);
            };
            let text = std::str::from_utf8(value.as_bytes());
            text.map(|text| Some(text.to_owned()))
                .map_err(|_| format!("the header {name} is not UTF-8"))
        };
        let mut user = BTreeMap::new();
        for name in headers.keys() {
            if let Some(rest) = name.as_str().strip_prefix(META)
                && let Some(value) = utf8(name.as_str())?
            {
                user.insert(rest.to_owned(), value);
            }
        }
        let encryption = utf8(ENCRYPTION.as_str())?;
        let (key_id, data) = (utf8(KEY_ID.as_str())?, utf8(DATA.as_str())?);
        Ok(Self {
            content_type: utf8(CONTENT_TYPE.as_str())?,
            cache_control: utf8(CACHE_CONTROL.as_str())?,
            content_disposition: utf8(CONTENT_DISPOSITION.as_str())?,
            content_encoding: utf8(CONTENT_ENCODING.as_str())?,
            content_language: utf8(CONTENT_LANGUAGE.as_str())?,
            expires: utf8(EXPIRES.as_str())?,
            user,
            storage_class: text(headers, CLASS.as_str()).map(StorageClass::from),
            encryption: encryption.map(|method| Encryption {
                method,
                key_id,
                data,
            }),
            tags: Vec::new(),
        })
    }

    /// Everything, for a write that makes an object.
    ///
    /// # Errors
    /// Says which value no header can carry.
    pub(super) fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = self.placement()?;
        let named = [
            (CONTENT_TYPE, &self.content_type),
            (CACHE_CONTROL, &self.cache_control),
            (CONTENT_DISPOSITION, &self.content_disposition),
            (CONTENT_ENCODING, &self.content_encoding),
            (CONTENT_LANGUAGE, &self.content_language),
            (EXPIRES, &self.expires),
        ];
        for (name, value) in named {
            add(&mut headers, name, value.as_deref())?;
        }
        for (rest, value) in &self.user {
            let fits =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            let name = HeaderName::try_from(format!("{META}{rest}"));
            match name {
                Ok(name) if !rest.is_empty() && rest.bytes().all(fits) => {
                    add(&mut headers, name, Some(value))?;
                }
                Ok(_) | Err(_) => {
                    return Err(format!(
                        "'{}' is no name of user metadata",
                        rest.escape_debug()
                    ));
                }
            }
        }
        if !self.tags.is_empty() {
            let tags = self.tags.iter();
            let tags: Vec<String> = tags
                .map(|(name, value)| format!("{}={}", encode_param(name), encode_param(value)))
                .collect();
            add(&mut headers, TAGS, Some(&tags.join("&")))?;
        }
        Ok(headers)
    }

    /// What a copy does not carry over by itself: class and encryption.
    pub(super) fn placement(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let class = self
            .storage_class
            .filter(|class| *class != StorageClass::Other);
        add(&mut headers, CLASS, class.map(StorageClass::as_str))?;
        if let Some(encryption) = &self.encryption {
            add(&mut headers, ENCRYPTION, Some(&encryption.method))?;
            add(&mut headers, KEY_ID, encryption.key_id.as_deref())?;
            add(&mut headers, DATA, encryption.data.as_deref())?;
        }
        Ok(headers)
    }
}

/// Values are signed as they arrive, and proxies trim them: padded ones are refused.
fn add(headers: &mut HeaderMap, name: HeaderName, value: Option<&str>) -> Result<(), String> {
    let Some(value) = value else {
        return Ok(());
    };
    match HeaderValue::from_bytes(value.as_bytes()) {
        Ok(text) if value.trim() == value => headers.insert(name, text),
        Ok(_) | Err(_) => return Err(format!("no header can carry the value of {name}")),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use proptest::prelude::*;

    use super::*;

    fn full() -> Properties {
        Properties {
            content_type: Some("text/plain; charset=utf-8".to_owned()),
            cache_control: Some("no-cache".to_owned()),
            content_disposition: Some("attachment; filename=\"文.txt\"".to_owned()),
            content_encoding: Some("gzip".to_owned()),
            content_language: Some("de".to_owned()),
            expires: Some("0".to_owned()),
            user: [("a-1", "ü x"), ("b", "")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            storage_class: Some(StorageClass::InfrequentAccess),
            encryption: Some(Encryption {
                method: "KMS".to_owned(),
                key_id: Some("9468da86-3509-4f8d-a61e-6eab1eac".to_owned()),
                data: Some("SM4".to_owned()),
            }),
            tags: Vec::new(),
        }
    }

    #[test]
    fn what_a_head_tells_is_what_was_written() {
        for properties in [Properties::default(), full()] {
            let headers = properties.headers().unwrap();
            assert_eq!(Properties::read(&headers).unwrap(), properties);
        }
    }

    #[test]
    fn tags_are_encoded_twice_over() {
        let pairs = [("k1", "v1"), ("k 2", "v+2")];
        let tags = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let properties = Properties {
            tags: tags.into(),
            ..Properties::default()
        };
        let headers = properties.headers().unwrap();
        assert_eq!(headers[TAGS], "k1=v1&k%202=v%2B2");
    }

    #[test]
    fn a_copy_is_told_class_and_encryption_only() {
        let headers = full().placement().unwrap();
        assert_eq!(headers.len(), 4);
        assert_eq!(headers[CLASS], "IA");
        let other = Properties {
            storage_class: Some(StorageClass::Other),
            ..Properties::default()
        };
        assert!(other.headers().unwrap().is_empty());
    }

    #[test]
    fn what_no_header_can_carry_is_refused() {
        let with = |name: &str, value: &str| Properties {
            user: [(name.to_owned(), value.to_owned())].into(),
            ..Properties::default()
        };
        for (name, value) in [
            ("", "x"),
            ("A", "x"),
            ("a_b", "x"),
            ("a b", "x"),
            ("ü", "x"),
            ("a", "x\ny"),
            ("a", "x "),
            ("a", "\0"),
        ] {
            assert!(with(name, value).headers().is_err(), "{name:?} {value:?}");
        }
        let mut headers = HeaderMap::new();
        let latin = HeaderValue::from_bytes(b"\xfc").unwrap();
        headers.insert("x-oss-meta-a", latin);
        assert!(Properties::read(&headers).is_err());
    }

    #[test]
    fn a_head_is_described() {
        let mut headers = full().headers().unwrap();
        for (name, value) in [
            ("content-length", "7"),
            ("etag", "\"5B\""),
            ("last-modified", "Tue, 21 May 2024 10:39:29 GMT"),
            ("x-oss-tagging-count", "3"),
            ("x-oss-version-id", "CAEQ"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let description = described(&headers).unwrap();
        assert_eq!((description.meta.size, description.tag_count), (7, 3));
        assert_eq!(description.version_id.as_deref(), Some("CAEQ"));
        assert_eq!(description.properties, full());
    }

    proptest! {
        #[test]
        fn any_metadata_comes_back_or_is_refused(name in "[a-z0-9-]{1,9}", value in any::<String>()) {
            let properties = Properties { user: [(name, value)].into(), ..Properties::default() };
            if let Ok(headers) = properties.headers() {
                prop_assert_eq!(Properties::read(&headers).map_err(TestCaseError::fail)?, properties);
            }
        }
    }
}
