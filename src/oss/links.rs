//! Symbolic links of OSS, and tags.

use bytes::Bytes;
use http::header::ETAG;
use http::{HeaderName, HeaderValue, Method};
use percent_encoding::percent_decode_str;

use super::ask::Ask;
use super::body::Body;
use super::bucket::{Bucket, Request, check_key};
use super::error::{Error, Kind};
use super::operation::Operation;
use super::properties::{Condition, Properties};
use super::put::{Stored, headers, stored_as};
use super::refusal::text;
use super::send::Exchange;
use super::sign::encode_param;
use super::xml::{self, TaggingDocument};
use crate::object::{ETag, ObjectKey};
use crate::op::Op;

const TARGET: HeaderName = HeaderName::from_static("x-oss-symlink-target");

/// A symbolic link of OSS, itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symlink {
    /// The key it points to, whether or not there is one: of the same bucket, and never relative.
    pub target: String,
    /// Its own version, not its target's.
    pub etag: ETag,
    /// What was said of it when it was made.
    pub properties: Properties,
}

impl Bucket {
    /// Makes a link to a key, which need not exist and must not be a link itself. Not in buckets with real directories ([`Kind::Unsupported`]).
    ///
    /// # Errors
    /// As [`Bucket::put_object`].
    pub async fn put_symlink(
        &self,
        op: &Op,
        key: &ObjectKey,
        target: &ObjectKey,
        properties: &Properties,
        condition: Condition,
    ) -> Result<Stored, Error> {
        check_key(Operation::PutSymlink, key)?;
        let named = properties.headers().and_then(|mut headers| {
            let target = HeaderValue::try_from(encode_param(target.as_str()));
            let target = target.map_err(|_| "the target fits into no header".to_owned())?;
            headers.insert(TARGET, target);
            Ok(headers)
        });
        let mut headers = headers(Operation::PutSymlink, key, named)?;
        condition.add_to(&mut headers);
        let mut ask = Ask {
            request: Request {
                headers,
                body: Some(Body::new([])),
                ..Request::new(Method::PUT, vec![("symlink", String::new())])
            },
            // An ETag is documented for GetSymlink only: if none is told here, it is empty.
            read: Box::new(|headers, _| {
                let etag = text(headers, ETAG.as_str()).unwrap_or_default();
                Ok(stored_as(ETag::new(etag), headers))
            }),
        };
        let mut exchange = Exchange::new(self, op, Operation::PutSymlink, Some(key));
        let refusal = match exchange.persist(&mut ask).await {
            Err(refusal) => refusal,
            done => return done,
        };
        if *refusal.kind() != Kind::AlreadyExists || !exchange.doubt {
            return Err(refusal);
        }
        // What is there may be no link.
        match self.get_symlink(op, key).await {
            Ok(link) if link.target == target.as_str() => {
                self.recognised(op, key);
                Ok(Stored {
                    etag: link.etag,
                    crc64: None,
                    version_id: None,
                })
            }
            Ok(_) | Err(_) => Err(refusal),
        }
    }

    /// A link itself, wherever it points.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if there is nothing, [`Kind::Invalid`] or [`Kind::Unsupported`] if it is no link, and what every request can fail with.
    pub async fn get_symlink(&self, op: &Op, key: &ObjectKey) -> Result<Symlink, Error> {
        check_key(Operation::GetSymlink, key)?;
        let mut ask = Ask {
            request: Request::new(Method::GET, vec![("symlink", String::new())]),
            read: Box::new(|headers, _| {
                let target = text(headers, TARGET.as_str()).ok_or("the answer has no target")?;
                let target = percent_decode_str(target).decode_utf8();
                let target = target.map_err(|_| "the target is not UTF-8".to_owned())?;
                let etag = text(headers, ETAG.as_str()).ok_or("the answer has no ETag")?;
                Ok(Symlink {
                    target: target.into_owned(),
                    etag: ETag::new(etag),
                    properties: Properties::read(headers)?,
                })
            }),
        };
        let mut exchange = Exchange::new(self, op, Operation::GetSymlink, Some(key));
        exchange.persist(&mut ask).await
    }

    /// The tags of an object, name and value.
    ///
    /// # Errors
    /// [`Kind::NotFound`], and what every request can fail with.
    pub async fn get_tagging(
        &self,
        op: &Op,
        key: &ObjectKey,
    ) -> Result<Vec<(String, String)>, Error> {
        check_key(Operation::GetTagging, key)?;
        let mut ask = Ask {
            request: Request::new(Method::GET, vec![("tagging", String::new())]),
            read: Box::new(|_, body| {
                let document: TaggingDocument =
                    xml::parse(body).map_err(|error| error.to_string())?;
                let tags = document.tag_set.tags.into_iter();
                Ok(tags.map(|tag| (tag.key, tag.value)).collect())
            }),
        };
        let mut exchange = Exchange::new(self, op, Operation::GetTagging, Some(key));
        exchange.persist(&mut ask).await
    }

    /// Gives an object these tags, at most 10, and no others; its version stays the same.
    ///
    /// # Errors
    /// [`Kind::NotFound`], and what every request can fail with.
    pub async fn put_tagging(
        &self,
        op: &Op,
        key: &ObjectKey,
        tags: &[(String, String)],
    ) -> Result<(), Error> {
        let operation = match tags {
            [] => Operation::DeleteTagging,
            _ => Operation::PutTagging,
        };
        check_key(operation, key)?;
        let params = vec![("tagging", String::new())];
        let request = match tags {
            [] => Request::new(Method::DELETE, params),
            tags => Request {
                body: Some(Body::from(Bytes::from(tagging(tags)))),
                ..Request::new(Method::PUT, params)
            },
        };
        let mut ask = Ask {
            request,
            read: Box::new(|_, _| Ok(())),
        };
        let mut exchange = Exchange::new(self, op, operation, Some(key));
        exchange.persist(&mut ask).await
    }
}

fn tagging(tags: &[(String, String)]) -> String {
    let mut text = String::from("<Tagging><TagSet>");
    for (name, value) in tags {
        text.push_str("<Tag><Key>");
        xml::escape(name, &mut text);
        text.push_str("</Key><Value>");
        xml::escape(value, &mut text);
        text.push_str("</Value></Tag>");
    }
    text.push_str("</TagSet></Tagging>");
    text
}
