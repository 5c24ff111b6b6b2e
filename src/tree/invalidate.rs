//! What is known of a directory and of all below it is dropped, because somebody says that it is out of date.

use std::ops::Range;
use std::time::Instant;

use super::node::Ino;
use super::table::Tree;

impl Tree {
    /// Nothing that was asked before `now` is believed of what is in `directory`, or below it: as if the directory had been moved
    /// there at that moment. Inodes keep their numbers if the next answer tells the same of them. Local names stay.
    pub fn invalidate(&mut self, directory: Ino, now: Instant) {
        self.changed_below(directory, now);
    }

    /// The living inodes at or below `top` among those that stand in these slots; `None` if there are no such slots.
    #[must_use]
    pub fn at_or_below(&self, top: Ino, slots: Range<u32>) -> Option<Vec<Ino>> {
        if slots.start >= self.nodes.slots() {
            return None;
        }
        let end = slots.end.min(self.nodes.slots());
        let in_slots = (slots.start..end).filter_map(|slot| self.nodes.in_slot(slot));
        let living = in_slots.filter(|node| node.is_inode());
        let inos = living.map(|node| node.ino);
        Some(inos.filter(|ino| self.is_at_or_below(*ino, top)).collect())
    }
}
