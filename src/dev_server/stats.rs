//! What the server did, counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::operation::{ALL, OPERATIONS, Operation};

/// Running counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    operations: [AtomicU64; OPERATIONS],
    pub(super) connections: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) bytes_sent: AtomicU64,
    pub(super) bytes_received: AtomicU64,
    pub(super) body_bytes_received: AtomicU64,
}

impl Counters {
    pub(super) fn count(&self, operation: Operation) {
        self.operations[operation as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> Stats {
        Stats {
            operations: std::array::from_fn(|at| self.operations[at].load(Ordering::Relaxed)),
            connections: self.connections.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            bytes_received: self.bytes_received.load(Ordering::Relaxed),
            body_bytes_received: self.body_bytes_received.load(Ordering::Relaxed),
        }
    }
}

/// Counts since the start of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    operations: [u64; OPERATIONS],
    /// Connections accepted.
    pub connections: u64,
    /// Requests answered with an error, faults included.
    pub refused: u64,
    /// Bytes written to sockets, heads included.
    pub bytes_sent: u64,
    /// Bytes read from sockets, heads included.
    pub bytes_received: u64,
    /// Bytes of the bodies of requests, of those that failed too.
    pub body_bytes_received: u64,
}

impl Stats {
    /// Requests of one operation, whatever was answered.
    #[must_use]
    pub fn count(&self, operation: Operation) -> u64 {
        self.operations[operation as usize]
    }

    /// GetObject.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.count(Operation::GetObject)
    }

    /// HeadObject and GetObjectMeta.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.count(Operation::HeadObject) + self.count(Operation::GetObjectMeta)
    }

    /// ListObjects of both versions.
    #[must_use]
    pub fn list(&self) -> u64 {
        self.count(Operation::ListObjects) + self.count(Operation::ListObjectsV2)
    }

    /// PutObject.
    #[must_use]
    pub fn put(&self) -> u64 {
        self.count(Operation::PutObject)
    }

    /// UploadPart.
    #[must_use]
    pub fn parts(&self) -> u64 {
        self.count(Operation::UploadPart)
    }

    /// UploadPartCopy.
    #[must_use]
    pub fn part_copies(&self) -> u64 {
        self.count(Operation::UploadPartCopy)
    }

    /// CopyObject.
    #[must_use]
    pub fn copies(&self) -> u64 {
        self.count(Operation::CopyObject)
    }

    /// AppendObject.
    #[must_use]
    pub fn appends(&self) -> u64 {
        self.count(Operation::AppendObject)
    }

    /// DeleteObject.
    #[must_use]
    pub fn deletes(&self) -> u64 {
        self.count(Operation::DeleteObject)
    }

    /// DeleteMultipleObjects.
    #[must_use]
    pub fn batch_deletes(&self) -> u64 {
        self.count(Operation::DeleteMultipleObjects)
    }

    /// PutSymlink.
    #[must_use]
    pub fn symlinks(&self) -> u64 {
        self.count(Operation::PutSymlink)
    }

    /// InitiateMultipartUpload.
    #[must_use]
    pub fn initiates(&self) -> u64 {
        self.count(Operation::InitiateMultipartUpload)
    }

    /// CompleteMultipartUpload.
    #[must_use]
    pub fn completes(&self) -> u64 {
        self.count(Operation::CompleteMultipartUpload)
    }

    /// AbortMultipartUpload.
    #[must_use]
    pub fn aborts(&self) -> u64 {
        self.count(Operation::AbortMultipartUpload)
    }

    /// ListMultipartUploads.
    #[must_use]
    pub fn upload_lists(&self) -> u64 {
        self.count(Operation::ListMultipartUploads)
    }

    /// ListParts.
    #[must_use]
    pub fn part_lists(&self) -> u64 {
        self.count(Operation::ListParts)
    }

    /// All requests that named an operation.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.operations.iter().sum()
    }
}

/// Prometheus text, a line for each operation and each other count.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for operation in ALL {
            let count = self.count(operation);
            writeln!(f, "requests{{operation=\"{operation:?}\"}} {count}")?;
        }
        for (name, count) in [
            ("connections", self.connections),
            ("refused", self.refused),
            ("bytes_sent", self.bytes_sent),
            ("bytes_received", self.bytes_received),
            ("body_bytes_received", self.body_bytes_received),
        ] {
            writeln!(f, "{name} {count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_line_of_its_own() {
        let counters = Counters::default();
        for (at, operation) in ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, at);
            for _ in 0..at {
                counters.count(operation);
            }
        }
        let text = counters.snapshot().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "requests{operation=\"GetObject\"} 0");
        assert_eq!(lines.len(), OPERATIONS + 5);
        for (at, line) in lines[..OPERATIONS].iter().enumerate() {
            assert!(line.ends_with(&format!(" {at}")), "{line}");
        }
        assert_eq!(counters.snapshot().put(), Operation::PutObject as u64);
    }
}
