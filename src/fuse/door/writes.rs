//! Requests that change the content of files.

use std::ffi::OsStr;
use std::sync::Arc;

use fuser::{
    FileHandle, Generation, INodeNo, ReplyCreate, ReplyEmpty, ReplyLseek, ReplyOpen, ReplyWrite,
    Request, WriteFlags,
};
use tokio::sync::Semaphore;

use super::changes::{maker, new_name};
use super::{Door, ino};
use crate::fs::{Entry, Error, FileSystem, Mode, Opened, Seek, WriteBy, WriteOpen};
use crate::fuse::answer::{Refuse, file_attr};
use crate::fuse::backing::Backings;
use crate::fuse::io_mode::Wish;
use crate::fuse::processes::lives;
use crate::op::Op;

/// Payloads that wait for room, whole: 64 MiB. Of what comes while so many wait, only the beginning is taken, and the writer is told so by a short count.
pub(super) const PAYLOADS_MAX: usize = 64;

/// Bytes that are taken then: a page.
const SHORT: usize = 4096;

/// Bytes that one COPY_FILE_RANGE copies: its answer has 32 bits.
const COPY_BYTES_MAX: u64 = 1 << 30;

/// How the kernel is to use a handle that may write.
fn wish(mode: Mode) -> Wish {
    match mode {
        Mode::Direct => Wish::Direct,
        Mode::Cached => Wish::ByUs,
    }
}

/// A file that others read from a backing file is looked up again, and is another inode then.
fn refuse_backed<R: Refuse>(fs: &Arc<FileSystem>, number: u64, handle: u64, reply: R) {
    fs.release(handle);
    fs.renew(ino(INodeNo(number)));
    reply.refuse(fuser::Errno::ESTALE);
}

impl Door {
    fn write_open(&self, request: &Request, flags: i32) -> WriteOpen {
        WriteOpen {
            truncate: flags & libc::O_TRUNC != 0,
            exclusive: flags & libc::O_EXCL != 0,
            opener: self.processes.of(request.pid()),
        }
    }

    pub(super) fn do_open_write(
        &self,
        request: &Request,
        number: INodeNo,
        flags: i32,
        reply: ReplyOpen,
    ) {
        let op = self.op("open", request, number);
        let how = self.write_open(request, flags);
        let (fs, backings) = (Arc::clone(&self.fs), Arc::clone(&self.backings));
        let opened = move |reply: ReplyOpen, Opened { handle, mode }| match backings.open_written(
            number.0,
            handle,
            wish(mode),
        ) {
            Some(flags) => reply.opened(FileHandle(handle), flags),
            None => refuse_backed(&fs, number.0, handle, reply),
        };
        if let Some(known) = self.fs.open_write_known(ino(number), how) {
            return self.answering.now(&op, reply, known, opened);
        }
        let fs = Arc::clone(&self.fs);
        let work = move |op: Arc<Op>| async move { fs.open_write(&op, ino(number), how).await };
        self.answering.later(op, reply, work, opened);
    }

    pub(super) fn do_create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: (u32, u32),
        flags: i32,
        reply: ReplyCreate,
    ) {
        let op = self.op("create", request, parent);
        let how = self.write_open(request, flags);
        let (maker, name) = (maker(request, mode), new_name(name));
        let (fs, backings) = (Arc::clone(&self.fs), Arc::clone(&self.backings));
        let created = move |reply: ReplyCreate, (entry, opened): (Entry, Opened)| {
            answer_created(&fs, &backings, reply, entry, opened);
        };
        if let Ok(name) = &name
            && let Some(known) = self.fs.create_known(ino(parent), name, maker, how)
        {
            return self.answering.now(&op, reply, known, created);
        }
        let fs = Arc::clone(&self.fs);
        let work =
            move |op: Arc<Op>| async move { fs.create(&op, ino(parent), &name?, maker, how).await };
        self.answering.later(op, reply, work, created);
    }

    pub(super) fn do_write(
        &self,
        request: &Request,
        number: INodeNo,
        fh: FileHandle,
        (offset, data): (u64, &[u8]),
        flags: WriteFlags,
        reply: ReplyWrite,
    ) {
        let by = match flags.contains(WriteFlags::FUSE_WRITE_CACHE) {
            true => WriteBy::Mapping,
            false => WriteBy::Process(self.processes.of(request.pid())),
        };
        if flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
            self.fs.drop_privileges(ino(number));
        }
        match self.fs.try_write(fh.0, offset, data, by) {
            Ok(Ok(())) => {
                self.answering.metrics.fuse.requests.inc();
                return reply.written(count(data.len()));
            }
            Ok(Err(_)) => {}
            Err(error) => {
                let op = self.op("write", request, number);
                let refused = Err::<(), _>(error);
                return self.answering.now(&op, reply, refused, |_, ()| {});
            }
        }
        let op = self.op("write", request, number);
        let permit = Arc::clone(&self.payloads).try_acquire_owned().ok();
        // What a mapping has written cannot be cut: there is nobody who would write the rest.
        let taken = match (&permit, by) {
            (None, WriteBy::Process(_)) => &data[..data.len().min(SHORT)],
            (Some(_), _) | (None, WriteBy::Mapping) => data,
        };
        let (fs, bytes) = (Arc::clone(&self.fs), taken.to_vec());
        let work = move |op: Arc<Op>| async move {
            let _permit = permit;
            let done = fs.write(&op, fh.0, offset, &bytes, by).await;
            done.map(|()| count(bytes.len()))
        };
        self.answering.later(op, reply, work, ReplyWrite::written);
    }

    pub(super) fn do_flush(
        &self,
        request: &Request,
        number: INodeNo,
        fh: FileHandle,
        reply: ReplyEmpty,
    ) {
        let op = self.op("flush", request, number);
        let by = || self.processes.of(request.pid());
        if let Some(known) = self.fs.flush_known(fh.0, by, lives) {
            return self
                .answering
                .now(&op, reply, known, |reply, ()| reply.ok());
        }
        self.commit(op, fh, reply);
    }

    pub(super) fn do_fsync(
        &self,
        request: &Request,
        number: INodeNo,
        fh: FileHandle,
        reply: ReplyEmpty,
    ) {
        if !self.fs.is_dirty(fh.0) {
            return reply.ok();
        }
        let op = self.op("fsync", request, number);
        self.commit(op, fh, reply);
    }

    fn commit(&self, op: Op, fh: FileHandle, reply: ReplyEmpty) {
        let fs = Arc::clone(&self.fs);
        let work = move |op: Arc<Op>| async move { fs.commit_handle(&op, fh.0).await };
        self.answering
            .whole(op, reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn do_fallocate(
        &self,
        request: &Request,
        number: INodeNo,
        fh: FileHandle,
        (offset, length): (u64, u64),
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let op = self.op("fallocate", request, number);
        self.changes_content(request, number);
        let (fs, by) = (Arc::clone(&self.fs), self.processes.of(request.pid()));
        let range = offset..offset.saturating_add(length);
        let work = move |op: Arc<Op>| async move { fs.fallocate(&op, fh.0, mode, range, by).await };
        self.answering
            .whole(op, reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn do_lseek(
        &self,
        request: &Request,
        number: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let op = self.op("lseek", request, number);
        let what = match whence {
            libc::SEEK_DATA => Ok(Seek::Data),
            libc::SEEK_HOLE => Ok(Seek::Hole),
            _ => Err(Error::Invalid(
                "the kernel seeks by itself but for SEEK_DATA and SEEK_HOLE",
            )),
        };
        let offset = u64::try_from(offset).map_err(|_| Error::NoSuchOffset);
        let found = what.and_then(|what| self.fs.seek(fh.0, offset?, what));
        self.answering.now(&op, reply, found, |reply, found| {
            reply.offset(i64::try_from(found).unwrap_or(i64::MAX));
        });
    }

    pub(super) fn do_copy_file_range(
        &self,
        request: &Request,
        number: INodeNo,
        (from, offset): (FileHandle, u64),
        (to, at): (FileHandle, u64),
        len: u64,
        reply: ReplyWrite,
    ) {
        let op = self.op("copy_file_range", request, number);
        self.changes_content(request, number);
        let (fs, by) = (Arc::clone(&self.fs), self.processes.of(request.pid()));
        let range = offset..offset.saturating_add(len.min(COPY_BYTES_MAX));
        let work = move |op: Arc<Op>| async move {
            fs.copy_range(&op, (from.0, range), (to.0, at), by).await
        };
        self.answering
            .whole(op, reply, work, |reply: ReplyWrite, copied| {
                reply.written(u32::try_from(copied).unwrap_or(u32::MAX));
            });
    }
}

fn answer_created(
    fs: &Arc<FileSystem>,
    backings: &Backings,
    reply: ReplyCreate,
    entry: Entry,
    Opened { handle, mode }: Opened,
) {
    let attributes = *entry.attributes();
    let number = attributes.ino.get();
    let Some(flags) = backings.open_written(number, handle, wish(mode)) else {
        return refuse_backed(fs, number, handle, reply);
    };
    Entry::give(entry);
    let attr = file_attr(&attributes);
    reply.created(
        &attributes.ttl,
        &attr,
        Generation(0),
        FileHandle(handle),
        flags,
    );
}

/// The bytes of a WRITE, which are at most 1 MiB.
fn count(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Room for payloads that wait.
pub(super) fn payloads() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(PAYLOADS_MAX))
}
