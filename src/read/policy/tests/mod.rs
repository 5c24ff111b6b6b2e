mod jumps;

use proptest::prelude::*;

use super::cursor::CURSORS_MAX;
use super::*;

const MIB: u64 = 1 << 20;

fn reach(window: u64) -> Reach {
    Reach {
        window_bytes: window * MIB,
        part_bytes: 8 * MIB,
    }
}

fn pattern() -> Pattern {
    Pattern::new(1024 * MIB)
}

fn ahead(plan: Plan) -> Range<u64> {
    match plan {
        Plan::Exact => panic!("expected blocks"),
        Plan::Blocks { ahead, .. } => ahead.range,
    }
}

/// Bytes that a plan fetches for a read, if nothing is cached.
fn fetched(plan: &Plan, range: &Range<u64>) -> u64 {
    match plan {
        Plan::Exact => range.end - range.start,
        Plan::Blocks { ahead, .. } => {
            let own = round_up(range.end) - round_down(range.start);
            let mut ahead = ahead.clone();
            let mut more = 0;
            while let Some(piece) = ahead.take(BLOCK) {
                more += round_up(piece.end) - round_down(piece.start);
            }
            own + more
        }
    }
}

#[test]
fn a_small_file_is_fetched_whole() {
    let mut pattern = Pattern::new(BLOCK);
    assert!(ahead(pattern.plan(&(100..200), reach(64))).is_empty());
}

#[test]
fn the_start_alone_fetches_two_blocks_in_one_request() {
    for len in [512, 4096, 128 << 10, MIB] {
        let plan = pattern().plan(&(0..len), reach(512));
        assert_eq!(fetched(&plan, &(0..len)), 2 * MIB);
        let Plan::Blocks { part, .. } = plan else {
            panic!("expected blocks");
        };
        assert_eq!(part, 2 * MIB);
    }
}

#[test]
fn a_stream_of_large_reads_is_at_full_speed_after_thirty_two_of_them() {
    let mut pattern = pattern();
    let (mut planned, mut reads) = (0, 0);
    for block in 0..512 {
        let range = block * MIB..(block + 1) * MIB;
        let ahead = ahead(pattern.plan(&range, reach(256)));
        if !ahead.is_empty() {
            assert!(ahead.start >= planned, "nothing is planned twice");
            planned = ahead.end;
        }
        let front = planned.saturating_sub(range.end);
        assert!(front <= 256 * MIB, "the window respects its bound");
        if front < 240 * MIB && reads == block {
            reads = block + 1;
        }
        assert!(front <= 8 * range.end + 2 * MIB, "earned by what was read");
    }
    assert!(reads <= 32, "the full window came after {reads} reads");
}

#[test]
fn what_was_not_fetched_is_planned_again() {
    let mut pattern = pattern();
    let step = |pattern: &mut Pattern, at: u64| {
        ahead(pattern.plan(&(at * MIB..(at + 1) * MIB), reach(64)))
    };
    let first = step(&mut pattern, 0);
    let second = step(&mut pattern, 1);
    assert_eq!(first.end, second.start.min(first.end));
    let left = Ahead {
        range: first.clone(),
        order: Order::Up,
    };
    // The first turns out to be refused only after the second was planned.
    pattern.retract(&left);
    let again = step(&mut pattern, 2);
    assert_eq!(again.start, first.start.max(3 * MIB));
    assert!(again.end >= second.end);
    pattern.retract(&Ahead {
        range: 500 * MIB..501 * MIB,
        order: Order::Up,
    });
    let next = step(&mut pattern, 3);
    assert!(next.is_empty() || next.start >= again.end);
}

#[test]
fn an_absurd_size_overflows_nothing() {
    let size = u64::try_from(i64::MAX).unwrap_or(0);
    let mut pattern = Pattern::new(size);
    let mut end = size;
    for _ in 0..6 {
        let _ = pattern.plan(&(end - 4096..end), reach(64));
        end -= 4096;
    }
    for back in [12, 11, 10, 40, 30, 20, 10] {
        let start = size - back * MIB;
        if let Plan::Blocks { ahead, .. } = pattern.plan(&(start..start + MIB), reach(64)) {
            assert!(ahead.range.end <= size);
        }
    }
}

#[test]
fn a_random_reader_gets_what_it_asked_for() {
    let mut pattern = pattern();
    for at in [500, 100, 900, 310, 720, 205] {
        let start = at * MIB + 4096;
        let plan = pattern.plan(&(start..start + 4096), reach(64));
        assert_eq!(plan, Plan::Exact);
    }
}

#[test]
fn random_reads_of_a_large_file_fetch_little_more_than_they_ask() {
    for len in [4096, 128 << 10] {
        let mut random = fastrand::Rng::with_seed(1);
        let mut pattern = pattern();
        let (mut asked, mut sum) = (0, 0);
        for _ in 0..20_000 {
            let start = random.u64(1..1024 * MIB / len) * len;
            let range = start..start + len;
            asked += len;
            sum += fetched(&pattern.plan(&range, reach(256)), &range);
        }
        assert!(sum * 10 <= asked * 13, "{sum} for {asked}");
    }
}

#[test]
fn the_second_contiguous_read_proves_locality() {
    let mut pattern = pattern();
    let mut read = |start: u64| pattern.plan(&(start..start + 4096), reach(64));
    assert_eq!(read(500 * MIB), Plan::Exact);
    assert!(!ahead(read(500 * MIB + 4096)).is_empty());
}

#[test]
fn a_block_that_is_hit_again_and_again_is_fetched_whole() {
    let mut pattern = pattern();
    let mut hit = |at: u64| pattern.plan(&(500 * MIB + at..500 * MIB + at + 4096), reach(64));
    for at in [0, 700_000, 100_000] {
        assert_eq!(hit(at), Plan::Exact);
    }
    assert!(ahead(hit(300_000)).is_empty());
}

#[test]
fn interleaved_streams_are_told_apart_while_others_read_at_random() {
    let mut pattern = pattern();
    let mut random = fastrand::Rng::with_seed(2);
    let starts = [0, 300 * MIB, 600 * MIB, 900 * MIB];
    let mut fetched_ahead = [0; 4];
    for step in 0..64 {
        for (stream, start) in starts.iter().enumerate() {
            let offset = start + step * 128 * 1024;
            let plan = pattern.plan(&(offset..offset + 128 * 1024), reach(64));
            if let Plan::Blocks { ahead, .. } = plan {
                fetched_ahead[stream] += ahead.range.end - ahead.range.start;
            }
        }
        if step > 2 {
            for _ in 0..20 {
                let start = random.u64(10 * MIB..290 * MIB);
                let _ = pattern.plan(&(start..start + 4096), reach(64));
            }
        }
    }
    assert!(
        fetched_ahead.iter().all(|&bytes| bytes >= 8 * MIB),
        "{fetched_ahead:?}"
    );
}

#[test]
fn a_stream_backwards_is_read_ahead_downwards() {
    for len in [4096, 128 << 10, MIB] {
        let mut pattern = pattern();
        let (mut planned, mut end) = (600 * MIB, 600 * MIB + 300);
        let mut widest = 0;
        for _ in 0..64 * MIB / len {
            let plan = pattern.plan(&(end - len..end), reach(32));
            if let Plan::Blocks { ahead, .. } = plan
                && !ahead.is_empty()
            {
                assert_eq!(ahead.order, Order::Down);
                assert!(ahead.range.end <= planned, "nothing is planned twice");
                planned = ahead.range.start;
                widest = widest.max((end - len).saturating_sub(planned));
            }
            end -= len;
        }
        assert!((24 * MIB..=33 * MIB).contains(&widest), "{len}: {widest}");
    }
}

#[test]
fn neighbours_that_arrive_in_the_wrong_order_are_a_stream_upwards() {
    let mut pattern = pattern();
    let mut order = Vec::new();
    for pair in 0..8 {
        order.extend([500 + 2 * pair + 1, 500 + 2 * pair]);
    }
    let plans = order
        .into_iter()
        .map(|at: u64| ahead(pattern.plan(&(at * MIB..(at + 1) * MIB), reach(64))));
    let planned: Vec<_> = plans.filter(|ahead| !ahead.is_empty()).collect();
    assert!(planned.iter().all(|ahead| ahead.start >= 502 * MIB));
    assert!(
        planned.last().is_some_and(|last| last.end >= 540 * MIB),
        "{planned:?}"
    );
}

#[test]
fn sparse_small_reads_fetch_what_they_ask_for() {
    for first in [0, 77 * MIB] {
        let mut pattern = pattern();
        let (mut asked, mut sum) = (0, 0);
        for at in 0..300 {
            let range = first + at * MIB..first + at * MIB + 4096;
            asked += 4096;
            sum += fetched(&pattern.plan(&range, reach(64)), &range);
        }
        // The start of a file is fetched with its first block.
        assert!(sum <= asked + 4 * MIB, "{sum} for {asked}");
    }
}

#[test]
fn pieces_far_apart_are_fetched_ahead_one_by_one() {
    let mut pattern = pattern();
    let (len, stride) = (512 << 10, 5 * MIB);
    let mut ready = std::collections::BTreeSet::new();
    let mut late = 0;
    for at in 0..100 {
        let start = 3 * MIB + at * stride;
        let Plan::Blocks {
            mut ahead, part, ..
        } = pattern.plan(&(start..start + len), reach(64))
        else {
            panic!("half a block is a large read");
        };
        late += usize::from(!ready.contains(&start));
        while let Some(piece) = ahead.take(part) {
            assert!(piece.end - piece.start <= len);
            assert!(ready.insert(piece.start), "nothing is planned twice");
        }
    }
    assert_eq!(
        late, 4,
        "three reads prove it, and the fourth plans the fifth"
    );
    assert!(ready.len() <= 100 + 32);
}

/// Reads a run of 1 MiB each from each start, and counts the reads that have to wait for a GET of their own, the bytes
/// fetched and the bytes asked.
fn runs(pattern: &mut Pattern, starts: &[u64], blocks: u64) -> (u64, u64, u64) {
    let mut there = std::collections::BTreeSet::new();
    let (mut waits, mut asked) = (0, 0);
    for start in starts {
        for step in 0..blocks {
            let range = start + step * MIB..start + (step + 1) * MIB;
            asked += MIB;
            let own = range.start / BLOCK..range.end.div_ceil(BLOCK);
            let plan = ahead(pattern.plan(&range, reach(64)));
            let mut is_late = false;
            for block in own {
                is_late |= there.insert(block);
            }
            waits += u64::from(is_late);
            there.extend(plan.start / BLOCK..plan.end.div_ceil(BLOCK));
        }
    }
    (waits, there.len() as u64 * BLOCK, asked)
}

#[test]
fn many_short_streams_get_a_head_start() {
    let mut pattern = pattern();
    let mut random = fastrand::Rng::with_seed(3);
    // The kernel reads around a fault, and on from there.
    let mut tensors: Vec<u64> = (1..90).map(|at| at * 11 * MIB + 300 * 1024).collect();
    random.shuffle(&mut tensors);
    let _ = pattern.plan(&(0..MIB), reach(64));
    let (waits, fetched, asked) = runs(&mut pattern, &tensors, 8);
    assert!(waits <= 89 + 20, "{waits} waits in 89 tensors");
    assert!(fetched <= 2 * asked, "{fetched} for {asked}");
}

#[test]
fn large_random_reads_get_no_head_start() {
    let mut pattern = Pattern::new(100_000 * MIB);
    let mut random = fastrand::Rng::with_seed(4);
    let starts: Vec<u64> = (0..1000).map(|_| random.u64(1..99_000) * MIB).collect();
    let (_, fetched, asked) = runs(&mut pattern, &starts, 1);
    assert!(fetched <= asked + asked / 10, "{fetched} for {asked}");
}

#[test]
fn what_was_lost_is_planned_again() {
    let mut pattern = pattern();
    for at in 0..20 {
        let _ = pattern.plan(&(at * MIB..(at + 1) * MIB), reach(64));
    }
    // A second reader comes into what was planned for the first, long after the first has gone.
    let mut planned = Vec::new();
    for at in 10..60 {
        let range = at * MIB + 1000..(at + 1) * MIB;
        let Plan::Blocks {
            ahead, promised, ..
        } = pattern.plan(&range, reach(64))
        else {
            continue;
        };
        planned.push(ahead.range);
        if at == 22 {
            assert!(promised);
            pattern.lost(&range);
        }
    }
    let again = planned
        .iter()
        .any(|range| range.start <= 25 * MIB && range.end >= 80 * MIB);
    assert!(again, "{planned:?}");
}

fn overlaps(one: &Range<u64>, other: &Range<u64>) -> bool {
    !one.is_empty() && !other.is_empty() && one.start < other.end && other.start < one.end
}

proptest! {
    #[test]
    fn plans_stay_within_the_file_and_the_window_and_are_made_once(
        size in 1..400 * MIB,
        window in 1u64..64,
        reads in proptest::collection::vec((0u64..400 * MIB, 1u64..MIB, 0u8..6, 0usize..4), 1..300),
    ) {
        let mut pattern = Pattern::new(size);
        let mut last = [0_u64; 4];
        for (offset, len, how, who) in reads {
            let start = match how {
                0 => offset,
                1 => last[who].saturating_sub(2 * len),
                2 => last[who] + 3 * len,
                _ => last[who],
            } % size;
            let end = (start + len).min(size);
            last[who] = end;
            let before = pattern.cursors.outstanding();
            let plan = pattern.plan(&(start..end), reach(window));
            let Plan::Blocks { ahead, part, .. } = plan else { continue };
            prop_assert!((BLOCK..=8 * MIB).contains(&part));
            let whole = ahead.range.clone();
            prop_assert!(whole.is_empty() || whole.end <= size);
            if let Order::Every { .. } = ahead.order {
                continue;
            }
            // Streams that were given up for this one have nothing planned any more.
            let after = pattern.cursors.outstanding();
            let kept = before.iter().filter(|planned| after.contains(planned));
            for planned in kept {
                prop_assert!(!overlaps(planned, &whole), "{:?} of {:?}", whole, before);
            }
            if !whole.is_empty() {
                prop_assert!(whole.start % BLOCK == 0);
                prop_assert!(whole.end % BLOCK == 0 || whole.end == size);
                let far = round_up(end + MIB + window * MIB) + BLOCK;
                let near = round_down(start.saturating_sub(MIB + window * MIB)).saturating_sub(BLOCK);
                prop_assert!(near <= whole.start && whole.end <= far);
            }
            // However it is cut, all of it comes once.
            let mut rest = ahead;
            let mut pieces = Vec::new();
            while let Some(piece) = rest.take(part) {
                prop_assert!(!piece.is_empty() && piece.end - piece.start <= part);
                pieces.push(piece);
            }
            pieces.sort_by_key(|piece| piece.start);
            let sum: u64 = pieces.iter().map(|piece| piece.end - piece.start).sum();
            prop_assert_eq!(sum, whole.end.saturating_sub(whole.start));
            prop_assert!(pieces.windows(2).all(|two| two[0].end == two[1].start));
        }
        prop_assert!(pattern.cursors.count() <= CURSORS_MAX);
    }

    #[test]
    fn a_sequential_reader_is_planned_each_byte_once(
        size in 3 * MIB..200 * MIB,
        step in 4096..MIB,
    ) {
        let mut pattern = Pattern::new(size);
        let mut planned = 0;
        let mut offset = 0;
        while offset < size {
            let end = (offset + step).min(size);
            let plan = ahead(pattern.plan(&(offset..end), reach(32)));
            if !plan.is_empty() {
                prop_assert!(plan.start >= planned);
                planned = plan.end;
            }
            offset = end;
        }
        prop_assert_eq!(planned, size);
    }
}
