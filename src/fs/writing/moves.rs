//! What a rename and an unlink do about content that is written, or open.

use std::collections::HashMap;
use std::sync::Arc;

use super::held::OnItsWay;
use super::open::base;
use super::{Held, Pinned};
use crate::fs::change::Copied;
use crate::fs::files::{Content, OpenFile};
use crate::fs::{Error, FileSystem};
use crate::object::{ObjectKey, Prefix};
use crate::op::Op;
use crate::oss::Condition;
use crate::tree::{Ino, Tree};
use crate::write::Fragment;

/// A file that loses its name while it is open is kept in staging, up to so many bytes; of a larger one, what is read afterwards and not cached is
/// ESTALE.
const KEPT_BYTES_MAX: u64 = 64 << 20;

/// Bytes of it that are read at once.
const PIECE_BYTES: u64 = crate::write::FETCH_BYTES_MAX;

impl FileSystem {
    /// A file is about to lose its name: who has it open shall keep its bytes. Returns its turn, if it is written or kept.
    pub(in crate::fs) async fn keep_for_holders(
        self: &Arc<Self>,
        op: &Op,
        ino: Ino,
        held: &[Held],
    ) -> Result<Option<Held>, Error> {
        let Some(size) = self.open_size(ino) else {
            return Ok(None);
        };
        if size > KEPT_BYTES_MAX {
            tracing::warn!(
                ino = ino.get(),
                size,
                "an open file loses its name and is too large to be kept for who has it open"
            );
            return Ok(None);
        }
        if let Some(held) = held.iter().find(|held| held.written().ino == ino) {
            self.keep(op, held).await?;
            return Ok(None);
        }
        if !held.is_empty() {
            // Opened a moment ago, and its turn cannot be taken behind another one.
            return Ok(None);
        }
        let held = self.take_turn(self.pin(ino)?).await;
        self.keep(op, &held).await?;
        Ok(Some(held))
    }

    /// The size of a file that somebody has open.
    fn open_size(&self, ino: Ino) -> Option<u64> {
        let files = self.open_files();
        let open = files.get(&ino).filter(|open| open.handles > 0)?;
        Some(match &open.content {
            Content::Stored(file) => file.version().size(),
            Content::Written(written) => written.file.len(),
        })
    }

    /// Pins a file that somebody has open and that is to be kept when it loses its name.
    ///
    /// # Errors
    /// As [`FileSystem::pin`].
    pub(in crate::fs) fn pin_open(self: &Arc<Self>, ino: Ino) -> Result<Option<Pinned>, Error> {
        let is_kept = self
            .open_size(ino)
            .is_some_and(|size| size <= KEPT_BYTES_MAX);
        is_kept.then(|| self.pin(ino)).transpose()
    }

    /// Brings into staging what lies elsewhere.
    async fn keep(&self, op: &Op, held: &Held) -> Result<(), Error> {
        let file = &held.written().file;
        let end = file.len();
        let mut at = 0;
        while at < end {
            let range = at..end.min(at + PIECE_BYTES);
            let is_elsewhere = |it: &Fragment| matches!(it, Fragment::Object(_));
            let is_here = file.read(range.clone());
            if is_here.is_ok_and(|fragments| !fragments.iter().any(is_elsewhere)) {
                at = range.end;
                continue;
            }
            let read = self.read_held(op, held, range.clone()).await?;
            if read.with(|bytes| file.try_keep(at, bytes)).is_err() {
                tracing::warn!(
                    ino = held.written().ino.get(),
                    "no room to keep an open file that loses its name"
                );
                return Ok(());
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
        let Some(held) = held.iter().find(|held| held.written().ino == ino) else {
            return Ok(false);
        };
        let file = &held.written().file;
        if file.rename(to.clone(), condition).is_ok() {
            return Ok(true);
        }
        if file.is_dirty() {
            self.commit_held(op, held).await?;
        } else {
            // It may have been stored early, to make room.
            self.tell(held.written(), None);
        }
        Ok(false)
    }

    /// The object of a file was copied: the file is the copy from now on, for all who read and write it. Returns whether anybody writes it.
    pub(in crate::fs) fn moved_content(&self, ino: Ino, to: &ObjectKey, copied: &Copied) -> bool {
        let base = base(to, &copied.made);
        let mut files = self.open_files();
        let Some(open) = files.get_mut(&ino) else {
            return false;
        };
        match &open.content {
            Content::Written(written) => {
                match written.file.stored() {
                    Some(stored) if *stored.etag() == copied.source.etag => {
                        written.file.renamed(base);
                    }
                    Some(_) | None => written.file.follow(to.clone()),
                }
                true
            }
            Content::Stored(file)
                if *file.version().etag() == copied.source.etag && file.version().key() != to =>
            {
                let content = Content::Stored(self.reader.open(base.version));
                open.content = content.clone();
                self.redirect(ino, &content);
                false
            }
            Content::Stored(_) => false,
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
        let mut way;
        let written = {
            let files = self.open_files();
            // Under one lock: whoever begins to write meanwhile is either found here, or finds this.
            way = OnItsWay::begin(self, prefix);
            Self::all_written(&files)
        };
        let below = self.those_below(directory, written);
        way.held = self.hold(&below).await;
        for held in &way.held {
            if held.written().file.is_dirty() {
                self.commit_held(op, held).await?;
            } else {
                self.tell(held.written(), None);
            }
        }
        Ok(way)
    }

    /// A directory has moved: what is open below it is at its new place. `copied`: what became of the inodes that were known.
    pub(in crate::fs) fn renamed_below(&self, directory: Ino, copied: &[(Ino, Copied)]) {
        let open = self.open_files().keys().copied().collect();
        let open = self.those_below(directory, open);
        if open.is_empty() {
            return;
        }
        let copied: HashMap<Ino, &Copied> = copied.iter().map(|(ino, it)| (*ino, it)).collect();
        for ino in open {
            let key = {
                let tree = self.tree();
                let node = tree.node(ino);
                node.and_then(|node| tree.key_of(node.parent(), node.name()).ok())
            };
            let content = self.open_files().get(&ino).map(|open| open.content.clone());
            let (Some(key), Some(content)) = (key, content) else {
                continue;
            };
            match (content, copied.get(&ino)) {
                (Content::Written(written), _) if written.file.key().as_ref() == Some(&key) => {}
                // Opened since it was copied.
                (_, Some(copied)) => {
                    self.moved_content(ino, &key, copied);
                }
                (Content::Written(written), None) => written.file.follow(key),
                // Another version than was copied: whoever reads it is told.
                (Content::Stored(_), None) => {}
            }
        }
    }

    /// All that is written and has a name.
    fn all_written(files: &HashMap<Ino, OpenFile>) -> Vec<Ino> {
        let written = files.values().filter_map(|open| match &open.content {
            Content::Written(written) if !written.is_orphan() => Some(written.ino),
            Content::Written(_) | Content::Stored(_) => None,
        });
        written.collect()
    }

    fn those_below(&self, directory: Ino, mut inos: Vec<Ino>) -> Vec<Ino> {
        let tree = self.tree();
        inos.retain(|ino| is_below(&tree, *ino, directory));
        inos
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
