//! DeleteMultipleObjects.
//!
//! There is no word for a key that could not be deleted: it is missing from the answer. A key that the caller may not
//! delete is such a key; only who may delete none of them is refused (unconfirmed: what OSS does with a mixture).

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;

use super::Call;
use super::list::Encoding;
use super::receive::{self, malformed_xml_as};
use crate::dev_server::answer::{self, Answer};
use crate::dev_server::error::OssError;
use crate::dev_server::faults::Fault;
use crate::dev_server::store::Deleted;
use crate::dev_server::wire::Inbound;
use crate::dev_server::xml::Xml;
use crate::object::ObjectKey;

/// Keys of one request at most, and bytes of its document (OSS help "DeleteMultipleObjects").
const KEYS_MAX: usize = 1000;
const DOCUMENT_BYTES_MAX: usize = 2 << 20;

/// What the document asks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ask {
    quiet: bool,
    objects: Vec<Wanted>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Wanted {
    key: String,
    version: Option<String>,
}

/// Deletes the keys of a document, whether they are there or not.
pub(super) async fn delete_multiple(
    call: Call<'_>,
    body: &mut Inbound<'_>,
) -> Result<Answer, OssError> {
    call.refuse_hierarchical("DeleteMultipleObjects")?;
    let encoding = Encoding::of(call.request)?;
    let document = receive::document(body, DOCUMENT_BYTES_MAX).await?;
    receive::check_md5(call.request, &document)?;
    let ask = read(&document).map_err(malformed_xml_as)?;
    let mut xml = Xml::new();
    xml.open("DeleteResult");
    encoding.announce(&mut xml);
    let mut denied = None;
    let mut allowed = false;
    for (at, wanted) in ask.objects.iter().enumerate() {
        if ObjectKey::new(wanted.key.as_str()).is_err() {
            return Err(OssError::new(
                400,
                "InvalidObjectName",
                "The specified object is not valid.",
                "0016-00000008",
            ));
        }
        let action = match wanted.version {
            None => "oss:DeleteObject",
            Some(_) => "oss:DeleteObjectVersion",
        };
        if let Err(error) = call.allow(action, Some(&wanted.key)) {
            denied = Some(error);
            continue;
        }
        allowed = true;
        if skipped(call.fault, at) {
            continue;
        }
        let version = wanted.version.as_deref();
        let deleted = call.bucket.delete(&wanted.key, version)?;
        told(&mut xml, encoding, wanted, &deleted);
    }
    xml.close("DeleteResult");
    match denied {
        Some(error) if !allowed => Err(error),
        Some(_) | None if ask.quiet => Ok(answer::empty(http::Response::builder())),
        Some(_) | None => Ok(answer::xml(xml.finish())),
    }
}

/// What the fault leaves undone: of every so many keys the last.
fn skipped(fault: Option<Fault>, at: usize) -> bool {
    match fault {
        Some(Fault::SkipKeys { every }) => every > 0 && (at as u64 + 1).is_multiple_of(every),
        Some(_) | None => false,
    }
}

fn told(xml: &mut Xml, encoding: Encoding, wanted: &Wanted, deleted: &Deleted) {
    xml.open("Deleted");
    encoding.text(xml, "Key", &wanted.key);
    if let Some(version) = &wanted.version {
        xml.text("VersionId", version);
    }
    if deleted.marker {
        xml.text("DeleteMarker", "true");
        if let Some(version) = &deleted.version {
            xml.text("DeleteMarkerVersionId", version);
        }
    }
    xml.close("Deleted");
}

/// Reads the document, every byte of its keys: a reader that trims or normalizes would delete another object.
///
/// # Errors
/// The EC of OSS for the defect.
fn read(document: &[u8]) -> Result<Ask, &'static str> {
    const BROKEN: &str = "0016-00000607";
    let document = std::str::from_utf8(document).map_err(|_| BROKEN)?;
    let mut reader = Reader::from_str(document);
    let mut ask = Ask::default();
    let mut path: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut wanted = Wanted::default();
    let mut has_root = false;
    loop {
        match reader.read_event().map_err(|_| BROKEN)? {
            Event::Start(start) => {
                path.push(start.local_name().as_ref().to_owned());
                has_root = true;
                if path[0] != "Delete" {
                    return Err("0016-00000608");
                }
                text.clear();
            }
            Event::Text(part) => text.push_str(&part),
            Event::CData(part) => text.push_str(&part),
            Event::GeneralRef(name) => match name.resolve_char_ref().map_err(|_| BROKEN)? {
                Some(letter) => text.push(letter),
                None => text.push_str(resolve_xml_entity(&name).ok_or(BROKEN)?),
            },
            Event::End(_) => {
                let names: Vec<&str> = path.iter().map(String::as_str).collect();
                match names[..] {
                    ["Delete", "Quiet"] => ask.quiet = text.trim().eq_ignore_ascii_case("true"),
                    ["Delete", "Object", "Key"] => wanted.key.clone_from(&text),
                    ["Delete", "Object", "VersionId"] => wanted.version = Some(text.clone()),
                    ["Delete", "Object"] if wanted.key.is_empty() => return Err("0016-00000613"),
                    ["Delete", "Object"] => ask.objects.push(std::mem::take(&mut wanted)),
                    _ => {}
                }
                path.pop();
                text.clear();
            }
            Event::Eof if path.is_empty() && has_root => break,
            Event::Eof => return Err(BROKEN),
            Event::Empty(empty) => match (path.len(), empty.local_name().as_ref()) {
                (0, _) => has_root = true,
                (1, "Object") => return Err("0016-00000613"),
                _ => {}
            },
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    match ask.objects.len() {
        0 => Err("0016-00000615"),
        1..=KEYS_MAX => Ok(ask),
        _ => Err("0016-00000609"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn keys(document: &str) -> Result<Vec<String>, &'static str> {
        let ask = read(document.as_bytes())?;
        Ok(ask.objects.into_iter().map(|wanted| wanted.key).collect())
    }

    #[test]
    fn every_byte_of_a_key_counts() {
        for (written, key) in [
            ("plain", "plain"),
            (" spaces around ", " spaces around "),
            ("a&amp;b&lt;c&gt;&quot;&apos;", "a&b<c>\"'"),
            ("tab&#x9;line&#xA;return&#13;", "tab\tline\nreturn\r"),
            ("one&#x1;", "one\u{1}"),
            ("数据\u{1}", "数据\u{1}"),
            ("<![CDATA[a<b]]>", "a<b"),
        ] {
            let document = format!("<Delete><Object><Key>{written}</Key></Object></Delete>");
            assert_eq!(keys(&document), Ok(vec![key.to_owned()]), "{written}");
        }
    }

    #[test]
    fn a_document_is_read_or_refused_with_its_code() {
        let ask = read(
            b"<?xml version=\"1.0\"?>\n<Delete>\n <Quiet> true </Quiet>\n <Object>\n <Key>a</Key>\n \
              <VersionId>v</VersionId></Object><Object><Key>b</Key></Object>\n</Delete>\n",
        )
        .unwrap();
        assert!(ask.quiet);
        assert_eq!(ask.objects[0].version.as_deref(), Some("v"));
        assert_eq!(ask.objects[1].version, None);
        for (document, ec) in [
            ("", "0016-00000607"),
            ("no xml", "0016-00000607"),
            ("<Delete><Object><Key>a</Key></Object>", "0016-00000607"),
            (
                "<Delete><Object><Key>&no;</Key></Object></Delete>",
                "0016-00000607",
            ),
            ("<BatchDelete/>", "0016-00000615"),
            (
                "<BatchDelete><Object><Key>a</Key></Object></BatchDelete>",
                "0016-00000608",
            ),
            ("<Delete><Quiet>true</Quiet></Delete>", "0016-00000615"),
            (
                "<Delete><Object><VersionId>v</VersionId></Object></Delete>",
                "0016-00000613",
            ),
        ] {
            assert_eq!(keys(document), Err(ec), "{document}");
        }
        for (number, fits) in [(999, true), (1000, true), (1001, false)] {
            let objects = "<Object><Key>k</Key></Object>".repeat(number);
            let read = keys(&format!("<Delete>{objects}</Delete>"));
            assert_eq!(read.is_ok(), fits, "{number}");
        }
    }
}
