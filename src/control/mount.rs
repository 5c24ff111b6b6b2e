//! A living mount as it is looked at.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use super::status::{
    CredentialStatus, MemoryStatus, OperationStatus, RequestStatus, StagedStatus, Status,
    UnstoredStatus,
};
use crate::credentials::Provider;
use crate::fs::FileSystem;
use crate::fuse::{self, Kernel};
use crate::metrics::{Asker, Metrics, Record};

/// Entries of each list of a [`Status`]: a screen of them.
const LIST_MAX: usize = 20;

/// Changes what is logged; the error says what to write instead.
pub type SetLogLevel = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What does not change while a mount lives.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Absolute, without links.
    pub mountpoint: PathBuf,
    /// Its device number as `/proc/self/mountinfo` writes it, `0:45`; `None` if somebody else has mounted it, and where is not known.
    pub device: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// The directory of it that is shown.
    pub prefix: String,
    /// Scheme, host and port.
    pub endpoint: String,
    /// It is reached inside Alibaba Cloud's network only.
    pub endpoint_is_internal: bool,
    /// What signatures name.
    pub region: Option<String>,
    /// Every change is refused.
    pub read_only: bool,
    /// Where `--metrics` listens.
    pub metrics_address: Option<String>,
}

/// A living mount as it is looked at, and told things.
pub struct Mount {
    /// What does not change.
    pub facts: Facts,
    /// The session.
    pub kernel: Kernel,
    /// The file system.
    pub fs: Arc<FileSystem>,
    /// The role's credentials.
    pub credentials: Arc<Provider>,
    /// The metrics, and the journal.
    pub metrics: Arc<Metrics>,
    /// Changes what is logged.
    pub set_log_level: SetLogLevel,
    /// When it was mounted.
    pub mounted: (SystemTime, Instant),
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

impl Mount {
    /// Why the mount cannot do its work; `None` if it can.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        let Facts {
            mountpoint, device, ..
        } = &self.facts;
        if device.is_some() && fuse::mounted_at(mountpoint) != *device {
            let shown = mountpoint.display();
            return Some(format!(
                "{shown} shows it no more: it was unmounted, or something is mounted over it"
            ));
        }
        let outlook = self.credentials.outlook();
        if outlook.is_alive {
            return None;
        }
        let trouble = outlook
            .trouble
            .as_deref()
            .unwrap_or("no others are there yet");
        Some(format!("no live credentials: {trouble}"))
    }

    /// How things stand now.
    #[must_use]
    pub fn status(&self) -> Status {
        let now = SystemTime::now();
        let facts = &self.facts;
        let staged = self.staged();
        let metrics = &self.metrics;
        let failures = metrics.journal.failures();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            mountpoint: facts.mountpoint.display().to_string(),
            bucket: facts.bucket.clone(),
            prefix: facts.prefix.clone(),
            endpoint: facts.endpoint.clone(),
            endpoint_is_internal: facts.endpoint_is_internal,
            region: facts.region.clone(),
            read_only: facts.read_only,
            mounted: Timestamp::try_from(self.mounted.0)
                .map(|mounted| mounted.to_string())
                .unwrap_or_default(),
            uptime_seconds: self.mounted.1.elapsed().as_secs(),
            not_ready: self.not_ready(),
            metrics_address: facts.metrics_address.clone(),
            credentials: self.credential_status(),
            memory: MemoryStatus {
                total_bytes: unsigned(metrics.buffer.total_bytes.get()),
                leased_bytes: unsigned(metrics.buffer.leased_bytes.get()),
                cached_bytes: unsigned(metrics.cache.bytes.get()),
            },
            staged,
            in_flight: self.in_flight(),
            slowest: operations(metrics.journal.slowest(now, LIST_MAX), now),
            failures: operations(failures, now),
            metrics: metrics.values(),
        }
    }

    /// The metrics as Prometheus reads them, what is only counted now and then included.
    #[must_use]
    pub fn prometheus(&self) -> String {
        self.staged();
        self.metrics.text()
    }

    fn credential_status(&self) -> CredentialStatus {
        let outlook = self.credentials.outlook();
        let now = Timestamp::now();
        let left = |end: Timestamp| end.as_second() - now.as_second();
        CredentialStatus {
            source: outlook.origin,
            key: outlook.key,
            expires: outlook.expires.map(|end| end.to_string()),
            expires_in_seconds: outlook.expires.map(left),
            refresh_in_seconds: outlook.refreshes.map(|at| left(at).max(0)),
            alive: outlook.is_alive,
            trouble: outlook.trouble,
        }
    }

    /// Counts what is not stored.
    fn staged(&self) -> StagedStatus {
        let mut unstored = self.fs.unstored();
        unstored.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let bytes = unstored.iter().map(|(_, bytes)| bytes).sum();
        let metrics = &self.metrics.write;
        metrics.unstored_files.set(signed(unstored.len() as u64));
        metrics.unstored_bytes.set(signed(bytes));
        StagedStatus {
            memory_bytes: unsigned(metrics.staged_bytes.get()),
            disk_bytes: unsigned(metrics.staged_disk_bytes.get()),
            files: unstored.len() as u64,
            bytes,
            unstored: unstored
                .into_iter()
                .take(LIST_MAX)
                .map(|(key, bytes)| UnstoredStatus { key, bytes })
                .collect(),
        }
    }

    fn in_flight(&self) -> Vec<RequestStatus> {
        let oldest = self.kernel.in_flight(LIST_MAX).into_iter();
        oldest
            .map(|request| RequestStatus {
                op: request.op.to_owned(),
                path: request.path,
                age_ms: milliseconds(request.age),
                idle_ms: milliseconds(request.idle),
            })
            .collect()
    }
}

fn operations(records: Vec<Record>, now: SystemTime) -> Vec<OperationStatus> {
    let shown = records.into_iter().map(|record| OperationStatus {
        is_request: record.asker == Asker::Mount,
        op: record.op.to_owned(),
        subject: record.subject,
        took_ms: milliseconds(record.took),
        ago_seconds: now
            .duration_since(record.ended)
            .unwrap_or_default()
            .as_secs(),
        request_id: record.request_id,
        error: record.error,
    });
    shown.collect()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A gauge of bytes, which is never negative for long.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
