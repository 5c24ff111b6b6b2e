//! Whose turn it is: nothing of a file is stored while its name changes, or that of a directory above it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedMutexGuard};

use super::{Pinned, Written};
use crate::fs::{Error, FileSystem};
use crate::object::{ObjectKey, Prefix};
use crate::op::Op;
use crate::tree::Ino;
use crate::write::{self, Frozen};

/// Directories on their way to another name: what is below them is not stored meanwhile, for nobody knows under which key.
#[derive(Debug, Default)]
pub(in crate::fs) struct Moving {
    /// One for each rename of a directory that runs; the kernel lets few. Taken alone, or behind [`FileSystem::open_files`].
    ways: Mutex<Vec<Way>>,
    ended: Notify,
}

#[derive(Debug)]
struct Way {
    prefix: Prefix,
    /// Files that somebody has begun to write below it since: as many as are open.
    late: Vec<Frozen>,
}

impl Way {
    fn is_above(&self, key: &ObjectKey) -> bool {
        key.as_str().starts_with(self.prefix.as_str())
    }
}

/// A directory is on its way until this is dropped.
#[derive(Debug)]
pub(in crate::fs) struct OnItsWay {
    fs: Arc<FileSystem>,
    prefix: Prefix,
    pub(super) held: Vec<Held>,
}

impl OnItsWay {
    /// To be called under the lock of [`FileSystem::open_files`].
    pub(super) fn begin(fs: &Arc<FileSystem>, prefix: &Prefix) -> Self {
        fs.moving.ways().push(Way {
            prefix: prefix.clone(),
            late: Vec::new(),
        });
        Self {
            fs: Arc::clone(fs),
            prefix: prefix.clone(),
            held: Vec::new(),
        }
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let mut ways = self.fs.moving.ways();
        let at = ways.iter().position(|way| way.prefix == self.prefix);
        let way = at.map(|at| ways.swap_remove(at));
        drop(ways);
        // Not under the lock: a file may go with it.
        drop(way);
        self.fs.moving.ended.notify_waiters();
    }
}

/// A file whose turn somebody has: nothing stores, renames or unlinks it meanwhile, also not to make room.
#[derive(Debug)]
pub(in crate::fs) struct Held {
    /// `None` only within the drop.
    frozen: Option<Frozen>,
    // Dropped first: who lets go of the pin may let go of the file.
    _turn: OwnedMutexGuard<()>,
    written: Pinned,
}

impl Held {
    pub(super) fn written(&self) -> &Written {
        &self.written
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Unless a directory above it is still on its way, this is when it is frozen no more.
        let moving = &self.written.fs.moving;
        drop(self.frozen.take().and_then(|frozen| moving.keep(frozen)));
    }
}

impl Moving {
    fn ways(&self) -> MutexGuard<'_, Vec<Way>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a file that nobody else has yet from being stored, if a directory above it is on its way.
    pub(super) fn begun(&self, file: &Arc<write::File>) {
        if let Some(frozen) = self.is_above(file).then(|| file.try_freeze()).flatten() {
            drop(self.keep(frozen));
        }
    }

    /// Keeps a file frozen until the directory has moved that is above it; gives it back if there is none.
    fn keep(&self, frozen: Frozen) -> Option<Frozen> {
        let key = frozen.file().key();
        let mut ways = self.ways();
        let way = key.and_then(|key| ways.iter_mut().find(|way| way.is_above(&key)));
        match way {
            Some(way) => {
                way.late.push(frozen);
                None
            }
            None => Some(frozen),
        }
    }

    /// A file that is kept frozen, for whoever has its turn.
    fn take(&self, file: &Arc<write::File>) -> Option<Frozen> {
        let mut ways = self.ways();
        ways.iter_mut().find_map(|way| {
            let mut late = way.late.iter();
            let at = late.position(|frozen| Arc::ptr_eq(frozen.file(), file))?;
            Some(way.late.swap_remove(at))
        })
    }

    fn is_above(&self, file: &write::File) -> bool {
        let Some(key) = file.key() else {
            return false;
        };
        self.ways().iter().any(|way| way.is_above(&key))
    }
}

impl FileSystem {
    /// The turn of a file, once no directory above it is on its way.
    pub(super) async fn turn(&self, written: &Written) -> OwnedMutexGuard<()> {
        loop {
            let ended = self.moving.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.moving.is_above(&written.file) {
                ended.await;
                continue;
            }
            let turn = Arc::clone(&written.order).lock_owned().await;
            if !self.moving.is_above(&written.file) {
                return turn;
            }
        }
    }

    /// Takes the turns of those of `inos` that are written.
    pub(in crate::fs) async fn hold(self: &Arc<Self>, inos: &[Ino]) -> Vec<Held> {
        let mut inos = inos.to_vec();
        inos.sort_unstable();
        let mut held = Vec::new();
        for ino in inos {
            if let Some(written) = self.pinned(ino) {
                held.push(self.take_turn(written).await);
            }
        }
        held
    }

    pub(super) async fn take_turn(&self, written: Pinned) -> Held {
        let turn = Arc::clone(&written.order).lock_owned().await;
        let frozen = match self.moving.take(&written.file) {
            Some(frozen) => frozen,
            None => written.file.freeze().await,
        };
        Held {
            frozen: Some(frozen),
            _turn: turn,
            written,
        }
    }

    /// Stores a file whose turn is had.
    pub(super) async fn commit_held(&self, op: &Op, held: &Held) -> Result<(), Error> {
        let written = &held.written;
        if written.file.key().is_none() {
            return Ok(());
        }
        let frozen = held.frozen.as_ref();
        let frozen = frozen.expect("it is frozen until this is dropped");
        let stored = frozen.commit(op).await;
        self.stored(written, stored)
    }
}
