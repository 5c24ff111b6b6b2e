//! The body of an answer on its way out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::super::faults::FaultPlan;
use super::conn::{Control, End};

/// What happens inside a body.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// The connection ends.
    End(Arc<Control>, End),
    /// The body stops until it is released.
    Stall(Arc<FaultPlan>),
}

/// Pieces that hyper takes one by one and gives to `writev` as they are: no byte is copied on the way.
pub(crate) struct SendBody {
    pieces: VecDeque<Bytes>,
    /// What `Content-Length` still promises.
    remaining: u64,
    /// Happens when this many bytes are gone.
    trouble: Option<(u64, Trouble)>,
    stall: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl fmt::Debug for SendBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBody")
            .field("remaining", &self.remaining)
            .field("trouble", &self.trouble)
            .finish_non_exhaustive()
    }
}

impl SendBody {
    /// The pieces, with trouble after some bytes, at the latest before the last one. An empty body has none.
    pub(crate) fn new(pieces: Vec<Bytes>, trouble: Option<(u64, Trouble)>) -> Self {
        let remaining: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let trouble = trouble
            .filter(|_| remaining > 0)
            .map(|(after, trouble)| (after.min(remaining - 1), trouble));
        Self {
            pieces: pieces
                .into_iter()
                .filter(|piece| !piece.is_empty())
                .collect(),
            remaining,
            trouble,
            stall: None,
        }
    }
}

impl Body for SendBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if matches!(self.trouble, Some((0, _))) {
            match self.trouble.take() {
                // Pending for ever: the connection flushes what it has and ends there.
                Some((_, Trouble::End(control, end))) => {
                    self.trouble = Some((0, Trouble::End(Arc::clone(&control), end)));
                    control.end(end);
                    return Poll::Pending;
                }
                Some((_, Trouble::Stall(faults))) => {
                    self.stall = Some(Box::pin(async move { faults.stall().await }));
                }
                None => {}
            }
        }
        if let Some(stall) = &mut self.stall {
            ready!(stall.as_mut().poll(context));
            self.stall = None;
        }
        let Some(mut piece) = self.pieces.pop_front() else {
            return Poll::Ready(None);
        };
        if let Some((after, trouble)) = self.trouble.take() {
            let len = piece.len() as u64;
            if let Ok(at) = usize::try_from(after)
                && after < len
            {
                self.pieces.push_front(piece.split_off(at));
            }
            self.trouble = Some((after.saturating_sub(len), trouble));
        }
        self.remaining -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}
