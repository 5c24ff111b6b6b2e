//! The job's side of the development server: which roles there are, and how the credentials of one of them reach a job.
//!
//! A job with a role gets the same set in two places, as PAI injects it: from a local HTTP service (`service`) and in a
//! file (`file`). The one truth is the job's current set; both only show it, and a rotation changes it. Faults are
//! requested at run time by [`Job::faults`]: a service that is down, stalls or lies, a file that is torn or missing.

mod config;
mod faults;
mod file;
mod job;
mod metadata;
mod service;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

pub use config::{
    BucketConfig, Config, ConfigError, ExpirationFormat, FileMode, JobConfig, KeyConfig, OldTokens,
    RoleConfig,
};
pub use faults::{FileFault, RoleFaults, ServiceFault};
pub use job::Job;

pub use super::auth::{Authority, TokenSet};

/// Why the roles could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration does not fit together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The credentials service got no port.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where it should have listened.
        address: std::net::SocketAddr,
        /// Why it could not.
        source: io::Error,
    },
    /// The injected file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Why it could not.
        source: io::Error,
    },
}

/// Roles, keys and the job of one server.
#[derive(Debug)]
pub struct Roles {
    /// Decides on every request.
    pub authority: Arc<Authority>,
    /// The job, if it has a role. Dropping it ends its service and its rotations.
    pub job: Option<Job>,
}

impl Roles {
    /// Sets up everything `config` names; starts the job's service and writes its file before it returns.
    ///
    /// # Errors
    /// [`StartError`] by what could not be had.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let policies = config.policies().map_err(ConfigError::Meaning)?;
        let authority = Authority::new(config.region.clone(), policies);
        let authority = Arc::new(authority.with_sessions(config.sessions()));
        let unknown = |role| ConfigError::Meaning(format!("there is no role '{role}'"));
        for key in config.keys.values() {
            authority
                .add_key(&key.id, &key.secret, key.role.as_deref())
                .map_err(unknown)?;
        }
        let job = match &config.job {
            Some(job) => Job::start(Arc::clone(&authority), job).await?,
            None => None,
        };
        Ok(Self { authority, job })
    }
}
