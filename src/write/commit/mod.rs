//! How a file is stored: its plan is carried out.
//!
//! A commit reads the file as it is at its beginning; what is written meanwhile stays dirty. Nothing changes in the file before the object
//! is there, so whatever fails, and whenever the caller gives up, all that is staged is still staged; parts that have gone up are kept for
//! the next attempt.
//!
//! **A commit whose answer nobody has seen** may have had its effect. So what it was to make is remembered, and the next attempt looks first:
//! if that is what is there, it was ours.

mod check;
mod parts;
mod whole;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::bases::{Base, Copying};
use super::conflict::OnConflict;
use super::draft::Draft;
use super::error::Error;
use super::extents::ChunkId;
use super::file::{Draining, File, Fragment, State, Unsure, fragments};
use super::plan::Plan;
use super::staging::Chunk;
use super::writer::Exclusive;
use crate::object::{ObjectKey, ObjectMeta, ObjectType, StorageClass, UnixTime, Version};
use crate::op::Op;
use crate::oss::{self, Condition, Kind, Properties, Stored};

/// Plans that one commit makes at most: each further one because OSS has refused to copy, or has lost the upload, or a part that
/// was on its way has not arrived.
const PLANS_MAX: usize = 6;

/// A file that is stored as it was when the commit began.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The version that is there now.
    pub version: Arc<Version>,
    /// The object as it was made by this commit; its time is that of our clock. `None`: there was nothing to do.
    pub made: Option<ObjectMeta>,
    /// True if the file has been changed since the commit began.
    pub is_dirty: bool,
}

/// A file at the moment of its commit.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    key: ObjectKey,
    draft: Draft,
    chunks: HashMap<ChunkId, Arc<Chunk>>,
    generation: u64,
    properties: Option<Properties>,
    condition: Condition,
    exclusive: Exclusive,
}

/// What came of carrying out a plan.
enum Outcome {
    Stored(Made),
    /// Nothing is lost; the next plan will be another one.
    Again,
}

/// An object that was made.
struct Made {
    stored: Stored,
    kind: ObjectType,
    class: Option<StorageClass>,
}

/// While it lives, a commit runs.
struct Running {
    file: Arc<File>,
    _draining: Draining,
}

impl Running {
    fn begin(file: &Arc<File>) -> Self {
        file.lock().is_committing = true;
        Self {
            file: Arc::clone(file),
            _draining: Draining::new(&file.writer),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.file.lock();
        state.is_committing = false;
        state.release();
    }
}

impl Snapshot {
    fn len(&self) -> u64 {
        self.draft.map().len()
    }

    /// What the name stands for, as far as this mount knows.
    fn origin(&self) -> Option<&Base> {
        self.draft.origin().map(|id| self.draft.bases().get(id))
    }

    fn fragments(&self, range: std::ops::Range<u64>) -> Result<Vec<Fragment>, Error> {
        fragments(self.draft.map(), &self.chunks, &self.draft, range)
            .map_err(|_| Error::UploadGone(self.key.clone()))
    }
}

impl File {
    /// Stores the file as it is now, and returns when the object is there and visible. One at a time: a second caller waits for the first,
    /// and has nothing to do if nothing was written since.
    ///
    /// Writing may go on meanwhile; what is written stays dirty. If the future is dropped, the commit may or may not have had its effect, and the next
    /// one finds out.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Lost`], [`Error::Exists`], [`Error::Taken`], [`Error::TooLong`], [`Error::UploadGone`], [`Error::Unlinked`], [`Error::NoRoom`] if a
    /// part takes more memory than one lease may have, and what requests can fail with. Nothing staged is lost; the file can be read, written, and
    /// committed again.
    pub async fn commit(self: &Arc<Self>, op: &Op) -> Result<Committed, Error> {
        let _turn = self.turn.lock().await;
        self.commit_in_turn(op).await
    }

    /// The same, by who has the turn.
    pub(super) async fn commit_in_turn(self: &Arc<Self>, op: &Op) -> Result<Committed, Error> {
        if let Some(done) = self.nothing_to_do() {
            return Ok(done);
        }
        let running = Running::begin(self);
        let stored = self.store(op).await;
        drop(running);
        match stored {
            Ok(made) => Ok(self.committed(made)),
            Err(error) => {
                self.writer.metrics.write.commit_failures.inc();
                self.lock().blocked = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn nothing_to_do(&self) -> Option<Committed> {
        let state = self.lock();
        let origin = state.draft.origin()?;
        (!state.is_dirty()).then(|| Committed {
            version: Arc::clone(&state.draft.bases().get(origin).version),
            made: None,
            is_dirty: false,
        })
    }

    fn committed(&self, made: Option<ObjectMeta>) -> Committed {
        let state = self.lock();
        let origin = state.draft.origin().expect("what was stored has an object");
        Committed {
            version: Arc::clone(&state.draft.bases().get(origin).version),
            made,
            is_dirty: state.is_dirty(),
        }
    }

    async fn store(self: &Arc<Self>, op: &Op) -> Result<Option<ObjectMeta>, Error> {
        let mut limits = self.writer.limits;
        for _ in 0..PLANS_MAX {
            self.resolve(op).await?;
            self.outrun_parts_arrived().await;
            let shot = self.snapshot()?;
            if self.lock().stored == Some(shot.generation) {
                return Ok(None);
            }
            let plan = shot.draft.plan(&limits);
            if !matches!(plan, Plan::Multipart(_)) {
                // A part that is on its way could survive the upload, which is given up.
                self.parts_arrived(|state| state.sending == 0).await;
            }
            let outcome = match plan {
                Plan::Nothing => {
                    self.is_stored(&shot);
                    return Ok(None);
                }
                Plan::TooLong => return Err(Error::TooLong(Some(shot.key))),
                Plan::Materialise(_) => return Err(Error::UploadGone(shot.key)),
                Plan::Put => self.put(op, &shot).await,
                Plan::Copy(base) => self.copy_whole(op, &shot, base, &mut limits).await,
                Plan::Multipart(steps) => self.send_parts(op, &shot, &steps).await,
            };
            match outcome {
                Ok(Outcome::Stored(made)) => return Ok(Some(self.made(&shot, made))),
                Ok(Outcome::Again) => {}
                Err(
                    Error::Taken(_) | Error::Exists(_) | Error::Conflict { .. } | Error::Lost(_),
                ) if self.may_be_late() => {}
                Err(error) => return Err(error),
            }
        }
        let blocked = self.lock().blocked.clone();
        match blocked {
            Some((_, error)) => Err(error),
            None => Err(Error::UploadGone(
                self.lock().key.clone().ok_or(Error::Unlinked)?,
            )),
        }
    }

    fn snapshot(&self) -> Result<Snapshot, Error> {
        let mut state = self.lock();
        let key = state.key.clone().ok_or(Error::Unlinked)?;
        state.log_sealed();
        Ok(Snapshot {
            key,
            draft: state.draft.clone(),
            chunks: state.chunks.clone(),
            generation: state.generation,
            properties: state.properties.clone(),
            condition: self.condition(&state),
            exclusive: state.exclusive,
        })
    }

    /// What was made here under a name that had nothing replaces nothing, unless a rename, or the user, wants it to.
    fn condition(&self, state: &State) -> Condition {
        let must_be_new = match (self.writer.on_conflict, state.exclusive) {
            (OnConflict::Fail, _) | (OnConflict::Overwrite, Exclusive::Remote) => true,
            (OnConflict::Overwrite, Exclusive::Local) => false,
        };
        match must_be_new && state.stored.is_none() && !state.replaces {
            true => Condition::ForbidOverwrite,
            false => Condition::None,
        }
    }

    /// True if what has the name may be what an earlier commit of this file has sent, which was not there yet when it was looked for: it is to be looked
    /// for again.
    fn may_be_late(&self) -> bool {
        let mut state = self.lock();
        state.unsure = state.late.take();
        state.unsure.is_some()
    }

    /// The file is what it is stored as already.
    fn is_stored(&self, shot: &Snapshot) {
        let session = {
            let mut state = self.lock();
            state.stored = Some(shot.generation);
            state.log_stored();
            state.draft.upload_lost();
            state.session.take()
        };
        self.give_up(session);
    }

    /// The object is there.
    fn made(&self, shot: &Snapshot, made: Made) -> ObjectMeta {
        let Made {
            stored,
            kind,
            class,
        } = made;
        let version = Version::new(shot.key.clone(), stored.etag.clone(), shot.len());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        let meta = ObjectMeta {
            size: shot.len(),
            etag: stored.etag,
            modified: UnixTime(i64::try_from(now).unwrap_or(i64::MAX)),
            kind,
            storage_class: class.unwrap_or(StorageClass::Standard),
            crc64: stored.crc64,
        };
        let copying = Copying::of(&meta);
        let session = {
            let mut state = self.lock();
            state
                .draft
                .committed(shot.draft.map(), Base { version, copying });
            state.stored = Some(shot.generation);
            state.replaces = false;
            state.log_stored();
            (state.unsure, state.late, state.blocked) = (None, None, None);
            state.numbers_spent = false;
            state.session.take()
        };
        if kind != ObjectType::Multipart {
            self.give_up(session);
        }
        self.writer.metrics.write.commits.inc();
        meta
    }

    /// Nothing needs the upload any more.
    pub(in crate::write) fn give_up(&self, session: Option<Arc<super::upload::Session>>) {
        if let Some(session) = session {
            let writer = Arc::clone(&self.writer);
            self.writer
                .spawn_end(async move { session.abort(&writer).await });
        }
    }

    /// Waits until no part is on its way that the file has outrun: the plan may use its number again.
    async fn outrun_parts_arrived(&self) {
        self.parts_arrived(|state| !state.draft.parts().is_dirty_on_its_way())
            .await;
    }

    /// Waits for what parts on their way make true.
    async fn parts_arrived(&self, is_true: impl Fn(&State) -> bool) {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if is_true(&self.lock()) {
                return;
            }
            arrived.await;
        }
    }

    /// What is to be made from now on may be there though nobody has seen an answer.
    fn unsure(&self, shot: &Snapshot, crc64: Option<u64>) {
        let mut state = self.lock();
        state.unsure = crc64.map(|crc64| {
            Box::new(Unsure {
                bytes: shot.len(),
                crc64,
                // What was staged then need not be held for it.
                shot: Snapshot {
                    chunks: HashMap::new(),
                    ..shot.clone()
                },
            })
        });
        state.log_unsure(shot.generation);
    }

    /// The last request of a commit has failed: whether it may have had its effect all the same.
    fn sure(&self, error: &oss::Error) {
        let is_sure = match error.kind() {
            // Where an attempt before may have had its effect, the bucket was looked at before this was told.
            Kind::NotFound | Kind::Changed | Kind::AlreadyExists | Kind::NoSuchUpload => true,
            // Refused; but not what was sent before, if anything was.
            Kind::Immutable
            | Kind::TooLarge
            | Kind::Denied { .. }
            | Kind::NoSuchBucket
            | Kind::Archived
            | Kind::Suspended
            | Kind::CredentialsGone
            | Kind::CredentialsRefused
            | Kind::ClockSkewed
            | Kind::WrongEndpoint { .. }
            | Kind::PublicEndpointForbidden
            | Kind::Unsupported
            | Kind::Invalid => error.attempts() <= 1,
            Kind::Corrupt => {
                // What is there is ours, and wrong.
                self.lock().replaces = true;
                false
            }
            Kind::Throttled | Kind::Unavailable | Kind::Lied | Kind::Cancelled => false,
        };
        if is_sure {
            let mut state = self.lock();
            state.unsure = None;
            let generation = state.generation;
            state.log_unsure(generation);
        }
    }
}
