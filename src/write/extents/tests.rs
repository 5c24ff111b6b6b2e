use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::write::limits::PartNumber;

const BYTES: u64 = 80;

/// A file as a row of places, one for each byte.
type Twin = Vec<Place>;

#[derive(Debug, Clone)]
enum Change {
    Write(Range<u64>),
    Base(Range<u64>, u32, u64),
    Truncate(u64),
    Fallocate(u32, Range<u64>),
    CopyWithin(u64, Range<u64>),
    Uploaded(Range<u64>),
    Materialised,
    Snapshot,
    Committed,
}

fn range() -> impl Strategy<Value = Range<u64>> {
    (0..BYTES, 0..BYTES).prop_map(|(one, other)| one.min(other)..one.max(other))
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => range().prop_map(Change::Write),
        2 => (range(), 0..3u32, 0..4u64).prop_map(|(range, base, at)| Change::Base(range, base, at * 8)),
        2 => (0..BYTES).prop_map(Change::Truncate),
        2 => (prop::sample::select(vec![0u32, 1, 3, 0x10, 0x11]), range())
            .prop_map(|(mode, range)| Change::Fallocate(mode, range)),
        2 => (0..BYTES, range()).prop_map(|(at, range)| Change::CopyWithin(at, range)),
        1 => range().prop_map(Change::Uploaded),
        1 => Just(Change::Materialised),
        1 => Just(Change::Snapshot),
        1 => Just(Change::Committed),
    ]
}

fn fill(twin: &mut Twin, range: Range<u64>, place: Place) {
    if range.is_empty() {
        return;
    }
    if twin.len() < range.end as usize {
        twin.resize(range.end as usize, Place::Zeros);
    }
    for at in range.clone() {
        twin[at as usize] = place.ahead(at - range.start);
    }
}

fn agree(map: &ExtentMap, twin: &Twin) -> Result<(), TestCaseError> {
    prop_assert_eq!(map.len(), twin.len() as u64);
    let mut found = Twin::new();
    let mut last: Option<Piece> = None;
    for piece in map.pieces(0..u64::MAX) {
        prop_assert!(!piece.range.is_empty());
        prop_assert_eq!(piece.range.start, found.len() as u64, "a gap");
        if let Some(last) = last {
            prop_assert_ne!(
                last.place.ahead(last.bytes()),
                piece.place,
                "two runs that are one"
            );
        }
        fill(&mut found, piece.range.clone(), piece.place);
        last = Some(piece);
    }
    prop_assert_eq!(&found, twin);
    let mut totals = Totals::default();
    let mut bases = [0; 4];
    for place in twin {
        *totals.of(*place) += 1;
        if let Place::Base { base, .. } = place {
            bases[base.0 as usize] += 1;
        }
    }
    prop_assert_eq!(map.totals(), totals);
    prop_assert_eq!(map.dirty_bytes(), totals.staged + totals.uploaded);
    for (base, bytes) in (0..4).zip(bases) {
        prop_assert_eq!(map.base_bytes(BaseId(base)), bytes);
    }
    Ok(())
}

fn seeks_agree(map: &ExtentMap, twin: &Twin) -> Result<(), TestCaseError> {
    for at in 0..twin.len() + 2 {
        let rest = twin.iter().enumerate().skip(at);
        let data = rest.clone().find(|(_, place)| !place.is_hole());
        prop_assert_eq!(map.seek_data(at as u64), data.map(|(at, _)| at as u64));
        let hole = rest.clone().find(|(_, place)| place.is_hole());
        let hole = hole.map_or(twin.len(), |(at, _)| at) as u64;
        prop_assert_eq!(map.seek_hole(at as u64), (at < twin.len()).then_some(hole));
    }
    Ok(())
}

/// Bytes of each chunk that a row of places names.
fn named(twin: &Twin) -> HashMap<ChunkId, u64> {
    let mut named = HashMap::new();
    for place in twin {
        if let Place::Staged { chunk, .. } = place {
            *named.entry(*chunk).or_default() += 1;
        }
    }
    named
}

fn committed(twin: &mut Twin, snapshot: &Twin, base: BaseId) {
    for (at, place) in twin.iter_mut().enumerate() {
        let Some(then) = snapshot.get(at) else {
            break;
        };
        if then == place || matches!(place, Place::Uploaded { .. }) {
            let offset = at as u64;
            *place = Place::Base { base, offset };
        }
    }
}

proptest! {
    #[test]
    fn a_map_is_what_a_row_of_places_says(changes in prop::collection::vec(change(), 0..60)) {
        let (mut map, mut twin) = (ExtentMap::new(), Twin::new());
        let mut ledger = Ledger::new();
        let mut snapshot = (map.clone(), twin.clone());
        let (mut chunk, mut filled, mut parts) = (ChunkId(0), 0, 0);
        for change in changes {
            match change {
                Change::Write(range) => {
                    let bytes = range.end - range.start;
                    if filled + bytes > 100 {
                        (chunk, filled) = (ChunkId(chunk.0 + 1), 0);
                    }
                    let place = Place::Staged { chunk, offset: filled };
                    filled += bytes;
                    ledger.named(chunk, bytes);
                    map.write(range.clone(), place);
                    fill(&mut twin, range, place);
                }
                Change::Base(range, base, offset) => {
                    let place = Place::Base { base: BaseId(base), offset };
                    map.write(range.clone(), place);
                    fill(&mut twin, range, place);
                }
                Change::Truncate(len) => {
                    map.truncate(len);
                    twin.resize(len as usize, Place::Zeros);
                }
                Change::Fallocate(mode, range) => {
                    let is_longer = mode == 0 || mode == 0x10;
                    let end = if is_longer { range.end } else { range.end.min(map.len()) };
                    map.fallocate(Fallocate::of_mode(mode).unwrap(), range.clone());
                    match mode {
                        0 if twin.len() < end as usize => twin.resize(end as usize, Place::Zeros),
                        0 | 1 => {}
                        _ => fill(&mut twin, range.start.min(end)..end, Place::Zeros),
                    }
                }
                Change::CopyWithin(at, range) => {
                    let source: Vec<_> = map.pieces(range.clone()).collect();
                    let cut = (range.start as usize).min(twin.len())..(range.end as usize).min(twin.len());
                    let places = twin[cut].to_vec();
                    let is_uploaded = places.iter().any(|place| matches!(place, Place::Uploaded { .. }));
                    match map.copy(at, &source, |base| base) {
                        Err(_) => prop_assert!(is_uploaded),
                        Ok(again) => {
                            prop_assert!(!is_uploaded);
                            for it in again {
                                ledger.named(it.chunk, it.range.end - it.range.start);
                            }
                            for (place, at) in places.into_iter().zip(at..) {
                                fill(&mut twin, at..at + 1, place);
                            }
                        }
                    }
                }
                Change::Uploaded(range) => {
                    parts += 1;
                    let part = PartNumber::new(parts).unwrap();
                    map.uploaded(range.clone(), part);
                    for (place, at) in twin.iter_mut().zip(0..) {
                        if range.contains(&at) && matches!(place, Place::Staged { .. }) {
                            *place = Place::Uploaded { part, offset: at - range.start };
                        }
                    }
                }
                Change::Materialised => {
                    let base = BaseId(3);
                    map.materialised(base, |part| Some(u64::from(part.get()) * 1000));
                    for place in &mut twin {
                        if let Place::Uploaded { part, offset } = *place {
                            *place = Place::Base { base, offset: offset + u64::from(part.get()) * 1000 };
                        }
                    }
                }
                Change::Snapshot => snapshot = (map.clone(), twin.clone()),
                Change::Committed => {
                    map.committed(&snapshot.0, BaseId(2));
                    committed(&mut twin, &snapshot.1, BaseId(2));
                }
            }
            for dropped in map.take_dropped() {
                ledger.dropped(&dropped);
            }
            agree(&map, &twin)?;
            let named = named(&twin);
            prop_assert_eq!(ledger.chunks(), named.len());
            for (chunk, bytes) in named {
                prop_assert_eq!(ledger.named_bytes(chunk), bytes);
            }
        }
        seeks_agree(&map, &twin)?;
    }

    #[test]
    fn a_range_is_read_as_it_was_cut(changes in prop::collection::vec(range(), 1..20), wanted in range()) {
        let (mut map, mut twin) = (ExtentMap::new(), Twin::new());
        for (range, chunk) in changes.into_iter().zip(0..) {
            let place = Place::Staged { chunk: ChunkId(chunk), offset: 0 };
            map.write(range.clone(), place);
            fill(&mut twin, range, place);
        }
        let end = wanted.end.min(map.len());
        let mut at = wanted.start.min(end);
        for piece in map.pieces(wanted) {
            prop_assert_eq!(piece.range.start, at);
            for at in piece.range.clone() {
                prop_assert_eq!(piece.place.ahead(at - piece.range.start), twin[at as usize]);
            }
            at = piece.range.end;
        }
        prop_assert_eq!(at, end);
    }
}

#[test]
fn a_run_takes_little_memory() {
    assert!(size_of::<u64>() + size_of::<Extent>() <= 32);
}

#[test]
fn what_nobody_changed_is_one_run_of_its_object() {
    let base = BaseId(0);
    let mut map = ExtentMap::of_base(base, 100);
    assert_eq!(map.only_base(), Some(base));
    let place = Place::Staged {
        chunk: ChunkId(7),
        offset: 0,
    };
    map.write(40..50, place);
    assert_eq!((map.only_base(), map.runs()), (None, 3));
    let snapshot = map.clone();
    map.write(120..121, place);
    map.committed(&snapshot, BaseId(1));
    assert_eq!((map.len(), map.runs()), (121, 3));
    map.truncate(100);
    assert_eq!(map.only_base(), Some(BaseId(1)));
}

#[test]
fn a_million_random_writes_are_not_quadratic() {
    let mut random = fastrand::Rng::with_seed(4);
    let mut map = ExtentMap::of_base(BaseId(0), 1 << 40);
    let begun = std::time::Instant::now();
    for write in 0..1_000_000u32 {
        let at = random.u64(..(1 << 28)) << 12;
        let place = Place::Staged {
            chunk: ChunkId(write >> 8),
            offset: u64::from(write & 255) << 12,
        };
        map.write(at..at + 4096, place);
    }
    assert!(map.runs() > 1_900_000);
    let mut holes = 0;
    let mut at = 0;
    while let Some(hole) = map.seek_hole(at) {
        holes += 1;
        at = hole + 1;
    }
    assert_eq!(holes, 1);
    map.truncate(0);
    assert_eq!(map.totals(), Totals::default());
    // Some seconds when everything else runs, too; were one step linear, it would be hours.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}
