//! What `GET /status` tells: plain data, as JSON. A field that another version does not know is left at its default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The state of a mount at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Version of the program behind the mount.
    pub version: String,
    /// Its process id, in its own pid namespace.
    pub pid: u32,
    /// Where it is mounted, as its process sees it.
    pub mountpoint: String,
    /// The bucket.
    pub bucket: String,
    /// The directory of the bucket that is shown; empty for all of it.
    pub prefix: String,
    /// Scheme, host and port of OSS.
    pub endpoint: String,
    /// The endpoint is reached inside Alibaba Cloud's network only.
    pub endpoint_is_internal: bool,
    /// The region that signatures name.
    pub region: Option<String>,
    /// Every change is refused.
    pub read_only: bool,
    /// When it was mounted, RFC 3339.
    pub mounted: String,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// Why it is not ready; `None` if it is.
    pub not_ready: Option<String>,
    /// Where `--metrics` listens.
    pub metrics_address: Option<String>,
    /// The role's credentials.
    pub credentials: CredentialStatus,
    /// The byte budget.
    pub memory: MemoryStatus,
    /// What is written and not stored.
    pub staged: StagedStatus,
    /// Requests of the kernel that wait for an answer, oldest first; the first 20.
    pub in_flight: Vec<RequestStatus>,
    /// The slowest operations of the last ten minutes, slowest first; the first 20.
    pub slowest: Vec<OperationStatus>,
    /// The last operations that failed, newest first; the first 32.
    pub failures: Vec<OperationStatus>,
    /// All metrics by their names in Prometheus.
    pub metrics: BTreeMap<String, i64>,
}

/// How the role's credentials stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CredentialStatus {
    /// Where the current set came from.
    pub source: Option<String>,
    /// Its key id, shortened.
    pub key: Option<String>,
    /// When it ends, RFC 3339.
    pub expires: Option<String>,
    /// Seconds until then, negative when it is past.
    pub expires_in_seconds: Option<i64>,
    /// Seconds until the next set is sought; 0 while it is.
    pub refresh_in_seconds: Option<i64>,
    /// Requests can be signed with it.
    pub alive: bool,
    /// Why the last attempt brought no new set.
    pub trouble: Option<String>,
}

/// The byte budget.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryStatus {
    /// `--memory`.
    pub total_bytes: u64,
    /// Leased now.
    pub leased_bytes: u64,
    /// Of those, kept blocks that were read or fetched ahead.
    pub cached_bytes: u64,
}

/// What is written and not stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StagedStatus {
    /// Bytes of memory that it takes.
    pub memory_bytes: u64,
    /// Bytes of the staging directory that it takes.
    pub disk_bytes: u64,
    /// Files that are not stored.
    pub files: u64,
    /// Their bytes that are in no object.
    pub bytes: u64,
    /// The largest of them, largest first; the first 20.
    pub unstored: Vec<UnstoredStatus>,
}

/// A file that is not stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnstoredStatus {
    /// Its key.
    pub key: String,
    /// Bytes that are in no object.
    pub bytes: u64,
}

/// A request of the kernel that waits for an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestStatus {
    /// The kernel's word for it.
    pub op: String,
    /// The path in the mount.
    pub path: Option<String>,
    /// Since it came.
    pub age_ms: u64,
    /// Since anything moved.
    pub idle_ms: u64,
}

/// An operation that has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OperationStatus {
    /// True for a request to OSS, false for one of the kernel.
    pub is_request: bool,
    /// What it did.
    pub op: String,
    /// The key, or the path in the mount.
    pub subject: String,
    /// How long it took.
    pub took_ms: u64,
    /// How long ago it ended.
    pub ago_seconds: u64,
    /// The request id of OSS, if one is known.
    pub request_id: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
}
