//! Parts that go up behind the writer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
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

impl File {
    /// Sends the parts that are ripe after a write at `near`.
    pub(super) fn seal_full(self: &Arc<Self>, state: &mut State, near: u64) {
        if !self.streams(state) {
            return;
        }
        loop {
            match state.draft.full(near) {
                Sealing::Seal(seal) => self.send(state, seal),
                Sealing::Nothing => return,
                Sealing::NumbersSpent => {
                    state.numbers_spent = true;
                    return;
                }
            }
        }
    }

    /// Sends a part.
    pub(super) fn send(self: &Arc<Self>, state: &mut State, seal: Seal) {
        let Some(key) = state.key.clone() else {
            return;
        };
        let session = state
            .session
            .get_or_insert_with(|| Arc::new(Session::new(key, state.properties.clone())));
        let session = Arc::clone(session);
        let fragments = state.fragments(state.draft.map(), seal.range.clone());
        let fragments = fragments.expect("what was let go is in a part, and is not sealed again");
        let turn = session.turn(seal.number);
        state.sending += 1;
        let (writer, file) = (Arc::clone(&self.writer), Arc::downgrade(self));
        let draining = Draining::new(&writer);
        let send = async move {
            let op = Op::background("upload");
            let sent = session.send_part(&writer, &op, turn, fragments).await;
            if let Some(file) = file.upgrade() {
                file.sent(&seal, sent);
            }
            drop(draining);
        };
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(send, &self.writer.runtime);
    }

    fn sent(&self, seal: &Seal, sent: Result<(), Error>) {
        let mut state = self.lock();
        state.sending -= 1;
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
                self.forget_gone(&mut state, &error);
                state.blocked = Some((Instant::now(), error));
            }
        }
        drop(state);
        self.arrived.notify_waiters();
    }

    /// Somebody has aborted the upload: what it had is sent again, if it is still there.
    ///
    /// False if bytes of the file are lost with it.
    pub(in crate::write) fn forget_gone(&self, state: &mut State, error: &Error) -> bool {
        let is_gone = matches!(error, Error::Oss(error) if *error.kind() == Kind::NoSuchUpload);
        if !is_gone {
            return true;
        }
        state.session = None;
        state.numbers_spent = false;
        state.draft.upload_lost()
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, tokio::task::JoinSet<()>> {
        self.tasks
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
