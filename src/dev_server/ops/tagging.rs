//! Tags of objects: in a header, and as documents of their own.

use http::{Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::receive::{self, malformed_xml};
use super::{Call, described};
use crate::dev_server::answer::{self, Answer};
use crate::dev_server::error::OssError;
use crate::dev_server::wire::Inbound;
use crate::dev_server::xml::Xml;

/// Tags of one object at most; bytes of a key and of a value (OSS help "PutObjectTagging").
const TAGS_MAX: usize = 10;
const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;

/// Bytes of a document with as many tags as there may be, generously.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;

type Tags = Vec<(String, String)>;

/// Reads `x-oss-tagging`: `k=v&k2=v2`, each percent-encoded.
///
/// # Errors
/// 400 `InvalidTag`.
pub(super) fn of_header(header: &str) -> Result<Tags, OssError> {
    let decoded = |text: &str| {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| invalid("0010-00000219"))
    };
    let mut tags = Vec::new();
    for pair in header.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if value.contains('=') {
            return Err(invalid("0010-00000219"));
        }
        tags.push((decoded(key)?, decoded(value)?));
    }
    checked(tags)
}

fn checked(tags: Tags) -> Result<Tags, OssError> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || " +-=._:/".contains(letter);
    if tags.len() > TAGS_MAX {
        return Err(invalid("0010-00000218"));
    }
    for (at, (key, value)) in tags.iter().enumerate() {
        let long = key.chars().count() > KEY_CHARS_MAX;
        if long {
            return Err(invalid("0010-00000209"));
        }
        if value.chars().count() > VALUE_CHARS_MAX {
            return Err(invalid("0010-00000214"));
        }
        let twice = tags[..at].iter().any(|(other, _)| other == key);
        if key.is_empty() || twice || !key.chars().chain(value.chars()).all(plain) {
            return Err(invalid("0010-00000217"));
        }
    }
    Ok(tags)
}

fn invalid(ec: &'static str) -> OssError {
    OssError::new(
        400,
        "InvalidTag",
        "The tagging you provided is not valid.",
        ec,
    )
}

#[derive(Debug, Deserialize)]
struct Tagging {
    #[serde(rename = "TagSet", default)]
    set: TagSet,
}

#[derive(Debug, Default, Deserialize)]
struct TagSet {
    #[serde(rename = "Tag", default)]
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
struct Tag {
    #[serde(rename = "Key")]
    key: String,
    #[serde(rename = "Value", default)]
    value: String,
}

/// PutObjectTagging: all tags are replaced.
pub(super) async fn put(call: Call<'_>, body: &mut Inbound<'_>) -> Result<Answer, OssError> {
    call.refuse_hierarchical("tagging")?;
    let document = receive::document(body, DOCUMENT_BYTES_MAX).await?;
    let document = std::str::from_utf8(&document).map_err(|_| malformed_xml())?;
    let parsed: Tagging = quick_xml::de::from_str(document).map_err(|_| malformed_xml())?;
    let pair = |tag: Tag| (tag.key, tag.value);
    let tags = checked(parsed.set.tags.into_iter().map(pair).collect())?;
    let object = call.bucket.set_tags(call.key, tags)?;
    Ok(answer::empty(described::version(
        &object,
        Response::builder(),
    )))
}

/// GetObjectTagging.
pub(super) fn get(call: Call<'_>) -> Result<Answer, OssError> {
    call.refuse_hierarchical("tagging")?;
    let object = call.bucket.get(call.key)?;
    let mut xml = Xml::new();
    xml.open("Tagging");
    xml.open("TagSet");
    for (key, value) in &object.attributes.tags {
        xml.open("Tag");
        xml.text("Key", key);
        xml.text("Value", value);
        xml.close("Tag");
    }
    xml.close("TagSet");
    xml.close("Tagging");
    let mut answer = answer::xml(xml.finish());
    described::add_version(&object, answer.headers_mut());
    Ok(answer)
}

/// DeleteObjectTagging.
pub(super) fn delete(call: Call<'_>) -> Result<Answer, OssError> {
    call.refuse_hierarchical("tagging")?;
    let object = call.bucket.set_tags(call.key, Vec::new())?;
    let builder = Response::builder().status(StatusCode::NO_CONTENT);
    let builder = described::version(&object, builder);
    Ok(answer::finish(builder, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_of_tags_is_read_or_refused() {
        let code = |header: &str| of_header(header).map_err(|error| error.ec);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(code(""), Ok(Vec::new()));
        assert_eq!(
            code("a=b&c%20d=%2B%2F&e"),
            Ok(vec![pair("a", "b"), pair("c d", "+/"), pair("e", "")])
        );
        assert_eq!(code("aa=bb=cc"), Err("0010-00000219"));
        assert_eq!(code("a=1&a=2"), Err("0010-00000217"));
        assert_eq!(code("=1"), Err("0010-00000217"));
        assert_eq!(code("a=%3F"), Err("0010-00000217"));
        assert_eq!(code("a=%E6%95%B0"), Err("0010-00000217"));
        for (number, fits) in [(9, true), (10, true), (11, false)] {
            let header: Vec<String> = (0..number).map(|at| format!("k{at}=v")).collect();
            assert_eq!(code(&header.join("&")).is_ok(), fits, "{number}");
        }
        for (chars, fits) in [(127, true), (128, true), (129, false)] {
            assert_eq!(code(&"k".repeat(chars)).is_ok(), fits, "{chars}");
        }
        for (chars, fits) in [(255, true), (256, true), (257, false)] {
            assert_eq!(code(&format!("k={}", "v".repeat(chars))).is_ok(), fits);
        }
    }
}
