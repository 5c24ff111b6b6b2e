//! HeadObject and GetBucketInfo.

use http::header::{CONTENT_LENGTH, ETAG, LAST_MODIFIED};
use http::{HeaderMap, Method};

use super::Error;
use super::ask::Ask;
use super::bucket::{Bucket, Request, check_key};
use super::operation::Operation;
use super::refusal::{http_date, text};
use super::send::Exchange;
use super::xml::{self, InfoDocument};
use crate::object::{ETag, ObjectKey, ObjectMeta, ObjectType, StorageClass, UnixTime};
use crate::op::Op;

/// Whether a bucket keeps old versions of its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// Never switched on.
    Unversioned,
    /// Each write makes a version.
    Enabled,
    /// Switched off; older versions are kept.
    Suspended,
}

/// What a bucket says of itself (GetBucketInfo). Fields that the answer left out are empty or `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketInfo {
    /// Its name.
    pub name: String,
    /// Its region, `cn-hangzhou` for instance, without `oss-`.
    pub region: String,
    /// Host of the public endpoint.
    pub extranet_endpoint: String,
    /// Host of the internal endpoint.
    pub intranet_endpoint: String,
    /// Class of new objects.
    pub storage_class: Option<StorageClass>,
    /// Old versions.
    pub versioning: Versioning,
    /// True for a bucket with real directories (hierarchical namespace).
    pub hierarchical: bool,
}

impl Bucket {
    /// What the bucket says of an object. A symbolic link of OSS is resolved.
    ///
    /// # Errors
    /// [`super::Kind::NotFound`] if there is none, and what every request can fail with.
    pub async fn head(&self, op: &Op, key: &ObjectKey) -> Result<ObjectMeta, Error> {
        check_key(Operation::Head, key)?;
        let mut ask = Ask {
            request: Request::new(Method::HEAD, Vec::new()),
            read: Box::new(|headers, _| {
                let length = text(headers, CONTENT_LENGTH.as_str());
                let length = length.and_then(|text| text.parse().ok());
                meta(headers, length.ok_or("the answer has no length")?)
            }),
        };
        let mut exchange = Exchange::new(self, op, Operation::Head, Some(key));
        exchange.persist(&mut ask).await
    }

    /// What the bucket says of itself. Many roles may not ask: a [`super::Kind::Denied`] then means "unknown".
    ///
    /// # Errors
    /// What every request can fail with.
    pub async fn info(&self, op: &Op) -> Result<BucketInfo, Error> {
        let mut ask = Ask {
            request: Request::new(Method::GET, vec![("bucketInfo", String::new())]),
            read: Box::new(|_, body| info(body, &self.name)),
        };
        let mut exchange = Exchange::new(self, op, Operation::Info, None);
        exchange.persist(&mut ask).await
    }
}

/// What the head of an answer says of an object of `size` bytes.
pub(super) fn meta(headers: &HeaderMap, size: u64) -> Result<ObjectMeta, String> {
    let etag = text(headers, ETAG.as_str()).ok_or("the answer has no ETag")?;
    let modified = text(headers, LAST_MODIFIED.as_str()).and_then(http_date);
    let modified = modified.ok_or("the answer has no time of change")?;
    let crc64 = text(headers, "x-oss-hash-crc64ecma");
    Ok(ObjectMeta {
        size,
        etag: ETag::new(etag),
        modified: UnixTime(modified.as_second()),
        kind: text(headers, "x-oss-object-type").map_or(ObjectType::Normal, ObjectType::from),
        storage_class: text(headers, "x-oss-storage-class")
            .map_or(StorageClass::Standard, StorageClass::from),
        crc64: crc64.and_then(|text| text.parse().ok()),
    })
}

fn info(body: &[u8], asked: &str) -> Result<BucketInfo, String> {
    let InfoDocument { bucket } = xml::parse(body).map_err(|error| error.to_string())?;
    if bucket.name != asked {
        return Err("the answer is of another bucket".to_owned());
    }
    let class = bucket.storage_class.as_str();
    let location = bucket.location;
    Ok(BucketInfo {
        name: bucket.name,
        region: location
            .strip_prefix("oss-")
            .unwrap_or(&location)
            .to_owned(),
        extranet_endpoint: bucket.extranet_endpoint,
        intranet_endpoint: bucket.intranet_endpoint,
        storage_class: (!class.is_empty()).then(|| StorageClass::from(class)),
        versioning: match bucket.versioning.as_str() {
            "Enabled" => Versioning::Enabled,
            "Suspended" => Versioning::Suspended,
            _ => Versioning::Unversioned,
        },
        hierarchical: bucket.hierarchical_namespace == "Enabled",
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_bucket_says_what_it_is() {
        let body = b"<BucketInfo><Bucket><Name>demo</Name><Location>oss-cn-hangzhou</Location>\
            <CreationDate>2024-01-01T00:00:00.000Z</CreationDate><ExtranetEndpoint>e</ExtranetEndpoint>\
            <IntranetEndpoint>i</IntranetEndpoint><StorageClass>IA</StorageClass><Versioning>Suspended</Versioning>\
            <HierarchicalNamespace>Enabled</HierarchicalNamespace><AccessControlList><Grant>private</Grant></AccessControlList>\
            <Owner><ID>1</ID></Owner></Bucket></BucketInfo>";
        let info = info(body, "demo").unwrap();
        assert_eq!(
            (info.region.as_str(), info.versioning),
            ("cn-hangzhou", Versioning::Suspended)
        );
        assert!(info.hierarchical);
        assert_eq!(info.storage_class, Some(StorageClass::InfrequentAccess));
        assert!(super::info(body, "other").is_err());
        let least = super::info(
            b"<BucketInfo><Bucket><Name>demo</Name></Bucket></BucketInfo>",
            "demo",
        )
        .unwrap();
        assert_eq!(
            (least.versioning, least.hierarchical),
            (Versioning::Unversioned, false)
        );
        assert!(super::info(b"<BucketInfo/>", "demo").is_err());
    }
}
