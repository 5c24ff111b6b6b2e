//! A request with a body, watched: it may take as long as it moves.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::body::{Body, Meter, Stream};
use super::send::Exchange;
use crate::transport::{self, Response};

/// How long between two looks at a body.
const TICK_MIN: Duration = Duration::from_millis(1);
const TICK_MAX: Duration = Duration::from_secs(1);

/// What came of sending.
pub(super) enum Sent {
    Answered(Result<Response, transport::Error>),
    /// A success, while the body was still being sent.
    TooEarly(Response),
    /// The body stood still for the idle time-out.
    BodyStalled,
    /// The body was taken, and no answer came.
    NoAnswer,
}

impl Exchange<'_> {
    /// Sends a request with a body and resolves with the head of the answer.
    ///
    /// While the connection takes bytes, or our own limit holds them back, no time counts against the attempt nor against
    /// the patience of the request. A body that stands still for [`super::Retry::idle_timeout`] is given up.
    pub(super) async fn send_body(&mut self, signed: transport::Request, body: &Body) -> Sent {
        let bucket = self.bucket;
        let limits = std::sync::Arc::clone(&bucket.limits);
        let bytes_sent = bucket.metrics.oss.bytes_sent.clone();
        let (stream, meter) = Stream::new(body, limits, self.urgency(), bytes_sent);
        let mut answer = std::pin::pin!(bucket.transport.send_pieces(signed, stream));
        let mut watch = Watch::new(&meter);
        let tick = bucket.retry.idle_timeout / 8;
        let tick = tick.clamp(TICK_MIN, TICK_MAX);
        while watch.meter.done().is_none() {
            if let Ok(answer) = timeout(tick, &mut answer).await {
                return match answer {
                    Ok(response) if response.status().is_success() && meter.done().is_none() => {
                        Sent::TooEarly(response)
                    }
                    answer => Sent::Answered(answer),
                };
            }
            match watch.moved() {
                Some(time) => self.moved(time),
                None if watch.since.elapsed() >= bucket.retry.idle_timeout => {
                    return Sent::BodyStalled;
                }
                None => {}
            }
        }
        if let Some(time) = watch.moved() {
            self.moved(time);
        }
        // Taken by the connection is not yet sent: the kernel keeps some megabytes. They leave as slowly as the rest did.
        let limit = self.head_timeout().max(2 * watch.began.elapsed());
        match timeout(limit.min(self.patience_left()), &mut answer).await {
            Ok(answer) => Sent::Answered(answer),
            Err(_) => Sent::NoAnswer,
        }
    }
}

/// What was seen of a body on its way.
struct Watch<'m> {
    meter: &'m Meter,
    began: Instant,
    /// Since when nothing has moved.
    since: Instant,
    sent: u64,
}

impl<'m> Watch<'m> {
    fn new(meter: &'m Meter) -> Self {
        let began = Instant::now();
        Self {
            meter,
            began,
            since: began,
            sent: 0,
        }
    }

    /// How long it has been moving since the last look; `None` if it stood still.
    fn moved(&mut self) -> Option<Duration> {
        let sent = self.meter.sent();
        if sent == self.sent && !self.meter.is_held() {
            return None;
        }
        let now = Instant::now();
        let time = now - self.since;
        (self.since, self.sent) = (now, sent);
        Some(time)
    }
}
