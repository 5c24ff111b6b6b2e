//! What the provider knows: the current set, what was refused, and when the next attempt may be made.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::error::{Error, Trouble};
use super::fetch::Offer;
use super::outlook::Outlook;
use super::policy::{self, Incumbent, Standing, Verdict};
use super::set::Credentials;
use super::source::Source;

/// Refused sets that are remembered, so that a stale file is not taken up again and again.
const REFUSED_MAX: usize = 8;
/// A set that was refused within this, or half its life, of its adoption makes the next forced refresh wait.
const QUICK_REFUSAL: Duration = Duration::from_secs(30);

/// The current set.
#[derive(Debug)]
struct Held {
    credentials: Arc<Credentials>,
    origin: Source,
    adopted: Timestamp,
    /// When its source gave it last: counts if it has no end.
    given: Timestamp,
    spread: f64,
    refusal: Refusal,
}

/// Whether the server refused the current set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    None,
    /// It did, and the first attempt to get another is not over: who comes now waits for it.
    New,
    /// It did, and there was no other. New requests try it all the same: only some may be refused.
    Standing,
}

/// What a caller is to do.
pub(super) enum Look {
    /// Sign with this.
    Use(Arc<Credentials>),
    /// Sign with this, and have an attempt made.
    UseAndRenew(Arc<Credentials>),
    /// Have an attempt made, and wait.
    Wait,
}

/// What became of an attempt, for the log.
pub(super) enum Outcome {
    Adopted {
        credentials: Arc<Credentials>,
        origin: Source,
        first: bool,
    },
    /// Nothing new, and nothing wrong: the current set is only due.
    Nothing,
    Failed {
        reason: String,
        /// True for the first failure since a set was adopted.
        first: bool,
    },
}

#[derive(Debug, Default)]
pub(super) struct State {
    held: Option<Held>,
    refused: VecDeque<Arc<Credentials>>,
    /// Attempts without a new set since the last adoption.
    fruitless: u32,
    warned: bool,
    /// Sets in a row that were refused soon after they were adopted.
    quick_refusals: u32,
    /// When a caller first had to wait because no set lived, since the last adoption.
    lost: Option<Instant>,
    /// When a caller first had to wait because its living set was refused, since the last adoption. Apart from `lost`: one
    /// request that is always refused must not use up the hold of all when the set dies.
    refused_since: Option<Instant>,
    /// No attempt before this.
    pub(super) not_before: Option<Instant>,
    /// The attempt under way. INVARIANT: at most one; it takes itself out in the same lock in which it settles.
    pub(super) attempt: Option<AbortHandle>,
    /// The sources are being asked: what the attempt does when its pause is over.
    pub(super) is_asking: bool,
    /// What the last attempt ended with.
    troubles: Vec<(Source, Trouble)>,
}

impl State {
    /// What a caller is to do who cannot use `unwanted`.
    pub(super) fn look(&self, unwanted: Option<&Credentials>, now: Timestamp) -> Look {
        let Some(held) = &self.held else {
            return Look::Wait;
        };
        let useless = unwanted.is_some_and(|set| set.signs_like(&held.credentials));
        if useless || held.refusal == Refusal::New {
            return Look::Wait;
        }
        match held.standing(now) {
            Standing::Fresh => Look::Use(Arc::clone(&held.credentials)),
            Standing::Due => Look::UseAndRenew(Arc::clone(&held.credentials)),
            Standing::Dead => Look::Wait,
        }
    }

    /// True if an attempt makes sense: somebody waits, or will.
    pub(super) fn wants_attempt(&self, now: Timestamp) -> bool {
        self.held.as_ref().is_none_or(|held| {
            held.refusal != Refusal::None || held.standing(now) != Standing::Fresh
        })
    }

    /// When the trouble began because of which a caller starts to wait now.
    pub(super) fn waits_since(&mut self, now: Timestamp) -> Instant {
        let alive = |held: &Held| held.standing(now) != Standing::Dead;
        let since = if self.held.as_ref().is_some_and(alive) {
            &mut self.refused_since
        } else {
            &mut self.lost
        };
        *since.get_or_insert_with(Instant::now)
    }

    /// How long it takes until an attempt is called for although nobody waits. A refused set is left to those who were
    /// refused: if the fault is theirs, the source is not asked for ever.
    pub(super) fn fresh_for(&self, now: Timestamp) -> Duration {
        match &self.held {
            Some(held) => match held.credentials.expiration() {
                None if held.standing(now) == Standing::Due => Duration::ZERO,
                None => policy::RECHECK.saturating_sub(policy::until(held.given, now)),
                Some(end) => policy::until(now, end).saturating_sub(held.margin(end)),
            },
            None => Duration::ZERO,
        }
    }

    /// Notes that the server refused `set`; true if that was news of the current one.
    pub(super) fn refuse(&mut self, set: &Arc<Credentials>, now: Timestamp) -> bool {
        let Some(held) = self.held.as_mut() else {
            return false;
        };
        if !held.credentials.signs_like(set) || held.refusal != Refusal::None {
            return false;
        }
        held.refusal = Refusal::New;
        let age = policy::until(held.adopted, now);
        let life = held
            .credentials
            .expiration()
            .map(|end| policy::until(held.adopted, end));
        let quick = age < life.map_or(QUICK_REFUSAL, |life| (life / 2).min(QUICK_REFUSAL));
        self.quick_refusals = if quick { self.quick_refusals + 1 } else { 0 };
        // One refusal is a rotation. Set after set refused at once is a role that is gone: slow down.
        self.not_before = (self.quick_refusals > 1)
            .then(|| Instant::now() + policy::pause(self.quick_refusals, None, fastrand::f64()));
        self.refused.push_back(Arc::clone(&held.credentials));
        if self.refused.len() > REFUSED_MAX {
            self.refused.pop_front();
        }
        true
    }

    /// Whether an offered set would become the current one.
    pub(super) fn judge(&self, offered: &Credentials, now: Timestamp) -> Verdict {
        let incumbent = self.held.as_ref().map(|held| Incumbent {
            credentials: &held.credentials,
            refused: held.refusal != Refusal::None,
        });
        let before = self.refused.iter().any(|set| set.signs_like(offered));
        policy::verdict(incumbent, offered, before, now)
    }

    /// Adopts the offered set that lives longest, if one will do.
    pub(super) fn settle(&mut self, offers: Vec<Offer>, now: Timestamp) -> Outcome {
        let mut best: Option<(Credentials, Source)> = None;
        let mut troubles = Vec::new();
        let (mut harmless, mut broken) = (false, false);
        for Offer { origin, answer } in offers {
            let offered = match answer {
                Ok(offered) => offered,
                Err(trouble) => {
                    broken |= matches!(trouble, Trouble::Unusable(_));
                    troubles.push((origin, trouble));
                    continue;
                }
            };
            let verdict = self.judge(&offered, now);
            harmless |= matches!(verdict, Verdict::Same | Verdict::Older);
            if verdict != Verdict::Adopt {
                troubles.push((origin.clone(), complaint(&origin, verdict, &offered, now)));
            } else if best
                .as_ref()
                .is_none_or(|(best, _)| policy::ends_later(offered.expiration(), best.expiration()))
            {
                best = Some((offered, origin));
            }
        }
        match best {
            Some((credentials, origin)) => self.adopt(credentials, origin, now),
            None => self.fruitless(troubles, harmless && !broken, now),
        }
    }

    fn adopt(&mut self, credentials: Credentials, origin: Source, now: Timestamp) -> Outcome {
        let credentials = Arc::new(credentials);
        let first = self.held.is_none();
        // INVARIANT: a set that anybody was refused is marked so for as long as it is current, or who waits for another
        // would see a living set, ask for no attempt, and look again at once, for ever.
        let refused = self.refused.iter().any(|set| set.signs_like(&credentials));
        self.held = Some(Held {
            credentials: Arc::clone(&credentials),
            origin: origin.clone(),
            adopted: now,
            given: now,
            spread: fastrand::f64(),
            refusal: if refused {
                Refusal::Standing
            } else {
                Refusal::None
            },
        });
        self.fruitless = 0;
        self.warned = false;
        self.lost = None;
        self.refused_since = None;
        self.not_before = None;
        self.troubles.clear();
        Outcome::Adopted {
            credentials,
            origin,
            first,
        }
    }

    fn fruitless(
        &mut self,
        troubles: Vec<(Source, Trouble)>,
        harmless: bool,
        now: Timestamp,
    ) -> Outcome {
        if harmless && self.is_given_again(now) {
            return Outcome::Nothing;
        }
        self.fruitless = self.fruitless.saturating_add(1);
        self.troubles = troubles;
        let mut left = None;
        let mut alive = false;
        if let Some(held) = self.held.as_mut() {
            if held.refusal == Refusal::New {
                held.refusal = Refusal::Standing;
            }
            alive = held.refusal == Refusal::None;
            if alive {
                left = match held.credentials.expiration() {
                    Some(end) => Some(policy::until(now, end)),
                    // It lives on, and is asked for again as often as one that ends later.
                    None => Some(policy::RECHECK),
                };
                alive = left != Some(Duration::ZERO);
            }
        }
        self.not_before =
            Some(Instant::now() + policy::pause(self.fruitless, left, fastrand::f64()));
        if alive && harmless {
            return Outcome::Nothing;
        }
        let first = !std::mem::replace(&mut self.warned, true);
        Outcome::Failed {
            reason: self.reason(),
            first,
        }
    }

    /// Notes that a set without an end, of which nobody was refused, is still what there is.
    fn is_given_again(&mut self, now: Timestamp) -> bool {
        let endless = |held: &&mut Held| {
            held.credentials.expiration().is_none() && held.refusal == Refusal::None
        };
        let Some(held) = self.held.as_mut().filter(endless) else {
            return false;
        };
        held.given = now;
        self.fruitless = 0;
        self.not_before = None;
        self.troubles.clear();
        true
    }

    /// How things stand, for whoever asks.
    pub(super) fn outlook(&self, now: Timestamp) -> Outlook {
        let held = self.held.as_ref();
        let expires = held.and_then(|held| held.credentials.expiration());
        let fresh = self.fresh_for(now);
        let refreshes = SignedDuration::try_from(fresh).ok();
        let refreshes = refreshes.filter(|_| expires.is_some());
        Outlook {
            origin: held.map(|held| held.origin.to_string()),
            key: held.map(|held| held.credentials.short_id()),
            expires,
            refreshes: refreshes.and_then(|fresh| now.checked_add(fresh).ok()),
            is_alive: held.is_some_and(|held| {
                held.standing(now) != Standing::Dead && held.refusal == Refusal::None
            }),
            trouble: (!self.troubles.is_empty()).then(|| self.reason()),
        }
    }

    /// What the last attempt ended with, place by place.
    fn reason(&self) -> String {
        if self.troubles.is_empty() {
            return "the sources have not answered yet".to_owned();
        }
        let reasons: Vec<&str> = self
            .troubles
            .iter()
            .map(|(_, trouble)| trouble.reason())
            .collect();
        reasons.join("; ")
    }

    /// Why a caller who has waited long enough gets nothing.
    pub(super) fn error(&self, now: Timestamp) -> Error {
        let reason = self.reason();
        if let Some(held) = &self.held {
            return match held.credentials.expiration() {
                Some(since) if since <= now => Error::Gone { since, reason },
                _ => Error::Refused {
                    access_key_id: held.credentials.short_id(),
                    reason,
                },
            };
        }
        let found = self
            .troubles
            .iter()
            .find(|(_, trouble)| matches!(trouble, Trouble::Unusable(_)));
        match (found, self.troubles.first()) {
            (Some((origin, _)), _) => Error::Unusable {
                origin: origin.clone(),
                reason,
            },
            (None, _) => Error::NotInjected { looked_at: reason },
        }
    }
}

impl Held {
    fn standing(&self, now: Timestamp) -> Standing {
        match self.credentials.expiration() {
            Some(end) => policy::standing(end, self.adopted, self.spread, now),
            None => policy::standing_without_end(self.given, now),
        }
    }

    fn margin(&self, end: Timestamp) -> Duration {
        policy::margin(policy::until(self.adopted, end), self.spread)
    }
}

/// Why a set that was offered is not adopted.
pub(super) fn complaint(
    origin: &Source,
    verdict: Verdict,
    offered: &Credentials,
    now: Timestamp,
) -> Trouble {
    let what = match verdict {
        Verdict::Adopt => "has a set that will do".to_owned(),
        Verdict::Same => "still has the same set".to_owned(),
        Verdict::Older => "has an older set".to_owned(),
        Verdict::Refused => "has a set that was refused before".to_owned(),
        Verdict::Expired => match offered.expiration() {
            Some(end) => format!(
                "has a set that expired at {end}, {} s ago by this machine's clock",
                policy::until(end, now).as_secs()
            ),
            None => "has an expired set".to_owned(),
        },
    };
    Trouble::Unusable(format!("{origin} {what}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::super::set::Secret;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn offer(name: &str, end: i64) -> Vec<Offer> {
        offered(name, Some(at(end)))
    }

    fn offered(name: &str, end: Option<Timestamp>) -> Vec<Offer> {
        let (secret, token) = (Secret::from("s"), Secret::from("t"));
        let set = Credentials::new(format!("STS.{name}"), secret, Some(token), end);
        vec![Offer {
            origin: Source::Env,
            answer: Ok(set),
        }]
    }

    fn current(state: &State, now: i64) -> Option<Arc<Credentials>> {
        match state.look(None, at(now)) {
            Look::Use(set) | Look::UseAndRenew(set) => Some(set),
            Look::Wait => None,
        }
    }

    #[test]
    fn a_refused_request_does_not_use_up_the_hold_of_a_later_loss() {
        let mut state = State::default();
        state.settle(offer("a", 100), at(0));
        let set = current(&state, 1).unwrap();
        assert!(state.refuse(&set, at(1)) && !state.refuse(&set, at(1)));
        assert!(
            current(&state, 1).is_none(),
            "the first attempt is waited for"
        );
        let refused = state.waits_since(at(1));
        state.settle(offer("a", 100), at(2));
        assert!(
            current(&state, 2).is_some(),
            "one refusal may be the request's fault"
        );
        while Instant::now() <= refused {
            std::hint::spin_loop();
        }
        assert_eq!(state.waits_since(at(3)), refused);
        assert!(state.waits_since(at(100)) > refused);
        assert!(matches!(state.error(at(3)), Error::Refused { .. }));
        assert!(matches!(state.error(at(100)), Error::Gone { .. }));
    }

    #[test]
    fn a_set_without_an_end_is_asked_for_again_and_lives_on() {
        let mut state = State::default();
        let is_due = |state: &State, now| matches!(state.look(None, at(now)), Look::UseAndRenew(_));
        state.settle(offered("a", None), at(0));
        assert!(!is_due(&state, 299) && is_due(&state, 300) && is_due(&state, -1));
        assert_eq!(state.fresh_for(at(100)), Duration::from_secs(200));
        assert!(state.fresh_for(at(300)).is_zero() && state.wants_attempt(at(300)));
        // The same set again: it is not sought at once once more.
        let outcome = state.settle(offered("a", None), at(300));
        assert!(matches!(outcome, Outcome::Nothing) && state.not_before.is_none());
        assert!(!is_due(&state, 599) && is_due(&state, 600));
        let outlook = state.outlook(at(599));
        assert!(outlook.is_alive && outlook.trouble.is_none() && outlook.refreshes.is_none());
        // Its source fails: it is used on, and the source is not stormed.
        let broken = Trouble::unusable("broken");
        let origin = Source::Env;
        for _ in 0..20 {
            let answer = Err(broken.clone());
            let origin = origin.clone();
            state.settle(vec![Offer { origin, answer }], at(600));
        }
        let pause = state.not_before.unwrap() - Instant::now();
        assert!(pause > Duration::from_secs(14), "{pause:?}");
        assert!(is_due(&state, 600), "used all the same");
        state.settle(offered("b", None), at(601));
        assert_eq!(current(&state, 602).unwrap().access_key_id(), "STS.b");
    }

    #[test]
    fn a_refused_set_that_returns_because_all_others_died_is_still_marked() {
        let mut state = State::default();
        state.settle(offer("a", 100), at(0));
        let a = current(&state, 1).unwrap();
        state.refuse(&a, at(1));
        state.settle(offer("b", 10), at(2));
        state.settle(offer("a", 100), at(3));
        assert_eq!(current(&state, 3).unwrap().access_key_id(), "STS.b");
        state.settle(offer("a", 100), at(11));
        assert_eq!(current(&state, 11).unwrap().access_key_id(), "STS.a");
        assert!(matches!(state.look(Some(&a), at(11)), Look::Wait));
        assert!(
            state.wants_attempt(at(11)),
            "who waits for another gets attempts"
        );
    }
}
