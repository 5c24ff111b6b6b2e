//! One request from its head to its answer: operation, faults, latency, and the headers of every answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming as Body;
use tokio::time::Instant;

use super::answer::{Answer, http_date};
use super::error::OssError;
use super::faults::{Fault, FaultPlan};
use super::openapi;
use super::operation::Operation;
use super::ops::{self, Service};
use super::request::Incoming;
use super::stats::Counters;
use super::wire::{Control, End, Inbound, SendBody, Trouble, never};

/// What all connections share.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) service: Service,
    pub(super) faults: Arc<FaultPlan>,
    pub(super) counters: Arc<Counters>,
    next_request: AtomicU64,
}

impl Server {
    pub(super) fn new(service: Service) -> Self {
        Self {
            service,
            faults: Arc::default(),
            counters: Arc::default(),
            // Request ids of two servers in one log should differ.
            next_request: AtomicU64::new(fastrand::u64(..) >> 16),
        }
    }

    /// Answers one request of the connection that `control` can end.
    pub(super) async fn answer(
        self: Arc<Self>,
        control: Arc<Control>,
        request: Request<Body>,
    ) -> Result<Response<SendBody>, Infallible> {
        let arrived = Instant::now();
        let (head, mut body) = request.into_parts();
        let id = self.next_request.fetch_add(1, Ordering::Relaxed);
        let id = format!("{id:024X}");
        if let Some(auth) = self.service.auth.as_ref()
            && openapi::is_for(&head)
        {
            let answer = openapi::answer(auth, &head, &mut body, &id).await;
            return Ok(self.sent(answer, None, &control));
        }
        let parsed = Incoming::parse(&head)
            .and_then(|request| Ok((self.service.operation(&request)?, request)));
        let (fault, result) = match parsed {
            Ok((operation, request)) => {
                self.counters.count(operation);
                let subject = request.key.as_deref().or_else(|| request.param("prefix"));
                let fault = self.faults.decide(operation, subject.unwrap_or_default());
                let result = self
                    .perform(operation, request, &mut body, fault, &control)
                    .await;
                (fault, result)
            }
            Err(error) => (None, Err(error)),
        };
        let host = head
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                ops::drain(&mut body).await;
                tracing::debug!(%id, code = error.code, status = error.status, method = %head.method,
                    path = head.uri.path(), "dev server: refused");
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                error.render(&head.method, &id, host)
            }
        };
        self.wait(&head.method, arrived, fault).await;
        let answer = dressed(answer, &id, arrived.elapsed(), fault);
        let mut response = self.sent(answer, fault, &control);
        if let Some(auth) = &self.service.auth
            && let Ok(date) = http_date(auth.now()).parse()
        {
            // The server's clock can be set off; without this hyper would tell the machine's time.
            response.headers_mut().insert(header::DATE, date);
        }
        Ok(response)
    }

    /// The operation, with what goes wrong before and after it.
    async fn perform(
        &self,
        operation: Operation,
        mut request: Incoming,
        body: &mut Body,
        fault: Option<Fault>,
        control: &Control,
    ) -> Result<Answer, OssError> {
        if let Some(refusal) = fault.and_then(Fault::refusal) {
            return Err(refusal);
        }
        match fault {
            Some(Fault::ResetBeforeAnswer) => never(control).await,
            Some(Fault::StallAnswer) => self.faults.stall().await,
            Some(Fault::IgnoreRange) => drop(request.headers.remove(header::RANGE)),
            Some(_) | None => {}
        }
        let mishap = fault.and_then(Fault::mishap);
        let mut body = Inbound::new(body, control, &self.faults, &self.counters, mishap);
        let service = &self.service;
        let result = service.perform(operation, &request, &mut body, fault).await;
        match fault {
            Some(Fault::AnswerLost) => never(control).await,
            Some(_) | None => result,
        }
    }

    /// The time to the first byte. A request with a body waits from its end: the line was busy before.
    async fn wait(&self, method: &Method, arrived: Instant, fault: Option<Fault>) {
        let mut latency = self.faults.first_byte();
        if let Some(Fault::Delay(delay)) = fault {
            latency += delay;
        }
        if latency.is_zero() {
            return;
        }
        let from = match *method {
            Method::PUT | Method::POST => Instant::now(),
            _ => arrived,
        };
        tokio::time::sleep_until(from + latency).await;
    }

    /// The answer as the connection takes it, with what goes wrong inside the body.
    fn sent(
        &self,
        answer: Answer,
        fault: Option<Fault>,
        control: &Arc<Control>,
    ) -> Response<SendBody> {
        let end = |end| Trouble::End(Arc::clone(control), end);
        let trouble = match fault {
            Some(Fault::ResetBody { after }) => Some((after, end(End::Reset))),
            Some(Fault::CutBody { after }) => Some((after, end(End::Close))),
            Some(Fault::StallBody { after }) => {
                Some((after, Trouble::Stall(Arc::clone(&self.faults))))
            }
            Some(_) | None => None,
        };
        answer.map(|mut pieces| {
            if let Some(Fault::FlipByte { at }) = fault {
                flip(&mut pieces, at);
            }
            SendBody::new(pieces, trouble)
        })
    }
}

/// Adds what every answer carries, and the lies about it.
fn dressed(mut answer: Answer, id: &str, took: Duration, fault: Option<Fault>) -> Answer {
    let status = answer.status();
    let headers = answer.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("AliyunOSS"));
    if let Ok(id) = id.parse() {
        headers.insert("x-oss-request-id", id);
    }
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    headers.insert("x-oss-server-time", millis.into());
    match fault {
        Some(Fault::Delay(delay)) => {
            let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            headers.insert("x-oss-qos-delay-time", millis.into());
        }
        Some(Fault::WrongETag) if status.is_success() => {
            let etag = HeaderValue::from_static("\"00000000000000000000000000000000\"");
            headers.insert(header::ETAG, etag);
        }
        Some(Fault::WrongCrc) => off_by_one(headers, "x-oss-hash-crc64ecma"),
        Some(Fault::WrongContentRange) if status == StatusCode::PARTIAL_CONTENT => {
            shift_range(headers);
        }
        Some(_) | None => {}
    }
    answer
}

fn off_by_one(headers: &mut HeaderMap, name: &'static str) {
    let number = headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    if let Some(number) = number {
        headers.insert(name, number.wrapping_add(1).into());
    }
}

/// `bytes 5-9/44` becomes `bytes 6-10/44`.
fn shift_range(headers: &mut HeaderMap) {
    let shifted = headers
        .get(header::CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| {
            let (positions, size) = text.strip_prefix("bytes ")?.split_once('/')?;
            let (first, last) = positions.split_once('-')?;
            let next = |text: &str| text.parse::<u64>().ok().map(|number| number + 1);
            format!("bytes {}-{}/{size}", next(first)?, next(last)?)
                .parse()
                .ok()
        });
    if let Some(shifted) = shifted {
        headers.insert(header::CONTENT_RANGE, shifted);
    }
}

/// Inverts one byte, in a copy of its piece: the pieces belong to the store.
fn flip(pieces: &mut [Bytes], at: u64) {
    let total: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
    let mut at = at.min(total.saturating_sub(1));
    for piece in pieces {
        let len = piece.len() as u64;
        if let Ok(here) = usize::try_from(at)
            && at < len
        {
            let mut copy = piece.to_vec();
            copy[here] = !copy[here];
            *piece = Bytes::from(copy);
            return;
        }
        at -= len;
    }
}
