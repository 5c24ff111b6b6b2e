//! Programs that create many files in one directory.
//!
//! The kernel looks each name up before it creates it, and to know that there is nothing takes a HEAD and a LIST: two requests for each PUT. Where
//! names are created one after the other, the directory is listed instead, as long as it has few pages: a listing that was read to its end
//! says of all names what is not there, for as long as a negative answer is believed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

/// Where files are created.
#[derive(Debug, Default)]
pub(super) struct Creating(Mutex<HashMap<Ino, Place>>);

#[derive(Debug)]
struct Place {
    /// Created since `since`.
    creates: u32,
    since: Instant,
    too_large: Option<Instant>,
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

    fn too_large(&self, directory: Ino, now: Instant) {
        if let Some(place) = self.lock().get_mut(&directory) {
            place.too_large = Some(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ino, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        if !self.list_to_the_end(op, parent, PAGES_MAX).await? {
            self.creating.too_large(parent, Instant::now());
        }
        self.lookup_known(parent, name).transpose()
    }
}

#[cfg(test)]
mod tests {
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
        creating.too_large(Ino::ROOT, now);
        assert!(!is_worth_it(Duration::ZERO));
    }
}
