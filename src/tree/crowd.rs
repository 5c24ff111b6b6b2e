//! What the kernel is asked to forget when there are too many names.
//!
//! The kernel keeps names as long as it has memory, and what it keeps must stay here. So the coldest of them are asked
//! back: those that were not given to it again for a while. It forgets them, unless they are in use, and what it has forgotten
//! is let go like all that nothing holds.

use super::node::{Ino, Kind};
use super::table::Tree;

/// Slots looked at in one search: bounds the time under the lock.
const VISITS_MAX: u32 = 8192;

/// Which names to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Those that the kernel was not asked for yet.
    New,
    /// All: what it was asked for long ago was in use then.
    Again,
}

/// What a search has left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The kernel holds few enough.
    Nothing,
    /// It is worth going on.
    More,
    /// All names were looked at twice, and none can be asked back: directories, and what is open.
    InVain,
}

/// A name that the kernel may forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cold {
    /// The inode.
    pub ino: Ino,
    /// Its directory.
    pub parent: Ino,
    /// Its name there.
    pub name: Box<str>,
}

impl Tree {
    /// Names that something holds: the kernel, a handle, or a name below.
    pub(super) fn held(&self) -> usize {
        self.nodes.len() - self.idle
    }

    /// How many names may be kept that nothing holds: what is left of the bound, but always an eighth, or what a listing
    /// shows would be gone before it is used.
    pub(super) fn idle_max(&self) -> usize {
        let left = self.names_max.saturating_sub(self.held());
        left.max(self.names_max / 8).max(1)
    }

    /// How many names the kernel should forget; if they are to be new ones, beside those that it was asked for.
    fn excess(&self, choice: Choice) -> usize {
        let asked = match choice {
            Choice::New => self.asked_back,
            Choice::Again => 0,
        };
        let held_max = self.names_max - self.names_max / 8 - self.slack();
        (self.held() - asked).saturating_sub(held_max)
    }

    /// How many too many are not worth asking for.
    fn slack(&self) -> usize {
        self.names_max / 32
    }

    /// True if it is worth calling [`Self::coldest`] with that choice. False says that at most seven eighths of the bound are
    /// held: with the names that nothing holds ([`Self::idle_max`]) that is the bound.
    #[must_use]
    pub fn is_crowded(&self, choice: Choice) -> bool {
        self.excess(choice) > self.slack()
    }

    /// Chooses at most `max` names that the kernel should forget, until a little less than seven eighths of the bound are held.
    /// Directories are not chosen: a process may stand in one. Nor is what is open. May find fewer, and more at the next call.
    pub fn coldest(&mut self, max: usize, choice: Choice) -> Vec<Cold> {
        let mut found = Vec::new();
        let mut visits = 0;
        let wanted = self.excess(choice).min(max);
        let slots = self.nodes.slots();
        for _ in 0..VISITS_MAX.min(slots) {
            if found.len() >= wanted {
                break;
            }
            visits += 1;
            self.hand = (self.hand + 1) % slots;
            let Some(node) = self.nodes.in_slot_mut(self.hand) else {
                continue;
            };
            let is_held_by_kernel = node.lookups > 0 && node.opens == 0 && node.children == 0;
            if !is_held_by_kernel || !node.is_named() || matches!(node.kind(), Kind::Directory) {
                continue;
            }
            if matches!(node.kind(), Kind::File(_)) {
                continue; // it would stay all the same
            }
            if node.asked_back && choice == Choice::New {
                continue;
            }
            if node.touched {
                node.touched = false;
            } else {
                self.asked_back += usize::from(!node.asked_back);
                node.asked_back = true;
                found.push(Cold {
                    ino: node.ino,
                    parent: node.parent,
                    name: node.name.clone(),
                });
            }
        }
        self.visits_in_vain = match found.is_empty() {
            true => self.visits_in_vain.saturating_add(visits),
            false => 0,
        };
        found
    }

    /// What [`Self::coldest`] has left to do.
    #[must_use]
    pub fn left_to_ask(&self) -> Left {
        if !self.is_crowded(Choice::Again) {
            Left::Nothing
        } else if self.visits_in_vain >= 2 * self.nodes.slots() {
            Left::InVain
        } else {
            Left::More
        }
    }
}
