//! The nodes of a tree, packed: no block of the heap for each, and no large one that is copied as it grows.

use std::ops::Index;

use hashbrown::HashTable;

use super::node::{Ino, Node};

/// Nodes allocated together: 256 KiB.
const CHUNK: usize = 2048;

/// [`CHUNK`] as slots are numbered.
const CHUNK_SLOTS: u32 = 2048;

/// Where a node stands, as long as it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(u32);

/// Nodes by their inode number, or by their slot.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    /// All of [`CHUNK`] slots.
    chunks: Vec<Box<[Option<Node>]>>,
    free: Vec<Slot>,
    by_ino: HashTable<Slot>,
}

/// Numbers are given out in a row, by us: no need for a hash that resists anybody.
fn hash(ino: Ino) -> u64 {
    ino.get()
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_right(32)
}

impl Nodes {
    pub(super) fn len(&self) -> usize {
        self.by_ino.len()
    }

    /// Slots, whether or not a node stands there; numbered from 0.
    pub(super) fn slots(&self) -> u32 {
        u32::try_from(self.chunks.len() * CHUNK).unwrap_or(u32::MAX)
    }

    /// The node in the slot of that number, if there is one.
    pub(super) fn in_slot(&self, number: u32) -> Option<&Node> {
        at(&self.chunks, Slot(number))
    }

    /// The same, to be changed.
    pub(super) fn in_slot_mut(&mut self, number: u32) -> Option<&mut Node> {
        let number = number as usize;
        self.chunks.get_mut(number / CHUNK)?[number % CHUNK].as_mut()
    }

    pub(super) fn slot(&self, ino: Ino) -> Option<Slot> {
        let is_it = |slot: &Slot| self[*slot].ino == ino;
        self.by_ino.find(hash(ino), is_it).copied()
    }

    pub(super) fn get(&self, ino: Ino) -> Option<&Node> {
        self.slot(ino).map(|slot| &self[slot])
    }

    pub(super) fn get_mut(&mut self, ino: Ino) -> Option<&mut Node> {
        let slot = self.slot(ino)?;
        self.in_slot_mut(slot.0)
    }

    /// Adds a node whose number is not there.
    ///
    /// # Panics
    /// At 2^32 nodes, which would take half a terabyte.
    pub(super) fn insert(&mut self, node: Node) -> Slot {
        if self.free.is_empty() {
            let first = self.slots();
            assert!(first < u32::MAX - CHUNK_SLOTS, "the tree is full");
            let mut chunk = Vec::with_capacity(CHUNK);
            chunk.resize_with(CHUNK, || None);
            self.chunks.push(chunk.into_boxed_slice());
            // The lowest first.
            self.free = (first..first + CHUNK_SLOTS).rev().map(Slot).collect();
        }
        let slot = self.free.pop().expect("a chunk was added");
        let ino = node.ino;
        self.chunks[slot.0 as usize / CHUNK][slot.0 as usize % CHUNK] = Some(node);
        let chunks = &self.chunks;
        let of = |slot: &Slot| at(chunks, *slot).map_or(0, |node| hash(node.ino));
        self.by_ino.insert_unique(hash(ino), slot, of);
        slot
    }

    pub(super) fn remove(&mut self, ino: Ino) -> Option<Node> {
        let chunks = &self.chunks;
        let is_it = |slot: &Slot| at(chunks, *slot).is_some_and(|node| node.ino == ino);
        let slot = *self.by_ino.find(hash(ino), is_it)?;
        if let Ok(entry) = self.by_ino.find_entry(hash(ino), |other| *other == slot) {
            entry.remove();
        }
        self.free.push(slot);
        self.chunks[slot.0 as usize / CHUNK][slot.0 as usize % CHUNK].take()
    }

    /// All nodes, in no order.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.chunks.iter().flatten().flatten()
    }

    /// Bytes that slots and tables take, names not included.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<Option<Node>>()
            + self.free.capacity() * size_of::<Slot>()
            + self.by_ino.allocation_size()
    }
}

fn at(chunks: &[Box<[Option<Node>]>], slot: Slot) -> Option<&Node> {
    chunks.get(slot.0 as usize / CHUNK)?[slot.0 as usize % CHUNK].as_ref()
}

impl Index<Slot> for Nodes {
    type Output = Node;

    fn index(&self, slot: Slot) -> &Node {
        at(&self.chunks, slot).expect("a slot is held only while its node is there")
    }
}

impl Index<Ino> for Nodes {
    type Output = Node;

    fn index(&self, ino: Ino) -> &Node {
        self.get(ino).expect("the node is there")
    }
}
