//! Content that this mount writes.
//!
//! An inode that is open for writing, or has bytes that are not stored, has one [`Written`] for all its handles: reads go there, too, so
//! what was written is seen at once. When it is stored and nobody writes any more, its handles read the object again.
//!
//! The tree is told of each write ([`Tree::dirty`](crate::tree::Tree::dirty), `wrote`) and of each commit, so a name shows what this mount has written, and the
//! inode keeps its number. The bucket is asked by [`write::File`] alone.
//!
//! **What is in whose way.** A commit, a rename and an unlink of one file come one after the other ([`Written::order`]). Who renames or unlinks also freezes
//! it ([`write::Frozen`]): it is not stored to make room either, and no part of it goes up under a name that it is about to lose. A directory that moves freezes all that
//! is written below it, also what is opened or made there meanwhile, until the tree knows the new name ([`held`]).
//!
//! - [`open`]: open for writing, create. [`change`]: write, truncate, fallocate, copy_file_range. [`read`]: what was written.
//! - [`commit`]: flush, fsync, release, and the end of the mount. [`held`]: turns. [`moves`]: what a rename and an unlink do before and after.

mod change;
mod commit;
mod held;
mod moves;
mod open;
mod read;

use std::collections::{HashMap, VecDeque, hash_map};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use super::files::{Content, OpenFile};
use super::{Error, FileSystem};
use crate::object::{ETag, ObjectMeta, ObjectType, StorageClass, UnixTime, Version};
use crate::read as reading;
use crate::tree::{Ino, Kind, LocalFile, Node, Object, Stale, Tree};
use crate::write::{self, Base, Copying, Holders};

pub use change::{Seek, WriteBy};
pub use commit::Unstored;
pub(super) use held::{Held, Moving};
pub use open::WriteOpen;

/// Objects that a file has taken bytes from and that are kept open for reading: the one that it is, and some that were copied in.
const SOURCES_MAX: usize = 4;

/// A file that is written, or is not stored yet.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) ino: Ino,
    pub(super) file: Arc<write::File>,
    holders: Mutex<Holders>,
    /// Commit, rename and unlink: one at a time. Who needs several takes them in the order of their inodes.
    order: Arc<tokio::sync::Mutex<()>>,
    /// Who works on it without a handle. Changed under the lock of [`FileSystem::files`].
    pins: AtomicUsize,
    sources: Mutex<VecDeque<Arc<reading::File>>>,
}

impl Written {
    pub(super) fn new(ino: Ino, file: Arc<write::File>) -> Arc<Self> {
        Arc::new(Self {
            ino,
            file,
            holders: Mutex::default(),
            order: Arc::default(),
            pins: AtomicUsize::new(0),
            sources: Mutex::default(),
        })
    }

    pub(super) fn holders(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sources(&self) -> MutexGuard<'_, VecDeque<Arc<reading::File>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_orphan(&self) -> bool {
        self.file.key().is_none()
    }
}

/// A [`Written`] that stays what its inode is while this is held.
#[derive(Debug)]
pub(super) struct Pinned {
    fs: Arc<FileSystem>,
    written: Arc<Written>,
}

impl std::ops::Deref for Pinned {
    type Target = Arc<Written>;

    fn deref(&self) -> &Self::Target {
        &self.written
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        {
            let _files = self.fs.open_files();
            self.written.pins.fetch_sub(1, Ordering::Relaxed);
        }
        self.fs.settle_written(self.written.ino);
    }
}

impl FileSystem {
    /// What is open, or not stored. Its lock is taken alone, or before those of the handles and the tree.
    pub(super) fn open_files(&self) -> MutexGuard<'_, HashMap<Ino, OpenFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is written of an inode, if anything is.
    pub(super) fn pinned(self: &Arc<Self>, ino: Ino) -> Option<Pinned> {
        let files = self.open_files();
        let Content::Written(written) = &files.get(&ino)?.content else {
            return None;
        };
        Some(self.pin_written(written))
    }

    /// All that is written.
    pub(super) fn all_pinned(self: &Arc<Self>) -> Vec<Pinned> {
        let files = self.open_files();
        let written = files.values().filter_map(|open| match &open.content {
            Content::Written(written) => Some(self.pin_written(written)),
            Content::Stored(_) => None,
        });
        written.collect()
    }

    /// What is written of an inode; from now on, if nothing was.
    pub(super) fn pin(self: &Arc<Self>, ino: Ino) -> Result<Pinned, Error> {
        let mut files = self.open_files();
        let written = self.written(&mut files, ino)?;
        Ok(self.pin_written(&written))
    }

    /// Pins what somebody has.
    pub(super) fn pin_again(self: &Arc<Self>, written: &Arc<Written>) -> Pinned {
        let _files = self.open_files();
        self.pin_written(written)
    }

    fn pin_written(self: &Arc<Self>, written: &Arc<Written>) -> Pinned {
        written.pins.fetch_add(1, Ordering::Relaxed);
        Pinned {
            fs: Arc::clone(self),
            written: Arc::clone(written),
        }
    }

    /// Makes an inode one that is written, also for those who have it open.
    pub(super) fn written(
        &self,
        files: &mut HashMap<Ino, OpenFile>,
        ino: Ino,
    ) -> Result<Arc<Written>, Error> {
        if let Some(open) = files.get(&ino)
            && let Content::Written(written) = &open.content
        {
            return Ok(Arc::clone(written));
        }
        let base = {
            let tree = self.tree();
            let node = tree.node(ino).filter(|node| !node.is_stale());
            match node.ok_or(Stale)?.kind() {
                Kind::Object(object) => Base {
                    version: tree.version(ino)?,
                    copying: copying(object),
                },
                Kind::Directory => return Err(Error::IsADirectory),
                // A local file that is in no table was given up.
                Kind::File(_) | Kind::Symlink(_) => return Err(Stale.into()),
            }
        };
        let written = Written::new(ino, self.writer.open(base));
        self.enter_written(files, &written);
        Ok(written)
    }

    /// Puts what is written in the place of what was read, for all handles.
    pub(super) fn enter_written(&self, files: &mut HashMap<Ino, OpenFile>, written: &Arc<Written>) {
        self.moving.begun(&written.file);
        let content = Content::Written(Arc::clone(written));
        match files.entry(written.ino) {
            hash_map::Entry::Occupied(mut open) => {
                if let Content::Stored(file) = &open.get().content {
                    written.sources().push_back(Arc::clone(file));
                }
                open.get_mut().content = content.clone();
                self.redirect(written.ino, &content);
            }
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(OpenFile {
                    content,
                    handles: 0,
                });
            }
        }
    }

    /// Lets go of what is written of an inode, if it is stored and nobody writes, or if it has neither a name nor a handle.
    pub(super) fn settle_written(&self, ino: Ino) {
        let _gone = {
            let mut files = self.open_files();
            let Some(open) = files.get_mut(&ino) else {
                return;
            };
            let Content::Written(written) = &open.content else {
                return;
            };
            let is_used =
                written.holders().is_open_for_writing() || written.pins.load(Ordering::Relaxed) > 0;
            let is_orphan = written.is_orphan();
            let is_dirty = written.file.is_dirty();
            if !is_used && !is_orphan && !is_dirty {
                self.tell(written, None);
            }
            match (is_used, open.handles, is_orphan, is_dirty) {
                (true, ..) | (false, _, false, true) | (false, 1.., true, _) => return,
                (false, 0, true, _) | (false, 0, false, false) => files.remove(&ino),
                (false, 1.., false, false) => {
                    let Some(version) = written.file.stored() else {
                        return;
                    };
                    let content = Content::Stored(self.reader.open(version));
                    self.redirect(ino, &content);
                    let content = std::mem::replace(&mut open.content, content);
                    Some(OpenFile {
                        content,
                        handles: 0,
                    })
                }
            }
            // Not dropped under the lock: an upload may be given up with it.
        };
    }

    /// The content was changed: the tree shows it.
    pub(super) fn wrote(&self, written: &Written) {
        let time = SystemTime::now();
        let mut tree = self.tree();
        // Stale: somebody else has the name, and the commit will find that out.
        if tree.dirty(written.ino, time).is_ok() {
            // Asked for under the tree's lock: the last one that tells tells the truth.
            tree.wrote(written.ino, written.file.len(), time);
        }
    }

    /// True if a file that is being written has an object, or may have one, whatever the tree says.
    pub(in crate::fs) fn may_be_stored(&self, ino: Ino) -> bool {
        let files = self.open_files();
        match files.get(&ino).map(|open| &open.content) {
            Some(Content::Written(written)) => written.file.may_be_stored(),
            Some(Content::Stored(_)) | None => false,
        }
    }

    /// The tree is told as what a file is stored by now. `made`: what the last commit has made.
    pub(super) fn tell(&self, written: &Written, made: Option<&ObjectMeta>) {
        let (done, now) = (Instant::now(), SystemTime::now());
        let mut tree = self.tree();
        let Some(node) = tree.node(written.ino) else {
            return;
        };
        let time = node.file().map_or(now, LocalFile::modified);
        let is_local = node.file().is_some();
        let (stored, is_dirty) = (written.file.stored(), written.file.is_dirty());
        if let Some(version) = stored {
            let is_new = etag_of(node).is_none_or(|etag| etag != *version.etag());
            if is_new || (is_local && !is_dirty) {
                let made = made.filter(|made| made.etag == *version.etag());
                let meta = made.cloned().unwrap_or_else(|| meta_of(&version, now));
                // An orphan, or a name that went to somebody else: nobody looks for it there.
                let _ = tree
                    .dirty(written.ino, time)
                    .and_then(|()| tree.committed(written.ino, &meta, done));
            }
        }
        if is_dirty && tree.dirty(written.ino, time).is_ok() {
            tree.wrote(written.ino, written.file.len(), time);
        }
    }
}

/// The version that a file is, or is made of.
fn etag_of(node: &Node) -> Option<ETag> {
    let expected = node.file().and_then(LocalFile::expected);
    node.object().or(expected).map(Object::etag)
}

/// What is known of a version that was stored on the way.
fn meta_of(version: &Version, now: SystemTime) -> ObjectMeta {
    ObjectMeta {
        size: version.size(),
        etag: version.etag().clone(),
        modified: unix_time(now),
        kind: ObjectType::Multipart,
        storage_class: StorageClass::Standard,
        crc64: None,
    }
}

pub(super) fn unix_time(time: SystemTime) -> UnixTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    UnixTime(since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }))
}

/// What OSS copies of an object.
pub(super) fn copying(object: &Object) -> Copying {
    Copying::of(&ObjectMeta {
        size: object.size(),
        etag: object.etag(),
        modified: object.modified(),
        kind: object.object_type(),
        storage_class: object.storage_class(),
        crc64: object.crc64(),
    })
}

/// An object of the tree as what bytes are taken from.
pub(super) fn base_of(tree: &Tree, ino: Ino, version: Arc<Version>) -> Base {
    let object = tree.node(ino).and_then(Node::object);
    Base {
        version,
        copying: object.map_or(Copying::Nothing, copying),
    }
}
