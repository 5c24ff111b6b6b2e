//! The bytes of objects: in memory, or in files that never change.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::mmap;

/// A range up to this length is read, a longer one is mapped: below, the page faults cost more than the copy.
const READ_BYTES_MAX: u64 = 128 << 10;

/// Mappings that are kept for the next request. The kernel allows a process 65,530 (`vm.max_map_count`), and threads
/// and the allocator need some; beyond this bound a mapping lives as long as its request.
const MAPPINGS_MAX: usize = 16 << 10;

/// A file that is unlinked when its last user is gone, unless somebody keeps it.
///
/// Until it is kept it is nobody's: whatever goes wrong on the way to an object leaves no file behind.
#[derive(Debug)]
pub(super) struct OwnedPath {
    path: PathBuf,
    kept: AtomicBool,
}

impl OwnedPath {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            kept: AtomicBool::new(false),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnedPath {
    fn drop(&mut self) {
        if !*self.kept.get_mut() {
            // What cannot be removed is swept at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A file of content, written and closed.
#[derive(Debug)]
pub(super) struct ContentFile {
    owned: OwnedPath,
    mapped: OnceLock<Bytes>,
    /// How many mappings all files of the store keep.
    mappings: Arc<AtomicUsize>,
}

impl ContentFile {
    pub(super) fn new(owned: OwnedPath, mappings: Arc<AtomicUsize>) -> Self {
        Self {
            owned,
            mapped: OnceLock::new(),
            mappings,
        }
    }

    /// The name inside the content directory.
    pub(super) fn name(&self) -> Option<&str> {
        self.owned.path().file_name()?.to_str()
    }

    pub(super) fn path(&self) -> &Path {
        self.owned.path()
    }

    fn slice(&self, range: Range<u64>) -> io::Result<Bytes> {
        let len = to_usize(range.end - range.start)?;
        if let Some(mapped) = self.mapped.get() {
            return Ok(mapped.slice(to_usize(range.start)?..to_usize(range.end)?));
        }
        let file = File::open(self.owned.path())?;
        if range.end - range.start <= READ_BYTES_MAX {
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, range.start)?;
            return Ok(Bytes::from(bytes));
        }
        let mapped = mmap::map(&file)?;
        if self.mappings.fetch_add(1, Ordering::Relaxed) >= MAPPINGS_MAX
            || self.mapped.set(mapped.clone()).is_err()
        {
            self.mappings.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(mapped.slice(to_usize(range.start)?..to_usize(range.end)?))
    }
}

impl Drop for ContentFile {
    fn drop(&mut self) {
        if self.mapped.get().is_some() {
            self.mappings.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn to_usize(number: u64) -> io::Result<usize> {
    usize::try_from(number).map_err(io::Error::other)
}

/// A piece of an object that was received or copied at once.
#[derive(Debug, Clone)]
pub(super) enum Segment {
    Memory(Bytes),
    /// These bytes of a file; a copied range has a part of one.
    File(Arc<ContentFile>, Range<u64>),
}

impl Segment {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, range) => range.end - range.start,
        }
    }

    fn slice(&self, range: Range<u64>) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => Ok(bytes.slice(to_usize(range.start)?..to_usize(range.end)?)),
            Self::File(file, all) => file.slice(all.start + range.start..all.start + range.end),
        }
    }

    /// A range of the same bytes, shared.
    fn cut(&self, range: Range<u64>) -> io::Result<Self> {
        match self {
            Self::Memory(_) => self.slice(range).map(Self::Memory),
            Self::File(file, all) => {
                let range = all.start + range.start..all.start + range.end;
                Ok(Self::File(Arc::clone(file), range))
            }
        }
    }
}

/// The bytes of one object, as one segment for each part it was received in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content(pub(super) Vec<Segment>);

impl Content {
    /// The bytes of a range inside the content, shared and not copied, in pieces.
    ///
    /// # Errors
    /// What opening, reading or mapping a content file says.
    pub(crate) fn slice(&self, range: Range<u64>) -> io::Result<Vec<Bytes>> {
        self.each(range, Segment::slice)
    }

    /// A range of the same bytes as a content of its own, shared and not copied.
    ///
    /// # Errors
    /// If the range lies outside.
    pub(crate) fn cut(&self, range: Range<u64>) -> io::Result<Self> {
        self.each(range, Segment::cut).map(Self)
    }

    fn each<T>(
        &self,
        range: Range<u64>,
        take: impl Fn(&Segment, Range<u64>) -> io::Result<T>,
    ) -> io::Result<Vec<T>> {
        let mut pieces = Vec::new();
        let mut begin = 0;
        for segment in &self.0 {
            let end = begin + segment.len();
            let part = range.start.max(begin)..range.end.min(end);
            if part.start < part.end {
                pieces.push(take(segment, part.start - begin..part.end - begin)?);
            }
            begin = end;
        }
        Ok(pieces)
    }

    /// Files of these bytes outlive their last user from now on.
    pub(super) fn keep(&self) {
        self.mark(true);
    }

    /// Files of these bytes go with their last user.
    pub(super) fn discard(&self) {
        self.mark(false);
    }

    fn mark(&self, kept: bool) {
        for segment in &self.0 {
            if let Segment::File(file, _) = segment {
                file.owned.kept.store(kept, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_range_over_segments_is_cut_from_each() {
        let content = Content(
            ["abc", "", "defg", "h"]
                .map(|text| Segment::Memory(Bytes::from(text)))
                .to_vec(),
        );
        let cut = |range| content.slice(range).unwrap().concat();
        assert_eq!(cut(0..8), b"abcdefgh");
        assert_eq!(cut(2..4), b"cd");
        assert_eq!(cut(3..3), b"");
        assert_eq!(cut(7..8), b"h");
        let inner = content.cut(1..6).unwrap();
        assert_eq!(inner.slice(0..5).unwrap().concat(), b"bcdef");
        assert_eq!(
            inner.cut(1..3).unwrap().slice(0..2).unwrap().concat(),
            b"cd"
        );
    }

    #[test]
    fn a_file_lives_as_long_as_its_users() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c");
        let bytes = vec![7; 1 << 20];
        std::fs::write(&path, &bytes).unwrap();
        let content = |path: &Path| {
            let file = ContentFile::new(OwnedPath::new(path.to_owned()), Arc::default());
            Content(vec![Segment::File(Arc::new(file), 0..1 << 20)])
        };
        let kept = content(&path);
        kept.keep();
        drop(kept);
        assert!(path.exists());
        let content = content(&path);
        content.keep();
        let cut = content.cut(5..9).and_then(|cut| cut.slice(1..3));
        assert_eq!(cut.unwrap().concat(), [7, 7]);
        content.discard();
        let mapped = content.slice(0..1 << 20).unwrap();
        drop(content);
        assert!(!path.exists());
        assert_eq!(mapped.concat(), bytes);
    }
}
