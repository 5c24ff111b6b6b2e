//! One open directory: entries with the cookies that `readdir` counts by.

use std::collections::VecDeque;
use std::time::Instant;

use super::beside::LocalEntries;
use super::listing::{Assembly, Entry, Hidden, Page, Resume};
use crate::object::Prefix;

/// The cookie of the first entry less one: 1 is `.` and 2 is `..`, which whoever answers the kernel adds.
const DOTS: u64 = 2;

/// Places kept where a listing can be taken up again. When they are this many, every second one is dropped: going far back
/// in a directory of many millions then reads some pages more.
const PLACES_MAX: usize = 1024;

/// Pages in a row that may bring nothing new before the listing is taken as ended: a server that repeats itself for ever
/// must not keep a reader for ever.
const STUCK_PAGES_MAX: u32 = 8;

/// What comes after a cookie.
#[derive(Debug, PartialEq)]
pub enum Position<'a> {
    /// These entries, and more after them, perhaps; their cookies are `first`, `first + 1`, and so on.
    Entries {
        /// The cookie of the first of them.
        first: u64,
        /// At least one.
        entries: &'a [Entry],
    },
    /// The next page must be fetched and given to [`DirectoryStream::page`].
    NeedMore,
    /// The entries were let go: [`DirectoryStream::relist`], then go on as with [`Self::NeedMore`].
    Relist(Relist),
    /// The directory has no more.
    End,
}

/// A place to list again from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relist {
    /// The cookie that the next entry from there has.
    first: u64,
    at: Resume,
}

/// The entries of one open directory, in the order of its listing.
///
/// An entry's cookie is its place: it keeps it while it is kept, so a reader that goes on, or back, never meets an entry twice
/// or misses one. Old pages are let go, and listed again if a reader goes back that far; then the places
/// after it are those of the directory as it has become. A reader that begins again (`rewinddir`) wants the directory as it is:
/// give it a new stream.
#[derive(Debug)]
pub struct DirectoryStream {
    prefix: Prefix,
    local: LocalEntries,
    assembly: Assembly,
    /// No page is empty, and each begins where the one before ends.
    pages: VecDeque<KeptPage>,
    /// At least 1.
    pages_max: usize,
    /// Beginnings of pages that were let go, ascending; the first is the directory's.
    places: Vec<Relist>,
    /// The cookie that the next settled entry gets.
    next: u64,
    ended: bool,
    /// Pages in a row that brought nothing new.
    stuck: u32,
}

#[derive(Debug)]
struct KeptPage {
    begin: Relist,
    entries: Vec<Entry>,
}

/// Whether pages follow a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// The listing was cut here and goes on.
    Follows,
    /// This was the last page.
    Ends,
}

impl DirectoryStream {
    /// The stream of the directory that stands for `prefix`; it keeps the last `pages_max` pages (at least 1; of 1000
    /// entries, about 150 KB each). Don't read ahead of the reader by more: what it hasn't had would be let go.
    #[must_use]
    pub fn new(prefix: Prefix, pages_max: usize) -> Self {
        Self {
            assembly: Assembly::new(prefix.clone()),
            prefix,
            local: LocalEntries::default(),
            pages: VecDeque::new(),
            pages_max: pages_max.max(1),
            places: Vec::new(),
            next: DOTS + 1,
            ended: false,
            stuck: 0,
        }
    }

    /// Shows these names in their places, too, each name once; names that were given before stay. To be called before the first
    /// page, and with the local names as they are then before each further one: a directory that is emptied while its parent
    /// is read is not listed any more, but there. What comes before the place that the listing has come to is not shown.
    pub fn beside(&mut self, local: &LocalEntries) {
        self.local = self.local.with(local);
        self.assembly.beside(self.local.clone());
    }

    /// What comes after `cookie`: that of the last entry the reader had, or anything up to 2 for the beginning.
    #[must_use]
    pub fn at(&self, cookie: u64) -> Position<'_> {
        let wanted = cookie.max(DOTS).saturating_add(1);
        if wanted >= self.next {
            return if self.ended {
                Position::End
            } else {
                Position::NeedMore
            };
        }
        let behind = self
            .pages
            .partition_point(|page| page.begin.first <= wanted);
        let Some(page) = behind
            .checked_sub(1)
            .and_then(|index| self.pages.get(index))
        else {
            let behind = self.places.partition_point(|place| place.first <= wanted);
            return match self.places.get(behind.saturating_sub(1)) {
                Some(place) => Position::Relist(place.clone()),
                None => Position::End, // no page was let go, so none is missing
            };
        };
        let skip = usize::try_from(wanted - page.begin.first).unwrap_or(usize::MAX);
        Position::Entries {
            first: wanted,
            entries: page.entries.get(skip..).unwrap_or_default(),
        }
    }

    /// The `start-after` of the page to fetch next, where no continuation token is at hand; `None` at the beginning.
    #[must_use]
    pub fn start_after(&self) -> Option<String> {
        self.assembly.start_after()
    }

    /// Takes the next page of the listing, asked for at `asked`. Returns the entries that it has settled, for the tree; there may be none.
    pub fn page(&mut self, page: Page, more: More, asked: Instant) -> &[Entry] {
        if self.ended {
            return &[];
        }
        let before = self.assembly.start_after();
        let begin = Relist {
            first: self.next,
            at: self.assembly.position(),
        };
        let mut entries = Vec::with_capacity(page.objects.len() + page.prefixes.len());
        self.assembly.page(page, asked, &mut entries);
        let is_stuck = more == More::Follows && self.assembly.start_after() == before;
        self.stuck = if is_stuck { self.stuck + 1 } else { 0 };
        if self.stuck >= STUCK_PAGES_MAX {
            self.assembly.give_up();
        }
        if more == More::Ends || self.stuck >= STUCK_PAGES_MAX {
            self.assembly.finish(&mut entries);
            self.ended = true;
        }
        if entries.is_empty() {
            return &[];
        }
        self.next += entries.len() as u64;
        self.pages.push_back(KeptPage { begin, entries });
        while self.pages.len() > self.pages_max {
            if let Some(page) = self.pages.pop_front() {
                self.let_go(page.begin);
            }
        }
        self.pages.back().map_or(&[], |page| &page.entries)
    }

    /// Goes back to a place that [`Self::at`] has named. The next page to fetch is the one after [`Self::start_after`]; tokens
    /// from before are void.
    pub fn relist(&mut self, place: Relist) {
        self.places.retain(|kept| kept.first < place.first);
        self.pages.clear();
        self.next = place.first;
        self.ended = false;
        self.stuck = 0;
        // What is hidden was counted on the way there; from here it is counted anew.
        self.assembly = Assembly::resume(self.prefix.clone(), place.at);
        self.assembly.beside(self.local.clone());
    }

    /// True once the last page is in.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// What is not shown, of the pages since the beginning or the last [`Self::relist`].
    #[must_use]
    pub fn hidden(&self) -> &[Hidden] {
        self.assembly.hidden()
    }

    /// True if the server has kept the rules of listings: what it hasn't shown isn't there.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.hidden().iter().any(|hidden| hidden.why.breaks_rules())
    }

    fn let_go(&mut self, place: Relist) {
        if self.places.len() >= PLACES_MAX {
            let mut index = 0;
            self.places.retain(|_| {
                index += 1;
                index % 2 == 1 // keeps the first: every cookie has a place before it
            });
        }
        self.places.push(place);
    }
}
