//! Extended attributes: `user.oss.*` is what OSS says of an object beyond what stat(2) can show; others were set in this mount.

use super::ahead::Purpose;
use super::{Error, FileSystem};
use crate::op::Op;
use crate::tree::{Ino, Kind, Object, Stale};

/// The version.
const ETAG: &str = "user.oss.etag";
/// CRC-64/XZ of the content, decimal.
const CRC64: &str = "user.oss.crc64";
/// Standard, IA, Archive, …
const STORAGE_CLASS: &str = "user.oss.storage-class";
/// Normal, Multipart, Appendable, Symlink.
const TYPE: &str = "user.oss.type";

impl FileSystem {
    /// The value of an extended attribute, if the tree has it.
    #[must_use]
    pub fn xattr_known(&self, ino: Ino, name: &str) -> Option<Result<Vec<u8>, Error>> {
        if !name.starts_with("user.") {
            return Some(Err(Error::NotSupported));
        }
        let tree = self.tree();
        let Some(node) = tree.node(ino) else {
            return Some(Err(Stale.into()));
        };
        let kept = tree
            .overlay(ino)
            .and_then(|overlay| overlay.xattrs.get(name));
        if let Some(kept) = kept {
            return Some(Ok(kept.to_vec()));
        }
        match node.kind() {
            Kind::Directory | Kind::File(_) | Kind::Symlink(_) => Some(Err(Error::NoAttribute)),
            Kind::Object(object) => value(object, name).map(|value| value.map(String::into_bytes)),
        }
    }

    /// The value of an extended attribute that a listing does not tell: asks OSS for the object.
    ///
    /// # Errors
    /// [`Error::NoAttribute`] if OSS does not tell it either, [`Error::Stale`], or what OSS says.
    pub async fn xattr(&self, op: &Op, ino: Ino, name: &str) -> Result<Vec<u8>, Error> {
        self.check(op, ino, Purpose::Attributes).await?;
        self.xattr_known(ino, name)
            .unwrap_or(Err(Error::NoAttribute))
    }

    /// The names of an inode's extended attributes, each ended by a zero byte.
    ///
    /// # Errors
    /// [`Error::Stale`].
    pub fn xattr_names(&self, ino: Ino) -> Result<Vec<u8>, Error> {
        let tree = self.tree();
        let node = tree.node(ino).ok_or(Stale)?;
        let told: &[&str] = match node.kind() {
            Kind::Directory | Kind::File(_) | Kind::Symlink(_) => &[],
            Kind::Object(_) => &[ETAG, CRC64, STORAGE_CLASS, TYPE],
        };
        let kept = tree.overlay(ino).map(|overlay| overlay.xattrs.keys());
        let kept = kept.into_iter().flatten().map(|name| &**name);
        let names = told.iter().copied().chain(kept);
        Ok(names.flat_map(|name| name.bytes().chain([0])).collect())
    }
}

/// `None` if only a HEAD can tell.
fn value(object: &Object, name: &str) -> Option<Result<String, Error>> {
    Some(Ok(match name {
        ETAG => object.etag().as_str().to_owned(),
        CRC64 => object.crc64()?.to_string(),
        STORAGE_CLASS => object.storage_class().as_str().to_owned(),
        TYPE => object.object_type().as_str().to_owned(),
        _ => return Some(Err(Error::NoAttribute)),
    }))
}
