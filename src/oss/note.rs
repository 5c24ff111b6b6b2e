//! What was slow goes into the journal of the mount.

use std::time::{Instant, SystemTime};

use super::send::Exchange;
use crate::metrics::{Asker, Record, WORTH_NOTING};
use crate::object::ObjectKey;

impl Exchange<'_> {
    /// Takes note of an attempt that took long up to the head of its answer, its own body included.
    pub(super) fn note(&self, started: Instant, request_id: Option<String>, error: Option<&str>) {
        let took = started.elapsed();
        if took < WORTH_NOTING {
            return;
        }
        let key = self.key.as_ref().map_or("", ObjectKey::as_str);
        self.bucket.metrics.journal.ended(Record {
            ended: SystemTime::now(),
            asker: Asker::Mount,
            op: self.operation.words(),
            subject: key.to_owned(),
            took,
            request_id,
            error: error.map(str::to_owned),
        });
    }
}
