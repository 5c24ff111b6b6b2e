//! Multipart uploads.

use http::Response;
use serde::Deserialize;

use super::list::Encoding;
use super::receive::{self, malformed_xml};
use super::{Call, attributes, described};
use crate::dev_server::answer::{self, Answer, iso_date, quoted};
use crate::dev_server::error::OssError;
use crate::dev_server::store::{Chosen, PART_NUMBER_MAX, Upload};
use crate::dev_server::wire::Inbound;
use crate::dev_server::xml::Xml;

/// Bytes of the longest list of parts: 10,000 parts in a generous layout.
const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// Parts of one page of ListParts, the most and the default (OSS help "ListParts").
const PARTS_MAX: usize = 1000;

/// InitiateMultipartUpload.
pub(super) fn initiate(call: Call<'_>) -> Result<Answer, OssError> {
    let encoding = Encoding::of(call.request)?;
    let attributes = attributes::read(call.request)?;
    let if_present = call.if_present()?;
    let encryption = attributes.encryption.clone();
    let upload = Upload::new(call.key, attributes, if_present);
    let id = call.bucket.initiate(upload);
    let mut xml = Xml::new();
    xml.open("InitiateMultipartUploadResult");
    encoding.announce(&mut xml);
    xml.text("Bucket", &call.bucket.config.name);
    encoding.text(&mut xml, "Key", call.key);
    xml.text("UploadId", &id);
    xml.close("InitiateMultipartUploadResult");
    let mut answer = answer::xml(xml.finish());
    described::add_encryption(&encryption, answer.headers_mut());
    Ok(answer)
}

/// UploadPart.
pub(super) async fn upload_part(
    call: Call<'_>,
    body: &mut Inbound<'_>,
) -> Result<Answer, OssError> {
    let id = upload_id(call);
    let number = part_number(call)?;
    if call
        .request
        .headers
        .contains_key("x-oss-server-side-encryption")
    {
        return Err(OssError::invalid_argument(
            "x-oss-server-side-encryption",
            "",
            "The encryption is set when the upload is initiated.",
        ));
    }
    // Refused before the body is received, and again when it is: an upload may end meanwhile.
    let encryption = call
        .bucket
        .upload(call.key, id, |upload| upload.attributes.encryption.clone())?;
    let received = receive::content(call, body).await?;
    let builder = Response::builder()
        .header("etag", quoted(&received.etag()))
        .header("x-oss-hash-crc64ecma", received.crc);
    call.bucket.put_part(call.key, id, number, received)?;
    let mut answer = answer::empty(builder);
    described::add_encryption(&encryption, answer.headers_mut());
    Ok(answer)
}

#[derive(Debug, Deserialize)]
struct CompleteMultipartUpload {
    #[serde(rename = "Part", default)]
    parts: Vec<ListedPart>,
}

#[derive(Debug, Deserialize)]
struct ListedPart {
    #[serde(rename = "PartNumber")]
    number: u16,
    #[serde(rename = "ETag")]
    etag: String,
}

/// CompleteMultipartUpload.
pub(super) async fn complete(call: Call<'_>, body: &mut Inbound<'_>) -> Result<Answer, OssError> {
    let id = upload_id(call);
    let document = receive::document(body, DOCUMENT_BYTES_MAX).await?;
    let all = call
        .request
        .header("x-oss-complete-all")
        .is_some_and(|word| word.eq_ignore_ascii_case("yes"));
    let chosen = match (all, document.is_empty()) {
        (true, true) => Chosen::All,
        (true, false) => {
            return Err(OssError::invalid_argument(
                "x-oss-complete-all",
                "yes",
                "The body must be empty when x-oss-complete-all is yes.",
            ));
        }
        (false, _) => listed(&document)?,
    };
    let encoding = Encoding::of(call.request)?;
    let if_present = call.if_present()?;
    let object = call.bucket.complete(call.key, id, &chosen, if_present)?;
    let mut xml = Xml::new();
    xml.open("CompleteMultipartUploadResult");
    encoding.announce(&mut xml);
    let location = format!(
        "http://{}.{}/{}",
        call.bucket.config.name, call.request.host, call.key
    );
    encoding.text(&mut xml, "Location", &location);
    xml.text("Bucket", &call.bucket.config.name);
    encoding.text(&mut xml, "Key", call.key);
    xml.text("ETag", &quoted(&object.etag));
    xml.close("CompleteMultipartUploadResult");
    let mut answer = answer::xml(xml.finish());
    described::add_written(&object, answer.headers_mut());
    Ok(answer)
}

fn listed(document: &[u8]) -> Result<Chosen, OssError> {
    let document = std::str::from_utf8(document).map_err(|_| malformed_xml())?;
    let parsed: CompleteMultipartUpload =
        quick_xml::de::from_str(document).map_err(|_| malformed_xml())?;
    let pair = |part: ListedPart| (part.number, part.etag);
    Ok(Chosen::Listed(parsed.parts.into_iter().map(pair).collect()))
}

/// AbortMultipartUpload.
pub(super) fn abort(call: Call<'_>) -> Result<Answer, OssError> {
    call.bucket.abort(call.key, upload_id(call))?;
    let builder = Response::builder().status(http::StatusCode::NO_CONTENT);
    Ok(answer::finish(builder, Vec::new()))
}

/// ListParts.
pub(super) fn list_parts(call: Call<'_>) -> Result<Answer, OssError> {
    let id = upload_id(call);
    let encoding = Encoding::of(call.request)?;
    let number = |name: &'static str, default: usize| match call.request.param(name) {
        None | Some("") => Ok(default),
        Some(text) => text.parse::<usize>().map_err(|_| {
            OssError::invalid_argument(name, text, format!("Argument {name} must be an integer."))
        }),
    };
    let marker = number("part-number-marker", 0)?;
    let parts_max = number("max-parts", PARTS_MAX)?;
    if !(1..=PARTS_MAX).contains(&parts_max) {
        return Err(OssError::invalid_argument(
            "max-parts",
            &parts_max.to_string(),
            "Argument max-parts must be an integer between 1 and 1000.",
        ));
    }
    let mut xml = Xml::new();
    xml.open("ListPartsResult");
    encoding.announce(&mut xml);
    xml.text("Bucket", &call.bucket.config.name);
    encoding.text(&mut xml, "Key", call.key);
    xml.text("UploadId", id);
    xml.value("PartNumberMarker", marker);
    xml.value("MaxParts", parts_max);
    call.bucket.upload(call.key, id, |upload| {
        let behind = upload
            .parts
            .iter()
            .filter(|(number, _)| usize::from(**number) > marker);
        let page: Vec<_> = behind.clone().take(parts_max).collect();
        let truncated = behind.count() > page.len();
        xml.text("StorageClass", upload.attributes.storage_class.as_str());
        xml.value("IsTruncated", truncated);
        let last = page.last().map_or(0, |(number, _)| **number);
        xml.value("NextPartNumberMarker", last);
        for (number, part) in page {
            xml.open("Part");
            xml.value("PartNumber", number);
            xml.text("LastModified", &iso_date(part.modified));
            xml.text("ETag", &quoted(&part.received.etag()));
            xml.value("HashCrc64ecma", part.received.crc);
            xml.value("Size", part.received.size);
            xml.close("Part");
        }
    })?;
    xml.close("ListPartsResult");
    Ok(answer::xml(xml.finish()))
}

pub(super) fn part_number(call: Call<'_>) -> Result<u16, OssError> {
    let given = call.request.param("partNumber").unwrap_or_default();
    given
        .parse()
        .ok()
        .filter(|number| (1..=PART_NUMBER_MAX).contains(number))
        .ok_or_else(|| {
            OssError::invalid_argument(
                "partNumber",
                given,
                "Part number must be an integer between 1 and 10000, inclusive.",
            )
        })
}

/// The operation was chosen by this parameter, so it is there; an empty one is no upload's id.
pub(super) fn upload_id<'a>(call: Call<'a>) -> &'a str {
    call.request.param("uploadId").unwrap_or_default()
}
