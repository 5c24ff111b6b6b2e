//! The only retry loop of the program.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::time::{sleep, timeout};

use super::bucket::{Bucket, Request};
use super::error::{Evidence, Kind};
use super::limits::Urgency;
use super::operation::Operation;
use super::progress::Sent;
use super::verdict::{Failure, Refusal, Retry};
use super::xml::{self, ErrorDocument};
use super::{Error, refusal};
use crate::credentials::Credentials;
use crate::object::ObjectKey;
use crate::op::{Caller, Op};
use crate::transport::Response;

/// Something that is tried until it succeeds.
pub(super) trait Attempt {
    type Done;

    /// One try. It sends at most one request, and leaves `self` such that a next try continues where this one ended.
    fn attempt(
        &mut self,
        exchange: &mut Exchange<'_>,
    ) -> impl Future<Output = Result<Self::Done, Failure>> + Send;
}

/// One request with all its attempts.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    pub(super) bucket: &'a Bucket,
    op: &'a Op,
    pub(super) operation: Operation,
    pub(super) key: Option<ObjectKey>,
    attempts: u32,
    /// The credentials of the last attempt.
    used: Option<Arc<Credentials>>,
    patience: Patience,
    /// A body was given up early, and nothing has come since.
    pub(super) hurried: bool,
    /// The request may have had its effect already, in an attempt whose answer did not tell.
    pub(super) doubt: bool,
}

/// What happened since anything moved.
#[derive(Debug)]
struct Patience {
    since: Instant,
    waits: u32,
    few: u32,
    /// A body that arrived wrong was sent once more.
    stored_again: bool,
    /// Credential sets refused.
    refused: u32,
    /// The last thing the server said: it explains more than a silence after it.
    last_words: Option<Box<Refusal>>,
    clock_corrected: bool,
}

impl Patience {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            waits: 0,
            few: 0,
            stored_again: false,
            refused: 0,
            last_words: None,
            clock_corrected: false,
        }
    }
}

/// Sets replaced because of SignatureDoesNotMatch before it is believed: a torn read of a set being rotated can cause
/// it, but so do a wrong region and a mistake of ours.
const SIGNATURE_REFUSALS_MAX: u32 = 3;

impl<'a> Exchange<'a> {
    pub(super) fn new(
        bucket: &'a Bucket,
        op: &'a Op,
        operation: Operation,
        key: Option<&ObjectKey>,
    ) -> Self {
        Self {
            bucket,
            op,
            operation,
            key: key.cloned(),
            attempts: 0,
            used: None,
            patience: Patience::new(),
            hurried: false,
            doubt: false,
        }
    }

    /// Tries until it succeeds, is cancelled, or is final. Success is progress: the next call starts patient.
    pub(super) async fn persist<A: Attempt>(&mut self, work: &mut A) -> Result<A::Done, Error> {
        self.patience = Patience::new();
        let op = self.op;
        loop {
            let was_hurried = std::mem::take(&mut self.hurried);
            let step = async {
                match work.attempt(self).await {
                    Ok(done) => Ok(Some(done)),
                    Err(failure) => self.recover(failure).await.map(|()| None),
                }
            };
            let step = tokio::select! {
                biased;
                () = op.cancelled() => return Err(self.cancelled()),
                step = step => step,
            };
            match step {
                Ok(Some(done)) => {
                    op.progressed();
                    if was_hurried {
                        self.bucket.metrics.oss.hedge_wins.inc();
                    }
                    return Ok(done);
                }
                Ok(None) => {}
                Err(failure) => return Err(self.failed(failure)),
            }
        }
    }

    /// Sends one request and resolves with the head of a 200 or 206.
    pub(super) async fn send(&mut self, request: &Request) -> Result<Response, Failure> {
        self.patience.since += self.bucket.limits.request(self.urgency()).await;
        let asked = Instant::now();
        let credentials = self.bucket.credentials.current().await;
        self.patience.since += asked.elapsed();
        let credentials = credentials.map_err(|error| Failure::CredentialsGone(Box::new(error)))?;
        let signed = self.bucket.sign(request, self.key.as_ref(), &credentials)?;
        self.used = Some(Arc::clone(&credentials));
        self.count_attempt();
        let started = Instant::now();
        let sent = match &request.body {
            Some(body) => self.send_body(signed, body).await,
            None => {
                let limit = self.head_timeout();
                let sent = self.send_hedged(request, &credentials, signed);
                let answer = timeout(limit, sent).await;
                answer.map_or(Sent::NoAnswer, Sent::Answered)
            }
        };
        let ms = started.elapsed().as_millis();
        let (op, method) = (self.op.id(), &request.method);
        let key = self.key.as_ref().map_or("", ObjectKey::as_str);
        let attempt = self.attempts;
        let response = match sent {
            Sent::Answered(Ok(response)) => response,
            Sent::Answered(Err(error)) => {
                tracing::debug!(op, %method, key, attempt, ms, %error, "request failed");
                self.note(started, None, Some(&error.to_string()));
                return Err(Failure::Transport(error));
            }
            Sent::TooEarly(response) => {
                let evidence = refusal::evidence(response.status(), response.headers());
                let detail = "success was told before all of the body was sent".to_owned();
                return Err(Failure::Lie(detail, evidence));
            }
            Sent::BodyStalled => {
                tracing::debug!(op, %method, key, attempt, ms, "body stood still");
                self.note(started, None, Some("no byte of the body was taken"));
                return Err(Failure::Stalled("no byte of the body was taken"));
            }
            Sent::NoAnswer => {
                tracing::debug!(op, %method, key, attempt, ms, "request timed out");
                self.note(started, None, Some("no answer"));
                return Err(Failure::Stalled("no answer"));
            }
        };
        let status = response.status();
        let request_id = refusal::request_id(response.headers());
        tracing::debug!(op, %method, key, attempt, status = status.as_u16(), ms, request_id, "request answered");
        if let Some(id) = &request_id {
            self.op.answered(id);
        }
        let refused = (!status.is_success()).then(|| status.to_string());
        self.note(started, request_id, refused.as_deref());
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
                if refusal::wait(response.headers()).is_some() {
                    self.bucket.metrics.oss.throttled.inc(); // served, but slowed down
                    self.bucket.haste().throttled(Instant::now());
                }
                Ok(response)
            }
            StatusCode::NO_CONTENT if self.operation.is_answered_empty() => Ok(response),
            _ => Err(self.refusal(response).await),
        }
    }

    pub(super) fn urgency(&self) -> Urgency {
        match self.op.caller() {
            Caller::Thread(_) => Urgency::Now,
            Caller::Background => Urgency::Later,
        }
    }

    /// Waits until the bytes that were received are paid for. That is our own doing: it is not held against the server.
    pub(super) async fn pace(&mut self) {
        self.patience.since += self.bucket.limits.bandwidth(self.urgency()).await;
    }

    /// The next piece of a body; `None` at its end. A GET's that stands still is given up before its time-out. To be called
    /// after [`Self::pace`].
    pub(super) async fn chunk(
        &mut self,
        response: &mut Response,
    ) -> Result<Option<Bytes>, Failure> {
        let bucket = self.bucket;
        let idle = bucket.retry.idle_timeout;
        let late = match self.operation == Operation::Get {
            true => bucket.haste().late_body(),
            false => None,
        };
        let is_success = response.status().is_success();
        let late = late.filter(|late| is_success && *late < idle);
        let mut answer = timeout(late.unwrap_or(idle), response.chunk()).await;
        if let (Err(_), Some(late)) = (&answer, late) {
            if self.may_hurry() {
                return Err(Failure::Late);
            }
            answer = timeout(idle - late, response.chunk()).await;
        }
        match answer {
            Ok(Ok(chunk)) => {
                if is_success {
                    self.op.progressed(); // an error's text is no progress
                }
                bucket.limits.received(chunk.as_ref().map_or(0, Bytes::len));
                Ok(chunk)
            }
            Ok(Err(error)) => Err(Failure::Transport(error)),
            Err(_) => Err(Failure::Stalled("no more of the body")),
        }
    }

    /// A whole body of at most `max` bytes, not shorter than announced.
    pub(super) async fn body(
        &mut self,
        mut response: Response,
        max: usize,
    ) -> Result<Bytes, Failure> {
        let mut body = BytesMut::new();
        loop {
            self.pace().await;
            let Some(chunk) = self.chunk(&mut response).await? else {
                return Ok(body.freeze());
            };
            if body.len() + chunk.len() > max {
                let detail = format!("the answer is longer than {max} bytes");
                let evidence = refusal::evidence(response.status(), response.headers());
                return Err(Failure::Lie(detail, evidence));
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// Never longer than what is left of the patience, so that a request does not outlive it. Where OSS works on the data
    /// before it answers, half of that, if it is more: giving up early would only make it work twice.
    pub(super) fn head_timeout(&self) -> Duration {
        let usual = self.bucket.retry.attempt_timeout;
        let left = self.patience_left();
        let limit = match self.operation.is_slow() {
            true => usual.max(left / 2),
            false => usual,
        };
        limit.min(left)
    }

    pub(super) fn patience_left(&self) -> Duration {
        let limit = self.bucket.retry.no_progress;
        limit.saturating_sub(self.patience.since.elapsed())
    }

    /// A body was on its way for so long: that counts against no patience. Neither does it renew it, or a body that breaks
    /// at the same place for ever would be sent for ever.
    pub(super) fn moved(&mut self, time: Duration) {
        self.patience.since += time;
        self.op.progressed();
    }

    pub(super) fn count_attempt(&mut self) {
        self.attempts += 1;
        let oss = &self.bucket.metrics.oss;
        if self.attempts > 1 {
            oss.retries.inc();
        }
        match self.operation {
            Operation::Get => oss.get_requests.inc(),
            Operation::Head => oss.head_requests.inc(),
            Operation::List => oss.list_requests.inc(),
            Operation::Put | Operation::Append => oss.put_requests.inc(),
            Operation::Part => oss.part_requests.inc(),
            Operation::Copy | Operation::PartCopy => oss.copy_requests.inc(),
            Operation::Delete | Operation::DeleteBatch => oss.delete_requests.inc(),
            Operation::Info
            | Operation::Initiate
            | Operation::Complete
            | Operation::Abort
            | Operation::Parts
            | Operation::Uploads
            | Operation::PutSymlink
            | Operation::GetSymlink
            | Operation::PutTagging
            | Operation::GetTagging
            | Operation::DeleteTagging
            | Operation::Open => oss.other_requests.inc(),
        };
    }

    /// Reads an answer that is no success. If its text is cut, so is its meaning: then only the connection broke.
    async fn refusal(&mut self, response: Response) -> Failure {
        let status = response.status();
        let headers = response.headers().clone();
        let body = match headers.get("x-oss-err") {
            Some(text) => STANDARD.decode(text.as_bytes()).unwrap_or_default().into(),
            None => match self.body(response, xml::ERROR_BYTES_MAX).await {
                Ok(body) => body,
                Err(Failure::Lie(..)) => Bytes::new(), // a long page of some proxy: the status says what there is
                Err(failure) => return failure,
            },
        };
        let document: ErrorDocument = xml::parse(&body).unwrap_or_default();
        let mut refusal = refusal::read(status, &headers, &document, self.used.as_deref());
        // A redirect names the bucket too, an endpoint does not.
        refusal.endpoint = refusal.endpoint.map(|host| {
            let endpoint = host.strip_prefix(&self.bucket.name);
            let endpoint = endpoint.and_then(|rest| rest.strip_prefix('.'));
            endpoint.map_or(host.clone(), str::to_owned)
        });
        Failure::Refused(Box::new(refusal))
    }

    /// Does what makes a next attempt worth it, or says that nothing does.
    async fn recover(&mut self, failure: Failure) -> Result<(), Failure> {
        let (kind, retry) = failure.verdict(self.operation);
        let (settings, oss) = (self.bucket.retry, &self.bucket.metrics.oss);
        tracing::debug!(op = self.op.id(), ?failure, ?retry, "attempt failed");
        if kind == Kind::Lied || matches!(failure, Failure::OtherVersion(_)) {
            oss.lies.inc();
        }
        if kind == Kind::Corrupt {
            oss.corrupt_uploads.inc();
        }
        self.doubt |= failure.may_have_happened();
        match retry {
            Retry::Never => Err(failure),
            Retry::AtOnce => Ok(()),
            Retry::Once if self.patience.stored_again => Err(failure),
            Retry::Once => {
                self.patience.stored_again = true;
                Ok(())
            }
            Retry::Few => {
                self.patience.few += 1;
                if self.patience.few >= settings.few_attempts {
                    return Err(failure);
                }
                self.wait(failure, settings.backoff_base).await
            }
            Retry::Backoff => self.wait(failure, settings.backoff_base).await,
            Retry::Throttle => {
                oss.throttled.inc();
                self.bucket.haste().throttled(Instant::now());
                self.wait(failure, settings.throttle_base).await
            }
            Retry::Clock => self.correct_clock(failure),
            Retry::Credentials => self.replace_credentials(failure).await,
        }
    }

    /// Full jitter, but at least what the server asks for.
    async fn wait(&mut self, failure: Failure, base: Duration) -> Result<(), Failure> {
        let settings = &self.bucket.retry;
        let doubled = base.saturating_mul(1 << self.patience.waits.min(16));
        let asked = match &failure {
            Failure::Refused(refusal) => refusal.wait,
            _ => None,
        };
        let wait = doubled.min(settings.backoff_max).mul_f64(fastrand::f64());
        let wait = wait.max(asked.unwrap_or_default());
        if self.patience.since.elapsed().saturating_add(wait) >= settings.no_progress {
            return Err(match (failure, self.patience.last_words.take()) {
                (Failure::Stalled(_), Some(refusal)) => Failure::Refused(refusal),
                (failure, _) => failure,
            });
        }
        if let Failure::Refused(refusal) = failure {
            self.patience.last_words = Some(refusal);
        }
        self.patience.waits += 1;
        sleep(wait).await;
        Ok(())
    }

    fn correct_clock(&mut self, failure: Failure) -> Result<(), Failure> {
        let date = match &failure {
            Failure::Refused(refusal) => refusal.date,
            _ => None,
        };
        match date {
            Some(date) if !self.patience.clock_corrected => {
                self.patience.clock_corrected = true;
                self.bucket.correct_clock(date);
                Ok(())
            }
            Some(_) | None => Err(failure),
        }
    }

    /// Asks for another set of credentials, as long as other sets come. Waiting for them has its own bound, in the
    /// provider, and is not counted here; a second refusal in a row is answered with a growing wait, so that a service
    /// which hands out dead sets is not stormed.
    async fn replace_credentials(&mut self, failure: Failure) -> Result<(), Failure> {
        let (Failure::Refused(refusal), Some(used)) = (failure, self.used.take()) else {
            unreachable!("only an answer to a signed request refuses credentials");
        };
        self.patience.refused += 1;
        let torn = refusal.evidence.code == "SignatureDoesNotMatch";
        if torn && self.patience.refused > SIGNATURE_REFUSALS_MAX {
            return Err(Failure::NotReplaced(None, refusal));
        }
        tracing::debug!(
            op = self.op.id(),
            code = refusal.evidence.code,
            "credentials refused"
        );
        let asked = Instant::now();
        let replaced = self.bucket.credentials.replace(&used).await;
        self.patience.since += asked.elapsed();
        match replaced {
            Ok(set) if is_same(&set, &used) => Err(Failure::NotReplaced(None, refusal)),
            Ok(_) if self.patience.refused == 1 => Ok(()),
            Ok(_) => {
                let base = self.bucket.retry.backoff_base;
                self.wait(Failure::Refused(refusal), base).await
            }
            Err(error) => Err(Failure::NotReplaced(Some(Box::new(error)), refusal)),
        }
    }

    fn failed(&self, failure: Failure) -> Error {
        let (kind, _) = failure.verdict(self.operation);
        let (evidence, source) = failure.explain();
        let error = Error::new(
            self.operation,
            self.key.as_ref(),
            kind,
            evidence,
            self.attempts,
            source,
        );
        tracing::debug!(op = self.op.id(), %error, "request given up");
        error
    }

    fn cancelled(&self) -> Error {
        let evidence = Evidence::default();
        let key = self.key.as_ref();
        Error::new(
            self.operation,
            key,
            Kind::Cancelled,
            evidence,
            self.attempts,
            None,
        )
    }
}

fn is_same(one: &Arc<Credentials>, other: &Arc<Credentials>) -> bool {
    Arc::ptr_eq(one, other)
        || (one.access_key_id() == other.access_key_id()
            && one.secret() == other.secret()
            && one.token() == other.token())
}
