//! Attributes that OSS has no place for, kept as long as the mount lives.
//!
//! They belong to an inode, so they follow it through renames and commits. An inode that has some is kept; so there are at most
//! a quarter as many as names, and beyond that the oldest go, of files that are neither open nor being written.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use super::node::{Ino, Place, What};
use super::table::{Stale, Tree};

/// Of all names, this part may be kept because of their attributes: with what was changed of late, more than half is left for
/// what is only known.
const OVERLAYS_SHARE: usize = 4;

/// Overlays that there may be, at least.
const OVERLAYS_MIN: usize = 16;

/// Bytes of all extended attributes together. One value has at most 64 KiB (`XATTR_SIZE_MAX`).
pub const XATTR_BYTES_MAX: usize = 16 << 20;

/// Overlays looked at in one search for one that may go.
const VISITS_MAX: usize = 16;

/// Attributes of one inode that were set in this mount; what is `None` is as the bucket or the mount has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// Permission bits.
    pub mode: Option<u16>,
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last access.
    pub atime: Option<SystemTime>,
    /// Last change of the content.
    pub mtime: Option<SystemTime>,
    /// Last change of the inode.
    pub ctime: Option<SystemTime>,
    /// `user.*`, by their full names.
    pub xattrs: BTreeMap<Box<str>, Box<[u8]>>,
}

impl Overlay {
    fn xattr_bytes(&self) -> usize {
        let names: usize = self.xattrs.keys().map(|name| name.len()).sum();
        let values: usize = self.xattrs.values().map(|value| value.len()).sum();
        names + values
    }
}

/// Why attributes cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverlayError {
    /// ESTALE.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// All extended attributes together would pass [`XATTR_BYTES_MAX`] (ENOSPC).
    #[error("this mount keeps at most {XATTR_BYTES_MAX} bytes of extended attributes")]
    Full,
}

/// All overlays.
#[derive(Debug)]
pub(super) struct Overlays {
    pub(super) max: usize,
    /// With their places in `order`. INVARIANT: holds the nodes with `overlaid`; none is empty.
    by_ino: HashMap<Ino, (u64, Overlay)>,
    /// Oldest first.
    order: BTreeMap<u64, Ino>,
    next: u64,
    xattr_bytes: usize,
}

impl Overlays {
    pub(super) fn new(names_max: usize) -> Self {
        Self {
            max: (names_max / OVERLAYS_SHARE).max(OVERLAYS_MIN),
            by_ino: HashMap::new(),
            order: BTreeMap::new(),
            next: 0,
            xattr_bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_ino.len()
    }

    /// Puts `overlay` last; an empty one is none. Returns whether there is one now.
    fn set(&mut self, ino: Ino, overlay: Overlay) -> bool {
        self.take(ino);
        if overlay == Overlay::default() {
            return false;
        }
        self.xattr_bytes += overlay.xattr_bytes();
        self.order.insert(self.next, ino);
        self.by_ino.insert(ino, (self.next, overlay));
        self.next += 1;
        true
    }

    fn take(&mut self, ino: Ino) {
        if let Some((place, overlay)) = self.by_ino.remove(&ino) {
            self.order.remove(&place);
            self.xattr_bytes -= overlay.xattr_bytes();
        }
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.order.len(), self.by_ino.len());
        let bytes = |(_, overlay): &(u64, Overlay)| overlay.xattr_bytes();
        assert_eq!(
            self.by_ino.values().map(bytes).sum::<usize>(),
            self.xattr_bytes
        );
        for (place, ino) in &self.order {
            assert_eq!(self.by_ino[ino].0, *place);
        }
    }
}

impl Tree {
    /// The attributes of an inode that were set in this mount.
    #[must_use]
    pub fn overlay(&self, ino: Ino) -> Option<&Overlay> {
        if !self.nodes.get(ino)?.overlaid {
            return None;
        }
        self.overlays.by_ino.get(&ino).map(|(_, overlay)| overlay)
    }

    /// How many inodes have attributes that were set in this mount.
    #[must_use]
    pub fn overlays(&self) -> usize {
        self.overlays.len()
    }

    /// Changes the attributes of an inode that are kept in this mount.
    ///
    /// # Errors
    /// [`OverlayError`]; nothing is changed then.
    pub fn overlay_with(
        &mut self,
        ino: Ino,
        change: impl FnOnce(&mut Overlay),
    ) -> Result<(), OverlayError> {
        let node = self.node(ino).filter(|node| node.place != Place::Stale);
        node.ok_or(Stale)?;
        let known = self.overlay(ino);
        let before = known.map_or(0, Overlay::xattr_bytes);
        let mut overlay = known.cloned().unwrap_or_default();
        change(&mut overlay);
        let after = overlay.xattr_bytes();
        if after > before && self.overlays.xattr_bytes - before + after > XATTR_BYTES_MAX {
            return Err(OverlayError::Full);
        }
        self.set_overlay(ino, overlay);
        self.let_go_of_overlays(ino);
        self.evict(Some(ino));
        Ok(())
    }

    /// The content was written: times that were set before do not hold any more.
    pub(super) fn forget_times(&mut self, ino: Ino) {
        let Some(overlay) = self.overlay(ino) else {
            return;
        };
        if overlay.mtime.is_some() || overlay.ctime.is_some() {
            let (mtime, ctime) = (None, None);
            let overlay = Overlay {
                mtime,
                ctime,
                ..overlay.clone()
            };
            self.set_overlay(ino, overlay);
        }
    }

    fn set_overlay(&mut self, ino: Ino, overlay: Overlay) {
        let overlaid = self.overlays.set(ino, overlay);
        if let Some(node) = self.nodes.get_mut(ino) {
            node.overlaid = overlaid;
        }
        self.settle(ino);
    }

    /// The inode has no attributes of its own any more. Who calls settles it.
    pub(super) fn drop_overlay(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.get_mut(ino)
            && std::mem::take(&mut node.overlaid)
        {
            self.overlays.take(ino);
        }
    }

    /// Lets the oldest overlays go that may, until there are no more than may be; that of `keep` stays.
    fn let_go_of_overlays(&mut self, keep: Ino) {
        for _ in 0..VISITS_MAX {
            if self.overlays.len() <= self.overlays.max {
                return;
            }
            let Some(ino) = self.overlays.order.values().next().copied() else {
                return;
            };
            let may_go = self.nodes.get(ino).is_some_and(|node| {
                ino != keep && node.opens == 0 && !matches!(node.what, What::File(_))
            });
            if may_go {
                self.drop_overlay(ino);
                self.settle(ino);
            } else if let Some((_, overlay)) = self.overlays.by_ino.get(&ino).cloned() {
                self.overlays.set(ino, overlay); // to the end
            }
        }
    }
}
