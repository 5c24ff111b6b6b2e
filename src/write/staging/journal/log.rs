//! The log of one file, by the process that writes it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::super::{Chunk, Space, StagingDirectory};
use super::head::{Head, Identity, Unsure};
use super::record::{Change, RECORD_BYTES, encode};
use crate::write::extents::{ChunkId, StagedRange};

/// Segments that one log has at most. Each is an open file, and a commit that fails leaves one; with so many, the next changes go to the last.
const SEGMENTS_MAX: usize = 8;

/// A file of a log: it stays readable as long as somebody names bytes of it, also when it has no name any more.
#[derive(Debug)]
pub(in crate::write::staging) struct Segment {
    file: File,
    path: PathBuf,
    directory: Arc<StagingDirectory>,
    space: Arc<Space>,
    /// What it takes of the directory's room.
    taken: AtomicU64,
}

impl Segment {
    pub(in crate::write::staging) fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, at)
    }

    fn remove(&self) {
        // It is found again by the next mount, which throws it away.
        let _: io::Result<()> = fs::remove_file(&self.path);
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let taken = *self.taken.get_mut();
        self.directory.release(taken);
        self.space.log(taken, 0);
    }
}

/// A segment, what it is called as a chunk, and how far it has come.
#[derive(Debug)]
struct Part {
    number: u32,
    id: ChunkId,
    chunk: Arc<Chunk>,
    segment: Arc<Segment>,
    end: u64,
    /// The last change in it.
    last: u64,
    is_sealed: bool,
}

/// What there is on disk.
#[derive(Debug)]
enum Phase {
    /// Nothing: the file is stored, or was never changed.
    Quiet,
    /// A head, and all changes since.
    Kept {
        head: Head,
        parts: Vec<Part>,
        last: u64,
    },
    /// A head without changes, until the file is stored.
    GivenUp(Head),
}

/// The log of a file. All of it under the lock of the file.
#[derive(Debug)]
pub(in crate::write) struct Log {
    directory: Arc<StagingDirectory>,
    space: Arc<Space>,
    next_id: Arc<AtomicU32>,
    /// Of all logs of the mount.
    number: u64,
    next_segment: u32,
    /// It is not begun anew before it has so many bytes: the last attempt found no room.
    anew_bytes_min: u64,
    phase: Phase,
}

impl Log {
    pub(in crate::write::staging) fn new(
        directory: &Arc<StagingDirectory>,
        space: &Arc<Space>,
        next_id: &Arc<AtomicU32>,
    ) -> Self {
        Self {
            number: directory.number(),
            directory: Arc::clone(directory),
            space: Arc::clone(space),
            next_id: Arc::clone(next_id),
            next_segment: 0,
            anew_bytes_min: 0,
            phase: Phase::Quiet,
        }
    }

    /// Appends a record of the change `generation`, with bytes if it is a write. `before`: what the file is before it, if nothing is logged yet.
    /// Returns where the bytes are; `None`: it could not be logged, and the log is as it was.
    pub(in crate::write) fn append(
        &mut self,
        before: impl FnOnce() -> Option<Identity>,
        generation: u64,
        is_last: bool,
        change: &Change,
        bytes: &[u8],
    ) -> Option<StagedRange> {
        let follows = match &self.phase {
            Phase::Quiet => true,
            Phase::Kept { last, .. } => *last == generation || *last + 1 == generation,
            Phase::GivenUp(_) => false,
        };
        if !follows {
            return None;
        }
        match self.try_append(before, generation, is_last, change, bytes) {
            Ok(range) => range,
            Err(error) => {
                tracing::debug!(%error, "a change of a file is not logged in the staging directory");
                None
            }
        }
    }

    fn try_append(
        &mut self,
        before: impl FnOnce() -> Option<Identity>,
        generation: u64,
        is_last: bool,
        change: &Change,
        bytes: &[u8],
    ) -> io::Result<Option<StagedRange>> {
        let encoded = encode(change, generation, is_last, bytes);
        let (record, own) = encoded.ok_or_else(|| io::Error::other("it fits into no record"))?;
        let behind = if own.is_empty() { bytes } else { &own };
        let taken = RECORD_BYTES + behind.len() as u64;
        if !self.directory.take(taken) {
            return Ok(None);
        }
        let written = self.place(before).and_then(|part| {
            // The record last: without it the bytes are not there.
            let start = part.end + RECORD_BYTES;
            part.segment.file.write_all_at(behind, start)?;
            part.segment.file.write_all_at(&record, part.end)?;
            part.end += taken;
            part.last = generation;
            let taken_before = &part.segment.taken;
            taken_before.fetch_add(taken, Ordering::Relaxed);
            let chunk = part.id;
            let range = start..start + behind.len() as u64;
            Ok(StagedRange { chunk, range })
        });
        if written.is_err() {
            self.directory.release(taken);
        } else {
            self.space.log(0, taken);
        }
        if let (Ok(_), Phase::Kept { last, .. }) = (&written, &mut self.phase) {
            *last = generation;
        }
        written.map(Some)
    }

    /// Where the next record goes.
    fn place(&mut self, before: impl FnOnce() -> Option<Identity>) -> io::Result<&mut Part> {
        if matches!(self.phase, Phase::Quiet) {
            let before = before().ok_or_else(|| io::Error::other("the file has no name"))?;
            let head = self.head(&before);
            head.store(&self.head_path())?;
            self.phase = Phase::Kept {
                head,
                parts: Vec::new(),
                last: before.generation,
            };
        }
        let Phase::Kept { parts, .. } = &self.phase else {
            return Err(io::Error::other("the log was given up"));
        };
        let must_begin = match parts.last() {
            None => true,
            Some(part) => part.is_sealed && parts.len() < SEGMENTS_MAX,
        };
        let begun = match must_begin {
            true => Some(self.segment()?),
            false => None,
        };
        let Phase::Kept { parts, .. } = &mut self.phase else {
            return Err(io::Error::other("the log was given up"));
        };
        parts.extend(begun);
        let part = parts.last_mut();
        part.ok_or_else(|| io::Error::other("there is no segment"))
    }

    /// The head of a file without changes.
    fn head(&self, is: &Identity) -> Head {
        let mut head = Head {
            endpoint: self.directory.endpoint().to_owned(),
            bucket: self.directory.bucket().to_owned(),
            key: String::new(),
            base: None,
            generation: 0,
            replaces: false,
            first: self.next_segment,
            unsure: None,
            is_given_up: false,
        };
        head.identify(is);
        head
    }

    /// A new segment.
    fn segment(&mut self) -> io::Result<Part> {
        let number = self.next_segment;
        let path = self.directory.own().join(segment_name(self.number, number));
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path)?;
        self.next_segment += 1;
        let segment = Arc::new(Segment {
            file,
            path,
            directory: Arc::clone(&self.directory),
            space: Arc::clone(&self.space),
            taken: AtomicU64::new(0),
        });
        let next = self.next_id.fetch_add(1, Ordering::Relaxed);
        Ok(Part {
            number,
            id: ChunkId(next),
            chunk: Arc::new(Chunk::of_log(Arc::clone(&segment), &self.space)),
            segment,
            end: 0,
            last: 0,
            is_sealed: false,
        })
    }

    /// The segment that a range which was just logged is of.
    pub(in crate::write) fn chunk(&self, id: ChunkId) -> Option<Arc<Chunk>> {
        let Phase::Kept { parts, .. } = &self.phase else {
            return None;
        };
        let part = parts.iter().rev().find(|part| part.id == id)?;
        Some(Arc::clone(&part.chunk))
    }

    /// True if it has more than so many bytes, and may be written anew: not while a commit may have had its effect though nobody knows.
    pub(in crate::write) fn is_longer_than(&self, bytes: u64) -> bool {
        match &self.phase {
            Phase::Kept { head, parts, .. } => {
                let long: u64 = parts.iter().map(|part| part.end).sum();
                head.unsure.is_none() && long > bytes.max(self.anew_bytes_min)
            }
            Phase::Quiet | Phase::GivenUp(_) => false,
        }
    }

    /// A commit begins: what comes now is in segments of its own.
    pub(in crate::write) fn seal(&mut self) {
        if let Phase::Kept { parts, .. } = &mut self.phase
            && let Some(part) = parts.last_mut()
        {
            part.is_sealed = true;
        }
    }

    /// What a commit is about to make.
    pub(in crate::write) fn unsure(&mut self, unsure: Option<Unsure>) {
        let path = self.head_path();
        let Phase::Kept { head, .. } = &mut self.phase else {
            return;
        };
        if head.unsure != unsure {
            head.unsure = unsure;
            stored(head.store(&path));
        }
    }

    /// The file is stored as it was after the change `stored.generation`; it is at `generation`.
    pub(in crate::write) fn committed(&mut self, is: &Identity, generation: u64) {
        let path = self.head_path();
        match &mut self.phase {
            Phase::Quiet => {}
            Phase::Kept { last, .. } if *last <= is.generation && generation == is.generation => {
                self.remove();
            }
            Phase::GivenUp(_) if generation == is.generation => self.remove(),
            Phase::Kept { head, parts, .. } => {
                let is_needed = |part: &Part| part.last > is.generation;
                let first = parts.iter().find(|part| is_needed(part));
                let mut new = head.clone();
                new.first = first.map_or(self.next_segment, |part| part.number);
                new.identify(is);
                new.unsure = None;
                if let Err(error) = new.store(&path) {
                    // The head that is there needs all of them.
                    return stored(Err(error));
                }
                *head = new;
                let gone = parts.iter().filter(|part| !is_needed(part));
                gone.for_each(|part| part.segment.remove());
                parts.retain(is_needed);
            }
            Phase::GivenUp(head) => {
                head.identify(is);
                stored(head.store(&path));
            }
        }
    }

    /// The file has another key, or another version is what it begins from.
    pub(in crate::write) fn renamed(&mut self, is: &Identity) {
        let path = self.head_path();
        match &mut self.phase {
            Phase::Quiet => {}
            Phase::Kept { head, .. } | Phase::GivenUp(head) => {
                let generation = head.generation;
                head.identify(is);
                head.generation = generation;
                head.unsure = None;
                stored(head.store(&path));
            }
        }
    }

    /// A change is not logged, and without it none that follows is of use; what was takes room that others need. The name stays. `is`: what the
    /// file is stored as, if nothing was logged yet; `None` of one without a name, of which nothing is to be found.
    pub(in crate::write) fn give_up(&mut self, is: Option<&Identity>) {
        let mut head = match (&self.phase, is) {
            (Phase::Kept { head, .. }, _) => head.clone(),
            (Phase::Quiet, Some(is)) => self.head(is),
            (Phase::Quiet, None) | (Phase::GivenUp(_), _) => return,
        };
        tracing::warn!(
            key = head.key,
            "the staging directory cannot take all that is written of a file: a crash would lose what is not stored of it"
        );
        head.is_given_up = true;
        stored(head.store(&self.head_path()));
        if let Phase::Kept { parts, .. } = &self.phase {
            parts.iter().for_each(|part| part.segment.remove());
        }
        self.phase = Phase::GivenUp(head);
    }

    /// Begins anew: returns what was logged so far, which counts until [`Log::began`].
    pub(in crate::write) fn begin_anew(&mut self) -> Option<Rest> {
        let Phase::Kept { parts, last, .. } = &mut self.phase else {
            return None;
        };
        let before = std::mem::take(parts);
        let last = *last;
        Some(Rest { before, last })
    }

    /// What was logged since [`Log::begin_anew`] is all there is, if `is_whole`; else it is as it was before.
    pub(in crate::write) fn began(&mut self, rest: Rest, is_whole: bool) {
        let path = self.head_path();
        let Phase::Kept { head, parts, last } = &mut self.phase else {
            return;
        };
        let mut new = head.clone();
        new.first = parts.first().map_or(head.first, |part| part.number);
        let gone = match is_whole && new.store(&path).is_ok() {
            true => {
                *head = new;
                rest.before
            }
            false => {
                *last = rest.last;
                let long: u64 = rest.before.iter().map(|part| part.end).sum();
                self.anew_bytes_min = 2 * long;
                std::mem::replace(parts, rest.before)
            }
        };
        gone.iter().for_each(|part| part.segment.remove());
    }

    /// The file has no name any more, or is stored: nothing of it is to be found.
    pub(in crate::write) fn remove(&mut self) {
        if let Phase::Kept { .. } | Phase::GivenUp(_) = self.phase {
            // First: segments without a head are nothing.
            let _: io::Result<()> = fs::remove_file(self.head_path());
        }
        if let Phase::Kept { parts, .. } = &self.phase {
            parts.iter().for_each(|part| part.segment.remove());
        }
        self.phase = Phase::Quiet;
    }

    fn head_path(&self) -> PathBuf {
        self.directory.own().join(format!("{}.head", self.number))
    }
}

/// What was logged before a log was begun anew.
#[derive(Debug)]
pub(in crate::write) struct Rest {
    before: Vec<Part>,
    last: u64,
}

/// The name of a segment.
pub(super) fn segment_name(log: u64, segment: u32) -> String {
    format!("{log}.{segment}.log")
}

fn stored(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(%error, "the staging directory does not take the head of a log: a crash may lose what is not stored");
    }
}
