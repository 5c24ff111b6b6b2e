//! Bodies that are sent: bytes that lie somewhere else, sent from where they lie, as often as it takes.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use crc_fast::CrcAlgorithm::Crc64Xz;
use crc_fast::Digest;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;
use tokio::time::{Sleep, sleep};

use super::limits::{Limits, Urgency};

/// Bytes that are handed to the connection at once. What moves is seen, and limited, in these steps.
const STEP_BYTES: usize = 256 << 10;

/// What a write sends: pieces of memory in order, of a length that is known. Clones are cheap and share the bytes.
///
/// Nothing is copied, buffered or joined: each attempt sends the same pieces again, so they stay alive until the request
/// has ended. Memory that is leased is made into a piece by [`Bytes::from_owner`], and **the owner has to keep the lease**:
/// the connection may hold a piece for a moment longer than the request that sent it.
#[derive(Clone)]
pub struct Body {
    pieces: Arc<[Bytes]>,
    len: u64,
    /// Empty until somebody knows.
    crc64: Arc<OnceLock<u64>>,
}

impl Body {
    /// The pieces one after the other. Empty ones are left out.
    pub fn new(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
        let pieces: Arc<[Bytes]> = pieces.collect();
        let bytes = pieces.iter().map(Bytes::len);
        let body = Self {
            len: bytes
                .map(|len| u64::try_from(len).unwrap_or(u64::MAX))
                .sum(),
            pieces,
            crc64: Arc::default(),
        };
        if body.is_empty() {
            return body.with_crc64(0);
        }
        body
    }

    /// The same with its CRC-64/XZ, from whoever wrote the bytes: then what happens to them in memory is noticed too.
    /// Without it, it is computed while they are sent for the first time.
    #[must_use]
    pub fn with_crc64(mut self, crc64: u64) -> Self {
        self.crc64 = Arc::new(OnceLock::from(crc64));
        self
    }

    /// Bytes of all pieces together.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// CRC-64/XZ of all bytes: as given, or as computed when they were sent for the first time; `None` before.
    #[must_use]
    pub fn crc64(&self) -> Option<u64> {
        self.crc64.get().copied()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::new([bytes])
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pieces = self.pieces.len();
        write!(f, "Body({} bytes in {pieces} pieces)", self.len)
    }
}

/// How far a body has come, for whoever waits for the answer.
#[derive(Debug, Default)]
pub(super) struct Meter {
    sent: AtomicU64,
    held: AtomicBool,
    done: OnceLock<Instant>,
}

impl Meter {
    /// Bytes that the connection took.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// True while our own limit is what keeps it from moving.
    pub(super) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// When the last byte was taken.
    pub(super) fn done(&self) -> Option<Instant> {
        self.done.get().copied()
    }
}

/// One sending of a [`Body`].
pub(super) struct Stream {
    body: Body,
    /// The next byte: which piece, and where in it.
    piece: usize,
    offset: usize,
    left: u64,
    /// While the body does not know its checksum.
    digest: Option<Digest>,
    limits: Arc<Limits>,
    urgency: Urgency,
    pause: Option<Pin<Box<Sleep>>>,
    /// Since when the next step waits for the limit.
    asked: Option<Instant>,
    meter: Arc<Meter>,
    bytes_sent: Counter,
}

impl Stream {
    pub(super) fn new(
        body: &Body,
        limits: Arc<Limits>,
        urgency: Urgency,
        bytes_sent: Counter,
    ) -> (Self, Arc<Meter>) {
        let meter = Arc::new(Meter::default());
        if body.is_empty() {
            let _ = meter.done.set(Instant::now()); // nobody else sets it
        }
        let stream = Self {
            piece: 0,
            offset: 0,
            left: body.len,
            digest: body.crc64().is_none().then(|| Digest::new(Crc64Xz)),
            body: body.clone(),
            limits,
            urgency,
            pause: None,
            asked: None,
            meter: Arc::clone(&meter),
            bytes_sent,
        };
        (stream, meter)
    }

    /// The next step of the body, which is not at its end.
    fn step(&mut self) -> Bytes {
        let piece = &self.body.pieces[self.piece];
        let end = piece.len().min(self.offset + STEP_BYTES);
        let step = piece.slice(self.offset..end);
        if end == piece.len() {
            (self.piece, self.offset) = (self.piece + 1, 0);
        } else {
            self.offset = end;
        }
        if let Some(digest) = &mut self.digest {
            digest.update(&step);
        }
        let bytes = u64::try_from(step.len()).unwrap_or(u64::MAX);
        self.left -= bytes;
        self.limits.sent(step.len());
        self.bytes_sent.inc_by(bytes);
        self.meter.sent.fetch_add(bytes, Ordering::Relaxed);
        if self.left == 0 {
            if let Some(digest) = self.digest.take() {
                // Another sending of the same bytes may have found the same.
                let _ = self.body.crc64.set(digest.finalize());
            }
            let _ = self.meter.done.set(Instant::now()); // the end comes once
        }
        step
    }
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let asked = *self.asked.get_or_insert_with(Instant::now);
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match self.limits.may_send(self.urgency, asked.elapsed()) {
                Ok(()) => break,
                Err(wait) => self.pause = Some(Box::pin(sleep(wait))),
            }
            self.meter.held.store(true, Ordering::Relaxed);
        }
        self.meter.held.store(false, Ordering::Relaxed);
        self.asked = None;
        Poll::Ready(Some(Ok(Frame::data(self.step()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use proptest::prelude::*;

    use super::*;

    fn sent(body: &Body) -> (Vec<Bytes>, Arc<Meter>) {
        let limits = Arc::new(Limits::new(None, None));
        let (stream, meter) = Stream::new(body, limits, Urgency::Now, Counter::default());
        let mut stream = std::pin::pin!(stream);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut steps = Vec::new();
        assert_eq!(stream.size_hint().exact(), Some(body.len()));
        while let Poll::Ready(Some(frame)) = stream.as_mut().poll_frame(&mut context) {
            steps.push(frame.unwrap().into_data().unwrap());
        }
        assert!(stream.is_end_stream());
        (steps, meter)
    }

    #[test]
    fn the_bytes_are_sent_from_where_they_lie() {
        let piece = Bytes::from(vec![7; 3 * STEP_BYTES + 1]);
        let body = Body::from(piece.clone());
        for _ in 0..2 {
            let (steps, meter) = sent(&body);
            assert_eq!(steps.len(), 4);
            assert_eq!(steps[0].as_ptr(), piece.as_ptr());
            assert_eq!(steps[3].as_ptr(), piece[3 * STEP_BYTES..].as_ptr());
            assert_eq!(meter.sent(), body.len());
            assert!(meter.done().is_some());
        }
    }

    #[test]
    fn nothing_is_a_body_too() {
        let body = Body::new([Bytes::new()]);
        assert_eq!((body.len(), body.crc64()), (0, Some(0)));
        let (steps, meter) = sent(&body);
        assert!(steps.is_empty() && meter.done().is_some());
    }

    #[test]
    fn a_given_checksum_is_believed_and_the_content_not_shown() {
        let body = Body::from(Bytes::from_static(b"secret")).with_crc64(5);
        sent(&body);
        assert_eq!(body.crc64(), Some(5));
        assert_eq!(format!("{body:?}"), "Body(6 bytes in 1 pieces)");
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_bytes_and_checksum(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..8)) {
            let whole = pieces.concat();
            let body = Body::new(pieces.into_iter().map(Bytes::from));
            prop_assert_eq!(body.len(), whole.len() as u64);
            prop_assert_eq!(sent(&body).0.concat(), whole.clone());
            prop_assert_eq!(body.crc64(), Some(crc_fast::checksum(Crc64Xz, &whole)));
        }
    }
}
