//! mkdir, rmdir.
//!
//! OSS has no directories: one exists while a key begins with it. So that an empty one is there for other mounts, and after this one,
//! it gets a marker: an empty object whose key is the directory's, with the slash. That is what OSS's console, ossutil and ossfs make, too.

use std::sync::Arc;
use std::time::Instant;

use super::Maker;
use crate::fs::{Entry, Error, FileSystem};
use crate::object::{ObjectKey, Prefix};
use crate::op::Op;
use crate::oss::{Body, Condition, ListRequest, Properties};
use crate::tree::{Ino, Kind};

/// As OSS's console and ossfs say it of a marker.
const MARKER_TYPE: &str = "application/x-directory";

/// Whether a directory has its marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    There,
    Missing,
}

impl FileSystem {
    /// Makes a directory, and its marker in the bucket.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Invalid`] and [`Error::NameTooLong`] of the name, [`Error::ReadOnly`], [`Error::Denied`], or what OSS says.
    pub async fn mkdir(
        self: &Arc<Self>,
        op: &Op,
        parent: Ino,
        name: &str,
        maker: Maker,
    ) -> Result<Entry, Error> {
        self.vacant(op, parent, name).await?;
        let marker = {
            let prefix = self.tree().prefix_of(parent)?.directory(name)?;
            ObjectKey::new(prefix.as_str())?
        };
        let said = Properties {
            content_type: Some(MARKER_TYPE.to_owned()),
            ..Properties::default()
        };
        let nothing = Body::new([]);
        let put = self
            .bucket
            .put_object(op, &marker, &nothing, &said, Condition::None);
        put.await.map_err(|error| self.refused(error))?;
        let mut tree = self.tree();
        let ino = tree.make_directory(parent, name, Instant::now())?;
        Self::touch(&mut tree, parent);
        self.made(&mut tree, ino, maker)
    }

    /// Removes an empty directory, and its marker in the bucket.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotADirectory`], [`Error::NotEmpty`] also if only keys are left that no name shows,
    /// [`Error::ReadOnly`], [`Error::Denied`], or what OSS says.
    pub async fn rmdir(&self, op: &Op, parent: Ino, name: &str) -> Result<(), Error> {
        self.may_write()?;
        let ino = self.resolved(op, parent, name).await?;
        let ino = ino.ok_or(Error::NotFound)?;
        self.remove_directory(op, ino).await?;
        let mut tree = self.tree();
        tree.remove_directory(parent, name, Instant::now())?;
        Self::touch(&mut tree, parent);
        Ok(())
    }

    /// Removes the marker of a directory that is empty, if it has one.
    pub(super) async fn remove_directory(&self, op: &Op, ino: Ino) -> Result<(), Error> {
        let prefix = {
            let tree = self.tree();
            match tree.node(ino).map(crate::tree::Node::kind) {
                Some(Kind::Directory) => tree.prefix_of(ino)?,
                Some(Kind::Object(_) | Kind::File(_) | Kind::Symlink(_)) => {
                    return Err(Error::NotADirectory);
                }
                None => return Err(crate::tree::Stale.into()),
            }
        };
        if self.empty(op, ino, &prefix).await? == Marker::There {
            let marker = ObjectKey::new(prefix.as_str())?;
            let deleted = self.bucket.delete_object(op, &marker).await;
            deleted.map_err(|error| self.refused(error))?;
        }
        Ok(())
    }

    /// Sees to it that a directory has no entries.
    async fn empty(&self, op: &Op, ino: Ino, prefix: &Prefix) -> Result<Marker, Error> {
        let mut request = ListRequest::directory(prefix.as_str());
        let mut marker = Marker::Missing;
        loop {
            let asked = Instant::now();
            let listed = self.bucket.list(op, &request).await;
            let page = listed.map_err(|error| self.refused(error))?;
            let keys = page.objects.iter().map(|(key, _)| key.as_str());
            let below = keys.chain(page.prefixes.iter().map(String::as_str));
            let names: Vec<&str> = below
                .filter_map(|key| key.strip_prefix(prefix.as_str()))
                .collect();
            if names.contains(&"") {
                marker = Marker::There;
            }
            let names = names.into_iter().filter(|name| !name.is_empty());
            let names = names.map(|name| name.strip_suffix('/').unwrap_or(name));
            if self.tree().shows_any(ino, names, asked) {
                return Err(Error::NotEmpty);
            }
            match page.next {
                Some(next) => request.continuation = Some(next),
                None => return Ok(marker),
            }
        }
    }
}
