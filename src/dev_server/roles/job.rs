//! One job with a role: the current set, its rotation, and the tasks that show it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::config::{ConfigError, JobConfig, OldTokens};
use super::faults::{FileFault, RoleFaults, ServiceFault};
use super::file::InjectedFile;
use super::{StartError, service};
use crate::dev_server::auth::{Authority, TokenSet};

/// The current set and the one before it.
#[derive(Debug, Clone)]
pub(super) struct Sets {
    pub(super) current: TokenSet,
    pub(super) previous: Option<TokenSet>,
}

/// What the job, its service and its schedule have in common.
#[derive(Debug)]
pub(super) struct Shared {
    authority: Arc<Authority>,
    pub(super) role: String,
    pub(super) config: JobConfig,
    /// Locked for a whole rotation, and before `sets`.
    file: Mutex<Option<InjectedFile>>,
    /// Locked for a glance.
    sets: Mutex<Sets>,
    /// The wanted fault and its number.
    wanted: watch::Sender<(u64, ServiceFault)>,
    /// The number of the fault that the service has in force.
    pub(super) in_force: watch::Sender<u64>,
    paused: AtomicBool,
    rotations: AtomicU64,
    pub(super) fetches: AtomicU64,
}

impl Shared {
    pub(super) fn sets(&self) -> Sets {
        lock(&self.sets).clone()
    }

    pub(super) fn now(&self) -> jiff::Timestamp {
        self.authority.now()
    }

    pub(super) fn wanted(&self) -> watch::Receiver<(u64, ServiceFault)> {
        self.wanted.subscribe()
    }

    pub(super) async fn set_service_fault(&self, fault: ServiceFault) {
        let mut number = 0;
        self.wanted.send_modify(|wanted| {
            *wanted = (wanted.0 + 1, fault);
            number = wanted.0;
        });
        // The receiver cannot outlive its sender, which is in `self`.
        let mut in_force = self.in_force.subscribe();
        let _ = in_force.wait_for(|have| *have >= number).await;
    }

    pub(super) fn set_file_fault(&self, fault: FileFault) -> io::Result<()> {
        let mut file = lock(&self.file);
        match file.as_mut() {
            Some(file) => {
                file.fault = fault;
                file.write(&self.sets())
            }
            None => Ok(()),
        }
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Issues the next set. The old one is refused, if it is to be, only once both places show the new one.
    fn rotate(&self) -> io::Result<()> {
        let mut file = lock(&self.file);
        let Some(next) = self.authority.issue(&self.role, self.config.token_life) else {
            return Err(io::Error::other("the role of the job is gone"));
        };
        let sets = {
            let mut sets = lock(&self.sets);
            let old = std::mem::replace(&mut sets.current, next);
            sets.previous = Some(old);
            sets.clone()
        };
        let written = file.as_mut().map_or(Ok(()), |file| file.write(&sets));
        if self.config.old_tokens == OldTokens::RefusedAtOnce
            && let Some(old) = &sets.previous
        {
            self.authority.revoke(&old.access_key_id);
        }
        self.rotations.fetch_add(1, Ordering::Relaxed);
        written
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A job that credentials are injected into, for as long as this value lives.
#[derive(Debug)]
pub struct Job {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// The service and the schedule; aborted on drop.
    _tasks: JoinSet<()>,
}

impl Job {
    /// Starts the job; `None` if it has no role.
    pub(super) async fn start(
        authority: Arc<Authority>,
        config: &JobConfig,
    ) -> Result<Option<Self>, StartError> {
        let Some(role) = &config.role else {
            return Ok(None);
        };
        let current = authority
            .issue(role, config.token_life)
            .ok_or_else(|| ConfigError::Meaning(format!("job: there is no role '{role}'")))?;
        let sets = Sets {
            current,
            previous: None,
        };
        let mut file = InjectedFile::new(config);
        if let Some(file) = &mut file {
            file.write(&sets).map_err(|source| StartError::File {
                path: file.path().to_owned(),
                source,
            })?;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, config.port));
        let listener = service::listen(address)
            .await
            .map_err(|source| StartError::Listen { address, source })?;
        let address = listener
            .local_addr()
            .map_err(|source| StartError::Listen { address, source })?;
        let shared = Arc::new(Shared {
            authority,
            role: role.clone(),
            config: config.clone(),
            file: Mutex::new(file),
            sets: Mutex::new(sets),
            wanted: watch::Sender::new((0, ServiceFault::None)),
            in_force: watch::Sender::new(0),
            paused: AtomicBool::new(false),
            rotations: AtomicU64::new(0),
            fetches: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(service::serve(Arc::clone(&shared), listener, address));
        tasks.spawn(rotate_on_schedule(Arc::clone(&shared)));
        Ok(Some(Self {
            shared,
            address,
            _tasks: tasks,
        }))
    }

    /// What `ALIBABA_CLOUD_CREDENTIALS_URI` says in the job.
    pub fn uri(&self) -> String {
        format!("http://{}{}", self.address, self.shared.config.uri_path)
    }

    /// Where the metadata service answers that plays the one of an ECS instance with the job's role.
    pub fn metadata_endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The injected file, if the job has one.
    pub fn file(&self) -> Option<&Path> {
        self.shared.config.credentials_file.as_deref()
    }

    /// What a GET of `path` from the credentials service is answered with: status and JSON.
    pub fn answer(&self, path: &str) -> (u16, String) {
        service::answer(&self.shared, path)
    }

    /// The set that both places show, unless a fault has them show something else.
    pub fn current(&self) -> TokenSet {
        self.shared.sets().current
    }

    /// Issues the next set now. It is current even if writing the file fails.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn rotate_now(&self) -> io::Result<()> {
        self.shared.rotate()
    }

    /// Sets issued after the first.
    pub fn rotations(&self) -> u64 {
        self.shared.rotations.load(Ordering::Relaxed)
    }

    /// Requests for credentials that the service has read, answered or not.
    pub fn fetches(&self) -> u64 {
        self.shared.fetches.load(Ordering::Relaxed)
    }

    /// Has the current set refused from now on, although both places go on showing it until the next rotation.
    pub fn revoke_current(&self) {
        let set = self.current();
        self.shared.authority.revoke(&set.access_key_id);
    }

    /// Switches faults.
    pub fn faults(&self) -> RoleFaults<'_> {
        RoleFaults(&self.shared)
    }
}

async fn rotate_on_schedule(shared: Arc<Shared>) {
    let every = Duration::try_from(shared.config.rotate_every).unwrap_or(Duration::MAX);
    let Some(first) = Instant::now().checked_add(every) else {
        return; // So far away that it never comes.
    };
    let mut ticks = interval_at(first, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if shared.paused.load(Ordering::Relaxed) {
            continue;
        }
        if let Err(error) = shared.rotate() {
            tracing::warn!(%error, "the injected credentials file is not written");
        }
    }
}
