//! setattr, and extended attributes.

use std::ffi::OsStr;
use std::sync::Arc;

use fuser::{Errno, FileHandle, INodeNo, ReplyAttr, ReplyEmpty, ReplyXattr, Request};

use super::{Door, attr, ino, utf8};
use crate::fs::{Error, SetAttributes, SetXattr};
use crate::op::Op;

impl Door {
    pub(super) fn do_setattr(
        &self,
        request: &Request,
        number: INodeNo,
        set: SetAttributes,
        size: Option<u64>,
        fh: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        let op = self.op("setattr", request, number);
        let Some(size) = size else {
            let done = self.fs.set_attributes(ino(number), &set);
            return self.answering.now(&op, reply, done, attr);
        };
        if self.backings.is_backed(number.0) {
            // As before an open for writing: the kernel looks the name up again, and truncates another inode.
            self.fs.renew(ino(number));
            let refused = Err(crate::tree::Stale.into());
            return self.answering.now(&op, reply, refused, attr);
        }
        self.changes_content(request, number);
        let (fs, by) = (Arc::clone(&self.fs), self.processes.of(request.pid()));
        let handle = fh.map(|fh| fh.0);
        let work = move |op: Arc<Op>| async move {
            let number = ino(number);
            fs.truncate(&op, number, handle, size, by).await?;
            fs.set_attributes(number, &set)
        };
        self.answering.whole(op, reply, work, attr);
    }

    /// Content is changed otherwise than by WRITE, which says whether the set-user-id bits are to go: fuser does not pass on `FATTR_KILL_SUIDGID`, and other
    /// requests have no such flag. So everybody but root loses them, as who has not CAP_FSETID does.
    pub(super) fn changes_content(&self, request: &Request, number: INodeNo) {
        if request.uid() != 0 {
            self.fs.drop_privileges(ino(number));
        }
    }

    pub(super) fn do_getxattr(
        &self,
        request: &Request,
        number: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let op = self.op("getxattr", request, number);
        let name = match utf8(name) {
            Ok(name) => name,
            Err(_) => {
                return self.answering.now(
                    &op,
                    reply,
                    Err::<(), _>(Error::NoAttribute),
                    |_, ()| {},
                );
            }
        };
        let answer = move |reply, value: Vec<u8>| xattr(reply, size, &value);
        if let Some(known) = self.fs.xattr_known(ino(number), name) {
            return self.answering.now(&op, reply, known, answer);
        }
        let (fs, name) = (Arc::clone(&self.fs), name.to_owned());
        let work = move |op: Arc<Op>| async move { fs.xattr(&op, ino(number), &name).await };
        self.answering.later(op, reply, work, answer);
    }

    pub(super) fn do_listxattr(
        &self,
        request: &Request,
        number: INodeNo,
        size: u32,
        reply: ReplyXattr,
    ) {
        let op = self.op("listxattr", request, number);
        let names = self.fs.xattr_names(ino(number));
        self.answering
            .now(&op, reply, names, |reply, names| xattr(reply, size, &names));
    }

    pub(super) fn do_setxattr(
        &self,
        request: &Request,
        number: INodeNo,
        (name, value): (&OsStr, &[u8]),
        flags: i32,
        reply: ReplyEmpty,
    ) {
        let op = self.op("setxattr", request, number);
        let demand = match flags {
            libc::XATTR_CREATE => SetXattr::Create,
            libc::XATTR_REPLACE => SetXattr::Replace,
            _ => SetXattr::Any,
        };
        let done =
            xattr_name(name).and_then(|name| self.fs.set_xattr(ino(number), name, value, demand));
        self.answering.now(&op, reply, done, |reply, ()| reply.ok());
    }

    pub(super) fn do_removexattr(
        &self,
        request: &Request,
        number: INodeNo,
        name: &OsStr,
        reply: ReplyEmpty,
    ) {
        let op = self.op("removexattr", request, number);
        let done = xattr_name(name).and_then(|name| self.fs.remove_xattr(ino(number), name));
        self.answering.now(&op, reply, done, |reply, ()| reply.ok());
    }
}

/// Names of attributes are kept as text.
fn xattr_name(name: &OsStr) -> Result<&str, Error> {
    utf8(name).map_err(|_| Error::NotSupported)
}

fn xattr(reply: ReplyXattr, size: u32, value: &[u8]) {
    match u32::try_from(value.len()) {
        Ok(len) if size == 0 => reply.size(len),
        Ok(len) if len <= size => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
}
