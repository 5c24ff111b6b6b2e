//! Room for staged bytes: what is done when there is none.
//!
//! In this order: staged bytes go of which OSS has a copy; what is on its way is waited for; runs of new bytes go up that are shorter than a
//! part would like to be; then what is shorter still, with what lies around it. Files of which most is staged go first. Files that
//! failed a moment ago are left alone.
//!
//! Where nothing can go up as a part, for all that is staged is many files that are shorter, the largest file is stored as it is, as by
//! an fsync. Only if that fails too, the writer that waits is told that there is no room, or why.

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

/// How long other files are stored in the place of those that cannot be.
const STORE_OTHERS_MAX: Duration = Duration::from_secs(5);

/// Less waste than this is not worth being copied together.
const WASTE_BYTES_MIN: u64 = 64 << 10;

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
        let space = writer.staging.space();
        if writer.make_room(wanted) {
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
            // A file that could not be stored is left alone for a while: the next attempt is another one's.
            let tried = Instant::now();
            while let Some(stored) = writer.store_largest(op).await {
                if stored.is_ok() {
                    return Ok(());
                }
                if tried.elapsed() > STORE_OTHERS_MAX {
                    break;
                }
            }
            if writer.frozen.load(Ordering::SeqCst) == 0 {
                return Err(writer.no_room(wanted, began));
            }
            // Files whose names are changing hold the room: they go up when that is done.
            tokio::select! {
                () = freed => {}
                () = op.cancelled() => return Err(writer.no_room(wanted, began)),
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            return Ok(());
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
        if state.key.is_none() || state.is_still() || state.blocked(Instant::now()).is_some() {
            return false;
        }
        match state.draft.pressed(pressure) {
            Sealing::Seal(seal) => {
                if self.send(&mut state, seal) {
                    return true;
                }
            }
            Sealing::NumbersSpent => state.numbers_spent = true,
            Sealing::Nothing => {}
        }
        if pressure == Pressure::Hard
            && let Some(seal) = state.draft.again()
        {
            return self.send(&mut state, seal);
        }
        false
    }

    /// Copies together what is named of chunks of which little is. Returns how many bytes of memory that has freed.
    fn compact(&self) -> u64 {
        let mut state = self.lock();
        let before = state.memory();
        let waste = before.saturating_sub(state.draft.map().totals().staged);
        if waste >= WASTE_BYTES_MIN && !state.is_committing {
            state.compact(&self.writer.staging);
        }
        before.saturating_sub(state.memory())
    }

    /// Lets staged bytes go that are up, about as many as are wanted. Returns how many.
    pub(super) fn let_go(&self, state: &mut State, wanted: u64) -> u64 {
        // After a commit whose answer was not seen, what is up may be found to be older than what the commit has made.
        let is_unsure = state.unsure.is_some() || state.late.is_some();
        if state.is_still() || state.key.is_none() || is_unsure {
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
        for file in &files {
            if freed >= wanted {
                break;
            }
            freed += file.compact();
        }
        if freed >= wanted || self.draining.load(Ordering::SeqCst) > 0 {
            return true;
        }
        [Pressure::Some, Pressure::Hard]
            .iter()
            .any(|pressure| files.iter().any(|file| file.press(*pressure)))
    }

    /// Stores the file of which most is staged. `None` if there is none that can be.
    async fn store_largest(&self, op: &Op) -> Option<Result<(), Error>> {
        let can = |file: &Arc<File>| {
            let state = file.lock();
            let is_free = state.key.is_some() && !state.is_frozen;
            let can = is_free && state.blocked(Instant::now()).is_none();
            (can && state.is_dirty()).then(|| state.memory())
        };
        let files = self.files();
        let sizes = files.iter().filter_map(|file| Some((can(file)?, file)));
        let Some((1.., largest)) = sizes.max_by_key(|(memory, _)| *memory) else {
            return None;
        };
        tracing::debug!(file = ?largest, "memory is full of short files: one is stored before it is closed");
        let Ok(_turn) = largest.turn.try_lock() else {
            // Somebody has begun to store it, or to rename it: that is to be waited for.
            return Some(Ok(()));
        };
        self.metrics.write.early_commits.inc();
        Some(largest.commit_in_turn(op).await.map(|_| ()))
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
