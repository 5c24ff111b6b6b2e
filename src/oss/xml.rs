//! The XML of OSS, read by local name, whatever the namespace.
//!
//! Numbers and times arrive here as text and are read by whoever knows what they mean: an answer with an odd field is
//! then a lie about that field, not a broken document.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Bytes of the longest document read. A page of 1000 keys of 1023 bytes, each byte percent-encoded, has about 4 MB.
pub(super) const BODY_BYTES_MAX: usize = 8 << 20;

/// Bytes of the longest error document read; OSS's have under 2 KB.
pub(super) const ERROR_BYTES_MAX: usize = 64 << 10;

/// Why a document cannot be read. The document itself is not shown: it may hold a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the XML of the answer cannot be read")]
pub(super) struct Unreadable;

/// Reads a document.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    let text = std::str::from_utf8(body).map_err(|_| Unreadable)?;
    quick_xml::de::from_str(text).map_err(|_| Unreadable)
}

/// `Error`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ErrorDocument {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) request_id: String,
    #[serde(rename = "EC")]
    pub(super) ec: String,
    pub(super) endpoint: String,
}

/// `ListBucketResult`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ListDocument {
    pub(super) encoding_type: String,
    pub(super) is_truncated: String,
    pub(super) next_continuation_token: String,
    pub(super) contents: Vec<Contents>,
    pub(super) common_prefixes: Vec<CommonPrefixes>,
}

/// One object of a listing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Contents {
    pub(super) key: String,
    pub(super) last_modified: String,
    #[serde(rename = "ETag")]
    pub(super) etag: String,
    #[serde(rename = "Type")]
    pub(super) kind: String,
    pub(super) size: String,
    pub(super) storage_class: String,
}

/// Directories of a listing: OSS repeats the outer element, others the inner.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CommonPrefixes {
    pub(super) prefix: Vec<String>,
}

/// `BucketInfo`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InfoDocument {
    pub(super) bucket: BucketElement,
}

/// `BucketInfo/Bucket`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct BucketElement {
    pub(super) name: String,
    pub(super) location: String,
    pub(super) extranet_endpoint: String,
    pub(super) intranet_endpoint: String,
    pub(super) storage_class: String,
    pub(super) versioning: String,
    pub(super) hierarchical_namespace: String,
}

/// `InitiateMultipartUploadResult`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct InitiateDocument {
    pub(super) upload_id: String,
}

/// `CompleteMultipartUploadResult`, `CopyObjectResult`, `CopyPartResult`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ETagDocument {
    #[serde(rename = "ETag")]
    pub(super) etag: String,
}

/// `ListPartsResult`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct PartsDocument {
    pub(super) is_truncated: String,
    pub(super) next_part_number_marker: String,
    #[serde(rename = "Part")]
    pub(super) parts: Vec<PartElement>,
}

/// `ListPartsResult/Part`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct PartElement {
    pub(super) part_number: String,
    #[serde(rename = "ETag")]
    pub(super) etag: String,
    pub(super) hash_crc64ecma: String,
    pub(super) size: String,
}

/// `ListMultipartUploadsResult`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct UploadsDocument {
    pub(super) encoding_type: String,
    pub(super) is_truncated: String,
    pub(super) next_key_marker: String,
    pub(super) next_upload_id_marker: String,
    #[serde(rename = "Upload")]
    pub(super) uploads: Vec<UploadElement>,
}

/// `ListMultipartUploadsResult/Upload`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct UploadElement {
    pub(super) key: String,
    pub(super) upload_id: String,
    pub(super) initiated: String,
}

/// `DeleteResult`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeleteDocument {
    pub(super) encoding_type: String,
    pub(super) deleted: Vec<DeletedElement>,
}

/// `DeleteResult/Deleted`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeletedElement {
    pub(super) key: String,
}

/// `Tagging`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TaggingDocument {
    pub(super) tag_set: TagSet,
}

/// `Tagging/TagSet`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TagSet {
    #[serde(rename = "Tag")]
    pub(super) tags: Vec<TagElement>,
}

/// `Tagging/TagSet/Tag`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TagElement {
    pub(super) key: String,
    pub(super) value: String,
}

/// A text as it stands between tags. Control characters, which XML 1.0 cannot carry, as OSS's clients write them.
pub(super) fn escape(text: &str, into: &mut String) {
    for letter in text.chars() {
        match letter {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            control if control.is_ascii_control() => {
                into.push_str("&#x");
                into.push_str(&format!("{:X}", u32::from(control)));
                into.push(';');
            }
            letter => into.push(letter),
        }
    }
}

/// A listed text that is percent-encoded if the document says so: `%XX` only, a plus is a plus.
pub(super) fn decode(encoding_type: &str, text: &str) -> Result<String, String> {
    match encoding_type {
        "url" => {
            let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
            let decoded = decoded.map_err(|_| "a listed key is not UTF-8".to_owned())?;
            Ok(decoded.into_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn namespaces_do_not_matter() {
        for document in [
            "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://doc.oss-cn-hangzhou.aliyuncs.com\">\
             <Name>b</Name><IsTruncated>false</IsTruncated><Contents><Key>k</Key><Size>1</Size></Contents></ListBucketResult>",
            "<o:ListBucketResult xmlns:o=\"urn:x\"><o:IsTruncated>false</o:IsTruncated><o:Contents><o:Key>k</o:Key>\
             <o:Owner><o:ID>1</o:ID></o:Owner><o:Size>1</o:Size></o:Contents></o:ListBucketResult>",
        ] {
            let list: ListDocument = parse(document.as_bytes()).unwrap();
            assert_eq!(list.contents[0].key, "k");
            assert_eq!(list.contents[0].size, "1");
            assert_eq!(list.is_truncated, "false");
        }
    }

    #[test]
    fn prefixes_are_read_in_both_forms() {
        let outer = "<L><CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>\
                     <CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes></L>";
        let inner =
            "<L><CommonPrefixes><Prefix>a/</Prefix><Prefix>b/</Prefix></CommonPrefixes></L>";
        for document in [outer, inner] {
            let list: ListDocument = parse(document.as_bytes()).unwrap();
            let all = list.common_prefixes.into_iter();
            let all: Vec<String> = all.flat_map(|each| each.prefix).collect();
            assert_eq!(all, ["a/", "b/"]);
        }
    }

    #[test]
    fn an_error_keeps_its_code_and_drops_the_rest() {
        let error: ErrorDocument = parse(
            b"<Error><Code>SecurityTokenExpired</Code><Message>The token &lt;has&gt; expired.</Message>\
              <RequestId>5C3</RequestId><SecurityToken>CAIS</SecurityToken><EC>0002-00000007\n</EC></Error>",
        )
        .unwrap();
        assert_eq!(error.code, "SecurityTokenExpired");
        assert_eq!(error.message, "The token <has> expired.");
        assert_eq!(error.ec.trim(), "0002-00000007");
        assert!(!format!("{error:?}").contains("CAIS"));
    }

    #[test]
    fn hostile_documents_are_unreadable_or_empty_and_never_a_panic() {
        let deep = "<a>".repeat(100_000);
        let deep_in_a_field = format!("<Error><Code>{}</Code></Error>", "<a>".repeat(100_000));
        let closed = format!(
            "<Error><X>{}{}</X></Error>",
            "<a>".repeat(50_000),
            "</a>".repeat(50_000)
        );
        let laughs = "<!DOCTYPE Error [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]><Error><Code>&b;</Code></Error>";
        let external = "<!DOCTYPE E [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><Error><Code>&x;</Code></Error>";
        for document in [
            deep.as_str(),
            &deep_in_a_field,
            &closed,
            laughs,
            external,
            "",
            "<",
            "<a",
            "&",
            "\0",
            "<html>no</html>",
        ] {
            if let Ok(error) = parse::<ErrorDocument>(document.as_bytes()) {
                assert!(!error.code.contains("aaaa") && !error.code.contains("root:"));
            }
            let _ = parse::<ListDocument>(document.as_bytes());
        }
        assert_eq!(parse::<ErrorDocument>(b"\xff\xfe").unwrap_err(), Unreadable);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut text = String::from("<T><TagSet><Tag><Key>");
        escape("a<b>&\"'\t\u{1}ü]]>", &mut text);
        assert!(
            text.ends_with("a&lt;b&gt;&amp;\"'&#x9;&#x1;ü]]&gt;"),
            "{text}"
        );
        text.push_str("</Key><Value/></Tag><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></T>");
        let text = text.replace("&#x1;", ""); // no reader of XML 1.0 takes it; OSS does
        let document: TaggingDocument = parse(text.as_bytes()).unwrap();
        assert_eq!(document.tag_set.tags[0].key, "a<b>&\"'\tü]]>");
        assert_eq!(document.tag_set.tags[1].value, "v");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse::<ListDocument>(&body);
            let _ = parse::<ErrorDocument>(&body);
        }

        #[test]
        fn no_document_of_known_words_panics(words in proptest::collection::vec(
            proptest::sample::select(vec!["<Contents>", "</Contents>", "<Key>", "</Key>", "<Size>", "</Size>", "a%2", "&amp;", "&#0;",
                "&#x110000;", "<![CDATA[x]]>", "<!--", "-->", "<?x?>", "<CommonPrefixes>", "</CommonPrefixes>", "<Prefix/>", "<ListBucketResult>"]), 0..30)) {
            let body = format!("<ListBucketResult>{}</ListBucketResult>", words.concat());
            let _ = parse::<ListDocument>(body.as_bytes());
        }
    }
}
