//! The local names that a listing shows beside what the bucket has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::listing::Entry;

/// The local names of a directory, as they were at one moment ([`Tree::local_names`](super::Tree::local_names)).
///
/// A name that is given to a stream stays in it, so that cookies do: of what has gone since, whoever shows an entry is told
/// ([`Tree::shown`](super::Tree::shown)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalEntries(
    /// `None` if there are none.
    Option<Arc<[Placed]>>,
);

/// An entry, and before it its name with a slash: they ascend by that.
pub(super) type Placed = (Box<str>, Entry);

impl LocalEntries {
    /// `entries` with their names and a slash, ascending by that.
    pub(super) fn new(entries: Vec<Placed>) -> Self {
        Self((!entries.is_empty()).then(|| entries.into()))
    }

    /// How many names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |entries| entries.len())
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// These and the others; what is in both is as `later` has it.
    #[must_use]
    pub(super) fn with(&self, later: &Self) -> Self {
        if self.is_empty() || later.0 == self.0 {
            return later.clone();
        }
        let all = [self, later].map(|entries| entries.0.iter().flat_map(|all| all.iter()));
        let all: BTreeMap<_, _> = all.into_iter().flatten().cloned().collect();
        Self::new(all.into_iter().collect())
    }

    pub(super) fn at(&self, index: usize) -> Option<&Placed> {
        self.0.as_ref()?.get(index)
    }

    /// How many come first of which `is_so` is true: it is false of all after the first of which it is false.
    pub(super) fn count(&self, is_so: impl Fn(&str) -> bool) -> usize {
        let entries = self.0.as_ref();
        entries.map_or(0, |entries| {
            entries.partition_point(|(place, _)| is_so(place))
        })
    }
}
