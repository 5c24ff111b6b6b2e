//! `rolefs credentials show`.

use std::io::Write;

use anyhow::{Result, bail};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::args::ShowArgs;
use crate::cli::config::Surroundings;
use crate::credentials::{Credentials, Finding, Source, Survey, survey};

/// Shows everything to standard output; fails if there is nothing to use.
pub(super) fn run(args: ShowArgs) -> Result<()> {
    let config = args.source.config(&Surroundings::now())?;
    let (survey, role) = super::block_on(async {
        let survey = survey(config).await?;
        let role = whose(&survey, args.offline).await;
        anyhow::Ok((survey, role))
    })?;
    let text = if args.json {
        format!("{:#}\n", as_json(&survey, &role))
    } else {
        as_text(&survey, &role)
    };
    std::io::stdout().write_all(text.as_bytes())?;
    if survey.used.is_none() {
        bail!(
            "no credentials: {}; give the job a RAM role, or name a source with --credentials",
            survey.reasons()
        );
    }
    Ok(())
}

/// Whose the set is, or why that is not known.
async fn whose(survey: &Survey, offline: bool) -> Result<String, String> {
    let said = survey.used.as_ref().and_then(|(set, _)| set.role());
    let said = said.map(str::to_owned);
    if offline {
        return said.ok_or_else(|| "the source does not say; STS was not asked".to_owned());
    }
    match (survey.caller().await, said) {
        (Ok(arn), _) | (Err(_), Some(arn)) => Ok(arn),
        (Err(reason), None) => Err(reason),
    }
}

fn as_text(survey: &Survey, role: &Result<String, String>) -> String {
    let mut lines = Vec::new();
    if let Some((set, source)) = &survey.used {
        let role = match role {
            Ok(role) => role.clone(),
            Err(reason) => format!("not known: {reason}"),
        };
        lines.push(format!("source   {source}"));
        lines.push(format!("role     {role}"));
        lines.push(format!("key      {} ({})", set.short_id(), kind(set)));
        let expires = match set.expiration() {
            None => "nobody says when".to_owned(),
            Some(end) => format!("{end}, in {}", left(end)),
        };
        lines.push(format!("expires  {expires}"));
    }
    lines.push("sources".to_owned());
    for (number, (source, finding)) in survey.steps.iter().enumerate() {
        let (outcome, detail) = words(finding);
        let separator = if detail.is_empty() { "" } else { ": " };
        lines.push(format!(
            "  {}. {:<28} {outcome}{separator}{detail}",
            number + 1,
            place(source)
        ));
    }
    lines.join("\n") + "\n"
}

fn as_json(survey: &Survey, role: &Result<String, String>) -> Value {
    let steps = survey.steps.iter().map(|(source, finding)| {
        let (outcome, detail) = words(finding);
        json!({
            "source": place(source),
            "outcome": outcome,
            "detail": (!detail.is_empty()).then_some(detail),
        })
    });
    let steps: Vec<Value> = steps.collect();
    let used = survey.used.as_ref();
    json!({
        "source": used.map(|(_, source)| source.to_string()),
        "role": role.as_ref().ok(),
        "role_unknown": role.as_ref().err().filter(|_| used.is_some()),
        "access_key_id": used.map(|(set, _)| set.short_id()),
        "temporary": used.map(|(set, _)| set.token().is_some()),
        "expiration": used.and_then(|(set, _)| set.expiration()).map(|end| end.to_string()),
        "expires_in_seconds": used
            .and_then(|(set, _)| set.expiration())
            .map(|end| end.duration_since(Timestamp::now()).as_secs()),
        "sources": steps,
    })
}

/// The outcome of a source, and more about it.
fn words(finding: &Finding) -> (&'static str, &str) {
    match finding {
        Finding::Used => ("used", ""),
        Finding::Spare => ("has a set, too", "another one is used"),
        Finding::Absent(reason) => ("not there", reason),
        Finding::Failed(reason) => ("failed", reason),
        Finding::NotAsked => ("not asked", ""),
    }
}

/// A source as it is named by `--credentials`; the service whose variable is not set has no URL to show.
fn place(source: &Source) -> String {
    match source {
        Source::Uri(url) if url.is_empty() => "uri".to_owned(),
        source => source.to_string(),
    }
}

fn kind(set: &Credentials) -> &'static str {
    if set.token().is_some() {
        "temporary"
    } else {
        "permanent"
    }
}

/// How long until then, to the second.
fn left(end: Timestamp) -> String {
    let seconds = end.duration_since(Timestamp::now()).as_secs();
    format!("{:#}", SignedDuration::from_secs(seconds))
}
