//! What was found, in order, and how it is told.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use super::explain;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// A mount works, but not as well as it could, or not all of it.
    Warning,
    /// A mount would not work.
    Failed,
    /// It could not be looked at, because of what failed before, or was not asked for.
    Skipped,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    name: &'static str,
    state: State,
    /// What was found; of what is wrong, with the remedy.
    said: String,
    /// More about an error that is known: what to change, and the policy that does.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// All checks, in order.
#[derive(Debug, Default)]
pub(super) struct Report {
    checks: Vec<Check>,
}

impl Report {
    /// What was found, or what is wrong.
    pub(super) fn check(&mut self, name: &'static str, outcome: Result<String>) {
        match outcome {
            Ok(said) => self.add(name, State::Ok, said),
            Err(error) => self.add(name, State::Failed, format!("{error:#}")),
        }
    }

    /// What works, but should be looked at.
    pub(super) fn warn(&mut self, name: &'static str, said: impl Into<String>) {
        self.add(name, State::Warning, said.into());
    }

    /// What was not looked at, and why.
    pub(super) fn skip(&mut self, name: &'static str, why: impl Into<String>) {
        self.add(name, State::Skipped, why.into());
    }

    /// Checks that ended so.
    pub(super) fn count(&self, state: State) -> usize {
        self.checks
            .iter()
            .filter(|check| check.state == state)
            .count()
    }

    fn add(&mut self, name: &'static str, state: State, said: String) {
        let is_wrong = matches!(state, State::Failed | State::Warning);
        let known = is_wrong
            .then(|| explain::known(&said))
            .into_iter()
            .flatten();
        let known: Vec<String> = known.map(explain::Known::text).collect();
        self.checks.push(Check {
            name,
            state,
            said,
            remedy: (!known.is_empty()).then(|| known.join("\n")),
        });
    }

    /// One line for each check, what mends it indented below.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let (state, name, said) = (check.state.word(), check.name, &check.said);
            let _ = writeln!(text, "{state:<8} {name:<12} {said}"); // a String takes all
            for line in check.remedy.iter().flat_map(|remedy| remedy.lines()) {
                let _ = writeln!(text, "{:21} {line}", "");
            }
        }
        let _ = writeln!(
            text,
            "{} ok, {} warnings, {} failed, {} skipped",
            self.count(State::Ok),
            self.count(State::Warning),
            self.count(State::Failed),
            self.count(State::Skipped)
        );
        text
    }

    /// All checks as a list.
    pub(super) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&self.checks)? + "\n")
    }
}
