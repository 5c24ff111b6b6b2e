//! What to do with a set of credentials at a moment: pure decisions, `now` is an argument.

use std::time::Duration;

use jiff::Timestamp;

use super::set::Credentials;

/// The longest time before its expiration at which a set is due for renewal: what the official file systems use.
pub(super) const MARGIN_MAX: Duration = Duration::from_secs(20 * 60);
/// A set of which nobody says when it ends is due so long after its source last gave it: who rewrites it may have done so long ago.
pub(super) const RECHECK: Duration = Duration::from_secs(5 * 60);
/// The margin is at most one part in this many of the set's life, so that sets of seconds work like sets of hours.
const MARGIN_PARTS: u32 = 4;
/// The first retry comes after this, the next after twice this.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// The longest pause between attempts while no live set is at hand: requests wait.
const RETRY_MAX_DEAD: Duration = Duration::from_secs(2);
/// The longest pause between attempts while the current set still lives.
const RETRY_MAX_ALIVE: Duration = Duration::from_secs(60);

/// How a set stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Use it.
    Fresh,
    /// Use it, and get the next one.
    Due,
    /// It has expired: never sign with it.
    Dead,
}

/// Time from `now` to `then`; zero if it has passed.
pub(super) fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// How long before its expiration a set is due: min(20 min, a quarter of its life), less up to a tenth of that.
///
/// A document does not say when its set began, so its life is what was left of it when it was adopted. `spread`
/// (0 to 1, drawn once for each set) keeps the processes of a job from asking all at once.
pub(super) fn margin(life: Duration, spread: f64) -> Duration {
    let whole = (life / MARGIN_PARTS).min(MARGIN_MAX);
    whole - (whole / 10).mul_f64(spread.clamp(0.0, 1.0))
}

/// How a set without an end stands at `now` that its source gave last at `given`. It never dies; a clock that was set back makes
/// it due.
pub(super) fn standing_without_end(given: Timestamp, now: Timestamp) -> Standing {
    if now >= given && until(given, now) < RECHECK {
        Standing::Fresh
    } else {
        Standing::Due
    }
}

/// How a set adopted at `adopted` that ends at `expiration` stands at `now`.
pub(super) fn standing(
    expiration: Timestamp,
    adopted: Timestamp,
    spread: f64,
    now: Timestamp,
) -> Standing {
    let left = until(now, expiration);
    if left.is_zero() {
        Standing::Dead
    } else if left <= margin(until(adopted, expiration), spread) {
        Standing::Due
    } else {
        Standing::Fresh
    }
}

/// The current set as the decision to replace it sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incumbent<'a> {
    pub(super) credentials: &'a Credentials,
    /// A request signed with it was refused.
    pub(super) refused: bool,
}

/// Whether an offered set becomes the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does.
    Adopt,
    /// It is the current one.
    Same,
    /// It has expired.
    Expired,
    /// It ends before the current one, which is alive and well: a stale copy.
    Older,
    /// It was refused by the server before, and the current one is not expired.
    Refused,
}

/// Judges an offered set. `refused_before` says that the server refused it earlier.
///
/// Only sets with an expiration are compared by age: between one that says when it ends and one that does not, the
/// last offered wins.
pub(super) fn verdict(
    incumbent: Option<Incumbent<'_>>,
    offered: &Credentials,
    refused_before: bool,
    now: Timestamp,
) -> Verdict {
    let dead = |expiration: Option<Timestamp>| expiration.is_some_and(|end| end <= now);
    if dead(offered.expiration()) {
        return Verdict::Expired;
    }
    let Some(current) = incumbent else {
        return Verdict::Adopt;
    };
    let current_end = current.credentials.expiration();
    if current.credentials.signs_like(offered) {
        // The same keys with a corrected, later end are news; with any other end they are not.
        let extended = !current.refused && ends_later(offered.expiration(), current_end);
        return if extended {
            Verdict::Adopt
        } else {
            Verdict::Same
        };
    }
    if dead(current_end) {
        Verdict::Adopt
    } else if refused_before {
        Verdict::Refused
    } else if current.refused {
        Verdict::Adopt
    } else {
        match (offered.expiration(), current_end) {
            (Some(offered_end), Some(current_end)) if offered_end < current_end => Verdict::Older,
            _ => Verdict::Adopt,
        }
    }
}

/// True if a set with the end `a` outlives one with the end `b`; `None` outlives every time.
pub(super) fn ends_later(a: Option<Timestamp>, b: Option<Timestamp>) -> bool {
    match (a, b) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(a), Some(b)) => a > b,
    }
}

/// The pause before the next attempt after `failures` fruitless ones (from 1).
///
/// Exponential, between half and the whole of its step (`jitter` from 0 to 1). While the current set has time `left`, the
/// step grows to a tenth of it, so the source is asked a few dozen times before the end, not every second.
pub(super) fn pause(failures: u32, left: Option<Duration>, jitter: f64) -> Duration {
    let max = match left {
        None | Some(Duration::ZERO) => RETRY_MAX_DEAD,
        Some(left) => (left / 10).clamp(RETRY_MIN, RETRY_MAX_ALIVE),
    };
    let step = RETRY_MIN
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
        .min(max);
    step.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use proptest::prelude::*;

    use super::super::set::Secret;
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap()
    }

    fn set(name: u8, end: Option<i64>) -> Credentials {
        Credentials::new(
            format!("STS.{name}"),
            Secret::from("s"),
            Some(Secret::from("t")),
            end.map(at),
        )
    }

    #[test]
    fn the_margin_follows_the_life_and_stops_at_twenty_minutes() {
        let seconds = Duration::from_secs;
        assert_eq!(margin(seconds(3), 0.0), Duration::from_millis(750));
        assert_eq!(margin(seconds(3600), 0.0), seconds(900));
        assert_eq!(margin(seconds(4800), 0.0), MARGIN_MAX);
        assert_eq!(margin(seconds(36_000), 0.0), MARGIN_MAX);
        assert_eq!(margin(seconds(36_000), 1.0), seconds(1080));
    }

    #[test]
    fn a_retry_waits_longer_each_time_up_to_its_bound() {
        let alive = Some(Duration::from_secs(30));
        assert_eq!(pause(1, None, 1.0), Duration::from_millis(100));
        assert_eq!(pause(3, None, 0.0), Duration::from_millis(200));
        assert_eq!(pause(99, None, 1.0), RETRY_MAX_DEAD);
        assert_eq!(pause(99, alive, 1.0), Duration::from_secs(3));
        assert_eq!(pause(99, Some(Duration::MAX), 1.0), RETRY_MAX_ALIVE);
        assert_eq!(pause(99, Some(Duration::from_nanos(1)), 1.0), RETRY_MIN);
    }

    proptest! {
        /// The naive twin works in whole milliseconds, without types.
        #[test]
        fn standing_is_what_the_formula_says(life in 1_i64..100_000_000, age in -1000_i64..100_001_000) {
            let (end, now) = (life, age);
            let naive = if now >= end {
                Standing::Dead
            } else if (end - now) * 4 <= life && end - now <= 1_200_000 {
                Standing::Due
            } else {
                Standing::Fresh
            };
            prop_assert_eq!(standing(at(end), at(0), 0.0, at(now)), naive);
        }

        #[test]
        fn a_set_only_ages(life in 1_i64..10_000_000, spread in 0.0_f64..1.0, a in 0_i64..11_000_000, b in 0_i64..11_000_000) {
            let seen = |now| standing(at(life), at(0), spread, at(now));
            prop_assert!(seen(a.min(b)) <= seen(a.max(b)));
            prop_assert_eq!(seen(0), Standing::Fresh, "a set is never due the moment it is adopted");
        }

        #[test]
        fn a_verdict_keeps_the_rules(
            current in proptest::option::of((0_u8..3, proptest::option::of(-50_i64..50), any::<bool>())),
            offered in (0_u8..3, proptest::option::of(-50_i64..50)),
            refused_before: bool,
        ) {
            let now = at(0);
            let offer = set(offered.0, offered.1);
            let held = current.map(|(name, end, refused)| (set(name, end), refused));
            let incumbent = held.as_ref().map(|(credentials, refused)| Incumbent { credentials, refused: *refused });
            let adopted = verdict(incumbent, &offer, refused_before, now) == Verdict::Adopt;
            let alive = offered.1.is_none_or(|end| end > 0);
            let expected = alive && current.is_none_or(|(name, end, refused)| {
                let dead = end.is_some_and(|end| end <= 0);
                let later = end.is_some_and(|end| offered.1.is_none_or(|offered| offered > end));
                let older = end.is_some_and(|end| offered.1.is_some_and(|offered| offered < end));
                if name == offered.0 { later && !refused } else { dead || (!refused_before && (refused || !older)) }
            });
            prop_assert_eq!(adopted, expected);
        }
    }
}
