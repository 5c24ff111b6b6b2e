//! The listing of one directory, page by page, and again where its names have grown old. Pure.
//!
//! Pages are earned: a job that opens a few names of a directory of millions does not pay for listing it. Where a page began is
//! remembered, so that it can be asked for once more by itself: one LIST confirms a thousand names.

use std::time::{Duration, Instant};

use crate::object::Prefix;
use crate::oss::{ListPage, ListRequest};
use crate::tree::{Assembly, Entry, Page, Resume};

/// Files asked for, read or missed, before the first page.
const ASKED_MIN: usize = 3;

/// Pages that are had for one file asked for each; each further one costs [`ASKED_PER_PAGE`].
const CHEAP_PAGES: usize = 8;

/// Files asked for that earn one page more.
const ASKED_PER_PAGE: usize = 32;

/// Pages that `asked` files have earned.
pub(super) fn pages_earned(asked: usize) -> usize {
    match asked.checked_sub(ASKED_MIN) {
        None => 0,
        Some(more) => (more + 1).min(CHEAP_PAGES + asked / ASKED_PER_PAGE),
    }
}

/// Where the listing goes on.
#[derive(Debug)]
enum Next {
    Start,
    Token(String),
    /// It was read to its end, or broke off.
    Nothing,
}

/// One page that was had.
#[derive(Debug)]
struct Had {
    begin: Resume,
    asked: Instant,
    is_asked: bool,
    /// Its names never grow old.
    is_immutable: bool,
}

/// A listing that goes on as it is earned.
#[derive(Debug)]
pub(super) struct Walk {
    prefix: Prefix,
    assembly: Assembly,
    next: Next,
    is_asked: bool,
    had: Vec<Had>,
}

impl Walk {
    /// The listing of the directory that stands for `prefix`.
    pub(super) fn new(prefix: Prefix) -> Self {
        Self {
            assembly: Assembly::new(prefix.clone()),
            prefix,
            next: Next::Start,
            is_asked: false,
            had: Vec::new(),
        }
    }

    /// The page to ask for now, if so many pages were earned; it counts as asked for.
    pub(super) fn request(&mut self, pages_earned: usize) -> Option<ListRequest> {
        if self.is_asked || self.had.len() >= pages_earned {
            return None;
        }
        let continuation = match &self.next {
            Next::Start => None,
            Next::Token(token) => Some(token.clone()),
            Next::Nothing => return None,
        };
        self.is_asked = true;
        Some(ListRequest {
            continuation,
            ..ListRequest::directory(self.prefix.as_str())
        })
    }

    /// Takes the page in. Returns what it has settled; once that was used, [`Walk::go_on`] lets the next page be asked for.
    pub(super) fn page(&mut self, page: ListPage, asked: Instant) -> Vec<Entry> {
        self.had.push(Had {
            begin: self.assembly.position(),
            asked,
            is_asked: false,
            is_immutable: false,
        });
        let mut entries = Vec::with_capacity(page.objects.len() + page.prefixes.len());
        let (page, next) = parts(page);
        self.assembly.page(page, asked, &mut entries);
        self.next = match next {
            Some(token) => Next::Token(token),
            None => {
                self.assembly.finish(&mut entries);
                Next::Nothing
            }
        };
        entries
    }

    /// What the last page has settled stands in its place: the next one may come.
    pub(super) fn go_on(&mut self) {
        self.is_asked = false;
    }

    /// The names of the last page never grow old.
    pub(super) fn never_grows_old(&mut self) {
        if let Some(last) = self.had.last_mut() {
            last.is_immutable = true;
        }
    }

    /// The page cannot be had: the listing ends there.
    pub(super) fn broke_off(&mut self) {
        self.is_asked = false;
        self.next = Next::Nothing;
    }

    /// True once there is nothing more to ask for.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.next, Next::Nothing)
    }

    #[cfg(test)]
    fn is_sound(&self) -> bool {
        !self
            .assembly
            .hidden()
            .iter()
            .any(|hidden| hidden.why.breaks_rules())
    }

    /// Pages had.
    pub(super) fn len(&self) -> usize {
        self.had.len()
    }

    /// Pages that were asked for longer than `age` ago and are `wanted`, by their number; they count as asked for.
    /// At most `pages_max` of them are on their way.
    pub(super) fn old_pages(
        &mut self,
        now: Instant,
        age: Duration,
        pages_max: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Vec<(usize, ListRequest)> {
        let mut old = Vec::new();
        let on_their_way = self.had.iter().filter(|had| had.is_asked).count();
        let pages_max = pages_max.saturating_sub(on_their_way);
        for (at, had) in self.had.iter_mut().enumerate() {
            if old.len() == pages_max {
                break;
            }
            if had.is_asked
                || had.is_immutable
                || now.saturating_duration_since(had.asked) < age
                || !wanted(at)
            {
                continue;
            }
            had.is_asked = true;
            let begin = Assembly::resume(self.prefix.clone(), had.begin.clone());
            let request = ListRequest {
                start_after: begin.start_after(),
                ..ListRequest::directory(self.prefix.as_str())
            };
            old.push((at, request));
        }
        old
    }

    /// Takes in a page that was asked for again; `None` if that failed. Returns what it has settled.
    pub(super) fn again(
        &mut self,
        at: usize,
        page: Option<ListPage>,
        asked: Instant,
    ) -> Vec<Entry> {
        let mut entries = Vec::new();
        let Some(had) = self.had.get_mut(at) else {
            return entries;
        };
        had.is_asked = false;
        // One that failed is not asked for again at once.
        had.asked = asked;
        if let Some(page) = page {
            let mut assembly = Assembly::resume(self.prefix.clone(), had.begin.clone());
            let (page, next) = parts(page);
            assembly.page(page, asked, &mut entries);
            if next.is_none() {
                assembly.finish(&mut entries);
            }
        }
        entries
    }
}

fn parts(page: ListPage) -> (Page, Option<String>) {
    let ListPage {
        objects,
        prefixes,
        next,
    } = page;
    (Page { objects, prefixes }, next)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::object::{ETag, ObjectMeta, ObjectType, StorageClass, UnixTime};

    /// A server of pages of three.
    fn serve(keys: &BTreeSet<String>, request: &ListRequest) -> ListPage {
        let after = request
            .continuation
            .as_ref()
            .or(request.start_after.as_ref());
        let rolled = |key: &String| match key.strip_prefix(&request.prefix)?.split_once('/') {
            Some((name, _)) => Some(format!("{}{name}/", request.prefix)),
            None => Some(key.clone()),
        };
        let all: BTreeSet<String> = keys.iter().filter_map(rolled).collect();
        let mut rest = all
            .into_iter()
            .filter(|key| after.is_none_or(|after| key > after));
        let page: Vec<String> = rest.by_ref().take(3).collect();
        let next = rest.next().and(page.last().cloned());
        let (prefixes, objects) = page.into_iter().partition(|key| key.ends_with('/'));
        let meta = |key: String| {
            let meta = ObjectMeta {
                size: 1,
                etag: ETag::new("E"),
                modified: UnixTime(0),
                kind: ObjectType::Normal,
                storage_class: StorageClass::Standard,
                crc64: None,
            };
            (key, meta)
        };
        let objects: Vec<String> = objects;
        ListPage {
            objects: objects.into_iter().map(meta).collect(),
            prefixes,
            next,
        }
    }

    /// The naive twin: every first name, a directory if anything is below it.
    fn twin(keys: &BTreeSet<String>) -> BTreeSet<(String, bool)> {
        let names: BTreeSet<&str> = keys
            .iter()
            .filter_map(|key| key.split('/').next())
            .collect();
        let is_directory = |name: &str| keys.iter().any(|key| key.starts_with(&format!("{name}/")));
        names
            .into_iter()
            .map(|name| (name.to_owned(), is_directory(name)))
            .collect()
    }

    fn shown(entry: &Entry) -> (String, bool) {
        (
            entry.name.to_string(),
            matches!(entry.what, crate::tree::What::Directory),
        )
    }

    #[test]
    fn pages_are_earned() {
        assert_eq!(
            [0, 2, 3, 4, 10, 1000].map(pages_earned),
            [0, 0, 1, 2, 8, 39]
        );
        assert!(
            pages_earned(40_000) > 1000,
            "a million files read in any order"
        );
    }

    #[test]
    fn one_page_is_asked_for_at_a_time() {
        let keys: BTreeSet<String> = (0..9).map(|key| key.to_string()).collect();
        let mut walk = Walk::new(Prefix::root());
        let now = Instant::now();
        let request = walk.request(2).expect("it was earned");
        assert_eq!(walk.request(2), None, "it is on its way");
        walk.page(serve(&keys, &request), now);
        assert_eq!(walk.request(2), None, "it is not taken in");
        walk.go_on();
        let request = walk.request(2).expect("it was earned");
        walk.page(serve(&keys, &request), now);
        walk.go_on();
        assert_eq!(walk.request(2), None, "not earned");
        let later = now + Duration::from_secs(1);
        let age = Duration::from_secs(1);
        let old = walk.old_pages(later, age, 1, |page| page == 1);
        assert_eq!(old.len(), 1, "the second is wanted");
        assert_eq!(old[0].0, 1);
        assert!(walk.old_pages(later, age, 9, |page| page == 1).is_empty());
        assert!(
            walk.old_pages(later, age, 1, |_| true).is_empty(),
            "one is on its way"
        );
        assert_eq!(walk.old_pages(later, age, 2, |_| true).len(), 1);
        walk.again(1, None, now);
        walk.never_grows_old();
        assert!(walk.old_pages(later, age, 9, |_| true).is_empty());
    }

    proptest! {
        #[test]
        fn a_walk_shows_the_directory_and_so_do_its_pages_again(
            keys in proptest::collection::btree_set("[ab]{1,3}(-|!|/[ab])?", 0..30),
            gone in any::<proptest::sample::Index>(),
        ) {
            let mut walk = Walk::new(Prefix::root());
            let start = Instant::now();
            let mut all = Vec::new();
            while let Some(request) = walk.request(usize::MAX) {
                all.extend(walk.page(serve(&keys, &request), start));
                walk.go_on();
            }
            prop_assert!(walk.has_ended() && walk.is_sound());
            let found: BTreeSet<_> = all.iter().map(shown).collect();
            prop_assert_eq!(found.len(), all.len());
            prop_assert_eq!(found, twin(&keys));
            // One key goes, and every page is asked for again: what is confirmed then is there then.
            let mut left = keys.clone();
            if let Some(key) = keys.iter().nth(gone.index(keys.len().max(1))) {
                left.remove(key);
            }
            let later = start + Duration::from_secs(1);
            for (at, request) in walk.old_pages(later, Duration::ZERO, 99, |_| true) {
                let page = serve(&left, &request);
                for entry in walk.again(at, Some(page), later) {
                    prop_assert!(entry.asked < later || twin(&left).contains(&shown(&entry)));
                }
            }
        }
    }
}
