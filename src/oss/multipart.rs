//! Multipart uploads: parts in any order, made one object at the end.

use std::fmt::Write as _;

use crc_fast::CrcAlgorithm::Crc64Xz;
use http::header::ETAG;
use http::{HeaderMap, Method};
use md5::{Digest as _, Md5};

use super::ask::{Ask, Store, crc64};
use super::body::Body;
use super::bucket::{Bucket, Request, check_key};
use super::error::{Error, Kind};
use super::operation::Operation;
use super::properties::{Condition, Properties};
use super::put::{Stored, check_len, headers, stored, stored_as};
use super::refusal::text;
use super::send::Exchange;
use super::xml::{self, ETagDocument, InitiateDocument};
use crate::object::{ETag, ObjectKey};
use crate::op::Op;

/// Bytes of the smallest part, the last one of an upload aside (OSS help "UploadPart").
pub const PART_BYTES_MIN: u64 = 100 << 10;

/// The highest number of a part (the same page).
pub const PART_NUMBER_MAX: u16 = 10_000;

/// A multipart upload that was initiated: its key and OSS's name for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// What its parts become.
    pub key: ObjectKey,
    /// `UploadId`, an opaque word.
    pub id: String,
}

impl Upload {
    pub(super) fn param(&self) -> (&'static str, String) {
        ("uploadId", self.id.clone())
    }
}

/// A part that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// 1 to [`PART_NUMBER_MAX`]; their order is that of the object, and gaps do not matter.
    pub number: u16,
    /// What completing names it by.
    pub etag: ETag,
    /// Its bytes: [`PART_BYTES_MIN`] to [`super::PUT_BYTES_MAX`], the last one of an upload any number.
    pub size: u64,
    /// CRC-64/XZ as OSS told it, equal to that of the bytes sent; `None`: nothing was told and nothing verified.
    pub crc64: Option<u64>,
}

impl Bucket {
    /// Begins an upload; nothing shows at the key before it is completed. An attempt whose answer is lost leaves an upload without parts
    /// behind, as a crash does.
    ///
    /// # Errors
    /// As [`Bucket::put_object`].
    pub async fn initiate(
        &self,
        op: &Op,
        key: &ObjectKey,
        properties: &Properties,
        condition: Condition,
    ) -> Result<Upload, Error> {
        check_key(Operation::Initiate, key)?;
        let mut headers = headers(Operation::Initiate, key, properties.headers())?;
        condition.add_to(&mut headers);
        let mut ask = Ask {
            request: Request {
                headers,
                body: Some(Body::new([])),
                ..Request::new(Method::POST, vec![("uploads", String::new())])
            },
            read: Box::new(|_, body| {
                let document: InitiateDocument =
                    xml::parse(body).map_err(|error| error.to_string())?;
                if document.upload_id.is_empty() {
                    return Err("the answer has no upload id".to_owned());
                }
                Ok(Upload {
                    key: key.clone(),
                    id: document.upload_id,
                })
            }),
        };
        let mut exchange = Exchange::new(self, op, Operation::Initiate, Some(key));
        exchange.persist(&mut ask).await
    }

    /// Sends a part; one of the same number is replaced. A part whose CRC-64 is another one in OSS is sent once more.
    ///
    /// # Errors
    /// [`Kind::NoSuchUpload`], [`Kind::TooLarge`], [`Kind::Corrupt`], [`Kind::Invalid`] for a number out of range, and what every request can fail with.
    pub async fn upload_part(
        &self,
        op: &Op,
        upload: &Upload,
        number: u16,
        body: &Body,
    ) -> Result<Part, Error> {
        check_part(Operation::Part, upload, number)?;
        check_len(Operation::Part, &upload.key, body)?;
        let mut store = Store {
            request: Request {
                body: Some(body.clone()),
                ..Request::new(Method::PUT, part_params(upload, number))
            },
            expected: Box::new(|| body.crc64()),
            read: Box::new(|headers, _| {
                let etag = text(headers, ETAG.as_str()).ok_or("the answer has no ETag")?;
                Ok(Part {
                    number,
                    etag: ETag::new(etag),
                    size: body.len(),
                    crc64: crc64(headers),
                })
            }),
        };
        let mut exchange = Exchange::new(self, op, Operation::Part, Some(&upload.key));
        exchange.persist(&mut store).await
    }

    /// Makes an object of parts, given in ascending order of their numbers.
    ///
    /// `expected` is the CRC-64 of the whole; by default it is combined from those of the parts, if all are known. `NoSuchUpload`
    /// is success if the object at the key is what the parts make (see `recognise`), so completing may be repeated, also by a later call.
    ///
    /// # Errors
    /// [`Kind::NoSuchUpload`] if the object at the key is another one, [`Kind::AlreadyExists`] by the condition, [`Kind::Invalid`]
    /// if parts are missing, too small or out of order, [`Kind::Corrupt`] if the object has another CRC-64 (it is there nevertheless), and
    /// what every request can fail with.
    pub async fn complete(
        &self,
        op: &Op,
        upload: &Upload,
        parts: &[Part],
        condition: Condition,
        expected: Option<u64>,
    ) -> Result<Stored, Error> {
        let key = &upload.key;
        check_key(Operation::Complete, key)?;
        let expected = expected.or_else(|| combined(parts));
        let mut headers = HeaderMap::new();
        condition.add_to(&mut headers);
        let mut store = Store {
            request: Request {
                headers,
                body: Some(Body::from(bytes::Bytes::from(document(parts)))),
                ..Request::new(Method::POST, vec![upload.param()])
            },
            expected: Box::new(|| expected),
            read: Box::new(|headers, body| {
                let document: ETagDocument = xml::parse(body).map_err(|error| error.to_string())?;
                match document.etag.as_str() {
                    "" => Err("the answer has no ETag".to_owned()),
                    etag => Ok(stored_as(ETag::new(etag), headers)),
                }
            }),
        };
        let mut exchange = Exchange::new(self, op, Operation::Complete, Some(key));
        let refusal = match exchange.persist(&mut store).await {
            Err(refusal) => refusal,
            done => return done,
        };
        let times = match (refusal.kind(), exchange.doubt) {
            (Kind::NoSuchUpload, true) => self.retry.few_attempts,
            (Kind::NoSuchUpload, false) | (Kind::AlreadyExists, true) => 1,
            _ => return Err(refusal),
        };
        let size: u64 = parts.iter().map(|part| part.size).sum();
        self.recognise(op, key, refusal, times, |shown, headers| {
            let is_ours = match (shown.meta.crc64, expected) {
                (Some(told), Some(expected)) => told == expected,
                _ => etag(parts).is_some_and(|etag| etag == shown.meta.etag),
            };
            (is_ours && shown.meta.size == size).then(|| stored(headers).ok())?
        })
        .await
    }

    /// Gives an upload up, with all its parts. An upload that is not there is given up already. A part that is still
    /// being sent may survive it: list the parts and repeat.
    ///
    /// # Errors
    /// What every request can fail with.
    pub async fn abort(&self, op: &Op, upload: &Upload) -> Result<(), Error> {
        check_key(Operation::Abort, &upload.key)?;
        let mut ask = Ask {
            request: Request::new(Method::DELETE, vec![upload.param()]),
            read: Box::new(|_, _| Ok(())),
        };
        let mut exchange = Exchange::new(self, op, Operation::Abort, Some(&upload.key));
        match exchange.persist(&mut ask).await {
            Err(error) if *error.kind() == Kind::NoSuchUpload => Ok(()),
            answer => answer,
        }
    }
}

pub(super) fn check_part(operation: Operation, upload: &Upload, number: u16) -> Result<(), Error> {
    check_key(operation, &upload.key)?;
    if !(1..=PART_NUMBER_MAX).contains(&number) {
        let detail = format!("parts have numbers from 1 to {PART_NUMBER_MAX}, not {number}");
        return Err(Error::invalid(operation, Some(&upload.key), detail));
    }
    Ok(())
}

pub(super) fn part_params(upload: &Upload, number: u16) -> Vec<(&'static str, String)> {
    vec![("partNumber", number.to_string()), upload.param()]
}

fn document(parts: &[Part]) -> String {
    let mut text = String::from("<CompleteMultipartUpload>");
    for part in parts {
        text.push_str("<Part><PartNumber>");
        // Writing to a String cannot fail.
        let _ = write!(text, "{}</PartNumber><ETag>", part.number);
        xml::escape(&part.etag.quoted(), &mut text);
        text.push_str("</ETag></Part>");
    }
    text.push_str("</CompleteMultipartUpload>");
    text
}

/// CRC-64 of all parts together, if all are known.
fn combined(parts: &[Part]) -> Option<u64> {
    parts.iter().try_fold(0, |whole, part| {
        let size = part.size;
        Some(crc_fast::checksum_combine(
            Crc64Xz,
            whole,
            part.crc64?,
            size,
        ))
    })
}

/// The ETag of the object that parts make: MD5 over their MD5s, a hyphen, and how many they are. OSS does not promise this form,
/// so an ETag that differs proves nothing; one that is equal does.
fn etag(parts: &[Part]) -> Option<ETag> {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(hex::decode(part.etag.as_str()).ok()?);
    }
    let hash = hex::encode_upper(md5.finalize());
    Some(ETag::new(&format!("{hash}-{}", parts.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u16, bytes: &[u8]) -> Part {
        Part {
            number,
            etag: ETag::new(&hex::encode_upper(Md5::digest(bytes))),
            size: bytes.len() as u64,
            crc64: Some(crc_fast::checksum(Crc64Xz, bytes)),
        }
    }

    #[test]
    fn parts_are_named_by_number_and_etag() {
        let parts = [part(1, b"ab"), part(7, b"c")];
        let expected = "<CompleteMultipartUpload>\
            <Part><PartNumber>1</PartNumber><ETag>\"187EF4436122D1CC2F40DC2B92F0EBA0\"</ETag></Part>\
            <Part><PartNumber>7</PartNumber><ETag>\"4A8A08F09D37B73795649038408B5F33\"</ETag></Part>\
            </CompleteMultipartUpload>";
        assert_eq!(document(&parts), expected);
    }

    #[test]
    fn the_checksum_of_the_whole_is_that_of_the_parts() {
        let mut parts = [part(1, b"1234"), part(2, b""), part(3, b"56789")];
        assert_eq!(combined(&parts), Some(0x995D_C9BB_DF19_39FA));
        assert_eq!(combined(&[]), Some(0));
        parts[1].crc64 = None;
        assert_eq!(combined(&parts), None);
    }

    #[test]
    fn an_etag_that_is_no_md5_makes_no_etag() {
        let mut parts = [part(1, b"1234")];
        assert!(etag(&parts).is_some_and(|etag| etag.as_str().ends_with("-1")));
        parts[0].etag = ETag::new("5B3C-x");
        assert_eq!(etag(&parts), None);
    }
}
