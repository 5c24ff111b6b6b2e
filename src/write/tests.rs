//! A file against a naive twin: bytes in a vector, and a bucket that is a few vectors.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::object::{ETag, ObjectKey, Version};

const KIB: u64 = 1 << 10;

/// What a test does to a file. Numbers are taken modulo what makes sense.
#[derive(Debug, Clone)]
enum Step {
    Write(u64, u64),
    Append(u64),
    Truncate(u64),
    Zero(u32, u64, u64),
    Copy(u64, u64, u64),
    CopyObject(u64, u64, u64),
    Pressed(bool),
    Again,
    Arrive,
    Fail,
    LetGo,
    Commit,
    CommitWhileWriting(u64, u64),
    CommitFails(usize),
    LoseUpload,
}

/// What OSS and staging hold, byte for byte.
struct World {
    draft: Draft,
    twin: Vec<u8>,
    objects: Vec<Vec<u8>>,
    chunks: HashMap<ChunkId, Vec<u8>>,
    ledger: Ledger,
    upload: BTreeMap<PartNumber, Vec<u8>>,
    sending: Vec<(Seal, Vec<u8>)>,
    limits: Limits,
    next: u32,
}

fn base(objects: &mut Vec<Vec<u8>>, content: Vec<u8>, copying: Copying) -> Base {
    let key = ObjectKey::new(format!("o{}", objects.len())).unwrap();
    let version = Version::new(key, ETag::new("1"), content.len() as u64);
    objects.push(content);
    Base { version, copying }
}

fn bytes(seed: u32, count: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(u64::from(seed));
    let word = random.u64(..).to_le_bytes();
    (0..count as usize)
        .map(|at| word[at % 8] ^ (at >> 8) as u8)
        .collect()
}

fn fill(twin: &mut Vec<u8>, at: u64, content: &[u8]) {
    if content.is_empty() {
        return;
    }
    let range = at as usize..at as usize + content.len();
    if twin.len() < range.end {
        twin.resize(range.end, 0);
    }
    twin[range].copy_from_slice(content);
}

fn slice(content: &[u8], offset: u64, count: u64) -> &[u8] {
    &content[offset as usize..(offset + count) as usize]
}

impl World {
    fn new(origin: Option<(u64, Copying)>) -> Self {
        let schedule = Schedule::new(200 * KIB, 300 * KIB, 100 * KIB);
        let mut objects = Vec::new();
        let mut twin = Vec::new();
        let draft = match origin {
            None => Draft::created(schedule),
            Some((size, copying)) => {
                twin = bytes(999, size);
                Draft::opened(base(&mut objects, twin.clone(), copying), schedule)
            }
        };
        Self {
            draft,
            twin,
            objects,
            chunks: HashMap::new(),
            ledger: Ledger::new(),
            upload: BTreeMap::new(),
            sending: Vec::new(),
            limits: Limits {
                put_bytes_max: 150 * KIB,
                upload_bytes: 250 * KIB,
                copy_part_bytes: 300 * KIB,
                copy_object_bytes_max: 400 * KIB,
                ..Limits::default()
            },
            next: 0,
        }
    }

    fn object(&self, id: BaseId) -> &[u8] {
        let key = self.draft.bases().get(id).version.key().as_str();
        &self.objects[key[1..].parse::<usize>().unwrap()]
    }

    /// The bytes of a range, from where the map says that they lie.
    fn read(&self, map: &ExtentMap, range: Range<u64>, may_be_up: bool) -> Vec<u8> {
        let mut content = Vec::new();
        for piece in map.pieces(range) {
            let count = piece.bytes();
            match piece.place {
                Place::Base { base, offset } => {
                    content.extend_from_slice(slice(self.object(base), offset, count));
                }
                Place::Staged { chunk, offset } => {
                    content.extend_from_slice(slice(&self.chunks[&chunk], offset, count));
                }
                Place::Zeros => content.resize(content.len() + count as usize, 0),
                Place::Uploaded { part, offset } => {
                    assert!(may_be_up, "bytes of a part are to be read");
                    content.extend_from_slice(slice(&self.upload[&part], offset, count));
                }
            }
        }
        content
    }

    fn write(&mut self, at: u64, count: u64) {
        self.next += 1;
        let chunk = ChunkId(self.next);
        let content = bytes(self.next, count);
        fill(&mut self.twin, at, &content);
        self.chunks.insert(chunk, content);
        self.ledger.named(chunk, count);
        let range = 0..count;
        self.draft.write(at, count, &StagedRange { chunk, range });
        if count == 0 {
            self.chunks.remove(&chunk);
        }
    }

    fn seal(&mut self, sealing: &Sealing) -> bool {
        let Sealing::Seal(seal) = sealing else {
            return false;
        };
        let content = self.read(self.draft.map(), seal.range.clone(), false);
        let is_alone = self.sending.iter().all(|(it, _)| it.number != seal.number);
        if is_alone {
            self.sending.push((seal.clone(), content));
        } else {
            self.draft.failed(seal);
        }
        is_alone
    }

    fn arrive(&mut self) {
        for (seal, content) in std::mem::take(&mut self.sending) {
            self.upload.insert(seal.number, content);
            self.draft.arrived(&seal);
        }
    }

    fn let_go(&mut self) {
        for dropped in self.draft.take_dropped() {
            if self.ledger.dropped(&dropped) {
                self.chunks.remove(&dropped.chunk);
            }
        }
    }

    /// Plans, and makes the plan possible.
    fn plan(&mut self) -> Plan {
        let plan = self.draft.plan(&self.limits);
        let Plan::Materialise(ranges) = plan else {
            return plan;
        };
        assert!(!ranges.is_empty());
        self.arrive();
        let mut hidden = Vec::new();
        for (number, begins) in self.draft.parts().layout() {
            assert_eq!(begins, hidden.len() as u64);
            hidden.extend_from_slice(&self.upload[&number]);
        }
        let hidden = base(&mut self.objects, hidden, Copying::Ranges);
        self.draft.materialised(hidden);
        self.upload.clear();
        assert_eq!(self.draft.map().totals().uploaded, 0);
        let plan = self.draft.plan(&self.limits);
        assert!(!matches!(plan, Plan::Materialise(_)), "it never ends");
        plan
    }

    /// Does one step of a plan, as OSS would.
    fn make(&mut self, step: &plan::Step) {
        let count = step.range.end - step.range.start;
        let content = match step.make {
            Make::Keep => return,
            Make::Upload => self.read(self.draft.map(), step.range.clone(), false),
            Make::Copy { base, offset } => {
                assert_eq!(self.draft.bases().get(base).copying, Copying::Ranges);
                slice(self.object(base), offset, count).to_vec()
            }
        };
        self.upload.insert(step.number, content);
    }

    /// The object that a plan makes.
    fn execute(&mut self, plan: &Plan) -> Vec<u8> {
        let len = self.draft.map().len();
        match plan {
            Plan::Nothing => self.object(self.draft.origin().unwrap()).to_vec(),
            Plan::Put => self.read(self.draft.map(), 0..len, false),
            Plan::Copy(base) => self.object(*base).to_vec(),
            Plan::Multipart(steps) => {
                check(steps, len);
                self.arrive();
                let mut content = Vec::new();
                for step in steps {
                    self.make(step);
                    content.extend_from_slice(&self.upload[&step.number]);
                }
                content
            }
            Plan::Materialise(_) | Plan::TooLong => panic!("{plan:?}"),
        }
    }

    fn commit(&mut self, meanwhile: Option<(u64, u64)>) {
        let plan = self.plan();
        let snapshot = self.draft.map().clone();
        let stored = self.execute(&plan);
        assert!(stored == self.twin, "another file: {plan:?}");
        if let Some((at, count)) = meanwhile {
            self.draft.let_go();
            self.write(at, count);
            self.draft.let_go();
        }
        self.upload.clear();
        self.sending.clear();
        let is_last = meanwhile.is_none();
        if plan == Plan::Nothing {
            assert!(self.draft.upload_lost());
        } else {
            let stored = base(&mut self.objects, stored, Copying::Ranges);
            self.draft.committed(&snapshot, stored);
        }
        if is_last && plan != Plan::Nothing {
            assert_eq!(self.draft.map().dirty_bytes(), 0);
            assert_eq!(self.draft.plan(&self.limits), Plan::Nothing);
        }
    }

    fn fail(&mut self, after: usize) {
        if let Plan::Multipart(steps) = self.plan() {
            let steps: Vec<_> = steps
                .into_iter()
                .filter(|step| step.make != Make::Keep)
                .collect();
            self.arrive();
            // Every other step came through.
            let done: Vec<_> = steps.into_iter().skip(after % 2).step_by(2).collect();
            for step in &done {
                self.make(step);
            }
            let snapshot = self.draft.map().clone();
            if after.is_multiple_of(3) {
                self.write(after as u64 % (1500 * KIB), 50 * KIB);
            }
            self.draft.attempted(&snapshot, &done);
        }
    }

    fn step(&mut self, step: &Step) {
        let len = self.twin.len() as u64;
        match *step {
            Step::Write(at, count) => self.full(at, count),
            Step::Append(count) => self.full(len, count),
            Step::Truncate(len) => {
                self.draft.truncate(len);
                self.twin.resize(len as usize, 0);
            }
            Step::Zero(mode, at, count) => {
                let mode = Fallocate::of_mode(mode).unwrap();
                self.draft.fallocate(mode, at..at + count);
                let end = if mode == Fallocate::ZeroRange {
                    at + count
                } else {
                    len.min(at + count)
                };
                if mode == Fallocate::Allocate {
                    self.twin.resize(len.max(at + count) as usize, 0);
                } else if at < end {
                    fill(&mut self.twin, at, &vec![0; (end - at) as usize]);
                }
            }
            Step::Copy(at, from, count) => {
                if let Ok(named) = self.draft.copy_within(at, from..from + count) {
                    for it in named {
                        self.ledger.named(it.chunk, it.range.end - it.range.start);
                    }
                    let from = from.min(len)..(from + count).min(len);
                    let content = slice(&self.twin, from.start, from.end - from.start).to_vec();
                    fill(&mut self.twin, at, &content);
                }
            }
            Step::CopyObject(at, from, count) => {
                let content = bytes(self.next, from + count);
                fill(&mut self.twin, at, slice(&content, from, count));
                let object = base(&mut self.objects, content, Copying::Ranges);
                self.draft.copy_object(at, object, from..from + count);
            }
            Step::Pressed(is_hard) => {
                let pressure = if is_hard {
                    Pressure::Hard
                } else {
                    Pressure::Some
                };
                // What is up only must be read for it: whoever squeezes knows.
                if self.draft.map().totals().uploaded == 0 || !is_hard {
                    let sealing = self.draft.pressed(pressure);
                    self.seal(&sealing);
                }
            }
            Step::Again => {
                if let Some(seal) = self.draft.again() {
                    self.seal(&Sealing::Seal(seal));
                }
            }
            Step::Arrive => self.arrive(),
            Step::Fail => {
                if let Some((seal, _)) = self.sending.pop() {
                    self.draft.failed(&seal);
                }
            }
            Step::LetGo => {
                self.draft.let_go();
            }
            Step::Commit => self.commit(None),
            Step::CommitWhileWriting(at, count) => self.commit(Some((at, count))),
            Step::CommitFails(after) => self.fail(after),
            Step::LoseUpload => {
                if self.draft.map().totals().uploaded == 0 {
                    assert!(self.draft.upload_lost());
                    self.upload.clear();
                    self.sending.clear();
                }
            }
        }
    }

    fn full(&mut self, at: u64, count: u64) {
        self.write(at, count);
        loop {
            let sealing = self.draft.full(at);
            if !self.seal(&sealing) {
                break;
            }
        }
    }

    fn check(&self) {
        let map = self.draft.map();
        assert!(
            self.read(map, 0..map.len(), true) == self.twin,
            "another file"
        );
        for part in self.draft.parts().iter().filter(|part| part.is_clean()) {
            let content = match part.progress {
                Progress::Up => &self.upload[&part.number],
                Progress::Sending => {
                    let sent = self
                        .sending
                        .iter()
                        .rfind(|(seal, _)| seal.number == part.number);
                    &sent.unwrap().1
                }
            };
            let range = part.sealed.start as usize..part.sealed.end as usize;
            assert!(content == &self.twin[range], "a clean part is another");
        }
    }
}

/// The rules of OSS.
fn check(steps: &[plan::Step], len: u64) {
    let (mut at, mut number) = (0, 0);
    for step in steps {
        assert_eq!(step.range.start, at, "steps follow one another");
        assert!(step.number.get() > number, "numbers ascend");
        let bytes = step.range.end - step.range.start;
        assert!(bytes <= PART_BYTES_MAX);
        assert!(
            bytes >= PART_BYTES_MIN || step.range.end == len && bytes > 0,
            "{step:?}"
        );
        (at, number) = (step.range.end, step.number.get());
    }
    assert_eq!(at, len);
}

fn step() -> impl Strategy<Value = Step> {
    let at = || 0..1500 * KIB;
    let count = || prop_oneof![0..5 * KIB, 0..150 * KIB, 0..500 * KIB, Just(100 * KIB)];
    prop_oneof![
        8 => (at(), count()).prop_map(|(at, count)| Step::Write(at, count)),
        8 => count().prop_map(Step::Append),
        2 => at().prop_map(Step::Truncate),
        2 => (prop::sample::select(vec![0u32, 3, 0x10, 0x11]), at(), count())
            .prop_map(|(mode, at, count)| Step::Zero(mode, at, count)),
        2 => (at(), at(), count()).prop_map(|(at, from, count)| Step::Copy(at, from, count)),
        2 => (at(), 0..100 * KIB, count()).prop_map(|(at, from, count)| Step::CopyObject(at, from, count)),
        4 => any::<bool>().prop_map(Step::Pressed),
        2 => Just(Step::Again),
        4 => Just(Step::Arrive),
        1 => Just(Step::Fail),
        4 => Just(Step::LetGo),
        2 => Just(Step::Commit),
        1 => (at(), count()).prop_map(|(at, count)| Step::CommitWhileWriting(at, count)),
        2 => any::<usize>().prop_map(Step::CommitFails),
        1 => Just(Step::LoseUpload),
    ]
}

fn origin() -> impl Strategy<Value = Option<(u64, Copying)>> {
    let copying = vec![
        Copying::Ranges,
        Copying::Ranges,
        Copying::Whole,
        Copying::Nothing,
    ];
    prop::option::of((0..1500 * KIB, prop::sample::select(copying)))
}

proptest! {
    #[test]
    fn every_commit_stores_what_the_file_holds(
        origin in origin(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(origin);
        for step in &steps {
            world.step(step);
            world.let_go();
            world.check();
        }
        world.commit(None);
        world.let_go();
        prop_assert_eq!(world.chunks.len(), 0, "staging is let go");
    }
}
