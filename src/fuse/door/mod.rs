//! The callbacks of fuser. What each does stands in the files beside, by what it is about.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, FopenFlags, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use tokio::sync::Semaphore;

use crate::fs::{Attributes, Error, FileSystem, SetAttributes};
use crate::fuse::answer::{Answering, entry, file_attr};
use crate::fuse::backing::Backings;
use crate::fuse::processes::Processes;
use crate::fuse::session::SessionOptions;
use crate::fuse::straddled::Straddled;
use crate::op::{Caller, Op};
use crate::tree::Ino;

mod attributes;
mod changes;
mod directories;
mod files;
mod writes;

/// The largest READ and WRITE: `FUSE_MAX_MAX_PAGES` is 256 pages of 4 KiB unless raised by a sysctl.
const MAX_WRITE: u32 = 1 << 20;

/// What is asked of the kernel, where it offers it.
///
/// Not `POSIX_LOCKS` and `FLOCK_LOCKS`: the kernel locks within the mount by itself. Not `WRITEBACK_CACHE`: it would hold back what was written, with
/// times and sizes of its own, and is slower for large writes.
/// Not `ATOMIC_O_TRUNC`: an OPEN that truncates may come before the kernel sees that the file is being executed (`handle_truncate`), so open(2) would
/// answer ETXTBSY and have cut the program. Without it a SETATTR follows the OPEN.
const WANTED: [InitFlags; 7] = [
    // LOOKUP and READDIR of one directory at the same time.
    InitFlags::FUSE_PARALLEL_DIROPS,
    // Attributes with names, when the kernel sees that they are used: `ls -l` costs no LOOKUP per file.
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    // Several requests of one direct read in flight.
    InitFlags::FUSE_ASYNC_DIO,
    // mmap of a file that is open for direct I/O.
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    // An inode is one version: its pages are never out of date, whatever its times say.
    InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    // The kernel does not ask for `security.capability` before each write: it says when the set-user-id bits are to go.
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
];

/// The door: what fuser calls.
#[derive(Debug)]
pub(super) struct Door {
    fs: Arc<FileSystem>,
    answering: Answering,
    backings: Arc<Backings>,
    straddled: Arc<Straddled>,
    options: SessionOptions,
    processes: Processes,
    /// One for each payload of a WRITE that waits for room.
    payloads: Arc<Semaphore>,
}

impl Door {
    pub(super) fn new(
        fs: Arc<FileSystem>,
        answering: Answering,
        straddled: Straddled,
        options: SessionOptions,
    ) -> Self {
        let backings = Backings::new(Arc::clone(&fs), Arc::clone(&answering.metrics));
        Self {
            fs,
            answering,
            backings,
            straddled: Arc::new(straddled),
            options,
            processes: Processes::default(),
            payloads: writes::payloads(),
        }
    }

    fn op(&self, name: &'static str, request: &Request, ino: INodeNo) -> Op {
        self.answering.metrics.fuse.requests.inc();
        Op::new(name, ino.0, Caller::Thread(request.pid()))
    }
}

/// The inode that the kernel means. It only names inodes that it was given, so 0 never comes.
fn ino(number: INodeNo) -> Ino {
    Ino::new(number.0).unwrap_or(Ino::ROOT)
}

/// The name as UTF-8. OSS has no other names, so any other is a name of nothing.
fn utf8(name: &OsStr) -> Result<&str, Error> {
    name.to_str().ok_or(Error::NotFound)
}

fn time(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

fn attr(reply: ReplyAttr, attributes: Attributes) {
    reply.attr(&attributes.ttl, &file_attr(&attributes));
}

impl Filesystem for Door {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for flag in WANTED {
            // What an older kernel does not offer is done without.
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_write(MAX_WRITE);
        // The kernel caps it at its own default; more is asked for through sysfs once the mount is up.
        if let Err(offered) = config.set_max_readahead(MAX_WRITE) {
            let _ = config.set_max_readahead(offered);
        }
        let _ = config.set_max_background(self.options.max_background);
        if let Some(depth) = self.options.passthrough {
            let offers = config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok();
            let can = offers && config.set_max_stack_depth(depth).is_ok();
            self.backings.set(can);
        }
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let op = self.op("lookup", request, parent);
        let name = match utf8(name) {
            Ok(name) => name,
            Err(error) => return self.answering.now(&op, reply, Err(error), entry),
        };
        if let Some(known) = self.fs.lookup_known(ino(parent), name) {
            return self.answering.now(&op, reply, known, entry);
        }
        let (fs, name) = (Arc::clone(&self.fs), name.to_owned());
        let work = move |op: Arc<Op>| async move { fs.lookup(&op, ino(parent), &name).await };
        self.answering.later(op, reply, work, entry);
    }

    fn forget(&self, _request: &Request, number: INodeNo, lookups: u64) {
        self.fs.forget(ino(number), lookups);
    }

    fn getattr(
        &self,
        request: &Request,
        number: INodeNo,
        _fh: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        let op = self.op("getattr", request, number);
        if let Some(known) = self.fs.attributes_known(ino(number)) {
            return self.answering.now(&op, reply, known, attr);
        }
        let fs = Arc::clone(&self.fs);
        let work = move |op: Arc<Op>| async move { fs.attributes(&op, ino(number)).await };
        self.answering.later(op, reply, work, attr);
    }

    fn opendir(&self, request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let op = self.op("opendir", request, number);
        let result = self.fs.opendir(ino(number));
        self.answering.now(&op, reply, result, |reply, handle| {
            reply.opened(FileHandle(handle), FopenFlags::empty());
        });
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.fs.releasedir(fh.0);
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        // A bucket has no size; programs that look for room find a pebibyte.
        const BLOCK: u32 = 1 << 20;
        const BLOCKS: u64 = 1 << 30;
        reply.statfs(
            BLOCKS,
            BLOCKS,
            BLOCKS,
            u64::from(u32::MAX),
            u64::from(u32::MAX),
            BLOCK,
            255,
            BLOCK,
        );
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn open(&self, request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.do_open(request, number, flags, reply);
    }

    fn read(
        &self,
        request: &Request,
        number: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.do_read(request, number, fh, (offset, size), reply);
    }

    fn release(
        &self,
        _request: &Request,
        number: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.do_release(number, fh);
        reply.ok();
    }

    fn flush(
        &self,
        request: &Request,
        number: INodeNo,
        fh: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.do_flush(request, number, fh, reply);
    }

    fn fsync(
        &self,
        request: &Request,
        number: INodeNo,
        fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.do_fsync(request, number, fh, reply);
    }

    fn readdir(
        &self,
        request: &Request,
        number: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.do_readdir(request, number, fh, offset, reply);
    }

    fn readdirplus(
        &self,
        request: &Request,
        number: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.do_readdirplus(request, number, fh, offset, reply);
    }

    fn readlink(&self, request: &Request, number: INodeNo, reply: ReplyData) {
        self.do_readlink(request, number, reply);
    }

    fn getxattr(
        &self,
        request: &Request,
        number: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        self.do_getxattr(request, number, name, size, reply);
    }

    fn listxattr(&self, request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        self.do_listxattr(request, number, size, reply);
    }

    fn setxattr(
        &self,
        request: &Request,
        number: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        self.do_setxattr(request, number, (name, value), flags, reply);
    }

    fn removexattr(&self, request: &Request, number: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.do_removexattr(request, number, name, reply);
    }

    fn access(&self, _request: &Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        // The kernel checks modes itself (default_permissions) and asks only on mounts without it.
        reply.ok();
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = SetAttributes {
            mode,
            uid,
            gid,
            accessed: atime.map(time),
            modified: mtime.map(time),
        };
        self.do_setattr(request, number, set, size, fh, reply);
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        self.do_mknod(request, parent, name, (mode, umask), rdev, reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        self.do_mkdir(request, parent, name, (mode, umask), reply);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.do_unlink(request, parent, name, reply);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.do_rmdir(request, parent, name, reply);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        self.do_symlink(request, parent, name, target, reply);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.do_rename(request, (parent, name), (newparent, newname), flags, reply);
    }

    fn link(
        &self,
        request: &Request,
        number: INodeNo,
        _newparent: INodeNo,
        _newname: &OsStr,
        reply: ReplyEntry,
    ) {
        self.do_link(request, number, reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        self.do_create(request, parent, name, (mode, umask), flags, reply);
    }

    fn write(
        &self,
        request: &Request,
        number: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.do_write(request, number, fh, (offset, data), write_flags, reply);
    }

    fn fallocate(
        &self,
        request: &Request,
        number: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.do_fallocate(request, number, fh, (offset, length), mode, reply);
    }

    fn lseek(
        &self,
        request: &Request,
        number: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.do_lseek(request, number, fh, offset, whence, reply);
    }

    fn copy_file_range(
        &self,
        request: &Request,
        _ino_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (from, to) = ((fh_in, offset_in), (fh_out, offset_out));
        self.do_copy_file_range(request, ino_out, from, to, len, reply);
    }
}
