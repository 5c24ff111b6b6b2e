//! ListParts and ListMultipartUploads: what is up and not yet an object.

use http::Method;
use jiff::Timestamp;

use super::Error;
use super::ask::Ask;
use super::bucket::{Bucket, Request, check_key};
use super::multipart::{Part, Upload};
use super::operation::Operation;
use super::send::Exchange;
use super::xml::{self, PartsDocument, UploadsDocument};
use crate::object::{ETag, UnixTime};
use crate::op::Op;

/// Entries of the longest page OSS sends.
const PAGE_MAX: &str = "1000";

/// One page of the parts of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartsPage {
    /// In ascending order of their numbers. Their CRC-64 is that which OSS computed, of copied parts too.
    pub parts: Vec<Part>,
    /// The number after which the next page begins; `None` on the last page.
    pub next: Option<u16>,
}

/// Where a page of uploads begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadsMarker {
    key: String,
    id: String,
}

/// An upload that is neither completed nor given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// The key as OSS keeps it; a file system may be unable to show it.
    pub key: String,
    /// OSS's name for the upload.
    pub id: String,
    /// When it was begun.
    pub initiated: UnixTime,
}

/// One page of the uploads of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadsPage {
    /// In the order of their keys' bytes, those of one key by time.
    pub uploads: Vec<OpenUpload>,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<UploadsMarker>,
}

impl Bucket {
    /// The parts of an upload with numbers above `after`, at most 1000.
    ///
    /// # Errors
    /// [`super::Kind::NoSuchUpload`], and what every request can fail with.
    pub async fn list_parts(
        &self,
        op: &Op,
        upload: &Upload,
        after: u16,
    ) -> Result<PartsPage, Error> {
        check_key(Operation::Parts, &upload.key)?;
        let params = vec![
            upload.param(),
            ("max-parts", PAGE_MAX.to_owned()),
            ("part-number-marker", after.to_string()),
        ];
        let mut ask = Ask {
            request: Request::new(Method::GET, params),
            read: Box::new(|_, body| parts(body, after)),
        };
        let mut exchange = Exchange::new(self, op, Operation::Parts, Some(&upload.key));
        exchange.persist(&mut ask).await
    }

    /// Uploads of keys that begin with `prefix` (any text), at most 1000, from [`UploadsPage::next`] of the page before.
    ///
    /// # Errors
    /// What every request can fail with.
    pub async fn list_uploads(
        &self,
        op: &Op,
        prefix: &str,
        marker: Option<&UploadsMarker>,
    ) -> Result<UploadsPage, Error> {
        let mut params = vec![
            ("uploads", String::new()),
            ("encoding-type", "url".to_owned()),
            ("max-uploads", PAGE_MAX.to_owned()),
        ];
        if !prefix.is_empty() {
            params.push(("prefix", prefix.to_owned()));
        }
        if let Some(marker) = marker {
            params.push(("key-marker", marker.key.clone()));
            params.push(("upload-id-marker", marker.id.clone()));
        }
        let mut ask = Ask {
            request: Request::new(Method::GET, params),
            read: Box::new(|_, body| uploads(body, prefix, marker)),
        };
        let mut exchange = Exchange::new(self, op, Operation::Uploads, None);
        exchange.persist(&mut ask).await
    }
}

fn parts(body: &[u8], after: u16) -> Result<PartsPage, String> {
    let document: PartsDocument = xml::parse(body).map_err(|error| error.to_string())?;
    let mut parts = Vec::with_capacity(document.parts.len());
    let mut last = after;
    for part in &document.parts {
        let number = part.part_number.parse().ok();
        let number = number.filter(|number| *number > last);
        last = number.ok_or("the parts are not in order")?;
        if part.etag.is_empty() {
            return Err("a listed part has no ETag".to_owned());
        }
        parts.push(Part {
            number: last,
            etag: ETag::new(&part.etag),
            size: part
                .size
                .parse()
                .map_err(|_| "a listed part has no size".to_owned())?,
            crc64: part.hash_crc64ecma.parse().ok(),
        });
    }
    let next = if is_truncated(&document.is_truncated)? {
        let next = document.next_part_number_marker.parse().ok();
        let next = next.filter(|next| *next > after);
        Some(next.ok_or("the page does not say where the next one begins")?)
    } else {
        None
    };
    Ok(PartsPage { parts, next })
}

fn uploads(
    body: &[u8],
    prefix: &str,
    marker: Option<&UploadsMarker>,
) -> Result<UploadsPage, String> {
    let document: UploadsDocument = xml::parse(body).map_err(|error| error.to_string())?;
    let decode = |text: &str| xml::decode(&document.encoding_type, text);
    let mut uploads = Vec::with_capacity(document.uploads.len());
    for upload in &document.uploads {
        let key = decode(&upload.key)?;
        if key.is_empty() || !key.starts_with(prefix) {
            return Err("a listed key does not begin with the prefix".to_owned());
        }
        if upload.upload_id.is_empty() {
            return Err("a listed upload has no id".to_owned());
        }
        let initiated: Timestamp = upload
            .initiated
            .parse()
            .map_err(|_| "a listed upload has no time".to_owned())?;
        uploads.push(OpenUpload {
            key,
            id: upload.upload_id.clone(),
            initiated: UnixTime(initiated.as_second()),
        });
    }
    let next = if is_truncated(&document.is_truncated)? {
        let next = UploadsMarker {
            key: decode(&document.next_key_marker)?,
            id: document.next_upload_id_marker.clone(),
        };
        if next.key.is_empty() || Some(&next) == marker {
            return Err("the page does not say where the next one begins".to_owned());
        }
        Some(next)
    } else {
        None
    };
    Ok(UploadsPage { uploads, next })
}

fn is_truncated(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("the page does not say whether it is the last".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn parts_are_read() {
        let part = |number: u16| {
            format!(
                "<Part><PartNumber>{number}</PartNumber><LastModified>2024-05-21T10:39:29.000Z</LastModified>\
                 <ETag>\"5B\"</ETag><HashCrc64ecma>77</HashCrc64ecma><Size>9</Size></Part>"
            )
        };
        let page = |parts: &[u16], end: &str| {
            let parts: String = parts.iter().map(|number| part(*number)).collect();
            super::parts(
                format!("<ListPartsResult>{parts}{end}</ListPartsResult>").as_bytes(),
                3,
            )
        };
        let end = "<IsTruncated>false</IsTruncated>";
        let read = page(&[4, 9], end).unwrap();
        let expected = Part {
            number: 9,
            etag: ETag::new("5B"),
            size: 9,
            crc64: Some(77),
        };
        assert_eq!((&read.parts[1], read.next), (&expected, None));
        let more = "<IsTruncated>true</IsTruncated><NextPartNumberMarker>9</NextPartNumberMarker>";
        assert_eq!(page(&[4, 9], more).unwrap().next, Some(9));
        for (parts, end) in [
            (&[4, 4][..], end),
            (&[3][..], end),
            (&[4][..], ""),
            (&[4][..], "<IsTruncated>true</IsTruncated>"),
        ] {
            assert!(page(parts, end).is_err(), "{parts:?} {end}");
        }
        let bare = b"<L><IsTruncated>false</IsTruncated><Part><PartNumber>4</PartNumber><ETag>x</ETag><Size>1</Size></Part></L>";
        assert_eq!(super::parts(bare, 0).unwrap().parts[0].crc64, None);
    }

    #[test]
    fn uploads_are_read() {
        let page = |end: &str| {
            let text = format!(
                "<ListMultipartUploadsResult><EncodingType>url</EncodingType><Upload><Key>d/a%20%2B%01</Key><UploadId>0004</UploadId>\
                 <Initiated>2024-05-21T10:39:29.000Z</Initiated></Upload>{end}</ListMultipartUploadsResult>"
            );
            uploads(text.as_bytes(), "d/", None)
        };
        let end = "<IsTruncated>true</IsTruncated><NextKeyMarker>d%2Fa</NextKeyMarker><NextUploadIdMarker>0004</NextUploadIdMarker>";
        let read = page(end).unwrap();
        assert_eq!(read.uploads[0].key, "d/a +\u{1}");
        assert_eq!(read.uploads[0].initiated, UnixTime(1_716_287_969));
        assert_eq!(read.next.as_ref().unwrap().key, "d/a");
        assert!(page("").is_err());
        assert!(page("<IsTruncated>true</IsTruncated>").is_err());
        let other = uploads(
            b"<L><Upload><Key>x</Key><UploadId>1</UploadId><Initiated>2024-05-21T10:39:29.000Z</Initiated></Upload></L>",
            "d/",
            None,
        );
        assert!(other.is_err());
    }
}
