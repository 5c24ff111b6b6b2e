//! A log is replayed: what its file consists of, and how it gets into the bucket after all.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crc_fast::CrcAlgorithm::Crc64Xz;
use crc_fast::checksum;

use super::head::{Head, Identity};
use super::record::{Change, Record, read};
use super::restoring::Restoring;
use super::wreck::UnfinishedFile;
use crate::buffer::{BLOCK_BYTES, Failure};
use crate::object::{ETag, ObjectKey, ObjectMeta, Source, Version};
use crate::op::Op;
use crate::oss::{Bucket, Condition, Kind, Properties};
use crate::write::extents::{ExtentMap, Fallocate, Piece, Place};
use crate::write::{Base, BaseId, Bases, ChunkId, Committed, Copying, Error, Exclusive};
use crate::write::{FETCH_BYTES_MAX, Fetch, Writer};

/// Where a file of a crashed mount stands, beside what is in the bucket now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// All of it is stored: the process died before it could note that.
    Stored,
    /// The object is still the one that it was made from; or there was none, and there is none.
    Unchanged,
    /// Somebody else has written, or removed, the object since.
    Changed,
    /// Its changes were not kept, for want of room.
    GivenUp,
}

/// A file of a crashed mount as it was after one of its changes: the last one, unless its log is damaged.
#[derive(Debug)]
pub struct Recovered {
    key: ObjectKey,
    standing: Standing,
    base: Option<Base>,
    map: ExtentMap,
    bases: Bases,
    segments: Vec<File>,
    is_whole: bool,
    /// What is at its name is what a rename has put it over.
    replaces: bool,
    restoring: Restoring,
}

/// What changes are made to.
struct Replay {
    base: Option<BaseId>,
    base_bytes: u64,
    map: ExtentMap,
    bases: Bases,
}

impl UnfinishedFile {
    /// Looks at the bucket, and reads the log.
    ///
    /// # Errors
    /// Those of a HEAD, and [`Error::Staging`].
    pub async fn look(&self, bucket: &Bucket, op: &Op) -> Result<Recovered, Error> {
        let found = match bucket.describe(op, self.key()).await {
            Ok(found) => Some(found.meta),
            Err(error) if *error.kind() == Kind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let staging = |error: io::Error| Error::Staging(Arc::new(error));
        self.recover(found.as_ref()).map_err(staging)
    }

    fn recover(&self, found: Option<&ObjectMeta>) -> io::Result<Recovered> {
        let head = &self.head;
        let key = self.key().clone();
        let base_of = |meta: &ObjectMeta| Base {
            version: Version::new(key.clone(), meta.etag.clone(), meta.size),
            copying: Copying::of(meta),
        };
        let was = head
            .base
            .as_ref()
            .map(|base| (ETag::new(&base.etag), base.size));
        let is_stored = stored(head, found);
        let is_same = found.map(|meta| &meta.etag) == was.as_ref().map(|(etag, _)| etag);
        let (base, generation) = match (is_stored, is_same) {
            (Some((meta, generation)), _) => (Some(base_of(meta)), generation),
            (None, true) => (found.map(base_of), head.generation),
            (None, false) => {
                let version = was.map(|(etag, size)| Version::new(key.clone(), etag, size));
                let copying = Copying::Ranges;
                let base = version.map(|version| Base { version, copying });
                (base, head.generation)
            }
        };
        let replaces = found.is_some_and(|meta| self.replaces(meta));
        let segments = self.segments.iter().map(File::open);
        let segments = segments.collect::<io::Result<Vec<File>>>()?;
        let mut replay = Replay::new(base.clone());
        let done = replay.all(&segments, generation)?;
        let standing = match (head.is_given_up, is_stored, is_same) {
            (true, ..) => Standing::GivenUp,
            // What comes first is not there: nothing of it can be told.
            (false, None, _) if done.changes == 0 && !done.is_whole => Standing::GivenUp,
            (false, Some(_), _) if done.changes == 0 => Standing::Stored,
            (false, Some(_), _) | (false, None, true) => Standing::Unchanged,
            (false, None, false) if replaces => Standing::Unchanged,
            (false, None, false) => Standing::Changed,
        };
        let mut head = head.clone();
        let version = base.as_ref().map(|base| &*base.version);
        head.identify(&Identity {
            replaces: head.replaces,
            ..Identity::new(key.clone(), version, generation)
        });
        Ok(Recovered {
            key,
            standing,
            base,
            map: replay.map,
            bases: replay.bases,
            segments,
            is_whole: done.is_whole,
            replaces,
            restoring: Restoring {
                head,
                head_path: self.head_path.clone(),
                last: done.last,
                whole: 0,
            },
        })
    }

    /// True if a rename has put the file over this object; not if somebody has stored it since.
    fn replaces(&self, found: &ObjectMeta) -> bool {
        let since = self.modified().duration_since(SystemTime::UNIX_EPOCH);
        let modified = since.map_or(0, |since| since.as_secs());
        let is_older = u64::try_from(found.modified.0).is_ok_and(|stored| stored <= modified);
        self.head.replaces && self.head.base.is_none() && is_older
    }
}

/// The object and its change, if it is what a commit was to make whose answer the process did not live to see.
fn stored<'a>(head: &Head, found: Option<&'a ObjectMeta>) -> Option<(&'a ObjectMeta, u64)> {
    let (unsure, found) = (head.unsure.as_ref()?, found?);
    let is_it = found.size == unsure.bytes && found.crc64 == Some(unsure.crc64);
    is_it.then_some((found, unsure.generation))
}

/// How far a log could be replayed.
struct Done {
    changes: u64,
    /// The last change that was made.
    last: u64,
    is_whole: bool,
}

impl Replay {
    fn new(base: Option<Base>) -> Self {
        let mut bases = Bases::new();
        let base_bytes = base.as_ref().map_or(0, |base| base.version.size());
        let base = base.map(|base| bases.add(base));
        let mut replay = Self {
            base,
            base_bytes,
            map: ExtentMap::new(),
            bases,
        };
        replay.begin();
        replay
    }

    fn begin(&mut self) {
        self.map = match self.base {
            Some(base) => ExtentMap::of_base(base, self.base_bytes),
            None => ExtentMap::new(),
        };
    }

    /// Makes all changes after `generation`, as long as one follows the other.
    fn all(&mut self, segments: &[File], generation: u64) -> io::Result<Done> {
        let mut current = generation;
        let (mut changes, mut last) = (0, generation);
        let mut group: Vec<(usize, Record)> = Vec::new();
        for (index, segment) in segments.iter().enumerate() {
            let mut at = 0;
            while let Some((record, end)) = read(segment, at)? {
                at = end;
                if record.generation <= generation {
                    continue;
                }
                let follows = match group.last() {
                    Some((_, before)) => record.generation == before.generation,
                    None => record.generation == current + 1 || record.change == Change::Anew,
                };
                if !follows {
                    return Ok(Done {
                        changes,
                        last,
                        is_whole: false,
                    });
                }
                let is_last = record.is_last;
                current = record.generation;
                group.push((index, record));
                if is_last {
                    changes += 1;
                    last = current;
                    group
                        .drain(..)
                        .for_each(|(index, record)| self.apply(index, record));
                }
            }
        }
        // A record that was being written when the process died was answered to nobody.
        Ok(Done {
            changes,
            last,
            is_whole: true,
        })
    }

    fn apply(&mut self, segment: usize, record: Record) {
        let bytes = record.behind.end - record.behind.start;
        match record.change {
            Change::Write { at } => {
                let chunk = ChunkId(u32::try_from(segment).unwrap_or(u32::MAX));
                let offset = record.behind.start;
                let place = Place::Staged { chunk, offset };
                self.map.write(at..at.saturating_add(bytes), place);
            }
            Change::Length(len) => self.map.truncate(len),
            Change::Zeros(range) => self.map.write(range, Place::Zeros),
            Change::Copy {
                at,
                offset,
                bytes,
                from,
            } => {
                // It was a key when it was logged.
                let Ok(key) = ObjectKey::new(from.key) else {
                    return;
                };
                let base = self.bases.add(Base {
                    version: Version::new(key, ETag::new(&from.etag), from.size),
                    copying: Copying::Ranges,
                });
                self.map
                    .write(at..at.saturating_add(bytes), Place::Base { base, offset });
            }
            Change::Anew => self.begin(),
        }
        // Nobody counts what is named here.
        drop(self.map.take_dropped());
    }
}

impl Recovered {
    /// Where it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Bytes of the file.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a file's length is a number")]
    pub fn len(&self) -> u64 {
        self.map.len()
    }

    /// Bytes of it that are in no object.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.map.dirty_bytes()
    }

    /// False if its log is damaged: it is as it was after one of its earlier changes.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Stores it in the bucket, under its key.
    ///
    /// # Errors
    /// Those of [`crate::write::File::commit`]: [`Error::Conflict`] if the object was changed since it was looked at.
    pub async fn store(&self, writer: &Arc<Writer>, op: &Op) -> Result<Committed, Error> {
        let file = match &self.base {
            Some(base) => writer.open(base.clone()),
            None => writer.create(self.key.clone(), Properties::default(), Exclusive::Remote),
        };
        if self.replaces {
            // It refuses files that are stored, or being stored: this one was just made.
            let _ = file.rename(self.key.clone(), Condition::None);
        }
        let len = self.map.len();
        if len < file.len() {
            file.truncate(op, len).await?;
        }
        for piece in self.map.pieces(0..len) {
            let (range, start) = (piece.range.clone(), piece.range.start);
            match piece.place {
                Place::Base { base, offset } if self.is_own(base) && offset == start => {}
                Place::Base { base, offset } => {
                    let from = self.bases.get(base).clone();
                    let of = offset..offset + piece.bytes();
                    file.copy_object(op, start, from, of).await?;
                }
                Place::Zeros => file.fallocate(op, Fallocate::ZeroRange, range).await?,
                Place::Staged { .. } => {
                    for range in blocks(&piece) {
                        let bytes = self.staged(&piece, &range);
                        let bytes = bytes.map_err(|error| Error::Staging(Arc::new(error)))?;
                        file.write(op, range.start, &bytes).await?;
                    }
                }
                Place::Uploaded { .. } => return Err(Error::UploadGone(self.key.clone())),
            }
        }
        file.restoring(self.restoring.clone());
        file.commit(op).await
    }

    /// Writes it to a file of another file system. Returns how many bytes of it are zeros there, for the objects that had
    /// them are gone: `is_gone` knows what `fetch` says of those. A file that is there already and has the same bytes is what an earlier
    /// attempt has made; what is there and has others stays as it is.
    ///
    /// # Errors
    /// `AlreadyExists`; of the file, of the staging directory, and of the bucket.
    pub async fn save(
        &self,
        path: &Path,
        fetch: &Fetch,
        is_gone: impl Fn(&Failure) -> bool,
    ) -> io::Result<u64> {
        if let Some(above) = path.parent() {
            fs::create_dir_all(above)?;
        }
        // Under another name until it is whole: half of it would keep the next attempt from its name. That one begins it anew.
        let name = path.file_name().unwrap_or_default().as_bytes();
        let partial = format!(".rolefs-recover-{:016x}", checksum(Crc64Xz, name));
        let partial = path.with_file_name(partial);
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&partial)?;
        let named = match self.fill(&file, fetch, is_gone).await {
            Ok(missing) => put_in_place(&partial, &file, path).map(|()| missing),
            Err(error) => Err(error),
        };
        // What it fails with is told.
        let _ = fs::remove_file(&partial);
        named
    }

    async fn fill(
        &self,
        file: &File,
        fetch: &Fetch,
        is_gone: impl Fn(&Failure) -> bool,
    ) -> io::Result<u64> {
        file.set_len(self.map.len())?;
        let mut missing = 0;
        for piece in self.map.pieces(0..self.map.len()) {
            match piece.place {
                Place::Zeros | Place::Uploaded { .. } => {}
                Place::Staged { .. } => {
                    for range in blocks(&piece) {
                        file.write_all_at(&self.staged(&piece, &range)?, range.start)?;
                    }
                }
                Place::Base { base, offset } => {
                    for range in blocks(&piece) {
                        let start = offset + (range.start - piece.range.start);
                        let bytes = range.end - range.start;
                        let source = Source {
                            version: Arc::clone(&self.bases.get(base).version),
                            range: start..start + bytes,
                        };
                        match fetch(source).await {
                            Ok(bytes) => file.write_all_at(&bytes, range.start)?,
                            Err(failure) if is_gone(&failure) => missing += bytes,
                            Err(failure) => return Err(io::Error::other(failure)),
                        }
                    }
                }
            }
        }
        file.sync_all()?;
        Ok(missing)
    }

    fn is_own(&self, base: BaseId) -> bool {
        let version = self.base.as_ref().map(|base| &base.version);
        version == Some(&self.bases.get(base).version)
    }

    fn staged(&self, piece: &Piece, range: &Range<u64>) -> io::Result<Vec<u8>> {
        let Place::Staged { chunk, offset } = piece.place else {
            return Ok(Vec::new());
        };
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        let segment = &self.segments[chunk.0 as usize];
        segment.read_exact_at(&mut bytes, offset + (range.start - piece.range.start))?;
        Ok(bytes)
    }
}

/// Gives a file its name, unless another one has it that is not the same.
fn put_in_place(partial: &Path, file: &File, path: &Path) -> io::Result<()> {
    match fs::hard_link(partial, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = File::open(path)?;
            match are_same(file, &there)? {
                true => Ok(()),
                false => Err(error),
            }
        }
        // A file system without hard links.
        Err(_) if !path.exists() => fs::rename(partial, path),
        linked => linked,
    }
}

fn are_same(one: &File, other: &File) -> io::Result<bool> {
    let len = one.metadata()?.len();
    if len != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
    let mut at = 0;
    while at < len {
        let bytes = usize::try_from(len - at)
            .unwrap_or(BLOCK_BYTES)
            .min(BLOCK_BYTES);
        one.read_exact_at(&mut left[..bytes], at)?;
        other.read_exact_at(&mut right[..bytes], at)?;
        if left[..bytes] != right[..bytes] {
            return Ok(false);
        }
        at += bytes as u64;
    }
    Ok(true)
}

/// A piece in pieces that are written, and fetched, at once.
fn blocks(piece: &Piece) -> impl Iterator<Item = Range<u64>> + use<> {
    const { assert!(FETCH_BYTES_MAX == BLOCK_BYTES as u64) };
    let range = piece.range.clone();
    let starts = range.clone().step_by(BLOCK_BYTES);
    starts.map(move |start| start..range.end.min(start + FETCH_BYTES_MAX))
}
