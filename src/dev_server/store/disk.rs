//! One bucket on disk.
//!
//! ```text
//! DATA/<bucket>/content/<number>        bytes, never changed once written
//! DATA/<bucket>/objects/<number>.json   one object: its key, what is known of it, the names of its content files
//! ```
//! An object exists once its record has its name; the record is written beside it and renamed. If a crash leaves two
//! records of one key, the one with the higher number is newer and wins. Content that no record names is swept at
//! start, so multipart uploads do not survive a restart. Nothing is synced: a development server may lose seconds of
//! work with the machine's power, but never shows half an object after a crash of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::content::{Content, ContentFile, OwnedPath, Segment};
use super::object::{Attributes, Object};
use crate::object::{ObjectType, StorageClass};

/// An object as its record keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    key: String,
    etag: String,
    size: u64,
    crc64: u64,
    content_md5: Option<String>,
    kind: String,
    storage_class: String,
    modified: i64,
    headers: Vec<(String, String)>,
    #[serde(default)]
    encryption: Vec<(String, String)>,
    #[serde(default)]
    tags: Vec<(String, String)>,
    #[serde(default)]
    version: Option<String>,
    /// Names of content files, and how many bytes of each.
    content: Vec<(String, u64)>,
    /// Where in their files these bytes begin; missing ones at 0.
    #[serde(default)]
    starts: Vec<u64>,
}

/// The directory of one bucket.
#[derive(Debug)]
pub(super) struct Disk {
    content: PathBuf,
    objects: PathBuf,
    next_number: AtomicU64,
    mappings: Arc<AtomicUsize>,
}

impl Disk {
    /// Opens or makes the directory of a bucket and reads its objects.
    pub(super) fn open(
        root: &Path,
        mappings: Arc<AtomicUsize>,
    ) -> io::Result<(Arc<Self>, Vec<Object>)> {
        let disk = Self {
            content: root.join("content"),
            objects: root.join("objects"),
            next_number: AtomicU64::new(0),
            mappings,
        };
        fs::create_dir_all(&disk.content)?;
        fs::create_dir_all(&disk.objects)?;
        let objects = disk.load()?;
        Ok((Arc::new(disk), objects))
    }

    pub(super) fn mappings(&self) -> &Arc<AtomicUsize> {
        &self.mappings
    }

    fn number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// A name for new content, not there yet.
    pub(super) fn new_content(&self) -> OwnedPath {
        OwnedPath::new(self.content.join(format!("{:016x}", self.number())))
    }

    /// The same bytes under names of their own.
    pub(super) fn link(&self, content: &Content) -> io::Result<Content> {
        let link = |segment: &Segment| match segment {
            Segment::Memory(_) => Ok(segment.clone()),
            Segment::File(file, range) => {
                let owned = self.new_content();
                fs::hard_link(file.path(), owned.path())?;
                let file = ContentFile::new(owned, Arc::clone(&self.mappings));
                Ok(Segment::File(Arc::new(file), range.clone()))
            }
        };
        content
            .0
            .iter()
            .map(link)
            .collect::<io::Result<_>>()
            .map(Content)
    }

    /// Writes the record of an object and returns its path.
    pub(super) fn record(&self, object: &Object) -> io::Result<PathBuf> {
        let mut content = Vec::new();
        let mut starts = Vec::new();
        for segment in &object.content.0 {
            if let Segment::File(file, range) = segment {
                let name = file
                    .name()
                    .ok_or_else(|| io::Error::other("a content file has no name"))?;
                content.push((name.to_owned(), range.end - range.start));
                starts.push(range.start);
            }
        }
        let record = Record {
            key: object.key.clone(),
            etag: object.etag.clone(),
            size: object.size,
            crc64: object.crc64,
            content_md5: object.content_md5.clone(),
            kind: object.kind.as_str().to_owned(),
            storage_class: object.attributes.storage_class.as_str().to_owned(),
            modified: object.modified.as_second(),
            headers: object.attributes.headers.clone(),
            encryption: object.attributes.encryption.clone(),
            tags: object.attributes.tags.clone(),
            version: object.version.clone(),
            content,
            starts,
        };
        let name = format!("{:016x}.json", self.number());
        let temporary = OwnedPath::new(self.objects.join(format!("{name}.new")));
        fs::write(temporary.path(), serde_json::to_vec(&record)?)?;
        let path = self.objects.join(name);
        fs::rename(temporary.path(), &path)?;
        Ok(path)
    }

    /// Reads all records, and removes what none of them names.
    fn load(&self) -> io::Result<Vec<Object>> {
        let mut newest: BTreeMap<String, (u64, PathBuf, Record)> = BTreeMap::new();
        let mut number_max = 0;
        for entry in fs::read_dir(&self.objects)? {
            let path = entry?.path();
            let Some(number) = number_of(&path).filter(|_| path.extension().is_some_and(is_json))
            else {
                fs::remove_file(&path)?;
                continue;
            };
            number_max = number_max.max(number);
            let record: Record = serde_json::from_slice(&fs::read(&path)?)?;
            let outdated = match newest.get(&record.key) {
                Some((other, _, _)) if *other > number => Some(path),
                Some(_) | None => newest
                    .insert(record.key.clone(), (number, path, record))
                    .map(|(_, path, _)| path),
            };
            if let Some(path) = outdated {
                fs::remove_file(path)?;
            }
        }
        let named: BTreeSet<&str> = newest
            .values()
            .flat_map(|(_, _, record)| record.content.iter().map(|(name, _)| name.as_str()))
            .collect();
        for entry in fs::read_dir(&self.content)? {
            let path = entry?.path();
            number_max = number_max.max(number_of(&path).unwrap_or(0));
            let name = path.file_name().and_then(|name| name.to_str());
            if !name.is_some_and(|name| named.contains(name)) {
                fs::remove_file(&path)?;
            }
        }
        self.next_number.store(number_max + 1, Ordering::Relaxed);
        newest
            .into_values()
            .map(|(_, path, record)| self.object(path, record))
            .collect()
    }

    fn object(&self, path: PathBuf, record: Record) -> io::Result<Object> {
        let mut content = Content::default();
        let starts = record.starts.iter().copied().chain(std::iter::repeat(0));
        for ((name, len), start) in record.content.iter().zip(starts) {
            let owned = OwnedPath::new(self.content.join(name));
            let file = ContentFile::new(owned, Arc::clone(&self.mappings));
            let segment = Segment::File(Arc::new(file), start..start + len);
            content.0.push(segment);
        }
        content.keep();
        Ok(Object {
            etag: record.etag,
            size: record.size,
            crc64: record.crc64,
            content_md5: record.content_md5,
            kind: ObjectType::from(record.kind.as_str()),
            modified: Timestamp::from_second(record.modified).map_err(io::Error::other)?,
            attributes: Attributes {
                storage_class: StorageClass::from(record.storage_class.as_str()),
                headers: record.headers,
                encryption: record.encryption,
                tags: record.tags,
            },
            version: record.version,
            key: record.key,
            content,
            record: Some(path),
        })
    }
}

fn is_json(extension: &std::ffi::OsStr) -> bool {
    extension == "json"
}

fn number_of(path: &Path) -> Option<u64> {
    u64::from_str_radix(path.file_stem()?.to_str()?, 16).ok()
}
