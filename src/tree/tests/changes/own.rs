//! The changes themselves, and what must hold after each step.

use super::*;
use crate::tree::{Node, Object};

impl World {
    fn version(&mut self) -> u64 {
        self.last_version += 1;
        self.last_version
    }

    /// The path of a name that is two things at once, for the bucket or for this mount, is left alone.
    fn is_torn(&self, path: &str) -> bool {
        let is_object = self.keys.contains_key(path);
        let is_directory = has_below(&self.keys, path) || self.must_stay(path);
        let is_file = is_object || self.files.contains_key(path);
        is_file && is_directory
    }

    pub(super) fn change(&mut self, step: &Step) {
        match *step {
            Step::Create(at) => self.create(&at.path()),
            Step::Dirty(at) => {
                let path = at.path();
                if let Some(ino) = self.ask_now(&path) {
                    let is_file = self.tree.prefix_of(ino).is_err();
                    assert_eq!(self.tree.dirty(ino, TIME).is_ok(), is_file);
                    if is_file {
                        self.files.insert(path, ino);
                    }
                }
            }
            Step::Commit(index) => self.commit(index),
            Step::Unlink(at) => self.unlink(&at.path()),
            Step::MakeDirectory(at) => self.make_directory(&at.path()),
            Step::RemoveDirectory(at) => self.remove_directory(&at.path()),
            Step::Rename(from, to, is_same) => self.rename(&from.path(), &to.path(), is_same),
            _ => panic!("no change"),
        }
    }

    /// The directory of a path, if the path is free.
    fn free(&mut self, path: &str) -> Option<Ino> {
        let parent = self.directory(split(path).0)?;
        self.ask_now(path).is_none().then_some(parent)
    }

    fn create(&mut self, path: &str) {
        if let Some(parent) = self.free(path) {
            let ino = self.tree.create(parent, split(path).1, TIME, self.now);
            self.files.insert(path.to_owned(), ino.unwrap());
        }
    }

    fn make_directory(&mut self, path: &str) {
        if let Some(parent) = self.free(path) {
            let ino = self.tree.make_directory(parent, split(path).1, self.now);
            self.kept.insert(path.to_owned(), (ino.unwrap(), self.now));
        }
    }

    fn commit(&mut self, index: usize) {
        let Some((path, ino)) = self.files.iter().nth(index % self.files.len().max(1)) else {
            return;
        };
        let (path, ino) = (path.clone(), *ino);
        if has_below(&self.keys, &path) {
            return;
        }
        let version = self.version();
        self.set(|keys| {
            keys.insert(path.clone(), version);
        });
        self.tree
            .committed(ino, &object(version), self.now)
            .unwrap();
        self.files.remove(&path);
        self.versions.insert(ino, version);
        self.changed.insert(path, self.now);
    }

    fn unlink(&mut self, path: &str) {
        let Some(ino) = self.ask_now(path).filter(|_| !self.is_torn(path)) else {
            return;
        };
        let (above, name) = split(path);
        let parent = self.directory(above).unwrap();
        let is_directory = self.tree.prefix_of(ino).is_ok();
        if is_directory {
            assert!(self.tree.unlink(parent, name, self.now).is_err());
            return;
        }
        self.set(|keys| {
            keys.remove(path);
        });
        assert_eq!(self.tree.unlink(parent, name, self.now), Ok(Some(ino)));
        self.files.remove(path);
        self.has_lost(path, parent);
        self.orphans.insert(ino);
    }

    /// This mount has taken a name away.
    fn has_lost(&mut self, path: &str, parent: Ino) {
        let above = split(path).0;
        if !above.is_empty() {
            self.kept.insert(above.to_owned(), (parent, self.now));
        }
        self.changed.insert(path.to_owned(), self.now);
    }

    fn remove_directory(&mut self, path: &str) {
        let Some(ino) = self.directory(path).filter(|_| !self.is_torn(path)) else {
            return;
        };
        let parent = self.directory(split(path).0).unwrap();
        let names = NAMES.iter().filter(|name| {
            let path = format!("{path}/{name}");
            truth(&self.keys, &path) != Truth::Nothing
        });
        let is_empty = !self.tree.shows_any(ino, names.copied(), self.now);
        let is_local = |other: &String| other.starts_with(&format!("{path}/"));
        let is_empty_here = !self.files.keys().any(is_local)
            && NAMES
                .iter()
                .all(|name| !self.must_stay(&format!("{path}/{name}")));
        assert!(is_empty_here || !is_empty, "{path}");
        if !is_empty || has_below(&self.keys, path) || self.keys.contains_key(path) {
            return;
        }
        let removed = self.tree.remove_directory(parent, split(path).1, self.now);
        assert_eq!(removed, Ok(ino));
        self.kept
            .retain(|other, _| other != path && !other.starts_with(&format!("{path}/")));
        self.has_lost(path, parent);
        self.orphans.insert(ino);
    }

    fn rename(&mut self, from: &str, to: &str, is_same: bool) {
        let (source, target) = (self.ask_now(from), self.ask_now(to));
        let parents = (self.directory(split(from).0), self.directory(split(to).0));
        let (Some(source), (Some(parent), Some(new))) = (source, parents) else {
            return;
        };
        if self.is_torn(from) || self.is_torn(to) {
            return;
        }
        // With so few names that the next is let go for another: the kernel would hold them.
        let is_known = |parent, path, ino| self.tree.child(parent, split(path).1) == ino;
        if !is_known(parent, from, Some(source)) || !is_known(new, to, target) {
            return;
        }
        let is_directory = self.tree.prefix_of(source).is_ok();
        let is_onto_directory = target.is_some_and(|target| self.tree.prefix_of(target).is_ok());
        if is_onto_directory && has_below(&self.keys, to) && from != to {
            return; // the caller has seen that it is not empty
        }
        let over = if is_same { Over::Replace } else { Over::Refuse };
        let names = ((parent, split(from).1), (new, split(to).1));
        let has_local_below = self.has_local_below(to);
        let renamed = self.tree.rename(names.0, names.1, over, self.now);
        let is_into_itself = is_directory && to.starts_with(&format!("{from}/"));
        let is_of_a_kind = is_directory == is_onto_directory;
        let may_replace = |target| {
            let is_empty = !has_local_below && !from.starts_with(&format!("{to}/"));
            is_same && (target == source || is_of_a_kind && is_empty)
        };
        let is_allowed = !is_into_itself && target.is_none_or(may_replace);
        assert_eq!(renamed.is_ok(), is_allowed, "{from} to {to}: {renamed:?}");
        let Ok(renamed) = renamed else {
            return;
        };
        assert_eq!(renamed.ino, source);
        if from == to {
            return;
        }
        assert_eq!(renamed.replaced, target);
        self.orphans.extend(target);
        self.files.remove(to);
        self.kept
            .retain(|path, _| path != to && !path.starts_with(&format!("{to}/")));
        self.move_keys(from, to, source, is_same);
        self.has_lost(from, parent);
        self.changed.insert(to.to_owned(), self.now);
        if is_directory {
            self.kept.insert(to.to_owned(), (source, self.now));
            self.moved.insert(from.to_owned(), self.now);
            self.moved.insert(to.to_owned(), self.now);
            let tree = &mut self.tree;
            self.listings.retain(|listing| {
                let prefix = tree.prefix_of(listing.directory);
                let is_same = prefix.is_ok_and(|prefix| prefix.as_str() == listing.prefix);
                if !is_same {
                    tree.close(listing.directory); // it must be begun anew
                }
                is_same
            });
        }
    }

    fn has_local_below(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        self.files.keys().any(|file| file.starts_with(&prefix))
            || self
                .tree
                .locals
                .iter()
                .any(|(directory, ..)| Some(directory) == self.known_path(path))
    }

    /// What the requests of a rename do, and how the tree is told.
    fn move_keys(&mut self, from: &str, to: &str, source: Ino, is_same: bool) {
        let below = format!("{from}/");
        let new = |path: &str| match path.strip_prefix(&below) {
            Some(rest) => Some(format!("{to}/{rest}")),
            None => (path == from).then(|| to.to_owned()),
        };
        let is_local = self.tree.node(source).unwrap().file().is_some();
        let old: Vec<_> = self.keys.clone().into_iter().collect();
        let mut copies = Vec::new();
        for (key, version) in old {
            let Some(key) = new(&key).map(|new| (key, new)) else {
                continue;
            };
            let copy = if is_same { version } else { self.version() };
            copies.push((key, version, copy));
        }
        self.set(|keys| {
            for ((old, new), _, copy) in &copies {
                keys.remove(old);
                if !is_local {
                    keys.insert(new.clone(), *copy);
                }
            }
        });
        self.files = std::mem::take(&mut self.files)
            .into_iter()
            .map(|(path, ino)| (new(&path).unwrap_or(path), ino))
            .collect();
        let now = self.now;
        self.kept = std::mem::take(&mut self.kept)
            .into_iter()
            .map(|(path, (ino, since))| match new(&path) {
                // What was there before is no matter any more: it had another path.
                Some(new) => (new, (ino, since)),
                None => (path, (ino, since)),
            })
            .collect();
        // Some kept directories are not known to be kept under their new path: the history there is another's.
        let empty: Vec<String> = self
            .kept
            .iter()
            .filter(|(path, (_, since))| path.starts_with(&format!("{to}/")) && *since < now)
            .map(|(path, _)| path.clone())
            .collect();
        for path in empty {
            self.kept.remove(&path);
        }
        for ((_, new), version, copy) in copies {
            let Some(ino) = self.known_path(&new) else {
                continue;
            };
            let Some(known) = self.tree.node(ino).unwrap().object().map(Object::size) else {
                continue;
            };
            if known != version || has_below(&self.keys, &new) {
                self.tree.mark_stale(ino, self.now);
            } else if copy % 2 == 0 || is_same {
                self.tree.moved(ino, &object(copy), self.now).unwrap();
                self.versions.insert(ino, copy);
            } else {
                self.tree.doubt(ino, self.now);
                self.doubted.insert(ino);
            }
        }
    }

    pub(super) fn check(&mut self) {
        check_counts(&self.tree);
        // What somebody has put into a directory may have been seen: then it need not be kept.
        let mut kept = std::mem::take(&mut self.kept);
        kept.retain(|path, (_, kept)| !self.since(*kept).any(|keys| has_below(keys, path)));
        self.kept = kept;
        let gone: Vec<(usize, String)> = self
            .listings
            .iter()
            .enumerate()
            .flat_map(|(index, listing)| listing.stays.iter().map(move |name| (index, name)))
            .filter(|(index, name)| {
                let prefix = &self.listings[*index].prefix;
                !self.is_there(&format!("{prefix}{name}"))
            })
            .map(|(index, name)| (index, name.clone()))
            .collect();
        for (index, name) in gone {
            self.listings[index].stays.remove(&name);
        }
        for (path, ino) in &self.files {
            assert_eq!(self.known_path(path), Some(*ino), "{path}");
            assert!(self.tree.node(*ino).unwrap().file().is_some());
        }
        for (path, (ino, _)) in &self.kept {
            assert_eq!(self.known_path(path), Some(*ino), "{path}");
        }
        for ino in &self.orphans {
            assert!(self.tree.node(*ino).is_none_or(Node::is_orphan));
        }
        for directory in DIRECTORIES {
            let Some(parent) = self.known_directory(directory.trim_end_matches('/')) else {
                continue;
            };
            for name in NAMES {
                self.check_name(parent, &format!("{directory}{name}"), name);
            }
        }
    }

    fn check_name(&self, parent: Ino, path: &str, name: &str) {
        match self.tree.known(parent, name, self.now) {
            Known::Fresh(ino) => {
                let node = self.tree.node(ino).unwrap();
                assert!(!self.tree.fresh_for(ino, self.now).is_zero());
                let shown = match node.kind() {
                    _ if node.is_local() => {
                        let is_file = self.files.get(path) == Some(&ino);
                        assert!(is_file || self.tree.prefix_of(ino).is_ok(), "{path}");
                        return;
                    }
                    Kind::Directory => Truth::Directory,
                    Kind::Object(object) => Truth::Object(object.size()),
                    Kind::File(_) | Kind::Symlink(_) => panic!("{path} is not local"),
                };
                assert!(!self.must_stay(path), "{path} is not kept");
                assert!(
                    self.was(path, self.ttl, shown),
                    "{path} was never {shown:?}"
                );
            }
            Known::Expired(_) | Known::Unknown => {
                assert!(!self.files.contains_key(path) && !self.must_stay(path));
            }
            Known::Absent { left } => {
                assert!(!left.is_zero() && left <= NEGATIVE);
                assert!(!self.files.contains_key(path) && !self.must_stay(path));
                let within = NEGATIVE - left;
                assert!(self.was(path, within, Truth::Nothing), "{path} was there");
            }
            Known::Stale => panic!("{path}: its directory was just reached"),
        }
    }
}
