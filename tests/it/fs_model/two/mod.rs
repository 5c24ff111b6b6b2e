//! Two mounts, and somebody who puts objects straight into the bucket, against a naive model.
//!
//! - After every step the bucket holds whole versions, each of which somebody has committed at once.
//! - A name shows what this mount has not stored yet, else what is in the bucket.
//! - Who has a file open has its version, with what this mount wrote. Other bytes he never gets: ESTALE, if he needs some that are gone.
//! - A commit of a file whose object was replaced or removed meanwhile is a conflict; what it would have stored stays readable in its mount. With
//!   `--on-conflict overwrite` it wins instead, unless it needs bytes that are gone.
//! - A file that was created is in conflict with any object that others have made under its name meanwhile.

mod file;
mod steps;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rolefs::dev_server::{FaultKind, RandomFaults};
use rolefs::fs::{Error, FileSystem, WriteBy, WriteOpen};
use rolefs::op::Op;
use rolefs::tree::Ino;
use rolefs::write::OnConflict;

use super::calls::{read_all, read_file, walk, word};
use super::{MAKER, ME};
use crate::harness::{BUCKET, cases, content, runtime};
use crate::stack::{Stack, soon};
use file::File;
use steps::{Change, NAMES, Name, Step, step};

/// Handles of each mount.
const HANDLES: usize = 3;

#[derive(Clone, Copy)]
struct Open {
    handle: u64,
    ino: Ino,
    file: usize,
    writes: bool,
}

/// A mount without a kernel, and what is expected of it.
struct Side {
    fs: Arc<FileSystem>,
    files: Vec<File>,
    names: BTreeMap<Name, usize>,
    open: [Option<Open>; HANDLES],
}

struct World {
    stack: Stack,
    sides: [Side; 2],
    policy: OnConflict,
    /// What is to be in the bucket.
    bucket: BTreeMap<Name, Vec<u8>>,
    seed: u64,
}

impl World {
    async fn new(policy: OnConflict, faults: Option<u64>) -> Self {
        let stack = Stack::new(64 << 20).await;
        let side = async || {
            let mounted = stack.file_system_with(Duration::ZERO, 1000, |config| {
                config.on_conflict = policy;
            });
            Side {
                fs: mounted.await.0,
                files: Vec::new(),
                names: BTreeMap::new(),
                open: [None; HANDLES],
            }
        };
        let sides = [side().await, side().await];
        if let Some(seed) = faults {
            let random = RandomFaults::default()
                .with_seed(seed)
                .with(FaultKind::ServerError, 0.05)
                .with(FaultKind::AnswerLost, 0.03)
                .with(FaultKind::Reset, 0.05);
            stack.server.faults().set_random(random);
        }
        Self {
            stack,
            sides,
            policy,
            bucket: BTreeMap::new(),
            seed: 0,
        }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        self.seed += 1;
        content(self.seed, len)
    }

    fn etag(&self, name: Name) -> Option<String> {
        self.stack.server.etag(BUCKET, name)
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Put(name, len) => {
                let bytes = self.bytes(*len);
                self.stack.server.put(BUCKET, name, bytes.clone()).unwrap();
                self.bucket.insert(name, bytes);
            }
            Step::Delete(name) => {
                self.stack.server.delete(BUCKET, name).unwrap();
                self.bucket.remove(name);
            }
            Step::In(mount, change) => self.change(*mount, change).await,
        }
        for name in NAMES {
            let stored = self.stack.server.get(BUCKET, name);
            let expected = self.bucket.get(name);
            assert!(
                stored.as_deref() == expected.map(Vec::as_slice),
                "{step:?}: {name} has {:?} bytes in the bucket, expected are {:?}",
                stored.map(|bytes| bytes.len()),
                expected.map(Vec::len)
            );
        }
    }

    async fn change(&mut self, mount: usize, change: &Change) {
        let is_full = self.sides[mount].open.iter().all(Option::is_some);
        match change {
            Change::Open(..) | Change::OpenRead(_) if is_full => {}
            Change::Open(name, cut) => self.open(mount, name, *cut).await,
            Change::OpenRead(name) => self.open_read(mount, name).await,
            Change::Write(at, offset, len) => self.write(mount, *at, *offset, *len).await,
            Change::Truncate(at, len) => self.truncate(mount, *at, *len).await,
            Change::Read(at) => self.read(mount, *at).await,
            Change::Fsync(at) => self.fsync(mount, *at).await,
            Change::Close(at) => self.close(mount, *at).await,
            Change::Show(name) => self.show(mount, name).await,
            Change::Unlink(name) => self.unlink(mount, name).await,
        }
    }

    /// The file that a name of a mount is to show.
    fn look(&mut self, mount: usize, name: Name) -> Option<usize> {
        let etag = self.etag(name);
        let stored = self.bucket.get(name);
        let side = &mut self.sides[mount];
        if let Some(id) = side.names.get(name) {
            let file = &side.files[*id];
            if file.is_dirty || file.is_base(etag.as_ref()) {
                return Some(*id);
            }
            side.names.remove(name);
        }
        let content = stored?.clone();
        side.files.push(File {
            name: Some(name),
            old: vec![true; content.len()],
            base: Some((etag?, content.len())),
            content,
            is_dirty: false,
        });
        side.names.insert(name, side.files.len() - 1);
        Some(side.files.len() - 1)
    }

    /// Whether bytes that a file needs are in the bucket no more.
    fn has_lost(&self, mount: usize, id: usize) -> bool {
        let file = &self.sides[mount].files[id];
        let needs_old = file.old.iter().any(|old| *old);
        let etag = file.name.and_then(|name| self.etag(name));
        needs_old && !file.is_base(etag.as_ref())
    }

    fn assert_shown(&self, mount: usize, id: usize, shown: Result<Vec<u8>, &'static str>) {
        let file = &self.sides[mount].files[id];
        match shown {
            Ok(bytes) => assert!(
                bytes == file.content,
                "mount {mount} shows other bytes of {:?}: {}, expected are {}",
                file.name,
                bytes.len(),
                file.content.len()
            ),
            Err(why) => assert!(
                why == "stale" && self.has_lost(mount, id),
                "mount {mount} answers {why} for {:?}",
                file.name
            ),
        }
    }

    fn enter(&mut self, mount: usize, (ino, handle): (Ino, u64), file: usize, writes: bool) {
        let open = Open {
            handle,
            ino,
            file,
            writes,
        };
        let mut slots = self.sides[mount].open.iter_mut();
        let slot = slots.find(|slot| slot.is_none());
        *slot.expect("there is room") = Some(open);
    }

    async fn open(&mut self, mount: usize, name: Name, cut: bool) {
        let (fs, op) = (Arc::clone(&self.sides[mount].fs), Op::background("test"));
        let file = self.look(mount, name).unwrap_or_else(|| {
            let side = &mut self.sides[mount];
            side.files.push(File {
                name: Some(name),
                content: Vec::new(),
                old: Vec::new(),
                base: None,
                is_dirty: true,
            });
            side.names.insert(name, side.files.len() - 1);
            side.files.len() - 1
        });
        let how = WriteOpen {
            truncate: cut,
            exclusive: false,
            opener: ME,
        };
        // The kernel looks a name up before it opens it.
        let _there: Result<Ino, _> = walk(&fs, name).await;
        let created = match fs.create_known(Ino::ROOT, name, MAKER, how) {
            Some(known) => known,
            None => fs.create(&op, Ino::ROOT, name, MAKER, how).await,
        };
        let (entry, opened) = created.unwrap();
        let (ino, handle) = (entry.attributes().ino, opened.handle);
        entry.give();
        if cut {
            let of = &mut self.sides[mount].files[file];
            of.resize(0);
            of.is_dirty |= fs.is_dirty(handle);
        }
        self.enter(mount, (ino, handle), file, true);
    }

    async fn open_read(&mut self, mount: usize, name: Name) {
        let fs = Arc::clone(&self.sides[mount].fs);
        let expected = self.look(mount, name);
        let Ok(ino) = walk(&fs, name).await else {
            return assert!(expected.is_none(), "{name} is not there");
        };
        let file = expected.unwrap_or_else(|| panic!("{name} is there"));
        let opened = match fs.open_known(ino) {
            Some(known) => known,
            None => fs.open(&Op::background("test"), ino).await,
        };
        self.enter(mount, (ino, opened.unwrap().handle), file, false);
    }

    async fn write(&mut self, mount: usize, at: usize, offset: usize, len: usize) {
        let Some(open) = self.sides[mount].open[at].filter(|open| open.writes) else {
            return;
        };
        let (bytes, by) = (self.bytes(len), WriteBy::Process(ME));
        let side = &mut self.sides[mount];
        let tried = side.fs.try_write(open.handle, offset as u64, &bytes, by);
        if tried.unwrap().is_err() {
            let op = Op::background("test");
            let written = side.fs.write(&op, open.handle, offset as u64, &bytes, by);
            written.await.unwrap();
        }
        let (file, end) = (&mut side.files[open.file], offset + len);
        file.resize(file.content.len().max(end));
        file.content[offset..end].copy_from_slice(&bytes);
        file.old[offset..end].fill(false);
        file.is_dirty = true;
    }

    async fn truncate(&mut self, mount: usize, at: usize, len: usize) {
        let side = &mut self.sides[mount];
        let Some(open) = side.open[at].filter(|open| open.writes) else {
            return;
        };
        // Whose name is somebody else's has no attributes to answer with.
        if side
            .names
            .get(side.files[open.file].name.unwrap_or_default())
            != Some(&open.file)
        {
            return;
        }
        let op = Op::background("test");
        let cut = side
            .fs
            .truncate(&op, open.ino, Some(open.handle), len as u64, ME);
        match cut.await {
            Ok(_) => {}
            Err(Error::Stale(_)) => {
                assert!(
                    !side.files[open.file].is_dirty,
                    "what is not stored has its name"
                );
                return;
            }
            Err(error) => panic!("{error}"),
        }
        let file = &mut side.files[open.file];
        file.resize(len);
        file.is_dirty |= side.fs.is_dirty(open.handle);
    }

    async fn read(&mut self, mount: usize, at: usize) {
        let side = &self.sides[mount];
        if let Some(open) = side.open[at] {
            let shown = read_all(&side.fs, open.handle).await;
            self.assert_shown(mount, open.file, shown.map_err(|error| word(&error)));
        }
    }

    async fn fsync(&mut self, mount: usize, at: usize) {
        if let Some(open) = self.sides[mount].open[at] {
            self.commit(mount, open).await;
        }
    }

    async fn commit(&mut self, mount: usize, open: Open) {
        let side = &self.sides[mount];
        let found = side.files[open.file].name.and_then(|name| self.etag(name));
        let op = Op::background("test");
        let done = side.fs.commit_handle(&op, open.handle).await;
        let done = done.map_err(|error| word(&error));
        self.committed(mount, open.file, found.as_ref(), done);
    }

    /// A file was to be stored over the version `found`.
    fn committed(
        &mut self,
        mount: usize,
        id: usize,
        found: Option<&String>,
        done: Result<(), &'static str>,
    ) {
        let file = &mut self.sides[mount].files[id];
        let Some(name) = file.name.filter(|_| file.is_dirty) else {
            return assert_eq!(done, Ok(()));
        };
        let needs_old = file.old.iter().any(|old| *old);
        let is_conflict = !file.is_base(found);
        let is_refused = is_conflict && (self.policy == OnConflict::Fail || needs_old);
        // Of an answer that was lost, what is there tells whose it is.
        let is_same = file.base.is_none() && self.bucket.get(name) == Some(&file.content);
        let is_refused = is_refused && !(is_same && done.is_ok());
        if file.is_unchanged() && done.is_ok() {
            // There is nothing to store, so nobody looks.
            file.is_dirty = false;
            return;
        }
        let expected = if is_refused { Err("conflict") } else { Ok(()) };
        assert_eq!(done, expected, "{name}, {:?}", self.policy);
        if is_refused {
            return;
        }
        self.bucket.insert(name, file.content.clone());
        let etag = self.stack.server.etag(BUCKET, name);
        file.base = etag.map(|etag| (etag, file.content.len()));
        file.old.fill(true);
        file.is_dirty = false;
    }

    async fn close(&mut self, mount: usize, at: usize) {
        self.fsync(mount, at).await;
        let side = &mut self.sides[mount];
        let Some(open) = side.open[at].take() else {
            return;
        };
        // What could not be stored is tried again, by the flush and behind the release.
        if side.fs.flush_known(open.handle, || ME, |_| true).is_none() {
            self.commit(mount, open).await;
        }
        let side = &self.sides[mount];
        side.fs.release(open.handle);
        let behind = side.fs.changes();
        soon("nothing goes on behind a close", || behind.is_empty()).await;
    }

    async fn show(&mut self, mount: usize, name: Name) {
        let expected = self.look(mount, name);
        let shown = read_file(&self.sides[mount].fs, name).await;
        match expected {
            Some(id) => self.assert_shown(mount, id, shown),
            None => assert!(shown == Err("not found"), "mount {mount} shows {name}"),
        }
    }

    async fn unlink(&mut self, mount: usize, name: Name) {
        let expected = self.look(mount, name);
        let is_open = |id| {
            let mut open = self.sides[mount].open.iter().flatten();
            open.any(|open| open.file == id)
        };
        // Its holders could not keep what is gone.
        if expected.is_some_and(|id| is_open(id) && self.has_lost(mount, id)) {
            return;
        }
        let fs = Arc::clone(&self.sides[mount].fs);
        let _there: Result<Ino, _> = walk(&fs, name).await;
        let done = fs.unlink(&Op::background("test"), Ino::ROOT, name).await;
        let Some(id) = expected else {
            return assert!(done.is_err_and(|error| word(&error) == "not found"));
        };
        done.unwrap();
        let side = &mut self.sides[mount];
        side.names.remove(name);
        let file = &mut side.files[id];
        file.name = None;
        file.old.fill(false);
        // What was never stored has no object: one of somebody else may stay.
        if file.base.is_some() || self.etag(name).is_none() {
            self.bucket.remove(name);
        }
    }

    /// All is closed: what is not stored is named, and a new mount shows the bucket.
    async fn end(mut self) {
        for mount in 0..2 {
            for at in 0..HANDLES {
                self.close(mount, at).await;
            }
        }
        // The end of a mount stores what has become no conflict meanwhile, as empty objects have one ETag.
        let changing: Vec<Name> = NAMES
            .into_iter()
            .filter(|name| {
                let found = self.etag(name);
                let mut files = self.sides.iter().flat_map(|side| &side.files);
                files.any(|file| {
                    // Of an answer that was lost, what is there tells whose it is.
                    let is_same =
                        file.base.is_none() && self.bucket.get(name) == Some(&file.content);
                    let is_mine = is_same || file.is_base(found.as_ref());
                    file.is_dirty && file.name == Some(*name) && is_mine
                })
            })
            .collect();
        let may_change = |name: &Name| changing.contains(name);
        for side in &self.sides {
            let unstored = side.fs.finish(Duration::from_secs(30)).await;
            for (name, id) in &side.names {
                let is_named = unstored.iter().any(|it| it.key.as_str() == *name);
                let is_stored = !side.files[*id].is_dirty || may_change(name);
                assert!(is_named || is_stored, "{name} is lost unsaid");
            }
        }
        let (other, _) = self.stack.file_system(Duration::ZERO, 1000).await;
        for name in NAMES {
            let expected = self.bucket.get(name);
            let shown = read_file(&other, name).await;
            let is_shown = may_change(&name) || shown.as_ref().ok() == expected;
            assert!(is_shown, "{name} elsewhere");
        }
    }
}

fn run(steps: &[Step], policy: OnConflict, faults: Option<u64>) {
    let runtime = runtime();
    runtime.block_on(async {
        let mut world = World::new(policy, faults).await;
        for step in steps {
            world.step(step).await;
        }
        world.end().await;
    });
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn two_mounts_and_a_stranger_keep_the_rules(
        steps in prop::collection::vec(step(), 1..60),
        policy in prop::sample::select(vec![OnConflict::Fail, OnConflict::Overwrite]),
        faults in prop::option::of(any::<u64>()),
    ) {
        run(&steps, policy, faults);
    }
}
