//! A block of bytes that is read while it fills.

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::memory::{Appender, Region};
use super::{BLOCK_BYTES, Budget, Lease, capacity_for};

/// What [`Block`]'s `wanted` says when nobody waits.
const NOTHING_WANTED: usize = usize::MAX;

/// When a block's bytes become readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// With every [`BlockWriter::put`].
    AsItArrives,
    /// All at once by [`BlockWriter::finish`]: for content whose checksum is compared before anyone sees it.
    WhenWhole,
}

/// How far a block is.
#[derive(Debug, Clone)]
pub enum State {
    /// More bytes are to come.
    Filling,
    /// All bytes are there, for ever.
    Whole,
    /// No more bytes will come; those published stay readable.
    Failed(Failure),
}

/// Why a block failed: an error of a higher room, shared by all that wait for the block.
#[derive(Clone)]
pub struct Failure(Arc<dyn Error + Send + Sync>);

impl Failure {
    /// Carries an error to whoever waits.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }

    /// The error as its own type, if it is one of that type.
    #[must_use]
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// The failure of a block whose writer was dropped before its end: its task was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the transfer was given up")]
pub struct Abandoned;

/// Up to [`BLOCK_BYTES`] bytes that one writer fills from the front while any number of readers read what is there.
///
/// Shared as `Arc<Block>`; who holds one holds its lease.
pub struct Block {
    region: Arc<Region>,
    /// The least watermark that somebody waits for, [`NOTHING_WANTED`] if nobody does. Written under the lock, read
    /// by the writer without it: a put that helps nobody wakes nobody.
    wanted: AtomicUsize,
    fill: Mutex<Fill>,
}

#[derive(Default)]
struct Fill {
    end: Option<Result<(), Failure>>,
    waiters: Vec<Waiter>,
}

struct Waiter {
    upto: usize,
    wake: oneshot::Sender<()>,
}

impl Fill {
    fn wanted(&self) -> usize {
        let wanted = self.waiters.iter().map(|waiter| waiter.upto);
        wanted.min().unwrap_or(NOTHING_WANTED)
    }
}

impl Block {
    /// An empty block of `len` bytes and its writer. What the lease has beyond [`capacity_for`] the block goes back.
    ///
    /// # Panics
    /// If `len` is above [`BLOCK_BYTES`], or the lease below [`capacity_for`] it.
    #[must_use]
    pub fn writer(mut lease: Lease, len: usize, publish: Publish) -> (Arc<Self>, BlockWriter) {
        assert!(
            len <= BLOCK_BYTES,
            "a block has at most {BLOCK_BYTES} bytes"
        );
        let capacity = capacity_for(len);
        let rest = lease
            .bytes()
            .checked_sub(capacity)
            .expect("a block is paid for by its lease");
        drop(lease.split(rest));
        let budget = Arc::clone(lease.budget());
        let (region, appender) = Region::new(len, lease);
        let block = Arc::new(Self {
            region,
            wanted: AtomicUsize::new(NOTHING_WANTED),
            fill: Mutex::default(),
        });
        let writer = BlockWriter {
            block: Arc::clone(&block),
            appender,
            publish,
            ended: false,
            _notice: Notice(budget),
        };
        (block, writer)
    }

    /// Bytes of the block once it is whole.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "it is a capacity; `filled` says how many bytes there are"
    )]
    pub fn len(&self) -> usize {
        self.region.len()
    }

    /// Bytes of memory it takes, and of its lease.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.region.lease().bytes()
    }

    /// Bytes published so far, from the front.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.region.published()
    }

    /// The bytes of a range, if all of them are published.
    #[must_use]
    pub fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        self.region.get(range)
    }

    /// How far the block is.
    #[must_use]
    pub fn state(&self) -> State {
        match &self.lock().end {
            None => State::Filling,
            Some(Ok(())) => State::Whole,
            Some(Err(failure)) => State::Failed(failure.clone()),
        }
    }

    /// Waits until the first `upto` bytes are published. A dropped future leaves no trace.
    ///
    /// # Errors
    /// The writer's [`Failure`], or [`Abandoned`] inside one, if those bytes will never come.
    ///
    /// # Panics
    /// If `upto` is more than the block has.
    pub async fn wait(&self, upto: usize) -> Result<(), Failure> {
        assert!(upto <= self.len(), "a block has {} bytes", self.len());
        loop {
            if self.filled() >= upto {
                return Ok(());
            }
            let woken = {
                let mut fill = self.lock();
                // After its end a block publishes nothing more, so the order of these two looks does not matter.
                if let Some(end) = &fill.end {
                    let failed = end.clone();
                    return if self.filled() >= upto {
                        Ok(())
                    } else {
                        failed
                    };
                }
                fill.waiters.retain(|waiter| !waiter.wake.is_closed());
                let (wake, woken) = oneshot::channel();
                fill.waiters.push(Waiter { upto, wake });
                self.wanted.store(fill.wanted(), Ordering::SeqCst);
                // The writer may have passed before it could see what is wanted.
                if self.filled() >= upto {
                    return Ok(());
                }
                woken
            };
            // Woken or let down by a sender that was dropped: the next turn looks for itself.
            drop(woken.await);
        }
    }

    /// Wakes those whose bytes are there, or everyone at the end.
    fn wake(&self, published: usize, end: Option<Result<(), Failure>>) {
        if end.is_none() && published < self.wanted.load(Ordering::SeqCst) {
            return;
        }
        let served = {
            let mut fill = self.lock();
            let everyone = end.is_some();
            fill.end = fill.end.take().or(end);
            let (served, waiters) = std::mem::take(&mut fill.waiters)
                .into_iter()
                .partition::<Vec<_>, _>(|waiter| everyone || waiter.upto <= published);
            fill.waiters = waiters;
            self.wanted.store(fill.wanted(), Ordering::SeqCst);
            served
        };
        for waiter in served {
            // Whoever has left needs no waking.
            let _: Result<(), ()> = waiter.wake.send(());
        }
    }

    #[cfg(test)]
    pub(super) fn waiters(&self) -> usize {
        self.lock().waiters.len()
    }

    fn lock(&self) -> MutexGuard<'_, Fill> {
        self.fill.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("len", &self.len())
            .field("filled", &self.filled())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// The one writer of a [`Block`]. Dropping it before [`BlockWriter::finish`] fails the block with [`Abandoned`].
pub struct BlockWriter {
    block: Arc<Block>,
    appender: Appender,
    publish: Publish,
    ended: bool,
    /// INVARIANT: the last field. It is dropped when the writer holds the block no more.
    _notice: Notice,
}

impl BlockWriter {
    /// Appends bytes.
    ///
    /// # Panics
    /// If they are more than [`BlockWriter::remaining`].
    pub fn put(&mut self, bytes: &[u8]) {
        self.appender.append(bytes);
        match self.publish {
            Publish::AsItArrives => self.block.wake(self.appender.publish(), None),
            Publish::WhenWhole => {}
        }
    }

    /// Bytes still to be put.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.appender.remaining()
    }

    /// Appends bytes that nobody sees before the next [`BlockWriter::put`] or [`BlockWriter::finish`]: for content that is
    /// checked first.
    ///
    /// # Panics
    /// If they are more than [`BlockWriter::remaining`].
    pub fn put_hidden(&mut self, bytes: &[u8]) {
        self.appender.append(bytes);
    }

    /// Begins again, where nothing was published yet: for content that has proven wrong.
    ///
    /// # Panics
    /// If something was published.
    pub fn rewind(&mut self) {
        assert_eq!(self.block.filled(), 0, "readers may have seen these bytes");
        self.appender.rewind();
    }

    /// The block that is being written.
    #[must_use]
    pub fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// The block is whole.
    ///
    /// # Panics
    /// If bytes are missing.
    pub fn finish(mut self) {
        assert_eq!(self.remaining(), 0, "a block is finished when it is full");
        let published = self.appender.publish();
        self.ended = true;
        self.block.wake(published, Some(Ok(())));
    }

    /// No more bytes will come.
    pub fn fail(mut self, failure: Failure) {
        self.end_failed(failure);
    }

    fn end_failed(&mut self, failure: Failure) {
        self.ended = true;
        self.block.wake(self.block.filled(), Some(Err(failure)));
    }
}

impl Drop for BlockWriter {
    fn drop(&mut self) {
        if !self.ended {
            self.end_failed(Failure::new(Abandoned));
        }
    }
}

impl fmt::Debug for BlockWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockWriter")
            .field("remaining", &self.remaining())
            .field("publish", &self.publish)
            .finish_non_exhaustive()
    }
}

/// Tells the budget, when dropped, that a block may be reclaimed that could not be while it filled.
struct Notice(Arc<Budget>);

impl Drop for Notice {
    fn drop(&mut self) {
        self.0.notice_reclaimable();
    }
}
