//! rename of directories: of every key below.
//!
//! A page of keys at a time: all are copied, many at once, then they are deleted. So a key is at its old place, at its new one, or at both,
//! whenever it ends. One that did not come to its end is remembered: the same rename goes on where it stopped, and is not refused because its
//! target is not empty. Others see the directory in parts while it moves.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::copy::Copied;
use super::rename::is_version;
use crate::fs::ask::first_key;
use crate::fs::{Error, FileSystem};
use crate::object::{ObjectKey, ObjectType, Prefix};
use crate::op::Op;
use crate::oss::{Condition, ListRequest};
use crate::tree::{Ino, Over, Tree};

/// Copies under way: what hides a round trip of some ten milliseconds, and no more than OSS takes from one client.
const COPIES_AT_ONCE: usize = 32;

/// How often a deletion that OSS left out is asked for again.
const DELETES_MAX: u32 = 4;

/// Listings of the source: one to move it, and more for what others have stored there meanwhile.
const PASSES_MAX: u32 = 4;

/// How often the log tells how far it has come.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Renames that ended early and are remembered.
const UNFINISHED_MAX: usize = 64;

/// Renames of directories that did not come to their end.
#[derive(Debug, Default)]
pub(in crate::fs) struct Unfinished(std::sync::Mutex<Vec<Begun>>);

#[derive(Debug)]
struct Begun {
    from: Prefix,
    to: Prefix,
    /// Files that are written and have their new key already, but may still have the old one, too: what is there is not to be copied
    /// over what was stored since. Less than a page.
    left: Vec<ObjectKey>,
}

impl Begun {
    fn is(&self, from: &Prefix, to: &Prefix) -> bool {
        (&self.from, &self.to) == (from, to)
    }
}

impl Unfinished {
    fn has(&self, from: &Prefix, to: &Prefix) -> bool {
        self.all().iter().any(|it| it.is(from, to))
    }

    fn begins(&self, from: &Prefix, to: &Prefix) {
        let mut all = self.all();
        if !all.iter().any(|it| it.is(from, to)) {
            if all.len() == UNFINISHED_MAX {
                all.remove(0);
            }
            all.push(Begun {
                from: from.clone(),
                to: to.clone(),
                left: Vec::new(),
            });
        }
    }

    fn leave(&self, from: &Prefix, to: &Prefix, left: Vec<ObjectKey>) {
        if let Some(begun) = self.all().iter_mut().find(|it| it.is(from, to)) {
            begun.left = left;
        }
    }

    fn left(&self, from: &Prefix, to: &Prefix) -> Vec<ObjectKey> {
        let all = self.all();
        let begun = all.iter().find(|it| it.is(from, to));
        begun.map_or_else(Vec::new, |begun| begun.left.clone())
    }

    fn ended(&self, from: &Prefix, to: &Prefix) {
        self.all().retain(|it| !it.is(from, to));
    }

    fn all(&self) -> MutexGuard<'_, Vec<Begun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A directory on its way.
struct Travel<'a> {
    ino: Ino,
    from: &'a Prefix,
    to: &'a Prefix,
    /// What the inodes are now that the tree knows below it.
    known: Vec<(Ino, Copied)>,
    objects: u64,
    told: Instant,
}

impl FileSystem {
    pub(super) async fn rename_directory(
        self: &Arc<Self>,
        op: &Op,
        from: (Ino, &str),
        to: (Ino, &str),
        over: Over,
        target: Option<Ino>,
    ) -> Result<(), Error> {
        let (ino, source, destination) = {
            let tree = self.tree();
            let ino = tree.child(from.0, from.1).ok_or(Error::NotFound)?;
            let destination = tree.prefix_of(to.0)?.directory(to.1)?;
            (ino, tree.prefix_of(ino)?, destination)
        };
        if destination.as_str().starts_with(source.as_str()) {
            return Err(Error::Invalid("a directory cannot be moved into itself"));
        }
        match target {
            _ if self.unfinished.has(&source, &destination) => {}
            Some(target) => self.remove_directory(op, target).await?,
            None => self.untaken(op, &destination).await?,
        }
        let _way = self.before_rename_below(op, ino, &source).await?;
        self.unfinished.begins(&source, &destination);
        let mut travel = Travel {
            ino,
            from: &source,
            to: &destination,
            known: Vec::new(),
            objects: 0,
            told: Instant::now(),
        };
        if let Err(error) = self.travel(op, &mut travel).await {
            tracing::error!(
                from = %source, to = %destination, objects = travel.objects,
                "a directory is moved in part: rename it again to go on: {error}"
            );
            return Err(error);
        }
        self.unfinished.ended(&source, &destination);
        tracing::debug!(from = %source, to = %destination, objects = travel.objects, "directory moved");
        self.arrived(from, to, over, &travel.known)
    }

    /// Sees to it that no key is where a directory is to go: that there was none may be known for a while, and what is there would be
    /// mixed with what comes.
    async fn untaken(&self, op: &Op, destination: &Prefix) -> Result<(), Error> {
        let listed = self.bucket.list(op, &first_key(destination.as_str())).await;
        let page = listed.map_err(|error| self.refused(error))?;
        match page.objects.is_empty() {
            true => Ok(()),
            false => Err(Error::NotEmpty),
        }
    }

    /// Moves all keys.
    async fn travel(self: &Arc<Self>, op: &Op, travel: &mut Travel<'_>) -> Result<(), Error> {
        let left = self.unfinished.left(travel.from, travel.to);
        self.delete_all(op, left).await?;
        self.unfinished.leave(travel.from, travel.to, Vec::new());
        for _ in 0..PASSES_MAX {
            let mut request = ListRequest {
                delimiter: false,
                ..ListRequest::directory(travel.from.as_str())
            };
            let mut is_empty = true;
            loop {
                let listed = self.bucket.list(op, &request).await;
                let page = listed.map_err(|error| self.refused(error))?;
                let objects = page.objects.into_iter();
                let objects: Vec<_> = objects.map(|(key, meta)| (key, meta.kind)).collect();
                let Some((last, _)) = objects.last() else {
                    break;
                };
                is_empty = false;
                // Not by its token: what it has named is deleted before the next page is asked for.
                request.start_after = Some(last.clone());
                self.move_page(op, travel, objects).await?;
                if page.next.is_none() {
                    break;
                }
            }
            if is_empty {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Copies a page of keys, then deletes them.
    async fn move_page(
        self: &Arc<Self>,
        op: &Op,
        travel: &mut Travel<'_>,
        objects: Vec<(String, ObjectType)>,
    ) -> Result<(), Error> {
        let mut all = Vec::with_capacity(objects.len());
        let mut left = objects.into_iter();
        let mut copying = JoinSet::new();
        loop {
            while copying.len() < COPIES_AT_ONCE
                && let Some((key, kind)) = left.next()
            {
                let below = key.strip_prefix(travel.from.as_str()).unwrap_or_default();
                let to = ObjectKey::new(format!("{}{below}", travel.to.as_str()))?;
                let from = ObjectKey::new(key)?;
                let fs = Arc::clone(self);
                let copy = async move { fs.copy_one(from, to, kind).await };
                copying.spawn_on(copy, &self.runtime);
            }
            let Some(copied) = copying.join_next().await else {
                break;
            };
            op.progressed();
            let copied =
                copied.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            let Some(copied) = copied? else {
                continue;
            };
            all.push(copied);
            travel.objects += 1;
            if travel.told.elapsed() > TELL_EVERY {
                travel.told = Instant::now();
                tracing::info!(from = %travel.from, to = %travel.to, objects = travel.objects, "a directory is being moved");
            }
        }
        // None before all are copied: a file whose rename fails has its old key, unless nobody knows.
        let (mut keys, mut written) = (Vec::with_capacity(all.len()), Vec::new());
        for (from, copied) in all {
            if let Some(copied) = copied
                && self.arrives(travel, &from, copied)
            {
                written.push(from.clone());
            }
            keys.push(from);
        }
        let deleted = self.delete_all(op, keys).await;
        if deleted.is_err() {
            self.unfinished.leave(travel.from, travel.to, written);
        }
        deleted
    }

    /// Copies one key; `None` if it is gone, the copy unless it is a link.
    async fn copy_one(
        &self,
        from: ObjectKey,
        to: ObjectKey,
        kind: ObjectType,
    ) -> Result<Option<(ObjectKey, Option<Copied>)>, Error> {
        let op = Op::awaited("rename");
        let copied = match kind {
            ObjectType::Symlink => {
                let copied = self.copy_link(&op, &from, &to, Condition::None).await;
                copied.map(|()| None)
            }
            ObjectType::Normal
            | ObjectType::Multipart
            | ObjectType::Appendable
            | ObjectType::Other => {
                let copied = self.copy(&op, &from, &to, Condition::None).await;
                copied.map(Some).map_err(|error| self.refused(error))
            }
        };
        match copied {
            Ok(copied) => Ok(Some((from, copied))),
            // Somebody has deleted it since it was listed.
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A key has its copy: who has the file open goes on there. True if somebody writes it.
    fn arrives(&self, travel: &mut Travel<'_>, from: &ObjectKey, copied: Copied) -> bool {
        let below = from.as_str().strip_prefix(travel.from.as_str());
        let below = below.unwrap_or_default();
        let known = {
            let tree = self.tree();
            descendant(&tree, travel.ino, below).filter(|ino| {
                let node = tree.node(*ino);
                node.is_some_and(|node| is_version(node, &copied.source))
            })
        };
        let Some(ino) = known else { return false };
        let to = ObjectKey::new(format!("{}{below}", travel.to.as_str()));
        let is_written = to.is_ok_and(|to| self.moved_content(ino, &to, &copied));
        travel.known.push((ino, copied));
        is_written
    }

    /// Deletes keys, by as few requests as OSS lets it.
    async fn delete_all(&self, op: &Op, mut keys: Vec<ObjectKey>) -> Result<(), Error> {
        for _ in 0..DELETES_MAX {
            if keys.is_empty() {
                return Ok(());
            }
            let deleted = self.bucket.delete_objects(op, &keys).await;
            keys = deleted.map_err(|error| self.refused(error))?.left;
        }
        for key in keys {
            let deleted = self.bucket.delete_object(op, &key).await;
            deleted.map_err(|error| self.refused(error))?;
        }
        Ok(())
    }

    /// Tells the tree.
    fn arrived(
        &self,
        from: (Ino, &str),
        to: (Ino, &str),
        over: Over,
        known: &[(Ino, Copied)],
    ) -> Result<(), Error> {
        let now = Instant::now();
        let mut tree = self.tree();
        let renamed = tree.rename(from, to, over, now)?;
        for (ino, copied) in known {
            // Gone since: then nobody needs it.
            let _ = tree.moved(*ino, &copied.made, now);
        }
        Self::touch(&mut tree, from.0);
        Self::touch(&mut tree, to.0);
        Self::touch_inode(&mut tree, renamed.ino);
        drop(tree);
        self.renamed_below(renamed.ino, known);
        Ok(())
    }
}

/// The inode that the tree knows below a directory.
fn descendant(tree: &Tree, directory: Ino, below: &str) -> Option<Ino> {
    let mut parts = below.split('/');
    parts.try_fold(directory, |at, part| tree.child(at, part))
}
