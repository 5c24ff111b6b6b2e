//! PutObject and AppendObject.

use crc_fast::CrcAlgorithm::Crc64Xz;
use http::header::ETAG;
use http::{HeaderMap, Method};

use super::ask::{Store, crc64};
use super::body::Body;
use super::bucket::{Bucket, Request, check_key};
use super::error::{Error, Kind};
use super::operation::Operation;
use super::properties::{Condition, Description, Properties};
use super::refusal::text;
use super::send::Exchange;
use crate::object::{ETag, ObjectKey};
use crate::op::Op;

/// Bytes of the largest object that is put at once, and of the largest part (OSS help "Limits"): 5 GB.
pub const PUT_BYTES_MAX: u64 = 5 << 30;

/// What a write made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The version that was made.
    pub etag: ETag,
    /// CRC-64/XZ of the whole object, as OSS told it: equal to that of the bytes sent wherever that is known. `None`: OSS told
    /// none, and nothing was verified.
    pub crc64: Option<u64>,
    /// In a bucket that keeps versions.
    pub version_id: Option<String>,
}

/// What an append made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Bytes of the whole object now, where the next append goes.
    pub next_position: u64,
    /// Of the whole object, as [`Stored::crc64`].
    pub crc64: Option<u64>,
    /// The version, if the answer told.
    pub etag: Option<ETag>,
}

impl Bucket {
    /// Stores an object, all of it or nothing: at most [`PUT_BYTES_MAX`].
    ///
    /// The CRC-64 that OSS computed is compared with the body's. If they differ the object is there with wrong bytes: it is
    /// sent again at once, and again with the same result it is given up. A [`Condition::ForbidOverwrite`] that is refused after an attempt
    /// whose answer was lost is success if the object is the one that was sent.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`] by the condition, [`Kind::Immutable`], [`Kind::TooLarge`], [`Kind::Corrupt`], [`Kind::Denied`],
    /// and what every request can fail with.
    pub async fn put_object(
        &self,
        op: &Op,
        key: &ObjectKey,
        body: &Body,
        properties: &Properties,
        condition: Condition,
    ) -> Result<Stored, Error> {
        check_key(Operation::Put, key)?;
        check_len(Operation::Put, key, body)?;
        let mut headers = headers(Operation::Put, key, properties.headers())?;
        condition.add_to(&mut headers);
        let mut store = Store {
            request: Request {
                headers,
                body: Some(body.clone()),
                ..Request::new(Method::PUT, Vec::new())
            },
            expected: Box::new(|| body.crc64()),
            read: Box::new(|headers, _| stored(headers)),
        };
        let mut exchange = Exchange::new(self, op, Operation::Put, Some(key));
        match exchange.persist(&mut store).await {
            Err(refusal) if *refusal.kind() == Kind::AlreadyExists && exchange.doubt => {
                self.recognise(op, key, refusal, 1, |shown, headers| {
                    let is_ours = shown.meta.size == body.len()
                        && shown.meta.crc64.is_some()
                        && shown.meta.crc64 == body.crc64()
                        && shown.properties.user == properties.user;
                    is_ours.then(|| stored(headers).ok())?
                })
                .await
            }
            answer => answer,
        }
    }

    /// Adds bytes to the end of an appendable object, which has `position` bytes; at 0 it makes one.
    ///
    /// `before` is the CRC-64 of the bytes before the position, if it is known: only then is what OSS tells compared, and only then an append
    /// whose answer was lost can be recognised. At position 0 nobody needs to know it. Properties count at position 0 only.
    ///
    /// # Errors
    /// [`Kind::Changed`] if the object has another length, [`Kind::Unsupported`] if it, or the bucket, cannot be appended to,
    /// [`Kind::Corrupt`] if other bytes arrived, which cannot be undone, and those of [`Bucket::put_object`].
    pub async fn append_object(
        &self,
        op: &Op,
        key: &ObjectKey,
        position: u64,
        body: &Body,
        before: Option<u64>,
        properties: &Properties,
    ) -> Result<Appended, Error> {
        check_key(Operation::Append, key)?;
        let params = vec![
            ("append", String::new()),
            ("position", position.to_string()),
        ];
        let headers = match position {
            0 => headers(Operation::Append, key, properties.headers())?,
            _ => HeaderMap::new(),
        };
        let before = if position == 0 { Some(0) } else { before };
        let expected = || {
            let (before, own) = (before?, body.crc64()?);
            Some(crc_fast::checksum_combine(Crc64Xz, before, own, body.len()))
        };
        let end = position + body.len();
        let mut store = Store {
            request: Request {
                headers,
                body: Some(body.clone()),
                ..Request::new(Method::POST, params)
            },
            expected: Box::new(expected),
            read: Box::new(|headers, _| appended(headers, end)),
        };
        let mut exchange = Exchange::new(self, op, Operation::Append, Some(key));
        match exchange.persist(&mut store).await {
            Err(refusal) if *refusal.kind() == Kind::Changed && exchange.doubt => {
                let proof = |shown: &Description, _: &HeaderMap| {
                    let is_ours = shown.meta.size == end
                        && shown.meta.crc64.is_some()
                        && shown.meta.crc64 == expected();
                    is_ours.then(|| Appended {
                        next_position: end,
                        crc64: shown.meta.crc64,
                        etag: Some(shown.meta.etag.clone()),
                    })
                };
                self.recognise(op, key, refusal, 1, proof).await
            }
            answer => answer,
        }
    }
}

/// OSS answers bytes that are too many with a code that says less.
pub(super) fn check_len(operation: Operation, key: &ObjectKey, body: &Body) -> Result<(), Error> {
    if body.len() > PUT_BYTES_MAX {
        let detail = format!("{} bytes are more than 5 GB", body.len());
        return Err(Error::unsent(operation, Some(key), Kind::TooLarge, detail));
    }
    Ok(())
}

/// Headers of a request, if they can be.
pub(super) fn headers(
    operation: Operation,
    key: &ObjectKey,
    headers: Result<HeaderMap, String>,
) -> Result<HeaderMap, Error> {
    headers.map_err(|detail| Error::invalid(operation, Some(key), detail))
}

/// What the head of an answer says of an object that was made.
pub(super) fn stored(headers: &HeaderMap) -> Result<Stored, String> {
    let etag = text(headers, ETAG.as_str()).ok_or("the answer has no ETag")?;
    Ok(stored_as(ETag::new(etag), headers))
}

pub(super) fn stored_as(etag: ETag, headers: &HeaderMap) -> Stored {
    Stored {
        etag,
        crc64: crc64(headers),
        version_id: text(headers, "x-oss-version-id").map(str::to_owned),
    }
}

fn appended(headers: &HeaderMap, end: u64) -> Result<Appended, String> {
    let next = text(headers, "x-oss-next-append-position").and_then(|text| text.parse().ok());
    if next != Some(end) {
        return Err("the answer has another position than the end of what was appended".to_owned());
    }
    Ok(Appended {
        next_position: end,
        crc64: crc64(headers),
        etag: text(headers, ETAG.as_str()).map(ETag::new),
    })
}
