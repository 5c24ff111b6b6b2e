//! Any changes in any order, with faults, against a row of bytes.

use proptest::prelude::*;
use rolefs::dev_server::{Fault, FaultKind, Operation, RandomFaults};
use rolefs::op::Op;
use rolefs::write::{Fallocate, Limits, StagingDirectory, Standing};

use super::*;
use crate::harness::{cases, runtime};

/// Bytes of the longest file: some ten parts.
const BYTES: u64 = 3 << 20;

#[derive(Debug, Clone)]
enum Change {
    Write {
        at: u64,
        len: u64,
    },
    Append {
        len: u64,
    },
    Truncate {
        len: u64,
    },
    Punch {
        at: u64,
        len: u64,
    },
    CopyWithin {
        at: u64,
        from: u64,
        len: u64,
    },
    CopyObject {
        at: u64,
        from: u64,
        len: u64,
    },
    Read {
        at: u64,
        len: u64,
    },
    Commit,
    /// A commit that is given up after so many microseconds.
    GiveUp {
        after: u64,
    },
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0..BYTES;
    let short = 1..5_000_u64;
    let long = 1..900_000_u64;
    prop_oneof![
        8 => (at.clone(), short.clone()).prop_map(|(at, len)| Change::Write { at, len }),
        5 => (at.clone(), long.clone()).prop_map(|(at, len)| Change::Write { at, len }),
        8 => long.clone().prop_map(|len| Change::Append { len }),
        2 => at.clone().prop_map(|len| Change::Truncate { len }),
        2 => (at.clone(), long.clone()).prop_map(|(at, len)| Change::Punch { at, len }),
        2 => (at.clone(), at.clone(), long.clone())
            .prop_map(|(at, from, len)| Change::CopyWithin { at, from, len }),
        2 => (at.clone(), 0..1_000_000_u64, long.clone())
            .prop_map(|(at, from, len)| Change::CopyObject { at, from, len }),
        3 => (at, long).prop_map(|(at, len)| Change::Read { at, len }),
        4 => Just(Change::Commit),
        1 => (0..5_000_u64).prop_map(|after| Change::GiveUp { after }),
    ]
}

#[derive(Debug, Clone)]
struct Case {
    changes: Vec<Change>,
    /// Bytes of the object that the file is at first; `None`: it is created.
    opened: Option<u64>,
    memory: u64,
    has_directory: bool,
    has_faults: bool,
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    (
        prop::collection::vec(change(), 1..40),
        prop::option::of(0..BYTES),
        prop_oneof![Just(2 * MIB), Just(8 * MIB)],
        any::<bool>(),
        any::<bool>(),
        any::<u64>(),
    )
        .prop_map(
            |(changes, opened, memory, has_directory, has_faults, seed)| Case {
                changes,
                opened,
                memory,
                has_directory,
                has_faults,
                seed,
            },
        )
}

/// A file and its twin.
struct Twin {
    bench: Bench,
    file: Arc<File>,
    bytes: Vec<u8>,
    source: Base,
    source_bytes: Vec<u8>,
    seed: u64,
}

impl Twin {
    async fn new(case: &Case, directory: &std::path::Path) -> Self {
        let bench = Bench::with(64 * MIB, |config| {
            config.memory_bytes_max = case.memory;
            config.part_bytes = 200 << 10;
            config.head_bytes = 100 << 10;
            config.limits = Limits {
                put_bytes_max: 200 << 10,
                upload_bytes: 300 << 10,
                copy_part_bytes: 500 << 10,
                copy_object_bytes_max: 1 << 20,
                ..Limits::default()
            };
            if case.has_directory {
                config.directory = Some(StagingDirectory::open(directory, 64 * MIB).unwrap());
            }
        })
        .await;
        let source_bytes = pattern(case.seed, 1_000_000);
        let source = bench.base("source", &source_bytes);
        let (file, bytes) = match case.opened {
            Some(len) => {
                let bytes = pattern(case.seed + 1, len);
                (bench.open("file", &bytes), bytes)
            }
            None => (bench.create("file"), Vec::new()),
        };
        if case.has_faults {
            let faults = RandomFaults::default()
                .with(FaultKind::ServerError, 0.03)
                .with(FaultKind::Throttle, 0.02)
                .with(FaultKind::Reset, 0.03)
                .with(FaultKind::AnswerLost, 0.06)
                .with(FaultKind::RequestReset, 0.03)
                .with_seed(case.seed);
            bench.stack.server.faults().set_random(faults);
            for at in [0, 1000, 100_000] {
                let flip = Fault::FlipRequestByte { at };
                let part = Some(Operation::UploadPart);
                bench.stack.server.faults().script(1, part, "file", flip);
            }
        }
        Self {
            bench,
            file,
            bytes,
            source,
            source_bytes,
            seed: case.seed,
        }
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let (at, end) = (at as usize, at as usize + bytes.len());
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(bytes);
    }

    async fn apply(&mut self, change: &Change) {
        let op = Op::background("test");
        match *change {
            Change::Write { at, len } => {
                self.seed = self.seed.wrapping_add(1);
                let bytes = pattern(self.seed, len);
                self.bench.write(&self.file, at, &bytes).await;
                self.put(at, &bytes);
            }
            Change::Append { len } => {
                let at = self.bytes.len() as u64;
                if at > BYTES {
                    return;
                }
                self.seed = self.seed.wrapping_add(1);
                let bytes = pattern(self.seed, len);
                self.bench.write(&self.file, at, &bytes).await;
                self.put(at, &bytes);
            }
            Change::Truncate { len } => {
                self.file.truncate(&op, len).await.unwrap();
                self.bytes.resize(len as usize, 0);
            }
            Change::Punch { at, len } => {
                let punch = Fallocate::PunchHole;
                self.file.fallocate(&op, punch, at..at + len).await.unwrap();
                let within = |at: u64| (at as usize).min(self.bytes.len());
                let range = within(at)..within(at + len);
                self.bytes[range].fill(0);
            }
            Change::CopyWithin { at, from, len } => {
                let range = from..from + len;
                let copied = self.file.copy_file(&op, at, &self.file, range);
                let copied = copied.await.unwrap();
                let within = |at: u64| (at as usize).min(self.bytes.len());
                let bytes = self.bytes[within(from)..within(from + len)].to_vec();
                assert_eq!(copied, bytes.len() as u64);
                if !bytes.is_empty() {
                    self.put(at, &bytes);
                }
            }
            Change::CopyObject { at, from, len } => {
                let source = self.source.clone();
                let copy = self.file.copy_object(&op, at, source, from..from + len);
                copy.await.unwrap();
                let end = (from + len).min(1_000_000) as usize;
                let bytes = self.source_bytes[from as usize..end].to_vec();
                if !bytes.is_empty() {
                    self.put(at, &bytes);
                }
            }
            Change::Read { at, len } => {
                let read = self.bench.content(&self.file, at..at + len).await;
                let within = |at: u64| (at as usize).min(self.bytes.len());
                assert!(read == self.bytes[within(at)..within(at + len)]);
            }
            Change::Commit => self.commit().await,
            Change::GiveUp { after } => {
                let commit = self.file.commit(&op);
                let after = std::time::Duration::from_micros(after);
                // It may have succeeded.
                drop(tokio::time::timeout(after, commit).await);
            }
        }
        assert_eq!(self.file.len(), self.bytes.len() as u64);
    }

    /// If the process died now, nothing would be lost.
    async fn survives(&self, directory: &std::path::Path) {
        match super::recover::recovered(&self.bench, directory).await {
            None => assert!(!self.file.is_dirty() || self.bytes.is_empty()),
            Some((standing, bytes, missing)) => {
                let is_there = matches!(standing, Standing::Unchanged | Standing::Stored);
                assert!(is_there && missing == 0, "{standing:?}, {missing}");
                assert!(
                    bytes == self.bytes,
                    "what is recovered is not what was written"
                );
            }
        }
    }

    async fn commit(&self) {
        let done = self.bench.commit(&self.file).await.unwrap();
        assert!(!done.is_dirty && !self.file.is_dirty());
        assert_eq!(done.version.size(), self.bytes.len() as u64);
        let stored = self.bench.get("file").unwrap();
        assert!(
            stored == self.bytes,
            "what is stored is not what was written"
        );
        let etag = self.bench.stack.server.etag(BUCKET, "file");
        assert_eq!(etag.as_deref(), Some(done.version.etag().as_str()));
    }
}

fn check(case: &Case) {
    let runtime = runtime();
    let directory = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let mut twin = Twin::new(case, directory.path()).await;
        for change in &case.changes {
            twin.apply(change).await;
        }
        let read = twin.bench.content(&twin.file, 0..u64::MAX).await;
        assert!(read == twin.bytes, "what is read is not what was written");
        if case.has_directory {
            twin.bench.stack.server.faults().clear();
            twin.survives(directory.path()).await;
        }
        twin.commit().await;
        twin.bench.stack.server.faults().clear();
        let Twin { bench, file, .. } = twin;
        drop(file);
        bench.writer.ended().await;
        // An initiation whose answer was lost leaves an upload behind that nobody knows of.
        if !case.has_faults
            && !case
                .changes
                .iter()
                .any(|it| matches!(it, Change::GiveUp { .. }))
        {
            bench.nothing_is_left().await;
        }
        crate::stack::soon("staged memory comes back", || {
            bench.stack.metrics.write.staged_bytes.get() == 0
        })
        .await;
    });
}

proptest! {
    #![proptest_config(cases(24))]
    #[test]
    fn a_file_is_a_row_of_bytes_whatever_is_done_to_it(case in case()) {
        check(&case);
    }
}
