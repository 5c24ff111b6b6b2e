//! What the server did, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use super::operation::{OPERATIONS, Operation};

/// Running counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    operations: [AtomicU64; OPERATIONS],
    pub(super) connections: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) bytes_sent: AtomicU64,
    pub(super) bytes_received: AtomicU64,
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

    /// All requests that named an operation.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.operations.iter().sum()
    }
}
