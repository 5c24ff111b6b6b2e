//! Listings that are long, and that change while they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::harness::{BUCKET, World, run, shell};
use crate::kernel::DirectoryStream;

/// Keys of one LIST.
const PAGE: usize = 1000;

/// A directory of several pages, with directories among its files.
fn world_of_many() -> (World, BTreeSet<String>) {
    let world = World::open();
    let mut names = BTreeSet::new();
    for at in 0..5_300 {
        let name = format!("file-{at:05}.jpg");
        world.put(&format!("many/{name}"), format!("{at}"));
        names.insert(name);
    }
    for at in 0..200 {
        let name = format!("file-{:05}.dir", at * 26);
        world.put(&format!("many/{name}/inner"), "x");
        names.insert(name);
    }
    (world, names)
}

/// All names of a listing; each must be there once.
fn once(names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for name in names {
        assert!(!seen.contains(&name), "{name} is listed twice");
        seen.insert(name);
    }
    seen
}

#[test]
fn a_directory_of_many_pages_is_complete() {
    let (world, names) = world_of_many();
    let mount = world.mount(&[]);
    let mut stream = DirectoryStream::open(&mount.at("many")).unwrap();
    assert_eq!(once(stream.rest()), names);
    let types: BTreeMap<String, bool> = fs::read_dir(mount.at("many"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, entry.file_type().unwrap().is_dir())
        })
        .collect();
    assert_eq!(types.len(), names.len());
    for (name, is_directory) in types {
        assert_eq!(is_directory, name.ends_with(".dir"), "{name}");
    }
}

#[test]
fn ls_with_attributes_costs_lists_only() {
    let (world, names) = world_of_many();
    let mount = world.mount(&[&format!("oss://{BUCKET}/many")]);
    let before = world.server.stats();
    let listed = shell(&mount.path, "ls -l --time-style=full-iso");
    assert_eq!(listed.lines().count(), names.len() + 1);
    for line in listed.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (size, name) = (fields[4], fields[8]);
        match name
            .strip_prefix("file-")
            .and_then(|rest| rest.strip_suffix(".jpg"))
        {
            Some(number) => {
                let number: usize = number.parse().unwrap();
                assert_eq!(size, number.to_string().len().to_string(), "{name}");
            }
            None => assert!(line.starts_with('d'), "{line}"),
        }
    }
    let after = world.server.stats();
    let (lists, pages) = (
        after.list() - before.list(),
        names.len().div_ceil(PAGE) as u64,
    );
    assert!(
        lists >= pages && lists <= pages * 6 / 5 + 4,
        "{lists} LISTs for {pages} pages"
    );
    assert_eq!(
        after.requests() - before.requests(),
        after.list() - before.list()
    );
}

#[test]
fn positions_stay_good() {
    let (world, _) = world_of_many();
    let mount = world.mount(&[]);
    let mut stream = DirectoryStream::open(&mount.at("many")).unwrap();
    let mut next_at = Vec::new();
    loop {
        let position = stream.position();
        let Some(name) = stream.next_name() else {
            break;
        };
        next_at.push((position, name));
    }
    let mut random = fastrand::Rng::with_seed(21);
    for _ in 0..300 {
        let at = random.usize(..next_at.len());
        stream.seek(next_at[at].0);
        for (_, name) in next_at[at..].iter().take(3) {
            assert_eq!(stream.next_name().as_ref(), Some(name));
        }
    }
    stream.seek(next_at[5_000].0);
    let rest: Vec<String> = next_at[5_000..]
        .iter()
        .map(|(_, name)| name.clone())
        .collect();
    assert_eq!(stream.rest(), rest);
}

#[test]
fn a_stream_that_begins_again_shows_the_directory_as_it_is() {
    let world = World::open();
    world.put("d/a", "x");
    world.put("d/b", "x");
    let mount = world.mount(&[]);
    let mut stream = DirectoryStream::open(&mount.at("d")).unwrap();
    assert_eq!(stream.rest(), ["a", "b"]);
    world.put("d/c", "x");
    world.server.delete(BUCKET, "d/a").unwrap();
    assert_eq!(stream.rest(), [""; 0]);
    stream.rewind();
    assert_eq!(stream.rest(), ["b", "c"]);
}

#[test]
fn what_does_not_change_is_listed_once_while_the_rest_changes() {
    let world = World::open();
    let kept: BTreeSet<String> = (0..3_000).map(|at| format!("{at:04}-kept")).collect();
    for name in &kept {
        world.put(&format!("d/{name}"), "x");
    }
    let mount = world.mount(&[]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(22);
            while !stop.load(Ordering::Relaxed) {
                let key = format!("d/{:04}-{}", random.u32(..3_000), random.u32(..5));
                if random.bool() {
                    world.put(&key, "y");
                } else {
                    world.server.delete(BUCKET, &key).unwrap();
                }
            }
        });
        // A failed assertion must not leave the other thread running.
        let listings: Vec<Vec<String>> = (0..12)
            .map(|_| DirectoryStream::open(&mount.at("d")).unwrap().rest())
            .collect();
        stop.store(true, Ordering::Relaxed);
        for listing in listings {
            let mut seen = once(listing);
            seen.retain(|name| name.ends_with("-kept"));
            assert!(seen == kept, "{} of {} are listed", seen.len(), kept.len());
        }
    });
}

#[test]
fn a_directory_without_entries_is_empty() {
    let world = World::open();
    world.put("empty/", "");
    let mount = world.mount(&[]);
    let mut stream = DirectoryStream::open(&mount.at("empty")).unwrap();
    assert_eq!(stream.rest(), [""; 0]);
    let bare = World::open();
    let mount = bare.mount(&[]);
    assert_eq!(shell(&mount.path, "ls -a"), ".\n..\n");
}

#[test]
fn what_is_not_there_is_asked_for_once() {
    let world = World::open();
    world.put("d/a", "x");
    let mount = world.mount(&[]);
    let missing = |name: &str| {
        let error = fs::metadata(mount.at(name)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{name}");
    };
    missing("nothing");
    missing("nothing/below");
    let error = fs::metadata(mount.at("d/a/below")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
    let error = DirectoryStream::open(&mount.at("d/a")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
    // One process asks, within the time that a negative answer holds.
    let before = world.server.stats().requests();
    shell(
        &mount.path,
        "for at in {1..200}; do [ ! -e other ] || exit 1; done",
    );
    let asked = world.server.stats().requests() - before;
    assert!(asked <= 4, "{asked} requests for one name");
}

#[test]
fn a_complete_listing_answers_for_what_it_has_not_shown() {
    let world = World::open();
    for at in 0..100 {
        world.put(&format!("d/{at}"), "x");
    }
    let mount = world.mount(&[]);
    let before = world.server.stats();
    let output = run(
        &mount.path,
        "shopt -s nullglob; cd d; : *; for at in {0..199}; do [ -e missing$at ] && exit 1; done; exit 0",
    );
    assert!(output.status.success());
    let after = world.server.stats();
    // Shells are fast, but should this one have been stopped for a second, some names were asked for again.
    let asked = after.head() - before.head();
    assert!(asked <= 20, "{asked} HEADs");
}
