//! What the bucket's answers change.

use std::time::Instant;

use super::listing::{self, Entry};
use super::node::{Directory, Ino, Object, What};
use super::table::{Stale, Tree};
use crate::object::{ObjectMeta, ObjectType};

/// What holds for a name after an answer was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The name is this inode: the one that the answer describes, or what a question asked later has found.
    Entry(Ino),
    /// There is nothing of this name.
    Absent,
    /// The answer is older than the discovery that it is wrong: ask the bucket again.
    AskAgain,
    /// The directory itself is stale, or no directory: ESTALE.
    Stale,
}

/// A listing that has begun: shows, when it is complete, that no name got lost on the way.
#[derive(Debug, Clone)]
pub struct ListingStart {
    directory: Ino,
    started: Instant,
    losses: u32,
}

impl Tree {
    /// Takes in that `name` is an object; the question was asked at `asked`.
    ///
    /// `meta` must be what a HEAD says, or a listing of anything but a symbolic link of OSS (see [`Self::found_entry`]).
    pub fn found_object(
        &mut self,
        parent: Ino,
        name: &str,
        meta: &ObjectMeta,
        asked: Instant,
    ) -> Settled {
        self.found(parent, name, What::Object(Object::new(meta)), asked)
    }

    /// Takes in that `name` is a directory: a key that begins with it and a slash was seen. The question was asked at `asked`.
    pub fn found_directory(&mut self, parent: Ino, name: &str, asked: Instant) -> Settled {
        self.found(parent, name, What::Directory(Directory::default()), asked)
    }

    /// Takes in that `name` is neither an object nor a directory; the question was asked at `asked`. An inode that had the
    /// name is stale.
    pub fn found_nothing(&mut self, parent: Ino, name: &str, asked: Instant) -> Settled {
        self.found(parent, name, What::Nothing, asked)
    }

    /// Takes in one entry of a listing.
    ///
    /// Of a symbolic link of OSS a listing shows the link, a HEAD its target: two versions that would take the name from
    /// each other for ever. So a link in a listing says only that the name must be asked for, and a listing with
    /// links gives no negative answers.
    pub fn found_entry(&mut self, parent: Ino, entry: &Entry) -> Settled {
        let (name, asked) = (&*entry.name, entry.asked);
        match &entry.what {
            listing::What::Directory => self.found_directory(parent, name, asked),
            listing::What::Object(meta) if meta.kind == ObjectType::Symlink => {
                self.found_link(parent, name, asked)
            }
            listing::What::Object(meta) => self.found_object(parent, name, meta, asked),
        }
    }

    /// A reader saw that the object of `ino` is not that version any more (404, 412): the inode is stale, and what the name
    /// shows must be asked for, with a question asked after `now`. No effect on the root or a stale inode.
    pub fn mark_stale(&mut self, ino: Ino, now: Instant) {
        let Some(node) = self
            .node(ino)
            .filter(|node| ino != Ino::ROOT && !node.stale)
        else {
            return;
        };
        let asked = node.asked.max(now);
        let note = self.replace(ino, What::Unknown, asked);
        self.evict(Some(note));
    }

    /// A listing of `directory` begins, at the moment its first page is asked for.
    ///
    /// # Errors
    /// [`Stale`] if this is no directory, or not any more.
    pub fn begin_listing(&self, directory: Ino, now: Instant) -> Result<ListingStart, Stale> {
        let losses = self.live_directory(directory).ok_or(Stale)?.losses;
        Ok(ListingStart {
            directory,
            started: now,
            losses,
        })
    }

    /// The listing was read to its end, and all its entries were given to [`Self::found_entry`]: names that it did not show are
    /// absent. It must have kept the rules ([`DirectoryStream::is_sound`](super::DirectoryStream::is_sound)).
    pub fn complete_listing(&mut self, listing: &ListingStart) {
        let Some(directory) = self.live_directory_mut(listing.directory) else {
            return;
        };
        let is_older = directory
            .listed
            .is_some_and(|listed| listing.started < listed);
        if is_older || directory.losses != listing.losses {
            return; // names are missing that it has shown: it can't speak for what is absent
        }
        // Not a proof that the directory exists: a listing of nothing is complete too. Its entries were.
        directory.listed = Some(listing.started);
        directory.whole = true;
    }

    fn found(&mut self, parent: Ino, name: &str, what: What, asked: Instant) -> Settled {
        let Some(directory) = self.live_directory(parent) else {
            return Settled::Stale;
        };
        let listed = directory.listed;
        let known = self.find(parent, name);
        let as_of = known.map(|ino| self.nodes[ino].asked).max(listed);
        if as_of.is_some_and(|as_of| asked < as_of) {
            return self.outdated(known, &what, listed);
        }
        let is_there = matches!(what, What::Directory(_) | What::Object(_));
        let ino = match known {
            Some(ino) => self.renew(ino, what, asked),
            None => self.insert(parent, name, what, asked),
        };
        if is_there {
            self.confirm(parent, asked);
        }
        self.evict(Some(ino));
        self.report(ino)
    }

    /// An answer came that was asked before what is known: what is known holds.
    fn outdated(&mut self, known: Option<Ino>, what: &What, listed: Option<Instant>) -> Settled {
        let Some((ino, node)) = known.and_then(|ino| Some((ino, self.nodes.get_mut(ino)?))) else {
            return Settled::AskAgain; // a later listing has not shown it
        };
        if Some(node.asked) < listed {
            return Settled::AskAgain;
        }
        if let (What::Object(newer), What::Object(older)) = (&mut node.what, what)
            && newer.is_same_version(older)
        {
            newer.learn_crc(older);
        }
        self.report(ino)
    }

    fn report(&self, ino: Ino) -> Settled {
        match self.nodes[ino].what {
            What::Directory(_) | What::Object(_) => Settled::Entry(ino),
            What::Nothing => Settled::Absent,
            What::Unknown => Settled::AskAgain,
        }
    }

    /// The name of `ino` is `what` now: the same inode if it is the same thing, else another.
    fn renew(&mut self, ino: Ino, what: What, asked: Instant) -> Ino {
        let Some(node) = self.nodes.get_mut(ino) else {
            return ino;
        };
        match (&mut node.what, what) {
            (What::Directory(_), What::Directory(_)) => {}
            (What::Object(known), What::Object(later)) if known.is_same_version(&later) => {
                known.refresh(&later);
            }
            // The kernel has never seen the number of a note: it may become an inode.
            (note @ (What::Nothing | What::Unknown), what) => *note = what,
            (What::Directory(_) | What::Object(_), what) => return self.replace(ino, what, asked),
        }
        node.asked = asked;
        node.touched = true;
        ino
    }

    fn found_link(&mut self, parent: Ino, name: &str, asked: Instant) -> Settled {
        let Some(directory) = self.live_directory_mut(parent) else {
            return Settled::Stale;
        };
        directory.whole = false;
        directory.losses = directory.losses.wrapping_add(1);
        if let Some(ino) = self.find(parent, name) {
            let node = &self.nodes[ino];
            if matches!(node.what, What::Nothing) && node.asked <= asked {
                self.renew(ino, What::Unknown, asked);
            }
        }
        self.confirm(parent, asked);
        Settled::AskAgain
    }

    /// Something below `directory` was found: so it exists, and those above it. Each is confirmed at least as late as those
    /// below it, so the walk ends at the first that needs nothing.
    fn confirm(&mut self, directory: Ino, asked: Instant) {
        let mut at = directory;
        while let Some(node) = self.nodes.get_mut(at) {
            if node.stale || node.asked >= asked {
                return;
            }
            node.asked = asked;
            node.touched = true;
            at = node.parent;
        }
    }
}
