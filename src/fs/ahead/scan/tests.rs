//! Whole readers, simulated; and any sequence of events, beside a twin that counts anew.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const TTL: Duration = Duration::from_secs(1);
const SIZE: u64 = 100_000;

fn name(number: usize) -> String {
    format!("{number:06}")
}

fn scan_of(files: usize) -> Scan {
    let mut scan = Scan::default();
    for number in 0..files {
        scan.append(&name(number), SIZE);
    }
    scan.end();
    scan
}

/// What a reader of `order` finds, if what is planned has come by the time of the next read.
struct Outcome {
    hits: usize,
    fetched: HashMap<usize, usize>,
}

fn simulate(scan: &mut Scan, order: impl IntoIterator<Item = usize>, bytes_max: u64) -> Outcome {
    let mut now = Instant::now();
    let mut outcome = Outcome {
        hits: 0,
        fetched: HashMap::new(),
    };
    for number in order {
        let is_here = outcome.fetched.contains_key(&number);
        outcome.hits += usize::from(is_here);
        now += Duration::from_millis(if is_here { 1 } else { 20 });
        let seen = if is_here { Seen::Here } else { Seen::Missing };
        scan.opened();
        assert!(scan.read(&name(number), seen, now));
        let room = Room {
            files: 64,
            bytes_max,
            ttl: TTL,
        };
        for at in scan.plan(room) {
            *outcome.fetched.entry(at).or_default() += 1;
            scan.came(at, Came::Here);
        }
    }
    outcome
}

fn shuffled(files: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..files).collect();
    fastrand::Rng::with_seed(3).shuffle(&mut order);
    order
}

#[test]
fn a_reader_in_order_finds_nearly_everything() {
    let outcome = simulate(&mut scan_of(10_000), 0..10_000, u64::MAX);
    assert!(outcome.hits > 9_950, "{}", outcome.hits);
    assert!(outcome.fetched.values().all(|&times| times == 1));
}

#[test]
fn what_waits_for_a_reader_in_order_is_no_more_than_he_reads_in_time() {
    let mut scan = scan_of(10_000);
    let mut now = Instant::now();
    for number in 0..200 {
        now += Duration::from_millis(50);
        scan.read(&name(number), Seen::Here, now);
        let room = Room {
            files: 64,
            bytes_max: u64::MAX,
            ttl: TTL,
        };
        for at in scan.plan(room) {
            scan.came(at, Came::Here);
        }
        assert!(scan.ahead <= 10 + WINDOW_FIRST, "{} wait", scan.ahead);
    }
}

#[test]
fn a_shuffled_reader_soon_finds_everything() {
    let outcome = simulate(&mut scan_of(10_000), shuffled(10_000), u64::MAX);
    assert!(outcome.hits > 8_500, "{}", outcome.hits);
    assert!(outcome.fetched.values().all(|&times| times == 1));
}

#[test]
fn a_few_files_of_many_cost_a_multiple_of_them() {
    for count in [5, 50] {
        let order = shuffled(10_000).into_iter().take(count);
        let outcome = simulate(&mut scan_of(10_000), order, u64::MAX);
        let fetched = outcome.fetched.len();
        assert!(
            fetched <= (EARNED_PER_READ + 1) * count,
            "{fetched} for {count}"
        );
    }
}

#[test]
fn what_is_too_large_for_the_memory_is_not_fetched_in_any_order() {
    let outcome = simulate(
        &mut scan_of(10_000),
        shuffled(10_000).into_iter().take(500),
        SIZE * 4_000,
    );
    assert!(outcome.fetched.is_empty());
}

#[test]
fn what_waits_keeps_to_its_bytes() {
    let mut scan = scan_of(1000);
    let outcome = simulate(&mut scan, shuffled(1000), SIZE * 600);
    assert!(outcome.hits > 500);
    let mut scan = scan_of(1000);
    for number in shuffled(1000) {
        scan.read(&name(number), Seen::Missing, Instant::now());
        let bytes_max = SIZE * 600;
        let room = Room {
            files: 64,
            bytes_max,
            ttl: TTL,
        };
        for at in scan.plan(room) {
            scan.came(at, Came::Here);
        }
        assert!(scan.ahead_bytes < bytes_max + SIZE);
    }
}

#[test]
fn a_reader_of_every_eighth_file_is_left_alone_soon() {
    let mut scan = scan_of(10_000);
    scan.whole = false; // in order only
    let outcome = simulate(&mut scan, (0..10_000).step_by(8), u64::MAX);
    let fetched = outcome.fetched.len();
    assert!(fetched < 2_000, "{fetched} for 1250");
}

#[test]
fn files_that_the_kernel_has_are_not_fetched() {
    let mut scan = scan_of(1000);
    for number in 0..1000 {
        scan.opened();
        if number % 4 == 0 {
            scan.read(&name(number), Seen::Missing, Instant::now());
        }
    }
    let room = Room {
        files: 64,
        bytes_max: u64::MAX,
        ttl: TTL,
    };
    assert!(scan.plan(room).is_empty());
}

#[test]
fn what_goes_before_it_is_read_makes_less_wait() {
    let mut scan = scan_of(1000);
    simulate(&mut scan, shuffled(1000).into_iter().take(40), u64::MAX);
    let before = scan.ahead_bytes();
    assert!(before > 0);
    let waiting: Vec<usize> = (0..1000)
        .filter(|&at| scan.items[at].state == State::Ahead { came: true })
        .take(80)
        .collect();
    for at in waiting {
        scan.read(&name(at), Seen::Missing, Instant::now());
    }
    assert!(scan.bytes_cap.is_some_and(|cap| cap < before));
}

/// All that waited goes at once, as in a long pause of the reader.
#[test]
fn a_pause_in_which_everything_goes_costs_half_of_what_waits_and_not_for_long() {
    for (waiting, used) in [(64, 40), (300, 1000), (4096, 2000)] {
        let files = used + 6 * waiting;
        let mut scan = scan_of(files);
        for at in 0..used + waiting {
            let is_read = at < used;
            let waits = State::Ahead { came: true };
            scan.set(at, if is_read { State::Done } else { waits });
        }
        (scan.front, scan.counted, scan.cursor) = (used, used, used + waiting);
        (scan.in_order, scan.window) = (IN_ORDER_MAX, waiting);
        (scan.reads, scan.used) = (used, used);
        let (mut now, mut here) = (Instant::now(), std::collections::HashSet::new());
        let mut missing = 0;
        for number in used..files {
            now += Duration::from_millis(1);
            let seen = match here.remove(&number) {
                true => Seen::Here,
                false => Seen::Missing,
            };
            missing += usize::from(seen == Seen::Missing);
            scan.read(&name(number), seen, now);
            let cap = scan.bytes_cap.unwrap_or(u64::MAX);
            assert!(
                cap >= waiting as u64 / 4 * SIZE,
                "{cap} bytes for {waiting} files"
            );
            let room = Room {
                files: 64,
                bytes_max: waiting as u64 * SIZE,
                ttl: TTL * 3600,
            };
            for at in scan.plan(room) {
                here.insert(at);
                scan.came(at, Came::Here);
            }
        }
        assert!(
            missing <= 6 + used / 8,
            "{missing} of {waiting} are waited for"
        );
        let cap = scan.bytes_cap.expect("some were lost");
        assert!(cap >= waiting as u64 * SIZE, "{cap} bytes in the end");
    }
}

#[test]
fn a_second_look_at_everything_begins_anew() {
    let mut scan = scan_of(100);
    simulate(&mut scan, 0..100, u64::MAX);
    assert!(!scan.read(&name(0), Seen::Missing, Instant::now()));
}

proptest! {
    #[test]
    fn no_file_is_fetched_twice_and_all_counts_are_true(
        files in 1..80_usize,
        steps in proptest::collection::vec((0..6_u8, 0..80_usize, 0..3_u8), 0..300),
        bytes_max in 0..40 * SIZE,
    ) {
        let mut scan = Scan::default();
        let mut now = Instant::now();
        let mut listed = 0;
        let mut read = vec![false; files];
        let mut asked = vec![false; files];
        for (what, at, how) in steps {
            now += Duration::from_millis(u64::from(how));
            let at = at % files;
            match what {
                0 if listed < files => {
                    if listed % 7 == 0 {
                        scan.begin_page();
                    }
                    scan.append(&name(listed), SIZE);
                    listed += 1;
                    if listed == files {
                        scan.end();
                    }
                }
                0 | 1 => {
                    let seen = if how == 0 { Seen::Missing } else { Seen::Here };
                    if !scan.read(&name(at), seen, now) {
                        break;
                    }
                    read[at] = true;
                    // What went may be fetched again.
                    for (at, asked) in asked.iter_mut().enumerate().take(scan.items.len()) {
                        *asked &= scan.items[at].state != State::Idle;
                    }
                }
                2 => scan.opened(),
                3 if asked[at] => {
                    let came = [Came::Here, Came::NoRoom, Came::Gone][usize::from(how)];
                    if came == Came::NoRoom && !read[at] && scan.items[at].state != State::Done {
                        asked[at] = false;
                    }
                    scan.came(at, came);
                }
                _ => {
                    let room = Room { files: at, bytes_max, ttl: TTL };
                    let planned = scan.plan(room);
                    prop_assert!(planned.len() <= at);
                    for at in planned {
                        prop_assert!(!asked[at] && !read[at], "{at} again");
                        asked[at] = true;
                    }
                    if scan.ahead > 0 {
                        prop_assert!(scan.ahead_bytes < bytes_max + SIZE || how > 0);
                    }
                }
            }
            let count = |wanted: fn(&State) -> bool| scan.items.iter().filter(|item| wanted(&item.state)).count();
            let ahead = count(|state| matches!(state, State::Ahead { .. }));
            let idle = count(|state| matches!(state, State::Idle));
            prop_assert_eq!((scan.ahead, scan.idle), (ahead, idle));
            prop_assert_eq!(scan.ahead_bytes, ahead as u64 * SIZE);
            prop_assert_eq!(scan.idle_bytes, idle as u64 * SIZE);
            prop_assert!(scan.reads <= scan.items.len());
            for (page, items) in scan.items.chunks(7).enumerate() {
                let waits = items.iter().any(|item| item.state == State::Ahead { came: true });
                prop_assert_eq!(scan.waits_in(page), waits);
            }
        }
    }
}
