//! What can be wrong with a job's credentials, on request.

use std::io;

use super::job::Shared;

/// What is wrong with the credentials service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ServiceFault {
    /// Nothing.
    #[default]
    None,
    /// Nobody listens: connections are refused.
    Refuse,
    /// Connections are accepted and requests read, but there is no answer as long as the fault lasts.
    Stall,
    /// Answers come this much later.
    Delay(std::time::Duration),
    /// Every answer has this HTTP status, and a body without credentials.
    Status(u16),
    /// Status 200, but `Code` is not `Success` and the body has no credentials.
    NotSuccess,
    /// This member of the JSON object is missing.
    Without(&'static str),
    /// Status 200 and text that is not JSON.
    NotJson,
    /// The set is right, but its `Expiration` is a minute ago.
    Expired,
    /// The secret belongs to another key.
    WrongSecret,
}

/// What is wrong with the injected file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FileFault {
    /// Nothing.
    #[default]
    None,
    /// The second half is not written.
    Torn,
    /// There is no file.
    Missing,
    /// Rotations do not reach the file.
    Stale,
    /// The key of the current set with the token of the one before.
    Mixed,
}

/// Switches the faults of one job; what is set lasts until it is set otherwise.
#[derive(Debug, Clone, Copy)]
pub struct RoleFaults<'a>(pub(super) &'a Shared);

impl RoleFaults<'_> {
    /// Sets the fault of the service and waits until it is in force.
    pub async fn service(&self, fault: ServiceFault) {
        self.0.set_service_fault(fault).await;
    }

    /// Sets the fault of the file and writes the file anew accordingly.
    ///
    /// # Errors
    /// Those of the file system; a job without a file has none.
    pub fn file(&self, fault: FileFault) -> io::Result<()> {
        self.0.set_file_fault(fault)
    }

    /// Stops the scheduled rotations, so that the current set can run out; [`super::Job::rotate_now`] still works.
    pub fn pause_rotation(&self) {
        self.0.set_paused(true);
    }

    /// Lets the scheduled rotations go on.
    pub fn resume_rotation(&self) {
        self.0.set_paused(false);
    }
}
