//! Any changes in any order, through the file system and against a naive one in memory.
//!
//! Several handles, names that move while they are open, directories, and a server that fails now and then. Each step has the same outcome in
//! both; what is closed is stored; in the end the bucket holds what the model holds, and another mount shows it. [`two`]: two mounts, and somebody else.

mod calls;
mod naive;
mod two;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rolefs::dev_server::{FaultKind, RandomFaults, Unfinished};
use rolefs::fs::{Error, FileSystem, Maker, Process, WriteBy, WriteOpen};
use rolefs::op::Op;
use rolefs::tree::{Ino, Over};

use crate::harness::{BUCKET, cases, content, runtime};
use crate::stack::{Stack, soon};
use calls::{list, place, read_all, read_file, walk, word};
use naive::{Model, Node};

const MAKER: Maker = Maker {
    mode: 0o644,
    uid: 0,
    gid: 0,
};
const ME: Option<Process> = Some(Process(1));

/// Files and directories have the same names, so that each meets the other.
const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    /// Opens for writing, and creates.
    Open(String, bool),
    Write(usize, usize, usize),
    Truncate(usize, usize),
    Fsync(usize),
    Close(usize),
    Read(String),
    ReadOpen(usize),
    Mkdir(String),
    Rmdir(String),
    Unlink(String),
    Rename(String, String),
    List(String),
}

/// What a step ends with.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Bytes(Vec<u8>),
    Names(BTreeSet<String>),
    Failed(&'static str),
}

fn path() -> impl Strategy<Value = String> {
    let name = || prop::sample::select(NAMES.to_vec());
    prop_oneof![
        3 => name().prop_map(str::to_owned),
        2 => (name(), name()).prop_map(|(a, b)| format!("{a}/{b}")),
        1 => (name(), name(), name()).prop_map(|(a, b, c)| format!("{a}/{b}/{c}")),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let handle = || 0..4_usize;
    let at = || prop_oneof![0..5000_usize, 0..3_000_000_usize];
    prop_oneof![
        5 => (path(), any::<bool>()).prop_map(|(path, truncate)| Step::Open(path, truncate)),
        6 => (handle(), at(), at()).prop_map(|(at_handle, at, len)| Step::Write(at_handle, at, len % 900_000)),
        1 => (handle(), at()).prop_map(|(handle, len)| Step::Truncate(handle, len)),
        1 => handle().prop_map(Step::Fsync),
        4 => handle().prop_map(Step::Close),
        2 => path().prop_map(Step::Read),
        2 => handle().prop_map(Step::ReadOpen),
        3 => path().prop_map(Step::Mkdir),
        1 => path().prop_map(Step::Rmdir),
        2 => path().prop_map(Step::Unlink),
        4 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => prop_oneof![Just(String::new()), path()].prop_map(Step::List),
    ]
}

/// A mount without a kernel.
struct Mounted {
    stack: Stack,
    fs: Arc<FileSystem>,
    model: Model,
    /// The handle, the file of the model, and whether it was written through.
    handles: HashMap<usize, (u64, usize, bool)>,
    seed: u64,
    /// Whether requests fail.
    faulty: bool,
}

impl Mounted {
    async fn step(&mut self, step: &Step) {
        let real = self.real(step).await;
        let naive = self.naive(step);
        assert!(
            real == naive,
            "{step:?}: {} is not {}",
            short(&real),
            short(&naive)
        );
        if let Step::Close(at) | Step::Fsync(at) = step
            && let Some((_, id, true)) = self.handles.get(at)
        {
            self.is_stored(*id);
        }
        if let Step::Close(at) = step {
            self.handles.remove(at);
        }
    }

    fn is_stored(&self, id: usize) {
        let names = self.model.nodes.iter();
        for (path, _) in names.filter(|(_, node)| **node == Node::File(id)) {
            let stored = self.stack.server.get(BUCKET, path);
            assert!(
                stored.as_deref() == Some(&*self.model.contents[id]),
                "{path} is not stored"
            );
        }
    }

    async fn real(&mut self, step: &Step) -> Outcome {
        match self.try_real(step).await {
            Ok(outcome) => outcome,
            Err(word) => Outcome::Failed(word),
        }
    }

    async fn try_real(&mut self, step: &Step) -> Result<Outcome, &'static str> {
        let (fs, op) = (Arc::clone(&self.fs), Op::background("test"));
        let told = |result: Result<(), Error>| match result {
            Ok(()) => Ok(Outcome::Done),
            Err(error) => Err(word(&error)),
        };
        match step {
            Step::Open(path, truncate) => {
                let (directory, name) = place(&fs, path).await?;
                let how = WriteOpen {
                    truncate: *truncate,
                    exclusive: false,
                    opener: ME,
                };
                let created = match fs.create_known(directory, name, MAKER, how) {
                    Some(known) => known,
                    None => fs.create(&op, directory, name, MAKER, how).await,
                };
                let (entry, opened) = created.map_err(|error| word(&error))?;
                entry.give();
                let at = (0..4).find(|at| !self.handles.contains_key(at));
                match at {
                    Some(at) => drop(self.handles.insert(at, (opened.handle, usize::MAX, false))),
                    None => fs.release(opened.handle),
                }
                Ok(Outcome::Done)
            }
            Step::Write(at, offset, len) => {
                let Some((handle, _, _)) = self.handles.get(at) else {
                    return Ok(Outcome::Done);
                };
                let (bytes, by) = (content(self.seed + 1, *len), WriteBy::Process(ME));
                let tried = fs.try_write(*handle, *offset as u64, &bytes, by).unwrap();
                match tried {
                    Ok(()) => Ok(Outcome::Done),
                    Err(_) => told(fs.write(&op, *handle, *offset as u64, &bytes, by).await),
                }
            }
            Step::Truncate(at, len) => {
                let Some((handle, id, _)) = self.handles.get(at) else {
                    return Ok(Outcome::Done);
                };
                let ino = self.inode(*id).await;
                let Some(ino) = ino else {
                    return Ok(Outcome::Done);
                };
                let done = fs.truncate(&op, ino, Some(*handle), *len as u64, ME).await;
                told(done.map(|_| ()))
            }
            Step::Fsync(at) => match self.handles.get(at) {
                Some((handle, _, _)) => told(fs.commit_handle(&op, *handle).await),
                None => Ok(Outcome::Done),
            },
            Step::Close(at) => {
                let Some((handle, _, _)) = self.handles.get(at) else {
                    return Ok(Outcome::Done);
                };
                let done = match fs.flush_known(*handle, || ME, |_| true) {
                    Some(known) => known,
                    None => fs.commit_handle(&op, *handle).await,
                };
                fs.release(*handle);
                told(done)
            }
            Step::Read(path) => read_file(&fs, path).await.map(Outcome::Bytes),
            Step::ReadOpen(at) => match self.handles.get(at) {
                Some((handle, _, _)) => Ok(Outcome::Bytes(read_all(&fs, *handle).await.unwrap())),
                None => Ok(Outcome::Done),
            },
            Step::Mkdir(path) => {
                let (directory, name) = place(&fs, path).await?;
                let made = fs.mkdir(&op, directory, name, MAKER).await;
                told(made.map(rolefs::fs::Entry::give))
            }
            Step::Rmdir(path) => {
                let (directory, name) = place(&fs, path).await?;
                told(fs.rmdir(&op, directory, name).await)
            }
            Step::Unlink(path) => {
                let (directory, name) = place(&fs, path).await?;
                told(fs.unlink(&op, directory, name).await)
            }
            Step::Rename(from, to) => {
                let (from, to) = (place(&fs, from).await?, place(&fs, to).await?);
                told(fs.rename(&op, from, to, Over::Replace).await)
            }
            Step::List(path) => list(&fs, path).await.map(Outcome::Names),
        }
    }

    /// The inode of a file of the model, if it has a name.
    async fn inode(&self, id: usize) -> Option<Ino> {
        let mut nodes = self.model.nodes.iter();
        let (path, _) = nodes.find(|(_, node)| **node == Node::File(id))?;
        Some(walk(&self.fs, path).await.unwrap())
    }

    fn naive(&mut self, step: &Step) -> Outcome {
        match self.try_naive(step) {
            Ok(outcome) => outcome,
            Err(word) => Outcome::Failed(word),
        }
    }

    fn try_naive(&mut self, step: &Step) -> Result<Outcome, &'static str> {
        match step {
            Step::Open(path, truncate) => {
                // Who creates has not cut anything off.
                let cuts = *truncate && self.model.get(path)?.is_some();
                let id = self.model.open(path, *truncate)?;
                for (_, of, wrote) in self.handles.values_mut().filter(|it| it.1 == usize::MAX) {
                    (*of, *wrote) = (id, cuts);
                }
            }
            Step::Write(at, offset, len) => {
                self.seed += 1;
                if let Some((_, id, wrote)) = self.handles.get_mut(at) {
                    *wrote |= *len > 0;
                    let bytes = content(self.seed, *len);
                    self.model.write(*id, *offset, &bytes);
                }
            }
            Step::Truncate(at, len) => {
                if let Some((_, id, wrote)) = self.handles.get_mut(at)
                    && self
                        .model
                        .nodes
                        .values()
                        .any(|node| *node == Node::File(*id))
                {
                    self.model.contents[*id].resize(*len, 0);
                    *wrote = true;
                }
            }
            Step::Fsync(_) | Step::Close(_) => {}
            Step::Read(path) => {
                return match self.model.get(path)?.ok_or("not found")? {
                    Node::Directory => Err("is a directory"),
                    Node::File(id) => Ok(Outcome::Bytes(self.model.contents[id].clone())),
                };
            }
            Step::ReadOpen(at) => {
                if let Some((_, id, _)) = self.handles.get(at) {
                    return Ok(Outcome::Bytes(self.model.contents[*id].clone()));
                }
            }
            Step::Mkdir(path) => match self.model.get(path)? {
                Some(_) => return Err("exists"),
                None => drop(self.model.nodes.insert(path.clone(), Node::Directory)),
            },
            Step::Rmdir(path) => self.model.remove(path, true)?,
            Step::Unlink(path) => self.model.remove(path, false)?,
            Step::Rename(from, to) => {
                // Whoever walks meets the ends of both ways first.
                self.model.get(from)?;
                self.model.get(to)?;
                self.model.rename(from, to)?;
            }
            Step::List(path) => {
                return match self.model.get(path)?.ok_or("not found")? {
                    Node::Directory => Ok(Outcome::Names(self.model.children(path))),
                    Node::File(_) => Err("not a directory"),
                };
            }
        }
        Ok(Outcome::Done)
    }

    /// Nothing is left of an upload but what nobody can know of: one whose begin was not answered, so that it was begun again.
    async fn uploads_are_over(&self) {
        let is_over = || {
            let left = self.stack.server.unfinished_uploads(BUCKET);
            let is_known = |upload: &Unfinished| !upload.parts.is_empty() || !self.faulty;
            !left.iter().any(is_known)
        };
        soon("uploads are completed or given up", is_over).await;
    }

    /// All is closed: the bucket has it, and another mount shows it.
    async fn end(mut self) {
        for at in 0..4 {
            self.step(&Step::Close(at)).await;
        }
        let unstored = self.fs.finish(Duration::from_secs(30)).await;
        assert!(unstored.is_empty(), "{unstored:?}");
        let keys = self.stack.server.keys(BUCKET, "");
        let files = keys.into_iter().filter(|key| !key.ends_with('/'));
        let nodes = self.model.nodes.iter();
        let expected = nodes.filter(|(_, node)| **node != Node::Directory);
        let expected: Vec<String> = expected.map(|(path, _)| path.clone()).collect();
        assert_eq!(files.collect::<Vec<_>>(), expected);
        self.uploads_are_over().await;
        let (other, _) = self.stack.file_system(Duration::ZERO, 1000).await;
        for (path, node) in &self.model.nodes {
            if let Node::File(id) = node {
                let bytes = read_file(&other, path).await.unwrap();
                assert!(
                    bytes == self.model.contents[*id],
                    "{path} is another one elsewhere"
                );
            }
        }
    }
}

fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Bytes(bytes) => format!("{} bytes", bytes.len()),
        other => format!("{other:?}"),
    }
}

fn run(steps: &[Step], faults: Option<u64>) {
    let runtime = runtime();
    runtime.block_on(async {
        let stack = Stack::new(64 << 20).await;
        let (fs, _) = stack.file_system(Duration::from_secs(60), 1000).await;
        if let Some(seed) = faults {
            let random = RandomFaults::default()
                .with_seed(seed)
                .with(FaultKind::ServerError, 0.05)
                .with(FaultKind::AnswerLost, 0.05)
                .with(FaultKind::Reset, 0.05);
            stack.server.faults().set_random(random);
        }
        let mut mounted = Mounted {
            stack,
            fs,
            model: Model::default(),
            handles: HashMap::new(),
            seed: 0,
            faulty: faults.is_some(),
        };
        for step in steps {
            mounted.step(step).await;
        }
        mounted.end().await;
    });
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn any_changes_are_those_of_a_naive_file_system(
        steps in prop::collection::vec(step(), 1..60),
        faults in prop::option::of(any::<u64>()),
    ) {
        run(&steps, faults);
    }
}
