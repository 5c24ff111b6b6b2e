//! What the bucket's answers change.

use std::time::Instant;

use super::file::{Elsewhere, Symlink};
use super::listing::{self, Entry};
use super::node::{Directory, Ino, Place, What};
use super::packed::Object;
use super::table::{Stale, Tree};
use crate::object::{ETag, ObjectMeta, ObjectType, UnixTime};

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

    /// Takes in that `name` is a symbolic link of OSS, with that ETag of its own; `target` as GetSymlink tells it, `None` from a
    /// listing. The question was asked at `asked`. Only where links are shown ([`Self::show_links`]).
    pub fn found_symlink(
        &mut self,
        parent: Ino,
        name: &str,
        (etag, modified): (&ETag, UnixTime),
        target: Option<&str>,
        asked: Instant,
    ) -> Settled {
        let link = Symlink::new(Some(etag.clone()), modified, target);
        self.found(parent, name, What::Symlink(Box::new(link)), asked)
    }

    /// Takes in one entry of a listing.
    ///
    /// Where links are not shown: of a symbolic link of OSS a listing shows the link, a HEAD its target: two versions that would take the name from
    /// each other for ever. So a link in a listing says only that the name must be asked for, and a listing with
    /// links gives no negative answers. Where links are shown ([`Self::show_links`]), it is an inode whose target is not known yet.
    ///
    /// A local name of a listing is whatever the name shows now.
    pub fn found_entry(&mut self, parent: Ino, entry: &Entry) -> Settled {
        let (name, asked) = (&*entry.name, entry.asked);
        match &entry.what {
            listing::What::Directory => self.found_directory(parent, name, asked),
            listing::What::Object(meta) if meta.kind == ObjectType::Symlink => {
                if self.shows_links {
                    let link = (&meta.etag, meta.modified);
                    return self.found_symlink(parent, name, link, None, asked);
                }
                self.found_link(parent, name, asked)
            }
            listing::What::Object(meta) => self.found_object(parent, name, meta, asked),
            listing::What::Local { .. } => match self.find(parent, name) {
                Some(ino) => self.report(ino),
                None if self.live_directory(parent).is_none() => Settled::Stale,
                None => Settled::AskAgain,
            },
        }
    }

    /// A reader saw that the object of `ino` is not that version any more (404, 412): the inode is stale, and what the name
    /// shows must be asked for, with a question asked after `now`. A local file keeps its name, and takes note that somebody has
    /// changed the object. No effect on the root, on local directories and on what has no name.
    pub fn mark_stale(&mut self, ino: Ino, now: Instant) {
        let node = self.nodes.get_mut(ino).filter(|node| node.is_inode());
        let Some(node) = node.filter(|node| ino != Ino::ROOT && node.is_named()) else {
            return;
        };
        if let What::File(file) = &mut node.what {
            file.see(Elsewhere::Changed, now);
        }
        if node.is_local() {
            return;
        }
        let asked = node.asked.max(now);
        let note = self.replace(ino, What::Unknown, asked, Place::Stale);
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
        if self.moved_floor(listing.directory) > Some(listing.started) {
            return; // it may be of another prefix
        }
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
        let floor = self.floor(parent);
        if let Some(ino) = known
            && self.nodes[ino].is_local()
        {
            if floor <= Some(asked) {
                self.found_beside(ino, what, asked);
            }
            return Settled::Entry(ino);
        }
        let as_of = known.map(|ino| self.nodes[ino].asked);
        if as_of.max(listed).max(floor) > Some(asked) {
            return self.outdated(parent, known, &what, asked);
        }
        let is_there = what.is_inode();
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
    fn outdated(
        &mut self,
        parent: Ino,
        known: Option<Ino>,
        what: &What,
        asked: Instant,
    ) -> Settled {
        let listed = self.live_directory(parent).and_then(|at| at.listed);
        let Some((ino, node)) = known.and_then(|ino| Some((ino, self.nodes.get_mut(ino)?))) else {
            // A later listing has not shown it, or this mount has changed something since. In that case a listing that has
            // shown it does not speak for what is absent.
            if what.is_inode() && listed <= Some(asked) {
                self.lose(parent);
            }
            return Settled::AskAgain;
        };
        if Some(node.asked) < listed || node.asked < asked {
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
            What::Directory(_) | What::Object(_) | What::File(_) | What::Symlink(_) => {
                Settled::Entry(ino)
            }
            What::Nothing => Settled::Absent,
            What::Unknown => Settled::AskAgain,
        }
    }

    /// The name of `ino` is `what` now: the same inode if it is the same thing, else another.
    fn renew(&mut self, ino: Ino, what: What, asked: Instant) -> Ino {
        let is_doubtful = self.is_doubtful(ino);
        let Some(node) = self.nodes.get_mut(ino) else {
            return ino;
        };
        match (&mut node.what, what) {
            (What::Directory(_), What::Directory(_)) => {}
            (What::Object(known), What::Object(later)) if known.is_same_version(&later) => {
                known.refresh(&later);
            }
            (What::Object(known), What::Object(later)) if is_doubtful => {
                *known = later.with_time_of(known);
            }
            (What::Symlink(known), What::Symlink(later)) => {
                let later = *later;
                if !known.renew(later.clone()) {
                    let later = What::Symlink(Box::new(later));
                    return self.replace(ino, later, asked, Place::Stale);
                }
            }
            // The kernel has never seen the number of a note: it may become an inode.
            (note @ (What::Nothing | What::Unknown), what) => *note = what,
            (What::Directory(_) | What::Object(_) | What::File(_) | What::Symlink(_), what) => {
                return self.replace(ino, what, asked, Place::Stale);
            }
        }
        node.asked = asked;
        node.touched = true;
        self.trust(ino);
        ino
    }

    fn found_link(&mut self, parent: Ino, name: &str, asked: Instant) -> Settled {
        if self.live_directory(parent).is_none() {
            return Settled::Stale;
        }
        self.lose(parent);
        if let Some(ino) = self.find(parent, name) {
            let node = &self.nodes[ino];
            if matches!(node.what, What::Nothing) && node.asked <= asked {
                self.renew(ino, What::Unknown, asked);
            }
        }
        if self.floor(parent) <= Some(asked) {
            self.confirm(parent, asked);
        }
        Settled::AskAgain
    }

    /// A name in `directory` was shown that the tree has no knowledge of: listings under way do not say what is absent.
    pub(super) fn lose(&mut self, directory: Ino) {
        if let Some(directory) = self.live_directory_mut(directory) {
            directory.whole = false;
            directory.losses = directory.losses.wrapping_add(1);
        }
    }

    /// Something below `directory` was found: so it exists, and those above it. Each is confirmed at least as late as those
    /// below it, so the walk ends at the first that needs nothing.
    ///
    /// What this mount keeps without knowing that there is something in it need not be kept any more.
    pub(super) fn confirm(&mut self, directory: Ino, asked: Instant) {
        let mut at = directory;
        while let Some(node) = self.nodes.get_mut(at) {
            if !node.is_named() || node.asked > asked || (node.asked == asked && at == Ino::ROOT) {
                return;
            }
            let is_kept_no_more = match &node.what {
                What::Directory(directory) => directory.kept.is_some_and(|kept| kept <= asked),
                What::Object(_)
                | What::File(_)
                | What::Symlink(_)
                | What::Nothing
                | What::Unknown => false,
            };
            if node.asked == asked && !is_kept_no_more {
                return;
            }
            node.asked = asked;
            node.touched = true;
            let parent = node.parent;
            if is_kept_no_more {
                self.keep(at, None);
            }
            at = parent;
        }
    }
}
