//! The answer to a READ: slices of blocks, put together only when the kernel needs them in one piece.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use crate::buffer::{Block, Failure};

thread_local! {
    /// Where a straddling answer is put together. One per thread that answers, never larger than the largest READ, so
    /// it needs no lease: the runtime's and the kernel door's threads are few.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A range of one block.
#[derive(Debug)]
pub(super) struct Piece {
    block: Arc<Block>,
    range: Range<usize>,
}

impl Piece {
    /// The bytes `start..end` of `block`, which need not have arrived yet.
    pub(super) fn new(block: Arc<Block>, start: u64, end: u64) -> Self {
        let cut = |at: u64| usize::try_from(at).expect("an offset in a block fits");
        Self {
            block,
            range: cut(start)..cut(end),
        }
    }

    /// Resolves when the bytes have arrived.
    pub(super) async fn filled(&self) -> Result<(), Failure> {
        self.block.wait(self.range.end).await
    }

    /// True if they have.
    pub(super) fn is_filled(&self) -> bool {
        self.bytes().is_some()
    }

    fn bytes(&self) -> Option<&[u8]> {
        self.block.get(self.range.clone())
    }
}

/// The pieces of one READ, in order: two at most, since a READ is no longer than a block. An array, for every hit makes one.
#[derive(Debug, Default)]
pub(super) struct Pieces([Option<Piece>; 2]);

impl Pieces {
    /// Adds the next one.
    ///
    /// # Panics
    /// On the third.
    pub(super) fn push(&mut self, piece: Piece) {
        let free = self.0.iter_mut().find(|slot| slot.is_none());
        *free.expect("a READ touches two blocks at most") = Some(piece);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Piece> {
        self.0.iter().flatten()
    }
}

/// The bytes of one READ. Holds the blocks they lie in, so they cannot be evicted before they are sent.
#[derive(Debug)]
pub struct Served {
    /// INVARIANT: the bytes of each piece have arrived.
    pieces: Pieces,
    len: usize,
}

impl Served {
    /// No byte: a READ at or past the end of the file.
    pub(super) fn empty() -> Self {
        Self {
            pieces: Pieces::default(),
            len: 0,
        }
    }

    /// The answer, if all its bytes have arrived.
    pub(super) fn new(pieces: Pieces) -> Option<Self> {
        let mut len = 0;
        for piece in pieces.iter() {
            len += piece.bytes()?.len();
        }
        Some(Self { pieces, len })
    }

    /// Bytes of the answer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if the answer has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True if the answer lies in more than one block.
    #[must_use]
    pub fn is_straddled(&self) -> bool {
        self.pieces.0[1].is_some()
    }

    /// The bytes as they lie in two blocks, if they do.
    #[must_use]
    pub fn halves(&self) -> Option<[&[u8]; 2]> {
        match &self.pieces.0 {
            [Some(first), Some(second)] => Some([first.bytes()?, second.bytes()?]),
            [_, None] | [None, _] => None,
        }
    }

    /// Hands the bytes to `send` in one slice: borrowed from their block where they lie in one, else copied together
    /// once (a reply of fuser takes one slice).
    pub fn with<R>(&self, send: impl FnOnce(&[u8]) -> R) -> R {
        match &self.pieces.0 {
            [None, _] => send(&[]),
            [Some(piece), None] => send(piece.bytes().unwrap_or_default()),
            [Some(_), Some(_)] => SCRATCH.with_borrow_mut(|scratch| {
                scratch.clear();
                for piece in self.pieces.iter() {
                    scratch.extend_from_slice(piece.bytes().unwrap_or_default());
                }
                send(scratch)
            }),
        }
    }
}
