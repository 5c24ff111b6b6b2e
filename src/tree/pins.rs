//! What keeps an inode alive, and what lets it go.

use super::node::{Ino, Node, Place, What};
use super::table::{Stale, Tree};

/// Numbers of nodes long gone that the queue of eviction may hold beside live ones before it is swept.
const QUEUE_SLACK: usize = 1024;

/// Second chances given in one eviction: bounds the time under the lock when everything was confirmed of late.
const CHANCES_MAX: u32 = 64;

impl Tree {
    /// The kernel is told of this inode in an answer to lookup or readdirplus: it counts one more lookup, and so does the
    /// tree, until [`Self::forget`]. `None` if the inode is not there any more: then it must not be told.
    pub fn remember(&mut self, ino: Ino) -> Option<&Node> {
        let node = self.nodes.get_mut(ino).filter(|node| node.is_inode())?;
        // What is given for the first time is not warm by that: a walk gives each name once.
        node.touched |= node.lookups > 0;
        node.lookups += 1;
        if std::mem::take(&mut node.asked_back) {
            self.asked_back -= 1;
        }
        self.settle(ino);
        self.node(ino)
    }

    /// The kernel takes back `lookups` of its lookups.
    pub fn forget(&mut self, ino: Ino, lookups: u64) {
        if let Some(node) = self.nodes.get_mut(ino) {
            // The kernel doesn't take back more than it was given; the root it forgets at the end without a lookup.
            node.lookups = node.lookups.saturating_sub(lookups);
            if node.lookups == 0 && std::mem::take(&mut node.asked_back) {
                self.asked_back -= 1;
            }
            self.settle(ino);
            self.evict(None);
        }
    }

    /// A handle is opened: holds the inode until [`Self::close`].
    ///
    /// # Errors
    /// [`Stale`] if the name shows something else by now; the kernel, told ESTALE, looks the name up again.
    pub fn open(&mut self, ino: Ino) -> Result<(), Stale> {
        let node = self
            .nodes
            .get_mut(ino)
            .filter(|node| node.is_inode() && node.place != Place::Stale);
        node.ok_or(Stale)?.opens += 1;
        self.settle(ino);
        Ok(())
    }

    /// A handle is closed that [`Self::open`] has counted.
    pub fn close(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.get_mut(ino) {
            node.opens = node.opens.saturating_sub(1);
            self.settle(ino);
            self.evict(None);
        }
    }

    /// Follows a change of what holds `ino`: nothing holds it now, or something again. A node without a name that nothing
    /// holds is removed, and what it held is looked at in turn.
    pub(super) fn settle(&mut self, mut ino: Ino) {
        while let Some(node) = self.nodes.get_mut(ino) {
            let is_held = node.lookups > 0 || node.opens > 0 || node.children > 0;
            let idle = ino != Ino::ROOT && !is_held && !node.is_pinned();
            match (node.idle, idle) {
                (false, true) => self.idle += 1,
                (true, false) => self.idle -= 1,
                (false, false) | (true, true) => {}
            }
            node.idle = idle;
            if !idle {
                return;
            }
            if node.is_named() {
                if !node.queued {
                    node.queued = true;
                    self.queue.push_back(ino);
                }
                return;
            }
            ino = self.remove(ino);
        }
    }

    /// Lets go of idle nodes until the bound is kept. Second chance: a node that was confirmed since the queue last
    /// looked goes to its end once more. `keep` is spared: it is about to be used.
    pub(super) fn evict(&mut self, keep: Option<Ino>) {
        let mut chances = CHANCES_MAX;
        // Ends: the bound is at least 1, so while it is passed an idle node beside `keep` is in the queue.
        while self.idle > self.idle_max() {
            let Some(ino) = self.queue.pop_front() else {
                break;
            };
            let Some(node) = self.nodes.get_mut(ino) else {
                continue;
            };
            node.queued = false;
            if !node.idle {
                continue; // comes back when it is idle again
            }
            if Some(ino) == keep || (node.touched && chances > 0) {
                chances = chances.saturating_sub(1);
                node.touched = false;
                node.queued = true;
                self.queue.push_back(ino);
                continue;
            }
            let parent = self.remove(ino);
            self.settle(parent);
        }
        if self.queue.len() > 2 * self.nodes.len() + QUEUE_SLACK {
            self.queue.retain(|ino| self.nodes.get(*ino).is_some());
        }
    }

    /// Removes an idle node. Returns its parent, which it no longer holds.
    fn remove(&mut self, ino: Ino) -> Ino {
        let is_named = self.nodes.get(ino).is_some_and(Node::is_named);
        if is_named {
            self.unindex(ino);
        }
        self.drop_overlay(ino);
        let Some(node) = self.nodes.remove(ino) else {
            return Ino::ROOT;
        };
        self.idle -= 1;
        self.specials -= usize::from(node.special().is_some());
        if is_named && !matches!(node.what, What::Nothing) {
            // From now on the name looks like one that no listing has shown.
            self.lose(node.parent);
        }
        if let Some(parent) = self.nodes.get_mut(node.parent) {
            parent.children -= 1;
        }
        node.parent
    }
}
