//! One example for each rule about what this mount changes.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::counts::check_counts;
use super::object;
use crate::object::{ETag, ObjectMeta, ObjectType, Prefix, UnixTime};
use crate::tree::{
    ChangeError, Elsewhere, Entry, Globs, Ino, Kind, Known, Over, OverlayError, Settled, Shown,
    Special, Stale, Tree, Ttl, What, XATTR_BYTES_MAX,
};

const SECOND: Duration = Duration::from_secs(1);

fn tree() -> (Tree, Instant) {
    let now = Instant::now();
    let ttl = Ttl::new(5 * SECOND, SECOND / 2);
    (Tree::new(Prefix::root(), ttl, 1000, now), now)
}

fn entry(settled: Settled) -> Ino {
    match settled {
        Settled::Entry(ino) => ino,
        Settled::Absent | Settled::AskAgain | Settled::Stale => panic!("{settled:?}"),
    }
}

fn time() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_500)
}

#[test]
fn a_commit_keeps_number_and_time() {
    let (mut tree, now) = tree();
    let ino = tree.create(Ino::ROOT, "a", UNIX_EPOCH, now).unwrap();
    assert_eq!(
        tree.create(Ino::ROOT, "a", UNIX_EPOCH, now),
        Err(ChangeError::Exists(ino))
    );
    assert!(tree.version(ino).is_err());
    tree.wrote(ino, 7, time());
    let file = tree.node(ino).unwrap().file().unwrap();
    assert_eq!((file.size(), file.modified()), (7, time()));
    assert_eq!(
        tree.found_nothing(Ino::ROOT, "a", now + SECOND),
        Settled::Entry(ino)
    );
    tree.committed(ino, &object(7), now + 2 * SECOND).unwrap();
    let node = tree.node(ino).unwrap();
    let stored = node.object().unwrap();
    assert_eq!(
        (stored.size(), stored.modified(), stored.modified_nanos()),
        (7, UnixTime(1), 500_000_000)
    );
    // A listing of the same version does not change the time, and what was asked before does not count.
    let same = tree.found_object(Ino::ROOT, "a", &object(7), now + 3 * SECOND);
    assert_eq!(same, Settled::Entry(ino));
    let old = tree.found_nothing(Ino::ROOT, "a", now + SECOND);
    assert_eq!(old, Settled::Entry(ino));
    let stored = tree.node(ino).unwrap().object().unwrap();
    assert_eq!(stored.modified(), UnixTime(1));
    assert_eq!(tree.committed(ino, &object(8), now), Err(Stale));
}

#[test]
fn a_rewrite_notes_what_others_have_stored() {
    let (mut tree, now) = tree();
    let ino = entry(tree.found_object(Ino::ROOT, "a", &object(1), now));
    tree.dirty(ino, time()).unwrap();
    tree.dirty(ino, time()).unwrap();
    let seen = |tree: &Tree| {
        let file = tree.node(ino).unwrap().file().unwrap();
        file.seen_elsewhere()
            .map(|(seen, asked)| (seen.clone(), asked))
    };
    assert_eq!(seen(&tree), None);
    let later = now + SECOND;
    let same = tree.found_object(Ino::ROOT, "a", &object(1), later);
    assert_eq!((same, seen(&tree)), (Settled::Entry(ino), None));
    let other = tree.found_object(Ino::ROOT, "a", &object(2), later + SECOND);
    assert_eq!(other, Settled::Entry(ino));
    // An older answer is no news.
    tree.found_nothing(Ino::ROOT, "a", later);
    match seen(&tree) {
        Some((Elsewhere::Object(object), asked)) => {
            assert_eq!((object.size(), asked), (2, later + SECOND));
        }
        seen => panic!("{seen:?}"),
    }
    tree.mark_stale(ino, later + 2 * SECOND);
    assert!(matches!(seen(&tree), Some((Elsewhere::Changed, _))));
    assert_eq!(
        tree.known(Ino::ROOT, "a", later + 100 * SECOND),
        Known::Fresh(ino)
    );
    tree.discard(ino, later + 3 * SECOND);
    assert_eq!(tree.known(Ino::ROOT, "a", later), Known::Unknown);
    check_counts(&tree);
}

#[test]
fn an_unlinked_file_is_an_orphan_not_stale() {
    let (mut tree, now) = tree();
    let ino = entry(tree.found_object(Ino::ROOT, "a", &object(1), now));
    tree.open(ino).unwrap();
    assert_eq!(tree.unlink(Ino::ROOT, "a", now + SECOND), Ok(Some(ino)));
    let node = tree.node(ino).unwrap();
    assert!(node.is_orphan() && !node.is_stale());
    assert!(!tree.fresh_for(ino, now + 100 * SECOND).is_zero());
    let old = tree.found_object(Ino::ROOT, "a", &object(1), now + SECOND / 2);
    assert_eq!(old, Settled::Absent);
    assert!(matches!(
        tree.known(Ino::ROOT, "a", now + SECOND),
        Known::Absent { .. }
    ));
    // It may be written through its handle, and goes with it.
    tree.dirty(ino, time()).unwrap();
    assert_eq!(tree.committed(ino, &object(2), now), Err(Stale));
    let new = tree.create(Ino::ROOT, "a", time(), now + SECOND).unwrap();
    assert_ne!(new, ino);
    tree.close(ino);
    assert!(tree.node(ino).is_none());
    assert_eq!(tree.unlink(Ino::ROOT, "x", now), Ok(None));
    check_counts(&tree);
}

#[test]
fn a_directory_stays_until_something_is_seen_in_it() {
    let (mut tree, now) = tree();
    let directory = tree.make_directory(Ino::ROOT, "d", now).unwrap();
    assert!(matches!(
        tree.known(directory, "x", now),
        Known::Absent { .. }
    ));
    let gone = tree.found_nothing(Ino::ROOT, "d", now + SECOND);
    assert_eq!(gone, Settled::Entry(directory));
    assert!(tree.node(directory).unwrap().is_local());
    // Stored in it: the bucket has it, and may say that it is gone.
    let file = tree.create(directory, "x", time(), now + SECOND).unwrap();
    tree.committed(file, &object(1), now + 2 * SECOND).unwrap();
    assert!(!tree.node(directory).unwrap().is_local());
    // Emptied by this mount: it stays, whatever older answers say.
    tree.unlink(directory, "x", now + 3 * SECOND).unwrap();
    assert!(tree.node(directory).unwrap().is_local());
    tree.found_directory(Ino::ROOT, "d", now + 2 * SECOND);
    assert!(tree.node(directory).unwrap().is_local());
    let gone = tree.found_nothing(Ino::ROOT, "d", now + 4 * SECOND);
    assert_eq!(gone, Settled::Entry(directory));
    let removed = tree.remove_directory(Ino::ROOT, "d", now + 5 * SECOND);
    assert_eq!(removed, Ok(directory));
    assert!(!matches!(
        tree.known(Ino::ROOT, "d", now + 5 * SECOND),
        Known::Fresh(_) | Known::Expired(_)
    ));
    check_counts(&tree);
}

#[test]
fn a_local_name_keeps_the_directories_above_it() {
    let (mut tree, now) = tree();
    let above = entry(tree.found_directory(Ino::ROOT, "d", now));
    let directory = entry(tree.found_directory(above, "e", now));
    let file = tree.create(directory, "x", time(), now).unwrap();
    let gone = tree.found_nothing(Ino::ROOT, "d", now + SECOND);
    assert_eq!(gone, Settled::Entry(above));
    tree.mark_stale(directory, now + SECOND);
    assert!(!tree.node(directory).unwrap().is_stale());
    assert_eq!(
        tree.remove_directory(Ino::ROOT, "d", now + SECOND),
        Err(ChangeError::NotEmpty)
    );
    tree.discard(file, now + SECOND);
    check_counts(&tree);
    let gone = tree.found_nothing(Ino::ROOT, "d", now + 2 * SECOND);
    assert_eq!(gone, Settled::Absent);
}

#[test]
fn a_renamed_directory_takes_all_along() {
    let (mut tree, now) = tree();
    let directory = entry(tree.found_directory(Ino::ROOT, "d", now));
    let stored = entry(tree.found_object(directory, "x", &object(1), now));
    let local = tree.create(directory, "y", time(), now).unwrap();
    let listing = tree.begin_listing(directory, now + SECOND).unwrap();
    let later = now + 2 * SECOND;
    let into_itself = tree.rename((Ino::ROOT, "d"), (directory, "e"), Over::Replace, later);
    assert_eq!(into_itself, Err(ChangeError::IntoItself));
    let renamed = tree.rename((Ino::ROOT, "d"), (Ino::ROOT, "e"), Over::Refuse, later);
    assert_eq!(renamed.unwrap().ino, directory);
    assert!(tree.changed_since(stored, now + SECOND) && !tree.changed_since(stored, later));
    assert_eq!(tree.version(stored).unwrap().key().as_str(), "e/x");
    assert_eq!(tree.child(directory, "y"), Some(local));
    // What was asked about the old keys does not count, also where nothing is known.
    let old = tree.found_nothing(directory, "x", now + SECOND);
    assert_eq!(old, Settled::AskAgain);
    assert_eq!(tree.known(directory, "x", later), Known::Expired(stored));
    let old = tree.found_object(directory, "z", &object(1), now + SECOND);
    assert_eq!(old, Settled::AskAgain);
    tree.complete_listing(&listing);
    assert_eq!(tree.known(directory, "z", later), Known::Unknown);
    // The copy has another ETag: the same number.
    tree.moved(stored, &object(2), now + SECOND).unwrap();
    assert_eq!(tree.known(directory, "x", later), Known::Fresh(stored));
    assert_eq!(tree.version(stored).unwrap().size(), 2);
    let ours = tree.found_object(directory, "x", &object(2), later + SECOND);
    assert_eq!(ours, Settled::Entry(stored));
    check_counts(&tree);
}

#[test]
fn a_doubted_version_is_taken_over_from_the_next_answer() {
    let (mut tree, now) = tree();
    let ino = entry(tree.found_object(Ino::ROOT, "a", &object(1), now));
    let to = (Ino::ROOT, "b");
    tree.rename((Ino::ROOT, "a"), to, Over::Refuse, now + SECOND)
        .unwrap();
    tree.doubt(ino, now + SECOND);
    let at = now + SECOND;
    assert_eq!(tree.known(Ino::ROOT, "b", at), Known::Expired(ino));
    assert!(tree.fresh_for(ino, at).is_zero());
    let told = tree.found_object(Ino::ROOT, "b", &object(2), at);
    assert_eq!(told, Settled::Entry(ino));
    assert_eq!(tree.known(Ino::ROOT, "b", at), Known::Fresh(ino));
    let other = tree.found_object(Ino::ROOT, "b", &object(3), at + SECOND);
    assert_ne!(other, Settled::Entry(ino));
}

#[test]
fn a_rename_over_a_file_expects_what_was_there() {
    let (mut tree, now) = tree();
    let target = entry(tree.found_object(Ino::ROOT, "a", &object(1), now));
    tree.open(target).unwrap();
    let ino = tree.create(Ino::ROOT, "a.tmp", time(), now).unwrap();
    let from = (Ino::ROOT, "a.tmp");
    let refused = tree.rename(from, (Ino::ROOT, "a"), Over::Refuse, now);
    assert_eq!(refused, Err(ChangeError::Exists(target)));
    let renamed = tree.rename(from, (Ino::ROOT, "a"), Over::Replace, now + SECOND);
    assert_eq!(renamed.unwrap().replaced, Some(target));
    assert!(tree.node(target).unwrap().is_orphan());
    let expected = |tree: &Tree| {
        let file = tree.node(ino).unwrap().file().unwrap();
        let seen = file.seen_elsewhere().is_some();
        (file.expected().map(crate::tree::Object::size), seen)
    };
    assert_eq!(expected(&tree), (Some(1), false));
    tree.found_object(Ino::ROOT, "a", &object(1), now + 2 * SECOND);
    assert_eq!(expected(&tree), (Some(1), false));
    tree.found_object(Ino::ROOT, "a", &object(2), now + 3 * SECOND);
    assert_eq!(expected(&tree), (Some(1), true));
}

#[test]
fn a_rename_follows_which_paths_never_change() {
    let now = Instant::now();
    let globs = Globs::new(&["fixed/**".to_owned()]).unwrap();
    let ttl = Ttl::new(SECOND, SECOND).immutable(globs);
    let mut tree = Tree::new(Prefix::root(), ttl, 1000, now);
    let directory = entry(tree.found_directory(Ino::ROOT, "fixed", now));
    let ino = entry(tree.found_object(directory, "x", &object(1), now));
    assert!(tree.node(ino).unwrap().is_immutable());
    let (from, to) = ((Ino::ROOT, "fixed"), (Ino::ROOT, "loose"));
    tree.rename(from, to, Over::Refuse, now).unwrap();
    assert!(!tree.node(ino).unwrap().is_immutable());
    tree.rename(to, from, Over::Refuse, now).unwrap();
    assert!(tree.node(ino).unwrap().is_immutable());
}

#[test]
fn what_was_removed_does_not_make_a_directory_full() {
    let (mut tree, now) = tree();
    let directory = entry(tree.found_directory(Ino::ROOT, "d", now));
    tree.found_object(directory, "x", &object(1), now);
    tree.unlink(directory, "x", now + SECOND).unwrap();
    assert!(!tree.shows_any(directory, ["x"], now));
    assert!(tree.shows_any(directory, ["x"], now + 2 * SECOND));
    assert!(tree.shows_any(directory, ["x", "y"], now));
    tree.create(directory, "z", time(), now + SECOND).unwrap();
    assert!(tree.shows_any(directory, [], now + 2 * SECOND));
}

#[test]
fn a_name_that_was_removed_is_not_shown() {
    let (mut tree, now) = tree();
    let listed = |name: &str, asked| Entry {
        name: name.into(),
        what: What::Object(object(1)),
        asked,
    };
    let local = Entry {
        name: "l".into(),
        what: What::Local { directory: false },
        asked: now,
    };
    let file = tree.create(Ino::ROOT, "l", time(), now).unwrap();
    assert_eq!(tree.local_names(Ino::ROOT, now).len(), 1);
    assert_eq!(tree.shown(Ino::ROOT, &local, now), Shown::Inode(file));
    tree.unlink(Ino::ROOT, "l", now + SECOND).unwrap();
    tree.unlink(Ino::ROOT, "x", now + SECOND).unwrap();
    assert!(tree.local_names(Ino::ROOT, now).is_empty());
    for at in [now + SECOND, now + 9 * SECOND] {
        assert_eq!(
            tree.shown(Ino::ROOT, &listed("x", now), at),
            Shown::Gone,
            "{at:?}"
        );
    }
    let again = tree.shown(Ino::ROOT, &listed("x", now + 2 * SECOND), now + 2 * SECOND);
    assert!(matches!(again, Shown::Inode(_)));
}

#[test]
fn overlays_follow_renames_and_are_bounded() {
    let (mut tree, now) = tree();
    tree.overlays.max = 2;
    let ino = tree.create(Ino::ROOT, "a", time(), now).unwrap();
    tree.overlay_with(ino, |overlay| {
        overlay.mode = Some(0o600);
        overlay.mtime = Some(UNIX_EPOCH);
    })
    .unwrap();
    tree.wrote(ino, 1, time());
    assert_eq!(tree.overlay(ino).unwrap().mtime, None);
    let to = (Ino::ROOT, "b");
    tree.rename((Ino::ROOT, "a"), to, Over::Refuse, now)
        .unwrap();
    tree.committed(ino, &object(1), now).unwrap();
    assert_eq!(tree.overlay(ino).unwrap().mode, Some(0o600));
    // Of files that are open or being written none goes; of the others the oldest.
    tree.open(ino).unwrap();
    let others: Vec<Ino> = ["c", "d", "e"]
        .iter()
        .map(|name| {
            let ino = entry(tree.found_object(Ino::ROOT, name, &object(1), now));
            tree.overlay_with(ino, |overlay| overlay.uid = Some(1))
                .unwrap();
            check_counts(&tree);
            ino
        })
        .collect();
    assert_eq!(tree.overlays(), 2);
    assert!(tree.overlay(ino).is_some() && tree.overlay(others[2]).is_some());
    // Another version is another file.
    tree.found_object(Ino::ROOT, "e", &object(2), now + SECOND);
    assert_eq!((tree.overlays(), tree.overlay(others[2])), (1, None));
    tree.overlay_with(ino, |overlay| overlay.mode = None)
        .unwrap();
    assert_eq!(tree.overlays(), 0);
    check_counts(&tree);
}

#[test]
fn extended_attributes_have_a_bound_together() {
    let (mut tree, now) = tree();
    let ino = entry(tree.found_object(Ino::ROOT, "a", &object(1), now));
    let fill = |tree: &mut Tree, len: usize| {
        tree.overlay_with(ino, |overlay| {
            let value = vec![0; len].into();
            overlay.xattrs.insert("user".into(), value);
        })
    };
    assert_eq!(fill(&mut tree, XATTR_BYTES_MAX - 4), Ok(()));
    assert_eq!(
        fill(&mut tree, XATTR_BYTES_MAX - 3),
        Err(OverlayError::Full)
    );
    assert_eq!(fill(&mut tree, 1), Ok(()));
    check_counts(&tree);
}

#[test]
fn a_link_of_oss_is_an_inode_where_links_are_shown() {
    let (tree, now) = tree();
    let mut tree = tree.show_links();
    let listed = |etag: u64| ObjectMeta {
        kind: ObjectType::Symlink,
        ..object(etag)
    };
    let shown = |etag: u64, asked| Entry {
        name: "l".into(),
        what: What::Object(listed(etag)),
        asked,
    };
    let target = |tree: &Tree, ino| match tree.node(ino).unwrap().kind() {
        Kind::Symlink(link) => link.target().map(ToOwned::to_owned),
        kind => panic!("{kind:?}"),
    };
    let etag = |number: u64| (ETag::new(&format!("{number:032X}")), UnixTime(0));
    let ask = |tree: &mut Tree, number, to, asked| {
        let (etag, time) = etag(number);
        entry(tree.found_symlink(Ino::ROOT, "l", (&etag, time), Some(to), asked))
    };
    let ino = entry(tree.found_entry(Ino::ROOT, &shown(1, now)));
    assert_eq!(target(&tree, ino), None);
    assert_eq!(ask(&mut tree, 1, "k", now), ino);
    tree.found_entry(Ino::ROOT, &shown(1, now + SECOND));
    assert_eq!(target(&tree, ino), Some("k".to_owned()));
    // Stored anew: the target must be asked for, and another one is another inode.
    tree.found_entry(Ino::ROOT, &shown(2, now + 2 * SECOND));
    assert_eq!(target(&tree, ino), None);
    assert_eq!(ask(&mut tree, 2, "k", now + 2 * SECOND), ino);
    assert_ne!(ask(&mut tree, 3, "m", now + 3 * SECOND), ino);
    let made = tree.make_symlink(Ino::ROOT, "new", "k", UnixTime(0), now + 4 * SECOND);
    assert_eq!(target(&tree, made.unwrap()), Some("k".to_owned()));
    check_counts(&tree);
}

#[test]
fn a_directory_cannot_take_the_place_of_a_file_nor_of_one_with_names() {
    let (mut tree, now) = tree();
    let file = tree.create(Ino::ROOT, "f", time(), now).unwrap();
    let full = tree.make_directory(Ino::ROOT, "full", now).unwrap();
    tree.make_directory(Ino::ROOT, "d", now).unwrap();
    tree.make_directory(full, "x", now).unwrap();
    let mut rename = |from, to| tree.rename((Ino::ROOT, from), to, Over::Replace, now);
    assert_eq!(
        rename("d", (Ino::ROOT, "f")),
        Err(ChangeError::NotDirectory)
    );
    assert_eq!(rename("f", (Ino::ROOT, "d")), Err(ChangeError::IsDirectory));
    assert_eq!(rename("d", (Ino::ROOT, "full")), Err(ChangeError::NotEmpty));
    assert_eq!(rename("gone", (full, "y")), Err(ChangeError::NotFound));
    assert_eq!(rename("d", (file, "y")), Err(ChangeError::Stale));
    assert!(rename("f", (Ino::ROOT, "f")).is_ok());
    assert!(rename("d", (full, "x")).is_ok());
    check_counts(&tree);
}

#[test]
fn a_pipe_is_local_until_it_is_unlinked_and_there_are_so_many() {
    let (mut tree, now) = tree();
    let directory = tree.make_directory(Ino::ROOT, "d", now).unwrap();
    let pipe = tree.make_special(directory, "p", Special::Fifo, time(), now);
    let pipe = pipe.unwrap();
    assert_eq!(
        tree.make_special(directory, "p", Special::Socket, time(), now),
        Err(ChangeError::Exists(pipe))
    );
    // An object of that name is hidden, and none of the pipe's.
    tree.found_object(directory, "p", &object(1), now + SECOND);
    assert_eq!(tree.known(directory, "p", now + SECOND), Known::Fresh(pipe));
    assert!(!tree.node(pipe).unwrap().file().unwrap().covers());
    assert_eq!(
        tree.remove_directory(Ino::ROOT, "d", now),
        Err(ChangeError::NotEmpty)
    );
    // Nor is the one whose name it takes.
    tree.found_object(Ino::ROOT, "o", &object(2), now);
    let (from, to) = ((directory, "p"), (Ino::ROOT, "o"));
    tree.rename(from, to, Over::Replace, now + SECOND).unwrap();
    let node = tree.node(pipe).unwrap();
    assert_eq!(node.special(), Some(Special::Fifo));
    assert!(!node.file().unwrap().covers());
    let mut made = 1;
    while let Ok(ino) =
        tree.make_special(directory, &made.to_string(), Special::Socket, time(), now)
    {
        tree.remember(ino);
        made += 1;
    }
    assert_eq!(made, 1000 / 8);
    check_counts(&tree);
    // One that is held has no name, and counts until it is let go.
    tree.unlink(directory, "1", now + SECOND).unwrap();
    let device = Special::BlockDevice(3);
    let full = tree.make_special(directory, "x", device, time(), now + SECOND);
    assert_eq!(full, Err(ChangeError::Full));
    tree.unlink(Ino::ROOT, "o", now + SECOND).unwrap();
    check_counts(&tree);
    let more = tree.make_special(directory, "x", device, time(), now + SECOND);
    assert!(more.is_ok());
    check_counts(&tree);
}
