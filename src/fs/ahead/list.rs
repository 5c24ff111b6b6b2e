//! `--prefetch-list`: the files in the order in which they will be read. Pure.

use std::time::Instant;

#[derive(Debug)]
pub(super) struct List;

impl List {
    pub(super) fn read(&mut self, _key: &str, _now: Instant) {}
    pub(super) fn is_over(&self) -> bool {
        true
    }
}
