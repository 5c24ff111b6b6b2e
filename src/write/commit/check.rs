//! Whether the name still stands for what the file was opened on, and what is said of it.

use std::sync::Arc;

use super::super::bases::{Base, Copying};
use super::super::conflict::{Conflict, OnConflict, conflict};
use super::super::error::Error;
use super::super::file::File;
use super::super::plan::Plan;
use super::Snapshot;
use crate::object::Version;
use crate::op::Op;
use crate::oss::{Description, Kind, Properties};

impl File {
    /// The properties that the object gets, if it may be replaced. Of a file that is not in the bucket, nothing is asked: what is
    /// at its name is replaced, unless that is forbidden by condition.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Lost`], and those of a HEAD.
    pub(super) async fn check(
        &self,
        op: &Op,
        shot: &Snapshot,
        plan: &Plan,
    ) -> Result<Properties, Error> {
        let Some(id) = shot.draft.origin() else {
            return Ok(shot.properties.clone().unwrap_or_default());
        };
        let found = self.describe(op, shot).await?;
        let opened = shot.draft.bases().get(id).version.etag();
        let etag = found.as_ref().map(|found| &found.meta.etag);
        let needs_old = plan.needs(id, shot.draft.map());
        let on_conflict = match self.lock().replaces {
            // What an earlier commit made was not what it had sent.
            true => OnConflict::Overwrite,
            false => self.writer.on_conflict,
        };
        match conflict(Some(opened), etag, on_conflict, needs_old) {
            Conflict::None => {}
            Conflict::Overwrite => {
                self.writer.metrics.write.conflicts.inc();
                tracing::warn!(key = %shot.key, "what somebody else has written since is overwritten");
            }
            Conflict::Refuse => {
                self.writer.metrics.write.conflicts.inc();
                return Err(Error::Conflict {
                    key: shot.key.clone(),
                    opened: Some(opened.clone()),
                    found: etag.cloned(),
                });
            }
            Conflict::Lost => {
                self.writer.metrics.write.conflicts.inc();
                return Err(Error::Lost(shot.key.clone()));
            }
        }
        Ok(match found {
            Some(found) => found.properties,
            None => shot.properties.clone().unwrap_or_default(),
        })
    }

    /// A commit whose answer nobody has seen: if what it was to make is there, it was ours.
    ///
    /// # Errors
    /// Those of a HEAD: then nobody knows.
    pub(super) async fn resolve(&self, op: &Op) -> Result<(), Error> {
        let Some(unsure) = self.lock().unsure.clone() else {
            return Ok(());
        };
        let found = self.describe(op, &unsure.shot).await?;
        let mut state = self.lock();
        (state.unsure, state.late) = (None, None);
        let shot = &unsure.shot;
        let etag = found.as_ref().map(|found| &found.meta.etag);
        if etag == shot.origin().map(|origin| origin.version.etag()) {
            // Nothing has come of it, but its request may be on its way to OSS all the same.
            state.late = Some(unsure);
            return Ok(());
        }
        let is_ours = |found: &Description| {
            found.meta.size == unsure.bytes && found.meta.crc64 == Some(unsure.crc64)
        };
        let Some(found) = found.filter(is_ours) else {
            let generation = state.generation;
            state.log_unsure(generation);
            return Ok(());
        };
        if state.key.as_ref() != Some(&shot.key) {
            return Ok(());
        }
        let base = Base {
            version: Version::new(shot.key.clone(), found.meta.etag.clone(), found.meta.size),
            copying: Copying::of(&found.meta),
        };
        state.draft.committed(shot.draft.map(), base);
        state.stored = Some(shot.generation);
        state.log_stored();
        state.numbers_spent = false;
        let session = state.session.take();
        drop(state);
        self.writer.metrics.write.commits.inc();
        self.give_up(session.map(|session| Arc::clone(&session)));
        Ok(())
    }

    async fn describe(&self, op: &Op, shot: &Snapshot) -> Result<Option<Description>, Error> {
        let bucket = &self.writer.bucket;
        match bucket.describe_with_tags(op, &shot.key).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if *error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
