//! What is under the lock of a file.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::commit::Snapshot;
use super::super::draft::Draft;
use super::super::error::Error;
use super::super::extents::{ChunkId, ExtentMap, Ledger, OnlyUploaded, Place, StagedRange};
use super::super::staging::{Chunk, ChunkWriter, Log, Restoring, Spill, Staging};
use super::super::upload::Session;
use super::super::writer::Exclusive;
use super::fragment::{Fragment, Staged};
use crate::object::{ObjectKey, Source};
use crate::oss::Properties;

/// How long nothing is sent behind the writer after a part could not be.
const BLOCKED: Duration = Duration::from_secs(5);

/// Memory may be so much more than twice what is named before what is named is copied together.
const WASTE_BYTES: u64 = 1 << 20;

/// A write that may have had its effect though nobody knows.
#[derive(Debug, Clone)]
pub(in crate::write) struct Unsure {
    /// Bytes of what it was to make.
    pub(in crate::write) bytes: u64,
    /// CRC-64/XZ of them.
    pub(in crate::write) crc64: u64,
    /// The file as it was to be stored.
    pub(in crate::write) shot: Snapshot,
}

/// Where staged bytes went: at most the end of one chunk and the beginning of the next.
pub(super) type Taken = [Option<StagedRange>; 2];

#[derive(Debug)]
pub(in crate::write) struct State {
    pub(in crate::write) draft: Draft,
    /// `None` once it was unlinked.
    pub(in crate::write) key: Option<ObjectKey>,
    /// Of the object that it becomes; `None`: those of the object that it is.
    pub(in crate::write) properties: Option<Properties>,
    pub(in crate::write) exclusive: Exclusive,
    /// What the draft names. INVARIANT: holds the chunks of the ledger.
    pub(in crate::write) chunks: HashMap<ChunkId, Arc<Chunk>>,
    pub(super) ledger: Ledger,
    /// With a staging directory: what survives the process.
    pub(super) log: Option<Log>,
    /// Of a file that is stored anew after a crash: what survives that.
    pub(in crate::write) restoring: Option<Restoring>,
    /// Where the next bytes go.
    open: Option<ChunkWriter>,
    spill: Option<Arc<Spill>>,
    /// Memory that `chunks` take.
    memory: u64,
    pub(in crate::write) session: Option<Arc<Session>>,
    /// Parts on their way.
    pub(in crate::write) sending: usize,
    /// Nothing is sealed and nothing let go meanwhile.
    pub(in crate::write) is_committing: bool,
    /// Neither while its name is about to change.
    pub(in crate::write) is_frozen: bool,
    /// A rename has put it over what was at its name, or what is there is its own and wrong: its next commit replaces that.
    pub(in crate::write) replaces: bool,
    /// Changes so far.
    pub(in crate::write) generation: u64,
    /// The change that is stored; `None`: not even the empty file is.
    pub(in crate::write) stored: Option<u64>,
    /// There is no number for the next part: the file must be stored first.
    pub(in crate::write) numbers_spent: bool,
    pub(in crate::write) blocked: Option<(Instant, Error)>,
    pub(in crate::write) unsure: Option<Box<Unsure>>,
    /// A write of which nothing was found, but which may still arrive.
    pub(in crate::write) late: Option<Box<Unsure>>,
}

impl State {
    pub(super) fn new(
        key: ObjectKey,
        draft: Draft,
        properties: Option<Properties>,
        exclusive: Exclusive,
        log: Option<Log>,
    ) -> Self {
        let stored = draft.origin().map(|_| 0);
        Self {
            draft,
            key: Some(key),
            properties,
            exclusive,
            chunks: HashMap::new(),
            ledger: Ledger::new(),
            log,
            restoring: None,
            open: None,
            spill: None,
            memory: 0,
            session: None,
            sending: 0,
            is_committing: false,
            is_frozen: false,
            replaces: false,
            generation: 0,
            stored,
            numbers_spent: false,
            blocked: None,
            unsure: None,
            late: None,
        }
    }

    pub(in crate::write) fn is_dirty(&self) -> bool {
        self.stored != Some(self.generation)
    }

    /// True if the upload that runs is this one.
    pub(super) fn is_session(&self, session: &Arc<Session>) -> bool {
        let running = self.session.as_ref();
        running.is_some_and(|running| Arc::ptr_eq(running, session))
    }

    /// True while nothing is sealed and nothing let go.
    pub(in crate::write) fn is_still(&self) -> bool {
        self.is_committing || self.is_frozen
    }

    /// Memory that its staged bytes take.
    pub(in crate::write) fn memory(&self) -> u64 {
        self.memory
    }

    /// True if a change of `range` would leave bytes that only the upload has in a part that the commit cannot keep.
    pub(super) fn cuts_let_go(&self, range: &Range<u64>) -> bool {
        self.draft.parts().cuts_let_go(range)
    }

    /// The last part failed a moment ago: its error.
    pub(in crate::write) fn blocked(&self, now: Instant) -> Option<&Error> {
        let (at, error) = self.blocked.as_ref()?;
        (now.saturating_duration_since(*at) < BLOCKED).then_some(error)
    }

    /// Takes bytes, at most a block, into staging: into memory, else where they were logged, else into a file. `None`: there is no room, and nothing
    /// has changed.
    fn take(
        &mut self,
        staging: &Staging,
        bytes: &[u8],
        logged: Option<&StagedRange>,
    ) -> Option<Taken> {
        let fits = self.open.as_ref().map_or(0, ChunkWriter::remaining);
        let (front, back) = bytes.split_at(fits.min(bytes.len()));
        let next = match back.is_empty() {
            true => None,
            false => {
                let spill = logged.is_none().then_some(&mut self.spill);
                match staging.chunk(back.len(), self.memory, spill) {
                    Some(next) => Some(next),
                    None => return self.name_logged(logged?),
                }
            }
        };
        self.put(front, back, next)
            .or_else(|| self.name_logged(logged?))
    }

    /// The same for what is moved within staging.
    fn take_moved(&mut self, staging: &Staging, bytes: &[u8], left: usize) -> Option<Taken> {
        let fits = self.open.as_ref().map_or(0, ChunkWriter::remaining);
        let (front, back) = bytes.split_at(fits.min(bytes.len()));
        let next = match back.is_empty() {
            true => None,
            false => Some(staging.chunk_for_less(left.max(back.len()))?),
        };
        self.put(front, back, next)
    }

    fn put(&mut self, front: &[u8], back: &[u8], next: Option<ChunkWriter>) -> Option<Taken> {
        let mut taken: Taken = [None, None];
        if !front.is_empty() {
            let open = self.open.as_mut()?;
            let put = open.put(front);
            let range = put.inspect_err(|_| self.open = None).ok()?;
            taken[0] = self.named(range);
        }
        if let Some(mut next) = next {
            let range = match next.put(back) {
                Ok(range) => range,
                Err(error) => {
                    tracing::warn!(%error, "the staging directory does not take what it had room for");
                    for range in taken.iter().flatten() {
                        self.unnamed(range);
                    }
                    return None;
                }
            };
            self.open = Some(next);
            taken[1] = self.named(range);
        }
        Some(taken)
    }

    /// Bytes of the open chunk are named.
    fn named(&mut self, range: Range<u64>) -> Option<StagedRange> {
        let open = self.open.as_ref()?;
        self.ledger.named(open.id, range.end - range.start);
        if self
            .chunks
            .insert(open.id, Arc::clone(&open.chunk))
            .is_none()
            && open.chunk.is_in_memory()
        {
            self.memory += open.chunk.capacity();
        }
        let chunk = open.id;
        Some(StagedRange { chunk, range })
    }

    fn unnamed(&mut self, range: &StagedRange) {
        if !self.ledger.dropped(range) {
            return;
        }
        if let Some(chunk) = self.chunks.remove(&range.chunk)
            && chunk.is_in_memory()
        {
            self.memory -= chunk.capacity();
        }
    }

    /// Bytes of another file's chunks are named here too.
    pub(super) fn share(&mut self, named: &[StagedRange], of: &HashMap<ChunkId, Arc<Chunk>>) {
        for range in named {
            self.ledger
                .named(range.chunk, range.range.end - range.range.start);
            if let Some(chunk) = of.get(&range.chunk)
                && self.chunks.insert(range.chunk, Arc::clone(chunk)).is_none()
                && chunk.is_in_memory()
            {
                self.memory += chunk.capacity();
            }
        }
    }

    /// Writes, if there is room.
    pub(super) fn write(&mut self, staging: &Staging, offset: u64, bytes: &[u8]) -> Option<()> {
        let logged = self.log_write(offset, bytes);
        let taken = self.take(staging, bytes, logged.as_ref())?;
        let mut at = offset;
        for staged in taken.iter().flatten() {
            let bytes = staged.range.end - staged.range.start;
            self.draft.write(at, bytes, staged);
            at += bytes;
        }
        self.generation += 1;
        self.logged(logged.is_some());
        self.release();
        if !self.is_committing && self.memory > 2 * self.draft.map().totals().staged + WASTE_BYTES {
            self.compact(staging);
        }
        Some(())
    }

    /// Takes what lies in an object into staging, if there is room.
    pub(super) fn keep(&mut self, staging: &Staging, offset: u64, bytes: &[u8]) -> Option<()> {
        let taken = self.take(staging, bytes, None)?;
        let mut at = offset;
        for staged in taken.iter().flatten() {
            self.draft.moved(at, staged);
            at += staged.range.end - staged.range.start;
        }
        self.release();
        Some(())
    }

    /// Lets go of what nothing names any more; nothing while a commit reads the map as it was.
    pub(in crate::write) fn release(&mut self) {
        if self.is_committing {
            return;
        }
        for range in self.draft.take_dropped() {
            self.unnamed(&range);
        }
        if self.chunks.is_empty() {
            self.open = None;
        }
    }

    /// Copies together what is named of chunks of which little is, so that they can go.
    pub(super) fn compact(&mut self, staging: &Staging) {
        let is_open = |id: ChunkId| self.open.as_ref().is_some_and(|open| open.id == id);
        let is_spare = |(id, chunk): &(&ChunkId, &Arc<Chunk>)| {
            let named = self.ledger.named_bytes(**id);
            chunk.is_in_memory() && named <= chunk.capacity() / 2 && !is_open(**id)
        };
        let spare: HashMap<ChunkId, Arc<Chunk>> = self
            .chunks
            .iter()
            .filter(is_spare)
            .map(|(id, chunk)| (*id, Arc::clone(chunk)))
            .collect();
        let pieces = self.draft.map().pieces(0..self.draft.map().len());
        let mut moves = Vec::new();
        for piece in pieces {
            if let Place::Staged { chunk, offset } = piece.place
                && let Some(spare) = spare.get(&chunk)
                && let Some(bytes) = spare.bytes(offset..offset + piece.bytes())
            {
                moves.push((piece.range.start, bytes));
            }
        }
        drop(spare);
        let mut left: usize = moves.iter().map(|(_, bytes)| bytes.len()).sum();
        for (at, bytes) in moves {
            let Some(taken) = self.take_moved(staging, &bytes, left) else {
                break;
            };
            left -= bytes.len();
            staging.space().compacted(bytes.len());
            drop(bytes);
            let mut at = at;
            for staged in taken.iter().flatten() {
                self.draft.moved(at, staged);
                at += staged.range.end - staged.range.start;
            }
        }
        self.release();
    }

    /// What `range` consists of, of `map` and its chunks; what lies behind the end of the file is left out.
    ///
    /// # Errors
    /// The ranges that only the upload has.
    pub(in crate::write) fn fragments(
        &self,
        map: &ExtentMap,
        range: Range<u64>,
    ) -> Result<Vec<Fragment>, OnlyUploaded> {
        fragments(map, &self.chunks, &self.draft, range)
    }
}

/// See [`State::fragments`].
pub(in crate::write) fn fragments(
    map: &ExtentMap,
    chunks: &HashMap<ChunkId, Arc<Chunk>>,
    draft: &Draft,
    range: Range<u64>,
) -> Result<Vec<Fragment>, OnlyUploaded> {
    let mut fragments = Vec::new();
    let mut uploaded = Vec::new();
    for piece in map.pieces(range) {
        let bytes = piece.bytes();
        fragments.push(match piece.place {
            Place::Staged { chunk, offset } => {
                let chunk = chunks.get(&chunk).expect("what is named is held");
                Fragment::Staged(Staged::new(Arc::clone(chunk), offset..offset + bytes))
            }
            Place::Zeros => Fragment::Zeros(bytes),
            Place::Base { base, offset } => Fragment::Object(Source {
                version: Arc::clone(&draft.bases().get(base).version),
                range: offset..offset + bytes,
            }),
            Place::Uploaded { .. } => {
                uploaded.push(piece.range);
                continue;
            }
        });
    }
    match uploaded.is_empty() {
        true => Ok(fragments),
        false => Err(OnlyUploaded(uploaded)),
    }
}
