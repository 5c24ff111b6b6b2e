//! The files of one version. Everything here waits for the disk.
//!
//! A block is written under two locks, the thread's and the process's (flock(2) on the map): bytes first, then the record, and
//! only if there is no record yet. So a block that has a record never changes under a reader. One that was found bad loses its record,
//! and the file its seal: only then is a sealed file written to again, with the right bytes of the same version.

use std::cell::RefCell;
use std::fs::{File, FileTimes};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crc_fast::CrcAlgorithm::Crc64Xz;
use crc_fast::Digest;

use super::bits::Bits;
use super::directory::{Directory, Part};
use super::format::{self, Boot, ENTRY_BYTES, EXPECTED_AT, Id, Identity, SEAL_AT, SEAL_BYTES};
use crate::buffer::BLOCK_BYTES;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// Bytes that are read at once: small enough to stay in the processor's cache between reading, checking and copying.
const PIECE_BYTES: usize = 128 << 10;

thread_local! {
    /// Where bytes are read to. One per thread that reads from the disk, of which there are few.
    static PIECE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What reading a block has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockRead {
    /// All of it, with this CRC.
    Whole(u64),
    /// It is not there.
    Absent,
    /// What is there is not what was written. It is struck off.
    Bad,
}

/// What reading everything back has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every byte is right: it may be sealed.
    Right,
    /// Another process has found so meanwhile.
    SealedByOther,
    /// Blocks are missing, or were bad and were struck off: so many.
    Incomplete {
        /// Blocks that were bad.
        bad: u64,
    },
    /// Every block is as it came, but together they are not the object.
    Wrong,
}

/// The open files of one version.
#[derive(Debug)]
pub(super) struct Stored {
    id: Id,
    size: u64,
    map: File,
    /// `None`: the bytes are in the map. Else it has a shared flock(2), so that nobody evicts it.
    data: Option<Arc<File>>,
    /// Blocks that are there. Those that other processes have written since are missing, which costs a GET.
    present: Bits,
    /// Blocks that were read back since these files were opened, and were right.
    checked: Bits,
    /// CRC of the whole content; 0 while it is unknown. One content of 2^64 is then never compared.
    expected: AtomicU64,
    sealed: AtomicBool,
    /// The seal holds as long as the machine runs: the bytes have not been brought to the disk yet.
    is_of_this_boot: AtomicBool,
    boot: Option<Boot>,
    /// Held while blocks are written or struck off.
    writing: Mutex<()>,
}

impl Stored {
    /// The files of a version, if they are there and are its own.
    pub(super) fn open(
        directory: &Directory,
        identity: &Identity,
        size: u64,
    ) -> io::Result<Option<Self>> {
        let there = |opened: io::Result<File>| match opened {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let Some(map) = there(directory.file(identity.id, Part::Map))? else {
            return Ok(None);
        };
        let blocks = size.div_ceil(BLOCK);
        let len = usize::try_from(format::map_bytes(blocks)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        match map.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        if !bytes.starts_with(&identity.bytes) {
            return Ok(None);
        }
        let data = if is_inline(size) {
            None
        } else {
            let Some(data) = there(directory.file(identity.id, Part::Data))? else {
                return Ok(None);
            };
            // Shared, or somebody is about to remove it; without a link, somebody has.
            let is_locked = data.try_lock_shared().is_ok();
            let found = data.metadata()?;
            if !is_locked || found.len() != size || found.nlink() == 0 {
                return Ok(None);
            }
            Some(Arc::new(data))
        };
        // In use. Also a process that ends without closing anything leaves the time.
        map.set_times(FileTimes::new().set_modified(SystemTime::now()))?;
        let stored = Self::new(directory, identity.id, size, map, data);
        let records = bytes[len - records_len(blocks)..].chunks_exact(ENTRY_BYTES);
        for (index, record) in (0..blocks).zip(records) {
            if format::parse_entry(identity.id, index, record).is_some() {
                stored.present.insert(index);
            }
        }
        stored.load_expected(&bytes);
        stored.check_seal()?;
        Ok(Some(stored))
    }

    /// Makes the files anew. To be called under the directory's lock.
    pub(super) fn create(
        directory: &Directory,
        identity: &Identity,
        size: u64,
    ) -> io::Result<Self> {
        directory.remove(identity.id)?;
        let data = if is_inline(size) {
            None
        } else {
            let data = directory.create(identity.id, Part::Data)?;
            data.set_len(size)?;
            data.try_lock_shared()?;
            Some(Arc::new(data))
        };
        let map = directory.create(identity.id, Part::Map)?;
        let mut bytes = identity.bytes.clone();
        let len = format::map_bytes(size.div_ceil(BLOCK));
        bytes.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
        map.write_all_at(&bytes, 0)?;
        Ok(Self::new(directory, identity.id, size, map, data))
    }

    fn new(directory: &Directory, id: Id, size: u64, map: File, data: Option<Arc<File>>) -> Self {
        let blocks = size.div_ceil(BLOCK);
        Self {
            id,
            size,
            map,
            data,
            present: Bits::new(blocks),
            checked: Bits::new(blocks),
            expected: AtomicU64::new(0),
            sealed: AtomicBool::new(false),
            is_of_this_boot: AtomicBool::new(false),
            boot: directory.boot(),
            writing: Mutex::default(),
        }
    }

    pub(super) fn blocks(&self) -> u64 {
        self.size.div_ceil(BLOCK)
    }

    fn block_len(&self, index: u64) -> usize {
        let rest = self.size.saturating_sub(index * BLOCK);
        usize::try_from(rest).map_or(BLOCK_BYTES, |rest| rest.min(BLOCK_BYTES))
    }

    /// True if the block was there when it was looked for last.
    pub(super) fn has(&self, index: u64) -> bool {
        self.present.has(index)
    }

    /// True if every block is there.
    pub(super) fn is_complete(&self) -> bool {
        self.present.is_full()
    }

    /// Blocks that are there.
    pub(super) fn count(&self) -> u64 {
        self.present.count()
    }

    /// Blocks that are not there, adjacent ones together.
    pub(super) fn missing(&self) -> Vec<Range<u64>> {
        self.present.missing()
    }

    /// Blocks that are there and were not read back yet.
    pub(super) fn unchecked(&self) -> u64 {
        self.present.count().saturating_sub(self.checked.count())
    }

    /// True if the object fits into one block, which is checked whenever it is read and never sealed.
    pub(super) fn is_small(&self) -> bool {
        self.data.is_none()
    }

    /// CRC-64/XZ of the whole content, as OSS announced it.
    pub(super) fn expected(&self) -> Option<u64> {
        Some(self.expected.load(Ordering::Acquire)).filter(|&crc| crc != 0)
    }

    /// The data file, if it is sealed.
    pub(super) fn sealed(&self) -> Option<Arc<File>> {
        let data = self.data.as_ref()?;
        self.sealed
            .load(Ordering::Acquire)
            .then(|| Arc::clone(data))
    }

    /// Reads a block, and gives it away piece by piece. Only of a whole one are they worth anything.
    pub(super) fn read(&self, index: u64, mut take: impl FnMut(&[u8])) -> io::Result<BlockRead> {
        let Some(crc) = self.record(index)? else {
            self.present.remove(index);
            return Ok(BlockRead::Absent);
        };
        let (file, start) = self.place(index);
        let len = self.block_len(index);
        let mut digest = Digest::new(Crc64Xz);
        let read = PIECE.with_borrow_mut(|buffer| {
            buffer.resize(PIECE_BYTES, 0);
            for at in (0..len).step_by(PIECE_BYTES) {
                let piece = &mut buffer[..PIECE_BYTES.min(len - at)];
                file.read_exact_at(piece, start + at as u64)?;
                digest.update(piece);
                take(piece);
            }
            Ok(())
        });
        match read {
            Ok(()) if digest.finalize() == crc => {
                self.checked.insert(index);
                return Ok(BlockRead::Whole(crc));
            }
            Ok(()) => {}
            Err(error) if io::Error::kind(&error) == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
        self.strike(index)?;
        Ok(BlockRead::Bad)
    }

    /// Writes a block that is not there yet; false if it was. `expected` is the CRC of the whole content, if it is known.
    pub(super) fn write(
        &self,
        index: u64,
        bytes: &[u8],
        crc: u64,
        expected: Option<u64>,
    ) -> io::Result<bool> {
        self.exclusively(|| {
            if self.record(index)?.is_some() {
                self.present.insert(index);
                return Ok(false);
            }
            if let (Some(expected), None) = (expected, self.expected()) {
                let record = format::expected(self.id, expected);
                self.map.write_all_at(&record, EXPECTED_AT)?;
                self.expected.store(expected, Ordering::Release);
            }
            let (file, at) = self.place(index);
            file.write_all_at(bytes, at)?;
            let record = format::entry(self.id, index, crc);
            self.map.write_all_at(&record, format::entry_at(index))?;
            self.present.insert(index);
            Ok(true)
        })
    }

    /// Reads back what was not read back before. Stops when it may not go on.
    pub(super) fn verify(&self, may_go_on: impl Fn() -> bool) -> io::Result<Verdict> {
        if self.is_small() {
            return Ok(Verdict::Incomplete { bad: 0 });
        }
        self.check_seal()?;
        if self.sealed().is_some() {
            return Ok(Verdict::SealedByOther);
        }
        let mut bad = 0;
        for index in 0..self.blocks() {
            if !self.has(index) || self.checked.has(index) {
                continue;
            }
            if !may_go_on() {
                return Ok(Verdict::Incomplete { bad });
            }
            if self.read(index, |_| {})? == BlockRead::Bad {
                bad += 1;
            }
        }
        let Some(whole) = self.combined()? else {
            return Ok(Verdict::Incomplete { bad });
        };
        if self.expected().is_some_and(|expected| expected != whole) {
            return Ok(Verdict::Wrong);
        }
        Ok(Verdict::Right)
    }

    /// Seals what [`Stored::verify`] has found right.
    ///
    /// The first seal counts until the machine is started anew, for a crash may lose bytes that are only in the page cache;
    /// [`Stored::harden`] makes it one for good. Where the kernel does not say which start this is, the bytes are brought to the
    /// disk first.
    ///
    /// # Errors
    /// The files are to be removed: the disk has not taken the bytes, which are right only as long as they are in memory.
    pub(super) fn seal(&self, directory: &Directory) -> io::Result<()> {
        let Some(data) = &self.data else {
            return Ok(());
        };
        if self.boot.is_none() {
            directory.sync(data)?;
        }
        self.exclusively(|| {
            let seal = format::seal(self.id, &data.metadata()?, self.boot);
            self.map.write_all_at(&seal, SEAL_AT)
        })?;
        // Whoever struck a block off meanwhile has written its record, which the next look finds.
        self.check_seal()
    }

    /// The CRC of the whole content, if all of it was read back.
    fn combined(&self) -> io::Result<Option<u64>> {
        if !self.is_complete() || !self.checked.is_full() {
            return Ok(None);
        }
        let mut whole = 0;
        for index in 0..self.blocks() {
            let Some(crc) = self.record(index)? else {
                // Another process has struck it off.
                self.present.remove(index);
                self.checked.remove(index);
                return Ok(None);
            };
            whole = match index {
                0 => crc,
                _ => combine(whole, crc, self.block_len(index) as u64),
            };
        }
        Ok(Some(whole))
    }

    /// True if the seal should be made one for good.
    pub(super) fn needs_hardening(&self) -> bool {
        self.sealed.load(Ordering::Acquire) && self.is_of_this_boot.load(Ordering::Acquire)
    }

    /// Brings the bytes to the disk, and makes the seal one for good if it still stands.
    ///
    /// # Errors
    /// As of [`Stored::seal`].
    pub(super) fn harden(&self, directory: &Directory) -> io::Result<()> {
        let Some(data) = &self.data else {
            return Ok(());
        };
        if !self.needs_hardening() {
            return Ok(());
        }
        directory.sync(data)?;
        self.exclusively(|| {
            let metadata = data.metadata()?;
            let mut found = [0; SEAL_BYTES];
            self.map.read_exact_at(&mut found, SEAL_AT)?;
            if found == format::seal(self.id, &metadata, self.boot) {
                let seal = format::seal(self.id, &metadata, None);
                self.map.write_all_at(&seal, SEAL_AT)?;
            }
            Ok(())
        })
    }

    /// Takes a block off the map, and the seal with it.
    fn strike(&self, index: u64) -> io::Result<()> {
        self.present.remove(index);
        self.checked.remove(index);
        self.sealed.store(false, Ordering::Release);
        self.exclusively(|| {
            self.map.write_all_at(&[0; SEAL_BYTES], SEAL_AT)?;
            self.map
                .write_all_at(&[0; ENTRY_BYTES], format::entry_at(index))
        })
    }

    /// Looks whether the data file is as it was when it was sealed.
    fn check_seal(&self) -> io::Result<()> {
        let Some(data) = &self.data else {
            return Ok(());
        };
        let mut found = [0; SEAL_BYTES];
        self.map.read_exact_at(&mut found, SEAL_AT)?;
        let metadata = data.metadata()?;
        let is_for_good = found == format::seal(self.id, &metadata, None);
        let is_of_this_boot = !is_for_good
            && self.boot.is_some()
            && found == format::seal(self.id, &metadata, self.boot);
        self.is_of_this_boot
            .store(is_of_this_boot, Ordering::Release);
        let stands = is_for_good || is_of_this_boot;
        self.sealed
            .store(stands && self.is_complete(), Ordering::Release);
        Ok(())
    }

    fn load_expected(&self, map: &[u8]) {
        let at = usize::try_from(EXPECTED_AT).unwrap_or(usize::MAX);
        if let Some(crc) = map
            .get(at..)
            .and_then(|record| format::parse_expected(self.id, record))
        {
            self.expected.store(crc, Ordering::Release);
        }
    }

    /// The CRC of a block that is there.
    fn record(&self, index: u64) -> io::Result<Option<u64>> {
        let mut record = [0; ENTRY_BYTES];
        match self.map.read_exact_at(&mut record, format::entry_at(index)) {
            Ok(()) => Ok(format::parse_entry(self.id, index, &record)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where a block's bytes are.
    fn place(&self, index: u64) -> (&File, u64) {
        match &self.data {
            Some(data) => (data, index * BLOCK),
            None => (&self.map, format::INLINE_AT),
        }
    }

    fn exclusively<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.map.lock()?;
        let changed = change();
        self.map.unlock()?;
        changed
    }
}

/// Waits for the disk, as all here: see [`super::Inner::close_later`].
impl Drop for Stored {
    fn drop(&mut self) {
        // The last use, by which files are evicted: a file may be open for days. That it fails makes it older than it is.
        let _ = self
            .map
            .set_times(FileTimes::new().set_modified(SystemTime::now()));
    }
}

/// True if an object's bytes are kept in its map: one file to open instead of two, one inode instead of two.
fn is_inline(size: u64) -> bool {
    size <= BLOCK
}

fn combine(whole: u64, crc: u64, len: u64) -> u64 {
    crc_fast::checksum_combine(Crc64Xz, whole, crc, len)
}

fn records_len(blocks: u64) -> usize {
    usize::try_from(blocks).unwrap_or(usize::MAX) * ENTRY_BYTES
}
