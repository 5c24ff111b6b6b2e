//! ListObjects, version 1 and 2.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Call;
use crate::dev_server::answer::{self, Answer, iso_date, quoted};
use crate::dev_server::error::OssError;
use crate::dev_server::request::Incoming;
use crate::dev_server::store::{Ask, Entry, Object, Page};
use crate::dev_server::xml::Xml;

/// Entries of a page when the request does not say (OSS help "ListObjectsV2").
const ENTRIES_DEFAULT: usize = 100;

/// Entries of a page at most; a request for more gets these.
const ENTRIES_MAX: usize = 1000;

/// The owner of everything.
const OWNER: &str = "1000000000000000";

/// What `encoding-type=url` leaves as it is.
pub(super) const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Which of the two listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// How names are written into XML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    /// # Errors
    /// 400 `InvalidArgument` for anything but `url`.
    pub(super) fn of(request: &Incoming) -> Result<Self, OssError> {
        match request.param("encoding-type") {
            None | Some("") => Ok(Self::Plain),
            Some(word) if word.eq_ignore_ascii_case("url") => Ok(Self::Url),
            Some(other) => Err(OssError::invalid_argument(
                "encoding-type",
                other,
                "Invalid Encoding Method specified in Request.",
            )),
        }
    }

    pub(super) fn announce(self, xml: &mut Xml) {
        if self == Self::Url {
            xml.text("EncodingType", "url");
        }
    }

    pub(super) fn text(self, xml: &mut Xml, element: &str, text: &str) {
        match self {
            Self::Plain => xml.text(element, text),
            Self::Url => xml.text(element, &utf8_percent_encode(text, PLAIN).to_string()),
        }
    }
}

/// One page.
pub(super) fn list(call: Call<'_>, version: Version) -> Result<Answer, OssError> {
    let request = call.request;
    let encoding = Encoding::of(request)?;
    let param = |name| request.param(name).unwrap_or_default();
    let token = match param("continuation-token") {
        "" => None,
        token => Some(decoded(token)?),
    };
    let after = match (version, &token) {
        (Version::V1, _) => param("marker"),
        (Version::V2, Some(token)) => token,
        (Version::V2, None) => param("start-after"),
    };
    let ask = Ask {
        prefix: short("prefix", param("prefix"))?,
        delimiter: short("delimiter", param("delimiter"))?,
        after: short("marker", after)?,
        entries_max: entries_max(request)?,
    };
    let page = call.bucket.list(ask);
    let mut xml = Xml::new();
    xml.open("ListBucketResult");
    xml.text("Name", &call.bucket.config.name);
    encoding.announce(&mut xml);
    encoding.text(&mut xml, "Prefix", ask.prefix);
    xml.value("MaxKeys", ask.entries_max);
    encoding.text(&mut xml, "Delimiter", ask.delimiter);
    xml.value("IsTruncated", page.next.is_some());
    match version {
        Version::V1 => {
            encoding.text(&mut xml, "Marker", ask.after);
            if let Some(next) = &page.next {
                encoding.text(&mut xml, "NextMarker", next);
            }
        }
        Version::V2 => {
            xml.value("KeyCount", page.entries.len());
            if !param("start-after").is_empty() {
                encoding.text(&mut xml, "StartAfter", param("start-after"));
            }
            if token.is_some() {
                xml.text("ContinuationToken", param("continuation-token"));
            }
            if let Some(next) = &page.next {
                let token = URL_SAFE_NO_PAD.encode(next);
                encoding.text(&mut xml, "NextContinuationToken", &token);
            }
        }
    }
    let owner = version == Version::V1 || param("fetch-owner").eq_ignore_ascii_case("true");
    entries(&mut xml, encoding, &page, owner);
    xml.close("ListBucketResult");
    Ok(answer::xml(xml.finish()))
}

/// All objects, then all common prefixes, as OSS orders them.
fn entries(
    xml: &mut Xml,
    encoding: Encoding,
    page: &Page<std::sync::Arc<Object>>,
    with_owner: bool,
) {
    for entry in &page.entries {
        let Entry::Object(object) = entry else {
            continue;
        };
        xml.open("Contents");
        encoding.text(xml, "Key", &object.key);
        xml.text("LastModified", &iso_date(object.modified));
        xml.text("ETag", &quoted(&object.etag));
        xml.text("Type", object.kind.as_str());
        xml.value("Size", object.size);
        xml.text("StorageClass", object.attributes.storage_class.as_str());
        if with_owner {
            owner(xml);
        }
        xml.close("Contents");
    }
    for entry in &page.entries {
        if let Entry::CommonPrefix(prefix) = entry {
            xml.open("CommonPrefixes");
            encoding.text(xml, "Prefix", prefix);
            xml.close("CommonPrefixes");
        }
    }
}

pub(super) fn owner(xml: &mut Xml) {
    xml.open("Owner");
    xml.text("ID", OWNER);
    xml.text("DisplayName", OWNER);
    xml.close("Owner");
}

fn entries_max(request: &Incoming) -> Result<usize, OssError> {
    let given = match request.param("max-keys") {
        None | Some("") => return Ok(ENTRIES_DEFAULT),
        Some(given) => given,
    };
    match given.parse::<usize>() {
        Ok(number) if number > 0 => Ok(number.min(ENTRIES_MAX)),
        Ok(_) | Err(_) => Err(OssError::invalid_argument(
            "max-keys",
            given,
            "Argument max-keys must be an integer between 1 and 1000.",
        )),
    }
}

/// No name of a listing is longer than a key.
pub(super) fn short<'a>(name: &str, text: &'a str) -> Result<&'a str, OssError> {
    match text.len() {
        0..=1023 => Ok(text),
        _ => Err(OssError::invalid_argument(
            name,
            text,
            format!("The length of {name} must be less than 1024 bytes."),
        )),
    }
}

fn decoded(token: &str) -> Result<String, OssError> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            OssError::invalid_argument(
                "continuation-token",
                token,
                "The continuation token provided is incorrect.",
            )
        })
}
