//! Many chains of pages at once against the one chain of a serial walk.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use proptest::prelude::*;

use super::directories::{Keys, directory, keys, list, now, prefix};
use super::object;
use crate::object::Prefix;
use crate::tree::{DirectoryStream, Entry, More, Next, Page, Position, Sweep, Want};

/// What a listing has cost and shown.
struct Outcome {
    entries: Vec<Entry>,
    requests: usize,
    /// Rounds in which all requests under way were answered.
    rounds: usize,
}

/// One request under way, looked at by the bucket when it is answered.
fn last_of(page: &Page) -> Option<String> {
    let object = page.objects.last().map(|(key, _)| key);
    object.max(page.prefixes.last()).cloned()
}

/// Reads a whole listing. `answer` is the bucket, `pick` says which of so many requests under way is answered next.
fn read(
    prefix: &Prefix,
    width: usize,
    mut answer: impl FnMut(&Want) -> Option<(Page, Option<String>)>,
    mut pick: impl FnMut(usize) -> usize,
) -> Outcome {
    let mut sweep = Sweep::new(prefix.clone(), None);
    let mut stream = DirectoryStream::new(prefix.clone(), usize::MAX);
    let mut under_way: VecDeque<Want> = VecDeque::new();
    let (mut entries, mut requests, mut rounds, mut round) = (Vec::new(), 0, 0, 0);
    loop {
        while let Some(want) = sweep.want(width) {
            under_way.push_back(want);
        }
        assert!(under_way.len() <= width);
        if let Next::Page(page, more, asked) = sweep.take() {
            entries.extend(stream.page(page, more, asked).iter().cloned());
            if more == More::Ends {
                break;
            }
            continue;
        }
        if round == 0 {
            rounds += 1;
            round = under_way.len();
        }
        round -= 1;
        requests += 1;
        assert!(requests < 10_000, "the listing does not end");
        let want = under_way.remove(pick(under_way.len())).unwrap();
        assert!(under_way.iter().all(|other| other.ticket != want.ticket));
        match answer(&want) {
            Some((page, next)) => sweep.arrived(want.ticket, page, next, now()),
            None => sweep.failed(want.ticket),
        }
    }
    assert!(stream.is_sound(), "{:?}", stream.hidden());
    assert_eq!(stream.at(u64::MAX), Position::End);
    requests += under_way.len();
    Outcome {
        entries,
        requests,
        rounds,
    }
}

/// The bucket of a property: any keys, small pages.
fn small(keys: &Keys, prefix: &Prefix, want: &Want, max: usize) -> (Page, Option<String>) {
    assert!(want.start_after.is_none() || want.continuation.is_none());
    let after = want.continuation.as_ref().or(want.start_after.as_ref());
    let (page, more) = list(keys, prefix.as_str(), after.map(String::as_str), max);
    let next = last_of(&page).filter(|_| more == More::Follows);
    (page, next)
}

fn many() -> impl Strategy<Value = Keys> {
    let key = prop_oneof![
        3 => "(d/)?[0-9]{3}",
        1 => "(d/)?n[0-9]{1,3}",
        1 => "(d/)?[0-9a-f]{4}",
        1 => "(d/)?[0-9]{2}/[ab]",
        1 => "(d/)?[é-\u{3ff}]{1,2}",
    ];
    prop::collection::btree_map(key, 0..9_u64, 0..300)
}

/// What a serial walk costs.
fn serial(keys: &Keys, prefix: &Prefix, max: usize) -> usize {
    read(
        prefix,
        1,
        |want| Some(small(keys, prefix, want, max)),
        |_| 0,
    )
    .requests
}

proptest! {
    /// In whatever order the pages come, and whichever fail.
    #[test]
    fn many_chains_show_what_one_shows(
        keys in prop_oneof![keys(), many()],
        prefix in prefix(),
        max in 1..8_usize,
        width in 1..20_usize,
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
        failures in prop::collection::vec(prop::bool::weighted(0.1), 1..40),
    ) {
        let (mut step, mut fails) = (0, failures.iter().cycle());
        let pick = |count: usize| {
            step += 1;
            order[step % order.len()].index(count)
        };
        let mut failed = 0;
        let answer = |want: &Want| {
            if *fails.next().unwrap() && failed < 50 {
                failed += 1;
                return None;
            }
            Some(small(&keys, &prefix, want, max))
        };
        let outcome = read(&prefix, width, answer, pick);
        prop_assert_eq!(outcome.entries, directory(&keys, prefix.as_str()));
        // A bucket that shows prefixes twice fills pages with them.
        if max % 2 == 1 {
            let cost = serial(&keys, &prefix, max);
            let most = cost + cost / 5 + 4 + failed;
            prop_assert!(outcome.requests <= most, "{} requests, {} in a row", outcome.requests, cost);
        }
    }

    /// What was there all the time is met once, and nothing twice, in ascending order, while the rest comes and goes.
    #[test]
    fn a_directory_that_changes_is_read_without_repetition(
        stays in many(),
        comes_and_goes in prop::collection::vec(many(), 1..6),
        prefix in prefix(),
        max in 1..20_usize,
        width in 2..20_usize,
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
    ) {
        let mut step = 0;
        let mut at = 0;
        let pick = |count: usize| {
            step += 1;
            order[step % order.len()].index(count)
        };
        let answer = |want: &Want| {
            at += 1;
            let mut keys = comes_and_goes[at % comes_and_goes.len()].clone();
            keys.extend(stays.clone());
            Some(small(&keys, &prefix, want, max))
        };
        let seen = read(&prefix, width, answer, pick).entries;
        for pair in seen.windows(2) {
            let (one, next) = (format!("{}/", pair[0].name), format!("{}/", pair[1].name));
            prop_assert!(one < next, "{} before {}", one, next);
        }
        let names: BTreeSet<_> = seen.into_iter().map(|entry| entry.name).collect();
        for entry in directory(&stays, prefix.as_str()) {
            prop_assert!(names.contains(&entry.name), "{:?} was skipped", entry.name);
        }
    }
}

/// Names as data sets have them.
fn shapes() -> Vec<(&'static str, Vec<String>)> {
    let mut random = fastrand::Rng::with_seed(8);
    let mut hash = |len: usize| -> String {
        (0..len)
            .map(|_| char::from_digit(random.u32(..16), 16).unwrap())
            .collect()
    };
    let n = 100_000;
    vec![
        (
            "numbers with leading zeros",
            (0..n).map(|at| format!("img-{at:06}.jpg")).collect(),
        ),
        (
            "numbers",
            (0..n).map(|at| format!("img_{at}.jpg")).collect(),
        ),
        ("hashes", (0..n).map(|_| hash(32)).collect()),
        (
            "uuids",
            (0..n)
                .map(|_| {
                    format!(
                        "{}-{}-4{}-a{}-{}",
                        hash(8),
                        hash(4),
                        hash(3),
                        hash(3),
                        hash(12)
                    )
                })
                .collect(),
        ),
        (
            "classes",
            (0..n)
                .map(|at| {
                    format!(
                        "n{:08}_{}.JPEG",
                        1_440_764 + at / 1300 * 7_919,
                        at % 1300 * 7
                    )
                })
                .collect(),
        ),
        (
            "splits",
            (0..n)
                .map(|at| match at {
                    ..80_000 => format!("train_{at:06}.png"),
                    80_000..90_000 => format!("test_{at:06}.png"),
                    _ => format!("val_{at:06}.png"),
                })
                .collect(),
        ),
        (
            "times",
            (0..n)
                .map(|at| {
                    format!(
                        "2024-{:02}-{:02}T{:02}:{:02}:00Z.log",
                        at / 8_640 % 12 + 1,
                        at / 360 % 24 + 1,
                        at / 15 % 24,
                        at % 15 * 4
                    )
                })
                .collect(),
        ),
        (
            "directories",
            (0..n).map(|at| format!("{at:06}/x")).collect(),
        ),
        (
            "two of each",
            (0..n)
                .map(|at| format!("{:06}.{}", at / 2, ["cls", "jpg"][at % 2]))
                .collect(),
        ),
        (
            "chinese",
            (0..n)
                .map(|at| format!("图片{}{at:06}", ['甲', '乙', '丙', '丁'][at % 4]))
                .collect(),
        ),
        (
            "far too few",
            (0..2_500).map(|at| format!("img-{at:06}.jpg")).collect(),
        ),
        ("few", (0..10_000).map(|_| hash(16)).collect()),
    ]
}

#[test]
fn few_requests_are_wasted_and_many_go_at_once() {
    let prefix = Prefix::new("data/").unwrap();
    for (shape, names) in shapes() {
        let names: BTreeSet<String> = names.iter().map(|name| format!("data/{name}")).collect();
        let names: Vec<String> = names.into_iter().collect();
        let answer = |want: &Want| {
            let after = want.continuation.as_ref().or(want.start_after.as_ref());
            let first = after.map_or(0, |after| names.partition_point(|name| name <= after));
            let mut page = Page::default();
            for name in names.iter().skip(first).take(1000) {
                match name.strip_suffix('x').filter(|name| name.ends_with('/')) {
                    Some(directory) => page.prefixes.push(directory.to_owned()),
                    None => page.objects.push((name.clone(), object(1))),
                }
            }
            let next = names
                .get(first + 999)
                .filter(|_| names.len() > first + 1000);
            Some((page, next.cloned()))
        };
        let outcome = read(&prefix, 16, answer, |_| 0);
        assert_eq!(outcome.entries.len(), names.len(), "{shape}");
        let pages = names.len().div_ceil(1000);
        eprintln!(
            "{shape}: {} requests in {} rounds for {pages} pages",
            outcome.requests, outcome.rounds
        );
        assert!(
            outcome.requests <= pages * 6 / 5 + 4,
            "{shape}: {} requests",
            outcome.requests
        );
        assert!(
            outcome.rounds <= pages * 7 / 20 + 4,
            "{shape}: {} rounds",
            outcome.rounds
        );
    }
}
