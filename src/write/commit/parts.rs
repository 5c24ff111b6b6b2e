//! Files that are stored in parts: what is up is kept, the rest is sent or copied, several at once.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::super::bases::{BaseId, Copying};
use super::super::error::Error;
use super::super::file::File;
use super::super::plan::{Make, Plan, Step};
use super::super::upload::Session;
use super::{Made, Outcome, Snapshot};
use crate::object::{ObjectKey, ObjectType, Source};
use crate::op::Op;
use crate::oss::{self, Kind};

/// What came of the steps of a plan.
#[derive(Default)]
struct Progress {
    done: Vec<Step>,
    failed: Option<(Step, Error)>,
}

impl File {
    /// Sends and copies what is not up, waits for what is on its way, and completes the upload.
    pub(super) async fn send_parts(
        self: &Arc<Self>,
        op: &Op,
        shot: &Snapshot,
        steps: &[Step],
    ) -> Result<Outcome, Error> {
        let plan = Plan::Multipart(steps.to_vec());
        let properties = self.check(op, shot, &plan).await?;
        let class = properties.storage_class;
        let session = {
            let mut state = self.lock();
            let begin = || Arc::new(Session::new(shot.key.clone(), Some(properties)));
            Arc::clone(state.session.get_or_insert_with(begin))
        };
        let progress = self.run_steps(shot, &session, steps).await?;
        self.parts_arrived(|state| state.sending == 0).await;
        if let Some((step, error)) = progress.failed {
            return self.step_failed(shot, &session, &progress.done, &step, error);
        }
        let Some(mut parts) = session.parts(steps.iter().map(|step| step.number)) else {
            // One that was on its way has not arrived: it is sent by the next plan.
            self.lock()
                .draft
                .attempted(shot.draft.map(), &progress.done);
            return Ok(Outcome::Again);
        };
        if parts.iter().any(|part| part.crc64.is_none()) {
            match session.learn_checksums(&self.writer, op).await {
                Ok(()) => {
                    let told = session.parts(steps.iter().map(|step| step.number));
                    parts = told.unwrap_or(parts);
                }
                Err(error) => {
                    tracing::debug!(%error, "nothing is known of checksums of copied parts");
                }
            }
            let unknown = parts.iter().filter(|part| part.crc64.is_none()).count();
            self.writer
                .metrics
                .write
                .unverified_copies
                .inc_by(unknown as u64);
        }
        self.complete(op, shot, &session, &parts, &progress.done)
            .await
            .map(|stored| match stored {
                Some(stored) => Outcome::Stored(Made {
                    stored,
                    kind: ObjectType::Multipart,
                    class,
                }),
                None => Outcome::Again,
            })
    }

    /// `None`: somebody has aborted the upload, and all of it can be sent again.
    async fn complete(
        &self,
        op: &Op,
        shot: &Snapshot,
        session: &Arc<Session>,
        parts: &[oss::Part],
        done: &[Step],
    ) -> Result<Option<oss::Stored>, Error> {
        let bucket = &self.writer.bucket;
        let upload = session.begin(&self.writer, op).await?;
        self.unsure(shot, combined(parts));
        let complete = bucket.complete(op, upload, parts, shot.condition, None);
        let error = match complete.await {
            Ok(stored) => return Ok(Some(stored)),
            Err(error) => error,
        };
        if *error.kind() == Kind::Invalid {
            // A part of a commit that was given up may have arrived after the one that took its place.
            let wrong = session.forget_wrong(&self.writer, op, parts).await?;
            let is_right = |step: &&Step| !wrong.contains(&step.number);
            let done: Vec<Step> = done.iter().filter(is_right).cloned().collect();
            let mut state = self.lock();
            state.unsure = None;
            state.draft.attempted(shot.draft.map(), &done);
            if wrong.is_empty() {
                return Err(error.into());
            }
            return match wrong.iter().all(|number| state.draft.part_lost(*number)) {
                true => Ok(None),
                false => Err(Error::UploadGone(shot.key.clone())),
            };
        }
        self.lock().draft.attempted(shot.draft.map(), done);
        let is_gone = *error.kind() == Kind::NoSuchUpload;
        let error = self.refused(shot, error);
        if !is_gone {
            return Err(error);
        }
        match self.forget_gone(&mut self.lock(), session, &error) {
            true => Ok(None),
            false => Err(Error::UploadGone(shot.key.clone())),
        }
    }

    /// # Errors
    /// If bytes of a step cannot be named.
    async fn run_steps(
        &self,
        shot: &Snapshot,
        session: &Arc<Session>,
        steps: &[Step],
    ) -> Result<Progress, Error> {
        let mut progress = Progress::default();
        let mut left = steps.iter().filter(|step| step.make != Make::Keep);
        let mut running = JoinSet::new();
        loop {
            while running.len() < self.writer.sends_max
                && progress.failed.is_none()
                && let Some(step) = left.next()
            {
                self.begin_step(shot, session, step.clone(), &mut running)?;
            }
            match running.join_next().await {
                None => return Ok(progress),
                Some(Ok((step, Ok(())))) => progress.done.push(step),
                Some(Ok((step, Err(error)))) => {
                    progress.failed.get_or_insert((step, error));
                }
                // A panic, which the log has told; the step is not done, and the parts will be found incomplete.
                Some(Err(_)) => {}
            }
        }
    }

    fn begin_step(
        &self,
        shot: &Snapshot,
        session: &Arc<Session>,
        step: Step,
        running: &mut JoinSet<(Step, Result<(), Error>)>,
    ) -> Result<(), Error> {
        let (writer, session) = (Arc::clone(&self.writer), Arc::clone(session));
        let turn = session.turn(step.number);
        match step.make {
            Make::Keep => {}
            Make::Upload => {
                let fragments = shot.fragments(step.range.clone())?;
                running.spawn_on(
                    async move {
                        let op = Op::awaited("commit");
                        let sent = session.send_part(&writer, &op, turn, fragments).await;
                        (step, sent)
                    },
                    &self.writer.runtime,
                );
            }
            Make::Copy { base, offset } => {
                let source = Source {
                    version: Arc::clone(&shot.draft.bases().get(base).version),
                    range: offset..offset + (step.range.end - step.range.start),
                };
                running.spawn_on(
                    async move {
                        let op = Op::awaited("commit");
                        let copied = session.copy_part(&writer, &op, turn, &source).await;
                        (step, copied)
                    },
                    &self.writer.runtime,
                );
            }
        }
        Ok(())
    }

    /// A step could not be done: whether another plan helps.
    fn step_failed(
        &self,
        shot: &Snapshot,
        session: &Arc<Session>,
        done: &[Step],
        step: &Step,
        error: Error,
    ) -> Result<Outcome, Error> {
        let mut state = self.lock();
        state.draft.attempted(shot.draft.map(), done);
        let kind = match &error {
            Error::Oss(error) => error.kind().clone(),
            // What lies between two parts had one number, and more to be put together than memory can hold. Without those parts there are
            // numbers enough for smaller ones.
            Error::NoRoom { .. }
                if state.draft.map().totals().uploaded == 0 && !state.draft.parts().is_empty() =>
            {
                state.draft.upload_lost();
                let session = state.session.take();
                drop(state);
                self.give_up(session);
                return Ok(Outcome::Again);
            }
            Error::NoRoom { .. }
            | Error::TooLong(_)
            | Error::Conflict { .. }
            | Error::Lost(_)
            | Error::Exists(_)
            | Error::Taken(_)
            | Error::UploadGone(_)
            | Error::Unlinked
            | Error::Fetch(_)
            | Error::Staging(_) => return Err(error),
        };
        if kind == Kind::NoSuchUpload {
            return match self.forget_gone(&mut state, session, &error) {
                true => Ok(Outcome::Again),
                false => Err(Error::UploadGone(shot.key.clone())),
            };
        }
        let Make::Copy { base, .. } = step.make else {
            return Err(error);
        };
        let is_source_gone = matches!(kind, Kind::NotFound | Kind::Changed);
        let is_not_copied = matches!(kind, Kind::Unsupported | Kind::Invalid | Kind::Archived);
        if is_source_gone {
            return Err(Error::Lost(key_of(shot, base)));
        }
        if is_not_copied && state.draft.bases().get(base).copying != Copying::Nothing {
            state.draft.set_copying(base, Copying::Nothing);
            return Ok(Outcome::Again);
        }
        Err(error)
    }
}

fn key_of(shot: &Snapshot, base: BaseId) -> ObjectKey {
    shot.draft.bases().get(base).version.key().clone()
}

/// CRC-64/XZ of all parts together, if all are known.
fn combined(parts: &[oss::Part]) -> Option<u64> {
    use crc_fast::CrcAlgorithm::Crc64Xz;
    parts.iter().try_fold(0, |whole, part| {
        let part_crc = part.crc64?;
        Some(crc_fast::checksum_combine(
            Crc64Xz, whole, part_crc, part.size,
        ))
    })
}
