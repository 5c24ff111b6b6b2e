//! What is done in two mounts, and beside them.

use proptest::prelude::*;

use super::HANDLES;

pub(super) type Name = &'static str;
pub(super) const NAMES: [Name; 2] = ["a", "b"];

#[derive(Debug, Clone)]
pub(super) enum Step {
    Put(Name, usize),
    Delete(Name),
    In(usize, Change),
}

/// What one of the mounts does; numbers are of its handles.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// For writing, cutting it if that is said; creates.
    Open(Name, bool),
    OpenRead(Name),
    Write(usize, usize, usize),
    Truncate(usize, usize),
    Read(usize),
    Fsync(usize),
    Close(usize),
    Show(Name),
    Unlink(Name),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let name = || prop::sample::select(NAMES.to_vec());
    let len = || prop_oneof![3 => 1..5000_usize, 1 => 1..2_500_000_usize];
    let handle = || 0..HANDLES;
    let change = prop_oneof![
        4 => (name(), any::<bool>()).prop_map(|(name, cut)| Change::Open(name, cut)),
        2 => name().prop_map(Change::OpenRead),
        5 => (handle(), len(), len()).prop_map(|(at, offset, len)| Change::Write(at, offset - 1, len % 900_000)),
        1 => (handle(), len()).prop_map(|(at, len)| Change::Truncate(at, len - 1)),
        3 => handle().prop_map(Change::Read),
        3 => handle().prop_map(Change::Fsync),
        3 => handle().prop_map(Change::Close),
        4 => name().prop_map(Change::Show),
        1 => name().prop_map(Change::Unlink),
    ];
    prop_oneof![
        1 => (name(), len()).prop_map(|(name, len)| Step::Put(name, len)),
        1 => name().prop_map(Step::Delete),
        10 => (0..2_usize, change).prop_map(|(mount, change)| Step::In(mount, change)),
    ]
}
