//! The threads of the cache: two that write, one that reads back, one that makes seals last, one that closes files, and the
//! keeper, who makes room.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::directory::{Found, Part};
use super::queue::Next;
use super::room::{Coldest, Need};
use super::stored::Stored;
use super::{Inner, Job, Soft, Write};

/// Threads that write. One copies a good gigabyte a second into the page cache; more would take the reader's processors.
const WRITERS: usize = 2;

/// How often the keeper looks whether others have filled the disk.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A thread that works has no other reason to wake.
const FOREVER: Duration = Duration::from_secs(3600);

/// How long the keeper rests after a look that could free nothing: everything is in use, and each write that is dropped for
/// want of room asks for another look.
const REST: Duration = Duration::from_secs(1);

/// Starts the threads. They end when their lines are closed and what they are at is done.
pub(super) fn start(inner: &Arc<Inner>) -> io::Result<()> {
    let start = |name: &str, run: fn(&Inner)| {
        let inner = Arc::clone(inner);
        let thread = thread::Builder::new().name(name.to_owned());
        thread.spawn(move || run(&inner)).map(drop)
    };
    for _ in 0..WRITERS {
        start("disk-write", write_all)?;
    }
    start("disk-verify", verify_all)?;
    start("disk-harden", harden_all)?;
    start("disk-close", close_all)?;
    start("disk-keeper", keep)
}

/// What a look has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    Well,
    /// There is too much, and nothing of it could be removed.
    InVain,
}

fn write_all(inner: &Inner) {
    loop {
        match inner.writes.next(FOREVER) {
            Next::Job(job, bytes) => {
                match job {
                    Job::Write(write) => inner.write(write),
                    Job::Discard(object) => object.remove(),
                }
                inner.writes.done(bytes);
            }
            Next::Nothing => {}
            Next::End => return,
        }
    }
}

fn verify_all(inner: &Inner) {
    loop {
        match inner.whole.next(FOREVER) {
            Next::Job(object, bytes) => {
                object.is_in_line.store(false, Ordering::Release);
                object.verify();
                drop(object);
                inner.whole.done(bytes);
            }
            Next::Nothing => {}
            Next::End => return,
        }
    }
}

fn harden_all(inner: &Inner) {
    loop {
        match inner.soft.next(FOREVER) {
            Next::Job(soft, bytes) => {
                if inner.soft.rest_until(soft.due) {
                    inner.harden(&soft);
                }
                inner.soft.done(bytes);
            }
            Next::Nothing => {}
            Next::End => return,
        }
    }
}

fn close_all(inner: &Inner) {
    loop {
        match inner.closes.next(FOREVER) {
            Next::Job(files, bytes) => {
                drop(files);
                inner.closes.done(bytes);
            }
            Next::Nothing => {}
            Next::End => return,
        }
    }
}

fn keep(inner: &Inner) {
    loop {
        match inner.looks.next(LOOK_EVERY) {
            Next::Job((), bytes) => {
                // Whoever is refused from now on is heard in the next turn.
                inner.looks.done(bytes);
                if inner.look() == Looked::InVain {
                    thread::park_timeout(REST);
                }
            }
            Next::Nothing => {
                if inner
                    .directory
                    .room()
                    .is_ok_and(|room| inner.space.need(room) != Need::Nothing)
                {
                    inner.look();
                }
            }
            Next::End => return,
        }
    }
}

impl Inner {
    /// Writes one block, if there is room for it.
    fn write(&self, write: Write) {
        let len = write.block.len() as u64;
        let room = self.directory.room();
        let admitted = room
            .as_ref()
            .is_ok_and(|&room| self.space.admits(len, room));
        let written = if admitted {
            write.object.write(&write)
        } else {
            self.metrics.disk.dropped_writes.inc();
            Ok(false)
        };
        // Its memory is free before the next is fetched from the line.
        drop(write);
        match written {
            Ok(true) => {
                self.space.wrote(len);
                self.metrics.disk.written_bytes.inc_by(len);
            }
            Ok(false) => {}
            Err(error) => {
                self.metrics.disk.dropped_writes.inc();
                self.heard(&error);
            }
        }
        if room.is_ok_and(|room| self.space.need(room) == Need::Look) {
            self.look_later();
        }
    }

    /// Makes a seal one for good. What the disk does not take is removed, and read no more by those who have it open: it may be
    /// gone from memory soon.
    pub(super) fn harden(&self, soft: &Soft) {
        let Soft { identity, size, .. } = soft;
        let opened = Stored::open(&self.directory, identity, *size);
        let hardened = opened
            .and_then(|stored| stored.map_or(Ok(()), |stored| stored.harden(&self.directory)));
        if let Err(error) = hardened {
            self.heard(&error);
            let open = self.objects().get(&identity.id).and_then(Weak::upgrade);
            if let Some(object) = open {
                object.discard();
            }
            let removed = self.directory.locked(|| self.directory.remove(identity.id));
            if let Err(error) = removed {
                self.heard(&error);
            }
        }
    }

    /// Looks through the directory, and removes what is too much.
    fn look(&self) -> Looked {
        self.space.looks();
        let (mut used, mut freed) = (0, 0);
        let mut coldest = Coldest::new();
        let looked = self.directory.scan(|item| {
            used += item.bytes;
            if item.used.is_some() {
                coldest.see(item);
            } else if self.remove(&item) {
                // The rest of something that was interrupted.
                freed += item.bytes;
            }
        });
        let room = match looked.and_then(|()| self.directory.room()) {
            Ok(room) => room,
            Err(error) => {
                self.heard(&error);
                return Looked::InVain;
            }
        };
        if self.chooses_size {
            self.space.set_limit(u64::midpoint(room.free, used));
        }
        let excess = self.space.excess(used - freed, room);
        let evictions = &self.metrics.disk.evictions;
        freed += coldest.evict(excess, |item| {
            let is_removed = self.remove(item);
            evictions.inc_by(u64::from(is_removed));
            is_removed
        });
        self.space.looked(used - freed);
        self.metrics
            .disk
            .bytes
            .set(i64::try_from(used - freed).unwrap_or(i64::MAX));
        if freed > 0 {
            tracing::debug!(
                used,
                freed,
                limit = self.space.limit(),
                free = room.free,
                "the disk cache has made room"
            );
        }
        if excess > 0 && freed == 0 {
            Looked::InVain
        } else {
            Looked::Well
        }
    }

    /// Removes an object that nobody has open; true if it is gone.
    fn remove(&self, item: &Found) -> bool {
        let removed = self.directory.locked(|| {
            if item.used.is_none() && self.directory.file(item.id, Part::Map).is_ok() {
                // Its map was being made while we looked.
                return Ok(false);
            }
            match self.directory.file(item.id, Part::Data) {
                Ok(data) if data.try_lock().is_err() => return Ok(false),
                // The lock is held until the names are gone: nobody opens what vanishes.
                Ok(_locked) => self.directory.remove(item.id)?,
                Err(_) => self.directory.remove(item.id)?,
            }
            Ok(true)
        });
        removed.unwrap_or_else(|error| {
            self.heard(&error);
            false
        })
    }
}
