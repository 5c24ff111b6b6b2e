//! What is known of a path is dropped because somebody says that it is out of date: names and cached blocks are asked for again.
//!
//! Nobody has to: what others change is seen when attributes are older than `--attr-ttl`. It is for `--immutable` data that did
//! change, and for who does not want to wait.

use std::sync::Arc;
use std::time::Instant;

use super::FileSystem;
use crate::object::Version;
use crate::tree::{Ino, Kind, Node};

/// Names that are looked at under one lock of the tree: some hundred microseconds.
const BATCH: u32 = 2048;

/// A name that the kernel may hold knowledge of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its inode; `None` if we know of none.
    pub ino: Option<Ino>,
    /// The directory that it is in.
    pub parent: Ino,
    /// The name; empty for the root.
    pub name: String,
}

/// What a path leads to, as far as is known.
enum Leads {
    ToFile(Ino),
    ToDirectory(Ino),
    /// This name is the first of which nothing is known, or that it is not there.
    Nowhere(Ino, String),
}

impl FileSystem {
    /// Drops what is known of `path`, from the mount's root, and of all below it, and forgets cached blocks of the objects there,
    /// in memory and on disk. `told` is given the names, batch after batch, for the kernel to drop them too; it is called without
    /// a lock. What is not stored yet is not touched.
    pub fn invalidate(&self, path: &str, mut told: impl FnMut(Vec<Dropped>)) {
        let now = Instant::now();
        let top = match self.leads(path) {
            Leads::ToFile(file) => {
                self.tree().unsure(file, now);
                file
            }
            Leads::ToDirectory(directory) => {
                self.tree().invalidate(directory, now);
                directory
            }
            Leads::Nowhere(parent, name) => {
                // That it is not there is known from a listing of the directory, perhaps.
                self.tree().invalidate(parent, now);
                let ino = None;
                return told(vec![Dropped { ino, parent, name }]);
            }
        };
        let mut from = 0;
        while let Some(next) = self.invalidate_batch(top, &mut from) {
            for version in &next.versions {
                self.reader.forget(version);
            }
            told(next.names);
        }
    }

    fn leads(&self, path: &str) -> Leads {
        let tree = self.tree();
        let mut at = Ino::ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            match tree.child(at, name) {
                Some(ino) => at = ino,
                None => return Leads::Nowhere(at, name.to_owned()),
            }
        }
        match tree.node(at).map(Node::kind) {
            Some(Kind::Directory) | None => Leads::ToDirectory(at),
            Some(Kind::Object(_) | Kind::File(_) | Kind::Symlink(_)) => Leads::ToFile(at),
        }
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
                    ino: Some(ino),
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
