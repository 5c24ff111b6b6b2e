//! STS 2015-04-01: AssumeRole, AssumeRoleWithOIDC, GetCallerIdentity.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Asked, Refusal, refused, signature};
use crate::dev_server::auth::{Authority, Policy};

/// Seconds of the shortest session, and of the longest that a role allows unless it was told otherwise.
const DURATION: std::ops::RangeInclusive<i64> = 900..=3600;
/// Characters of the longest policy of a session.
const POLICY_MAX: usize = 2048;

fn is_sts(asked: &Asked<'_>) -> Result<(), Refusal> {
    let version = asked.header("x-acs-version").or(asked.parameter("Version"));
    if version == Some("2015-04-01") {
        return Ok(());
    }
    Err(refused(
        400,
        "InvalidVersion",
        "Specified parameter Version is not valid.",
    ))
}

pub(super) fn assume_role(auth: &Authority, asked: &Asked<'_>) -> Result<Value, Refusal> {
    is_sts(asked)?;
    let caller = signature::principal(auth, asked)?;
    let arn = asked.parameter("RoleArn").unwrap_or_default();
    // Without the right it is not told whether there is such a role.
    if !caller.may("sts:AssumeRole", arn) {
        return Err(refused(
            403,
            "NoPermission",
            "You are not authorized to do this action. You should be authorized by RAM.",
        ));
    }
    session(auth, asked, arn)
}

pub(super) fn with_oidc(auth: &Authority, asked: &Asked<'_>) -> Result<Value, Refusal> {
    is_sts(asked)?;
    let arn = asked.parameter("RoleArn").unwrap_or_default();
    let role = auth.role_of(arn).ok_or_else(no_role)?;
    let trust = auth.sessions().oidc.get(role);
    let provider = asked.parameter("OIDCProviderArn");
    match trust {
        Some(trust) if Some(trust.provider_arn.as_str()) == provider => {
            if asked.parameter("OIDCToken").map(str::trim) != Some(&trust.token) {
                return Err(refused(
                    400,
                    "AuthenticationFail.OIDCToken.Invalid",
                    "This JWT token is invalid.",
                ));
            }
        }
        Some(_) | None => {
            return Err(refused(
                400,
                "AuthenticationFail.NoPermission",
                "This operator is not authorized to assume the role.",
            ));
        }
    }
    session(auth, asked, arn)
}

pub(super) fn caller(auth: &Authority, asked: &Asked<'_>) -> Result<Value, Refusal> {
    is_sts(asked)?;
    let caller = signature::principal(auth, asked)?;
    Ok(json!({ "Arn": caller.arn() }))
}

fn no_role() -> Refusal {
    refused(404, "EntityNotExist.Role", "The specified Role not exists.")
}

fn session(auth: &Authority, asked: &Asked<'_>, arn: &str) -> Result<Value, Refusal> {
    let role = auth.role_of(arn).ok_or_else(no_role)?;
    let name = asked.parameter("RoleSessionName").unwrap_or_default();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".@-_".contains(&byte);
    if !(2..=64).contains(&name.len()) || !name.bytes().all(is_name) {
        return Err(refused(
            400,
            "InvalidParameter.RoleSessionName",
            "The parameter RoleSessionName is wrongly formed.",
        ));
    }
    let seconds = match asked.parameter("DurationSeconds") {
        None => Some(3600),
        Some(text) => text.parse().ok().filter(|it| DURATION.contains(it)),
    };
    let seconds = seconds.ok_or_else(|| {
        refused(
            400,
            "InvalidParameter.DurationSeconds",
            "The Min/Max value of DurationSeconds is 15min/1hr.",
        )
    })?;
    let policy = asked.parameter("Policy").filter(|text| !text.is_empty());
    let policy = policy.map(|text| match Policy::parse(text) {
        Ok(policy) if text.len() <= POLICY_MAX => Ok(policy),
        Ok(_) => Err(refused(
            400,
            "InvalidParameter.PolicySize",
            "The size of Policy must be smaller than 2048 bytes.",
        )),
        Err(_) => Err(refused(
            400,
            "InvalidParameter.PolicyGrammar",
            "The parameter Policy has not passed grammar check.",
        )),
    });
    let life = SignedDuration::from_secs(seconds);
    let set = auth
        .issue_session(role, life, name, policy.transpose()?)
        .ok_or_else(no_role)?;
    Ok(json!({
        "Credentials": {
            "AccessKeyId": set.access_key_id,
            "AccessKeySecret": set.access_key_secret,
            "SecurityToken": set.security_token,
            "Expiration": set.expiration.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        },
        "AssumedRoleUser": {
            "Arn": format!("{}/{name}", Authority::role_arn(role).replace(":role/", ":assumed-role/")),
            "AssumedRoleId": format!("3000000000:{name}"),
        },
    }))
}
