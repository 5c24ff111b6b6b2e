//! The objects that a file being written takes bytes from.

use std::sync::Arc;

use crate::object::{ObjectMeta, ObjectType, StorageClass, Version};

/// One of the [`Bases`] of a file. It means nothing in another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BaseId(pub(super) u32);

/// What OSS copies of an object without our sending its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copying {
    /// Any range, by UploadPartCopy, and the whole, by CopyObject.
    Ranges,
    /// Only the whole, by CopyObject.
    Whole,
    /// Nothing: its bytes are read and sent.
    Nothing,
}

impl Copying {
    /// What OSS documents for such an object (help "UploadPartCopy": not from appendable sources, nor from the archive
    /// classes; "CopyObject": of a symbolic link, the link is copied).
    ///
    /// In a versioned bucket appendable objects cannot be copied at all; who knows that the bucket is versioned says
    /// [`Copying::Nothing`] for them.
    #[must_use]
    pub fn of(meta: &ObjectMeta) -> Self {
        match meta.storage_class {
            StorageClass::Standard | StorageClass::InfrequentAccess => {}
            StorageClass::Archive
            | StorageClass::ColdArchive
            | StorageClass::DeepColdArchive
            | StorageClass::Other => return Self::Nothing,
        }
        match meta.kind {
            ObjectType::Normal | ObjectType::Multipart => Self::Ranges,
            ObjectType::Appendable => Self::Whole,
            ObjectType::Symlink | ObjectType::Other => Self::Nothing,
        }
    }
}

/// One object that bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Which content of which key.
    pub version: Arc<Version>,
    /// What can be had of it without sending.
    pub copying: Copying,
}

/// All objects that bytes of one file come from, or came from: it grows by one for each object that was ever copied in.
#[derive(Debug, Clone, Default)]
pub struct Bases(Vec<Base>);

impl Bases {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more; of an object that is here already, the same as before.
    ///
    /// # Panics
    /// With more than 2³² objects.
    pub fn add(&mut self, base: Base) -> BaseId {
        // From the end: ranges are copied from one object after the other.
        let known = self.0.iter().rposition(|it| it.version == base.version);
        let index = known.unwrap_or_else(|| {
            self.0.push(base);
            self.0.len() - 1
        });
        BaseId(u32::try_from(index).expect("there are fewer than 2^32 objects"))
    }

    /// The object.
    ///
    /// # Panics
    /// If the id is of another file.
    #[must_use]
    pub fn get(&self, id: BaseId) -> &Base {
        &self.0[id.0 as usize]
    }

    /// Another object has the same bytes: they are taken from there from now on.
    pub fn replace(&mut self, id: BaseId, base: Base) {
        self.0[id.0 as usize] = base;
    }

    /// OSS refused to copy from it: what it takes from now on. A plan that is made anew respects it.
    pub fn set_copying(&mut self, id: BaseId, copying: Copying) {
        self.0[id.0 as usize].copying = copying;
    }

    /// All of them, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (BaseId, &Base)> {
        (0u32..).map(BaseId).zip(&self.0)
    }
}
