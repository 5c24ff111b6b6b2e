//! Parts that go up behind the writer.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::super::error::Error;
use super::super::parts::{Seal, Sealing};
use super::super::upload::Session;
use super::super::writer::Writer;
use super::{File, State};
use crate::op::Op;
use crate::oss::Kind;

/// One more thing is on its way that lets go of memory one day.
#[derive(Debug)]
pub(in crate::write) struct Draining(Arc<Writer>);

impl Draining {
    pub(in crate::write) fn new(writer: &Arc<Writer>) -> Self {
        writer.draining.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(writer))
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        self.0.draining.fetch_sub(1, Ordering::SeqCst);
        // Who waits for room has to look whether anything is left that makes some.
        self.0.staging.space().freed().notify_waiters();
    }
}

/// A part that is being sent: it counts until this is dropped, also by a panic, in which case it is as if it could not be sent.
#[derive(Debug)]
struct Underway {
    file: Weak<File>,
    seal: Seal,
    is_over: bool,
}

impl Drop for Underway {
    fn drop(&mut self) {
        let Some(file) = self.file.upgrade() else {
            return;
        };
        let mut state = file.lock();
        state.sending -= 1;
        if !self.is_over {
            state.draft.failed(&self.seal);
        }
        drop(state);
        file.arrived.notify_waiters();
    }
}

impl File {
    /// Sends the parts that are ripe after a write at `near`.
    pub(super) fn seal_full(self: &Arc<Self>, state: &mut State, near: u64) {
        if !self.streams(state) {
            return;
        }
        loop {
            match state.draft.full(near) {
                Sealing::Seal(seal) => {
                    if !self.send(state, seal) {
                        return;
                    }
                }
                Sealing::Nothing => return,
                Sealing::NumbersSpent => {
                    state.numbers_spent = true;
                    return;
                }
            }
        }
    }

    /// Sends a part. False if it cannot be: the file has no name, or bytes in its range were only in an upload that is gone.
    pub(super) fn send(self: &Arc<Self>, state: &mut State, seal: Seal) -> bool {
        let fragments = state.fragments(state.draft.map(), seal.range.clone());
        let (Some(key), Ok(fragments)) = (state.key.clone(), fragments) else {
            state.draft.failed(&seal);
            return false;
        };
        let session = state
            .session
            .get_or_insert_with(|| Arc::new(Session::new(key, state.properties.clone())));
        let session = Arc::clone(session);
        let turn = session.turn(seal.number);
        state.sending += 1;
        let writer = Arc::clone(&self.writer);
        let mut underway = Underway {
            file: Arc::downgrade(self),
            seal,
            is_over: false,
        };
        let draining = Draining::new(&writer);
        let send = async move {
            let op = Op::background("upload");
            let sent = session.send_part(&writer, &op, turn, fragments).await;
            if let Some(file) = underway.file.upgrade() {
                file.sent(&session, &underway.seal, sent);
            }
            underway.is_over = true;
            drop(underway);
            drop(draining);
        };
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(send, &self.writer.runtime);
        true
    }

    fn sent(&self, session: &Arc<Session>, seal: &Seal, sent: Result<(), Error>) {
        let mut state = self.lock();
        match sent {
            Ok(()) => {
                state.draft.arrived(seal);
                let space = self.writer.staging.space();
                // What is up is kept for readers and for headers that are written again, while there is room for more than that.
                let above = space.memory().saturating_sub(space.memory_max() / 2);
                if above > 0 {
                    self.let_go(&mut state, above);
                }
            }
            Err(error) => {
                state.draft.failed(seal);
                tracing::debug!(%error, "a part could not be sent");
                // That of an upload which is over says nothing of the one that runs.
                if state.is_session(session) {
                    self.forget_gone(&mut state, session, &error);
                    state.blocked = Some((Instant::now(), error));
                }
            }
        }
    }

    /// Somebody has aborted the upload, if that is the error: what it had is sent again, if it is still there.
    ///
    /// False if bytes of the file are lost with it.
    pub(in crate::write) fn forget_gone(
        &self,
        state: &mut State,
        session: &Arc<Session>,
        error: &Error,
    ) -> bool {
        let is_gone = matches!(error, Error::Oss(error) if *error.kind() == Kind::NoSuchUpload);
        if is_gone && state.is_session(session) {
            self.lose_upload(state);
        }
        state.draft.map().totals().uploaded == 0
    }

    /// The upload becomes nothing any more. What only it had is lost: who reads or stores that is told, and the log says so once.
    pub(super) fn lose_upload(&self, state: &mut State) -> Option<Arc<Session>> {
        let session = state.session.take()?;
        state.numbers_spent = false;
        if !state.draft.upload_lost() {
            tracing::error!(
                key = ?state.key,
                bytes = state.draft.map().totals().uploaded,
                "an upload is gone, and with it bytes of a file that memory had let go: they read as errors, and the file cannot be stored until they are written again"
            );
        }
        Some(session)
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, tokio::task::JoinSet<()>> {
        self.tasks
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
