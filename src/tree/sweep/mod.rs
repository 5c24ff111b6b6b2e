//! One listing by many requests at once.
//!
//! A LIST answers with 1000 keys and where to go on: a chain in which each link waits for the one before. But a LIST
//! can begin anywhere (`start-after`), so several chains can be walked side by side, if one knows where to begin them.
//! Nobody knows; a [`Sweep`] guesses ([`scale`]): from the names of the pages that came it takes how densely the names
//! lie, and begins another chain some pages ahead of a chain that is under way. Where a chain comes to the beginning of
//! the next it ends, and what its last page shows behind that is dropped. So the pages, put in order, are those of a
//! listing that was walked from one end to the other: nothing is missing, nothing comes twice, whatever was guessed.
//!
//! **A guess is paid.** A chain that begins behind the last key is an empty page, and one that begins close to another
//! ends on a page that is mostly dropped. Each chain wastes at most one page, so a chain is begun only while all that
//! could be wasted stays below a fifth of what was won and [`WASTE_FREE`] pages: a directory of any size costs at most a
//! fifth more LISTs than its pages, and four. Directories of a few pages cost a few more; large ones soon earn many chains.
//!
//! Pure: who uses it sends what [`Sweep::want`] says, in any order gives back what came, and takes pages in order.

mod scale;

use std::collections::VecDeque;
use std::time::Instant;

use super::cookies::More;
use super::listing::Page;
use crate::object::{KEY_BYTES_MAX, Prefix};
use scale::Scale;

/// Pages that may be wasted before anything was won.
const WASTE_FREE: f64 = 3.0;

/// Pages that may be wasted, of those that were won.
const WASTE_SHARE: f64 = 0.2;

/// A gap of fewer pages is walked, not split: what a chain wastes is half a page on average.
const SPLIT_PAGES_MIN: u128 = 3;

/// How far ahead the first chain begins, in pages; each one after it, while the end is not known, begins twice as far.
const STRIDE_MIN: u128 = 4;

/// No chain begins farther ahead of another than this, in pages: what is far is needed late, and would be kept till then.
const STRIDE_MAX: u128 = 16;

/// A gap that looks larger than this, in pages, is a wrong guess about what lies in it, or the end of the names.
const GAP_PAGES_MAX: u128 = 64;

/// One request of a [`Sweep`], to be given back with its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// A page to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// To be given back.
    pub ticket: Ticket,
    /// `start-after`, unless there is a token.
    pub start_after: Option<String>,
    /// The token of the page before.
    pub continuation: Option<String>,
}

/// The next page in order, if it is there.
#[derive(Debug)]
pub enum Next {
    /// A page, asked for at that moment.
    Page(Page, More, Instant),
    /// It must be waited for.
    Pending,
}

/// A stretch of the listing: from `start` to the start of the next.
#[derive(Debug)]
struct Chain {
    ticket: Ticket,
    /// Only keys behind this one; `None` at the beginning of the directory.
    start: Option<String>,
    /// The last key seen, or `start`.
    at: Option<String>,
    token: Option<String>,
    /// First and last key of its last page; of the chain that it was split from until it has one.
    span: Option<(String, String)>,
    /// How far ahead it was begun, in pages.
    stride: u128,
    /// It has had a page.
    begun: bool,
    /// A request is under way.
    sent: bool,
    /// It has come to its end.
    done: bool,
    /// Came, and were not taken yet.
    pages: VecDeque<(Page, Instant)>,
}

/// A listing of one directory, or of the rest of it, by several requests at once.
#[derive(Debug)]
pub struct Sweep {
    prefix: Prefix,
    scale: Scale,
    /// In the order of their keys; those that were taken to the end are gone.
    chains: VecDeque<Chain>,
    tickets: u64,
    in_flight: usize,
    buffered: usize,
    /// Entries of the fullest page so far.
    page_entries: usize,
    /// Pages that came.
    came: u32,
    /// Entries that were not dropped.
    kept: usize,
}

impl Sweep {
    /// A listing of the directory that stands for `prefix`, of the keys behind `after`.
    #[must_use]
    pub fn new(prefix: Prefix, after: Option<String>) -> Self {
        let mut sweep = Self {
            prefix,
            scale: Scale::default(),
            chains: VecDeque::new(),
            tickets: 0,
            in_flight: 0,
            buffered: 0,
            page_entries: 1,
            came: 0,
            kept: 0,
        };
        let first = sweep.chain(after, None, STRIDE_MIN / 2);
        sweep.chains.push_back(first);
        sweep
    }

    fn chain(
        &mut self,
        start: Option<String>,
        span: Option<(String, String)>,
        stride: u128,
    ) -> Chain {
        self.tickets += 1;
        Chain {
            ticket: Ticket(self.tickets),
            at: start.clone(),
            start,
            token: None,
            span,
            stride,
            begun: false,
            sent: false,
            done: false,
            pages: VecDeque::new(),
        }
    }

    /// The next request that is worth sending while at most `width` are under way; it counts as sent. With a width of 1 it is the
    /// page that a reader needs next, and none ahead of that.
    pub fn want(&mut self, width: usize) -> Option<Want> {
        let is_served = self
            .chains
            .front()
            .is_some_and(|front| !front.pages.is_empty());
        if self.in_flight >= width || (width == 1 && is_served) {
            return None;
        }
        let idle = |chain: &Chain| !chain.sent && !chain.done;
        let index = match self.chains.iter().position(idle) {
            Some(index) => index,
            None if width > 1 => self.split(width)?,
            None => return None,
        };
        let chain = self.chains.get_mut(index)?;
        chain.sent = true;
        self.in_flight += 1;
        Some(Want {
            ticket: chain.ticket,
            start_after: chain.at.clone().filter(|_| chain.token.is_none()),
            continuation: chain.token.clone(),
        })
    }

    /// True if the reader waits for this request: no page is at hand, and this one is the next.
    #[must_use]
    pub fn is_awaited(&self, ticket: Ticket) -> bool {
        self.chains
            .front()
            .is_some_and(|front| front.ticket == ticket && front.pages.is_empty())
    }

    /// True if the reader waits for a page that was not asked for.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        self.chains
            .front()
            .is_some_and(|front| front.pages.is_empty() && !front.done && !front.sent)
    }

    /// Pages that are under way or at hand.
    #[must_use]
    pub fn ahead(&self) -> usize {
        self.in_flight + self.buffered
    }

    /// A request has failed; it may be wanted again, unless it began where only a guess has led: then the chain before walks on
    /// over that place.
    pub fn failed(&mut self, ticket: Ticket) {
        self.in_flight -= 1;
        let Some(index) = self.chains.iter().position(|chain| chain.ticket == ticket) else {
            return;
        };
        self.chains[index].sent = false;
        let is_before_open = index > 0 && !self.chains[index - 1].done;
        if is_before_open && !self.chains[index].begun {
            self.chains.remove(index);
        }
    }

    /// The answer to a request that was sent at `asked`; `next` is the token of the page after, if there is one.
    pub fn arrived(
        &mut self,
        ticket: Ticket,
        mut page: Page,
        next: Option<String>,
        asked: Instant,
    ) {
        self.in_flight -= 1;
        self.came += 1;
        let Some(index) = self.chains.iter().position(|chain| chain.ticket == ticket) else {
            return; // the end was found before it
        };
        let bounds = page.bounds();
        self.learn(&page);
        if next.is_some() {
            self.page_entries = self.page_entries.max(page.len());
        }
        if next.is_none() {
            self.end_behind(index);
        }
        let end = self
            .chains
            .get(index + 1)
            .and_then(|chain| chain.start.clone());
        if let Some(end) = &end {
            page.cut(end);
        }
        self.kept += page.len();
        let chain = &mut self.chains[index];
        let is_at_end = matches!((&bounds, &end), (Some((_, last)), Some(end)) if last >= end);
        (chain.sent, chain.begun) = (false, true);
        chain.done = next.is_none() || is_at_end;
        if let Some((first, last)) = bounds {
            chain.at = Some(last.clone());
            chain.span = Some((first, last));
        }
        chain.token = next;
        // A page of nothing that is not the last goes to the reader too, who counts those that bring nothing new.
        if page.len() > 0 || !chain.done {
            chain.pages.push_back((page, asked));
            self.buffered += 1;
        }
    }

    /// There is nothing behind the page that this chain has got: it stands for the chains behind it too that have none yet.
    /// Only up to the next that has one: the directory may have changed, and what that one has shown is kept.
    fn end_behind(&mut self, index: usize) {
        while self.chains.get(index + 1).is_some_and(|chain| !chain.begun) {
            self.chains.remove(index + 1);
        }
    }

    /// The next page in order. After the last one, which says [`More::Ends`], do not ask again.
    pub fn take(&mut self) -> Next {
        while let Some(front) = self.chains.front_mut() {
            if let Some((page, asked)) = front.pages.pop_front() {
                self.buffered -= 1;
                let is_last = front.done && front.pages.is_empty() && self.chains.len() == 1;
                let more = if is_last { More::Ends } else { More::Follows };
                return Next::Page(page, more, asked);
            }
            if !front.done {
                return Next::Pending;
            }
            self.chains.pop_front();
        }
        Next::Page(Page::default(), More::Ends, Instant::now())
    }

    fn learn(&mut self, page: &Page) {
        let skip = self.prefix.as_str().len();
        let keys = page
            .objects
            .iter()
            .map(|(key, _)| key)
            .chain(&page.prefixes);
        for key in keys {
            self.scale.learn(key.get(skip..).unwrap_or_default());
        }
    }

    /// True if one more chain keeps the promise about what is wasted, even if all chains under way waste a page each.
    fn can_afford(&self, width: usize) -> bool {
        let open = self.chains.iter().filter(|chain| !chain.done).count();
        let sent = self.chains.iter().filter(|chain| chain.sent).count();
        // The last chain ends where the names end: with it alone, the listing is as it always was.
        let risked = open.saturating_sub(1) + self.in_flight.saturating_sub(sent) + 1;
        #[expect(clippy::cast_precision_loss, reason = "no directory has 2^52 entries")]
        let (won, risked) = (self.kept as f64 / self.page_entries as f64, risked as f64);
        let wasted = f64::from(self.came) - won;
        open < width && wasted + risked <= won * WASTE_SHARE + WASTE_FREE
    }

    /// Begins another chain where most pages are expected, nearest first. Returns its index.
    fn split(&mut self, width: usize) -> Option<usize> {
        if !self.can_afford(width) {
            return None;
        }
        let mut best: Option<(u128, usize, String)> = None;
        for index in 0..self.chains.len() {
            if let Some((pages, start)) = self.guess(index)
                && best.as_ref().is_none_or(|(most, ..)| pages > *most)
            {
                best = Some((pages, index, start));
            }
        }
        let (stride, index, start) = best?;
        let span = self.chains[index].span.clone();
        let chain = self.chain(Some(start), span, stride);
        self.chains.insert(index + 1, chain);
        Some(index + 1)
    }

    /// Where to begin a chain between this one and the next, and how many pages ahead that seems to be.
    fn guess(&self, index: usize) -> Option<(u128, String)> {
        let chain = self.chains.get(index).filter(|chain| !chain.done)?;
        let next = self.chains.get(index + 1);
        if !chain.begun && next.is_some() {
            return None; // it will say itself how dense its names are
        }
        let skip = self.prefix.as_str().len();
        let name = |key: &str| key.get(skip..).map(ToOwned::to_owned);
        let (first, last) = chain.span.as_ref()?;
        let (first, last) = (name(first)?, name(last)?);
        let at = name(chain.at.as_ref()?)?;
        let end = next.and_then(|next| name(next.start.as_ref()?));
        let ruler = self.scale.ruler(&first, &last, end.as_deref());
        let page = ruler.value(&last).saturating_sub(ruler.value(&first));
        let page = page.max(1);
        let from = ruler.value(&at);
        let under_way = u128::from(chain.sent);
        let behind = end.as_ref().map_or(ruler.len(), |end| ruler.value(end));
        let gap = (behind.saturating_sub(from) / page).checked_sub(under_way)?;
        let ahead = match (gap, &end) {
            (..SPLIT_PAGES_MIN, Some(_)) => return None,
            (..SPLIT_PAGES_MIN, None) => 0,
            (..GAP_PAGES_MAX, Some(_)) => (gap / 2).min(STRIDE_MAX),
            (_, Some(_)) => STRIDE_MAX,
            (_, None) => (2 * chain.stride).min(STRIDE_MAX).min(gap / 2),
        };
        let start = match ahead {
            0 => ruler.behind()?,
            _ => ruler.name(from.checked_add((ahead + under_way).checked_mul(page)?)?)?,
        };
        let start = format!("{}{start}", self.prefix.as_str());
        let is_between = chain.at.as_ref().is_none_or(|at| start > *at)
            && end.is_none_or(|end| start[skip..] < *end);
        (is_between && start.len() <= KEY_BYTES_MAX).then_some((ahead.max(1), start))
    }
}

impl Page {
    /// Objects and prefixes together.
    fn len(&self) -> usize {
        self.objects.len() + self.prefixes.len()
    }

    /// The first and the last key or prefix.
    fn bounds(&self) -> Option<(String, String)> {
        let keys = |object: Option<&(String, _)>, prefix: Option<&String>| {
            [object.map(|(key, _)| key.clone()), prefix.cloned()]
        };
        let first = keys(self.objects.first(), self.prefixes.first());
        let last = keys(self.objects.last(), self.prefixes.last());
        let first = first.into_iter().flatten().min()?;
        let last = last.into_iter().flatten().max()?;
        Some((first, last))
    }

    /// Drops what lies behind `end`.
    fn cut(&mut self, end: &str) {
        let objects = self.objects.partition_point(|(key, _)| key.as_str() <= end);
        self.objects.truncate(objects);
        let prefixes = self
            .prefixes
            .partition_point(|prefix| prefix.as_str() <= end);
        self.prefixes.truncate(prefixes);
    }
}
