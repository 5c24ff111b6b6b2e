//! From the pages of a listing to the entries of a directory.
//!
//! A listing with delimiter `/` gives keys and common prefixes in one ascending order of bytes, page by page. One rule
//! needs memory: a directory wins over an object of the same name, and between the key `a` and the prefix `a/` may
//! lie any number of others (`a!`, `a-b`, `a.txt`), pages of them. So an object waits until the listing has passed `name/`. The ones
//! that wait are beginnings of each other (`a`, `a-`, `a-b`): a stack of at most 255, nearly always of none or one. Entries come out
//! in the ascending order of `name/`, each name once, whatever the server sends.

use std::cmp::Ordering;
use std::time::Instant;

use super::beside::LocalEntries;
use super::names::{NameError, valid_name};
use crate::object::{ObjectMeta, Prefix};

/// One page of a listing, as the bucket sends it: decoded keys, each list in ascending order.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Keys and what is said of them.
    pub objects: Vec<(String, ObjectMeta)>,
    /// Common prefixes, with their last slash.
    pub prefixes: Vec<String>,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// A valid name ([`valid_name`]).
    pub name: Box<str>,
    /// What has that name.
    pub what: What,
    /// When the page was asked for that showed it: an object may have waited for later pages.
    pub asked: Instant,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Keys begin with the name and a slash.
    Directory,
    /// The object, as listed.
    Object(ObjectMeta),
    /// A name of this mount that was not listed; what it is now, the tree knows.
    Local {
        /// True for a directory.
        directory: bool,
    },
}

/// Why a key or prefix is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A file system can't show the name.
    Name(NameError),
    /// An object and a directory have this name; the directory is shown.
    Shadowed,
    /// The server broke the order of listings, or repeated itself.
    OutOfOrder,
    /// The server sent what is not directly in this directory.
    Foreign,
    /// The server's pages did not come forward any more; the listing was ended there.
    Stuck,
}

impl Why {
    /// True if a server that keeps the rules of listings never causes this.
    #[must_use]
    pub fn breaks_rules(self) -> bool {
        match self {
            Self::Name(_) | Self::Shadowed => false,
            Self::OutOfOrder | Self::Foreign | Self::Stuck => true,
        }
    }
}

/// How many keys and prefixes of one listing are not shown for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// The reason.
    pub why: Why,
    /// At least 1.
    pub count: u64,
    /// The first of them.
    pub example: Box<str>,
}

/// Where a listing can be taken up again: everything before has been seen, and these objects still wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// The last key or prefix seen, without the directory's prefix: empty for its marker, `None` at the beginning.
    last: Option<Box<str>>,
    waiting: Vec<Entry>,
}

/// Makes entries of the pages of one listing.
#[derive(Debug, Clone)]
pub struct Assembly {
    prefix: Prefix,
    at: Resume,
    hidden: Vec<Hidden>,
    local: LocalEntries,
    /// So many of `local` have had their place.
    local_at: usize,
}

impl Assembly {
    /// Begins the listing of the directory that stands for `prefix`.
    #[must_use]
    pub fn new(prefix: Prefix) -> Self {
        let at = Resume {
            last: None,
            waiting: Vec::new(),
        };
        Self::resume(prefix, at)
    }

    /// Takes a listing up again; the next page is what follows [`Self::start_after`].
    #[must_use]
    pub fn resume(prefix: Prefix, at: Resume) -> Self {
        Self {
            prefix,
            at,
            hidden: Vec::new(),
            local: LocalEntries::default(),
            local_at: 0,
        }
    }

    /// Shows these names in their places, too, instead of those that were given before. A name that is listed as well comes
    /// once, as it is listed. Names before the place that the listing has come to are not shown.
    pub fn beside(&mut self, local: LocalEntries) {
        self.local_at = match &self.at.last {
            Some(last) => local.count(|place| place <= &**last && self.is_settled(place)),
            None => 0,
        };
        self.local = local;
    }

    /// Where to take this listing up later, between two pages.
    #[must_use]
    pub fn position(&self) -> Resume {
        self.at.clone()
    }

    /// The key after which the next page begins (`start-after`); `None` at the beginning. Of the common prefix `a/`, servers may
    /// show it again; that is expected here.
    #[must_use]
    pub fn start_after(&self) -> Option<String> {
        let last = self.at.last.as_ref()?;
        Some(format!("{}{last}", self.prefix.as_str()))
    }

    /// Takes the next page, asked for at `asked`, and appends the entries that are settled by it.
    pub fn page(&mut self, page: Page, asked: Instant, entries: &mut Vec<Entry>) {
        let mut objects = page.objects.into_iter().peekable();
        let mut prefixes = page.prefixes.into_iter().peekable();
        // After `start-after=dir/a/`, the keys below that are grouped into it again.
        let again = self.start_after();
        let _ = prefixes.next_if(|prefix| Some(prefix) == again.as_ref());
        loop {
            let object_first = match (objects.peek(), prefixes.peek()) {
                (Some((key, _)), Some(prefix)) => key < prefix,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            if object_first {
                if let Some((key, meta)) = objects.next() {
                    self.item(&key, Some(meta), asked, entries);
                }
            } else if let Some(prefix) = prefixes.next() {
                self.item(&prefix, None, asked, entries);
            }
        }
        self.settle_local(entries);
    }

    /// Notes that the server's pages don't come forward.
    pub(super) fn give_up(&mut self) {
        let last = self.start_after().unwrap_or_default();
        self.hide(&last, Why::Stuck);
    }

    /// Ends the listing: appends the objects that were still waiting.
    pub fn finish(&mut self, entries: &mut Vec<Entry>) {
        for entry in std::mem::take(&mut self.at.waiting).into_iter().rev() {
            self.emit(entry, entries);
        }
        self.show_local(entries, |_| true);
    }

    /// What is not shown so far, one item for each reason.
    #[must_use]
    pub fn hidden(&self) -> &[Hidden] {
        &self.hidden
    }

    /// One object (with its meta) or one common prefix.
    fn item(
        &mut self,
        key: &str,
        object: Option<ObjectMeta>,
        asked: Instant,
        entries: &mut Vec<Entry>,
    ) {
        let Some(rest) = key.strip_prefix(self.prefix.as_str()) else {
            return self.hide(key, Why::Foreign);
        };
        if rest.is_empty() && object.is_some() {
            self.at.last.get_or_insert_default(); // the directory's own marker
            return;
        }
        let name = match object {
            Some(_) => Some(rest).filter(|rest| !rest.contains('/')),
            None => rest.strip_suffix('/').filter(|name| !name.contains('/')),
        };
        let Some(name) = name else {
            return self.hide(key, Why::Foreign);
        };
        if self.at.last.as_ref().is_some_and(|last| rest <= &**last) {
            return self.hide(key, Why::OutOfOrder);
        }
        self.at.last = Some(rest.into());
        self.release(key, rest, entries);
        if let Err(error) = valid_name(name.as_bytes()) {
            return self.hide(key, Why::Name(error));
        }
        let name = name.into();
        match object.map(What::Object) {
            Some(what) => self.at.waiting.push(Entry { name, what, asked }),
            None => {
                let what = What::Directory;
                self.emit(Entry { name, what, asked }, entries);
            }
        }
    }

    /// An entry is settled: the local names before it are, too.
    fn emit(&mut self, entry: Entry, entries: &mut Vec<Entry>) {
        if self.local_at < self.local.len() {
            let place = format!("{}/", entry.name);
            self.show_local(entries, |local| local < &*place);
            if self.local.at(self.local_at).map(|(local, _)| &**local) == Some(&*place) {
                self.local_at += 1;
            }
        }
        entries.push(entry);
    }

    /// Shows the local names that the listing has come past: whatever is listed from here on comes after them.
    fn settle_local(&mut self, entries: &mut Vec<Entry>) {
        let (Some(last), true) = (&self.at.last, self.local_at < self.local.len()) else {
            return;
        };
        let last = last.clone();
        let upto = self
            .local
            .count(|place| place <= &*last && self.is_settled(place));
        while self.local_at < upto {
            let local = self.local.at(self.local_at);
            entries.extend(local.map(|(_, entry)| entry.clone()));
            self.local_at += 1;
        }
    }

    /// True if `place` comes before all objects that wait.
    fn is_settled(&self, place: &str) -> bool {
        let next = self.at.waiting.last();
        next.is_none_or(|next| place.bytes().lt(next.name.bytes().chain([b'/'])))
    }

    fn show_local(&mut self, entries: &mut Vec<Entry>, is_due: impl Fn(&str) -> bool) {
        while let Some((place, entry)) = self.local.at(self.local_at) {
            if !is_due(place) {
                return;
            }
            entries.push(entry.clone());
            self.local_at += 1;
        }
    }

    /// The listing has come to `rest`: settles the objects that waited for what lies before it, or for it.
    fn release(&mut self, key: &str, rest: &str, entries: &mut Vec<Entry>) {
        while let Some(entry) = self.at.waiting.last() {
            let awaited = entry.name.bytes().chain([b'/']);
            let order = awaited.cmp(rest.bytes());
            if order == Ordering::Greater {
                return;
            }
            let entry = self.at.waiting.pop();
            match order {
                Ordering::Equal => self.hide(key.trim_end_matches('/'), Why::Shadowed),
                Ordering::Less | Ordering::Greater => {
                    if let Some(entry) = entry {
                        self.emit(entry, entries);
                    }
                }
            }
        }
    }

    fn hide(&mut self, key: &str, why: Why) {
        match self.hidden.iter_mut().find(|hidden| hidden.why == why) {
            Some(hidden) => hidden.count += 1,
            None => self.hidden.push(Hidden {
                why,
                count: 1,
                example: key.into(),
            }),
        }
    }
}
