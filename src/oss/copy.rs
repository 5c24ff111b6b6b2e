//! CopyObject and UploadPartCopy: bytes that move inside OSS.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::ask::{Store, crc64};
use super::body::Body;
use super::bucket::{Bucket, Request, check_key};
use super::error::{Error, Kind};
use super::multipart::{Part, Upload, check_part, part_params};
use super::operation::Operation;
use super::properties::{Condition, Description, Properties};
use super::put::{Stored, headers, stored, stored_as};
use super::send::Exchange;
use super::sign::encode_key;
use super::xml::{self, ETagDocument};
use crate::object::{ETag, ObjectKey, Source, Version};
use crate::op::Op;

const SOURCE: HeaderName = HeaderName::from_static("x-oss-copy-source");
const SOURCE_IF_MATCH: HeaderName = HeaderName::from_static("x-oss-copy-source-if-match");
const SOURCE_RANGE: HeaderName = HeaderName::from_static("x-oss-copy-source-range");
const METADATA: HeaderName = HeaderName::from_static("x-oss-metadata-directive");
const TAGGING: HeaderName = HeaderName::from_static("x-oss-tagging-directive");

/// What a copy is made of: an object of the same bucket. The more is known of it, the more is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopySource<'a> {
    /// Its key.
    pub key: &'a ObjectKey,
    /// Only this version. `None`: whatever is there; then a copy whose answer was lost is recognised by size and CRC-64 only.
    pub if_match: Option<&'a ETag>,
    /// Its bytes.
    pub size: Option<u64>,
    /// Its CRC-64, which the copy must have too.
    pub crc64: Option<u64>,
}

impl<'a> From<&'a Version> for CopySource<'a> {
    fn from(version: &'a Version) -> Self {
        Self {
            key: version.key(),
            if_match: Some(version.etag()),
            size: Some(version.size()),
            crc64: None,
        }
    }
}

/// What is said of a copy.
#[derive(Debug, Clone, Copy)]
pub enum CopyProperties<'a> {
    /// What is said of the source, tags included. Class and encryption, which OSS does not carry over, are taken from here;
    /// the rest of it is not looked at.
    Keep(&'a Properties),
    /// This, and nothing of what is said of the source.
    Replace(&'a Properties),
}

impl Bucket {
    /// Makes an object of another one of the same bucket, or of itself with other properties, without moving bytes. The link, not its target, if the
    /// source is a symbolic link of OSS.
    ///
    /// OSS's pages disagree on how large the source may be: up to 1 GB is always safe, more may be refused with [`Kind::TooLarge`] or
    /// [`Kind::Invalid`], and is then copied in parts ([`Bucket::upload_part_copy`]).
    ///
    /// A refusal after an attempt whose answer was lost (the source went away since, or the target is there) is success if the target is
    /// what the source was.
    ///
    /// # Errors
    /// [`Kind::NotFound`] and [`Kind::Changed`] of the source, [`Kind::AlreadyExists`] by the condition, [`Kind::Corrupt`] if the copy has another
    /// CRC-64 than the source, [`Kind::Immutable`], [`Kind::TooLarge`], [`Kind::Archived`], and what every request can fail with.
    pub async fn copy_object(
        &self,
        op: &Op,
        source: CopySource<'_>,
        key: &ObjectKey,
        properties: CopyProperties<'_>,
        condition: Condition,
    ) -> Result<Stored, Error> {
        check_key(Operation::Copy, key)?;
        let (kept, directive) = match properties {
            CopyProperties::Keep(properties) => (properties.placement(), "COPY"),
            CopyProperties::Replace(properties) => (properties.headers(), "REPLACE"),
        };
        let kept = kept.and_then(|mut kept| {
            kept.insert(METADATA, HeaderValue::from_static(directive));
            if let CopyProperties::Replace(_) = properties {
                kept.insert(TAGGING, HeaderValue::from_static("Replace"));
            }
            self.name_source(source.key, source.if_match, &mut kept)?;
            Ok(kept)
        });
        let mut headers = headers(Operation::Copy, key, kept)?;
        condition.add_to(&mut headers);
        let mut store = Store {
            request: Request {
                headers,
                body: Some(Body::new([])),
                ..Request::new(Method::PUT, Vec::new())
            },
            expected: Box::new(|| source.crc64),
            read: Box::new(|headers, body| Ok(stored_as(etag(body)?, headers))),
        };
        let mut exchange = Exchange::new(self, op, Operation::Copy, Some(key));
        let refusal = match exchange.persist(&mut store).await {
            Err(refusal) => refusal,
            done => return done,
        };
        let may_be_done = matches!(
            refusal.kind(),
            Kind::AlreadyExists | Kind::NotFound | Kind::Changed
        );
        if !exchange.doubt || !may_be_done {
            return Err(refusal);
        }
        let proof = |shown: &Description, headers: &HeaderMap| {
            let is_ours = is_copy(shown, source) && is_replaced(shown, properties);
            is_ours.then(|| stored(headers).ok())?
        };
        self.recognise(op, key, refusal, 1, proof).await
    }

    /// Makes a part of bytes of an object of the same bucket, of the version that `source` names, as many as a
    /// part has. Not of an appendable object ([`Kind::Unsupported`] or [`Kind::Invalid`]).
    ///
    /// `expected` is the CRC-64 of the range, if it is known; OSS does not always tell one for copied parts, see [`Part::crc64`] and
    /// [`Bucket::list_parts`].
    ///
    /// # Errors
    /// [`Kind::NotFound`] and [`Kind::Changed`] of the source, [`Kind::NoSuchUpload`], [`Kind::Corrupt`], and what every request can fail with.
    pub async fn upload_part_copy(
        &self,
        op: &Op,
        upload: &Upload,
        number: u16,
        source: &Source,
        expected: Option<u64>,
    ) -> Result<Part, Error> {
        check_part(Operation::PartCopy, upload, number)?;
        let version = &source.version;
        let mut named = HeaderMap::new();
        let range = format!(
            "bytes={}-{}",
            source.range.start,
            source.range.end.max(1) - 1
        );
        let named = match source.is_empty() {
            true => Err("a part cannot be copied from no bytes".to_owned()),
            false => self
                .name_source(version.key(), Some(version.etag()), &mut named)
                .and_then(|()| {
                    if !source.is_whole() {
                        named.insert(SOURCE_RANGE, value(range)?);
                    }
                    Ok(named)
                }),
        };
        let headers = headers(Operation::PartCopy, &upload.key, named)?;
        let mut store = Store {
            request: Request {
                headers,
                body: Some(Body::new([])),
                ..Request::new(Method::PUT, part_params(upload, number))
            },
            expected: Box::new(|| expected),
            read: Box::new(|headers, body| {
                Ok(Part {
                    number,
                    etag: etag(body)?,
                    size: source.len(),
                    crc64: crc64(headers),
                })
            }),
        };
        let mut exchange = Exchange::new(self, op, Operation::PartCopy, Some(&upload.key));
        exchange.persist(&mut store).await
    }

    fn name_source(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
        headers: &mut HeaderMap,
    ) -> Result<(), String> {
        let path = format!("/{}/{}", self.name, encode_key(key.as_str()));
        headers.insert(SOURCE, value(path)?);
        if let Some(etag) = if_match {
            headers.insert(SOURCE_IF_MATCH, value(etag.quoted())?);
        }
        Ok(())
    }
}

fn value(text: String) -> Result<HeaderValue, String> {
    HeaderValue::try_from(text)
        .map_err(|_| "the ETag holds bytes that no header can carry".to_owned())
}

fn etag(body: &[u8]) -> Result<ETag, String> {
    let document: ETagDocument = xml::parse(body).map_err(|error| error.to_string())?;
    match document.etag.as_str() {
        "" => Err("the answer has no ETag".to_owned()),
        etag => Ok(ETag::new(etag)),
    }
}

/// True if what stands at the target is provably the source.
fn is_copy(shown: &Description, source: CopySource<'_>) -> bool {
    let meta = &shown.meta;
    if source.size.is_some_and(|size| size != meta.size) {
        return false;
    }
    let same_crc = meta.crc64.is_some() && meta.crc64 == source.crc64 && source.size.is_some();
    same_crc || source.if_match.is_some_and(|etag| *etag == meta.etag)
}

fn is_replaced(shown: &Description, properties: CopyProperties<'_>) -> bool {
    match properties {
        CopyProperties::Keep(_) => true,
        CopyProperties::Replace(properties) => properties.user == shown.properties.user,
    }
}
