//! ListObjectsV2.

use http::Method;
use jiff::Timestamp;

use super::Error;
use super::ask::Ask;
use super::bucket::{Bucket, Request};
use super::operation::Operation;
use super::send::Exchange;
use super::xml::{self, Contents, ListDocument};
use crate::object::{ETag, ObjectMeta, ObjectType, StorageClass, UnixTime};
use crate::op::Op;

/// Entries of the longest page OSS sends.
const KEYS_MAX: u16 = 1000;

/// Which keys to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest {
    /// What all keys begin with: any text, not only a directory's prefix.
    pub prefix: String,
    /// True: keys with a `/` after the prefix are rolled up into prefixes, as in one directory. False: all keys.
    pub delimiter: bool,
    /// Only keys that sort after this one, by their bytes.
    pub start_after: Option<String>,
    /// [`ListPage::next`] of the page before.
    pub continuation: Option<String>,
    /// Entries of a page, 1 to 1000, objects and prefixes together; values outside are taken as the nearest of these.
    pub max_keys: u16,
}

impl ListRequest {
    /// One directory level of `prefix`, 1000 entries a page.
    #[must_use]
    pub fn directory(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            delimiter: true,
            start_after: None,
            continuation: None,
            max_keys: KEYS_MAX,
        }
    }

    fn params(&self) -> Vec<(&'static str, String)> {
        let mut params = vec![
            ("list-type", "2".to_owned()),
            // Keys may hold control characters that XML cannot carry.
            ("encoding-type", "url".to_owned()),
            ("max-keys", self.max_keys.clamp(1, KEYS_MAX).to_string()),
        ];
        if !self.prefix.is_empty() {
            params.push(("prefix", self.prefix.clone()));
        }
        if self.delimiter {
            params.push(("delimiter", "/".to_owned()));
        }
        let optional = [
            ("start-after", &self.start_after),
            ("continuation-token", &self.continuation),
        ];
        for (name, value) in optional {
            params.extend(value.clone().map(|value| (name, value)));
        }
        params
    }
}

/// One page of a listing. Keys and prefixes are as OSS keeps them, whole and not encoded; a key may equal the prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage {
    /// Objects, in the order of their keys' bytes. Their `crc64` is unknown here.
    pub objects: Vec<(String, ObjectMeta)>,
    /// What the delimiter rolled up; each ends with `/`.
    pub prefixes: Vec<String>,
    /// The next page's [`ListRequest::continuation`]; `None` on the last page.
    pub next: Option<String>,
}

impl Bucket {
    /// One page of a listing.
    ///
    /// # Errors
    /// What every request can fail with.
    pub async fn list(&self, op: &Op, request: &ListRequest) -> Result<ListPage, Error> {
        let mut ask = Ask {
            request: Request::new(Method::GET, request.params()),
            read: Box::new(|_, body| page(body, request)),
        };
        let mut exchange = Exchange::new(self, op, Operation::List, None);
        exchange.persist(&mut ask).await
    }
}

/// Reads a page; what cannot be an answer to `request` is an error, since a wrong listing hides or invents files.
fn page(body: &[u8], request: &ListRequest) -> Result<ListPage, String> {
    let document: ListDocument = xml::parse(body).map_err(|error| error.to_string())?;
    let decode = |text: &str| xml::decode(&document.encoding_type, text);
    let key = |text: &str| match decode(text)? {
        key if !key.is_empty() && key.starts_with(&request.prefix) => Ok(key),
        _ => Err("a listed key does not begin with the prefix".to_owned()),
    };
    let mut objects = Vec::with_capacity(document.contents.len());
    for contents in &document.contents {
        objects.push((key(&contents.key)?, meta(contents)?));
    }
    let mut prefixes = Vec::with_capacity(document.common_prefixes.len());
    for text in document
        .common_prefixes
        .iter()
        .flat_map(|each| &each.prefix)
    {
        prefixes.push(key(text)?);
    }
    let next = match document.is_truncated.as_str() {
        "false" => None,
        "true" => {
            let token = decode(&document.next_continuation_token)?;
            if token.is_empty() || request.continuation.as_ref() == Some(&token) {
                return Err("a listing does not say where it goes on".to_owned());
            }
            Some(token)
        }
        _ => return Err("a listing does not say whether it is complete".to_owned()),
    };
    Ok(ListPage {
        objects,
        prefixes,
        next,
    })
}

fn meta(contents: &Contents) -> Result<ObjectMeta, String> {
    let modified: Result<Timestamp, _> = contents.last_modified.parse();
    let modified = modified.map_err(|_| "a listed object has no time of change".to_owned())?;
    let size = contents.size.parse();
    Ok(ObjectMeta {
        size: size.map_err(|_| "a listed object has no size".to_owned())?,
        etag: ETag::new(&contents.etag),
        modified: UnixTime(modified.as_second()),
        kind: match contents.kind.as_str() {
            "" => ObjectType::Normal,
            word => ObjectType::from(word),
        },
        storage_class: match contents.storage_class.as_str() {
            "" => StorageClass::Standard,
            word => StorageClass::from(word),
        },
        crc64: None,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::oss::sign::encode_key;

    const OBJECT: &str = "<LastModified>2024-05-21T10:39:29.000Z</LastModified><ETag>\"5B\"</ETag>\
        <Type>Multipart</Type><Size>7</Size><StorageClass>IA</StorageClass>";

    fn document(keys: &[String], prefixes: &[String], end: &str) -> String {
        let mut text =
            String::from("<ListBucketResult><Name>b</Name><EncodingType>url</EncodingType>");
        for key in keys {
            write!(
                text,
                "<Contents><Key>{}</Key>{OBJECT}</Contents>",
                encode_key(key)
            )
            .unwrap();
        }
        for prefix in prefixes {
            let prefix = encode_key(prefix);
            write!(
                text,
                "<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>"
            )
            .unwrap();
        }
        text + end + "</ListBucketResult>"
    }

    #[test]
    fn a_page_is_read() {
        let keys = ["d/a+b %.txt".to_owned(), "d/\u{1}\u{6587}".to_owned()];
        let end = "<IsTruncated>true</IsTruncated><NextContinuationToken>a%2F%2B=</NextContinuationToken>";
        let text = document(&keys, &["d/sub/".to_owned()], end);
        let page = page(text.as_bytes(), &ListRequest::directory("d/")).unwrap();
        assert_eq!(page.objects[0].0, keys[0]);
        assert_eq!(page.objects[1].0, keys[1]);
        let meta = &page.objects[0].1;
        assert_eq!((meta.size, meta.etag.as_str()), (7, "5B"));
        assert_eq!(meta.modified, UnixTime(1_716_287_969));
        assert_eq!(meta.kind, ObjectType::Multipart);
        assert_eq!(meta.storage_class, StorageClass::InfrequentAccess);
        assert_eq!(page.prefixes, ["d/sub/"]);
        assert_eq!(page.next.as_deref(), Some("a/+="));
    }

    #[test]
    fn what_is_not_encoded_is_not_decoded() {
        let text = format!(
            "<ListBucketResult><Contents><Key>50%25</Key>{OBJECT}</Contents><IsTruncated>false</IsTruncated></ListBucketResult>"
        );
        let page = page(text.as_bytes(), &ListRequest::directory("")).unwrap();
        assert_eq!(page.objects[0].0, "50%25");
    }

    #[test]
    fn a_page_that_cannot_be_the_answer_is_refused() {
        let request = ListRequest {
            continuation: Some("t".to_owned()),
            ..ListRequest::directory("d/")
        };
        let end = "<IsTruncated>false</IsTruncated>";
        let last = |keys: &[&str], end: &str| {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            page(document(&keys, &[], end).as_bytes(), &request)
        };
        assert!(last(&["d/x"], end).is_ok());
        assert!(last(&["e/x"], end).is_err());
        assert!(last(&[], "").is_err(), "complete or not?");
        assert!(last(&[], "<IsTruncated>true</IsTruncated>").is_err());
        let same =
            "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>";
        assert!(last(&[], same).is_err(), "a listing without end");
        for broken in ["<Contents/>", "<Contents><Key>d/%FF</Key></Contents>"] {
            assert!(last(&[], &format!("{broken}{end}")).is_err(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn every_key_survives_the_page(names in proptest::collection::vec(any::<String>(), 0..8)) {
            let keys: Vec<String> = names.iter().map(|name| format!("p/{name}")).collect();
            let text = document(&keys, &keys, "<IsTruncated>false</IsTruncated>");
            let page = page(text.as_bytes(), &ListRequest::directory("p/")).map_err(TestCaseError::fail)?;
            let objects: Vec<String> = page.objects.into_iter().map(|(key, _)| key).collect();
            prop_assert_eq!(&objects, &keys);
            prop_assert_eq!(&page.prefixes, &keys);
        }
    }
}
