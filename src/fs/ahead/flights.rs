//! GETs of small files that answer for their names.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::watch;

use super::scan::Came;
use crate::fs::FileSystem;
use crate::object::{ObjectMeta, StorageClass, Version};
use crate::op::Op;
use crate::oss::Kind as OssKind;
use crate::read::{self, Reader, Whole};
use crate::tree::{Ino, Known, Settled, Tree};

/// What a name is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fs) enum Purpose {
    /// Its attributes.
    Attributes,
    /// A path: perhaps to open what is there.
    Lookup,
    /// To open it.
    Open,
}

/// A file to be fetched ahead: its place in the scan of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) directory: Ino,
    pub(super) generation: u64,
    pub(super) at: usize,
}

/// Who a GET is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum For {
    /// Somebody waits.
    Caller,
    /// A reader that may come.
    Later {
        place: Option<Place>,
        /// Its place in the prefetch list.
        in_list: Option<usize>,
    },
}

impl FileSystem {
    /// Answers for a name by the content of the version that it had: by a GET that is on its way already, or by one of its own if
    /// the content is likely to be wanted. `None` if the question must be asked another way.
    pub(in crate::fs) async fn ask_by_content(
        &self,
        parent: Ino,
        name: &str,
        asked: Instant,
        purpose: Purpose,
    ) -> Option<(Settled, Instant)> {
        if !self.capabilities.get() {
            return None;
        }
        let (ino, version) = small_version(&self.tree(), parent, name, asked)?;
        if let Some(mut flight) = self.flight(ino) {
            // It ends with an error: the sender goes when the answer begins, or fails.
            let _ = flight.changed().await;
            let tree = self.tree();
            let Known::Fresh(ino) = tree.known(parent, name, Instant::now()) else {
                return None;
            };
            return Some((Settled::Entry(ino), tree.node(ino)?.checked()));
        }
        let wants_content = match purpose {
            Purpose::Attributes => false,
            Purpose::Lookup => self.opens_what_it_looks_up(parent),
            Purpose::Open => true,
        };
        if !wants_content || self.reader.has_whole(&version) {
            return None;
        }
        let whole = self.reader.claim_whole(&version).await?;
        let mut flight = self.fly(ino, parent, name, whole, For::Caller);
        let _ = flight.changed().await;
        let tree = self.tree();
        match tree.known(parent, name, asked) {
            Known::Fresh(ino) | Known::Expired(ino) => {
                let checked = tree.node(ino)?.checked();
                (checked >= asked).then_some((Settled::Entry(ino), checked))
            }
            Known::Absent { .. } | Known::Unknown | Known::Stale => None,
        }
    }

    /// Fetches a file whose name is known, for a reader that may come; `in_list` is its place in the prefetch list. `Err` if it is here already, or cannot be fetched now.
    pub(super) fn fetch_for_later(
        &self,
        parent: Ino,
        name: &str,
        place: Option<Place>,
        in_list: Option<usize>,
    ) -> Result<watch::Receiver<()>, Came> {
        let now = Instant::now();
        let Some((ino, version)) = small_version(&self.tree(), parent, name, now) else {
            return Err(Came::Gone);
        };
        match self.reader.claim_whole_ahead(&version) {
            Ok(whole) => Ok(self.fly(ino, parent, name, whole, For::Later { place, in_list })),
            Err(read::Unclaimed::There) => Err(Came::Here),
            Err(read::Unclaimed::NoRoom) => Err(Came::NoRoom),
        }
    }

    fn flight(&self, ino: Ino) -> Option<watch::Receiver<()>> {
        let flights = self.ahead.flights.lock();
        flights
            .unwrap_or_else(PoisonError::into_inner)
            .get(&ino)
            .cloned()
    }

    /// Sends the GET, in a task of the mount. The result changes, or ends, when the answer begins: then the tree knows.
    fn fly(
        &self,
        ino: Ino,
        parent: Ino,
        name: &str,
        whole: Whole,
        whom: For,
    ) -> watch::Receiver<()> {
        let (landing, flight) = watch::channel(());
        self.ahead
            .flights
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(ino, flight.clone());
        let own = flight.clone();
        let is_later = matches!(whom, For::Later { .. });
        if is_later {
            self.ahead.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        let (fs, name) = (Weak::clone(&self.ahead.fs), Box::<str>::from(name));
        self.spawn_owned(async move {
            let op = match whom {
                For::Caller => Op::awaited("small"),
                For::Later { .. } => Op::background("small"),
            };
            let asked = Instant::now();
            let mut landing = Some(landing);
            let mut landed = || {
                if let (Some(fs), Some(_landing)) = (fs.upgrade(), landing.take()) {
                    let flights = fs.ahead.flights.lock();
                    let mut flights = flights.unwrap_or_else(PoisonError::into_inner);
                    // One that failed may have a successor already.
                    if flights
                        .get(&ino)
                        .is_some_and(|last| last.same_channel(&own))
                    {
                        flights.remove(&ino);
                    }
                }
            };
            let at_head = |meta: &ObjectMeta| {
                if let Some(fs) = fs.upgrade() {
                    let mut tree = fs.tree();
                    tree.found_object(parent, &name, meta, asked);
                    fs.gauge(&tree);
                }
                landed();
            };
            let fetched = whole.fetch(&op, at_head).await;
            let Some(fs) = fs.upgrade() else { return };
            let came = fs.came_by_flight(ino, asked, &fetched);
            landed();
            if is_later {
                fs.ahead.in_flight.fetch_sub(1, Ordering::Relaxed);
            }
            if let For::Later { place, in_list } = whom {
                if let (Some(at), Came::Gone) = (in_list, came) {
                    fs.left_out(at);
                }
                if let Some(place) = place {
                    fs.came_ahead(place, came);
                }
                fs.wake_pilot();
            }
        });
        flight
    }

    fn came_by_flight(&self, ino: Ino, asked: Instant, fetched: &Result<(), read::Error>) -> Came {
        match fetched {
            Ok(()) => return Came::Here,
            Err(read::Error::Oss(error)) => {
                self.capabilities.refused(error);
                if matches!(error.kind(), OssKind::Changed | OssKind::NotFound) {
                    self.tree().mark_stale(ino, asked);
                }
            }
            Err(read::Error::Corrupt { .. }) => self.tree().mark_stale(ino, Instant::now()),
            Err(read::Error::Abandoned) => {}
        }
        Came::Gone
    }

    /// Runs a task that ends with the file system.
    pub(super) fn spawn_owned(&self, task: impl Future<Output = ()> + Send + 'static) {
        let tasks = self.ahead.tasks.lock();
        let mut tasks = tasks.unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &self.runtime);
    }
}

/// The version that a name has or had, if it is fetched whole.
fn small_version(
    tree: &Tree,
    parent: Ino,
    name: &str,
    now: Instant,
) -> Option<(Ino, Arc<Version>)> {
    let ino = match tree.known(parent, name, now) {
        Known::Fresh(ino) | Known::Expired(ino) => ino,
        Known::Absent { .. } | Known::Unknown | Known::Stale => return None,
    };
    let object = tree.node(ino)?.object()?;
    let is_small = Reader::is_whole(object.size()) && is_readable(object.storage_class());
    Some((ino, is_small.then(|| tree.version(ino))?.ok()?))
}

/// True if content can be had without a restore.
pub(super) fn is_readable(class: StorageClass) -> bool {
    match class {
        StorageClass::Standard | StorageClass::InfrequentAccess | StorageClass::Other => true,
        StorageClass::Archive | StorageClass::ColdArchive | StorageClass::DeepColdArchive => false,
    }
}
