//! Every bound of the program.

use std::time::Duration;

/// Every bound of the program, with its reason. All are printed at start in the debug log.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Limits {
    /// The farthest one stream is read ahead, if the link rewards it: 48 requests of 8 MiB and what waits behind them, 4 GB/s
    /// at 100 MB/s a connection and 20 ms. Memory may allow less.
    pub(in crate::cli) window_bytes_max: u64,
    /// GETs in flight; the link decides how many of them. What a 100 Gbit/s network takes at 100 MB/s a connection.
    pub(in crate::cli) gets_max: usize,
    /// LISTs of one directory under way: 800,000 entries a second at 20 ms.
    pub(in crate::cli) listing_requests_max: usize,
    /// Pages of listings ahead of their readers, all directories together: 13 MB.
    pub(in crate::cli) listing_pages_max: usize,
    /// Requests of the kernel that may be in flight in the background (its own read-ahead).
    pub(in crate::cli) max_background: u16,
    /// How long a mount that ends may take to store what is not stored. A supervisor that is less patient kills it earlier.
    pub(in crate::cli) store_grace: Duration,
    /// Threads that take requests from the kernel; hits are answered on them.
    pub(in crate::cli) fuse_threads: usize,
    /// Threads of the async runtime.
    pub(in crate::cli) runtime_threads: usize,
}

impl Limits {
    /// The bounds for a machine of so many cores.
    pub(in crate::cli) fn for_cores(cores: usize) -> Self {
        Self {
            window_bytes_max: 512 << 20,
            gets_max: 128,
            listing_requests_max: 16,
            listing_pages_max: 64,
            max_background: 64,
            store_grace: Duration::from_secs(300),
            fuse_threads: cores.clamp(2, 8),
            runtime_threads: cores.clamp(2, 8),
        }
    }
}
