use super::super::{
    Base, ChunkId, Copying, Draft, Limits, PART_BYTES_MAX, PART_BYTES_MIN, PARTS_MAX, Schedule,
    StagedRange,
};
use super::*;
use crate::object::{ETag, ObjectKey, Version};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn object(name: u64, bytes: u64, copying: Copying) -> Base {
    let key = ObjectKey::new(format!("o{name}")).unwrap();
    let version = Version::new(key, ETag::new("1"), bytes);
    Base { version, copying }
}

fn opened(bytes: u64) -> Draft {
    Draft::opened(object(0, bytes, Copying::Ranges), Schedule::default())
}

fn write(draft: &mut Draft, range: Range<u64>) {
    let staged = StagedRange {
        chunk: ChunkId(u32::try_from(range.start % 1009).unwrap()),
        range: range.clone(),
    };
    draft.write(range.start, range.end - range.start, &staged);
}

fn plan(draft: &Draft) -> Plan {
    draft.plan(&Limits::default())
}

/// The steps of a plan that keeps to what OSS takes and copies what is there.
fn steps(draft: &Draft) -> Vec<Step> {
    let Plan::Multipart(steps) = plan(draft) else {
        panic!("{:?}", plan(draft));
    };
    let (mut at, mut number) = (0, 0);
    for step in &steps {
        assert_eq!(step.range.start, at);
        assert!(step.number.get() > number);
        let bytes = step.range.end - step.range.start;
        assert!(bytes <= PART_BYTES_MAX);
        assert!(bytes >= PART_BYTES_MIN || step.range.end == draft.map().len());
        if let Make::Copy { base, offset } = step.make {
            let mut pieces = draft.map().pieces(step.range.clone());
            let place = Place::Base { base, offset };
            assert_eq!(pieces.next().map(|piece| piece.place), Some(place));
            assert_eq!(pieces.next(), None);
        }
        (at, number) = (step.range.end, step.number.get());
    }
    assert_eq!(at, draft.map().len());
    assert!(number <= PARTS_MAX);
    steps
}

fn sent(draft: &Draft) -> u64 {
    plan(draft).sent_bytes(draft.map())
}

#[test]
fn what_nobody_changed_sends_nothing() {
    for bytes in [0, 1, 100 * GIB] {
        let mut draft = opened(bytes);
        assert_eq!(plan(&draft), Plan::Nothing);
        draft.truncate(bytes + 10);
        assert_ne!(plan(&draft), Plan::Nothing);
        draft.truncate(bytes);
        assert_eq!(plan(&draft), Plan::Nothing);
    }
}

#[test]
fn a_small_file_is_one_put() {
    let mut draft = Draft::created(Schedule::default());
    assert_eq!(plan(&draft), Plan::Put);
    write(&mut draft, 0..8 * MIB);
    assert_eq!(plan(&draft), Plan::Put);
    write(&mut draft, 8 * MIB..8 * MIB + 1);
    assert_eq!(steps(&draft).len(), 2);
    let mut draft = opened(100 * GIB);
    draft.truncate(0);
    assert_eq!(plan(&draft), Plan::Put);
}

#[test]
fn a_copy_of_a_whole_object_sends_nothing() {
    let copied = |bytes, copying| {
        let mut draft = Draft::created(Schedule::default());
        draft.copy_object(0, object(1, bytes, copying), 0..bytes);
        draft
    };
    assert!(matches!(plan(&copied(5, Copying::Ranges)), Plan::Copy(_)));
    assert!(matches!(plan(&copied(GIB, Copying::Ranges)), Plan::Copy(_)));
    assert!(matches!(
        plan(&copied(4 * GIB, Copying::Whole)),
        Plan::Copy(_)
    ));
    assert_eq!(plan(&copied(5, Copying::Nothing)), Plan::Put);
    let large = copied(100 * GIB + 1, Copying::Ranges);
    assert_eq!(steps(&large).len(), 401);
    assert_eq!(sent(&large), 0);
}

#[test]
fn a_hundred_changes_of_1_mib_in_2_gib_send_little_more() {
    let mut draft = opened(2 * GIB);
    for change in 0..100 {
        let at = change * 20 * MIB + 12_345;
        write(&mut draft, at..at + MIB);
    }
    assert!(steps(&draft).len() <= 201);
    assert!(sent(&draft) * 10 <= 100 * MIB * 12, "{}", sent(&draft));
}

#[test]
fn a_header_takes_along_what_a_part_needs() {
    let mut draft = opened(100 * MIB);
    write(&mut draft, 0..4 * KIB);
    assert_eq!(sent(&draft), PART_BYTES_MIN);
    assert_eq!(steps(&draft)[0].range, 0..PART_BYTES_MIN);
    let fetch: Vec<_> = fetched(draft.map(), 0..PART_BYTES_MIN).collect();
    assert_eq!(fetch.len(), 1);
    assert_eq!(fetch[0].range, 4 * KIB..PART_BYTES_MIN);
    let mut draft = opened(100 * MIB);
    write(&mut draft, 50 * MIB..50 * MIB + 1);
    assert_eq!(sent(&draft), PART_BYTES_MIN);
    steps(&draft);
}

#[test]
fn unchanged_ranges_are_copied_from_the_least_part_on() {
    for (unchanged, is_copied) in [
        (PART_BYTES_MIN - 1, false),
        (PART_BYTES_MIN, true),
        (PART_BYTES_MIN + 1, true),
    ] {
        let mut draft = opened(100 * MIB);
        write(&mut draft, 0..MIB);
        write(&mut draft, MIB + unchanged..100 * MIB);
        let copies = steps(&draft).iter().any(|step| step.make != Make::Upload);
        assert_eq!(copies, is_copied);
    }
}

#[test]
fn two_small_changes_close_to_each_other_are_sent_as_one() {
    let mut draft = opened(100 * MIB);
    write(&mut draft, 50 * MIB..50 * MIB + 1);
    write(&mut draft, 50 * MIB + 120 * KIB..50 * MIB + 120 * KIB + 1);
    let parts = steps(&draft);
    let uploads: Vec<_> = parts
        .iter()
        .filter(|step| step.make == Make::Upload)
        .collect();
    assert!(uploads.len() <= 2 && sent(&draft) <= 2 * PART_BYTES_MIN + 120 * KIB);
}

#[test]
fn what_is_appended_to_a_log_is_all_that_is_sent() {
    let mut draft = opened(100 * GIB);
    write(&mut draft, 100 * GIB..100 * GIB + 10);
    assert_eq!(sent(&draft), 10);
    steps(&draft);
    // Ranges of an appendable object are not copied: it is sent as a whole.
    let whole = object(0, 4 * GIB, Copying::Whole);
    let mut draft = Draft::opened(whole, Schedule::default());
    write(&mut draft, 4 * GIB..4 * GIB + 10);
    steps(&draft);
    assert_eq!(sent(&draft), 4 * GIB + 10);
}

#[test]
fn an_object_that_refuses_to_be_copied_is_sent() {
    let mut draft = opened(100 * MIB);
    write(&mut draft, 0..1);
    let base = draft.origin().unwrap();
    assert!(plan(&draft).needs(base, draft.map()));
    draft.set_copying(base, Copying::Nothing);
    assert_eq!(sent(&draft), 100 * MIB);
    assert!(plan(&draft).needs(base, draft.map()));
    write(&mut draft, 0..100 * MIB);
    assert!(!plan(&draft).needs(base, draft.map()));
}

#[test]
fn many_objects_are_joined_without_sending() {
    let mut draft = Draft::created(Schedule::default());
    for name in 0..9000 {
        draft.copy_object(name * MIB, object(name, MIB, Copying::Ranges), 0..MIB);
    }
    assert_eq!(steps(&draft).len(), 9000);
    assert_eq!(sent(&draft), 0);
}

#[test]
fn more_changes_than_numbers_send_more_but_not_all() {
    for (bytes, changes) in [(100 * GIB, 200_000), (48_800_000_000_000, 100_000)] {
        let mut random = fastrand::Rng::with_seed(1);
        let mut draft = opened(bytes);
        for _ in 0..changes {
            let at = random.u64(..bytes / (4 * KIB) - 1) * 4 * KIB;
            write(&mut draft, at..at + 4 * KIB);
        }
        let steps = steps(&draft);
        assert!(steps.len() <= usize::from(PARTS_MAX));
        assert!(steps.iter().any(|step| step.make != Make::Upload));
        assert!(sent(&draft) < bytes);
    }
}

#[test]
fn the_largest_file_has_a_plan_and_a_larger_one_none() {
    let mut draft = opened(FILE_BYTES_MAX);
    write(&mut draft, 0..1);
    steps(&draft);
    draft.truncate(FILE_BYTES_MAX + 1);
    assert_eq!(plan(&draft), Plan::TooLong);
}
