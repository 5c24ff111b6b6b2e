//! The naive file system.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Directory,
    File(usize),
}

/// All of it.
#[derive(Default)]
pub(super) struct Model {
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) contents: Vec<Vec<u8>>,
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Model {
    pub(super) fn get(&self, path: &str) -> Result<Option<Node>, &'static str> {
        if path.is_empty() {
            return Ok(Some(Node::Directory));
        }
        match self.get(parent(path))? {
            Some(Node::Directory) => Ok(self.nodes.get(path).copied()),
            Some(Node::File(_)) => Err("not a directory"),
            None => Err("not found"),
        }
    }

    pub(super) fn children(&self, path: &str) -> BTreeSet<String> {
        let below = self.nodes.keys().filter(|key| parent(key) == path);
        below
            .map(|key| key.rsplit('/').next().unwrap().to_owned())
            .collect()
    }

    pub(super) fn open(&mut self, path: &str, truncate: bool) -> Result<usize, &'static str> {
        match self.get(path)? {
            Some(Node::Directory) => Err("is a directory"),
            Some(Node::File(id)) => {
                if truncate {
                    self.contents[id].clear();
                }
                Ok(id)
            }
            None => {
                self.contents.push(Vec::new());
                let id = self.contents.len() - 1;
                self.nodes.insert(path.to_owned(), Node::File(id));
                Ok(id)
            }
        }
    }

    pub(super) fn write(&mut self, id: usize, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let content = &mut self.contents[id];
        content.resize(content.len().max(at + bytes.len()), 0);
        content[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn remove(&mut self, path: &str, directory: bool) -> Result<(), &'static str> {
        match self.get(path)?.ok_or("not found")? {
            Node::Directory if !directory => Err("is a directory"),
            Node::File(_) if directory => Err("not a directory"),
            Node::Directory if !self.children(path).is_empty() => Err("not empty"),
            Node::Directory | Node::File(_) => {
                self.nodes.remove(path);
                Ok(())
            }
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), &'static str> {
        let source = self.get(from)?.ok_or("not found")?;
        let target = self.get(to)?;
        if from == to {
            return Ok(());
        }
        match (source, target) {
            (Node::Directory, _) if to.starts_with(&format!("{from}/")) => return Err("invalid"),
            (Node::Directory, Some(Node::File(_))) => return Err("not a directory"),
            (Node::File(_), Some(Node::Directory)) => return Err("is a directory"),
            (Node::Directory, Some(Node::Directory)) if !self.children(to).is_empty() => {
                return Err("not empty");
            }
            _ => {}
        }
        let below = format!("{from}/");
        let moved: Vec<String> = self
            .nodes
            .keys()
            .filter(|key| *key == from || key.starts_with(&below))
            .cloned()
            .collect();
        for key in moved {
            let node = self.nodes.remove(&key).unwrap();
            self.nodes
                .insert(format!("{to}{}", &key[from.len()..]), node);
        }
        Ok(())
    }
}
