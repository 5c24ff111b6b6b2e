//! Attempts whose answer is read as a whole.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};

use super::bucket::Request;
use super::error::Evidence;
use super::send::{Attempt, Exchange};
use super::verdict::Failure;
use super::{refusal, xml};

/// Refuses the write if there is an object of the key already.
pub(super) const FORBID_OVERWRITE: HeaderName = HeaderName::from_static("x-oss-forbid-overwrite");

/// What reads a whole answer.
type Read<'r, T> = dyn Fn(&HeaderMap, &[u8]) -> Result<T, String> + Send + Sync + 'r;

/// A request whose answer is read as a whole. If `read` refuses it, the server lied, and is asked again.
pub(super) struct Ask<'r, T> {
    pub(super) request: Request,
    pub(super) read: Box<Read<'r, T>>,
}

impl<T> Attempt for Ask<'_, T> {
    type Done = T;

    async fn attempt(&mut self, exchange: &mut Exchange<'_>) -> Result<T, Failure> {
        let answer = answer(exchange, &self.request).await?;
        (self.read)(&answer.headers, &answer.body)
            .map_err(|detail| Failure::Lie(detail, answer.evidence))
    }
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) evidence: Box<Evidence>,
}

/// A request that stores bytes, which the answer's checksum has to be that of.
pub(super) struct Store<'r, T> {
    pub(super) request: Request,
    pub(super) read: Box<Read<'r, T>>,
    /// CRC-64 of what is to be stored, asked when it was sent; `None` if nobody knows.
    pub(super) expected: Box<dyn Fn() -> Option<u64> + Send + Sync + 'r>,
}

impl<T> Attempt for Store<'_, T> {
    type Done = T;

    async fn attempt(&mut self, exchange: &mut Exchange<'_>) -> Result<T, Failure> {
        let answer = answer(exchange, &self.request).await?;
        if let (Some(told), Some(expected)) = (crc64(&answer.headers), (self.expected)())
            && told != expected
        {
            // What stands there now is our own, broken: the next attempt has to overwrite it.
            self.request.headers.remove(FORBID_OVERWRITE);
            let detail = format!("stored with CRC-64 {told}, sent with {expected}");
            return Err(Failure::Corrupt(detail, answer.evidence));
        }
        (self.read)(&answer.headers, &answer.body)
            .map_err(|detail| Failure::Lie(detail, answer.evidence))
    }
}

/// `x-oss-hash-crc64ecma`: of the whole object, or of the part that was sent.
pub(super) fn crc64(headers: &HeaderMap) -> Option<u64> {
    refusal::text(headers, "x-oss-hash-crc64ecma")?.parse().ok()
}

/// Sends one request and reads the whole of its answer.
pub(super) async fn answer(
    exchange: &mut Exchange<'_>,
    request: &Request,
) -> Result<Answer, Failure> {
    let response = exchange.send(request).await?;
    let headers = response.headers().clone();
    let evidence = refusal::evidence(response.status(), &headers);
    if response.status() == StatusCode::PARTIAL_CONTENT {
        let detail = "part of an answer came where the whole was asked for".to_owned();
        return Err(Failure::Lie(detail, evidence));
    }
    let body = exchange.body(response, xml::BODY_BYTES_MAX).await?;
    Ok(Answer {
        headers,
        body,
        evidence,
    })
}
