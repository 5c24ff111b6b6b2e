//! Where secrets come from, and how they stay alive: sources, the current set, refresh.
//!
//! A job has temporary credentials that somebody else renews: in a file that is rewritten, or at a service on the same
//! machine. [`Provider`] holds one immutable set at a time and hands it out as `Arc`, so a request never signs with the key
//! of one set and the token of another.
//!
//! # The life of a set
//! **Fresh**: handed out, nothing else happens. **Due**, min(20 min, a quarter of its life) before its expiration, where life
//! is what was left when it was adopted: handed out, while one background attempt seeks the next. **Dead**, at its expiration
//! and not before: callers are held up to [`Config::hold`] while attempts are made with growing, jittered pauses; then they
//! fail, and nothing is ever sent unsigned. **Refused** by the server before its end ([`Provider::replace`]): as dead for those
//! who were refused; others wait for the first attempt and then use it again, because a refusal can be the fault of
//! one request. Who comes after others were held in vain for the whole bound is held for about one attempt more.
//!
//! A set of which nobody says when it ends is due every five minutes, and lives on while its source has no other.
//!
//! A new set is adopted if it is complete, unexpired, different, and does not end before the current one (unless that
//! one was refused or is dead; or only one of the two says when it ends). A set that was refused once is not taken again while the current one lives.
//!
//! # The order of `auto`
//! 1. A permanent key in the environment (id and secret, no token) is used, and nothing else is looked at: someone put it there.
//! 2. What is injected: the file and the service (`ALIBABA_CLOUD_CREDENTIALS_URI`) are asked side by side, and the set
//!    that ends later is taken. Each stands in for the other when it fails, is torn, or gives only expired sets. A service
//!    that is slow is not waited for if the file has a set that will do.
//! 3. A temporary set in the environment, only if neither the file nor the variable of the service is there. Nobody knows
//!    when it ends and nobody can renew it; as soon as something is injected, that is used instead.
//! 4. What else the official chain knows, in its order, each only if nothing was there before: a role by a token of the
//!    cluster (OIDC), the profile of the command-line tool, the ini file, the role of the ECS instance. In a container of PAI
//!    the instance is not asked: its role is not the job's.
//!
//! The first place where something is decides, also if it cannot be used: to take another role instead would hide what is
//! wrong, and show another one's data. A profile of the command-line tool that is not there, has no key, or is of a mode that is not known
//! is nothing, unless the user has named it. ([`survey()`] tells what each place says.) With [`Config::assume`] the set that is
//! found takes a role, and the session of that role is the set.
//!
//! # Grants
//! A profile says how a set is got (`grant`): it stands there, a service or a command gives it, STS gives it for a token or for
//! another set. Nothing of it is kept between attempts: files, tokens and profiles are read anew for each.
//!
//! # Files
//! The file is read whole about once a second and compared by content: rename, rewriting in place and the swap of a symbolic
//! link all show. It is believed when two readings agree; torn, it changes nothing and is read again soon.
//!
//! # Secrets
//! [`Secret`] is redacted and wiped on drop, the buffers that documents are read into are wiped too, and no error or log line
//! quotes a document. What the HTTP library and serde keep for a moment is out of reach.

mod clock;
mod document;
mod environment;
mod error;
mod fetch;
mod files;
mod grant;
mod outlook;
mod policy;
mod process;
mod profile;
mod provider;
mod services;
mod set;
mod source;
mod state;
mod sts;
mod survey;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

pub use document::Document;
pub use environment::Environment;
pub use error::Error;
pub use outlook::Outlook;
pub use provider::Provider;
pub use set::{Credentials, Secret};
pub use source::{Source, SourceError};
pub use sts::{Assume, DURATION_MAX_SECONDS, DURATION_MIN_SECONDS};
pub use survey::{Finding, Survey, survey};

/// Where PAI DLC injects the file: JSON without `Code` (PAI documentation, "Configure a RAM role for a DLC job").
pub const INJECTED_FILE: &str = "/mnt/.alibabacloud/credentials";
/// How long requests are held while there are no credentials, unless told otherwise.
pub const HOLD: Duration = Duration::from_secs(120);
/// How long credentials that are not injected yet are waited for at start, unless told otherwise. A source that is being asked
/// at the end of it is waited for to its own limit: a service for 5 s, STS for 15 s, a command for 60 s.
pub const START_WAIT: Duration = Duration::from_secs(10);
/// How often the file is looked at. A read of a kilobyte; the server may refuse an old set the moment a new one is there.
pub const FILE_POLL: Duration = Duration::from_secs(1);

/// What a [`Provider`] is made with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where credentials come from.
    pub source: Source,
    /// The environment at start; empty values count as absent.
    pub environment: Environment,
    /// The file that [`Source::Auto`] looks at. Default [`INJECTED_FILE`].
    pub file: PathBuf,
    /// A role to take with the set that is found. Default: none.
    pub assume: Option<Assume>,
    /// How long a request is held while there are no credentials. Default [`HOLD`].
    pub hold: Duration,
    /// How long the first set is waited for. Default [`START_WAIT`].
    pub start_wait: Duration,
    /// How often the file is looked at by [`Provider::watch`]. Default [`FILE_POLL`].
    pub poll: Duration,
}

impl Config {
    /// The defaults for a source and an environment.
    #[must_use]
    pub fn new(source: Source, environment: Environment) -> Self {
        Self {
            source,
            environment,
            file: PathBuf::from(INJECTED_FILE),
            assume: None,
            hold: HOLD,
            start_wait: START_WAIT,
            poll: FILE_POLL,
        }
    }
}
