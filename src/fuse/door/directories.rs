//! readdir.

use std::sync::Arc;
use std::time::Duration;

use fuser::{
    FileAttr, FileHandle, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus, Request,
};

use super::Door;
use crate::fs::{Attributes, DirectoryEntry, Room};
use crate::fuse::answer::{file_attr, file_type};
use crate::op::Op;

impl Door {
    pub(super) fn do_readdir(
        &self,
        request: &Request,
        number: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        let op = self.op("readdir", request, number);
        let fs = Arc::clone(&self.fs);
        let work = move |op: Arc<Op>| async move { fs.readdir(&op, fh.0, offset).await };
        self.answering.later(op, reply, work, |mut reply, view| {
            view.fill(
                |DirectoryEntry {
                     name,
                     cookie,
                     kind,
                     number,
                     ..
                 }| {
                    room(reply.add(INodeNo(number), cookie, file_type(kind), name))
                },
            );
            reply.ok();
        });
    }

    pub(super) fn do_readdirplus(
        &self,
        request: &Request,
        number: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let op = self.op("readdirplus", request, number);
        let fs = Arc::clone(&self.fs);
        let work = move |op: Arc<Op>| async move { fs.readdirplus(&op, fh.0, offset).await };
        self.answering.later(op, reply, work, |mut reply, view| {
            view.fill_plus(|entry| add_plus(&mut reply, entry));
            reply.ok();
        });
    }
}

/// fuser says true when an entry did not fit.
fn room(full: bool) -> Room {
    if full { Room::Full } else { Room::More }
}

fn add_plus(reply: &mut ReplyDirectoryPlus, entry: DirectoryEntry<'_>) -> Room {
    let DirectoryEntry {
        name,
        cookie,
        kind,
        number,
        entry,
    } = entry;
    let Some(entry) = entry else {
        // `.` and `..`: the kernel takes their names and does not count them.
        let bare = FileAttr {
            ino: INodeNo(number),
            kind: file_type(kind),
            ..file_attr(&Attributes::none())
        };
        return room(reply.add(
            bare.ino,
            cookie,
            name,
            &Duration::ZERO,
            &bare,
            Generation(0),
        ));
    };
    let attributes = *entry.attributes();
    let attr = file_attr(&attributes);
    let full = reply.add(
        attr.ino,
        cookie,
        name,
        &attributes.ttl,
        &attr,
        Generation(0),
    );
    if !full {
        entry.give();
    }
    room(full)
}
