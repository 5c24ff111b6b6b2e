//! Which block goes first: the cache without its lock.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, Weak};

use lru::LruCache;

use super::Origin;
use crate::buffer::{Block, Class, State};
use crate::object::Version;

/// Blocks evicted by one call at most: the lock is held for some ten microseconds. The budget asks again for the rest.
const VICTIMS_MAX: usize = 256;

/// A version's number while it has blocks here, and an index: cheaper to hash and compare than the version.
type Place = (u64, u64);

/// Two lines of blocks, each from the least to the most recently used.
///
/// Blocks fetched ahead stand in a line of their own until somebody reads them. Read-ahead may not push them out, or
/// two eager readers would throw out each other's blocks before they are read. But a reader that seeks away leaves such
/// blocks behind: one that is still unread after as many bytes as the budget has have come in is **forsaken**, and goes
/// before everything else. Nor may read-ahead take the last eighth of the budget in blocks that were read: a block is read
/// in many small pieces, and between the first and the last it stands there.
///
/// Every block but those filling is evictable. One that a reader holds is passed over at first, for it frees nothing
/// until the reader lets go; if the rest is not enough it is forgotten too, so that its memory comes back by itself.
/// What is on its way out like that is remembered, or each call would forget more of it for the same need.
#[derive(Debug)]
pub(super) struct Order {
    versions: HashMap<Arc<Version>, Blocks>,
    /// Read, or asked for. Bounded by the budget, like the other.
    read: LruCache<Place, Entry>,
    /// Fetched ahead and not yet read; in order of arrival.
    unread: LruCache<Place, Entry>,
    read_bytes: u64,
    unread_bytes: u64,
    next_version: u64,
    /// One more for each use.
    clock: u64,
    /// Bytes of all blocks that ever came.
    arrived_bytes: u64,
    total_bytes: u64,
    /// Evicted while somebody held them, and perhaps still held. Never upgraded: who counts holders relies on that.
    leaving: Vec<(Weak<Block>, u64)>,
}

/// The blocks of one version.
#[derive(Debug)]
struct Blocks {
    number: u64,
    indices: BTreeSet<u64>,
}

#[derive(Debug)]
struct Entry {
    version: Arc<Version>,
    block: Arc<Block>,
    /// The clock at the last use.
    used: u64,
    /// `arrived_bytes` when it came.
    arrived: u64,
}

/// What a look-up finds.
#[derive(Debug)]
pub(super) enum Found {
    Block {
        block: Arc<Block>,
        /// It was fetched ahead and nobody had read it before.
        first_read: bool,
    },
    /// A failed block, which is not here any more.
    Failed(Arc<Block>),
    Nothing,
}

/// Blocks that were evicted. To be dropped without the lock.
#[derive(Debug, Default)]
pub(super) struct Victims {
    /// Nobody else holds these.
    pub(super) free: Vec<Arc<Block>>,
    /// Somebody still reads these.
    pub(super) held: Vec<Arc<Block>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Read,
    Unread,
}

impl Order {
    /// An empty cache on a budget of `total_bytes`.
    pub(super) fn new(total_bytes: u64) -> Self {
        Self {
            versions: HashMap::new(),
            read: LruCache::unbounded(),
            unread: LruCache::unbounded(),
            read_bytes: 0,
            unread_bytes: 0,
            next_version: 0,
            clock: 0,
            arrived_bytes: 0,
            total_bytes,
            leaving: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.read_bytes + self.unread_bytes
    }

    pub(super) fn get(&mut self, version: &Version, index: u64) -> Found {
        let Some(blocks) = self.versions.get(version) else {
            return Found::Nothing;
        };
        let place = (blocks.number, index);
        self.clock += 1;
        let first_read = match self.read.get_mut(&place) {
            Some(entry) => {
                entry.used = self.clock;
                false
            }
            None => match self.take(Line::Unread, place) {
                Some(mut entry) => {
                    entry.used = self.clock;
                    self.put(Line::Read, place, entry);
                    true
                }
                None => return Found::Nothing,
            },
        };
        let entry = self.read.peek(&place).expect("it was just used");
        if is_failed(&entry.block) {
            let failed = self.remove(Line::Read, place);
            return failed.map_or(Found::Nothing, |entry| Found::Failed(entry.block));
        }
        Found::Block {
            block: Arc::clone(&entry.block),
            first_read,
        }
    }

    /// The failed block that was replaced, or else, as an error, the good one that was not.
    pub(super) fn insert(
        &mut self,
        version: &Arc<Version>,
        index: u64,
        block: Arc<Block>,
        origin: Origin,
    ) -> Result<Option<Arc<Block>>, Arc<Block>> {
        let replaced = match self.entry(version, index) {
            Some((_, entry)) if !is_failed(&entry.block) => return Err(Arc::clone(&entry.block)),
            Some((line, entry)) => {
                let number = self
                    .versions
                    .get(&entry.version)
                    .map(|blocks| blocks.number);
                number.and_then(|number| self.remove(line, (number, index)))
            }
            None => None,
        };
        let blocks = self.versions.entry(Arc::clone(version)).or_insert_with(|| {
            self.next_version += 1;
            Blocks {
                number: self.next_version,
                indices: BTreeSet::new(),
            }
        });
        blocks.indices.insert(index);
        let place = (blocks.number, index);
        self.clock += 1;
        self.arrived_bytes += block.memory_bytes();
        let entry = Entry {
            version: Arc::clone(version),
            block,
            used: self.clock,
            arrived: self.arrived_bytes,
        };
        let line = match origin {
            Origin::Demand => Line::Read,
            Origin::Ahead => Line::Unread,
        };
        self.put(line, place, entry);
        Ok(replaced.map(|entry| entry.block))
    }

    /// Takes out read blocks, the least recently used first, until at most `bytes` of them are left. Stops at one that is in
    /// use: what comes after it was used later still.
    pub(super) fn trim(&mut self, bytes: u64) -> Vec<(Arc<Version>, u64, Arc<Block>)> {
        let mut trimmed = Vec::new();
        while self.read_bytes > bytes && trimmed.len() < VICTIMS_MAX {
            let Some((&place, entry)) = self.read.peek_lru() else {
                break;
            };
            if Arc::strong_count(&entry.block) > 1 || matches!(entry.block.state(), State::Filling)
            {
                break;
            }
            if let Some(entry) = self.remove(Line::Read, place) {
                trimmed.push((entry.version, place.1, entry.block));
            }
        }
        trimmed
    }

    pub(super) fn peek(&self, version: &Version, index: u64) -> Option<Arc<Block>> {
        let (_, entry) = self.entry(version, index)?;
        Some(Arc::clone(&entry.block))
    }

    pub(super) fn missing(&self, version: &Version, indices: Range<u64>) -> Vec<Range<u64>> {
        let mut runs = Vec::new();
        let mut from = indices.start;
        if let Some(blocks) = self.versions.get(version)
            && indices.start < indices.end
        {
            for &index in blocks.indices.range(indices.clone()) {
                let entry = self.entry(version, index);
                if entry.is_some_and(|(_, entry)| is_failed(&entry.block)) {
                    continue;
                }
                if from < index {
                    runs.push(from..index);
                }
                from = index + 1;
            }
        }
        if from < indices.end {
            runs.push(from..indices.end);
        }
        runs
    }

    pub(super) fn purge(&mut self, version: &Version) -> Vec<Arc<Block>> {
        let Some(blocks) = self.versions.remove(version) else {
            return Vec::new();
        };
        let purged = blocks.indices.into_iter().filter_map(|index| {
            let place = (blocks.number, index);
            self.take(Line::Read, place)
                .or_else(|| self.take(Line::Unread, place))
        });
        purged.map(|entry| entry.block).collect()
    }

    /// Takes out blocks of about `bytes` in all, on behalf of a class.
    pub(super) fn evict(&mut self, class: Class, bytes: u64) -> Victims {
        let mut victims = Victims::default();
        let mut passed_over = Vec::new();
        let mut freed = 0;
        // What read-ahead may take would not make enough room for it, so it takes nothing.
        let may_take = self.read_bytes.saturating_sub(self.spared_bytes(class));
        if class == Class::ReadAhead && may_take < bytes && !self.has_forsaken() {
            return victims;
        }
        while freed < bytes && victims.free.len() + passed_over.len() < VICTIMS_MAX {
            let Some((line, place)) = self.next_victim(class) else {
                break;
            };
            let entry = self.take(line, place).expect("the next victim is there");
            // Only who holds a block can clone it, so a count of one stays one while we hold the lock.
            if Arc::strong_count(&entry.block) > 1 {
                passed_over.push((line, place, entry));
                continue;
            }
            freed += entry.block.memory_bytes();
            self.forget(place, &entry.version);
            victims.free.push(entry.block);
        }
        self.leaving.retain(|(block, _)| block.strong_count() > 0);
        let mut leaving: u64 = self.leaving.iter().map(|(_, bytes)| bytes).sum();
        for (line, place, mut entry) in passed_over {
            if freed + leaving < bytes && !matches!(entry.block.state(), State::Filling) {
                leaving += entry.block.memory_bytes();
                self.forget(place, &entry.version);
                let weak = Arc::downgrade(&entry.block);
                self.leaving.push((weak, entry.block.memory_bytes()));
                victims.held.push(entry.block);
            } else {
                // In use: as good as the most recently used, and not to be passed over at once again.
                self.clock += 1;
                entry.used = self.clock;
                self.put(line, place, entry);
            }
        }
        victims
    }

    fn next_victim(&self, class: Class) -> Option<(Line, Place)> {
        let spared_bytes = self.spared_bytes(class);
        let read = self
            .read
            .peek_lru()
            .filter(|_| self.read_bytes > spared_bytes);
        let unread = self.unread.peek_lru();
        if let Some((&place, entry)) = unread
            && self.is_forsaken(entry)
        {
            return Some((Line::Unread, place));
        }
        let unread = match class {
            Class::ReadAhead => None,
            Class::Demand | Class::Commit | Class::Write => unread,
        };
        match (read, unread) {
            (Some((_, read)), Some((&place, unread))) if unread.used < read.used => {
                Some((Line::Unread, place))
            }
            (Some((&place, _)), _) => Some((Line::Read, place)),
            (None, Some((&place, _))) => Some((Line::Unread, place)),
            (None, None) => None,
        }
    }

    /// Bytes of read blocks that a class must leave.
    fn spared_bytes(&self, class: Class) -> u64 {
        match class {
            Class::ReadAhead => self.total_bytes / 8,
            Class::Demand | Class::Commit | Class::Write => 0,
        }
    }

    fn has_forsaken(&self) -> bool {
        let oldest = self.unread.peek_lru();
        oldest.is_some_and(|(_, entry)| self.is_forsaken(entry))
    }

    fn is_forsaken(&self, entry: &Entry) -> bool {
        self.arrived_bytes - entry.arrived > self.total_bytes
    }

    fn entry(&self, version: &Version, index: u64) -> Option<(Line, &Entry)> {
        let place = (self.versions.get(version)?.number, index);
        let read = self.read.peek(&place).map(|entry| (Line::Read, entry));
        read.or_else(|| Some((Line::Unread, self.unread.peek(&place)?)))
    }

    fn put(&mut self, line: Line, place: Place, entry: Entry) {
        let (line, line_bytes) = self.line(line);
        *line_bytes += entry.block.memory_bytes();
        let before = line.put(place, entry);
        debug_assert!(before.is_none(), "a place is taken before it is put again");
    }

    fn take(&mut self, line: Line, place: Place) -> Option<Entry> {
        let (line, line_bytes) = self.line(line);
        let entry = line.pop(&place)?;
        *line_bytes -= entry.block.memory_bytes();
        Some(entry)
    }

    /// Takes a block out of its line and of its version.
    fn remove(&mut self, line: Line, place: Place) -> Option<Entry> {
        let entry = self.take(line, place)?;
        self.forget(place, &entry.version);
        Some(entry)
    }

    fn forget(&mut self, (_, index): Place, version: &Version) {
        if let Some(blocks) = self.versions.get_mut(version) {
            blocks.indices.remove(&index);
            if blocks.indices.is_empty() {
                self.versions.remove(version);
            }
        }
    }

    fn line(&mut self, line: Line) -> (&mut LruCache<Place, Entry>, &mut u64) {
        match line {
            Line::Read => (&mut self.read, &mut self.read_bytes),
            Line::Unread => (&mut self.unread, &mut self.unread_bytes),
        }
    }
}

fn is_failed(block: &Block) -> bool {
    matches!(block.state(), State::Failed(_))
}
