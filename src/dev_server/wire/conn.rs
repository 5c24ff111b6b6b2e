//! One TCP connection: counted, paced, and ended rudely on demand.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::super::faults::FaultPlan;
use super::super::stats::Counters;
use super::pace::Pace;

/// The most pieces that one write takes; hyper offers 64.
const PIECES_MAX: usize = 64;

/// How a connection ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With RST.
    Reset,
    /// With FIN.
    Close,
}

/// Tells a connection from inside a request that it ends as soon as all bytes given so far are out.
#[derive(Debug, Default)]
pub(crate) struct Control(AtomicU8);

impl Control {
    pub(crate) fn end(&self, end: End) {
        let word = match end {
            End::Reset => 1,
            End::Close => 2,
        };
        self.0.store(word, Ordering::Relaxed);
    }

    fn ended(&self) -> Option<End> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(End::Reset),
            _ => Some(End::Close),
        }
    }
}

/// A connection as hyper sees it.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    control: Arc<Control>,
    faults: Arc<FaultPlan>,
    counters: Arc<Counters>,
    out: Pace,
    inward: Pace,
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        control: Arc<Control>,
        faults: Arc<FaultPlan>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            stream,
            control,
            faults,
            counters,
            out: Pace::default(),
            inward: Pace::default(),
        }
    }

    /// How many bytes may go out now. An answer does not begin before the line has carried all of the request.
    fn poll_allowed(&mut self, context: &mut Context<'_>, rate: u64) -> Poll<usize> {
        ready!(self.inward.poll_ready(context, self.faults.bandwidth_in()));
        self.out.poll_ready(context, rate)
    }

    fn sent(&mut self, bytes: usize, rate: u64) {
        self.out.used(bytes, rate);
        self.counters
            .bytes_sent
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rate = this.faults.bandwidth_in();
        ready!(this.inward.poll_ready(context, rate));
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let bytes = buffer.filled().len() - before;
        this.inward.used(bytes, rate);
        this.counters
            .bytes_received
            .fetch_add(bytes as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let rate = this.faults.bandwidth_out();
        let allowed = ready!(this.poll_allowed(context, rate)).min(bytes.len());
        let sent = ready!(Pin::new(&mut this.stream).poll_write(context, &bytes[..allowed]))?;
        this.sent(sent, rate);
        Poll::Ready(Ok(sent))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let rate = this.faults.bandwidth_out();
        let mut allowed = ready!(this.poll_allowed(context, rate));
        let mut cut = [IoSlice::new(&[]); PIECES_MAX];
        let mut used = 0;
        for (piece, place) in pieces.iter().zip(&mut cut) {
            let len = piece.len().min(allowed);
            *place = IoSlice::new(&piece[..len]);
            allowed -= len;
            used += 1;
            if allowed == 0 {
                break;
            }
        }
        let sent = ready!(Pin::new(&mut this.stream).poll_write_vectored(context, &cut[..used]))?;
        this.sent(sent, rate);
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes when all it was given is written, which is the moment to end.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.control.ended() {
            None => Pin::new(&mut self.stream).poll_flush(context),
            Some(End::Close) => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            Some(End::Reset) => {
                self.stream.set_zero_linger()?;
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
