//! The callbacks of fuser.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::answer::{Answering, Refuse, entry, file_attr};
use super::backing::Backings;
use super::io_mode::Wish;
use super::session::SessionOptions;
use super::straddled::Straddled;
use crate::fs::{Attributes, DirectoryEntry, Error, FileSystem, Mode, Opened, Room};
use crate::op::{Caller, Op};
use crate::tree::Ino;

/// The largest READ and WRITE: `FUSE_MAX_MAX_PAGES` is 256 pages of 4 KiB unless raised by a sysctl.
const MAX_WRITE: u32 = 1 << 20;

/// What is asked of the kernel, where it offers it.
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
    // open(2) with O_TRUNC is one request, not two.
    InitFlags::FUSE_ATOMIC_O_TRUNC,
];

/// Callbacks that answer EROFS, by their arguments after the request and the inode.
macro_rules! refuse {
    ($($name:ident($($argument:ty),*) $reply:ty;)+) => { $(
        fn $name(&self, request: &Request, number: INodeNo, $(_: $argument,)* reply: $reply) {
            self.read_only(stringify!($name), request, number, reply);
        }
    )+ };
}

/// The door: what fuser calls.
#[derive(Debug)]
pub(super) struct Door {
    fs: Arc<FileSystem>,
    answering: Answering,
    backings: Arc<Backings>,
    straddled: Arc<Straddled>,
    options: SessionOptions,
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
        }
    }

    fn op(&self, name: &'static str, request: &Request, ino: INodeNo) -> Op {
        self.answering.metrics.fuse.requests.inc();
        Op::new(name, ino.0, Caller::Thread(request.pid()))
    }

    /// The mount is read-only: each request to change something ends here.
    fn read_only<R: Refuse>(&self, name: &'static str, request: &Request, ino: INodeNo, reply: R) {
        let op = self.op(name, request, ino);
        self.answering
            .now(&op, reply, Err::<(), _>(Error::ReadOnly), |_, ()| {});
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

fn attr(reply: ReplyAttr, attributes: Attributes) {
    reply.attr(&attributes.ttl, &file_attr(&attributes));
}

fn xattr(reply: ReplyXattr, size: u32, value: &[u8]) {
    match u32::try_from(value.len()) {
        Ok(len) if size == 0 => reply.size(len),
        Ok(len) if len <= size => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
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

    fn open(&self, request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let op = self.op("open", request, number);
        if flags.acc_mode() != fuser::OpenAccMode::O_RDONLY {
            return self.read_only("open", request, number, reply);
        }
        let is_direct = flags.0 & libc::O_DIRECT != 0;
        let backings = Arc::clone(&self.backings);
        let opened = move |reply, Opened { handle, mode }| {
            let wish = match mode {
                Mode::Direct => Wish::Direct,
                Mode::Cached if is_direct => Wish::ByUs,
                Mode::Cached => Wish::Fast,
            };
            backings.open(reply, number.0, handle, wish);
        };
        if let Some(known) = self.fs.open_known(ino(number)) {
            return self.answering.now(&op, reply, known, opened);
        }
        let fs = Arc::clone(&self.fs);
        let work = move |op: Arc<Op>| async move { fs.open(&op, ino(number)).await };
        self.answering.later(op, reply, work, opened);
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
        let pending = match self.fs.try_read(fh.0, offset, u64::from(size)) {
            Ok(Ok(served)) => {
                // The most frequent way of all: without an `Op`, at whose clock and cancel token nobody would look.
                self.answering.metrics.fuse.requests.inc();
                return self.straddled.answer(request.unique(), reply, &served);
            }
            Ok(Err(pending)) => pending,
            Err(error) => {
                let op = self.op("read", request, number);
                return self
                    .answering
                    .now(&op, reply, Err::<(), _>(error), |_, ()| {});
            }
        };
        let op = self.op("read", request, number);
        let fs = Arc::clone(&self.fs);
        let work = move |op: Arc<Op>| async move { fs.read(&op, pending).await };
        let (straddled, request) = (Arc::clone(&self.straddled), request.unique());
        self.answering.later(op, reply, work, move |reply, served| {
            straddled.answer(request, reply, &served);
        });
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
        self.backings.close(number.0, fh.0);
        self.fs.release(fh.0);
        reply.ok();
    }

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // Nothing is ever dirty. A kernel that knows FOPEN_NOFLUSH does not ask.
        reply.ok();
    }

    fn opendir(&self, request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let op = self.op("opendir", request, number);
        let result = self.fs.opendir(ino(number));
        self.answering.now(&op, reply, result, |reply, handle| {
            reply.opened(FileHandle(handle), FopenFlags::empty());
        });
    }

    fn readdir(
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
                     directory,
                     number,
                     ..
                 }| {
                    room(reply.add(INodeNo(number), cookie, file_type(directory), name))
                },
            );
            reply.ok();
        });
    }

    fn readdirplus(
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

    fn getxattr(
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
        let answer = move |reply, value: String| xattr(reply, size, value.as_bytes());
        if let Some(known) = self.fs.xattr_known(ino(number), name) {
            return self.answering.now(&op, reply, known, answer);
        }
        let (fs, name) = (Arc::clone(&self.fs), name.to_owned());
        let work = move |op: Arc<Op>| async move { fs.xattr(&op, ino(number), &name).await };
        self.answering.later(op, reply, work, answer);
    }

    fn listxattr(&self, request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        let op = self.op("listxattr", request, number);
        let names = self.fs.xattr_names(ino(number));
        self.answering
            .now(&op, reply, names, |reply, names| xattr(reply, size, &names));
    }

    fn access(&self, request: &Request, number: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        // The kernel checks modes itself (default_permissions) and asks only on mounts without it.
        if mask.contains(AccessFlags::W_OK) {
            return self.read_only("access", request, number, reply);
        }
        reply.ok();
    }

    fn fsync(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
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

    // Everything that would change something.
    refuse! {
        setattr(
            Option<u32>, Option<u32>, Option<u32>, Option<u64>, Option<TimeOrNow>, Option<TimeOrNow>,
            Option<SystemTime>, Option<FileHandle>, Option<SystemTime>, Option<SystemTime>, Option<SystemTime>,
            Option<BsdFileFlags>
        ) ReplyAttr;
        mknod(&OsStr, u32, u32, u32) ReplyEntry;
        mkdir(&OsStr, u32, u32) ReplyEntry;
        unlink(&OsStr) ReplyEmpty;
        rmdir(&OsStr) ReplyEmpty;
        symlink(&OsStr, &Path) ReplyEntry;
        rename(&OsStr, INodeNo, &OsStr, RenameFlags) ReplyEmpty;
        link(INodeNo, &OsStr) ReplyEntry;
        create(&OsStr, u32, u32, i32) ReplyCreate;
        write(FileHandle, u64, &[u8], WriteFlags, OpenFlags, Option<LockOwner>) ReplyWrite;
        fallocate(FileHandle, u64, u64, i32) ReplyEmpty;
        setxattr(&OsStr, &[u8], i32, u32) ReplyEmpty;
        removexattr(&OsStr) ReplyEmpty;
    }
}

fn file_type(directory: bool) -> FileType {
    if directory {
        FileType::Directory
    } else {
        FileType::RegularFile
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
        directory,
        number,
        entry,
    } = entry;
    let Some(entry) = entry else {
        // `.` and `..`: the kernel takes their names and does not count them.
        let bare = FileAttr {
            ino: INodeNo(number),
            kind: file_type(directory),
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
