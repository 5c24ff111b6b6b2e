//! DeleteObject and DeleteMultipleObjects.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use md5::{Digest as _, Md5};

use super::ask::Ask;
use super::body::Body;
use super::bucket::{Bucket, Request, check_key};
use super::error::{Error, Kind};
use super::operation::Operation;
use super::send::Exchange;
use super::xml::{self, DeleteDocument};
use crate::object::ObjectKey;
use crate::op::Op;

/// Keys of one DeleteMultipleObjects at most (OSS help "DeleteMultipleObjects").
pub const DELETE_KEYS_MAX: usize = 1000;

/// Bytes of its body at most (the same page).
const BODY_BYTES_MAX: usize = 2 << 20;

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// What became of a batch: every key of it is in one of the two, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeletedBatch {
    /// Gone, or never there.
    pub deleted: Vec<ObjectKey>,
    /// Not deleted: OSS under load leaves some out, and keys whose texts together are too long for one request were not asked for. Ask again.
    pub left: Vec<ObjectKey>,
}

impl Bucket {
    /// Deletes an object; of a symbolic link of OSS the link. One that is not there is deleted already.
    ///
    /// # Errors
    /// [`Kind::Immutable`], [`Kind::Denied`], and what every request can fail with.
    pub async fn delete_object(&self, op: &Op, key: &ObjectKey) -> Result<(), Error> {
        check_key(Operation::Delete, key)?;
        let mut ask = Ask {
            request: Request::new(Method::DELETE, Vec::new()),
            read: Box::new(|_, _| Ok(())),
        };
        let mut exchange = Exchange::new(self, op, Operation::Delete, Some(key));
        match exchange.persist(&mut ask).await {
            Err(error) if *error.kind() == Kind::NotFound => Ok(()),
            answer => answer,
        }
    }

    /// Deletes at most [`DELETE_KEYS_MAX`] objects by one request, which asks OSS to name those that it deleted. Not in buckets with real directories
    /// ([`Kind::Unsupported`]).
    ///
    /// # Errors
    /// [`Kind::Invalid`] for more keys, and what every request can fail with. An error says nothing of single keys; the batch may be repeated.
    pub async fn delete_objects(&self, op: &Op, keys: &[ObjectKey]) -> Result<DeletedBatch, Error> {
        if keys.len() > DELETE_KEYS_MAX {
            let detail = format!("a batch has at most {DELETE_KEYS_MAX} keys");
            return Err(Error::invalid(Operation::DeleteBatch, None, detail));
        }
        let (text, asked) = document(keys);
        if asked == 0 {
            return Ok(DeletedBatch::default());
        }
        let md5 = STANDARD.encode(Md5::digest(text.as_bytes()));
        let md5 = HeaderValue::try_from(md5)
            .map_err(|error| Error::invalid(Operation::DeleteBatch, None, error.to_string()))?;
        let params = vec![
            ("delete", String::new()),
            ("encoding-type", "url".to_owned()),
        ];
        let mut ask = Ask {
            request: Request {
                headers: HeaderMap::from_iter([(CONTENT_MD5, md5)]),
                body: Some(Body::from(Bytes::from(text))),
                ..Request::new(Method::POST, params)
            },
            read: Box::new(|_, body| deleted(body)),
        };
        let mut exchange = Exchange::new(self, op, Operation::DeleteBatch, None);
        let deleted = exchange.persist(&mut ask).await?;
        let keys = keys.iter().cloned();
        let (deleted, left) = keys.partition(|key| deleted.contains(key.as_str()));
        Ok(DeletedBatch { deleted, left })
    }
}

/// The body that asks for keys, and for how many of them: as many as fit.
fn document(keys: &[ObjectKey]) -> (String, usize) {
    const END: &str = "</Delete>";
    let mut text = String::from("<Delete><Quiet>false</Quiet>");
    let mut asked = 0;
    for key in keys {
        let before = text.len();
        text.push_str("<Object><Key>");
        xml::escape(key.as_str(), &mut text);
        text.push_str("</Key></Object>");
        if text.len() + END.len() > BODY_BYTES_MAX {
            text.truncate(before);
            break;
        }
        asked += 1;
    }
    text.push_str(END);
    (text, asked)
}

/// The keys that were deleted.
fn deleted(body: &[u8]) -> Result<HashSet<String>, String> {
    let document: DeleteDocument = xml::parse(body).map_err(|error| error.to_string())?;
    let keys = document.deleted.iter();
    keys.map(|deleted| xml::decode(&document.encoding_type, &deleted.key))
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_body_longer_than_oss_takes_asks_for_fewer_keys() {
        let key = |index: usize| {
            let text = format!("{index:04}{}", "\u{1}".repeat(1019));
            ObjectKey::new(text).unwrap()
        };
        let keys: Vec<ObjectKey> = (0..1000).map(key).collect();
        let (text, asked) = document(&keys);
        assert!(text.len() <= BODY_BYTES_MAX && text.len() > BODY_BYTES_MAX - 6000);
        assert_eq!(text.matches("<Key>").count(), asked);
        assert!(text.ends_with("</Object></Delete>"));
        let plain: Vec<ObjectKey> = (0..1000)
            .map(|index| ObjectKey::new(format!("{index:04}{}", "<".repeat(400))).unwrap())
            .collect();
        assert_eq!(document(&plain).1, 1000);
    }

    #[test]
    fn deleted_keys_are_decoded() {
        let body = b"<DeleteResult><EncodingType>url</EncodingType><Deleted><Key>a%2Fb%01%20%2B+</Key></Deleted>\
            <Deleted><Key>c</Key><DeleteMarker>true</DeleteMarker></Deleted></DeleteResult>";
        let keys = deleted(body).unwrap();
        assert!(keys.contains("a/b\u{1} ++") && keys.contains("c"));
        assert!(deleted(b"<DeleteResult/>").unwrap().is_empty());
        assert!(deleted(b"").is_err());
    }
}
