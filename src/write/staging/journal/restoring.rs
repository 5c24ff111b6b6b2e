//! The head of a crashed mount's log, by the process that stores its file anew: it says what is about to be made, so that a recovery which dies
//! as well is not taken for somebody else's change.

use std::path::PathBuf;

use super::head::{Head, Unsure};

/// The head, and when it is told.
#[derive(Debug, Clone)]
pub(in crate::write) struct Restoring {
    pub(super) head: Head,
    pub(super) head_path: PathBuf,
    /// The last change of the log that was replayed.
    pub(super) last: u64,
    /// The generation of the new file that is all of it: an earlier one may be stored to make room, and says nothing.
    pub(super) whole: u64,
}

impl Restoring {
    /// The change `whole` of the new file is the last one.
    pub(in crate::write) fn of(self, whole: u64) -> Self {
        Self { whole, ..self }
    }

    /// A commit of the new file is about to make `made`, or surely has not.
    pub(in crate::write) fn unsure(&mut self, made: Option<&Unsure>) {
        let unsure = match made {
            Some(made) if made.generation != self.whole => return,
            made => made.map(|made| Unsure {
                generation: self.last,
                ..made.clone()
            }),
        };
        if self.head.unsure == unsure {
            return;
        }
        self.head.unsure = unsure;
        if let Err(error) = self.head.store(&self.head_path) {
            tracing::debug!(%error, "what a recovery is about to make cannot be noted");
        }
    }
}
