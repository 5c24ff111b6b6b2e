//! What happens.

use super::*;

/// One of the twelve paths.
#[derive(Debug, Clone, Copy)]
pub(super) struct At(usize, usize);

impl At {
    pub(super) fn path(self) -> String {
        format!("{}{}", DIRECTORIES[self.0], NAMES[self.1])
    }
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Put(At, u64),
    Delete(At),
    Wait(u64),
    Ask(At),
    Look(usize),
    Answer(usize),
    List(usize),
    NextPage(usize),
    Stale(At),
    Pin(At),
    Unpin(usize),
    Create(At),
    Dirty(At),
    Commit(usize),
    Unlink(At),
    MakeDirectory(At),
    RemoveDirectory(At),
    Rename(At, At, bool),
    Overlay(At, u16),
}

fn at() -> impl Strategy<Value = At> {
    (0..DIRECTORIES.len(), 0..NAMES.len()).prop_map(|(directory, name)| At(directory, name))
}

fn top() -> impl Strategy<Value = At> {
    (0..2_usize).prop_map(|name| At(0, name))
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let any = 0..1000_usize;
    prop_oneof![
        4 => (at(), 1..4_u64).prop_map(|(at, version)| Step::Put(at, version)),
        3 => at().prop_map(Step::Delete),
        3 => (1..400_u64).prop_map(Step::Wait),
        6 => at().prop_map(Step::Ask),
        6 => any.clone().prop_map(Step::Look),
        6 => any.clone().prop_map(Step::Answer),
        2 => (0..DIRECTORIES.len()).prop_map(Step::List),
        5 => any.clone().prop_map(Step::NextPage),
        1 => at().prop_map(Step::Stale),
        2 => at().prop_map(Step::Pin),
        2 => any.clone().prop_map(Step::Unpin),
        4 => at().prop_map(Step::Create),
        2 => at().prop_map(Step::Dirty),
        3 => any.prop_map(Step::Commit),
        3 => at().prop_map(Step::Unlink),
        3 => at().prop_map(Step::MakeDirectory),
        2 => at().prop_map(Step::RemoveDirectory),
        4 => (at(), at(), prop::bool::ANY).prop_map(|(from, to, same)| Step::Rename(from, to, same)),
        // Directories that are moved to and fro.
        3 => (top(), top(), prop::bool::ANY).prop_map(|(from, to, same)| Step::Rename(from, to, same)),
        1 => (at(), 0..3_u16).prop_map(|(at, mode)| Step::Overlay(at, mode)),
    ]
}
