//! What two looks at a mount tell of the time between them. Pure.

use std::time::Duration;

use crate::control::Status;

/// Which metrics a number is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names(pub(super) &'static [&'static str]);

impl Names {
    /// Their sum in a status.
    pub(super) fn sum(self, status: &Status) -> u64 {
        let values = self.0.iter().filter_map(|name| status.metrics.get(*name));
        values.map(|value| u64::try_from(*value).unwrap_or(0)).sum()
    }
}

pub(super) const SERVED: Names = Names(&["rolefs_read_bytes_served_total"]);
pub(super) const RECEIVED: Names = Names(&["rolefs_oss_bytes_received_total"]);
pub(super) const WRITTEN: Names = Names(&["rolefs_write_written_bytes_total"]);
pub(super) const SENT: Names = Names(&["rolefs_oss_bytes_sent_total"]);
pub(super) const READS: Names = Names(&["rolefs_read_reads_total"]);
pub(super) const INLINE: Names = Names(&["rolefs_read_inline_hits_total"]);
pub(super) const NAME_HITS: Names = Names(&["rolefs_tree_lookup_hits_total"]);
pub(super) const NAME_MISSES: Names = Names(&["rolefs_tree_lookup_misses_total"]);
pub(super) const DISK_HITS: Names = Names(&["rolefs_disk_hits_total"]);
pub(super) const DISK_MISSES: Names = Names(&["rolefs_disk_misses_total"]);
pub(super) const COMMITS: Names = Names(&["rolefs_write_commits_total"]);
pub(super) const RETRIES: Names = Names(&["rolefs_oss_retries_total"]);
pub(super) const THROTTLED: Names = Names(&["rolefs_oss_throttled_total"]);
pub(super) const REQUESTS: [(&str, Names); 8] = [
    ("GET", Names(&["rolefs_oss_get_requests_total"])),
    ("HEAD", Names(&["rolefs_oss_head_requests_total"])),
    ("LIST", Names(&["rolefs_oss_list_requests_total"])),
    ("PUT", Names(&["rolefs_oss_put_requests_total"])),
    ("part", Names(&["rolefs_oss_part_requests_total"])),
    ("copy", Names(&["rolefs_oss_copy_requests_total"])),
    ("delete", Names(&["rolefs_oss_delete_requests_total"])),
    ("other", Names(&["rolefs_oss_other_requests_total"])),
];

/// Two looks, and the time between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Between<'a> {
    pub(super) before: &'a Status,
    pub(super) now: &'a Status,
    pub(super) time: Duration,
}

impl Between<'_> {
    /// How much a counter has grown. A mount that was made anew counts from nothing again.
    pub(super) fn growth(self, names: Names) -> u64 {
        names.sum(self.now).saturating_sub(names.sum(self.before))
    }

    /// The same per second, to the nearest.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rate is shown with three digits"
    )]
    pub(super) fn per_second(self, names: Names) -> u64 {
        (self.growth(names) as f64 / self.time.as_secs_f64().max(0.001)).round() as u64
    }

    /// Which part of what was asked for was there: of `hits` and `misses` in this time, in percent; `None` if nothing was asked for.
    pub(super) fn share(self, hits: Names, misses: Names) -> Option<u64> {
        share(self.growth(hits), self.growth(misses))
    }
}

/// Hits in percent of all, rounded down: 100 is all.
pub(super) fn share(hits: u64, misses: u64) -> Option<u64> {
    let all = hits.saturating_add(misses);
    (all > 0).then(|| hits.saturating_mul(100) / all)
}

/// Reads that memory answered at once, of all, in percent.
pub(super) fn read_share(reads: u64, inline: u64) -> Option<u64> {
    share(inline, reads.saturating_sub(inline))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(served: i64) -> Status {
        let mut status = Status::default();
        let name = SERVED.0[0].to_owned();
        status.metrics.insert(name, served);
        status
    }

    #[test]
    fn a_rate_is_growth_by_time() {
        let (before, now) = (status(1000), status(4000));
        let two_seconds = Between {
            before: &before,
            now: &now,
            time: Duration::from_secs(2),
        };
        assert_eq!(two_seconds.per_second(SERVED), 1500);
        let again = Between {
            before: &now,
            now: &before,
            time: Duration::from_secs(2),
        };
        assert_eq!(again.per_second(SERVED), 0, "the mount was made anew");
    }

    #[test]
    fn every_name_is_a_metric() {
        let known = crate::metrics::Metrics::default().values();
        let single = [
            SERVED,
            RECEIVED,
            WRITTEN,
            SENT,
            READS,
            INLINE,
            NAME_HITS,
            NAME_MISSES,
            DISK_HITS,
            DISK_MISSES,
            COMMITS,
            RETRIES,
            THROTTLED,
        ];
        let requests = REQUESTS.iter().map(|(_, names)| names);
        for name in single.iter().chain(requests).flat_map(|names| names.0) {
            assert!(known.contains_key(*name), "{name}");
        }
    }

    #[test]
    fn a_share_of_nothing_is_none() {
        assert_eq!(share(0, 0), None);
        assert_eq!(share(999, 1), Some(99));
        assert_eq!(read_share(10, 5), Some(50));
    }
}
