//! What a bucket says of itself.

use super::list::owner;
use super::{Call, Service};
use crate::dev_server::answer::{self, Answer, iso_date};
use crate::dev_server::store::{Bucket, Versioning};
use crate::dev_server::xml::Xml;

/// GetBucketInfo.
pub(super) fn info(call: Call<'_>) -> Answer {
    let mut xml = Xml::new();
    xml.open("BucketInfo");
    xml.open("Bucket");
    described(&mut xml, call.service, call.bucket);
    owner(&mut xml);
    xml.open("AccessControlList");
    xml.text("Grant", "private");
    xml.close("AccessControlList");
    xml.text("DataRedundancyType", "LRS");
    if let Some(word) = word(call.bucket.config.versioning) {
        xml.text("Versioning", word);
    }
    if call.bucket.config.hierarchical {
        xml.text("HierarchicalNamespace", "Enabled");
    }
    xml.text("TransferAcceleration", "Disabled");
    xml.text("CrossRegionReplication", "Disabled");
    xml.text("AccessMonitor", "Disabled");
    xml.text("BlockPublicAccess", "false");
    xml.text("Comment", "");
    xml.open("ServerSideEncryptionRule");
    xml.text("SSEAlgorithm", "None");
    xml.close("ServerSideEncryptionRule");
    xml.close("Bucket");
    xml.close("BucketInfo");
    answer::xml(xml.finish())
}

/// GetBucketLocation.
pub(super) fn location(call: Call<'_>) -> Answer {
    let mut xml = Xml::new();
    xml.text(
        "LocationConstraint",
        &format!("oss-{}", call.service.region),
    );
    answer::xml(xml.finish())
}

/// GetBucketVersioning; a bucket that never kept versions has no status.
pub(super) fn versioning(call: Call<'_>) -> Answer {
    let mut xml = Xml::new();
    xml.open("VersioningConfiguration");
    if let Some(word) = word(call.bucket.config.versioning) {
        xml.text("Status", word);
    }
    xml.close("VersioningConfiguration");
    answer::xml(xml.finish())
}

fn word(versioning: Versioning) -> Option<&'static str> {
    match versioning {
        Versioning::Never => None,
        Versioning::Enabled => Some("Enabled"),
        Versioning::Suspended => Some("Suspended"),
    }
}

/// GetService, all buckets on one page.
pub(super) fn list_buckets(service: &Service) -> Answer {
    let mut xml = Xml::new();
    xml.open("ListAllMyBucketsResult");
    owner(&mut xml);
    xml.open("Buckets");
    for bucket in service.store.buckets() {
        xml.open("Bucket");
        described(&mut xml, service, bucket);
        xml.text("Region", &service.region);
        xml.close("Bucket");
    }
    xml.close("Buckets");
    xml.text("IsTruncated", "false");
    xml.close("ListAllMyBucketsResult");
    answer::xml(xml.finish())
}

fn described(xml: &mut Xml, service: &Service, bucket: &Bucket) {
    let region = &service.region;
    xml.text("Name", &bucket.config.name);
    xml.text("CreationDate", &iso_date(bucket.created));
    xml.text("Location", &format!("oss-{region}"));
    xml.text("ExtranetEndpoint", &format!("oss-{region}.aliyuncs.com"));
    xml.text(
        "IntranetEndpoint",
        &format!("oss-{region}-internal.aliyuncs.com"),
    );
    xml.text("StorageClass", "Standard");
}
