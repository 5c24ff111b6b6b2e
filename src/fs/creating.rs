//! Programs that create many files in one directory.
//!
//! The kernel looks each name up before it creates it, and to know that there is nothing takes a HEAD and a LIST: two requests for each PUT. Where
//! names are created one after the other, the directory is listed instead, as long as it has few pages: a listing that was read to its end
//! says of all names what is not there, for as long as a negative answer is believed. While files are created it is listed again shortly before
//! that ends, so that nobody waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{Error, FileSystem, Found};
use crate::op::Op;
use crate::tree::{Ino, Known};

/// So many files created within [`WINDOW`] are taken for the beginning of more.
const CREATES_MIN: u32 = 4;

/// A second: what was created before does not count, and a listing answers for as long.
const WINDOW: Duration = Duration::from_secs(1);

/// Pages of a directory that is listed for this: 16,000 names. More would cost more than they save.
const PAGES_MAX: u32 = 16;

/// How long a directory that had more is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(60);

/// Directories that are watched; beyond that all begin anew.
const DIRECTORIES_MAX: usize = 256;

/// A directory is listed again so long before its listing ends, beside twice what the last one took.
const EARLY: Duration = Duration::from_millis(20);

/// Where files are created.
#[derive(Debug, Default)]
pub(super) struct Creating {
    places: Mutex<HashMap<Ino, Place>>,
    /// Directories that are listed though nobody waits: at most one for each place.
    listings: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Place {
    /// Created since `since`.
    creates: u32,
    since: Instant,
    too_large: Option<Instant>,
    /// How long its last listing took, if there was any.
    took: Option<Duration>,
    /// Whoever lists; the others wait for what it finds.
    listing: Arc<tokio::sync::Mutex<()>>,
}

impl Creating {
    /// A file was created.
    pub(super) fn note(&self, directory: Ino, now: Instant) {
        let mut places = self.lock();
        if places.len() >= DIRECTORIES_MAX && !places.contains_key(&directory) {
            places.clear();
        }
        let place = places.entry(directory).or_insert_with(|| Place {
            creates: 0,
            since: now,
            too_large: None,
            took: None,
            listing: Arc::default(),
        });
        if now.saturating_duration_since(place.since) > WINDOW {
            // Half of what came before counts: a program that goes on is not forgotten at each turn.
            (place.creates, place.since) = (place.creates.min(2 * CREATES_MIN) / 2, now);
        }
        place.creates += 1;
    }

    /// The turn to list a directory, if that is worth it.
    fn turn(&self, directory: Ino, now: Instant) -> Option<Arc<tokio::sync::Mutex<()>>> {
        let places = self.lock();
        let place = places.get(&directory)?;
        let is_recent = now.saturating_duration_since(place.since) <= 2 * WINDOW;
        let is_small = place
            .too_large
            .is_none_or(|at| now.saturating_duration_since(at) > LEFT_ALONE);
        let is_worth_it = is_recent && is_small && place.creates >= CREATES_MIN;
        is_worth_it.then(|| Arc::clone(&place.listing))
    }

    /// The same, if a listing that is good for `left` more of its `ttl` should be followed by the next one now.
    fn early_turn(
        &self,
        directory: Ino,
        (left, ttl): (Duration, Duration),
        now: Instant,
    ) -> Option<Arc<tokio::sync::Mutex<()>>> {
        // Half of its time at most, or listings would follow one another without a pause.
        if left >= ttl / 2 {
            return None;
        }
        let took = self.lock().get(&directory)?.took?;
        let is_time = left < 2 * took + EARLY;
        is_time.then(|| self.turn(directory, now)).flatten()
    }

    /// A directory was listed, to its end or not.
    fn listed(&self, directory: Ino, began: Instant, is_whole: bool) {
        if let Some(place) = self.lock().get_mut(&directory) {
            place.took = Some(began.elapsed());
            if !is_whole {
                place.too_large = Some(Instant::now());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ino, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listings(&self) -> MutexGuard<'_, JoinSet<()>> {
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        while listings.try_join_next().is_some() {}
        listings
    }
}

impl FileSystem {
    /// Looks a name up by listing its directory, if files are created there one after the other. `None` if that is not worth it, or the listing
    /// does not tell.
    pub(super) async fn look_among_created(
        self: &Arc<Self>,
        op: &Op,
        parent: Ino,
        name: &str,
    ) -> Result<Option<Found>, Error> {
        let is_unknown = self.tree().known(parent, name, Instant::now()) == Known::Unknown;
        if !is_unknown || !self.capabilities.list() {
            return Ok(None);
        }
        let Some(turn) = self.creating.turn(parent, Instant::now()) else {
            return Ok(None);
        };
        let _turn = turn.lock().await;
        // Somebody else may have listed it meanwhile.
        if let Some(known) = self.lookup_known(parent, name) {
            return known.map(Some);
        }
        self.list_for_creates(op, parent).await?;
        self.lookup_known(parent, name).transpose()
    }

    /// A listing has just said of a name that it is not there, and is good for `left`: if files are created there and that is not long, the next one
    /// begins.
    pub(super) fn list_early(self: &Arc<Self>, parent: Ino, left: Duration) {
        let good = (left, self.config.negative_ttl);
        let turn = self.creating.early_turn(parent, good, Instant::now());
        let Some(Ok(turn)) = turn.map(tokio::sync::Mutex::try_lock_owned) else {
            return;
        };
        let fs = Arc::downgrade(self);
        let list = async move {
            let _turn = turn;
            if let Some(fs) = fs.upgrade() {
                // Others may come to wait for it.
                let op = Op::awaited("list for creates");
                // Whoever looks a name up meets the error again.
                let _ = fs.list_for_creates(&op, parent).await;
            }
        };
        self.creating.listings().spawn_on(list, &self.runtime);
    }

    async fn list_for_creates(&self, op: &Op, parent: Ino) -> Result<(), Error> {
        let began = Instant::now();
        let is_whole = self.list_to_the_end(op, parent, PAGES_MAX).await?;
        self.creating.listed(parent, began, is_whole);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_directory_is_listed_once_several_files_were_created() {
        let (creating, now) = (Creating::default(), Instant::now());
        let is_worth_it = |after| creating.turn(Ino::ROOT, now + after).is_some();
        for _ in 0..CREATES_MIN {
            assert!(!is_worth_it(Duration::ZERO));
            creating.note(Ino::ROOT, now);
        }
        assert!(is_worth_it(WINDOW));
        assert!(!is_worth_it(3 * WINDOW), "it was a while ago");
        creating.listed(Ino::ROOT, now, false);
        assert!(!is_worth_it(Duration::ZERO));
    }

    #[test]
    fn it_is_listed_again_shortly_before_that_is_old() {
        let creating = Creating::default();
        let now = Instant::now();
        let is_time = |left, ttl| {
            let (left, ttl) = (Duration::from_millis(left), Duration::from_millis(ttl));
            creating.early_turn(Ino::ROOT, (left, ttl), now).is_some()
        };
        for _ in 0..CREATES_MIN {
            creating.note(Ino::ROOT, now);
        }
        assert!(!is_time(0, 1000), "it never was");
        let began = now.checked_sub(Duration::from_millis(100)).unwrap();
        creating.listed(Ino::ROOT, began, true);
        assert!(!is_time(700, 1000));
        assert!(is_time(210, 1000));
        assert!(!is_time(210, 400), "not without a pause");
    }
}
