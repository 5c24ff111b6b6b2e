use proptest::prelude::*;

use super::*;

const F: HandleId = HandleId(1);
const PARENT: Process = Process(100);
const CHILD: Process = Process(101);

fn opened() -> Holders {
    let mut holders = Holders::new();
    holders.opened(F, Some(PARENT), Access::Write);
    holders
}

fn alive(_: Process) -> bool {
    true
}

#[test]
fn the_close_of_the_writer_stores_from_any_thread() {
    let mut holders = opened();
    holders.wrote(F, Some(PARENT));
    // Another thread has the same thread group.
    assert_eq!(holders.flushed(F, Some(PARENT), alive), Decision::Commit);
}

#[test]
fn the_close_of_who_has_truncated_at_open_stores_though_another_writes() {
    let mut holders = opened();
    holders.wrote(F, Some(PARENT));
    let other = HandleId(2);
    holders.opened(other, Some(CHILD), Access::Write);
    let mut untouched = holders.clone();
    let decision = untouched.flushed(other, Some(CHILD), alive);
    assert_eq!(decision, Decision::Leave);
    holders.truncated(Some(CHILD));
    let decision = holders.flushed(other, Some(CHILD), alive);
    assert_eq!(decision, Decision::Commit);
}

#[test]
fn the_exit_of_a_forked_child_does_not_publish_half_a_file() {
    let mut holders = opened();
    holders.wrote(F, Some(PARENT));
    assert_eq!(holders.flushed(F, Some(CHILD), alive), Decision::Leave);
    holders.wrote(F, Some(PARENT));
    assert_eq!(holders.flushed(F, Some(PARENT), alive), Decision::Commit);
}

#[test]
fn a_child_whose_parent_is_gone_stores_at_its_close() {
    let mut holders = opened();
    holders.wrote(F, Some(PARENT));
    assert_eq!(holders.flushed(F, Some(CHILD), |_| false), Decision::Commit);
    let mut holders = opened();
    holders.wrote(F, Some(PARENT));
    assert_eq!(holders.flushed(F, Some(PARENT), alive), Decision::Commit);
    assert_eq!(holders.flushed(F, Some(CHILD), alive), Decision::Commit);
}

#[test]
fn popen_with_the_file_as_standard_output_stores_when_the_child_exits() {
    let mut holders = opened();
    // Between fork and exec the child closes what it does not need.
    assert_eq!(holders.flushed(F, Some(CHILD), alive), Decision::Leave);
    holders.wrote(F, Some(CHILD));
    assert_eq!(holders.flushed(F, Some(CHILD), alive), Decision::Commit);
    assert_eq!(holders.flushed(F, Some(PARENT), alive), Decision::Commit);
}

#[test]
fn a_writer_that_closes_one_of_two_descriptors_still_holds_the_file() {
    let mut holders = opened();
    holders.wrote(F, Some(PARENT));
    assert_eq!(holders.flushed(F, Some(PARENT), alive), Decision::Commit);
    holders.wrote(F, Some(PARENT));
    assert_eq!(holders.flushed(F, Some(CHILD), alive), Decision::Leave);
}

#[test]
fn a_reader_or_an_idle_second_writer_stores_nothing() {
    let (reader, second) = (HandleId(2), HandleId(3));
    let mut holders = opened();
    holders.opened(reader, Some(CHILD), Access::Read);
    holders.opened(second, Some(CHILD), Access::Write);
    holders.wrote(F, Some(PARENT));
    assert_eq!(holders.flushed(reader, Some(CHILD), alive), Decision::Leave);
    assert_eq!(holders.flushed(second, Some(CHILD), alive), Decision::Leave);
    assert_eq!(holders.released(reader), Decision::Leave);
    assert_eq!(holders.released(second), Decision::Leave);
    assert_eq!(holders.released(F), Decision::Commit);
    assert!(!holders.is_open_for_writing());
}

#[test]
fn what_is_not_known_speaks_for_a_commit() {
    let mut holders = opened();
    holders.wrote(F, Some(PARENT));
    assert_eq!(holders.flushed(F, None, alive), Decision::Commit);
    let mut holders = opened();
    holders.wrote(F, None);
    assert_eq!(holders.flushed(F, Some(CHILD), alive), Decision::Commit);
    let mut holders = opened();
    holders.wrote_back();
    assert_eq!(holders.flushed(F, Some(CHILD), alive), Decision::Commit);
    let mut holders = Holders::new();
    holders.opened(F, None, Access::Write);
    holders.wrote(F, Some(PARENT));
    assert_eq!(holders.flushed(F, Some(CHILD), alive), Decision::Commit);
    let mut holders = opened();
    for writer in 0..=64 {
        holders.wrote(F, Some(Process(1000 + writer)));
    }
    assert_eq!(holders.flushed(F, Some(CHILD), alive), Decision::Commit);
}

#[derive(Debug, Clone)]
enum Event {
    Open(u64, u32, bool),
    Write(u64, u32),
    Flush(u64, u32),
    Release(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..3u64, 0..3u32, any::<bool>())
            .prop_map(|(file, by, write)| Event::Open(file, by, write)),
        (0..3u64, 0..3u32).prop_map(|(file, by)| Event::Write(file, by)),
        (0..3u64, 0..3u32).prop_map(|(file, by)| Event::Flush(file, by)),
        (0..3u64).prop_map(Event::Release),
    ]
}

proptest! {
    /// Nothing is forgotten: once all handles are gone, all that was written is stored; and who wrote last through a
    /// handle and closes it finds it stored.
    #[test]
    fn all_that_was_written_is_stored_in_the_end(events in prop::collection::vec(event(), 0..60)) {
        let mut holders = Holders::new();
        let mut open = std::collections::BTreeMap::new();
        let mut is_dirty = false;
        let ends = (0..3).map(Event::Release);
        for event in events.into_iter().chain(ends) {
            match event {
                Event::Open(id, by, write) => {
                    if let std::collections::btree_map::Entry::Vacant(entry) = open.entry(id) {
                        entry.insert(write);
                        let access = if write { Access::Write } else { Access::Read };
                        holders.opened(HandleId(id), Some(Process(by)), access);
                    }
                }
                Event::Write(id, by) => {
                    if open.get(&id) == Some(&true) {
                        is_dirty = true;
                        holders.wrote(HandleId(id), Some(Process(by)));
                        let mut copy = holders.clone();
                        prop_assert_eq!(
                            copy.flushed(HandleId(id), Some(Process(by)), alive),
                            Decision::Commit
                        );
                    }
                }
                Event::Flush(id, by) => {
                    if open.contains_key(&id)
                        && holders.flushed(HandleId(id), Some(Process(by)), alive) == Decision::Commit
                    {
                        is_dirty = false;
                    }
                }
                Event::Release(id) => {
                    if open.remove(&id).is_some() && holders.released(HandleId(id)) == Decision::Commit {
                        is_dirty = false;
                    }
                }
            }
        }
        prop_assert!(!is_dirty);
        prop_assert!(!holders.is_open_for_writing());
    }
}
