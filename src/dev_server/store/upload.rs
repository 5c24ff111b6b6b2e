//! Multipart uploads: parts as they came, and the rules by which they become an object. Pure.

use std::collections::BTreeMap;

use crc_fast::CrcAlgorithm::Crc64Xz;
use jiff::Timestamp;
use md5::{Digest as _, Md5};

use super::content::Content;
use super::object::{Attributes, Object, now};
use super::sink::Received;
use super::{IfPresent, OssError};
use crate::object::ObjectType;

/// The highest part number (OSS help "UploadPart").
pub(crate) const PART_NUMBER_MAX: u16 = 10_000;

/// The least bytes of a part that is not the last, checked when the upload completes.
pub(crate) const PART_BYTES_MIN: u64 = 100 << 10;

/// The most bytes of a part (the same page): 5 GB.
pub(crate) const PART_BYTES_MAX: u64 = 5 << 30;

/// A part that arrived.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) received: Received,
    pub(crate) modified: Timestamp,
}

impl Part {
    pub(super) fn new(received: Received) -> Self {
        Self {
            received,
            modified: now(),
        }
    }
}

/// An upload in progress.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) key: String,
    pub(crate) attributes: Attributes,
    pub(crate) if_present: IfPresent,
    pub(crate) initiated: Timestamp,
    pub(crate) parts: BTreeMap<u16, Part>,
}

impl Upload {
    /// An upload without a part.
    pub(crate) fn new(key: &str, attributes: Attributes, if_present: IfPresent) -> Self {
        Self {
            key: key.to_owned(),
            attributes,
            if_present,
            initiated: now(),
            parts: BTreeMap::new(),
        }
    }
}

/// Which parts make the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// `x-oss-complete-all: yes`.
    All,
    /// Number and ETag, in the order of the request.
    Listed(Vec<(u16, String)>),
}

impl Upload {
    /// The object that the chosen parts make. The upload itself is unchanged.
    ///
    /// # Errors
    /// 400 `InvalidPartOrder`, `InvalidPart` or `EntityTooSmall` as OSS checks them, 400 `MalformedXML` without any
    /// part.
    pub(crate) fn assemble(&self, id: &str, chosen: &Chosen) -> Result<Object, OssError> {
        let parts = match chosen {
            Chosen::All => self.parts.iter().collect(),
            Chosen::Listed(listed) => self.listed(id, listed)?,
        };
        let Some(((_, last), before)) = parts.split_last() else {
            return Err(OssError::new(
                400,
                "MalformedXML",
                "The XML you provided was not well-formed or did not validate against our published schema.",
                "0042-00000205",
            ));
        };
        if let Some((number, part)) = before
            .iter()
            .find(|(_, part)| part.received.size < PART_BYTES_MIN)
        {
            return Err(OssError::new(
                400,
                "EntityTooSmall",
                "Your proposed upload smaller than the minimum allowed size.",
                "0042-00000207",
            )
            .with("ProposedSize", part.received.size.to_string())
            .with("MinSizeAllowed", PART_BYTES_MIN.to_string())
            .with("PartNumber", number.to_string()));
        }
        let mut object = Object {
            key: self.key.clone(),
            etag: String::new(),
            size: 0,
            crc64: 0,
            content_md5: None,
            kind: ObjectType::Multipart,
            modified: now(),
            attributes: self.attributes.clone(),
            content: Content::default(),
            version: None,
            record: None,
        };
        let mut md5 = Md5::new();
        for part in before.iter().map(|(_, part)| *part).chain([*last]) {
            let received = &part.received;
            md5.update(received.digest);
            // The CRC of nothing is 0, so the first part needs no case of its own.
            object.crc64 =
                crc_fast::checksum_combine(Crc64Xz, object.crc64, received.crc, received.size);
            object.size += received.size;
            object.content.0.extend(received.content.0.iter().cloned());
        }
        object.etag = format!("{}-{}", hex::encode_upper(md5.finalize()), parts.len());
        Ok(object)
    }

    fn listed(&self, id: &str, listed: &[(u16, String)]) -> Result<Vec<(&u16, &Part)>, OssError> {
        if listed.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(OssError::new(
                400,
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts list must specified in order by part number.",
                "0042-00000206",
            )
            .with("UploadId", id));
        }
        let part = |(number, etag): &(u16, String)| {
            self.parts
                .get_key_value(number)
                .filter(|(_, part)| part.received.etag().eq_ignore_ascii_case(etag.trim_matches('"')))
                .ok_or_else(|| {
                    OssError::new(
                        400,
                        "InvalidPart",
                        "One or more of the specified parts could not be found or the specified entity tag might not have matched the part's entity tag.",
                        "0042-00000203",
                    )
                    .with("UploadId", id)
                    .with("PartNumber", number.to_string())
                    .with("PartEtag", etag)
                })
        };
        listed.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use bytes::Bytes;

    use super::super::sink::{ETags, Sink};
    use super::*;

    fn upload(sizes: &[(u16, u64)]) -> Upload {
        let part = |&(number, size): &(u16, u64)| {
            let bytes = vec![u8::try_from(number % 251).unwrap(); usize::try_from(size).unwrap()];
            (
                number,
                Part::new(Sink::whole(None, ETags::Md5, Bytes::from(bytes)).unwrap()),
            )
        };
        Upload {
            parts: sizes.iter().map(part).collect(),
            ..Upload::new("k", Attributes::default(), IfPresent::Replace)
        }
    }

    fn listed(upload: &Upload, numbers: &[u16]) -> Chosen {
        let pair = |number: &u16| (*number, upload.parts[number].received.etag());
        Chosen::Listed(numbers.iter().map(pair).collect())
    }

    fn code(upload: &Upload, chosen: &Chosen) -> &'static str {
        upload.assemble("id", chosen).unwrap_err().code
    }

    #[test]
    fn every_part_but_the_last_has_a_least_size() {
        for (size, fits) in [
            (PART_BYTES_MIN - 1, false),
            (PART_BYTES_MIN, true),
            (PART_BYTES_MIN + 1, true),
        ] {
            let upload = upload(&[(1, size), (2, 1)]);
            let object = upload.assemble("id", &listed(&upload, &[1, 2]));
            assert_eq!(object.is_ok(), fits, "{size}");
        }
        let small = upload(&[(1, 1), (2, 1)]);
        assert_eq!(code(&small, &listed(&small, &[1, 2])), "EntityTooSmall");
        assert!(small.assemble("id", &listed(&small, &[2])).is_ok());
    }

    #[test]
    fn parts_come_in_order_and_must_be_there_as_named() {
        let upload = upload(&[(1, PART_BYTES_MIN), (7, PART_BYTES_MIN), (9, 3)]);
        assert!(upload.assemble("id", &listed(&upload, &[1, 9])).is_ok());
        assert_eq!(code(&upload, &listed(&upload, &[7, 1])), "InvalidPartOrder");
        assert_eq!(code(&upload, &listed(&upload, &[1, 1])), "InvalidPartOrder");
        let other = Chosen::Listed(vec![(1, upload.parts[&7].received.etag())]);
        assert_eq!(code(&upload, &other), "InvalidPart");
        let missing = Chosen::Listed(vec![(2, upload.parts[&7].received.etag())]);
        assert_eq!(code(&upload, &missing), "InvalidPart");
        assert_eq!(code(&upload, &Chosen::Listed(Vec::new())), "MalformedXML");
    }

    #[test]
    fn checksums_of_parts_combine_to_the_checksum_of_the_whole() {
        let upload = upload(&[(1, PART_BYTES_MIN), (2, PART_BYTES_MIN + 5), (3, 0)]);
        let object = upload.assemble("id", &Chosen::All).unwrap();
        let whole = object.content.slice(0..object.size).unwrap().concat();
        assert_eq!(object.size, 2 * PART_BYTES_MIN + 5);
        assert_eq!(object.crc64, crc_fast::checksum(Crc64Xz, &whole));
        assert!(object.etag.ends_with("-3"));
        assert_eq!(object.etag.to_uppercase(), object.etag);
    }
}
