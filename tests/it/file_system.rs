//! Names, directories and files against a development server, without a kernel.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rolefs::dev_server::{Fault, Operation};
use rolefs::fs::{Attributes, Error, FileSystem, Found, Room};
use rolefs::op::Op;
use rolefs::tree::Ino;

use crate::harness::{BUCKET, content};
use crate::stack::Stack;

const MEMORY: u64 = 64 << 20;
const TTL: Duration = Duration::from_secs(60);

fn op() -> Op {
    Op::background("test")
}

/// What the kernel does for a path component; it keeps what it is given.
async fn lookup(
    fs: &Arc<FileSystem>,
    parent: Ino,
    name: &str,
) -> Result<Option<Attributes>, Error> {
    let found = match fs.lookup_known(parent, name) {
        Some(known) => known?,
        None => fs.lookup(&op(), parent, name).await?,
    };
    Ok(match found {
        Found::Entry(entry) => {
            let attributes = *entry.attributes();
            entry.give();
            Some(attributes)
        }
        Found::Nothing(_) => None,
    })
}

async fn open(fs: &Arc<FileSystem>, ino: Ino) -> Result<u64, Error> {
    let opened = match fs.open_known(ino) {
        Some(known) => known,
        None => fs.open(&op(), ino).await,
    };
    opened.map(|opened| opened.handle)
}

async fn read(fs: &Arc<FileSystem>, handle: u64, offset: u64, len: u64) -> Result<Vec<u8>, Error> {
    let served = match fs.try_read(handle, offset, len)? {
        Ok(served) => served,
        Err(pending) => fs.read(&op(), pending).await?,
    };
    Ok(served.with(<[u8]>::to_vec))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inode_is_one_version_while_its_object_is_replaced() {
    let stack = Stack::new(MEMORY).await;
    let versions: Vec<Vec<u8>> = (0..6).map(|seed| content(seed, 200_000)).collect();
    stack.put("x", &versions[0]);
    let (fs, _) = stack.file_system(Duration::ZERO, 100).await;
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (fs, versions) = (Arc::clone(&fs), versions.clone());
            tokio::spawn(async move {
                let mut seen: HashMap<u64, usize> = HashMap::new();
                for _ in 0..60 {
                    let Some(found) = lookup(&fs, Ino::ROOT, "x").await.unwrap() else {
                        panic!("the object is always there");
                    };
                    match open(&fs, found.ino).await {
                        Ok(handle) => {
                            match read(&fs, handle, 0, 200_000).await {
                                Ok(bytes) => {
                                    let version = versions.iter().position(|v| *v == bytes);
                                    let version = version.expect("the bytes of one version");
                                    let before = seen.insert(found.ino.get(), version);
                                    assert!(before.is_none_or(|before| before == version));
                                }
                                Err(Error::Stale(_)) => {}
                                Err(error) => panic!("{error}"),
                            }
                            fs.release(handle);
                        }
                        Err(Error::Stale(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                    fs.forget(found.ino, 1);
                }
                seen
            })
        })
        .collect();
    for round in 0..40_usize {
        stack.put("x", &versions[round % versions.len()]);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let mut all: HashMap<u64, usize> = HashMap::new();
    for reader in readers {
        for (ino, version) in reader.await.unwrap() {
            let before = all.insert(ino, version);
            assert!(
                before.is_none_or(|before| before == version),
                "inode {ino} showed two versions"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_object_is_stale_to_who_has_it_open() {
    let stack = Stack::new(MEMORY).await;
    let old = content(1, 3 << 20);
    stack.put("x", &old);
    let (fs, _) = stack.file_system(TTL, 100).await;
    let first = lookup(&fs, Ino::ROOT, "x").await.unwrap().unwrap();
    let handle = open(&fs, first.ino).await.unwrap();
    stack.put("x", &content(2, 5 << 20));
    let error = read(&fs, handle, 1 << 20, 4096).await.map(|_| "bytes");
    assert!(matches!(error, Err(Error::Stale(_))), "{error:?}");
    assert!(matches!(
        fs.open_known(first.ino),
        Some(Err(Error::Stale(_)))
    ));
    // An open file keeps its attributes.
    let shown = fs.attributes_known(first.ino).unwrap().unwrap();
    assert_eq!(shown.size, 3 << 20);
    let second = lookup(&fs, Ino::ROOT, "x").await.unwrap().unwrap();
    assert_ne!(second.ino, first.ino);
    assert_eq!(second.size, 5 << 20);
    fs.release(handle);
    assert!(matches!(
        fs.attributes_known(first.ino),
        Some(Err(Error::Stale(_)))
    ));
    assert!(matches!(fs.try_read(handle, 0, 1), Err(Error::BadHandle)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_is_let_go() {
    let stack = Stack::new(MEMORY).await;
    for number in 0..200 {
        stack.put(&format!("d{}/x{number}", number % 5), b"x");
    }
    let (fs, _) = stack.file_system(TTL, 1).await;
    let mut given = Vec::new();
    for number in 0..200 {
        let name = format!("d{}", number % 5);
        let directory = lookup(&fs, Ino::ROOT, &name).await.unwrap().unwrap().ino;
        given.push(directory);
        let name = format!("x{number}");
        // An entry that never reaches the kernel counts for nothing.
        drop(fs.lookup(&op(), directory, &name).await.unwrap());
        given.push(lookup(&fs, directory, &name).await.unwrap().unwrap().ino);
    }
    let inodes = &stack.metrics.tree.inodes;
    assert!(inodes.get() > 205, "{}", inodes.get());
    let handle = open(&fs, given[1]).await.unwrap();
    for ino in given.iter().rev() {
        fs.forget(*ino, 1);
    }
    assert_eq!(read(&fs, handle, 0, 10).await.unwrap(), b"x");
    fs.release(handle);
    fs.forget(Ino::ROOT, 1);
    // The root, and the one name that may be kept in case it is asked for again, with its directory.
    assert!(inodes.get() <= 3, "{} are left", inodes.get());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_only_list_sees_and_a_role_that_may_only_get_opens() {
    let stack = Stack::new(MEMORY).await;
    stack.put("d/x", b"content");
    let faults = stack.server.faults();
    let denied = Fault::forbidden("AccessDenied");
    for operation in [Operation::HeadObject, Operation::GetObject] {
        faults.script(u64::MAX, Some(operation), "", denied);
    }
    let (fs, missing) = stack.file_system(TTL, 100).await;
    assert_eq!(missing, ["oss:GetObject"]);
    let directory = lookup(&fs, Ino::ROOT, "d").await.unwrap().unwrap();
    let file = lookup(&fs, directory.ino, "x").await.unwrap().unwrap();
    assert_eq!((directory.is_directory(), file.size), (true, 7));
    assert!(lookup(&fs, Ino::ROOT, "y").await.unwrap().is_none());
    let handle = open(&fs, file.ino).await.unwrap();
    let refused = read(&fs, handle, 0, 10).await;
    assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");

    faults.clear();
    for operation in [Operation::ListObjects, Operation::ListObjectsV2] {
        faults.script(u64::MAX, Some(operation), "", denied);
    }
    let (fs, missing) = stack.file_system(TTL, 100).await;
    assert_eq!(missing, ["oss:ListObjects"]);
    let directory = lookup(&fs, Ino::ROOT, "d").await.unwrap().unwrap();
    let file = lookup(&fs, directory.ino, "x").await.unwrap().unwrap();
    let handle = open(&fs, file.ino).await.unwrap();
    assert_eq!(read(&fs, handle, 0, 10).await.unwrap(), b"content");
    let handle = fs.opendir(directory.ino).unwrap();
    let refused = fs.readdir(&op(), handle, 0).await.map(|_| "entries");
    assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");
}

/// Reads a directory in replies of `room` entries each; names and cookies in order.
async fn list(
    fs: &Arc<FileSystem>,
    handle: u64,
    mut cookie: u64,
    room: usize,
    replies: usize,
    plus: bool,
) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for _ in 0..replies {
        let view = if plus {
            fs.readdirplus(&op(), handle, cookie).await.unwrap()
        } else {
            fs.readdir(&op(), handle, cookie).await.unwrap()
        };
        let before = all.len();
        let take = |entry: rolefs::fs::DirectoryEntry<'_>| {
            if all.len() == before + room {
                return Room::Full;
            }
            assert!(entry.cookie > cookie, "cookies ascend");
            cookie = entry.cookie;
            if let Some(entry) = entry.entry {
                let ino = entry.attributes().ino;
                entry.give();
                fs.forget(ino, 1);
            }
            all.push((entry.name.to_owned(), cookie));
            Room::More
        };
        if plus {
            view.fill_plus(take);
        } else {
            view.fill(take);
        }
        if all.len() == before {
            return all;
        }
    }
    all
}

/// Also where the tree lets go of names at once: those that came with a page are told to it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_shows_each_name_once_in_replies_of_any_size() {
    let stack = Stack::new(MEMORY).await;
    let mut expected: BTreeSet<String> = [".", ".."].map(str::to_owned).into();
    for number in 0..2300 {
        let key = match number % 100 {
            0 => format!("d{number}/below"),
            _ => format!("f{number}"),
        };
        stack.put(&key, b"");
        expected.insert(key.trim_end_matches("/below").to_owned());
    }
    for names_max in [1, 100_000] {
        let (fs, _) = stack.file_system(TTL, names_max).await;
        for (plus, room) in [(true, 7), (true, 300), (false, 7), (false, 5000)] {
            let handle = fs.opendir(Ino::ROOT).unwrap();
            let all = list(&fs, handle, 0, room, usize::MAX, plus).await;
            let names: BTreeSet<String> = all.iter().map(|(name, _)| name.clone()).collect();
            assert_eq!(names.len(), all.len(), "no name twice");
            assert!(names == expected, "plus: {plus}, room: {room}");
            // Back to a place in the middle.
            let (_, cookie) = all[1000];
            let rest = list(&fs, handle, cookie, room, usize::MAX, plus).await;
            assert!(rest == all[1001..], "plus: {plus}, room: {room}");
            // From the beginning again: the directory as it is.
            assert_eq!(
                list(&fs, handle, 0, room, usize::MAX, plus).await.len(),
                all.len()
            );
            fs.releasedir(handle);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_goes_on_behind_names_that_are_gone() {
    let stack = Stack::new(MEMORY).await;
    for number in 0..700 {
        stack.put(&format!("f{number:03}"), b"");
    }
    let (fs, _) = stack.file_system(Duration::ZERO, 100_000).await;
    let handle = fs.opendir(Ino::ROOT).unwrap();
    let begin = list(&fs, handle, 0, 5, 1, true).await;
    let (_, cookie) = *begin.last().unwrap();
    for number in 3..600 {
        let name = format!("f{number:03}");
        stack.server.delete(BUCKET, &name).unwrap();
        assert!(lookup(&fs, Ino::ROOT, &name).await.unwrap().is_none());
    }
    let rest = list(&fs, handle, cookie, 1000, usize::MAX, true).await;
    let last = rest.last().map(|(name, _)| name.as_str());
    assert_eq!(last, Some("f699"));
    assert!(rest.iter().any(|(name, _)| name == "f600"));
}

/// Reads a directory with attributes, in replies of 100, and compares it with `f000` to `f{files}`.
async fn shows_all(fs: &Arc<FileSystem>, handle: u64, begin: &[(String, u64)], files: usize) {
    let (_, cookie) = *begin.last().unwrap();
    let rest = list(fs, handle, cookie, 100, usize::MAX, true).await;
    let shown: Vec<&str> = begin
        .iter()
        .chain(&rest)
        .map(|(name, _)| name.as_str())
        .collect();
    let names = (0..files).map(|number| format!("f{number:03}"));
    let expected: Vec<String> = [".", ".."]
        .map(str::to_owned)
        .into_iter()
        .chain(names)
        .collect();
    assert!(
        shown == expected,
        "{} of {} are shown",
        shown.len(),
        expected.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_sees_all_names_though_another_has_listed_since() {
    let stack = Stack::new(MEMORY).await;
    for number in 0..1500 {
        stack.put(&format!("other/g{number}"), b"");
    }
    for number in 0..600 {
        stack.put(&format!("slow/f{number:03}"), b"");
    }
    let (fs, _) = stack.file_system(TTL, 1000).await;
    let slow = lookup(&fs, Ino::ROOT, "slow").await.unwrap().unwrap().ino;
    let other = lookup(&fs, Ino::ROOT, "other").await.unwrap().unwrap().ino;
    let handle = fs.opendir(slow).unwrap();
    let begin = list(&fs, handle, 0, 5, 1, true).await;
    for directory in [slow, other] {
        let handle = fs.opendir(directory).unwrap();
        list(&fs, handle, 0, 5000, usize::MAX, true).await;
        fs.releasedir(handle);
    }
    shows_all(&fs, handle, &begin, 600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_whose_object_was_replaced_stays_in_a_listing_under_way() {
    let stack = Stack::new(MEMORY).await;
    for number in 0..300 {
        stack.put(&format!("f{number:03}"), &content(number, 1000));
    }
    let (fs, _) = stack.file_system(TTL, 1000).await;
    let handle = fs.opendir(Ino::ROOT).unwrap();
    let begin = list(&fs, handle, 0, 5, 1, true).await;
    let old = lookup(&fs, Ino::ROOT, "f100").await.unwrap().unwrap();
    let file = open(&fs, old.ino).await.unwrap();
    stack.put("f100", &content(1, 2000));
    let gone = read(&fs, file, 0, 1000).await.map(|_| "bytes");
    assert!(matches!(gone, Err(Error::Stale(_))), "{gone:?}");
    shows_all(&fs, handle, &begin, 300).await;
}
