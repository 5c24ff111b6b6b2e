//! chmod, chown, utimens, and extended attributes: OSS has no place for them, so they live as long as the mount.

use std::time::SystemTime;

use super::MODE_BITS;
use crate::fs::{Attributes, Error, FileSystem};
use crate::tree::{Ino, Kind, Node};

/// What setattr(2)'s family changes, the size aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetAttributes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last access.
    pub accessed: Option<SystemTime>,
    /// Last change of the content.
    pub modified: Option<SystemTime>,
}

/// What setxattr(2) demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetXattr {
    /// Nothing.
    Any,
    /// `XATTR_CREATE`: the attribute is not there yet.
    Create,
    /// `XATTR_REPLACE`: it is.
    Replace,
}

/// Names that this file system tells itself, of the object.
const OWN: &str = "user.oss.";

impl FileSystem {
    /// Sets attributes that are kept in this mount.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Stale`].
    pub fn set_attributes(&self, ino: Ino, set: &SetAttributes) -> Result<Attributes, Error> {
        if self.config.read_only {
            return Err(Error::ReadOnly);
        }
        if *set != SetAttributes::default() {
            let now = SystemTime::now();
            let mut tree = self.tree();
            let is_directory = matches!(tree.node(ino).map(Node::kind), Some(Kind::Directory));
            let has_owner = set.uid.is_some() || set.gid.is_some();
            tree.overlay_with(ino, |overlay| {
                if let Some(mode) = set.mode {
                    overlay.mode = u16::try_from(mode & u32::from(MODE_BITS)).ok();
                } else if has_owner && !is_directory {
                    // chown(2), also root's: the kernel leaves it to us.
                    overlay.mode = overlay.mode.map(without_privileges);
                }
                overlay.uid = set.uid.or(overlay.uid);
                overlay.gid = set.gid.or(overlay.gid);
                overlay.atime = set.accessed.or(overlay.atime);
                overlay.mtime = set.modified.or(overlay.mtime);
                overlay.ctime = Some(now);
            })?;
            drop(tree);
        }
        self.attributes_now(ino)
    }

    /// Takes the set-user-id bit, and the set-group-id bit of what a group may execute, as a write or a truncation by another than root does.
    pub fn drop_privileges(&self, ino: Ino) {
        let mut tree = self.tree();
        let Some(mode) = tree.overlay(ino).and_then(|overlay| overlay.mode) else {
            return;
        };
        let plain = without_privileges(mode);
        if plain != mode {
            // It has an overlay already, and this makes it no larger.
            let _ = tree.overlay_with(ino, |overlay| overlay.mode = Some(plain));
        }
    }

    /// Sets an extended attribute that is kept in this mount.
    ///
    /// # Errors
    /// [`Error::NotSupported`] outside `user.`, [`Error::NotPermitted`] for those that OSS tells, [`Error::Exists`] and
    /// [`Error::NoAttribute`] by what is demanded, [`Error::NoSpace`], [`Error::ReadOnly`], [`Error::Stale`].
    pub fn set_xattr(
        &self,
        ino: Ino,
        name: &str,
        value: &[u8],
        demand: SetXattr,
    ) -> Result<(), Error> {
        self.may_set_xattr(name)?;
        let mut tree = self.tree();
        let is_there = tree
            .overlay(ino)
            .is_some_and(|overlay| overlay.xattrs.contains_key(name));
        match (demand, is_there) {
            (SetXattr::Create, true) => return Err(Error::Exists),
            (SetXattr::Replace, false) => return Err(Error::NoAttribute),
            (SetXattr::Any | SetXattr::Create, false)
            | (SetXattr::Any | SetXattr::Replace, true) => {}
        }
        let now = SystemTime::now();
        tree.overlay_with(ino, |overlay| {
            overlay.xattrs.insert(name.into(), value.into());
            overlay.ctime = Some(now);
        })?;
        Ok(())
    }

    /// Removes an extended attribute that is kept in this mount.
    ///
    /// # Errors
    /// As [`Self::set_xattr`]; [`Error::NoAttribute`].
    pub fn remove_xattr(&self, ino: Ino, name: &str) -> Result<(), Error> {
        self.may_set_xattr(name)?;
        let mut tree = self.tree();
        tree.node(ino)
            .filter(|node| !Node::is_stale(node))
            .ok_or(crate::tree::Stale)?;
        let is_there = tree
            .overlay(ino)
            .is_some_and(|overlay| overlay.xattrs.contains_key(name));
        if !is_there {
            return Err(Error::NoAttribute);
        }
        tree.overlay_with(ino, |overlay| drop(overlay.xattrs.remove(name)))?;
        Ok(())
    }

    fn may_set_xattr(&self, name: &str) -> Result<(), Error> {
        if self.config.read_only {
            return Err(Error::ReadOnly);
        }
        if !name.starts_with("user.") {
            return Err(Error::NotSupported);
        }
        if name.starts_with(OWN) {
            return Err(Error::NotPermitted("OSS says what user.oss.* is"));
        }
        Ok(())
    }
}

/// A mode without what lets others than its owner act as the owner, or the group.
fn without_privileges(mode: u16) -> u16 {
    let taken = match mode & 0o010 {
        0 => 0o4000,
        _ => 0o6000,
    };
    mode & !taken
}
