//! From a result of the file system to an answer of the kernel, inline or from a task.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{Errno, FileAttr, FileType, Generation, INodeNo, ReplyEntry};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::errno::errno;
use super::kernel::path;
use super::pending::Pending;
use crate::fs::{Attributes, Entry, Error, FileKind, FileSystem, Found};
use crate::metrics::{Asker, Metrics, Record, WORTH_NOTING};
use crate::op::{Caller, Op};
use crate::tree::{Ino, Special};

/// A reply that can be an error.
pub(super) trait Refuse: Send + 'static {
    /// Answers with an errno.
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ident),+) => { $(impl Refuse for fuser::$reply {
        fn refuse(self, errno: Errno) { self.error(errno); }
    })+ };
}

refuse!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite,
    ReplyXattr
);

/// What answering needs.
#[derive(Debug, Clone)]
pub(super) struct Answering {
    pub(super) pending: Arc<Pending>,
    pub(super) runtime: Handle,
    pub(super) metrics: Arc<Metrics>,
    /// Where changes run.
    pub(super) changes: TaskTracker,
    /// Knows the paths that messages name.
    pub(super) fs: Arc<FileSystem>,
}

impl Answering {
    /// Works on a request in a task that owns the reply. A cancelled request is answered EINTR.
    pub(super) fn later<R: Refuse, T, F>(
        &self,
        op: Op,
        reply: R,
        work: impl FnOnce(Arc<Op>) -> F,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) where
        F: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        let entered = self.pending.enter(op);
        let telling = self.clone();
        let work = work(Arc::clone(entered.op()));
        self.runtime.spawn(async move {
            let op = entered.op();
            let result = tokio::select! {
                biased;
                () = op.cancelled() => Err(Error::Interrupted),
                result = work => result,
            };
            telling.note(op, result.as_ref().err());
            match result {
                Ok(value) => answer(reply, value),
                Err(error) => telling.refuse(op, reply, &error),
            }
        });
    }

    /// Works on a change in a task that goes on to its end whoever waits: half a change would be worse than an answer that nobody
    /// hears. A caller that was killed is answered EINTR.
    pub(super) fn whole<R: Refuse, T, F>(
        &self,
        op: Op,
        reply: R,
        work: impl FnOnce(Arc<Op>) -> F,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) where
        F: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        // Nobody cancels this one.
        let own = Arc::new(Op::new(op.name(), op.ino(), Caller::Thread(0)));
        let work = work(Arc::clone(&own));
        let task = self.changes.spawn_on(work, &self.runtime);
        let ends = |op: Arc<Op>| async move {
            // It ends without a result only with the runtime.
            let result = task.await.unwrap_or(Err(Error::Interrupted));
            if let Some(id) = own.request_id() {
                op.answered(&id);
            }
            result
        };
        self.later(op, reply, ends, answer);
    }

    /// Answers a request at once.
    pub(super) fn now<R: Refuse, T>(
        &self,
        op: &Op,
        reply: R,
        result: Result<T, Error>,
        answer: impl FnOnce(R, T),
    ) {
        match result {
            Ok(value) => answer(reply, value),
            Err(error) => self.refuse(op, reply, &error),
        }
    }

    /// Answers with an error, and says so once: here. Of an operation on a name, inode and path are those of its directory.
    fn refuse<R: Refuse>(&self, op: &Op, reply: R, error: &Error) {
        let (name, ino) = (op.name(), op.ino());
        if error.is_routine() {
            tracing::debug!(op = name, ino, "{error}");
        } else {
            self.metrics.fuse.errors.inc();
            let (path, line) = (path(&self.fs, ino), with_causes(error));
            let oss = error.oss();
            tracing::warn!(
                op = name,
                ino,
                path,
                key = oss.and_then(|oss| oss.key()).map(tracing::field::display),
                code = oss.and_then(|oss| oss.code()),
                request_id = oss.and_then(|oss| oss.request_id()),
                waited_ms = op.age().as_millis(),
                "{line}"
            );
            let record = self.record(op, path, Some(line));
            self.metrics.journal.failed(record);
        }
        reply.refuse(errno(error));
    }

    /// Takes note of a request that took long.
    fn note(&self, op: &Op, error: Option<&Error>) {
        if op.age() >= WORTH_NOTING {
            let path = path(&self.fs, op.ino());
            let record = self.record(op, path, error.map(ToString::to_string));
            self.metrics.journal.ended(record);
        }
    }

    fn record(&self, op: &Op, path: Option<String>, error: Option<String>) -> Record {
        Record {
            ended: SystemTime::now(),
            asker: Asker::Kernel,
            op: op.name(),
            subject: path.unwrap_or_else(|| format!("inode {}", op.ino())),
            took: op.age(),
            request_id: op.request_id().map(String::from),
            error,
        }
    }
}

/// An error and what it was caused by, in one line.
fn with_causes(error: &Error) -> String {
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

/// The kernel's number of an inode.
pub(super) fn number(ino: Ino) -> INodeNo {
    INodeNo(ino.get())
}

/// What stat(2) calls the preferred size of a read. CPython before 3.14 takes it for the buffer of `open()`, which is filled anew after
/// each seek: a large one would fetch as much for every few bytes. Who reads in sequence is read ahead for whatever it is, and `cp` and
/// `cat` take 128 KiB at least.
const PREFERRED_BYTES: u32 = 4096;

/// The attributes in the kernel's words.
pub(super) fn file_attr(attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: number(attributes.ino),
        size: attributes.size,
        blocks: attributes.size.div_ceil(512),
        atime: attributes.accessed,
        mtime: attributes.modified,
        ctime: attributes.changed,
        crtime: attributes.modified,
        kind: file_type(attributes.kind),
        perm: attributes.mode,
        nlink: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: match attributes.kind {
            FileKind::Special(Special::CharacterDevice(device) | Special::BlockDevice(device)) => {
                device
            }
            FileKind::Special(Special::Fifo | Special::Socket)
            | FileKind::File
            | FileKind::Directory
            | FileKind::Symlink => 0,
        },
        blksize: PREFERRED_BYTES,
        flags: 0,
    }
}

/// The kernel's word for what an inode is.
pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Special(Special::Fifo) => FileType::NamedPipe,
        FileKind::Special(Special::Socket) => FileType::Socket,
        FileKind::Special(Special::CharacterDevice(_)) => FileType::CharDevice,
        FileKind::Special(Special::BlockDevice(_)) => FileType::BlockDevice,
    }
}

/// Answers a request that has made something.
pub(super) fn made(reply: ReplyEntry, made: Entry) {
    entry(reply, Found::Entry(made));
}

/// Answers a LOOKUP. "No such name" is an entry too, with inode 0 and its own time to live.
pub(super) fn entry(reply: ReplyEntry, found: Found) {
    match found {
        Found::Entry(entry) => {
            let attr = file_attr(entry.attributes());
            let ttl = entry.attributes().ttl;
            Entry::give(entry);
            reply.entry(&ttl, &attr, Generation(0));
        }
        Found::Nothing(ttl) if ttl > Duration::ZERO => {
            let none = FileAttr {
                ino: INodeNo(0),
                ..file_attr(&Attributes::none())
            };
            reply.entry(&ttl, &none, Generation(0));
        }
        Found::Nothing(_) => reply.error(Errno::ENOENT),
    }
}
