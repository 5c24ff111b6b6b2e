//! Streams that end, streams beside each other, and what is read again.

use std::collections::BTreeSet;

use super::*;

/// Reads `range` in pieces of 1 MiB and calls `see` with what is planned for each.
fn read_through(
    pattern: &mut Pattern,
    range: &Range<u64>,
    reach: Reach,
    mut see: impl FnMut(&Range<u64>, Range<u64>),
) {
    let mut start = range.start;
    while start < range.end {
        let end = (start + MIB).min(range.end);
        let ahead = match pattern.plan(&(start..end), reach) {
            Plan::Exact => 0..0,
            Plan::Blocks { ahead, .. } => ahead.range,
        };
        see(&(start..end), ahead);
        start = end;
    }
}

proptest! {
    #[test]
    fn pieces_in_any_order_are_never_fetched_ahead_after_they_were_read(
        kib in proptest::collection::vec(3u64 << 10..20 << 10, 1..60),
        seed: u64,
        window in 1u64..128,
    ) {
        let mut ends = vec![0];
        for kib in kib {
            ends.push(ends[ends.len() - 1] + kib * 1024);
        }
        let mut pieces: Vec<Range<u64>> = ends.windows(2).map(|two| two[0]..two[1]).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut pieces);
        let mut pattern = Pattern::new(ends[ends.len() - 1]);
        let mut read = BTreeSet::new();
        for piece in pieces {
            read_through(&mut pattern, &piece, reach(window), |_, ahead| {
                for block in ahead.start / BLOCK..ahead.end.div_ceil(BLOCK) {
                    assert!(!read.contains(&block), "block {block} was read");
                }
            });
            read.extend(piece.start.div_ceil(BLOCK)..piece.end / BLOCK);
        }
    }

    #[test]
    fn streams_of_one_file_share_its_reach(streams in 1u64..16, window in 16u64..256, blocks in 8u64..60) {
        let mut pattern = Pattern::new(16 * 1024 * MIB);
        for step in 0..blocks {
            for stream in 0..streams {
                let start = stream * 1024 * MIB + step * MIB;
                let _ = pattern.plan(&(start..start + MIB), reach(window));
            }
            let ahead = pattern.cursors.outstanding();
            let sum: u64 = ahead.iter().map(|range| range.end.saturating_sub(range.start)).sum();
            let least = (window / 4).max(16).min(window);
            prop_assert!(sum <= (window.max(streams * least) + window) * MIB);
        }
    }
}

#[test]
fn a_stream_at_its_share_asks_for_whole_parts() {
    for window in [16, 24, 32, 120] {
        let mut pattern = pattern();
        let mut parts = 0;
        for at in 0..1024 {
            let range = at * MIB..(at + 1) * MIB;
            let Plan::Blocks {
                mut ahead, part, ..
            } = pattern.plan(&range, reach(window))
            else {
                panic!("expected blocks");
            };
            while ahead.take(part).is_some() {
                parts += 1;
            }
        }
        assert!(parts <= 1024 / 8 + 24, "{parts} of a window of {window}");
    }
}

#[test]
fn streams_are_not_planned_far_beyond_where_others_ended() {
    let mut pattern = Pattern::new(100_000 * MIB);
    let mut wasted = Vec::new();
    for piece in 1..30 {
        let range = piece * 1000 * MIB..(piece * 1000 + 20) * MIB;
        let mut planned = range.end;
        read_through(&mut pattern, &range, reach(256), |_, ahead| {
            planned = planned.max(ahead.end);
        });
        wasted.push((planned - range.end) / MIB);
    }
    assert!(wasted[0] > 20, "nothing was known of the first");
    assert!(wasted[8..].iter().all(|&mib| mib <= 2), "{wasted:?}");
    // One that goes on beyond is believed more and more.
    let (mut planned, start) = (0, 50_000 * MIB);
    read_through(
        &mut pattern,
        &(start..start + 400 * MIB),
        reach(256),
        |_, ahead| planned = planned.max(ahead.end),
    );
    assert!(planned >= start + 600 * MIB);
}

#[test]
fn what_is_read_again_from_its_start_is_read_ahead_again() {
    let mut pattern = pattern();
    let all = 0..1024 * MIB;
    read_through(&mut pattern, &all, reach(128), |_, _| {});
    let (mut planned, mut front) = (0, 0);
    read_through(&mut pattern, &(0..64 * MIB), reach(128), |read, ahead| {
        planned = planned.max(ahead.end);
        front = planned.saturating_sub(read.end);
    });
    assert!(front >= 110 * MIB, "{front}");
}
