//! ListMultipartUploads.

use super::Call;
use super::list::{Encoding, short};
use crate::dev_server::answer::{self, Answer, iso_date};
use crate::dev_server::error::OssError;
use crate::dev_server::store::{AskUploads, UploadEntry};
use crate::dev_server::xml::Xml;

/// Uploads of one page, the most and the default (OSS help "ListMultipartUploads").
const UPLOADS_MAX: usize = 1000;

/// One page of the bucket's uploads in progress.
pub(super) fn list(call: Call<'_>) -> Result<Answer, OssError> {
    let request = call.request;
    let encoding = Encoding::of(request)?;
    let param = |name| short(name, request.param(name).unwrap_or_default());
    let key_marker = param("key-marker")?;
    let ask = AskUploads {
        prefix: param("prefix")?,
        delimiter: param("delimiter")?,
        key_marker,
        id_marker: match key_marker {
            // Without a key, the id says nothing.
            "" => "",
            _ => param("upload-id-marker")?,
        },
        entries_max: entries_max(call)?,
    };
    let (entries, truncated) = call.bucket.list_uploads(ask);
    let mut xml = Xml::new();
    xml.open("ListMultipartUploadsResult");
    encoding.announce(&mut xml);
    xml.text("Bucket", &call.bucket.config.name);
    encoding.text(&mut xml, "KeyMarker", ask.key_marker);
    xml.text("UploadIdMarker", ask.id_marker);
    let (key, id) = match entries.last() {
        Some(last) if truncated => last.marker(),
        Some(_) | None => ("", ""),
    };
    encoding.text(&mut xml, "NextKeyMarker", key);
    xml.text("NextUploadIdMarker", id);
    encoding.text(&mut xml, "Delimiter", ask.delimiter);
    encoding.text(&mut xml, "Prefix", ask.prefix);
    xml.value("MaxUploads", ask.entries_max);
    xml.value("IsTruncated", truncated);
    for entry in &entries {
        if let UploadEntry::Upload { key, id, initiated } = entry {
            xml.open("Upload");
            encoding.text(&mut xml, "Key", key);
            xml.text("UploadId", id);
            xml.text("StorageClass", "Standard");
            xml.text("Initiated", &iso_date(*initiated));
            xml.close("Upload");
        }
    }
    for entry in &entries {
        if let UploadEntry::CommonPrefix(prefix) = entry {
            xml.open("CommonPrefixes");
            encoding.text(&mut xml, "Prefix", prefix);
            xml.close("CommonPrefixes");
        }
    }
    xml.close("ListMultipartUploadsResult");
    Ok(answer::xml(xml.finish()))
}

fn entries_max(call: Call<'_>) -> Result<usize, OssError> {
    match call.request.param("max-uploads") {
        None | Some("") => Ok(UPLOADS_MAX),
        Some(given) => given
            .parse()
            .ok()
            .filter(|number| (1..=UPLOADS_MAX).contains(number))
            .ok_or_else(|| {
                OssError::invalid_argument(
                    "max-uploads",
                    given,
                    "Argument max-uploads must be an integer between 1 and 1000.",
                )
            }),
    }
}
