//! Every bound of the program.

/// Every bound of the program, with its reason. All are printed at start in the debug log.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Limits {
    /// The farthest one stream is read ahead: 16 requests of 8 MiB, 1.3 GB/s at 100 MB/s a connection and 20 ms.
    pub(in crate::cli) window_bytes_max: u64,
    /// Read-ahead GETs in flight. Past this OSS gains nothing more on the links that were measured.
    pub(in crate::cli) ahead_gets_max: usize,
    /// LISTs of one directory under way: 800,000 entries a second at 20 ms.
    pub(in crate::cli) listing_requests_max: usize,
    /// Pages of listings ahead of their readers, all directories together: 13 MB.
    pub(in crate::cli) listing_pages_max: usize,
    /// Requests of the kernel that may be in flight in the background (its own read-ahead).
    pub(in crate::cli) max_background: u16,
    /// Threads that take requests from the kernel; hits are answered on them.
    pub(in crate::cli) fuse_threads: usize,
    /// Threads of the async runtime.
    pub(in crate::cli) runtime_threads: usize,
}

impl Limits {
    /// The bounds for a machine of so many cores.
    pub(super) fn for_cores(cores: usize) -> Self {
        Self {
            window_bytes_max: 128 << 20,
            ahead_gets_max: 64,
            listing_requests_max: 16,
            listing_pages_max: 64,
            max_background: 64,
            fuse_threads: cores.clamp(2, 8),
            runtime_threads: cores.clamp(2, 8),
        }
    }
}
