//! Open for writing, and create.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use super::{Written, unix_time};
use crate::fs::ahead::Purpose;
use crate::fs::change::{Maker, new_name};
use crate::fs::files::{Content, OpenHandle};
use crate::fs::{Entry, Error, FileSystem, Opened};
use crate::object::{ObjectKey, ObjectMeta, ObjectType, StorageClass, Version};
use crate::op::Op;
use crate::oss::{Body, Condition, Properties};
use crate::tree::{Ino, Known, Stale};
use crate::write::{Access, Base, Copying, Exclusive, HandleId, Process};

/// How a file is opened for writing.
#[derive(Debug, Clone, Copy)]
pub struct WriteOpen {
    /// `O_TRUNC`, where the kernel leaves it to us: of a create that finds the file.
    pub truncate: bool,
    /// `O_EXCL`, of a create.
    pub exclusive: bool,
    /// Who opens; `None` if that cannot be known.
    pub opener: Option<Process>,
}

impl FileSystem {
    /// Opens a file for writing at once, if its attributes are fresh.
    #[must_use]
    pub fn open_write_known(
        self: &Arc<Self>,
        ino: Ino,
        how: WriteOpen,
    ) -> Option<Result<Opened, Error>> {
        if let Err(error) = self.may_write() {
            return Some(Err(error));
        }
        match self.is_fresh(ino) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Err(error)),
        }
        let pinned = match self.pin(ino) {
            Ok(pinned) => pinned,
            Err(error) => return Some(Err(error)),
        };
        if how.truncate && pinned.file.try_truncate(0).is_err() {
            return None;
        }
        Some(self.open_written(&pinned, how))
    }

    /// Opens a file for writing, after asking OSS whether it is still what its name shows, where that is due.
    ///
    /// # Errors
    /// As [`FileSystem::open`]; [`Error::ReadOnly`]; [`Error::Denied`] if the role may not write.
    pub async fn open_write(
        self: &Arc<Self>,
        op: &Op,
        ino: Ino,
        how: WriteOpen,
    ) -> Result<Opened, Error> {
        self.may_write()?;
        if !self.is_fresh(ino)? {
            self.check(op, ino, Purpose::Attributes).await?;
        }
        let pinned = self.pin(ino)?;
        if how.truncate {
            pinned.file.truncate(op, 0).await?;
        }
        // Nothing is waited for from here on: whoever gave up would leave the handle open.
        self.open_written(&pinned, how)
    }

    /// An inode that others read without us gives its name to a new one at the next lookup: it cannot be written under their eyes.
    pub fn renew(&self, ino: Ino) {
        self.tree().mark_stale(ino, Instant::now());
    }

    /// Opens what is pinned.
    fn open_written(&self, written: &Arc<Written>, how: WriteOpen) -> Result<Opened, Error> {
        let handle = {
            let mut files = self.open_files();
            let open = files.get_mut(&written.ino).ok_or(Stale)?;
            self.tree().open(written.ino)?;
            open.handles += 1;
            let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
            let mut holders = written.holders();
            holders.opened(HandleId(handle), how.opener, Access::Write);
            if how.truncate {
                holders.wrote(HandleId(handle), how.opener);
            }
            drop(holders);
            let opened = OpenHandle {
                ino: written.ino,
                content: Content::Written(Arc::clone(written)),
                access: Access::Write,
            };
            self.enter_handle(handle, opened);
            handle
        };
        if how.truncate {
            self.wrote(written);
        }
        let mode = self.mode(written.ino);
        Ok(Opened { handle, mode })
    }

    /// Creates a file at once, if it is known that there is nothing of its name.
    #[must_use]
    pub fn create_known(
        self: &Arc<Self>,
        parent: Ino,
        name: &str,
        maker: Maker,
        how: WriteOpen,
    ) -> Option<Result<(Entry, Opened), Error>> {
        let checked = self.may_write().and_then(|()| new_name(name));
        if let Err(error) = checked {
            return Some(Err(error));
        }
        let known = self.tree().known(parent, name, Instant::now());
        let is_remote = how.exclusive && self.config.exclusive_create == Exclusive::Remote;
        match known {
            Known::Absent { .. } if !is_remote => Some(self.create_now(parent, name, maker, how)),
            Known::Absent { .. }
            | Known::Fresh(_)
            | Known::Expired(_)
            | Known::Unknown
            | Known::Stale => None,
        }
    }

    fn create_now(
        self: &Arc<Self>,
        parent: Ino,
        name: &str,
        maker: Maker,
        how: WriteOpen,
    ) -> Result<(Entry, Opened), Error> {
        let written = {
            // Held until the file is entered: the rename of a directory above finds it there, or it finds the new key.
            let mut files = self.open_files();
            let (key, ino) = {
                let mut tree = self.tree();
                let key = tree.key_of(parent, name)?;
                let ino = tree.create(parent, name, SystemTime::now(), Instant::now())?;
                (key, ino)
            };
            let said = Properties::default();
            let written = Written::new(ino, self.writer.create(key, said, Exclusive::Local));
            self.enter_written(&mut files, &written);
            written
        };
        self.creating.note(parent, Instant::now());
        self.created(&written, parent, maker, how)
    }

    /// Opens a file for writing, and creates it if there is nothing of its name. What it creates is here until it is stored.
    ///
    /// # Errors
    /// [`Error::Exists`] if it must not be there, [`Error::IsADirectory`], [`Error::Invalid`] and [`Error::NameTooLong`] of the name, and
    /// as [`FileSystem::open_write`].
    pub async fn create(
        self: &Arc<Self>,
        op: &Op,
        parent: Ino,
        name: &str,
        maker: Maker,
        how: WriteOpen,
    ) -> Result<(Entry, Opened), Error> {
        self.may_write()?;
        new_name(name)?;
        if let Some(ino) = self.resolved(op, parent, name).await? {
            if how.exclusive {
                return Err(Error::Exists);
            }
            let opened = self.open_write(op, ino, how).await?;
            let entry = {
                let mut tree = self.tree();
                let ttl = tree.fresh_for(ino, Instant::now());
                self.counted(&mut tree, ino, ttl)
            };
            let Some(entry) = entry else {
                self.release(opened.handle);
                return Err(Stale.into());
            };
            return Ok((entry, opened));
        }
        if how.exclusive && self.config.exclusive_create == Exclusive::Remote {
            let ino = self.store_empty(op, parent, name, Condition::ForbidOverwrite);
            let ino = ino.await?;
            let pinned = self.pin(ino)?;
            return self.created(&pinned, parent, maker, how);
        }
        self.create_now(parent, name, maker, how)
    }

    fn created(
        self: &Arc<Self>,
        written: &Arc<Written>,
        parent: Ino,
        maker: Maker,
        how: WriteOpen,
    ) -> Result<(Entry, Opened), Error> {
        let how = WriteOpen {
            truncate: false,
            ..how
        };
        let opened = self.open_written(written, how)?;
        let entry = {
            let mut tree = self.tree();
            Self::touch(&mut tree, parent);
            self.made(&mut tree, written.ino, maker)
        };
        match entry {
            Ok(entry) => Ok((entry, opened)),
            Err(error) => {
                self.release(opened.handle);
                Err(error)
            }
        }
    }

    /// Stores an empty file under a name that nothing has.
    pub(in crate::fs) async fn store_empty(
        self: &Arc<Self>,
        op: &Op,
        parent: Ino,
        name: &str,
        condition: Condition,
    ) -> Result<Ino, Error> {
        let key = self.tree().key_of(parent, name)?;
        let (nothing, said) = (Body::new([]), Properties::default());
        let put = self.bucket.put_object(op, &key, &nothing, &said, condition);
        let stored = put.await.map_err(|error| self.noted(error))?;
        let (now, done) = (SystemTime::now(), Instant::now());
        let meta = ObjectMeta {
            size: 0,
            etag: stored.etag,
            modified: unix_time(now),
            kind: ObjectType::Normal,
            storage_class: StorageClass::Standard,
            crc64: stored.crc64,
        };
        let mut tree = self.tree();
        let ino = tree.create(parent, name, now, done)?;
        tree.committed(ino, &meta, done)?;
        Ok(ino)
    }
}

/// An object that was just made, as what bytes are taken from.
pub(super) fn base(key: &ObjectKey, meta: &ObjectMeta) -> Base {
    Base {
        version: Version::new(key.clone(), meta.etag.clone(), meta.size),
        copying: Copying::of(meta),
    }
}
