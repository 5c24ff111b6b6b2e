//! The cache without a reader: what it gives back is what was put in, or nothing.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod damage;
mod seals;
mod space;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crc_fast::CrcAlgorithm::Crc64Xz;
use tempfile::TempDir;

use super::{Config, DiskCache, Object};
use crate::buffer::{BLOCK_BYTES, Block, Budget, Class, Publish, capacity_for};
use crate::metrics::Metrics;
use crate::object::{ETag, ObjectKey, Version};

const SOON: Duration = Duration::from_secs(20);

/// A cache in a directory, as one process has it.
struct Host {
    cache: DiskCache,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
}

impl Host {
    fn new(directory: &Path) -> Self {
        Self::with_size(directory, Some(1 << 30))
    }

    fn with_size(directory: &Path, size_max: Option<u64>) -> Self {
        let metrics = Arc::new(Metrics::default());
        let config = Config {
            size_max,
            queue_bytes_max: 64 << 20,
            bucket: "endpoint/bucket".to_owned(),
            files_max: 4096,
        };
        Self {
            cache: DiskCache::open(directory, config, Arc::clone(&metrics)).unwrap(),
            budget: Budget::new(256 << 20, Arc::clone(&metrics)),
            metrics,
        }
    }

    /// A block of memory with these bytes.
    fn block(&self, bytes: &[u8]) -> Arc<Block> {
        let lease = self
            .budget
            .try_lease(Class::Demand, capacity_for(bytes.len()));
        let (block, mut writer) = Block::writer(lease.unwrap(), bytes.len(), Publish::AsItArrives);
        writer.put(bytes);
        writer.finish();
        block
    }

    /// Writes the blocks of some content, and waits until they are on disk and read back.
    fn write(
        &self,
        object: &Arc<Object>,
        content: &[u8],
        indices: impl IntoIterator<Item = usize>,
    ) {
        object.look();
        let whole = crc_fast::checksum(Crc64Xz, content);
        for index in indices {
            let bytes = block_of(content, index);
            let crc = crc_fast::checksum(Crc64Xz, bytes);
            object.write_later(index as u64, self.block(bytes), crc, Some(whole));
        }
        assert!(self.cache.finish(SOON));
    }

    /// A block as the cache gives it.
    fn read(&self, object: &Object, content: &[u8], index: usize) -> Option<Vec<u8>> {
        let len = block_of(content, index).len();
        let lease = self.budget.try_lease(Class::Demand, capacity_for(len));
        let (block, mut writer) = Block::writer(lease.unwrap(), len, Publish::AsItArrives);
        let crc = object.read(index as u64, |piece| writer.put_hidden(piece))?;
        assert_eq!(block.filled(), 0, "nobody sees it yet");
        writer.finish();
        let bytes = block.get(0..len).unwrap().to_vec();
        assert_eq!(crc, crc_fast::checksum(Crc64Xz, &bytes));
        Some(bytes)
    }

    /// Everything as the cache gives it: each block right, or not there.
    fn check(&self, object: &Arc<Object>, content: &[u8]) -> usize {
        object.look();
        let mut there = 0;
        for index in 0..content.len().div_ceil(BLOCK_BYTES) {
            if let Some(bytes) = self.read(object, content, index) {
                assert!(
                    bytes == block_of(content, index),
                    "block {index} has other bytes"
                );
                there += 1;
            }
        }
        there
    }

    fn object(&self, version: &Version) -> Arc<Object> {
        self.cache.object(version).unwrap()
    }
}

fn block_of(content: &[u8], index: usize) -> &[u8] {
    let start = index * BLOCK_BYTES;
    &content[start..content.len().min(start + BLOCK_BYTES)]
}

fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

fn version(key: &str, content: &[u8]) -> Arc<Version> {
    let key = ObjectKey::new(key).unwrap();
    let etag = format!("{:X}", crc_fast::checksum(Crc64Xz, content));
    Version::new(key, ETag::new(&etag), content.len() as u64)
}

/// The files of the cache that end so.
fn files(directory: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for below in fs::read_dir(directory.join(super::NAME)).unwrap() {
        let below = below.unwrap().path();
        if below.is_dir() {
            found.extend(
                fs::read_dir(below)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    found.retain(|path| path.to_str().unwrap().ends_with(suffix));
    found
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let directory = TempDir::new().unwrap();
    for (at, len) in [
        1,
        4096,
        BLOCK_BYTES,
        BLOCK_BYTES + 1,
        3 * BLOCK_BYTES,
        70 * BLOCK_BYTES - 5,
    ]
    .into_iter()
    .enumerate()
    {
        let content = content(at as u64, len);
        let version = version(&at.to_string(), &content);
        let blocks = len.div_ceil(BLOCK_BYTES);
        let first = Host::new(directory.path());
        let object = first.object(&version);
        assert_eq!(first.check(&object, &content), 0);
        first.write(&object, &content, 0..blocks);
        assert_eq!(first.check(&object, &content), blocks);
        assert_eq!(object.sealed().is_some(), blocks > 1, "{len}");
        drop((object, first));
        let second = Host::new(directory.path());
        let object = second.object(&version);
        assert_eq!(second.check(&object, &content), blocks);
        assert_eq!(
            object.expected(),
            Some(crc_fast::checksum(Crc64Xz, &content))
        );
        if let Some(file) = object.sealed() {
            let mut bytes = vec![0; len];
            std::os::unix::fs::FileExt::read_exact_at(&*file, &mut bytes, 0).unwrap();
            assert!(bytes == content);
            assert_eq!(file.metadata().unwrap().len(), len as u64);
        }
        assert_eq!(second.metrics.disk.errors.get(), 0);
    }
}

#[test]
fn another_version_is_not_there() {
    let directory = TempDir::new().unwrap();
    let host = Host::new(directory.path());
    let old = content(1, 2 * BLOCK_BYTES);
    let new = content(2, 2 * BLOCK_BYTES);
    host.write(&host.object(&version("a", &old)), &old, 0..2);
    assert_eq!(host.check(&host.object(&version("a", &new)), &new), 0);
    assert_eq!(host.check(&host.object(&version("b", &old)), &old), 0);
    let other = DiskCache::open(
        directory.path(),
        Config {
            size_max: None,
            queue_bytes_max: 1 << 20,
            bucket: "endpoint/other".to_owned(),
            files_max: 4096,
        },
        Arc::default(),
    )
    .unwrap();
    let object = other.object(&version("a", &old)).unwrap();
    object.look();
    assert!(!object.has(0));
}

#[test]
fn holes_are_filled_by_whoever_has_the_bytes() {
    let directory = TempDir::new().unwrap();
    let content = content(1, 5 * BLOCK_BYTES + 9);
    let version = version("a", &content);
    let one = Host::new(directory.path());
    let of_one = one.object(&version);
    one.write(&of_one, &content, [0, 3]);
    let two = Host::new(directory.path());
    let of_two = two.object(&version);
    two.write(&of_two, &content, [1, 2, 3]);
    assert!(of_two.has(0) && !of_two.has(4) && of_two.sealed().is_none());
    assert_eq!(two.metrics.disk.written_bytes.get(), 2 * BLOCK_BYTES as u64);
    drop((of_one, of_two));
    let of_two = two.object(&version);
    two.write(&of_two, &content, [4, 5]);
    assert!(of_two.sealed().is_some());
    // The other process sees it when it looks again.
    let of_one = one.object(&version);
    assert_eq!(one.check(&of_one, &content), 6);
    assert!(of_one.sealed().is_some());
}

#[test]
fn two_processes_write_the_same_at_the_same_time() {
    let directory = TempDir::new().unwrap();
    let contents: Vec<Vec<u8>> = (0..4)
        .map(|seed| content(seed, 12 * BLOCK_BYTES + 77))
        .collect();
    let hosts: Vec<Host> = (0..3).map(|_| Host::new(directory.path())).collect();
    std::thread::scope(|scope| {
        for host in &hosts {
            let contents = &contents;
            scope.spawn(move || {
                for (at, content) in contents.iter().enumerate() {
                    let object = host.object(&version(&at.to_string(), content));
                    host.write(&object, content, 0..13);
                    assert_eq!(host.check(&object, content), 13);
                }
            });
        }
    });
    for (at, content) in contents.iter().enumerate() {
        let last = Host::new(directory.path());
        let object = last.object(&version(&at.to_string(), content));
        assert_eq!(last.check(&object, content), 13);
        assert!(
            object.sealed().is_some(),
            "whoever found it complete has sealed it"
        );
    }
    let written: u64 = hosts
        .iter()
        .map(|host| host.metrics.disk.written_bytes.get())
        .sum();
    assert_eq!(
        written,
        contents
            .iter()
            .map(|content| content.len() as u64)
            .sum::<u64>()
    );
    assert!(
        hosts
            .iter()
            .all(|host| host.metrics.disk.bad_blocks.get() == 0)
    );
}

#[test]
fn what_is_discarded_is_gone_for_all_that_come_after() {
    let directory = TempDir::new().unwrap();
    let content = content(1, 3 * BLOCK_BYTES);
    let version = version("a", &content);
    let host = Host::new(directory.path());
    let object = host.object(&version);
    host.write(&object, &content, 0..3);
    object.discard();
    assert!(object.sealed().is_none() && !object.has(0));
    object.write_later(0, host.block(block_of(&content, 0)), 0, None);
    assert!(
        host.cache.object(&version).is_none(),
        "as long as somebody holds it"
    );
    assert!(host.cache.finish(SOON));
    drop(object);
    assert_eq!(files(directory.path(), ""), Vec::<PathBuf>::new());
    assert_eq!(host.check(&host.object(&version), &content), 0);
}

#[test]
fn only_what_fits_is_for_the_disk() {
    let directory = TempDir::new().unwrap();
    let host = Host::with_size(directory.path(), Some(64 << 20));
    let of_size = |size| {
        let key = ObjectKey::new("a").unwrap();
        host.cache.object(&Version::new(key, ETag::new("E"), size))
    };
    assert!(of_size(0).is_none());
    assert!(of_size(1).is_some());
    assert!(of_size(64 << 20).is_some());
    assert!(of_size((64 << 20) + 1).is_none());
}

#[test]
fn only_so_many_objects_are_open() {
    let directory = TempDir::new().unwrap();
    let config = Config {
        size_max: None,
        queue_bytes_max: 1 << 20,
        bucket: String::new(),
        files_max: 12,
    };
    let cache = DiskCache::open(directory.path(), config, Arc::default()).unwrap();
    let open = |name: &str| cache.object(&version(name, b"x"));
    let held: Vec<_> = ["a", "b", "c"].into_iter().map(open).collect();
    assert!(held.iter().all(Option::is_some));
    assert!(open("d").is_none());
    assert!(open("a").is_some(), "it is open already");
    drop(held);
    assert!(open("d").is_some());
}
