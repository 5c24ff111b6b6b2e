//! Files that are written, against a development server, without a kernel.
//!
//! - [`stored`]: how a file gets into the bucket, and with how many requests.
//! - [`cleanup`]: uploads that were left behind.
//! - [`created`]: names that somebody else has taken meanwhile. [`gone`]: uploads and names that files lose.
//! - [`failing`]: commits that fail, conflicts, answers that are lost.
//! - [`room`]: memory, staging files, and what happens when there is no more.
//! - [`recover`]: what a crash leaves in the staging directory.
//! - [`model`]: any changes in any order, with faults, against a row of bytes.

mod cleanup;
mod created;
mod failing;
mod gone;
mod model;
mod recover;
mod room;
mod stored;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rolefs::buffer::Failure;
use rolefs::object::{ETag, ObjectKey, Source, Version};
use rolefs::op::Op;
use rolefs::oss::Properties;
use rolefs::write::{
    Base, Committed, Config, Copying, Error, Exclusive, Fetch, File, Fragment, Writer,
};

use crate::harness::BUCKET;
use crate::stack::{NEVER, Stack, read, soon};

const MIB: u64 = 1 << 20;

/// A server, all that reads from it, and a writer.
struct Bench {
    stack: Stack,
    writer: Arc<Writer>,
}

impl Bench {
    async fn new() -> Self {
        Self::with(256 * MIB, |_| {}).await
    }

    /// With so much memory, and a writer that is set up by `set`.
    async fn with(memory_bytes: u64, set: impl FnOnce(&mut Config)) -> Self {
        let stack = Stack::new(memory_bytes).await;
        let mut config = Config::new(&stack.budget);
        set(&mut config);
        let reader = Arc::clone(&stack.reader);
        let fetch: Fetch = Arc::new(move |source: Source| {
            let reader = Arc::clone(&reader);
            Box::pin(async move {
                let file = reader.open(Arc::clone(&source.version));
                let bytes = read(&reader, &file, source.range.start, source.len()).await;
                bytes.map(Bytes::from).map_err(Failure::new)
            })
        });
        let writer = Writer::new(
            config,
            Arc::clone(&stack.bucket),
            Arc::clone(&stack.budget),
            fetch,
            Arc::clone(&stack.metrics),
            tokio::runtime::Handle::current(),
        );
        Self { stack, writer }
    }

    fn create(&self, name: &str) -> Arc<File> {
        let properties = Properties::default();
        self.writer.create(key(name), properties, Exclusive::Local)
    }

    /// Stores an object past the wire, and opens it for writing.
    fn open(&self, name: &str, bytes: &[u8]) -> Arc<File> {
        self.writer.open(self.base(name, bytes))
    }

    /// Stores an object past the wire.
    fn base(&self, name: &str, bytes: &[u8]) -> Base {
        let version = self.stack.put(name, bytes);
        let copying = Copying::Ranges;
        Base { version, copying }
    }

    /// What is stored.
    fn get(&self, name: &str) -> Option<Bytes> {
        self.stack.server.get(BUCKET, name)
    }

    async fn write(&self, file: &Arc<File>, offset: u64, bytes: &[u8]) {
        self.try_write(file, offset, bytes).await.unwrap();
    }

    async fn try_write(&self, file: &Arc<File>, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let op = Op::background("test");
        let write = file.write(&op, offset, bytes);
        let done = tokio::time::timeout(NEVER, write).await;
        done.unwrap_or_else(|_| panic!("WRITE of {} at {offset} hangs", bytes.len()))
    }

    async fn commit(&self, file: &Arc<File>) -> Result<Committed, Error> {
        let op = Op::background("test");
        let done = tokio::time::timeout(NEVER, file.commit(&op)).await;
        done.expect("a commit does not hang")
    }

    /// What a reader in the mount sees of `range`.
    async fn content(&self, file: &Arc<File>, range: Range<u64>) -> Vec<u8> {
        let op = Op::background("test");
        let fragments = loop {
            match file.read(range.clone()) {
                Ok(fragments) => break fragments,
                Err(_) => file.materialise(&op).await.unwrap(),
            }
        };
        let mut content = Vec::new();
        for fragment in fragments {
            let start = content.len();
            content.resize(start + fragment.len() as usize, 0);
            match fragment {
                Fragment::Zeros(_) => {}
                Fragment::Staged(staged) => staged.copy_to(0, &mut content[start..]).unwrap(),
                Fragment::Object(source) => {
                    let open = self.stack.reader.open(Arc::clone(&source.version));
                    let mut at = source.range.start;
                    while at < source.range.end {
                        let len = (source.range.end - at).min(MIB);
                        let bytes = self.stack.read(&open, at, len).await.unwrap();
                        let from = start + (at - source.range.start) as usize;
                        content[from..from + bytes.len()].copy_from_slice(&bytes);
                        at += len;
                    }
                }
            }
        }
        content
    }

    /// Once its files are dropped, nothing of them is left: no memory, no upload.
    async fn nothing_is_left(&self) {
        soon("uploads are given up", || {
            self.stack.server.upload_count(BUCKET) == 0
        })
        .await;
        soon("staged memory comes back", || {
            self.stack.metrics.write.staged_bytes.get() == 0
        })
        .await;
        soon("only cached blocks are leased", || {
            self.stack.budget.leased() == self.stack.cache.bytes()
        })
        .await;
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name).unwrap()
}

fn version(name: &str, etag: &str, bytes: u64) -> Arc<Version> {
    Version::new(key(name), ETag::new(etag), bytes)
}

/// Bytes that are different at every place.
fn pattern(seed: u64, len: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len as usize];
    random.fill(&mut bytes);
    bytes
}
