use proptest::prelude::*;

use super::*;
use crate::object::{ETag, ObjectKey, Version};
use crate::write::{
    Base, ChunkId, Copying, Draft, FILE_BYTES_MAX, Limits, Make, PART_BYTES_MAX, PARTS_MAX, Plan,
    StagedRange, Step,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn object(name: u64, bytes: u64) -> Base {
    let key = ObjectKey::new(format!("o{name}")).unwrap();
    Base {
        version: Version::new(key, ETag::new("1"), bytes),
        copying: Copying::Ranges,
    }
}

fn write(draft: &mut Draft, range: Range<u64>) {
    let staged = StagedRange {
        chunk: ChunkId(0),
        range: range.clone(),
    };
    draft.write(range.start, range.end - range.start, &staged);
    draft.take_dropped();
}

/// The invariant of [`Parts`].
fn sound(parts: &Parts, len: u64) -> Result<(), TestCaseError> {
    let (mut at, mut number) = (0, 0);
    for part in parts.iter() {
        let bytes = part.sealed.end - part.sealed.start;
        prop_assert!((PART_BYTES_MIN..=PART_BYTES_MAX).contains(&bytes));
        prop_assert!(part.sealed.start >= at && part.sealed.start < len);
        prop_assert!(part.is_dirty || part.sealed.end <= len);
        let gap = part.sealed.start - at;
        prop_assert!(gap == 0 || gap >= PART_BYTES_MIN, "a gap of {}", gap);
        prop_assert!(part.number.get() > number);
        let room = u64::from(part.number.get() - number - 1);
        prop_assert!(room >= parts_needed(gap));
        (at, number) = (part.sealed.end, part.number.get());
    }
    Ok(())
}

fn check(steps: &[Step], len: u64) {
    let (mut at, mut number) = (0, 0);
    for step in steps {
        assert_eq!(step.range.start, at);
        assert!(step.number.get() > number);
        let bytes = step.range.end - step.range.start;
        assert!(bytes <= PART_BYTES_MAX);
        assert!(bytes >= PART_BYTES_MIN || step.range.end == len);
        (at, number) = (step.range.end, step.number.get());
    }
    assert_eq!(at, len);
}

/// Seals what is full around `near`; says it to be up.
fn seal_full(draft: &mut Draft, near: u64) -> Vec<Seal> {
    let mut seals = Vec::new();
    while let Sealing::Seal(seal) = draft.full(near) {
        draft.arrived(&seal);
        seals.push(seal);
    }
    seals
}

#[test]
fn a_stream_goes_up_behind_its_writer_and_its_header_stays() {
    let mut draft = Draft::created(Schedule::default());
    let mut seals = Vec::new();
    for at in 0..1024 {
        write(&mut draft, at * MIB..(at + 1) * MIB);
        seals.extend(seal_full(&mut draft, at * MIB));
        let sealed = seals.last().map_or(MIB, |seal: &Seal| seal.range.end);
        assert!((at + 1) * MIB - sealed < 8 * MIB);
    }
    assert_eq!(seals[0].range, MIB..9 * MIB);
    assert!(
        seals
            .iter()
            .zip(2..)
            .all(|(seal, number)| seal.number.get() == number)
    );
    write(&mut draft, 0..4 * KIB);
    assert!(draft.parts().iter().all(Part::is_clean));
    // A part that is written again is sent again, it alone.
    write(&mut draft, 100 * MIB..101 * MIB);
    let plan = draft.plan(&Limits::default());
    let sent = MIB + 8 * MIB + (1024 * MIB - seals.last().unwrap().range.end);
    assert_eq!(plan.sent_bytes(draft.map()), sent);
}

#[test]
fn what_a_commit_has_sent_by_itself_does_not_go_up_again() {
    let mut draft = Draft::created(Schedule::default());
    write(&mut draft, 0..6 * MIB);
    let snapshot = draft.map().clone();
    draft.committed(&snapshot, object(1, 6 * MIB));
    write(&mut draft, 6 * MIB..40 * MIB);
    let seals = seal_full(&mut draft, 6 * MIB);
    assert!(!seals.is_empty());
    for seal in seals {
        let mut pieces = draft.map().pieces(seal.range);
        assert!(pieces.all(|piece| matches!(piece.place, Place::Staged { .. })));
    }
}

#[test]
fn a_file_that_is_made_long_first_goes_up_all_the_same() {
    let mut draft = Draft::created(Schedule::default());
    draft.truncate(GIB);
    for at in 0..1024 {
        write(&mut draft, at * MIB..(at + 1) * MIB);
        seal_full(&mut draft, at * MIB);
    }
    assert!(draft.parts().iter().all(Part::is_clean));
    let plan = draft.plan(&Limits::default());
    assert!(plan.sent_bytes(draft.map()) < 10 * MIB);
}

#[test]
fn several_writers_of_one_file_all_go_up() {
    let mut draft = Draft::created(Schedule::default());
    for at in 0..256 {
        for writer in [3, 0, 2, 1] {
            let at = writer * 256 * MIB + at * MIB;
            write(&mut draft, at..at + MIB);
            seal_full(&mut draft, at);
        }
    }
    sound(draft.parts(), GIB).unwrap();
    let Plan::Multipart(steps) = draft.plan(&Limits::default()) else {
        panic!("it is large");
    };
    check(&steps, GIB);
    let kept = steps.iter().filter(|step| step.make == Make::Keep).count();
    assert!(kept > 110, "{kept}");
}

#[test]
fn what_fills_the_room_between_two_parts_goes_up() {
    let mut draft = Draft::created(Schedule::new(8 * MIB, 8 * MIB, 0));
    for range in [0..8 * MIB, 9 * MIB..17 * MIB, 8 * MIB..9 * MIB] {
        write(&mut draft, range.clone());
        let seals = seal_full(&mut draft, range.start);
        assert_eq!(seals.len(), 1);
        assert_eq!(seals[0].range, range);
    }
    let numbers: Vec<_> = draft.parts().iter().map(|part| part.number.get()).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn little_memory_makes_small_parts_and_spends_numbers_late() {
    let mut draft = Draft::created(Schedule::default());
    let (mut at, mut spent) = (0, None);
    for number in 1..20_000 {
        let bytes = draft.schedule().part_bytes_min(number.min(PARTS_MAX));
        write(&mut draft, at..at + bytes + MIB);
        at += bytes;
        match draft.pressed(Pressure::Some) {
            Sealing::Seal(seal) => {
                draft.arrived(&seal);
            }
            Sealing::Nothing => {}
            Sealing::NumbersSpent => {
                spent = Some(number);
                break;
            }
        }
    }
    sound(draft.parts(), at + MIB).unwrap();
    let spent = spent.expect("numbers end");
    assert!(at > 250 * GIB, "{spent} parts, {at} bytes");
    while draft.let_go().is_some() {}
    draft.materialised(object(1, at));
    let Sealing::Seal(seal) = draft.pressed(Pressure::Hard) else {
        panic!("numbers are free again");
    };
    assert!(seal.number.get() < 3000, "{seal:?}");
}

#[test]
fn the_head_goes_up_last_and_a_short_run_takes_what_is_beside_it() {
    let mut draft = Draft::created(Schedule::default());
    draft.truncate(10 * MIB);
    write(&mut draft, 0..512 * KIB);
    assert_eq!(draft.pressed(Pressure::Some), Sealing::Nothing);
    write(&mut draft, 3 * MIB..3 * MIB + 4 * KIB);
    assert_eq!(draft.pressed(Pressure::Some), Sealing::Nothing);
    let mut sealed = Vec::new();
    while let Sealing::Seal(seal) = draft.pressed(Pressure::Hard) {
        sealed.push(seal.range);
    }
    assert_eq!(sealed, [0..512 * KIB, 3 * MIB..3 * MIB + PART_BYTES_MIN]);
    let mut short = Draft::created(Schedule::default());
    write(&mut short, 0..PART_BYTES_MIN - 1);
    assert_eq!(short.pressed(Pressure::Hard), Sealing::Nothing);
}

#[test]
fn a_file_of_48_8_tb_can_be_streamed_in_parts_of_any_size() {
    for part_bytes_max in [PART_BYTES_MAX, 512 * MIB] {
        let schedule = Schedule::new(8 * MIB, part_bytes_max, MIB);
        let mut draft = Draft::created(schedule);
        let len = 48_800_000_000_000_u64;
        let (mut at, mut rounds) = (0, 0);
        while at < len {
            let end = (at + 4 * GIB).min(len);
            write(&mut draft, at..end);
            loop {
                match draft.full(at) {
                    Sealing::Seal(seal) => assert!(draft.arrived(&seal)),
                    Sealing::Nothing => break,
                    Sealing::NumbersSpent => {
                        while draft.let_go().is_some() {}
                        let (last, begins) = *draft.parts().layout().last().unwrap();
                        let last = draft
                            .parts()
                            .iter()
                            .find(|part| part.number == last)
                            .unwrap();
                        let bytes = begins + last.sealed.end - last.sealed.start;
                        rounds += 1;
                        draft.materialised(object(rounds, bytes));
                    }
                }
            }
            at = end;
        }
        let Plan::Multipart(steps) = draft.plan(&Limits::default()) else {
            panic!("it is large");
        };
        check(&steps, len);
        assert!(steps.len() <= usize::from(PARTS_MAX));
        assert!((1..40).contains(&rounds), "{rounds}");
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, u64),
    Full(u64),
    Pressed(bool),
    Truncate(u64),
    Zero(Range<u64>),
    Arrive,
    Fail,
    LetGo,
    Again,
    Attempted(u8),
    Materialise,
}

/// Places far apart and close together.
fn place() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..4 * MIB,
        0..4000 * GIB,
        (0..20u64).prop_map(|at| at * PART_BYTES_MIN),
        (0..5u64, 0..3 * MIB).prop_map(|(at, more)| at * 10_000 * GIB + more),
        (0..MIB).prop_map(|before| FILE_BYTES_MAX - 2 * MIB - before),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = prop_oneof![0..8 * KIB, 0..2 * MIB, 0..20 * GIB];
    prop_oneof![
        6 => (place(), bytes).prop_map(|(at, bytes)| Change::Write(at, bytes)),
        4 => place().prop_map(Change::Full),
        6 => any::<bool>().prop_map(Change::Pressed),
        1 => place().prop_map(Change::Truncate),
        1 => (place(), 0..MIB).prop_map(|(at, bytes)| Change::Zero(at..at + bytes)),
        3 => Just(Change::Arrive),
        1 => Just(Change::Fail),
        2 => Just(Change::LetGo),
        1 => Just(Change::Again),
        2 => any::<u8>().prop_map(Change::Attempted),
        1 => Just(Change::Materialise),
    ]
}

fn materialise(draft: &mut Draft, name: u64) {
    let bytes = draft
        .parts()
        .iter()
        .map(|part| part.sealed.end - part.sealed.start);
    let bytes = bytes.sum();
    draft.materialised(object(name, bytes));
}

proptest! {
    /// Wherever is written and whatever is sealed: parts are sound, and there is a plan that OSS takes.
    #[test]
    fn numbers_suffice_for_what_is_not_sealed_yet(
        based in prop::option::of(place()),
        changes in prop::collection::vec(change(), 1..60),
    ) {
        let schedule = Schedule::new(200 * KIB, MIB, 100 * KIB);
        let mut draft = match based {
            Some(bytes) => Draft::opened(object(0, bytes), schedule),
            None => Draft::created(schedule),
        };
        let (mut sending, mut names) = (Vec::new(), 0);
        for change in changes {
            let near = match change {
                Change::Write(at, bytes) => {
                    write(&mut draft, at..(at + bytes).min(FILE_BYTES_MAX));
                    Some(at)
                }
                Change::Full(near) => Some(near),
                _ => None,
            };
            let sealing = match change {
                Change::Pressed(true) => draft.pressed(Pressure::Hard),
                Change::Pressed(false) => draft.pressed(Pressure::Some),
                _ => near.map_or(Sealing::Nothing, |near| draft.full(near)),
            };
            if let Sealing::Seal(seal) = sealing {
                sending.push(seal);
            }
            match change {
                Change::Truncate(len) => draft.truncate(len),
                Change::Zero(range) => draft.fallocate(crate::write::Fallocate::PunchHole, range),
                Change::Arrive => {
                    for seal in sending.drain(..) {
                        draft.arrived(&seal);
                    }
                }
                Change::Fail => {
                    if let Some(seal) = sending.pop() {
                        draft.failed(&seal);
                    }
                }
                Change::LetGo => {
                    draft.let_go();
                }
                Change::Again => sending.extend(draft.again()),
                Change::Attempted(which) => {
                    if let Plan::Multipart(mut steps) = draft.plan(&Limits::default()) {
                        let mut random = fastrand::Rng::with_seed(u64::from(which));
                        steps.retain(|step| step.make != Make::Keep && random.bool());
                        let map = draft.map().clone();
                        draft.attempted(&map, &steps);
                    }
                }
                Change::Materialise => {
                    names += 1;
                    for seal in sending.drain(..) {
                        draft.arrived(&seal);
                    }
                    materialise(&mut draft, names);
                }
                Change::Write(..) | Change::Full(_) | Change::Pressed(_) => {}
            }
            sound(draft.parts(), draft.map().len())?;
        }
        let mut plan = draft.plan(&Limits::default());
        if matches!(plan, Plan::Materialise(_)) {
            for seal in sending.drain(..) {
                draft.arrived(&seal);
            }
            materialise(&mut draft, 1000);
            plan = draft.plan(&Limits::default());
        }
        match plan {
            Plan::Multipart(steps) => check(&steps, draft.map().len()),
            Plan::Nothing | Plan::Put | Plan::Copy(_) => {}
            Plan::Materialise(_) | Plan::TooLong => prop_assert!(false, "{:?}", plan),
        }
    }
}

/// Parts of 8 MiB that are up, of a file that was written from its front.
fn written(parts: u64) -> (ExtentMap, Parts) {
    let mut map = ExtentMap::new();
    let mut up = Parts::new(Schedule::new(8 << 20, 8 << 20, 0), 0);
    let len = parts * (8 << 20);
    let (chunk, offset) = (crate::write::ChunkId(0), 0);
    map.write(0..len, Place::Staged { chunk, offset });
    up.wrote(0..len);
    while let Sealing::Seal(seal) = up.full(len - 1) {
        assert!(up.arrived(&seal));
    }
    assert_eq!(up.iter().count() as u64, parts);
    (map, up)
}

#[test]
fn only_a_change_of_a_piece_of_what_was_let_go_needs_the_rest() {
    const PART: u64 = 8 << 20;
    let (_, mut parts) = written(3);
    assert!(parts.let_go(PART));
    for cut in [PART..PART + 1, PART - 1..PART + 1, 2 * PART - 1..3 * PART] {
        assert!(parts.cuts_let_go(&cut), "{cut:?}");
    }
    // It is replaced as a whole, or not touched.
    for kept in [
        PART..2 * PART,
        0..u64::MAX,
        0..PART,
        2 * PART..3 * PART,
        PART..PART,
    ] {
        assert!(!parts.cuts_let_go(&kept), "{kept:?}");
    }
    // Nothing of it is needed any more.
    parts.wrote(PART..2 * PART);
    assert!(!parts.cuts_let_go(&(PART..PART + 1)));
}

#[test]
fn a_part_that_is_not_up_after_all_is_sent_again_if_it_is_staged() {
    let (mut map, mut parts) = written(3);
    let number = |parts: &Parts, at: usize| parts.iter().nth(at).unwrap().number;
    let first = number(&parts, 0);
    assert!(parts.lost(first, &map));
    assert!(matches!(parts.full(0), Sealing::Seal(seal) if seal.range == (0..8 << 20)));
    let last = number(&parts, 2);
    assert!(parts.let_go(16 << 20));
    map.uploaded(16 << 20..24 << 20, last);
    assert!(!parts.lost(last, &map));
    assert!(parts.lost(last, &map), "there is none any more");
}

#[test]
fn a_part_that_the_file_has_outrun_is_known_to_be_on_its_way() {
    let (_, mut parts) = written(1);
    assert!(!parts.is_dirty_on_its_way());
    parts.wrote(8 << 20..16 << 20);
    let Sealing::Seal(seal) = parts.full(8 << 20) else {
        panic!("a part is ripe");
    };
    assert!(!parts.is_dirty_on_its_way());
    parts.wrote(9 << 20..(9 << 20) + 1);
    assert!(parts.is_dirty_on_its_way());
    assert!(!parts.arrived(&seal));
    assert!(!parts.is_dirty_on_its_way());
}
