//! Requests that change names.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use fuser::{INodeNo, RenameFlags, ReplyData, ReplyEmpty, ReplyEntry, Request};

use super::{Door, ino, utf8};
use crate::fs::{Error, Maker};
use crate::fuse::answer::made;
use crate::op::Op;
use crate::tree::{Over, Special};

/// A name for something new, or to be changed.
pub(super) fn new_name(name: &OsStr) -> Result<String, Error> {
    let name = name.to_str();
    let name = name.ok_or(Error::Invalid("names of objects are UTF-8"))?;
    Ok(name.to_owned())
}

/// Who makes something.
pub(super) fn maker(request: &Request, (mode, umask): (u32, u32)) -> Maker {
    Maker {
        mode: mode & !umask,
        uid: request.uid(),
        gid: request.gid(),
    }
}

impl Door {
    pub(super) fn do_mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: (u32, u32),
        reply: ReplyEntry,
    ) {
        let op = self.op("mkdir", request, parent);
        let (fs, name, maker) = (Arc::clone(&self.fs), new_name(name), maker(request, mode));
        let work =
            move |op: Arc<Op>| async move { fs.mkdir(&op, ino(parent), &name?, maker).await };
        self.answering.whole(op, reply, work, made);
    }

    pub(super) fn do_mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: (u32, u32),
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let op = self.op("mknod", request, parent);
        let special = match mode.0 & libc::S_IFMT {
            0 | libc::S_IFREG => Ok(None),
            libc::S_IFIFO => Ok(Some(Special::Fifo)),
            libc::S_IFSOCK => Ok(Some(Special::Socket)),
            libc::S_IFCHR => Ok(Some(Special::CharacterDevice(rdev))),
            libc::S_IFBLK => Ok(Some(Special::BlockDevice(rdev))),
            _ => Err(Error::Invalid("mknod makes no file of this kind")),
        };
        let (fs, name, maker) = (Arc::clone(&self.fs), new_name(name), maker(request, mode));
        let work = move |op: Arc<Op>| async move {
            let (parent, name) = (ino(parent), name?);
            match special? {
                None => fs.mknod(&op, parent, &name, maker).await,
                Some(special) => fs.make_special(&op, parent, &name, special, maker).await,
            }
        };
        self.answering.whole(op, reply, work, made);
    }

    pub(super) fn do_unlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        reply: ReplyEmpty,
    ) {
        let op = self.op("unlink", request, parent);
        let (fs, name) = (Arc::clone(&self.fs), utf8(name).map(str::to_owned));
        let work = move |op: Arc<Op>| async move { fs.unlink(&op, ino(parent), &name?).await };
        self.answering
            .whole(op, reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn do_rmdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        reply: ReplyEmpty,
    ) {
        let op = self.op("rmdir", request, parent);
        let (fs, name) = (Arc::clone(&self.fs), utf8(name).map(str::to_owned));
        let work = move |op: Arc<Op>| async move { fs.rmdir(&op, ino(parent), &name?).await };
        self.answering
            .whole(op, reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn do_symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let op = self.op("symlink", request, parent);
        let (fs, name) = (Arc::clone(&self.fs), new_name(name));
        let (text, maker) = (new_name(target.as_os_str()), maker(request, (0o777, 0)));
        let work = move |op: Arc<Op>| async move {
            fs.symlink(&op, ino(parent), &name?, &text?, maker).await
        };
        self.answering.whole(op, reply, work, made);
    }

    pub(super) fn do_readlink(&self, request: &Request, number: INodeNo, reply: ReplyData) {
        let op = self.op("readlink", request, number);
        let fs = Arc::clone(&self.fs);
        let work = move |op: Arc<Op>| async move { fs.readlink(&op, ino(number)).await };
        self.answering.later(op, reply, work, |reply, text| {
            reply.data(text.as_bytes());
        });
    }

    pub(super) fn do_rename(
        &self,
        request: &Request,
        (parent, name): (INodeNo, &OsStr),
        (to_parent, to_name): (INodeNo, &OsStr),
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let op = self.op("rename", request, parent);
        let over = match flags {
            _ if flags.is_empty() => Over::Replace,
            RenameFlags::RENAME_NOREPLACE => Over::Refuse,
            _ => {
                // Two names cannot be changed at once in OSS.
                let refused = Err(Error::Invalid("rename knows no flag but RENAME_NOREPLACE"));
                return self.answering.now(&op, reply, refused, |_, ()| {});
            }
        };
        let fs = Arc::clone(&self.fs);
        let names = utf8(name)
            .map(str::to_owned)
            .and_then(|name| Ok((name, new_name(to_name)?)));
        let work = move |op: Arc<Op>| async move {
            let (from, to) = names?;
            let (from, to) = ((ino(parent), &*from), (ino(to_parent), &*to));
            fs.rename(&op, from, to, over).await
        };
        self.answering
            .whole(op, reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn do_link(&self, request: &Request, number: INodeNo, reply: ReplyEntry) {
        let op = self.op("link", request, number);
        let refused = Err(Error::NotPermitted(
            "an object of OSS has one key: there are no hard links",
        ));
        self.answering.now(&op, reply, refused, made);
    }
}
