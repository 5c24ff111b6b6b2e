//! What a rename and an unlink do about content that is written, or open.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedMutexGuard};

use super::open::base;
use super::{Pinned, Written};
use crate::fs::files::Content;
use crate::fs::{Error, FileSystem};
use crate::object::{ObjectKey, ObjectMeta, Prefix};
use crate::op::Op;
use crate::oss::Condition;
use crate::tree::{Ino, Tree};
use crate::write::Fragment;

/// A file that loses its name while it is open is kept in staging, up to so many bytes; of a larger one, what is read afterwards and not cached is
/// ESTALE.
const KEPT_BYTES_MAX: u64 = 64 << 20;

/// Bytes of it that are read at once.
const PIECE_BYTES: u64 = crate::write::FETCH_BYTES_MAX;

/// Directories on their way to another name: what is below them is not stored meanwhile, for nobody knows under which key.
#[derive(Debug, Default)]
pub(in crate::fs) struct Moving {
    /// One for each rename of a directory that runs; the kernel lets few.
    prefixes: Mutex<Vec<Prefix>>,
    ended: Notify,
}

/// A directory is on its way until this is dropped.
#[derive(Debug)]
pub(in crate::fs) struct OnItsWay {
    fs: Arc<FileSystem>,
    prefix: Prefix,
    held: Vec<Held>,
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let moving = &self.fs.moving;
        let mut prefixes = moving
            .prefixes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = prefixes.iter().position(|prefix| *prefix == self.prefix) {
            prefixes.swap_remove(at);
        }
        drop(prefixes);
        moving.ended.notify_waiters();
    }
}

/// A file whose turn somebody has: nothing stores, renames or unlinks it meanwhile.
#[derive(Debug)]
pub(in crate::fs) struct Held {
    // Dropped first: who lets go of the pin may let go of the file.
    _turn: OwnedMutexGuard<()>,
    written: Pinned,
}

impl FileSystem {
    /// The turn of a file, once no directory above it is on its way.
    pub(super) async fn turn(&self, written: &Written) -> OwnedMutexGuard<()> {
        loop {
            let ended = self.moving.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.is_moving(written) {
                ended.await;
                continue;
            }
            let turn = Arc::clone(&written.order).lock_owned().await;
            if !self.is_moving(written) {
                return turn;
            }
        }
    }

    fn is_moving(&self, written: &Written) -> bool {
        let Some(key) = written.file.key() else {
            return false;
        };
        let prefixes = self.moving.prefixes.lock();
        let prefixes = prefixes.unwrap_or_else(PoisonError::into_inner);
        prefixes
            .iter()
            .any(|prefix| key.as_str().starts_with(prefix.as_str()))
    }

    /// Takes the turns of those of `inos` that are written.
    pub(in crate::fs) async fn hold(self: &Arc<Self>, inos: &[Ino]) -> Vec<Held> {
        let mut inos = inos.to_vec();
        inos.sort_unstable();
        let mut held = Vec::new();
        for ino in inos {
            if let Some(written) = self.pinned(ino) {
                held.push(Self::take_turn(written).await);
            }
        }
        held
    }

    async fn take_turn(written: Pinned) -> Held {
        let turn = Arc::clone(&written.order).lock_owned().await;
        Held {
            _turn: turn,
            written,
        }
    }

    /// A file is about to lose its name: who has it open shall keep its bytes. Returns its turn, if it is written or kept.
    pub(in crate::fs) async fn keep_for_holders(
        self: &Arc<Self>,
        op: &Op,
        ino: Ino,
        held: &[Held],
    ) -> Result<Option<Held>, Error> {
        let size = {
            let files = self.open_files();
            match files.get(&ino).filter(|open| open.handles > 0) {
                Some(open) => match &open.content {
                    Content::Stored(file) => file.version().size(),
                    Content::Written(written) => written.file.len(),
                },
                None => return Ok(None),
            }
        };
        if size > KEPT_BYTES_MAX {
            tracing::warn!(
                ino = ino.get(),
                size,
                "an open file loses its name and is too large to be kept for who has it open"
            );
            return Ok(None);
        }
        if let Some(held) = held.iter().find(|held| held.written.ino == ino) {
            self.keep(op, &held.written).await?;
            return Ok(None);
        }
        let held = Self::take_turn(self.pin(ino)?).await;
        self.keep(op, &held.written).await?;
        Ok(Some(held))
    }

    /// Brings into staging what lies in objects.
    async fn keep(self: &Arc<Self>, op: &Op, written: &Arc<Written>) -> Result<(), Error> {
        let end = written.file.len();
        let mut at = 0;
        while at < end {
            let range = at..end.min(at + PIECE_BYTES);
            let Ok(fragments) = written.file.read(range.clone()) else {
                self.commit_in_turn(op, written).await?;
                continue;
            };
            let is_elsewhere = |it: &Fragment| matches!(it, Fragment::Object(_));
            if fragments.iter().any(is_elsewhere) {
                let read = self.read_written(op, written, range.clone()).await?;
                if read
                    .with(|bytes| written.file.try_write(at, bytes))
                    .is_err()
                {
                    tracing::warn!(
                        ino = written.ino.get(),
                        "no room to keep an open file that loses its name"
                    );
                    return Ok(());
                }
            }
            at = range.end;
        }
        Ok(())
    }

    /// A file is about to get another name. True if that is all there is to do: it is stored nowhere yet.
    pub(in crate::fs) async fn before_rename(
        &self,
        op: &Op,
        ino: Ino,
        held: &[Held],
        (to, condition): (&ObjectKey, Condition),
    ) -> Result<bool, Error> {
        let Some(held) = held.iter().find(|held| held.written.ino == ino) else {
            return Ok(false);
        };
        let file = &held.written.file;
        if file.rename(to.clone(), condition).is_ok() {
            return Ok(true);
        }
        if file.is_dirty() {
            self.commit_in_turn(op, &held.written).await?;
        }
        Ok(false)
    }

    /// The object of a file was copied: the file is the copy from now on, for all who read and write it.
    pub(in crate::fs) fn moved_content(&self, ino: Ino, to: &ObjectKey, made: &ObjectMeta) {
        let base = base(to, made);
        let mut files = self.open_files();
        let Some(open) = files.get_mut(&ino) else {
            return;
        };
        match &open.content {
            Content::Written(written) => {
                let stored = written.file.stored();
                if stored.is_some_and(|stored| stored.size() == made.size) {
                    written.file.renamed(base);
                }
            }
            Content::Stored(_) => {
                let content = Content::Stored(self.reader.open(base.version));
                open.content = content.clone();
                self.redirect(ino, &content);
            }
        }
    }

    /// A file has lost its name: nothing of it is stored any more.
    pub(in crate::fs) fn orphaned(&self, ino: Ino) {
        {
            let files = self.open_files();
            if let Some(open) = files.get(&ino)
                && let Content::Written(written) = &open.content
            {
                written.file.unlinked();
            }
        }
        self.settle_written(ino);
    }

    /// A directory is about to move: what is written below it is stored first, and nothing is until it has moved.
    pub(in crate::fs) async fn before_rename_below(
        self: &Arc<Self>,
        op: &Op,
        directory: Ino,
        prefix: &Prefix,
    ) -> Result<OnItsWay, Error> {
        {
            let prefixes = self.moving.prefixes.lock();
            let mut prefixes = prefixes.unwrap_or_else(PoisonError::into_inner);
            prefixes.push(prefix.clone());
        }
        let mut way = OnItsWay {
            fs: Arc::clone(self),
            prefix: prefix.clone(),
            held: Vec::new(),
        };
        let below: Vec<Ino> = self.written_below(directory);
        way.held = self.hold(&below).await;
        for held in &way.held {
            if held.written.file.is_dirty() {
                self.commit_in_turn(op, &held.written).await?;
            }
        }
        Ok(way)
    }

    /// A directory has moved: what was never stored goes to its new place.
    pub(in crate::fs) fn renamed_below(&self, directory: Ino) {
        for ino in self.written_below(directory) {
            let key = {
                let tree = self.tree();
                let node = tree.node(ino);
                node.and_then(|node| tree.key_of(node.parent(), node.name()).ok())
            };
            let files = self.open_files();
            let Some(open) = files.get(&ino) else {
                continue;
            };
            if let (Content::Written(written), Some(key)) = (&open.content, key)
                && written.file.key().as_ref() != Some(&key)
                && written.file.rename(key.clone(), Condition::None).is_err()
            {
                tracing::error!(%key, "a file below a directory that has moved keeps its old key until it is written again");
            }
        }
    }

    fn written_below(&self, directory: Ino) -> Vec<Ino> {
        let files = self.open_files();
        let written = files.values().filter_map(|open| match &open.content {
            Content::Written(written) if !written.is_orphan() => Some(written.ino),
            Content::Written(_) | Content::Stored(_) => None,
        });
        let all: Vec<Ino> = written.collect();
        drop(files);
        let tree = self.tree();
        let below = all
            .into_iter()
            .filter(|ino| is_below(&tree, *ino, directory));
        below.collect()
    }
}

fn is_below(tree: &Tree, ino: Ino, directory: Ino) -> bool {
    let mut at = ino;
    while let Some(node) = tree.node(at) {
        if at == directory {
            return true;
        }
        if at == Ino::ROOT {
            return false;
        }
        at = node.parent();
    }
    false
}
