//! A look at all sources at once, for who wants to know what is wrong: what each of them says, and which one is used.

use std::sync::Arc;

use super::error::{Error, Trouble};
use super::fetch::{Offer, Places};
use super::policy::Verdict;
use super::set::Credentials;
use super::source::Source;
use super::state::{Outcome, State, complaint};
use super::{Config, clock};

/// What one source says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Its set is the one that is used.
    Used,
    /// It has a set that would do, and another one is used.
    Spare,
    /// There is nothing.
    Absent(String),
    /// There is something, and it cannot be used.
    Failed(String),
    /// A source before it decides.
    NotAsked,
}

/// What all of them say, at one moment.
#[derive(Debug)]
pub struct Survey {
    /// In the order in which they count.
    pub steps: Vec<(Source, Finding)>,
    /// The set that is used, and where it comes from.
    pub used: Option<(Arc<Credentials>, Source)>,
    places: Places,
}

/// Asks every source that counts, once.
///
/// # Errors
/// [`Error::Setup`] if no HTTP client can be made.
pub async fn survey(config: Config) -> Result<Survey, Error> {
    let places = Places::new(config)?;
    let offers = places.ask(|_| false).await;
    let order = places.order();
    let (mut state, now) = (State::default(), clock::now());
    let mut findings: Vec<(Source, Option<Trouble>)> = Vec::new();
    for Offer { origin, answer } in &offers {
        let trouble = match answer {
            Err(trouble) => Some(trouble.clone()),
            Ok(set) => {
                let verdict = state.judge(set, now);
                (verdict != Verdict::Adopt).then(|| complaint(origin, verdict, set, now))
            }
        };
        findings.push((origin.clone(), trouble));
    }
    let used = match state.settle(offers, now) {
        Outcome::Adopted {
            credentials,
            origin,
            ..
        } => Some((credentials, origin)),
        Outcome::Nothing | Outcome::Failed { .. } => None,
    };
    let finding = |source: &Source| {
        let found = findings.iter().find(|(origin, _)| origin == source);
        match found {
            None => Finding::NotAsked,
            Some((_, Some(Trouble::Absent(reason)))) => Finding::Absent(reason.clone()),
            Some((_, Some(Trouble::Unusable(reason)))) => Finding::Failed(reason.clone()),
            Some((origin, None)) if used.as_ref().is_some_and(|(_, used)| used == origin) => {
                Finding::Used
            }
            Some((_, None)) => Finding::Spare,
        }
    };
    let steps = order.into_iter().map(|source| {
        let finding = finding(&source);
        (source, finding)
    });
    Ok(Survey {
        steps: steps.collect(),
        used,
        places,
    })
}

impl Survey {
    /// Asks STS who the used set belongs to: the ARN of the role's session, as a rule. Needs no right.
    ///
    /// # Errors
    /// One line that says why it is not known.
    pub async fn caller(&self) -> Result<String, String> {
        match &self.used {
            None => Err("there is no set".to_owned()),
            Some((set, _)) => {
                let caller = self.places.caller(set).await;
                caller.map_err(|trouble| trouble.reason().to_owned())
            }
        }
    }

    /// Why there is nothing, as the program says it at start.
    #[must_use]
    pub fn reasons(&self) -> String {
        let reasons = self.steps.iter().filter_map(|(_, finding)| match finding {
            Finding::Absent(reason) | Finding::Failed(reason) => Some(reason.as_str()),
            Finding::Used | Finding::Spare | Finding::NotAsked => None,
        });
        reasons.collect::<Vec<_>>().join("; ")
    }
}
