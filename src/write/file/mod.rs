//! A file that is being written.

mod change;
mod fragment;
mod frozen;
mod logged;
mod room;
mod send;
mod state;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::bases::Base;
use super::draft::Draft;
use super::extents::OnlyUploaded;
use super::staging::Restoring;
use super::temporary::is_temporary;
use super::writer::{Exclusive, Writer};
use crate::object::{ObjectKey, Version};
use crate::oss::{Condition, Properties};
pub use fragment::{Fragment, Staged};
pub use frozen::Frozen;
pub(super) use send::Draining;
pub(super) use state::{State, Unsure, fragments};

/// What a file begins as.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) key: ObjectKey,
    pub(super) draft: Draft,
    pub(super) properties: Option<Properties>,
    pub(super) exclusive: Exclusive,
}

/// The file must be stored under the name that it has before it can get another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file has to be stored before it is renamed")]
pub struct MustCommit;

/// One file that is being written, or may be. Shared as `Arc<File>`: one for each inode, whoever has it open.
///
/// Changes are seen by [`File::read`] at once, and by others once [`File::commit`] has stored them. Dropping it gives up what is not
/// stored, and the upload with it.
pub struct File {
    pub(super) id: u64,
    pub(super) writer: Arc<Writer>,
    state: Mutex<State>,
    /// One commit at a time.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    /// A part has arrived, or could not be sent.
    pub(super) arrived: Notify,
    /// Parts on their way.
    tasks: Mutex<JoinSet<()>>,
}

impl File {
    pub(super) fn new(id: u64, writer: Arc<Writer>, start: Start) -> Arc<Self> {
        let Start {
            key,
            draft,
            properties,
            exclusive,
        } = start;
        let log = writer.staging.log();
        Arc::new(Self {
            id,
            writer,
            state: Mutex::new(State::new(key, draft, properties, exclusive, log)),
            turn: Arc::default(),
            arrived: Notify::new(),
            tasks: Mutex::default(),
        })
    }

    /// The key that it is stored as; `None` once it was unlinked.
    #[must_use]
    pub fn key(&self) -> Option<ObjectKey> {
        self.lock().key.clone()
    }

    /// Bytes of the file.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a file's length is a number")]
    pub fn len(&self) -> u64 {
        self.lock().draft.map().len()
    }

    /// True if it is not stored as it is.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.lock().is_dirty()
    }

    /// Bytes that are in no object.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.lock().draft.map().dirty_bytes()
    }

    /// The version that it was opened on, or last stored as; `None` if it was never stored.
    #[must_use]
    pub fn stored(&self) -> Option<Arc<Version>> {
        let state = self.lock();
        let origin = state.draft.origin()?;
        Some(Arc::clone(&state.draft.bases().get(origin).version))
    }

    /// Where the next byte at or behind `offset` is that is not in a hole (lseek(2), SEEK_DATA); `None` is ENXIO. What lies in objects is
    /// data.
    #[must_use]
    pub fn seek_data(&self, offset: u64) -> Option<u64> {
        self.lock().draft.map().seek_data(offset)
    }

    /// Where the next hole at or behind `offset` begins (lseek(2), SEEK_HOLE); the end of the file is one. `None` is ENXIO.
    #[must_use]
    pub fn seek_hole(&self, offset: u64) -> Option<u64> {
        self.lock().draft.map().seek_hole(offset)
    }

    /// What `range` consists of, in order; what lies behind the end of the file is left out. Nothing is copied, read or fetched.
    ///
    /// # Errors
    /// [`OnlyUploaded`]: memory was short, and bytes of the range are in the upload only. [`File::materialise`], and ask again.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<Fragment>, OnlyUploaded> {
        let state = self.lock();
        state.fragments(state.draft.map(), range)
    }

    /// Gives it another name. Nothing is asked of OSS; what is at that name is replaced by the next commit if the condition is none.
    ///
    /// # Errors
    /// [`MustCommit`] if it is an object already, or may be, or parts of it are up, or a commit is under way. Then commit, copy the object, and tell
    /// [`File::renamed`].
    pub fn rename(&self, to: ObjectKey, condition: Condition) -> Result<(), MustCommit> {
        let mut state = self.lock();
        let is_stored = state.draft.origin().is_some() || state.unsure.is_some();
        if is_stored || state.session.is_some() || state.is_committing {
            return Err(MustCommit);
        }
        state.key = Some(to);
        state.replaces = condition == Condition::None;
        state.log_renamed();
        Ok(())
    }

    /// All of what a crash has left of it is written, and the next commit stores that; it is noted in what the crash has left.
    pub(in crate::write) fn restoring(&self, restoring: Restoring) {
        let mut state = self.lock();
        let generation = state.generation;
        state.restoring = Some(restoring.of(generation));
    }

    /// The directory above it has moved, and it has come along: not what it was stored as, if anything, for that is another version than was moved.
    /// The next commit compares what is at the new name with what the file was opened on.
    pub fn follow(&self, to: ObjectKey) {
        let mut state = self.lock();
        if state.key.is_none() {
            return;
        }
        state.key = Some(to);
        state.log_renamed();
        let session = self.lose_upload(&mut state);
        drop(state);
        self.give_up(session);
    }

    /// The object that it was stored as was copied to another key, and `to` is the copy: it is that from now on. What was written since
    /// stays dirty.
    ///
    /// # Panics
    /// If it was never stored, or the copy has another size.
    pub fn renamed(&self, to: Base) {
        let mut state = self.lock();
        let origin = state.draft.origin().expect("what was copied was stored");
        let old = &state.draft.bases().get(origin).version;
        assert_eq!(old.size(), to.version.size(), "a copy has the same bytes");
        state.key = Some(to.version.key().clone());
        state.draft.renamed(origin, to);
        state.log_renamed();
        // An upload that was begun meanwhile would be completed under the old name. What it alone had is an error, not lost in silence.
        let session = self.lose_upload(&mut state);
        drop(state);
        self.give_up(session);
    }

    /// True if there is an object of it, or one may be there: of a commit that is under way, or whose answer was not seen.
    #[must_use]
    pub fn may_be_stored(&self) -> bool {
        let state = self.lock();
        state.draft.origin().is_some() || state.unsure.is_some() || state.is_committing
    }

    /// It has no name any more: nothing of it is stored from now on, and nothing goes up. Whoever has it open reads and writes on, as far
    /// as staging has room.
    ///
    /// What only the upload had is lost; to lose nothing, call [`File::materialise`] before.
    pub fn unlinked(&self) {
        let mut state = self.lock();
        state.key = None;
        state.log_removed();
    }

    /// True if its parts go up behind the writer.
    pub(super) fn streams(&self, state: &State) -> bool {
        let Some(key) = &state.key else {
            return false;
        };
        let (_, name) = key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()));
        let is_short = state.draft.map().len() <= self.writer.temporary_bytes_max;
        let is_held_back = state.is_still() || (is_short && is_temporary(name));
        !is_held_back && state.blocked(Instant::now()).is_none()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.writer.forget(self.id);
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let mut state = self.lock();
        if !state.is_dirty() {
            // Of what is given up unstored, the log is left for whoever recovers it.
            state.log_removed();
        }
        let session = state.session.take();
        drop(state);
        let Some(session) = session else {
            return;
        };
        let writer = Arc::clone(&self.writer);
        self.writer.spawn_end(async move {
            // A part that is still on its way could survive the upload.
            tasks.shutdown().await;
            session.abort(&writer).await;
        });
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("File")
            .field("key", &state.key)
            .field("len", &state.draft.map().len())
            .field("is_dirty", &state.is_dirty())
            .field("sending", &state.sending)
            .finish_non_exhaustive()
    }
}
