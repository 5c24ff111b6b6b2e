//! The one owner of the current set: hands it out, has it renewed, holds callers while there is none.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::error::{Error, Trouble};
use super::fetch::{Offer, Places};
use super::outlook::Outlook;
use super::policy::Verdict;
use super::set::Credentials;
use super::source::Source;
use super::state::{Look, Outcome, State};
use super::{Config, clock};
use crate::metrics::Metrics;

/// How long a caller is held who comes when others have been held for the whole bound already: time for one more
/// attempt.
const LATE_HOLD: Duration = Duration::from_secs(10);
/// How soon a file that was found torn is looked at again.
const TORN_POLL: Duration = Duration::from_millis(100);
/// How often a torn file is looked at that soon, before it is taken to stay like that.
const TORN_POLLS: u32 = 20;
/// How soon the background loop looks again while an attempt is due or under way.
const RESTLESS_POLL: Duration = Duration::from_millis(200);
/// The background loop's shortest and longest rest when there is no file to look at.
const REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(60));

/// Hands out credentials and keeps them alive. Shared as `Arc`.
///
/// An attempt to get a new set is a task of the provider: at most one at a time, whoever asked for it; a caller that
/// goes away takes nothing with it, and dropping the provider ends the task.
#[derive(Debug)]
pub struct Provider {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    places: Places,
    hold: Duration,
    start_wait: Duration,
    poll: Duration,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// Counts settled attempts and adoptions; who waits, waits for a change.
    rounds: watch::Sender<u64>,
}

impl Provider {
    /// A provider that knows nothing yet. Nothing is read before [`Provider::first`].
    ///
    /// # Errors
    /// [`Error::Setup`] if no HTTP client can be made.
    pub fn new(config: Config, metrics: Arc<Metrics>) -> Result<Arc<Self>, Error> {
        let (hold, start_wait, poll) = (config.hold, config.start_wait, config.poll);
        let inner = Arc::new(Inner {
            places: Places::new(config)?,
            hold,
            start_wait,
            poll,
            metrics,
            state: Mutex::default(),
            rounds: watch::Sender::new(0),
        });
        Ok(Arc::new(Self { inner }))
    }

    /// The first set, at start. What is not injected yet, or not whole, is waited for up to
    /// [`Config::start_wait`]; what can never change is not. A source that is being asked then is waited for to its own limit.
    ///
    /// # Errors
    /// [`Error::NotInjected`] if there was nothing anywhere, [`Error::Unusable`] if what there was cannot be used.
    pub async fn first(&self) -> Result<Arc<Credentials>, Error> {
        let deadline = Instant::now() + self.inner.start_wait;
        let mut rounds = self.inner.rounds.subscribe();
        loop {
            if let Some(credentials) = self.look(None) {
                return Ok(credentials);
            }
            let settled = timeout_at(deadline, rounds.changed()).await.is_ok();
            if !settled && self.inner.lock().is_asking {
                // Every source has a limit of its own; the longest is that of a command.
                let _ = rounds.changed().await;
            }
            if !settled || !self.inner.places.can_change() {
                return self.look(None).ok_or_else(|| self.error());
            }
        }
    }

    /// The set to sign the next attempt with.
    ///
    /// Costs one uncontended lock while the current set lives. When it has expired, the caller is held for up to
    /// [`Config::hold`] while a new one is sought; dropping the future ends the hold at once.
    ///
    /// # Errors
    /// [`Error::Gone`] when the hold was in vain; [`Error::NotInjected`] or [`Error::Unusable`] if there never was a set.
    pub async fn current(&self) -> Result<Arc<Credentials>, Error> {
        match self.look(None) {
            Some(credentials) => Ok(credentials),
            None => self.held(None).await,
        }
    }

    /// A set other than `refused`, with which a request was refused as if it had expired.
    ///
    /// If the current set is another already, it is returned at once. Otherwise one refresh is forced for all who
    /// ask, and repeated with growing pauses while the sources keep giving the same set.
    ///
    /// # Errors
    /// [`Error::Refused`] when no other set came within [`Config::hold`], [`Error::Gone`] if the refused one has expired
    /// meanwhile.
    pub async fn replace(&self, refused: &Arc<Credentials>) -> Result<Arc<Credentials>, Error> {
        if self.inner.lock().refuse(refused, clock::now()) {
            self.inner.metrics.credentials.forced.inc();
            tracing::debug!(
                key = refused.short_id(),
                "credentials refused by the server"
            );
        }
        match self.look(Some(refused)) {
            Some(credentials) => Ok(credentials),
            None => self.held(Some(refused)).await,
        }
    }

    /// How the current set stands, for whoever looks at a mount.
    #[must_use]
    pub fn outlook(&self) -> Outlook {
        self.inner.lock().outlook(clock::now())
    }

    /// Renews ahead of expiry and notices changes of the file, for ever: the owner spawns it and aborts it at the end.
    pub async fn watch(self: Arc<Self>) {
        let mut torn = 0;
        loop {
            let file = self.inner.places.watched_file();
            let mut rest = self.inner.rest(file.is_some());
            if torn > 0 && torn <= TORN_POLLS {
                rest = rest.min(TORN_POLL);
            }
            sleep(rest).await;
            if let Some(path) = file {
                torn = if self.inner.poll(path).await {
                    0
                } else {
                    torn + 1
                };
                if torn == TORN_POLLS {
                    tracing::warn!(file = %path.display(), "the credentials file stays unreadable; keeping the old set");
                }
            }
            self.inner.nudge();
        }
    }

    /// A set to use now, if there is one; has an attempt made if that is called for.
    fn look(&self, unwanted: Option<&Credentials>) -> Option<Arc<Credentials>> {
        let mut state = self.inner.lock();
        match state.look(unwanted, clock::now()) {
            Look::Use(credentials) => Some(credentials),
            Look::UseAndRenew(credentials) => {
                // Nobody waits for this one, so its pause is not slept through by a task that others would join.
                if state
                    .not_before
                    .is_none_or(|moment| moment <= Instant::now())
                {
                    self.inner.start(&mut state);
                }
                Some(credentials)
            }
            Look::Wait => {
                self.inner.start(&mut state);
                None
            }
        }
    }

    /// Waits for a set to use, within the hold bound.
    async fn held(&self, unwanted: Option<&Credentials>) -> Result<Arc<Credentials>, Error> {
        self.inner.metrics.credentials.held.inc();
        let arrived = Instant::now();
        let since = self.inner.lock().waits_since(clock::now());
        let hold = self.inner.hold;
        let deadline = (since + hold).max(arrived + hold.min(LATE_HOLD));
        let mut rounds = self.inner.rounds.subscribe();
        loop {
            if let Some(credentials) = self.look(unwanted) {
                return Ok(credentials);
            }
            let settled = timeout_at(deadline, rounds.changed()).await.is_ok();
            if !settled || !self.inner.places.can_change() {
                return self.look(unwanted).ok_or_else(|| self.error());
            }
        }
    }

    fn error(&self) -> Error {
        self.inner.lock().error(clock::now())
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        if let Some(attempt) = self.inner.lock().attempt.take() {
            attempt.abort();
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement; a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts an attempt unless one is under way.
    fn start(self: &Arc<Self>, state: &mut State) {
        let busy = state
            .attempt
            .as_ref()
            .is_some_and(|attempt| !attempt.is_finished());
        if !busy {
            let inner = Arc::clone(self);
            state.attempt = Some(tokio::spawn(async move { inner.attempt().await }).abort_handle());
        }
    }

    /// Starts an attempt if one is called for and its time has come.
    fn nudge(self: &Arc<Self>) {
        let mut state = self.lock();
        let rested = state
            .not_before
            .is_none_or(|moment| moment <= Instant::now());
        if rested && state.fresh_for(clock::now()).is_zero() {
            self.start(&mut state);
        }
    }

    /// One attempt: waits its turn, asks, settles, wakes who waits.
    async fn attempt(&self) {
        let not_before = self.lock().not_before;
        if let Some(moment) = not_before {
            sleep_until(moment).await;
        }
        // The file may have brought a set during the pause.
        let is_wanted = {
            let mut state = self.lock();
            state.is_asking = state.wants_attempt(clock::now());
            state.is_asking
        };
        let offers = if is_wanted {
            let wanted = |set: &Credentials| self.lock().judge(set, clock::now()) == Verdict::Adopt;
            Some(self.places.ask(wanted).await)
        } else {
            None
        };
        let outcome = {
            let mut state = self.lock();
            state.attempt = None;
            state.is_asking = false;
            offers.map(|offers| state.settle(offers, clock::now()))
        };
        self.rounds.send_modify(|round| *round += 1);
        if let Some(outcome) = outcome {
            self.report(&outcome);
        }
    }

    /// Looks at the file; false if it is torn.
    async fn poll(&self, path: &Path) -> bool {
        let news = match self.places.glance(path).await {
            Ok(set) => self.lock().judge(&set, clock::now()) == Verdict::Adopt,
            Err(Trouble::Absent(_)) => false,
            Err(Trouble::Unusable(_)) => return false,
        };
        if news {
            let offer = self.places.ask_one(Source::File(path.to_owned())).await;
            return self.take(offer);
        }
        true
    }

    /// Adopts what the file offers, outside an attempt; false if it is torn after all.
    fn take(&self, offer: Offer) -> bool {
        let outcome = {
            let mut state = self.lock();
            let now = clock::now();
            match &offer.answer {
                Err(_) => return false,
                Ok(set) if state.judge(set, now) != Verdict::Adopt => return true,
                Ok(_) => state.settle(vec![offer], now),
            }
        };
        self.rounds.send_modify(|round| *round += 1);
        self.report(&outcome);
        true
    }

    /// How long the background loop may rest.
    fn rest(&self, has_file: bool) -> Duration {
        let fresh = self.lock().fresh_for(clock::now());
        let (min, max) = REST;
        let max = if has_file { self.poll.max(min) } else { max };
        if fresh.is_zero() {
            RESTLESS_POLL.min(max)
        } else {
            fresh.clamp(min, max)
        }
    }

    fn report(&self, outcome: &Outcome) {
        let metrics = &self.metrics.credentials;
        match outcome {
            Outcome::Adopted {
                credentials,
                origin,
                first,
            } => {
                metrics.adopted.inc();
                let end = credentials.expiration();
                metrics
                    .expires_at_seconds
                    .set(end.map_or(0, Timestamp::as_second));
                let what = if *first { "found" } else { "renewed" };
                let expires = end.map_or_else(|| "never".to_owned(), |end| end.to_string());
                let (key, role) = (credentials.short_id(), credentials.role());
                tracing::info!(source = %origin, role, expires, key, "credentials {what}");
            }
            Outcome::Nothing => {
                tracing::debug!("credentials are due, and the sources have no newer ones yet");
            }
            Outcome::Failed { reason, first } => {
                metrics.failures.inc();
                if *first {
                    tracing::warn!(reason, "no new credentials; trying on");
                } else {
                    tracing::debug!(reason, "no new credentials; trying on");
                }
            }
        }
    }
}
