//! Signature version 1, recomputed from the wire (OSS help "Include a V1 signature in the Authorization header").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha1::Sha1;

use super::refusal::{malformed, no_date};
use super::wire;
use crate::dev_server::error::OssError;
use crate::dev_server::request::Incoming;

pub(super) const ALGORITHM: &str = "OSS";

/// The query names that are signed: those of the Python client 2.19, then those that only the Go client knows.
///
/// A name that one end counts and the other does not breaks the signature, so the union is as near to OSS as public
/// sources come. The names of hierarchical buckets (`x-oss-rename`, …) are in no public list.
#[rustfmt::skip]
const SUB_RESOURCES: &[&str] = &[
    "accessPoint", "accessPointPolicy", "acl", "append", "asyncFetch", "bucketArchiveDirectRead", "bucketInfo",
    "callback", "callback-var", "cname", "comp", "continuation-token", "cors", "delete", "encryption", "endTime",
    "group", "httpsConfig", "inventory", "inventoryId", "lifecycle", "link", "live", "location", "logging",
    "metaQuery", "objectInfo", "objectMeta", "partNumber", "policy", "position", "publicAccessBlock", "qos",
    "qosInfo", "qosRequester", "redundancyTransition", "referer", "regionList", "replication", "replicationLocation",
    "replicationProgress", "requestPayment", "requesterQosInfo", "resourceGroup", "resourcePool",
    "resourcePoolBuckets", "resourcePoolInfo", "response-cache-control", "response-content-disposition",
    "response-content-encoding", "response-content-language", "response-content-type", "response-expires", "restore",
    "security-token", "sequential", "startTime", "stat", "status", "style", "styleName", "symlink", "tagging",
    "transferAcceleration", "uploadId", "uploads", "versionId", "versioning", "versions", "vod", "website", "worm",
    "wormExtend", "wormId", "x-oss-ac-forward-allow", "x-oss-ac-source-ip", "x-oss-ac-subnet-mask",
    "x-oss-ac-vpc-id", "x-oss-access-point-name", "x-oss-async-process", "x-oss-process",
    "x-oss-redundancy-transition-taskid", "x-oss-request-payer", "x-oss-target-redundancy-type",
    "x-oss-traffic-limit", "x-oss-write-get-object-response",
    "cloudboxes", "img", "responseHeader", "rtc", "udf", "udfApplication", "udfApplicationLog", "udfId", "udfImage",
    "udfImageDesc", "udfName", "withHashContext", "x-oss-enable-md5", "x-oss-enable-sha1", "x-oss-enable-sha256",
    "x-oss-hash-ctx", "x-oss-md5-ctx",
];

/// What a request that is signed by version 1 says of its signature.
#[derive(Debug)]
pub(super) struct ClaimV1 {
    pub(super) access_key_id: String,
    /// The fourth line of what is signed: a date, or in a URL the end of its life.
    pub(super) date_line: String,
    pub(super) signature: String,
}

impl ClaimV1 {
    /// Reads `<id>:<signature>` and the date of the headers.
    pub(super) fn from_header(
        request: &Incoming,
        fields: &str,
    ) -> Result<(Self, Timestamp), OssError> {
        let (id, signature) = fields
            .trim()
            .split_once(':')
            .filter(|(id, signature)| !id.is_empty() && !signature.is_empty())
            .ok_or_else(|| malformed("", "The Authorization header is malformed."))?;
        let date_line = wire::header(&request.headers, "x-oss-date")
            .or_else(|| wire::header(&request.headers, "date"))
            .ok_or_else(no_date)?;
        let signed_at = wire::http_date(&date_line).ok_or_else(no_date)?;
        let claim = Self {
            access_key_id: id.to_owned(),
            date_line,
            signature: signature.to_owned(),
        };
        Ok((claim, signed_at))
    }

    pub(super) fn string_to_sign(&self, request: &Incoming) -> String {
        let line = |name| wire::header(&request.headers, name).unwrap_or_default();
        let headers: String = wire::headers(&request.headers, |name| name.starts_with("x-oss-"))
            .into_iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let mut parts: Vec<(String, String)> = wire::query(request)
            .into_iter()
            .filter(|(name, _)| SUB_RESOURCES.contains(&name.as_str()))
            .collect();
        parts.sort();
        let parts: Vec<String> = parts
            .into_iter()
            .map(|(name, value)| {
                if value.is_empty() {
                    name
                } else {
                    format!("{name}={value}")
                }
            })
            .collect();
        let mut resource = wire::resource(request);
        if !parts.is_empty() {
            resource.push('?');
            resource.push_str(&parts.join("&"));
        }
        format!(
            "{}\n{}\n{}\n{}\n{headers}{resource}",
            request.method,
            line("content-md5"),
            line("content-type"),
            self.date_line,
        )
    }
}

pub(super) fn signature(secret: &str, string_to_sign: &str) -> String {
    let mut mac =
        Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(string_to_sign.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_no_name_twice() {
        let mut names = SUB_RESOURCES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SUB_RESOURCES.len());
        assert_eq!(names.len(), 86 + 17);
    }

    #[test]
    fn the_published_examples_are_reproduced() {
        let secret = "OtxrzxIsfpFjA7SwPzILwy8Bw21TLhquhboDYROV";
        let put = "PUT\nODBGOERFMDMzQTczRUY3NUE3NzA5QzdFNUYzMDQxNEM=\ntext/html\n\
                   Thu, 17 Nov 2005 18:49:58 GMT\nx-oss-magic:abracadabra\nx-oss-meta-author:foo@bar.com\n\
                   /oss-example/nelson";
        assert_eq!(signature(secret, put), "26NBxoKdsyly4EDv6inkoDft/yA=");
        let url = "GET\n\n\n1141889120\n/oss-example/oss-api.pdf";
        assert_eq!(signature(secret, url), "EwaNTn1erJGkimiJ9WmXgwnANLc=");
    }
}
