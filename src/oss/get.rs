//! GetObject: a stream that survives broken bodies.

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MATCH, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::bucket::{Bucket, Request, check_key};
use super::haste::BODY_MIN;
use super::operation::Operation;
use super::operations::meta;
use super::send::{Attempt, Exchange};
use super::verdict::Failure;
use super::{Error, refusal};
use crate::metrics::Metrics;
use crate::object::{ETag, ObjectMeta, Source};
use crate::op::Op;
use crate::transport::Response;

/// Without it a range that ends past the object's end is answered with the whole object.
const RANGE_BEHAVIOR: HeaderName = HeaderName::from_static("x-oss-range-behavior");

impl Bucket {
    /// Asks for bytes of one version and resolves when the head of the answer is there. An empty source asks nothing.
    ///
    /// # Errors
    /// [`super::Kind::Changed`] if the key holds another version (or a server that ignores `If-Match` insists on sending
    /// one), [`super::Kind::NotFound`] if it holds none, and what every request can fail with.
    pub async fn get<'a>(&'a self, op: &'a Op, source: &Source) -> Result<Get<'a>, Error> {
        let key = source.version.key();
        check_key(Operation::Get, key)?;
        if source.range.end > source.version.size() {
            let detail = "the range ends past the end of the version";
            return Err(Error::invalid(Operation::Get, Some(key), detail));
        }
        let mut get = Get {
            exchange: Exchange::new(self, op, Operation::Get, Some(key)),
            stream: Stream {
                at: source.range.start,
                source: source.clone(),
                body: None,
                meta: None,
                received: 0,
                awaited: Duration::ZERO,
            },
            metrics: &self.metrics,
        };
        self.metrics.oss.gets_in_flight.inc();
        if !source.is_empty() {
            get.exchange.persist(&mut Open(&mut get.stream)).await?;
        }
        Ok(get)
    }
}

/// The bytes of a [`Source`], as they arrive. Dropping it gives up the rest.
#[derive(Debug)]
pub struct Get<'a> {
    exchange: Exchange<'a>,
    stream: Stream,
    metrics: &'a Metrics,
}

impl Get<'_> {
    /// The next bytes, never an empty piece; `None` after the last byte that was asked for.
    ///
    /// A body that breaks, ends early, stands still or comes far slower than others is continued: the rest is asked for, signed anew, of the same
    /// version. Time between calls counts for no time-out.
    ///
    /// # Errors
    /// As [`Bucket::get`]. After an error the stream may be asked again; it goes on where it stopped.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if self.stream.is_done() {
            return Ok(None);
        }
        let chunk = self.exchange.persist(&mut Next(&mut self.stream)).await?;
        let received = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.metrics.oss.bytes_received.inc_by(received);
        Ok(Some(chunk))
    }

    /// CRC-64/XZ of the whole version, if the answer said it.
    #[must_use]
    pub fn crc64(&self) -> Option<u64> {
        self.meta()?.crc64
    }

    /// What the answer said of the object; `None` if nothing was asked or if it did not say all.
    #[must_use]
    pub fn meta(&self) -> Option<&ObjectMeta> {
        self.stream.meta.as_ref()
    }
}

impl Drop for Get<'_> {
    fn drop(&mut self) {
        self.metrics.oss.gets_in_flight.dec();
    }
}

#[derive(Debug)]
struct Stream {
    source: Source,
    /// The next byte to yield. INVARIANT: all bytes of the range before it were yielded, none after it.
    at: u64,
    /// Where its bytes come from; `None` if they have to be asked for.
    body: Option<Response>,
    meta: Option<ObjectMeta>,
    /// What this body has brought, and how long that was waited for.
    received: u64,
    awaited: Duration,
}

impl Stream {
    fn is_done(&self) -> bool {
        self.at >= self.source.range.end
    }

    async fn open(&mut self, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
        let version = &self.source.version;
        let rest = Source {
            version: std::sync::Arc::clone(version),
            range: self.at..self.source.range.end,
        };
        let header = |text: String| {
            HeaderValue::try_from(text).map_err(|_| {
                Failure::Invalid("the ETag holds bytes that no header can carry".to_owned())
            })
        };
        let mut headers = HeaderMap::new();
        headers.insert(IF_MATCH, header(version.etag().quoted())?);
        headers.insert(RANGE_BEHAVIOR, HeaderValue::from_static("standard"));
        if !rest.is_whole() {
            let last = rest.range.end - 1;
            headers.insert(RANGE, header(format!("bytes={}-{last}", rest.range.start))?);
        }
        let request = Request {
            method: Method::GET,
            params: Vec::new(),
            headers,
            body: None,
        };
        let response = exchange.send(&request).await?;
        check(&response, &rest)?;
        self.meta = meta(response.headers(), version.size()).ok();
        self.body = Some(response);
        (self.received, self.awaited) = (0, Duration::ZERO);
        Ok(())
    }

    /// Tells what this body has taught; true if the `left` bytes come sooner by a new request.
    fn is_better_asked_anew(&self, exchange: &mut Exchange<'_>, left: u64) -> bool {
        if left == 0 {
            let mut haste = exchange.bucket.haste();
            haste.body(self.received, self.awaited);
            return false;
        }
        // Nearly always the end of it: this is asked for every piece.
        if self.awaited < BODY_MIN {
            return false;
        }
        let haste = exchange.bucket.haste();
        let is_slow = haste.is_slow(self.received, left, self.awaited);
        drop(haste);
        is_slow && exchange.may_hurry()
    }

    async fn next(&mut self, exchange: &mut Exchange<'_>) -> Result<Bytes, Failure> {
        if self.body.is_none() {
            self.open(exchange).await?;
        }
        // Taken, and put back only if it is good for more.
        let mut body = self.body.take().expect("opened above");
        loop {
            exchange.pace().await;
            let asked = Instant::now();
            let Some(chunk) = exchange.chunk(&mut body).await? else {
                return Err(Failure::Short);
            };
            self.awaited += asked.elapsed();
            let left = self.source.range.end - self.at;
            let received = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            if received > left {
                let evidence = refusal::evidence(body.status(), body.headers());
                return Err(Failure::Lie(
                    "the body is longer than asked".to_owned(),
                    evidence,
                ));
            }
            if received > 0 {
                self.at += received;
                self.received += received;
                if !self.is_better_asked_anew(exchange, left - received) {
                    self.body = Some(body);
                }
                return Ok(chunk);
            }
        }
    }
}

/// The head is there.
struct Open<'s>(&'s mut Stream);

impl Attempt for Open<'_> {
    type Done = ();

    async fn attempt(&mut self, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
        self.0.open(exchange).await
    }
}

/// More bytes are there.
struct Next<'s>(&'s mut Stream);

impl Attempt for Next<'_> {
    type Done = Bytes;

    async fn attempt(&mut self, exchange: &mut Exchange<'_>) -> Result<Bytes, Failure> {
        self.0.next(exchange).await
    }
}

/// Refuses an answer that is not exactly what was asked for, before a byte of its body is looked at.
fn check(response: &Response, asked: &Source) -> Result<(), Failure> {
    let headers = response.headers();
    let lie = |detail: String| {
        let evidence = refusal::evidence(response.status(), headers);
        Err(Failure::Lie(detail, evidence))
    };
    // First, since data of another version has another length too.
    match refusal::text(headers, ETAG.as_str()).map(ETag::new) {
        Some(etag) if etag == *asked.version.etag() => {}
        Some(_) => {
            let evidence = refusal::evidence(response.status(), headers);
            return Err(Failure::OtherVersion(evidence));
        }
        None => return lie("the answer has no ETag".to_owned()),
    }
    let is_part = !asked.is_whole();
    match (response.status(), is_part) {
        (StatusCode::OK, false) => {}
        (StatusCode::PARTIAL_CONTENT, true) => {
            let expected = (asked.range.clone(), asked.version.size());
            let stated = refusal::text(headers, CONTENT_RANGE.as_str()).and_then(content_range);
            if stated != Some(expected) {
                return lie("the answer is of another range".to_owned());
            }
        }
        (_, true) => return lie("the whole came where a part was asked for".to_owned()),
        (_, false) => return lie("a part came where the whole was asked for".to_owned()),
    }
    // A body without a length is counted as it comes.
    let length = refusal::text(headers, CONTENT_LENGTH.as_str());
    if length.is_some_and(|length| length.parse() != Ok(asked.len())) {
        return lie("the answer has another length".to_owned());
    }
    Ok(())
}

/// `bytes 0-9/44` as half-open range and total.
fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let end = last.parse::<u64>().ok()?.checked_add(1)?;
    Some((first.parse().ok()?..end, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_read() {
        assert_eq!(content_range("bytes 0-9/44"), Some((0..10, 44)));
        for text in [
            "bytes 0-9",
            "0-9/44",
            "bytes a-9/44",
            "bytes */44",
            "bytes 0-18446744073709551615/1",
        ] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }
}
