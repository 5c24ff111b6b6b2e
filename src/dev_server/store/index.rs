//! The keys of one bucket in order, and the pages that a listing cuts from them. Pure.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;

/// A key that is ordered and sought by its UTF-8 bytes, as OSS orders keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name(Box<str>);

impl Borrow<[u8]> for Name {
    // `str` is ordered by its bytes, so both orders agree, as `Borrow` demands.
    fn borrow(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// What a listing asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) prefix: &'a str,
    /// Empty for none.
    pub(crate) delimiter: &'a str,
    /// Names after this one; empty for the beginning.
    pub(crate) after: &'a str,
    /// Keys and common prefixes of a page together.
    pub(crate) entries_max: usize,
}

impl Ask<'_> {
    /// The common prefix that stands for `name`, if it has the delimiter after the prefix.
    fn common_prefix<'n>(&self, name: &'n str) -> Option<&'n str> {
        if self.delimiter.is_empty() {
            return None;
        }
        let rest = name.get(self.prefix.len()..)?;
        let end = self.prefix.len() + rest.find(self.delimiter)? + self.delimiter.len();
        name.get(..end)
    }
}

/// One line of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry<V> {
    Object(V),
    CommonPrefix(String),
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page<V> {
    /// In the order of their names.
    pub(crate) entries: Vec<Entry<V>>,
    /// Name of the last entry, if there are more behind it.
    pub(crate) next: Option<String>,
}

/// The keys of one bucket.
#[derive(Debug)]
pub(crate) struct Index<V>(BTreeMap<Name, V>);

impl<V> Default for Index<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V: Clone> Index<V> {
    pub(crate) fn get(&self, key: &str) -> Option<&V> {
        self.0.get(key.as_bytes())
    }

    /// Returns what was there.
    pub(crate) fn insert(&mut self, key: &str, value: V) -> Option<V> {
        self.0.insert(Name(key.into()), value)
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<V> {
        self.0.remove(key.as_bytes())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Cuts one page: O(entries × log keys), however many keys a common prefix stands for.
    pub(crate) fn page(&self, ask: Ask<'_>) -> Page<V> {
        let mut page = Page {
            entries: Vec::new(),
            next: None,
        };
        let mut last = String::new();
        let mut from = first_bound(ask);
        loop {
            let bounds = (
                from.as_ref().map(AsRef::<[u8]>::as_ref),
                Bound::<&[u8]>::Unbounded,
            );
            let mut skip_past = None;
            for (Name(name), value) in self.0.range::<[u8], _>(bounds) {
                if !name.starts_with(ask.prefix) {
                    return page;
                }
                if page.entries.len() == ask.entries_max {
                    page.next = Some(last);
                    return page;
                }
                if let Some(common) = ask.common_prefix(name) {
                    common.clone_into(&mut last);
                    page.entries.push(Entry::CommonPrefix(common.to_owned()));
                    skip_past = Some(successor(common));
                    break;
                }
                name.as_ref().clone_into(&mut last);
                page.entries.push(Entry::Object(value.clone()));
            }
            match skip_past {
                Some(successor) => from = Bound::Included(successor),
                None => return page,
            }
        }
    }
}

/// Where a page begins: at the prefix, behind the marker, or behind everything the marker stands for.
fn first_bound(ask: Ask<'_>) -> Bound<Vec<u8>> {
    if ask.after.is_empty() || ask.after < ask.prefix {
        return Bound::Included(ask.prefix.as_bytes().to_vec());
    }
    if ask.after.starts_with(ask.prefix) && ask.common_prefix(ask.after) == Some(ask.after) {
        return Bound::Included(successor(ask.after));
    }
    Bound::Excluded(ask.after.as_bytes().to_vec())
}

/// The first byte string behind all that begin with `prefix`, which is not empty.
fn successor(prefix: &str) -> Vec<u8> {
    let mut bytes = prefix.as_bytes().to_vec();
    if let Some(last) = bytes.last_mut() {
        // No byte of UTF-8 is 0xFF, so this neither wraps nor carries.
        *last += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The same page, by looking at every key.
    fn naive(keys: &BTreeSet<String>, ask: Ask<'_>) -> Page<String> {
        let mut entries: Vec<Entry<String>> = Vec::new();
        for key in keys {
            if !key.starts_with(ask.prefix) || key.as_str() <= ask.after {
                continue;
            }
            let rest = &key[ask.prefix.len()..];
            let entry = match rest.find(ask.delimiter) {
                Some(at) if !ask.delimiter.is_empty() => Entry::CommonPrefix(
                    key[..ask.prefix.len() + at + ask.delimiter.len()].to_owned(),
                ),
                Some(_) | None => Entry::Object(key.clone()),
            };
            if entry != Entry::CommonPrefix(ask.after.to_owned()) && entries.last() != Some(&entry)
            {
                entries.push(entry);
            }
        }
        let truncated = entries.len() > ask.entries_max;
        entries.truncate(ask.entries_max);
        let next = truncated
            .then(|| entries.last().map(|entry| name(entry).to_owned()))
            .flatten();
        Page { entries, next }
    }

    fn name(entry: &Entry<String>) -> &str {
        match entry {
            Entry::Object(name) | Entry::CommonPrefix(name) => name,
        }
    }

    proptest! {
        #[test]
        fn a_page_equals_its_naive_twin(
            keys in prop::collection::btree_set("[ab/é]{1,5}", 0..40),
            prefix in "[ab/é]{0,2}",
            delimiter in "(|/|a|//)",
            after in "[ab/é]{0,4}",
            entries_max in 1_usize..6,
        ) {
            let mut index = Index::default();
            for key in &keys {
                index.insert(key, key.clone());
            }
            let ask = Ask { prefix: &prefix, delimiter: &delimiter, after: &after, entries_max };
            prop_assert_eq!(index.page(ask), naive(&keys, ask));
        }

        #[test]
        fn pages_together_are_the_whole_listing(
            keys in prop::collection::btree_set("[ab/é]{1,5}", 0..40),
            delimiter in "(|/)",
            entries_max in 1_usize..6,
        ) {
            let mut index = Index::default();
            for key in &keys {
                index.insert(key, key.clone());
            }
            let mut together = Vec::new();
            let mut after = String::new();
            loop {
                let page = index.page(Ask { prefix: "", delimiter: &delimiter, after: &after, entries_max });
                together.extend(page.entries);
                match page.next {
                    Some(next) => after = next,
                    None => break,
                }
            }
            let whole = Ask { prefix: "", delimiter: &delimiter, after: "", entries_max: usize::MAX };
            prop_assert_eq!(together, naive(&keys, whole).entries);
        }
    }
}
