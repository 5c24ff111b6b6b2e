//! Random faults and how they are written: `5xx=0.01,reset=0.005,seed=7`.

use std::str::FromStr;
use std::time::Duration;

use super::{Fault, THROTTLE_CODES};

/// Kinds of random faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// `5xx`: 500 InternalError or 503 ServiceUnavailable.
    ServerError,
    /// `throttle`: 503 with one of [`THROTTLE_CODES`].
    Throttle,
    /// `delay`: served 50 to 500 ms late, with `x-oss-qos-delay-time`.
    Delay,
    /// `reset`: the connection is reset before the answer or inside the body.
    Reset,
    /// `lost`: the request has its effect and no answer.
    AnswerLost,
    /// `cut`: the body ends early.
    Cut,
    /// `stall`: the answer or the body stops until [`FaultPlan::release`](super::FaultPlan::release) or the end of the connection.
    Stall,
    /// `lie`: wrong status, `Content-Range`, ETag or CRC.
    Lie,
    /// `flip`: one byte of the body is wrong.
    Flip,
    /// `up-reset`: the connection is reset inside the request's body.
    RequestReset,
    /// `up-stall`: no more of the request's body is taken until [`FaultPlan::release`](super::FaultPlan::release).
    RequestStall,
    /// `up-flip`: one byte of the request's body arrives wrong.
    RequestFlip,
    /// `skip`: a batch delete leaves some keys undeleted and unsaid.
    Skip,
}

const KINDS: [(FaultKind, &str); 13] = [
    (FaultKind::ServerError, "5xx"),
    (FaultKind::Throttle, "throttle"),
    (FaultKind::Delay, "delay"),
    (FaultKind::Reset, "reset"),
    (FaultKind::AnswerLost, "lost"),
    (FaultKind::Cut, "cut"),
    (FaultKind::Stall, "stall"),
    (FaultKind::Lie, "lie"),
    (FaultKind::Flip, "flip"),
    (FaultKind::RequestReset, "up-reset"),
    (FaultKind::RequestStall, "up-stall"),
    (FaultKind::RequestFlip, "up-flip"),
    (FaultKind::Skip, "skip"),
];

/// Random positions in a body are spread evenly over the powers of two up to this one.
const POSITION_LOG2_MAX: u32 = 23;

/// How likely each kind of fault is, and the seed they are drawn from. Default: nothing goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RandomFaults {
    probability: [f64; KINDS.len()],
    /// The same seed and the same order of requests give the same faults. Default: 0.
    pub seed: u64,
}

/// Why a text is no [`RandomFaults`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A piece without `=`, or a name that is none.
    #[error(
        "'{0}' is not one of 5xx, throttle, delay, reset, lost, cut, stall, lie, flip, up-reset, up-stall, up-flip, skip or seed, each with '=' and a number"
    )]
    Name(String),
    /// A probability outside 0 to 1, or not a number.
    #[error("the probability of '{0}' is a number from 0 to 1")]
    Probability(String),
    /// A seed that is no whole number.
    #[error("the seed is a whole number")]
    Seed,
}

impl RandomFaults {
    /// The same with one probability, from 0 to 1; values outside are clipped.
    #[must_use]
    pub fn with(mut self, kind: FaultKind, probability: f64) -> Self {
        self.probability[kind as usize] = probability.clamp(0.0, 1.0);
        self
    }

    /// The same with another seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    pub(super) fn draw(&self, generator: &mut fastrand::Rng) -> Option<Fault> {
        let (kind, _) = KINDS
            .into_iter()
            .find(|(kind, _)| generator.f64() < self.probability[*kind as usize])?;
        let position = 1_u64
            .checked_shl(generator.u32(0..=POSITION_LOG2_MAX))
            .map_or(0, |bound| generator.u64(0..bound));
        Some(match kind {
            FaultKind::ServerError if generator.bool() => Fault::internal_error(),
            FaultKind::ServerError => Fault::service_unavailable(),
            FaultKind::Throttle => Fault::Refuse {
                status: 503,
                code: THROTTLE_CODES[generator.usize(..THROTTLE_CODES.len())],
            },
            FaultKind::Delay => Fault::Delay(Duration::from_millis(generator.u64(50..=500))),
            FaultKind::Reset if generator.bool() => Fault::ResetBeforeAnswer,
            FaultKind::Reset => Fault::ResetBody { after: position },
            FaultKind::AnswerLost => Fault::AnswerLost,
            FaultKind::Cut => Fault::CutBody { after: position },
            FaultKind::Stall if generator.bool() => Fault::StallAnswer,
            FaultKind::Stall => Fault::StallBody { after: position },
            FaultKind::Lie => match generator.u8(..4) {
                0 => Fault::IgnoreRange,
                1 => Fault::WrongContentRange,
                2 => Fault::WrongETag,
                _ => Fault::WrongCrc,
            },
            FaultKind::Flip => Fault::FlipByte { at: position },
            FaultKind::RequestReset => Fault::ResetRequest { after: position },
            FaultKind::RequestStall => Fault::StallRequest { after: position },
            FaultKind::RequestFlip => Fault::FlipRequestByte { at: position },
            FaultKind::Skip => Fault::SkipKeys {
                every: generator.u64(1..=10),
            },
        })
    }
}

impl FromStr for RandomFaults {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut faults = Self::default();
        for piece in text.split(',').filter(|piece| !piece.trim().is_empty()) {
            let unknown = || SpecError::Name(piece.to_owned());
            let (name, value) = piece.trim().split_once('=').ok_or_else(unknown)?;
            if name == "seed" {
                faults.seed = value.parse().map_err(|_| SpecError::Seed)?;
                continue;
            }
            let (kind, _) = KINDS
                .into_iter()
                .find(|(_, word)| *word == name)
                .ok_or_else(unknown)?;
            let probability = value
                .parse::<f64>()
                .ok()
                .filter(|value| (0.0..=1.0).contains(value))
                .ok_or_else(|| SpecError::Probability(name.to_owned()))?;
            faults = faults.with(kind, probability);
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_read_or_refused_by_name() {
        let faults: Result<RandomFaults, _> = "5xx=0.25, flip=1,up-reset=0.5,seed=7".parse();
        let expected = RandomFaults::default()
            .with(FaultKind::ServerError, 0.25)
            .with(FaultKind::Flip, 1.0)
            .with(FaultKind::RequestReset, 0.5)
            .with_seed(7);
        assert_eq!(faults, Ok(expected));
        let refused = |text: &str| text.parse::<RandomFaults>().err();
        assert_eq!(refused(""), None);
        assert_eq!(refused("6xx=1"), Some(SpecError::Name("6xx=1".to_owned())));
        assert_eq!(
            refused("cut=1.5"),
            Some(SpecError::Probability("cut".to_owned()))
        );
        assert_eq!(
            refused("cut=NaN"),
            Some(SpecError::Probability("cut".to_owned()))
        );
        assert_eq!(refused("seed=x"), Some(SpecError::Seed));
    }

    #[test]
    fn a_seed_repeats_its_faults_at_about_the_probability_asked() {
        let faults = RandomFaults::default().with(FaultKind::Lie, 0.1);
        let draws = |seed| {
            let mut generator = fastrand::Rng::with_seed(seed);
            (0..10_000)
                .map(|_| faults.draw(&mut generator))
                .collect::<Vec<_>>()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
        let hits = draws(7).iter().flatten().count();
        assert!((900..1100).contains(&hits), "{hits}");
    }
}
