//! Open, read, close.

use std::sync::Arc;

use fuser::{FileHandle, INodeNo, OpenFlags, ReplyData, ReplyOpen, Request};

use super::{Door, ino};
use crate::fs::{Mode, Opened};
use crate::fuse::io_mode::Wish;
use crate::op::Op;

impl Door {
    pub(super) fn do_open(
        &self,
        request: &Request,
        number: INodeNo,
        flags: OpenFlags,
        reply: ReplyOpen,
    ) {
        if flags.acc_mode() != fuser::OpenAccMode::O_RDONLY {
            return self.do_open_write(request, number, flags.0, reply);
        }
        let op = self.op("open", request, number);
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

    pub(super) fn do_read(
        &self,
        request: &Request,
        number: INodeNo,
        fh: FileHandle,
        (offset, size): (u64, u32),
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

    pub(super) fn do_release(&self, number: INodeNo, fh: FileHandle) {
        self.backings.close(number.0, fh.0);
        self.fs.release(fh.0);
    }
}
