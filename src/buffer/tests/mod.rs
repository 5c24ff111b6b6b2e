//! Tests of the budget and of blocks, against naive twins and under threads.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod block;
mod budget;

use std::sync::Arc;

use super::{Budget, MEMORY_BYTES_MIN};
use crate::metrics::Metrics;

/// The smallest budget: ceilings 16, 14, 12 and 10 MiB, leases of 2 MiB but for read-ahead.
fn small_budget() -> (Arc<Budget>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let budget = Budget::new(MEMORY_BYTES_MIN, Arc::clone(&metrics));
    (budget, metrics)
}
