//! Local names among the pages of a listing, against the directory that both make.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::directories::{Keys, directory, keys, list, now, prefix, read};
use crate::object::Prefix;
use crate::tree::{DirectoryStream, Entry, LocalEntries, More, Position, What};

/// Local names that a path can have; `true`: a directory.
fn names() -> impl Strategy<Value = BTreeMap<String, bool>> {
    let name = "[a-]{1,3}|[ab0!é]{1,2}|\u{10FFFF}|[a.]{3}";
    prop::collection::btree_map(name, prop::bool::ANY, 0..12)
}

fn local(names: &BTreeMap<String, bool>) -> LocalEntries {
    let entry = |(name, directory): (&String, &bool)| {
        let what = What::Local {
            directory: *directory,
        };
        let (name, asked) = (name.as_str().into(), now());
        let entry = Entry { name, what, asked };
        (format!("{}/", entry.name).into_boxed_str(), entry)
    };
    let places: BTreeMap<_, _> = names.iter().map(entry).collect();
    LocalEntries::new(places.into_iter().collect())
}

/// What is listed, and of the local names what is not.
fn both(keys: &Keys, prefix: &str, names: &BTreeMap<String, bool>) -> Vec<Entry> {
    let place = |entry: Entry| (format!("{}/", entry.name), entry);
    let listed = directory(keys, prefix);
    let local = local(names);
    let local = (0..local.len()).map(|index| local.at(index).unwrap().1.clone());
    let all: BTreeMap<_, _> = local.chain(listed).map(place).collect();
    all.into_values().collect()
}

proptest! {
    /// A reader may go to any cookie, in any order, past any number of pages let go.
    #[test]
    fn local_names_have_places_among_the_listed(
        keys in keys(),
        names in names(),
        prefix in prefix(),
        max in 1..6_usize,
        pages_max in 1..4_usize,
        jumps in prop::collection::vec((0..40_u64, 1..30_usize), 0..12),
    ) {
        let entries = both(&keys, prefix.as_str(), &names);
        let mut stream = DirectoryStream::new(prefix.clone(), pages_max);
        stream.beside(&local(&names));
        for (cookie, upto) in jumps {
            for (cookie, entry) in read(&mut stream, cookie, &keys, prefix.as_str(), max, upto) {
                let index = usize::try_from(cookie - 3).unwrap();
                prop_assert_eq!(&entry, &entries[index]);
            }
        }
        let all = read(&mut stream, 0, &keys, prefix.as_str(), max, usize::MAX);
        let all: Vec<Entry> = all.into_iter().map(|(_, entry)| entry).collect();
        prop_assert_eq!(all, entries);
        prop_assert_eq!(stream.at(u64::MAX), Position::End);
        prop_assert!(stream.is_sound());
    }

    /// Names that come while a directory is read are shown if the listing has not come past them; none comes twice, and those
    /// that were there at first come in any case.
    #[test]
    fn local_names_may_come_while_a_directory_is_read(
        keys in keys(),
        stays in names(),
        come in prop::collection::vec(names(), 1..6),
        prefix in prefix(),
        max in 1..6_usize,
    ) {
        let mut stream = DirectoryStream::new(prefix.clone(), usize::MAX);
        stream.beside(&local(&stays));
        let mut seen: Vec<Entry> = Vec::new();
        for step in 0.. {
            let mut names = come[step % come.len()].clone();
            names.retain(|name, _| !stays.contains_key(name));
            stream.beside(&local(&names));
            let after = stream.start_after();
            let (page, more) = list(&keys, prefix.as_str(), after.as_deref(), max);
            seen.extend(stream.page(page, more, now()).iter().cloned());
            if more == More::Ends {
                break;
            }
        }
        for pair in seen.windows(2) {
            let (one, next) = (format!("{}/", pair[0].name), format!("{}/", pair[1].name));
            prop_assert!(one < next, "{} before {}", one, next);
        }
        for entry in both(&keys, prefix.as_str(), &stays) {
            let is_it = |seen: &&Entry| seen.name == entry.name;
            prop_assert!(seen.iter().any(|seen| is_it(&seen)), "{:?} was skipped", entry.name);
        }
    }
}

#[test]
fn a_directory_that_is_only_here_shows_its_names() {
    let names = BTreeMap::from([("a".to_owned(), false), ("a-".to_owned(), true)]);
    let mut stream = DirectoryStream::new(Prefix::new("d/").unwrap(), 4);
    stream.beside(&local(&names));
    let (page, more) = list(&Keys::new(), "d/", None, 1000);
    let shown = stream.page(page, more, now()).iter();
    let shown: Vec<&str> = shown.map(|entry| &*entry.name).collect();
    assert_eq!(shown, ["a-", "a"]);
}
