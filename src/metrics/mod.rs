//! Every counter and gauge of the program, as typed fields, and their Prometheus text.
//!
//! One [`Metrics`] is made at start and handed down as `Arc`; there is no global. A test asserts on the same fields that
//! a dashboard shows ("a warm read costs no GET"). [`Metrics::described`] is the list of all of them, from which their
//! documentation is made. Beside the counters stands the [`Journal`] of what was slow and what failed.

mod journal;

use std::collections::BTreeMap;

pub use journal::{Asker, Journal, Record, SLOW_AFTER, WORTH_NOTING};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What a metric is and shows.
trait Value {
    /// Its type in Prometheus' words.
    const KIND: &'static str;
    /// What Prometheus puts behind its name.
    const SUFFIX: &'static str;
    fn now(&self) -> i64;
}

impl Value for Counter {
    const KIND: &'static str = "counter";
    const SUFFIX: &'static str = "_total";
    fn now(&self) -> i64 {
        i64::try_from(self.get()).unwrap_or(i64::MAX)
    }
}

impl Value for Gauge {
    const KIND: &'static str = "gauge";
    const SUFFIX: &'static str = "";
    fn now(&self) -> i64 {
        self.get()
    }
}

/// One metric as its documentation shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its full name, `rolefs_oss_get_requests_total` for instance.
    pub name: String,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// What it is now.
    pub value: i64,
}

fn described<V: Value>(group: &str, field: &str, help: &'static str, value: &V) -> Described {
    Described {
        name: format!("rolefs_{group}_{field}{}", V::SUFFIX),
        kind: V::KIND,
        help,
        value: value.now(),
    }
}

/// Declares a group of metrics: the struct, and the functions that name its fields, for Prometheus and for us.
macro_rules! group {
    ($(#[$doc:meta])* $group:ident { $($(#[doc = $help:literal])+ $field:ident: $kind:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $group { $($(#[doc = $help])+ pub $field: $kind),+ }

        impl $group {
            fn register(&self, registry: &mut Registry) {
                $(registry.register(stringify!($field), concat!($($help),+).trim(), self.$field.clone());)+
            }

            fn describe(&self, group: &str, into: &mut Vec<Described>) {
                $(into.push(described(group, stringify!($field), concat!($($help),+).trim(), &self.$field));)+
            }
        }
    };
}

group! {
    /// The credentials room.
    CredentialMetrics {
        /// Credential sets adopted, the first included.
        adopted: Counter,
        /// Attempts to fetch a set that failed.
        failures: Counter,
        /// Requests that had to wait because no live set was at hand.
        held: Counter,
        /// Refreshes forced by a refused request.
        forced: Counter,
        /// Unix time at which the current set expires; 0 if it never does.
        expires_at_seconds: Gauge,
    }
}

group! {
    /// The wire to OSS.
    OssMetrics {
        /// GetObject requests sent, each attempt counted.
        get_requests: Counter,
        /// HeadObject requests sent, each attempt counted.
        head_requests: Counter,
        /// ListObjectsV2 requests sent, each attempt counted.
        list_requests: Counter,
        /// PutObject and AppendObject requests sent, each attempt counted.
        put_requests: Counter,
        /// UploadPart requests sent, each attempt counted.
        part_requests: Counter,
        /// CopyObject and UploadPartCopy requests sent, each attempt counted.
        copy_requests: Counter,
        /// DeleteObject and DeleteMultipleObjects requests sent, each attempt counted.
        delete_requests: Counter,
        /// Other requests sent, each attempt counted.
        other_requests: Counter,
        /// Body bytes of objects received.
        bytes_received: Counter,
        /// Body bytes handed to connections, those of attempts that failed included.
        bytes_sent: Counter,
        /// Writes whose answer was lost or unclear, and whose effect was then found in the bucket.
        recognised: Counter,
        /// Uploads that OSS stored with another checksum than they were sent with.
        corrupt_uploads: Counter,
        /// Attempts after the first of a request.
        retries: Counter,
        /// Answers that asked to slow down.
        throttled: Counter,
        /// Answers that contradicted themselves or the request: wrong status, length, range or ETag.
        lies: Counter,
        /// Object GETs in flight.
        gets_in_flight: Gauge,
        /// Corrections of the local clock from the server's Date.
        clock_corrections: Counter,
        /// GETs sent a second time because the first was much later than usual, or stood still.
        hedged: Counter,
        /// Of those, the ones that were answered before the first, or went on.
        hedge_wins: Counter,
    }
}

group! {
    /// The byte budget.
    BufferMetrics {
        /// Bytes of the budget: --memory.
        total_bytes: Gauge,
        /// Bytes leased now, all classes.
        leased_bytes: Gauge,
        /// Leases that had to wait.
        waits: Counter,
        /// Leases refused because they would not have been worth waiting for.
        refusals: Counter,
    }
}

group! {
    /// The block cache in memory.
    CacheMetrics {
        /// Blocks found.
        hits: Counter,
        /// Blocks not found.
        misses: Counter,
        /// Blocks dropped to make room.
        evictions: Counter,
        /// Bytes of blocks held now.
        bytes: Gauge,
    }
}

group! {
    /// The cache on disk.
    DiskMetrics {
        /// Blocks read from disk instead of from OSS.
        hits: Counter,
        /// Blocks looked for on disk and not there.
        misses: Counter,
        /// Bytes read from disk. What the kernel reads by itself is not among them.
        read_bytes: Counter,
        /// Bytes written to disk.
        written_bytes: Counter,
        /// Blocks that were to be written and were not: the disk is slow, full, or fails.
        dropped_writes: Counter,
        /// Blocks that were dropped because the disk was slow, and brought later, from memory or by a GET of its own.
        filled_blocks: Counter,
        /// Bytes fetched from OSS once more for that.
        refetched_bytes: Counter,
        /// Blocks whose bytes on disk were not those that were written.
        bad_blocks: Counter,
        /// Calls that the file system answered with an error.
        errors: Counter,
        /// Times that the disk did not answer, and was left alone for a while.
        given_up: Counter,
        /// Objects removed to make room.
        evictions: Counter,
        /// Objects that were read back from disk and found right, so that the kernel may read them by itself.
        verified: Counter,
        /// Opens for which the kernel reads the file on disk by itself.
        passthrough_opens: Counter,
        /// Bytes that the cache takes, as last counted.
        bytes: Gauge,
    }
}

group! {
    /// Reading of files.
    ReadMetrics {
        /// READ requests answered.
        reads: Counter,
        /// Bytes answered to READ requests.
        bytes_served: Counter,
        /// READ requests answered inline, from memory, without a task.
        inline_hits: Counter,
        /// READ answers whose bytes lie in two blocks.
        straddled: Counter,
        /// Bytes asked from OSS, or read from disk, ahead of a reader.
        ahead_bytes: Counter,
        /// Versions purged because their checksum did not match.
        checksum_failures: Counter,
        /// Reads that found their object replaced or deleted.
        stale: Counter,
        /// GETs of blocks that the link is thought to reward, of all files together.
        gets_target: Gauge,
        /// Bytes that one GET of a stream asks for.
        part_bytes: Gauge,
        /// GETs of read-ahead that wait for their turn now.
        gets_waiting: Gauge,
        /// GETs of read-ahead that a reader pulled out of their queue.
        promoted: Counter,
    }
}

group! {
    /// Writing of files.
    WriteMetrics {
        /// Bytes written by programs.
        written_bytes: Counter,
        /// Bytes of memory that staged writes take now.
        staged_bytes: Gauge,
        /// Bytes of the staging directory that staged writes take now.
        staged_disk_bytes: Gauge,
        /// Files that are not stored, as last counted.
        unstored_files: Gauge,
        /// Their bytes that are in no object, as last counted.
        unstored_bytes: Gauge,
        /// Bytes copied within memory, so that chunks of which little was named could be let go.
        compacted_bytes: Counter,
        /// Staged bytes let go because OSS had them, before the file was stored.
        let_go_bytes: Counter,
        /// Parts sent, behind the writer and by commits.
        parts_sent: Counter,
        /// Parts that OSS copied from objects.
        parts_copied: Counter,
        /// Parts that could not be sent or copied.
        part_failures: Counter,
        /// Files stored.
        commits: Counter,
        /// Commits that failed.
        commit_failures: Counter,
        /// Commits that nobody asked for, because bytes that only the upload had were needed.
        early_commits: Counter,
        /// Commits that found an object that somebody else had changed.
        conflicts: Counter,
        /// Parts that OSS copied and told no checksum of.
        unverified_copies: Counter,
        /// Uploads given up.
        uploads_aborted: Counter,
        /// Writes that had to wait for room.
        waits: Counter,
        /// Writes refused because there was no room and nothing on its way up.
        refusals: Counter,
    }
}

group! {
    /// The tree of names.
    TreeMetrics {
        /// Lookups answered from memory.
        lookup_hits: Counter,
        /// Lookups that asked OSS.
        lookup_misses: Counter,
        /// Keys that a file system cannot show, as listings met them.
        hidden_keys: Counter,
        /// Inodes known to the kernel or held by us.
        inodes: Gauge,
    }
}

group! {
    /// The kernel's door.
    FuseMetrics {
        /// Requests received from the kernel.
        requests: Counter,
        /// Requests answered with an error that is not routine.
        errors: Counter,
        /// Requests given up because their caller was killed or interrupted.
        interrupted: Counter,
        /// Requests being worked on by a task.
        in_flight: Gauge,
    }
}

/// All metrics of one process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// `rolefs_credentials_…`
    pub credentials: CredentialMetrics,
    /// `rolefs_oss_…`
    pub oss: OssMetrics,
    /// `rolefs_buffer_…`
    pub buffer: BufferMetrics,
    /// `rolefs_cache_…`
    pub cache: CacheMetrics,
    /// `rolefs_disk_…`
    pub disk: DiskMetrics,
    /// `rolefs_read_…`
    pub read: ReadMetrics,
    /// `rolefs_write_…`
    pub write: WriteMetrics,
    /// `rolefs_tree_…`
    pub tree: TreeMetrics,
    /// `rolefs_fuse_…`
    pub fuse: FuseMetrics,
    /// What was slow, and what failed. No metric.
    pub journal: Journal,
}

impl Metrics {
    /// The metrics in the text format of Prometheus (OpenMetrics 1.0).
    ///
    /// # Panics
    /// Never: writing to a `String` cannot fail.
    #[must_use]
    pub fn text(&self) -> String {
        let mut registry = Registry::with_prefix("rolefs");
        self.credentials
            .register(registry.sub_registry_with_prefix("credentials"));
        self.oss.register(registry.sub_registry_with_prefix("oss"));
        self.buffer
            .register(registry.sub_registry_with_prefix("buffer"));
        self.cache
            .register(registry.sub_registry_with_prefix("cache"));
        self.disk
            .register(registry.sub_registry_with_prefix("disk"));
        self.read
            .register(registry.sub_registry_with_prefix("read"));
        self.write
            .register(registry.sub_registry_with_prefix("write"));
        self.tree
            .register(registry.sub_registry_with_prefix("tree"));
        self.fuse
            .register(registry.sub_registry_with_prefix("fuse"));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .expect("writing to a String cannot fail");
        text
    }
}

impl Metrics {
    /// All metrics with their documentation and what they are now, group by group.
    #[must_use]
    pub fn described(&self) -> Vec<Described> {
        let mut all = Vec::new();
        self.credentials.describe("credentials", &mut all);
        self.oss.describe("oss", &mut all);
        self.buffer.describe("buffer", &mut all);
        self.cache.describe("cache", &mut all);
        self.disk.describe("disk", &mut all);
        self.read.describe("read", &mut all);
        self.write.describe("write", &mut all);
        self.tree.describe("tree", &mut all);
        self.fuse.describe("fuse", &mut all);
        all
    }

    /// All metrics by name, as they are now.
    #[must_use]
    pub fn values(&self) -> BTreeMap<String, i64> {
        let all = self.described().into_iter();
        all.map(|metric| (metric.name, metric.value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_and_the_documentation_name_the_same_metrics() {
        let metrics = Metrics::default();
        let text = metrics.text();
        let named = text.lines().filter(|line| !line.starts_with('#'));
        let named: Vec<&str> = named.filter_map(|line| line.split(' ').next()).collect();
        let described = metrics.described();
        let described: Vec<&str> = described.iter().map(|at| at.name.as_str()).collect();
        assert_eq!(named, described);
    }

    #[test]
    fn every_group_is_in_the_text() {
        let metrics = Metrics::default();
        metrics.oss.get_requests.inc_by(3);
        let text = metrics.text();
        assert!(text.contains("rolefs_oss_get_requests_total 3"), "{text}");
        for group in [
            "credentials",
            "oss",
            "buffer",
            "cache",
            "disk",
            "read",
            "write",
            "tree",
            "fuse",
        ] {
            assert!(
                text.contains(&format!("rolefs_{group}_")),
                "{group} is missing"
            );
        }
    }
}
