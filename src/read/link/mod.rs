//! How many GETs are worth having in flight, and how long one should be, learned from how they do. Pure: no clock, no
//! lock, no I/O.
//!
//! **How many.** The wire rewards parallel GETs up to some number and no further: what comes after costs memory, and CPU
//! for connections that wait for each other. The number is looked for among [`LEVELS`]. An **epoch** is a time in which GETs
//! were held back by the number, so that what arrived says something of the number and not of the readers. Each epoch
//! gives its level a rate. At first levels are climbed as long as the rate grows; then the lowest level
//! stays whose rate is within a few per cent of the best, and now and then the level above or below is tried for one
//! epoch. Rates of levels that look better than they are correct themselves: they are chosen, and measured.
//! Rising latency needs no rule of its own: where more GETs in flight only wait longer, fewer have the same rate.
//!
//! **Throttling** halves the number and forbids what lies above for a time.
//!
//! **Before the first epoch** the number is a guess from the first GETs: so many connections as would carry
//! [`GUESSED_RATE`], so that a stream of a second is not spent on climbing.
//!
//! **How long.** A GET costs a time to its first byte in which its connection carries nothing. A part is so long that this is
//! about a fifth of it, for a GET that has link and CPU for itself: where they are short, shorter parts would only cost more.

use std::time::{Duration, Instant};

/// The numbers of GETs in flight that are tried: each a third to a half more than the one before.
const LEVELS: [usize; 15] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192];

/// Bytes per second that the first guess aims at: 25 Gbit/s.
const GUESSED_RATE: f64 = 3.2e9;

/// The most and the fewest GETs that are guessed. More have to be earned: where the CPU is the bound, connections beyond need
/// only cost memory, and fresh memory costs CPU.
const GUESS_MAX: usize = 12;
const GUESS_MIN: usize = 4;

/// The guess before the first GET has ended.
const BLIND_GUESS: usize = 12;

/// The least time of an epoch. Shorter ones would measure the scheduler.
const EPOCH_MIN: Duration = Duration::from_millis(100);

/// A higher level is climbed on from if its rate is so many times that of the best below.
const CLIMB: f64 = 1.12;

/// A level is as good as the best if it has this share of its rate.
const AS_GOOD: f64 = 0.95;

/// Epochs between two trials of a neighbour: at first, and at most. They double while trials bring nothing.
const TRIAL_EPOCHS_MIN: u32 = 4;
const TRIAL_EPOCHS_MAX: u32 = 64;

/// How long the levels above a throttled one are forbidden. Each time it doubles, up to the second.
const FORBIDDEN_MIN: Duration = Duration::from_secs(10);
const FORBIDDEN_MAX: Duration = Duration::from_secs(160);

/// Weight of a new measurement.
const WEIGHT: f64 = 0.5;

/// What the best GET fades by with each that follows.
const FORGETTING: f64 = 0.005;

/// The shortest and the longest part, in bytes. Parts of 16 MiB doubled every window and were slower at 20 ms.
const PART_BYTES_MIN: u64 = 1 << 20;
const PART_BYTES_MAX: u64 = 8 << 20;

/// What a request costs beside its latency: it is signed, sent and answered.
const REQUEST_COST: Duration = Duration::from_millis(1);

/// One connection should be busy with a part for so long at least, up to [`BUSY_BYTES_MAX`]: near servers answer at once, but
/// requests cost CPU on both ends.
const BUSY_MIN: Duration = Duration::from_millis(60);
const BUSY_BYTES_MAX: u64 = 8 << 20;

/// The part before the first GET has ended.
const PART_BYTES_FIRST: u64 = 8 << 20;

/// Running counts of the whole program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Body bytes received.
    pub(super) bytes: u64,
    /// Answers that asked to slow down.
    pub(super) throttled: u64,
}

/// One GET that is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// From the request to the head of its answer.
    pub(super) first_byte: Duration,
    /// From there to its last byte.
    pub(super) body: Duration,
    /// Bytes of the body.
    pub(super) bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Epoch {
    began: Instant,
    counts: Counts,
    done: usize,
    /// GETs that began before it and may still be told to slow down.
    older: usize,
    /// GETs were waiting all the time.
    is_held_back: bool,
}

/// What is known of the link.
#[derive(Debug)]
pub(super) struct Link {
    /// Highest index into [`LEVELS`] that may be used.
    highest: usize,
    /// Index of the number that is used now.
    level: usize,
    /// Index of the number that is believed in.
    base: usize,
    is_climbing: bool,
    /// Bytes per second, by level.
    rates: [Option<f64>; LEVELS.len()],
    epoch: Option<Epoch>,
    epochs_to_trial: u32,
    trial_epochs: u32,
    tries_up: bool,
    /// Until when levels from here on are forbidden.
    forbidden: Option<(usize, Instant)>,
    forbidden_for: Duration,
    /// Seconds to the first byte, and bytes per second of one connection, as they are when it has link and CPU for itself:
    /// the best that were seen, forgotten slowly.
    first_byte: Option<f64>,
    connection_rate: Option<f64>,
}

impl Link {
    /// A link of which nothing is known; at most `gets_max` GETs are ever recommended.
    pub(super) fn new(gets_max: usize) -> Self {
        let highest = level_for(gets_max.max(1));
        let level = level_for(BLIND_GUESS).min(highest);
        Self {
            highest,
            level,
            base: level,
            is_climbing: true,
            rates: [None; LEVELS.len()],
            epoch: None,
            epochs_to_trial: TRIAL_EPOCHS_MIN,
            trial_epochs: TRIAL_EPOCHS_MIN,
            tries_up: false,
            forbidden: None,
            forbidden_for: FORBIDDEN_MIN,
            first_byte: None,
            connection_rate: None,
        }
    }

    /// GETs that are worth having in flight.
    pub(super) fn gets(&self) -> usize {
        LEVELS[self.level]
    }

    /// Bytes that one GET should ask for: a power of two.
    pub(super) fn part_bytes(&self) -> u64 {
        let (Some(first_byte), Some(rate)) = (self.first_byte, self.connection_rate) else {
            return PART_BYTES_FIRST;
        };
        let for_latency = 4.0 * (first_byte + REQUEST_COST.as_secs_f64()) * rate;
        let for_requests = (BUSY_MIN.as_secs_f64() * rate).min(BUSY_BYTES_MAX as f64);
        let bytes = for_latency.max(for_requests);
        // To the nearest power of two, by ratio, so that noise moves it seldom.
        let power = bytes.max(1.0).log2().round().clamp(0.0, 62.0);
        let bytes = power.exp2();
        let bytes = bytes.clamp(PART_BYTES_MIN as f64, PART_BYTES_MAX as f64);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to a few megabytes"
        )]
        let bytes = bytes as u64;
        bytes
    }

    /// A GET begins while no other is in flight: what was measured before was idle time.
    pub(super) fn wakes(&mut self, now: Instant, counts: Counts) {
        self.begin(now, counts);
    }

    /// No GET is held back any more.
    pub(super) fn is_free(&mut self) {
        if let Some(epoch) = &mut self.epoch {
            epoch.is_held_back = false;
        }
    }

    /// A GET is done; `is_held_back` if others wait for its place.
    pub(super) fn done(
        &mut self,
        now: Instant,
        counts: Counts,
        sample: &Sample,
        is_held_back: bool,
    ) {
        self.learn(sample);
        let Some(epoch) = &mut self.epoch else {
            self.begin(now, counts);
            return;
        };
        epoch.done += 1;
        epoch.is_held_back &= is_held_back;
        if epoch.done == epoch.older {
            (epoch.began, epoch.counts) = (now, counts);
        }
        let epoch = *epoch;
        if epoch.done <= epoch.older {
            return;
        }
        if counts.throttled > epoch.counts.throttled {
            let older = self.gets();
            self.throttled(now);
            self.begin(now, counts);
            self.epoch = self.epoch.map(|epoch| Epoch { older, ..epoch });
            return;
        }
        if !epoch.is_held_back {
            self.begin(now, counts);
            return;
        }
        let took = now.saturating_duration_since(epoch.began);
        if epoch.done < epoch.older + self.gets() || took < EPOCH_MIN {
            return;
        }
        let bytes = counts.bytes.saturating_sub(epoch.counts.bytes);
        self.measured(now, bytes as f64 / took.as_secs_f64());
        self.begin(now, counts);
    }

    fn begin(&mut self, now: Instant, counts: Counts) {
        self.epoch = Some(Epoch {
            began: now,
            counts,
            done: 0,
            older: 0,
            is_held_back: true,
        });
    }

    fn learn(&mut self, sample: &Sample) {
        let first_byte = sample.first_byte.as_secs_f64();
        let known = self.first_byte.get_or_insert(first_byte);
        *known = first_byte.min(*known * (1.0 + FORGETTING));
        let body = sample.body.as_secs_f64();
        if sample.bytes >= PART_BYTES_MIN && body > 0.0 {
            let rate = sample.bytes as f64 / body;
            let known = self.connection_rate.get_or_insert(rate);
            *known = rate.max(*known * (1.0 - FORGETTING));
        }
        if self.rates.iter().all(Option::is_none) && self.forbidden.is_none() {
            self.guess();
        }
    }

    fn guess(&mut self) {
        let (Some(first_byte), Some(rate)) = (self.first_byte, self.connection_rate) else {
            return;
        };
        let part = self.part_bytes() as f64;
        let effective = part / (first_byte + part / rate);
        let wanted = (GUESSED_RATE / effective).ceil();
        let wanted = wanted.clamp(GUESS_MIN as f64, GUESS_MAX as f64);
        let level = LEVELS.iter().position(|&gets| gets as f64 >= wanted);
        self.level = level.unwrap_or(self.highest).min(self.highest);
        self.base = self.level;
    }

    /// The levels that may be used now end here.
    fn ceiling(&mut self, now: Instant) -> usize {
        match self.forbidden {
            Some((level, until)) if now < until => level.saturating_sub(1).min(self.highest),
            Some((level, _)) => {
                // Upwards one level at a time, and faster once this one is good again.
                self.forbidden_for = (self.forbidden_for / 2).max(FORBIDDEN_MIN);
                let next = level + 1;
                self.forbidden = (next <= self.highest).then(|| (next, now + self.forbidden_for));
                level.min(self.highest)
            }
            None => self.highest,
        }
    }

    fn throttled(&mut self, now: Instant) {
        // A trial has gone too far; else nothing is sure any more.
        let half = match self.level > self.base {
            true => self.base,
            false => level_for((self.gets() / 2).max(1)),
        };
        self.forbidden = Some((self.level.max(1), now + self.forbidden_for));
        self.forbidden_for = (2 * self.forbidden_for).min(FORBIDDEN_MAX);
        self.rates[self.level] = None;
        self.level = half;
        self.base = half;
        self.is_climbing = false;
        self.trial_epochs = TRIAL_EPOCHS_MIN;
        self.epochs_to_trial = self.trial_epochs;
        self.tries_up = true;
    }

    fn measured(&mut self, now: Instant, rate: f64) {
        let ceiling = self.ceiling(now);
        let known = &mut self.rates[self.level];
        *known = Some(known.map_or(rate, |known| known + WEIGHT * (rate - known)));
        if self.is_climbing {
            self.climb(rate, ceiling);
        } else {
            self.settle(ceiling);
        }
    }

    fn climb(&mut self, rate: f64, ceiling: usize) {
        let below = self.rates[..self.level].iter().flatten();
        let below = below.copied().fold(0.0, f64::max);
        let next = (self.level + 1).min(ceiling);
        if rate >= CLIMB * below && next > self.level {
            self.level = next;
            return;
        }
        self.is_climbing = false;
        self.tries_up = false;
        self.epochs_to_trial = 0;
        self.settle(ceiling);
    }

    /// Goes to the lowest level that is as good as the best, or tries one of its neighbours.
    fn settle(&mut self, ceiling: usize) {
        let best = self.rates[..=ceiling].iter().flatten();
        let best = best.copied().fold(0.0, f64::max);
        let is_good = |rate: &Option<f64>| rate.is_some_and(|rate| rate >= AS_GOOD * best);
        let base = self.rates[..=ceiling].iter().position(is_good);
        let base = base.unwrap_or(self.level.min(ceiling));
        if base != self.base {
            self.trial_epochs = TRIAL_EPOCHS_MIN;
            // Lower ones may be as good still: look at once where a step down has just paid.
            self.epochs_to_trial = self.epochs_to_trial.min(1);
            self.tries_up = base > self.base;
        }
        self.base = base;
        self.level = base;
        if self.epochs_to_trial > 0 {
            self.epochs_to_trial -= 1;
            return;
        }
        self.epochs_to_trial = self.trial_epochs;
        self.trial_epochs = (2 * self.trial_epochs).min(TRIAL_EPOCHS_MAX);
        let (up, down) = ((base + 1).min(ceiling), base.saturating_sub(1));
        self.level = if self.tries_up { up } else { down };
        self.tries_up = !self.tries_up;
    }
}

/// The highest level of at most so many GETs.
fn level_for(gets: usize) -> usize {
    LEVELS.iter().rposition(|&level| level <= gets).unwrap_or(0)
}

#[cfg(test)]
mod tests;
