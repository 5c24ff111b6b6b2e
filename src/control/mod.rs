//! How a living mount is looked at and told things: `rolefs status`, `invalidate`, `log-level`, and Prometheus.
//!
//! Every mount listens on a unix socket and speaks HTTP there, so `curl --unix-socket` works as well as our own commands. The same
//! handler stands behind `--metrics ADDR`, which answers `/metrics` and `/healthz` and nothing else: what changes a mount, and what
//! names files, is for its owner alone.
//!
//! | request | answer |
//! |---|---|
//! | `GET /status` | [`Status`] as JSON |
//! | `GET /metrics` | the metrics, in the text format of OpenMetrics |
//! | `GET /healthz` | 200, or 503 and why the mount is not ready |
//! | `POST /invalidate`, a path from the mount's root | how many names the kernel was told to drop |
//! | `PUT /log-level`, a level or a filter | nothing |
//!
//! # Why a socket
//! The mount itself could answer, by a hidden file or an extended attribute of its root. But then whoever looks waits for the very thing
//! that is looked at: in a mount whose requests hang, in a kernel that holds a lock of the directory, the question hangs too.
//! And a mount that is read-only could not be told anything. The socket is a way around the kernel; its answers come from counters
//! and short locks, and never wait for OSS.
//!
//! # Where it is ([`Place`])
//! A client knows the mountpoint. `/proc/self/mountinfo` tells the device number of the mount on it, and that names the socket:
//! `0-45.sock`. The kernel gives a number to one living mount at a time, in all containers of the machine, so
//! two mounts never meet at one name, not on one mountpoint after each other, not in two containers that share `/tmp`;
//! a socket that is found at the own name is one that a dead mount has left. Asking the mount table touches no mount.
//!
//! The directory is ours alone (0700, the socket 0600): `--control-dir`, else `$XDG_RUNTIME_DIR`, else `/run` for root, else the temporary
//! directory. A client looks there, and where the mount's user would have put it. In a container of its own that sees the mount and
//! nothing else of the process, `--control-dir` on a volume that both see leads there.
//!
//! A mount that cannot have a socket (a directory that cannot be written to, somebody else's in its place) warns and goes on.

mod client;
mod mount;
mod place;
mod serve;
mod status;

pub use client::{Client, ClientError};
pub use mount::{Facts, Mount, SetLogLevel};
pub use place::{Around, Place, asked, socket_name};
pub use serve::{Serving, listen};
pub use status::{
    CredentialStatus, MemoryStatus, OperationStatus, RequestStatus, StagedStatus, Status,
    UnstoredStatus,
};
