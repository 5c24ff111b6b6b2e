//! What this mount has changed itself, remembered longer than questions are under way.
//!
//! After a commit, an unlink or a rename, answers that were asked before must not win. As long as the name has a node, the
//! node's age sees to that. So the nodes of names that this mount has changed are kept, the last [`CHANGES_MIN`] or more of
//! them, oldest go first; and when one goes, all answers that are older than its change are not believed any more,
//! wherever they belong. At a thousand changes a second that concerns answers that took many seconds.
//!
//! A directory that is moved takes all that is below it along. Answers about names below it that were asked before are about
//! another key: they are not believed either, whether the name has a node or not; and what was known must be asked for again,
//! unless the tree is told what was moved.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::node::{Ino, Place, What};
use super::table::Tree;

/// Changes that are remembered at least.
const CHANGES_MIN: usize = 64;

/// Of all names, this part may be kept because it was changed: what is left is enough for what is only known.
const CHANGES_SHARE: usize = 8;

/// The last changes by this mount.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) max: usize,
    /// Of names as they are now. INVARIANT: holds the nodes with `own`.
    changes: HashMap<Ino, (u64, Change)>,
    /// The numbers of changes, oldest first; what was changed again is in it again.
    queue: VecDeque<(u64, Ino)>,
    next: u64,
    /// Of `changes`, those with `moved`.
    moved: usize,
    /// Answers asked before are not believed.
    floor: Option<Instant>,
    /// What was known before may be of another key.
    moved_floor: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Change {
    done: Instant,
    /// When the directory was moved, if it was.
    moved: Option<Instant>,
    /// The version is not the one that the node has.
    doubtful: bool,
    /// Somebody says that it may have changed in the bucket.
    unsure: bool,
}

impl Change {
    /// One of the name alone.
    fn at(done: Instant) -> Self {
        Self {
            done,
            moved: None,
            doubtful: false,
            unsure: false,
        }
    }
}

impl Own {
    pub(super) fn new(names_max: usize) -> Self {
        Self {
            max: (names_max / CHANGES_SHARE).max(CHANGES_MIN),
            changes: HashMap::new(),
            queue: VecDeque::new(),
            next: 0,
            moved: 0,
            floor: None,
            moved_floor: None,
        }
    }

    /// Names that are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    fn get(&self, ino: Ino) -> Option<&Change> {
        self.changes.get(&ino).map(|(_, change)| change)
    }

    fn set(&mut self, ino: Ino, change: Change) {
        self.take(ino);
        self.moved += usize::from(change.moved.is_some());
        self.changes.insert(ino, (self.next, change));
        self.queue.push_back((self.next, ino));
        self.next += 1;
    }

    fn take(&mut self, ino: Ino) -> Option<Change> {
        let (_, change) = self.changes.remove(&ino)?;
        self.moved -= usize::from(change.moved.is_some());
        Some(change)
    }

    /// The oldest change, if there are too many.
    fn oldest(&mut self) -> Option<(Ino, Change)> {
        while self.queue.len() > self.max {
            let (number, ino) = self.queue.pop_front()?;
            let last = self.changes.get(&ino).filter(|(last, _)| *last == number);
            if let Some(&(_, change)) = last {
                self.take(ino);
                self.floor = self.floor.max(Some(change.done));
                self.moved_floor = self.moved_floor.max(change.moved);
                return Some((ino, change));
            }
        }
        None
    }
}

impl Tree {
    /// This mount has changed the name of `ino` at `done`.
    pub(super) fn changed(&mut self, ino: Ino, done: Instant) {
        self.note(ino, Change::at(done));
    }

    /// This mount has given the name to the directory `ino`, and other names to all that is below it, at `done`.
    pub(super) fn changed_below(&mut self, ino: Ino, done: Instant) {
        let moved = Some(done);
        self.note(
            ino,
            Change {
                moved,
                ..Change::at(done)
            },
        );
    }

    fn note(&mut self, ino: Ino, mut change: Change) {
        let Some(node) = self.nodes.get(ino).filter(|node| node.is_named()) else {
            return;
        };
        match self.own.get(ino) {
            Some(known) => {
                change.done = change.done.max(known.done);
                change.moved = change.moved.max(known.moved);
                change.doubtful |= known.doubtful;
                change.unsure |= known.unsure;
            }
            None => {
                let is_plain = change.moved.is_none() && !change.doubtful && !change.unsure;
                if is_plain && self.floor(node.parent) >= Some(change.done) {
                    return; // what is older is not believed anyway
                }
            }
        }
        self.own.set(ino, change);
        if let Some(node) = self.nodes.get_mut(ino) {
            node.own = true;
        }
        self.settle(ino);
        self.let_go_of_changes();
    }

    /// Forgets the oldest changes, if there are too many.
    fn let_go_of_changes(&mut self) {
        while let Some((ino, change)) = self.own.oldest() {
            let Some(node) = self.nodes.get_mut(ino) else {
                continue;
            };
            node.own = false;
            if change.doubtful || change.unsure {
                // Nobody has asked for it: whoever does will find another inode.
                let asked = node.asked;
                self.replace(ino, What::Unknown, asked, Place::Stale);
            } else {
                self.settle(ino);
            }
        }
    }

    /// The name of `ino` goes to `to`, or to none that is remembered: so do the changes of it.
    pub(super) fn hand_over_changes(&mut self, ino: Ino, to: Option<Ino>) {
        if let Some(node) = self.nodes.get_mut(ino) {
            node.own = false;
        }
        let change = self.own.take(ino);
        let Some((change, to)) = change.zip(to) else {
            return;
        };
        if let Some(node) = self.nodes.get_mut(to) {
            node.own = true;
            let (moved, doubtful, unsure) = (None, false, false);
            let done = change.done;
            self.own.set(
                to,
                Change {
                    done,
                    moved,
                    doubtful,
                    unsure,
                },
            );
            self.settle(to);
            self.let_go_of_changes();
        }
    }

    /// Answers about names in `directory` that were asked before are not believed.
    pub(super) fn floor(&self, directory: Ino) -> Option<Instant> {
        self.own.floor.max(self.moved_floor(directory))
    }

    /// What was known before of names in `directory` was known of other keys.
    pub(super) fn moved_floor(&self, directory: Ino) -> Option<Instant> {
        let mut floor = self.own.moved_floor;
        if self.own.moved == 0 {
            return floor;
        }
        let mut at = directory;
        while let Some(node) = self.nodes.get(at) {
            if node.own {
                let change = self.own.get(at);
                floor = floor.max(change.and_then(|change| change.moved));
            }
            if at == Ino::ROOT {
                break;
            }
            at = node.parent;
        }
        floor
    }

    /// True if this mount has changed or moved the name of `ino`, or moved a directory above it, after `asked`: what a request
    /// sent then says of a key (404, 412) is not about the inode as it is now. Ask again instead of calling
    /// [`Self::mark_stale`].
    #[must_use]
    pub fn changed_since(&self, ino: Ino, asked: Instant) -> bool {
        let Some(node) = self.nodes.get(ino) else {
            return false;
        };
        let change = self.own.get(ino).map(|change| change.done);
        change.max(self.floor(node.parent)) > Some(asked)
    }

    /// The object of `ino` was copied to where it is now, by a copy that may have another ETag: it must be asked for, and the
    /// version that the next answer tells is taken over under the same number. Better is [`Self::moved`].
    pub fn doubt(&mut self, ino: Ino, now: Instant) {
        let is_object = self
            .node(ino)
            .is_some_and(|node| matches!(node.what, What::Object(_)));
        if !is_object {
            return;
        }
        let Some(node) = self.nodes.get_mut(ino).filter(|node| node.is_named()) else {
            return;
        };
        node.asked = node.asked.max(now);
        let doubtful = true;
        self.ask_anew(
            ino,
            Change {
                doubtful,
                ..Change::at(now)
            },
        );
    }

    fn ask_anew(&mut self, ino: Ino, change: Change) {
        self.note(ino, change);
        self.evict(Some(ino));
    }

    pub(super) fn is_doubtful(&self, ino: Ino) -> bool {
        let is_own = self.nodes.get(ino).is_some_and(|node| node.own);
        let change = self.own.get(ino);
        is_own && change.is_some_and(|change| change.doubtful)
    }

    /// Somebody says that the object or link of `ino` may be another one by now: it must be asked for with a question asked after `now`.
    /// If it is the same it keeps its number. No effect on what is not stored yet.
    pub fn unsure(&mut self, ino: Ino, now: Instant) {
        let Some(node) = self.nodes.get_mut(ino).filter(|node| node.is_named()) else {
            return;
        };
        if !matches!(node.what, What::Object(_) | What::Symlink(_)) || node.is_local() {
            return;
        }
        node.asked = node.asked.max(now);
        let unsure = true;
        self.ask_anew(
            ino,
            Change {
                unsure,
                ..Change::at(now)
            },
        );
    }

    /// The attributes of `ino` must be asked for, whatever their age.
    pub(super) fn is_unsure(&self, ino: Ino) -> bool {
        let is_own = self.nodes.get(ino).is_some_and(|node| node.own);
        let change = self.own.get(ino);
        is_own && change.is_some_and(|change| change.unsure || change.doubtful)
    }

    /// The version of `ino` is known again.
    pub(super) fn trust(&mut self, ino: Ino) {
        if let Some((_, change)) = self.own.changes.get_mut(&ino) {
            (change.doubtful, change.unsure) = (false, false);
        }
    }
}
