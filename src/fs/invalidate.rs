//! What is known of a path is dropped because somebody says that it is out of date: names and cached blocks are asked for again.
//!
//! Nobody has to: what others change is seen when attributes are older than `--attr-ttl`. It is for `--immutable` data that did
//! change, and for who does not want to wait.

use std::sync::Arc;
use std::time::Instant;

use super::FileSystem;
use crate::object::Version;
use crate::tree::Ino;

/// Names that are looked at under one lock of the tree: some hundred microseconds.
const BATCH: u32 = 2048;

/// A name that the kernel may hold knowledge of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its inode.
    pub ino: Ino,
    /// The directory that it is in.
    pub parent: Ino,
    /// The name; empty for the root.
    pub name: String,
}

impl FileSystem {
    /// Drops what is known of `path`, from the mount's root, and of all below it, and forgets cached blocks of the objects there,
    /// in memory and on disk. `told` is given the names, batch after batch, for the kernel to drop them too; it is called without
    /// a lock. What is not stored yet is not touched.
    ///
    /// The directory that `path` is in is asked for anew as a whole, since it may have other names by now.
    pub fn invalidate(&self, path: &str, mut told: impl FnMut(Vec<Dropped>)) {
        let now = Instant::now();
        let (top, directory) = self.deepest_known(path);
        self.tree().invalidate(directory, now);
        let mut from = 0;
        while let Some(next) = self.invalidate_batch(top, &mut from) {
            for version in &next.versions {
                self.reader.forget(version);
            }
            told(next.names);
        }
    }

    /// Of `path`, the inode of as many names as are known, and the directory whose knowledge of the next name is to go.
    fn deepest_known(&self, path: &str) -> (Ino, Ino) {
        let tree = self.tree();
        let (mut at, mut directory) = (Ino::ROOT, Ino::ROOT);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            directory = at;
            match tree.child(at, name) {
                Some(ino) => at = ino,
                None => return (at, at),
            }
        }
        (at, directory)
    }

    /// The next names at or below `top`, from slot `from` on; `None` when all were looked at.
    fn invalidate_batch(&self, top: Ino, from: &mut u32) -> Option<Batch> {
        let tree = self.tree();
        let found = tree.at_or_below(top, *from..*from + BATCH)?;
        *from += BATCH;
        let mut batch = Batch::default();
        for ino in found {
            let Some(node) = tree.node(ino) else {
                continue;
            };
            if let Ok(version) = tree.version(ino) {
                batch.versions.push(version);
            }
            // The kernel knows of no others.
            if node.lookups() > 0 || ino == Ino::ROOT {
                batch.names.push(Dropped {
                    ino,
                    parent: node.parent(),
                    name: node.name().to_owned(),
                });
            }
        }
        Some(batch)
    }

    /// Files that are not stored, and their bytes that are in no object.
    #[must_use]
    pub fn unstored(&self) -> Vec<(String, u64)> {
        let unfinished = self.writer.unfinished().into_iter();
        unfinished
            .map(|(key, bytes)| (key.as_str().to_owned(), bytes))
            .collect()
    }
}

#[derive(Debug, Default)]
struct Batch {
    versions: Vec<Arc<Version>>,
    names: Vec<Dropped>,
}
