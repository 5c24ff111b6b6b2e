//! Room for staged bytes: what is done when there is none.
//!
//! In this order: staged bytes go of which OSS has a copy; what is on its way is waited for; runs of new bytes go up that are shorter than a
//! part would like to be; then what is shorter still, with what lies around it. Files of which most is staged go first. Files that
//! failed a moment ago are left alone: if nothing else is on its way, the writer that waits is told why.

use std::cmp::Reverse;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::futures::Notified;

use super::super::error::Error;
use super::super::parts::{Pressure, Sealing};
use super::super::writer::Writer;
use super::{File, State};
use crate::buffer::{BLOCK_BYTES, Class, capacity_for};
use crate::op::Op;

/// How often a writer that waits looks again though nobody woke it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The most files that a line of the log names.
const NAMED_MAX: usize = 8;

impl File {
    /// Waits until something was freed.
    ///
    /// # Errors
    /// If nothing is on its way that would: what has kept it from being sent since `began`, else [`Error::NoRoom`].
    pub(super) async fn wait_for_room(
        &self,
        op: &Op,
        wanted: u64,
        began: Instant,
        freed: Pin<&mut Notified<'_>>,
    ) -> Result<(), Error> {
        let writer = &self.writer;
        let is_draining = writer.make_room(wanted);
        let space = writer.staging.space();
        if is_draining {
            tokio::select! {
                () = freed => {}
                () = op.cancelled() => return Err(writer.no_room(wanted, began)),
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            return Ok(());
        }
        let capacity = capacity_for(
            usize::try_from(wanted)
                .unwrap_or(BLOCK_BYTES)
                .min(BLOCK_BYTES),
        );
        if space.memory() + capacity > space.memory_max() {
            return Err(writer.no_room(wanted, began));
        }
        // Readers have the memory: it comes back when they are served. This holds nothing while it waits.
        tokio::select! {
            lease = writer.budget.lease(Class::Write, capacity) => drop(lease),
            () = freed => {}
            () = op.cancelled() => return Err(writer.no_room(wanted, began)),
        }
        Ok(())
    }

    /// Sends what can be sent when memory is short. True if something is on its way now.
    fn press(self: &Arc<Self>, pressure: Pressure) -> bool {
        let mut state = self.lock();
        if state.key.is_none() || state.is_committing || state.blocked(Instant::now()).is_some() {
            return false;
        }
        match state.draft.pressed(pressure) {
            Sealing::Seal(seal) => {
                self.send(&mut state, seal);
                return true;
            }
            Sealing::NumbersSpent => state.numbers_spent = true,
            Sealing::Nothing => {}
        }
        if pressure == Pressure::Hard
            && let Some(seal) = state.draft.again()
        {
            self.send(&mut state, seal);
            return true;
        }
        false
    }

    /// Lets staged bytes go that are up, about as many as are wanted. Returns how many.
    pub(super) fn let_go(&self, state: &mut State, wanted: u64) -> u64 {
        if state.is_committing || state.key.is_none() {
            return 0;
        }
        let before = state.memory();
        let staged = state.draft.map().totals().staged;
        while before - state.memory() < wanted && state.draft.let_go().is_some() {
            state.release();
        }
        let gone = staged - state.draft.map().totals().staged;
        self.writer.metrics.write.let_go_bytes.inc_by(gone);
        before - state.memory()
    }
}

impl Writer {
    /// Makes room, or sees to it that some will be. False if nothing is on its way up.
    fn make_room(&self, wanted: u64) -> bool {
        let mut files = self.files();
        files.sort_by_cached_key(|file| Reverse(file.lock().memory()));
        let mut freed = 0;
        for file in &files {
            if freed >= wanted {
                break;
            }
            freed += file.let_go(&mut file.lock(), wanted - freed);
        }
        if freed >= wanted || self.draining.load(Ordering::SeqCst) > 0 {
            return true;
        }
        [Pressure::Some, Pressure::Hard]
            .iter()
            .any(|pressure| files.iter().any(|file| file.press(*pressure)))
    }

    /// What a writer is told that cannot go on. The log names the files that hold the room.
    fn no_room(&self, wanted: u64, began: Instant) -> Error {
        self.metrics.write.refusals.inc();
        let mut stuck = Vec::new();
        let mut cause = None;
        for file in self.files() {
            let state = file.lock();
            if state.memory() == 0 {
                continue;
            }
            if let Some((at, error)) = &state.blocked
                && *at >= began
            {
                cause = Some(error.clone());
            }
            if let Some(key) = &state.key {
                stuck.push((Reverse(state.memory()), key.clone()));
            }
        }
        stuck.sort();
        let named = stuck.iter().take(NAMED_MAX);
        let named: Vec<String> = named.map(|(_, key)| key.to_string()).collect();
        tracing::warn!(
            files = stuck.len(),
            named = named.join(", "),
            "there is no room for written bytes: these files hold it and cannot be sent"
        );
        let space = self.staging.space();
        cause.unwrap_or(Error::NoRoom {
            wanted,
            staged: space.memory(),
            limit: space.memory_max(),
            on_disk: space.disk(),
        })
    }
}
