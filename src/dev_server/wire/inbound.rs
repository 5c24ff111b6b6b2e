//! The body of a request on its way in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use super::super::faults::FaultPlan;
use super::super::stats::Counters;
use super::conn::{Control, End};

/// What happens inside a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// The connection is reset after some bytes.
    Reset { after: u64 },
    /// No more is taken after some bytes, until it is released.
    Stall { after: u64 },
    /// One byte has all its bits inverted.
    Flip { at: u64 },
}

/// Pieces of a body as they arrive, counted; none is copied.
pub(crate) struct Inbound<'a> {
    body: &'a mut Incoming,
    control: &'a Control,
    faults: &'a FaultPlan,
    counters: &'a Counters,
    /// Its position counts from the next byte.
    mishap: Option<Mishap>,
    /// What came in the same piece as the byte before the mishap.
    rest: Option<Bytes>,
}

impl fmt::Debug for Inbound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound")
            .field("mishap", &self.mishap)
            .finish_non_exhaustive()
    }
}

impl<'a> Inbound<'a> {
    /// A body with a mishap, at the latest at its last byte if its length is known. An empty body has none.
    pub(crate) fn new(
        body: &'a mut Incoming,
        control: &'a Control,
        faults: &'a Arc<FaultPlan>,
        counters: &'a Counters,
        mishap: Option<Mishap>,
    ) -> Self {
        let len = body.size_hint().upper();
        let last = len.map_or(u64::MAX, |len| len.saturating_sub(1));
        let mishap = mishap
            .filter(|_| len != Some(0))
            .map(|mishap| match mishap {
                Mishap::Reset { after } => Mishap::Reset {
                    after: after.min(last),
                },
                Mishap::Stall { after } => Mishap::Stall {
                    after: after.min(last),
                },
                Mishap::Flip { at } => Mishap::Flip { at: at.min(last) },
            });
        Self {
            body,
            control,
            faults,
            counters,
            mishap,
            rest: None,
        }
    }

    /// The next piece, `None` at the end.
    ///
    /// # Errors
    /// If the client breaks off.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        match self.mishap {
            Some(Mishap::Reset { after: 0 }) => never(self.control).await,
            Some(Mishap::Stall { after: 0 }) => {
                self.mishap = None;
                self.faults.stall().await;
            }
            Some(_) | None => {}
        }
        let piece = match self.rest.take() {
            Some(rest) => rest,
            None => match self.arrived().await? {
                Ok(piece) => piece,
                Err(error) => return Some(Err(error)),
            },
        };
        Some(Ok(self.passed(piece)))
    }

    async fn arrived(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Ok(piece) = frame.into_data() {
                        self.counters
                            .body_bytes_received
                            .fetch_add(piece.len() as u64, Ordering::Relaxed);
                        return Some(Ok(piece));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The piece up to the mishap, or with it.
    fn passed(&mut self, mut piece: Bytes) -> Bytes {
        let len = piece.len() as u64;
        match &mut self.mishap {
            Some(Mishap::Reset { after } | Mishap::Stall { after }) => {
                if let Ok(at) = usize::try_from(*after)
                    && *after < len
                {
                    self.rest = Some(piece.split_off(at));
                }
                *after = after.saturating_sub(len);
            }
            Some(Mishap::Flip { at }) if *at < len => {
                let mut flipped = piece.to_vec();
                if let Some(byte) = usize::try_from(*at).ok().and_then(|at| flipped.get_mut(at)) {
                    *byte = !*byte;
                }
                piece = Bytes::from(flipped);
                self.mishap = None;
            }
            Some(Mishap::Flip { at }) => *at -= len,
            None => {}
        }
        piece
    }
}

/// Resets the connection; hyper drops this request with it.
pub(crate) async fn never(control: &Control) -> ! {
    control.end(End::Reset);
    std::future::pending().await
}
