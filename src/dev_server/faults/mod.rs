//! Everything that can go wrong on the way to an object store, on demand.
//!
//! A [`FaultPlan`] is asked once for each request. Scripted faults ("the next 2 GetObject of keys that contain `shard`
//! are reset after 4096 bytes") go first, in the order they were given; then each kind of random fault is drawn with
//! its probability from one seeded generator. Latency and bandwidth are not faults of a request but of the line, and
//! apply to all of them. All of it can be changed while the server runs.

mod spec;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::error::OssError;
use super::operation::Operation;
use super::wire::Mishap;

pub use spec::{FaultKind, RandomFaults, SpecError};

/// Codes of a 503 that asks to slow down (OSS help "HTTP 503 status code").
pub const THROTTLE_CODES: [&str; 6] = [
    "DownloadTrafficRateLimitExceeded",
    "UploadTrafficRateLimitExceeded",
    "MetaOperationQpsLimitExceeded",
    "TotalQpsLimitExceeded",
    "ActiveRequestLimitExceeded",
    "CpuLimitExceeded",
];

/// One thing that goes wrong with one request.
///
/// Positions count bytes of the body; one behind its end is taken as the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request is refused before it has any effect.
    Refuse {
        /// The HTTP status.
        status: u16,
        /// The code in the XML.
        code: &'static str,
    },
    /// The request is served late, and the answer says so in `x-oss-qos-delay-time`.
    Delay(Duration),
    /// The connection is reset before the request has any effect.
    ResetBeforeAnswer,
    /// The request has its effect, then the connection is reset instead of an answer.
    AnswerLost,
    /// The connection is reset (RST) inside the body.
    ResetBody {
        /// Body bytes sent before.
        after: u64,
    },
    /// The connection is closed (FIN) inside the body, though `Content-Length` promised more.
    CutBody {
        /// Body bytes sent before.
        after: u64,
    },
    /// No answer comes until [`FaultPlan::release`]; the request has no effect before.
    StallAnswer,
    /// The body stops until [`FaultPlan::release`].
    StallBody {
        /// Body bytes sent before.
        after: u64,
    },
    /// The range is ignored: 200 and the whole object.
    IgnoreRange,
    /// `Content-Range` is one byte off.
    WrongContentRange,
    /// `ETag` is that of no object.
    WrongETag,
    /// `x-oss-hash-crc64ecma` is off by one.
    WrongCrc,
    /// One byte of the body has all its bits inverted.
    FlipByte {
        /// Which one.
        at: u64,
    },
    /// The connection is reset inside the request's body; the request has no effect.
    ResetRequest {
        /// Body bytes taken before.
        after: u64,
    },
    /// No more of the request's body is taken until [`FaultPlan::release`].
    StallRequest {
        /// Body bytes taken before.
        after: u64,
    },
    /// One byte of the request's body arrives with all its bits inverted: what is stored is wrong, and its checksums in
    /// the answer are those of what is stored.
    FlipRequestByte {
        /// Which one.
        at: u64,
    },
    /// DeleteMultipleObjects answers 200 and leaves some keys undeleted and unsaid, as OSS does under load.
    SkipKeys {
        /// Of so many keys the last one; 1 for all, 0 for none.
        every: u64,
    },
}

impl Fault {
    /// 500 `InternalError`.
    #[must_use]
    pub fn internal_error() -> Self {
        Self::Refuse {
            status: 500,
            code: "InternalError",
        }
    }

    /// 503 `ServiceUnavailable`.
    #[must_use]
    pub fn service_unavailable() -> Self {
        Self::Refuse {
            status: 503,
            code: "ServiceUnavailable",
        }
    }

    /// 503 `TotalQpsLimitExceeded`.
    #[must_use]
    pub fn throttled() -> Self {
        Self::Refuse {
            status: 503,
            code: "TotalQpsLimitExceeded",
        }
    }

    /// 403 with a code such as `AccessDenied` or `SecurityTokenExpired`.
    #[must_use]
    pub fn forbidden(code: &'static str) -> Self {
        Self::Refuse { status: 403, code }
    }

    /// What happens inside the request's body, if something does.
    pub(super) fn mishap(self) -> Option<Mishap> {
        match self {
            Self::ResetRequest { after } => Some(Mishap::Reset { after }),
            Self::StallRequest { after } => Some(Mishap::Stall { after }),
            Self::FlipRequestByte { at } => Some(Mishap::Flip { at }),
            Self::Refuse { .. }
            | Self::Delay(_)
            | Self::ResetBeforeAnswer
            | Self::AnswerLost
            | Self::ResetBody { .. }
            | Self::CutBody { .. }
            | Self::StallAnswer
            | Self::StallBody { .. }
            | Self::IgnoreRange
            | Self::WrongContentRange
            | Self::WrongETag
            | Self::WrongCrc
            | Self::FlipByte { .. }
            | Self::SkipKeys { .. } => None,
        }
    }

    /// The refusal that this fault is, if it is one.
    pub(super) fn refusal(self) -> Option<OssError> {
        let Self::Refuse { status, code } = self else {
            return None;
        };
        let ec = match code {
            "SecurityTokenExpired" => "0002-00000007",
            "InvalidAccessKeyId" => "0002-00000002",
            "AccessDenied" => "0003-00000001",
            _ => "0000-00000000",
        };
        Some(OssError::new(status, code, "This is a drill.", ec))
    }
}

/// Requests that get a scripted fault.
#[derive(Debug, Clone)]
struct Rule {
    operation: Option<Operation>,
    key_part: String,
    times: u64,
    fault: Fault,
}

#[derive(Debug)]
struct State {
    rules: Vec<Rule>,
    random: RandomFaults,
    generator: fastrand::Rng,
}

/// What goes wrong, and how slow the line is. Shared with the running server.
#[derive(Debug)]
pub struct FaultPlan {
    state: Mutex<State>,
    injected: AtomicU64,
    first_byte_micros: AtomicU64,
    /// Bytes per second of one connection, 0 for no cap.
    bandwidth_out: AtomicU64,
    bandwidth_in: AtomicU64,
    /// How often stalled requests were released.
    released: watch::Sender<u64>,
    stalled: AtomicUsize,
}

impl Default for FaultPlan {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                rules: Vec::new(),
                random: RandomFaults::default(),
                generator: fastrand::Rng::with_seed(0),
            }),
            injected: AtomicU64::new(0),
            first_byte_micros: AtomicU64::new(0),
            bandwidth_out: AtomicU64::new(0),
            bandwidth_in: AtomicU64::new(0),
            released: watch::Sender::new(0),
            stalled: AtomicUsize::new(0),
        }
    }
}

impl FaultPlan {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next `times` requests of `operation` (`None`: any) whose key contains `key_part` get `fault`. A request
    /// without a key, such as a listing, has its prefix for a key.
    pub fn script(
        &self,
        times: u64,
        operation: Option<Operation>,
        key_part: impl Into<String>,
        fault: Fault,
    ) {
        self.state().rules.push(Rule {
            operation,
            key_part: key_part.into(),
            times,
            fault,
        });
    }

    /// Draws faults from now on, from the seed in `random`.
    pub fn set_random(&self, random: RandomFaults) {
        let mut state = self.state();
        state.generator = fastrand::Rng::with_seed(random.seed);
        state.random = random;
    }

    /// Forgets all scripts and probabilities; the line stays as slow as it is, and what is stalled stays stalled.
    pub fn clear(&self) {
        let mut state = self.state();
        state.rules.clear();
        state.random = RandomFaults::default();
    }

    /// How long a request waits at least from its arrival to the first byte of its answer. Default: no time.
    pub fn set_first_byte(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.first_byte_micros.store(micros, Ordering::Relaxed);
    }

    /// Bytes per second that one connection carries in each direction. Default: `None`, no cap.
    pub fn set_bandwidth(&self, bytes_per_second: Option<u64>) {
        let rate = bytes_per_second.unwrap_or(0);
        self.bandwidth_out.store(rate, Ordering::Relaxed);
        self.bandwidth_in.store(rate, Ordering::Relaxed);
    }

    /// Bytes per second that one connection carries to the server only: uploads are slow, answers as fast as they
    /// were. Default: `None`, no cap.
    pub fn set_upload_bandwidth(&self, bytes_per_second: Option<u64>) {
        self.bandwidth_in
            .store(bytes_per_second.unwrap_or(0), Ordering::Relaxed);
    }

    /// Lets everything go on that is stalled at this moment.
    pub fn release(&self) {
        self.released.send_modify(|times| *times += 1);
    }

    /// How many requests are stalled at this moment.
    #[must_use]
    pub fn stalled(&self) -> usize {
        self.stalled.load(Ordering::Relaxed)
    }

    /// How many requests got a fault.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.injected.load(Ordering::Relaxed)
    }

    pub(super) fn first_byte(&self) -> Duration {
        Duration::from_micros(self.first_byte_micros.load(Ordering::Relaxed))
    }

    pub(super) fn bandwidth_out(&self) -> u64 {
        self.bandwidth_out.load(Ordering::Relaxed)
    }

    pub(super) fn bandwidth_in(&self) -> u64 {
        self.bandwidth_in.load(Ordering::Relaxed)
    }

    /// What goes wrong with this request.
    pub(super) fn decide(&self, operation: Operation, key: &str) -> Option<Fault> {
        let mut state = self.state();
        let State {
            rules,
            random,
            generator,
        } = &mut *state;
        let matching = rules.iter_mut().find(|rule| {
            rule.times > 0
                && rule.operation.is_none_or(|wanted| wanted == operation)
                && key.contains(&rule.key_part)
        });
        let fault = match matching {
            Some(rule) => {
                rule.times -= 1;
                Some(rule.fault)
            }
            None => random.draw(generator),
        };
        rules.retain(|rule| rule.times > 0);
        if fault.is_some() {
            self.injected.fetch_add(1, Ordering::Relaxed);
        }
        fault
    }

    /// Waits for the next [`FaultPlan::release`]. Dropping it ends the stall as well.
    pub(super) async fn stall(&self) {
        // Subscribed first: whoever sees the count may release at once.
        let mut released = self.released.subscribe();
        let _stalled = Stalled::new(&self.stalled);
        // The sender lives as long as `self`.
        let _ = released.changed().await;
    }
}

/// Counts one stalled request while it lives.
struct Stalled<'a>(&'a AtomicUsize);

impl<'a> Stalled<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Stalled<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_hits_what_it_names_and_no_more() {
        let plan = FaultPlan::default();
        plan.script(
            2,
            Some(Operation::GetObject),
            "shard",
            Fault::internal_error(),
        );
        assert_eq!(plan.decide(Operation::HeadObject, "shard"), None);
        assert_eq!(plan.decide(Operation::GetObject, "other"), None);
        for _ in 0..2 {
            let fault = plan.decide(Operation::GetObject, "a/shard-1");
            assert_eq!(fault, Some(Fault::internal_error()));
        }
        assert_eq!(plan.decide(Operation::GetObject, "a/shard-1"), None);
        assert_eq!(plan.injected(), 2);
    }

    #[test]
    fn scripts_run_in_their_order() {
        let plan = FaultPlan::default();
        plan.script(1, None, "", Fault::WrongETag);
        plan.script(1, None, "", Fault::WrongCrc);
        let next = || plan.decide(Operation::GetObject, "k");
        assert_eq!(
            [next(), next(), next()],
            [Some(Fault::WrongETag), Some(Fault::WrongCrc), None]
        );
    }
}
