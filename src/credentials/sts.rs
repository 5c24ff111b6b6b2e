//! STS: sets of a role for who may take it, and who a set belongs to.
//!
//! AssumeRole and GetCallerIdentity are signed (ACS3, parameters in the query as the official SDK of STS has them).
//! AssumeRoleWithOIDC is not: its token is the proof, and stands in the body.

use std::path::PathBuf;
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use tokio::time::timeout;

use super::document::{self, Writer};
use super::environment::StsVariables;
use super::error::Trouble;
use super::fetch::Answer;
use super::set::Credentials;
use crate::openapi::{self, Call, Signer};

const VERSION: &str = "2015-04-01";
/// How long one call may take: connecting and answering, as the official clients have it.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a session is called if nobody says it; it shows in the account's audit log.
const SESSION_NAME: &str = "rolefs";
/// What a role allows unless it was told otherwise.
const DURATION_DEFAULT_SECONDS: u32 = 3600;
/// STS refuses less (help "AssumeRole").
pub const DURATION_MIN_SECONDS: u32 = 900;
/// The longest session that any role can allow.
pub const DURATION_MAX_SECONDS: u32 = 43_200;

/// A role to take with a set that one has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assume {
    /// `acs:ram::ACCOUNT:role/NAME`.
    pub role_arn: String,
    /// Shown in the audit log. Default: `ALIBABA_CLOUD_ROLE_SESSION_NAME`, else `rolefs`.
    pub session_name: Option<String>,
    /// A policy document: the session may do what it and the role allow both.
    pub policy: Option<String>,
    /// What the role's trust policy may ask for.
    pub external_id: Option<String>,
    /// How long the session lives. Default one hour.
    pub duration_seconds: Option<u32>,
}

impl Assume {
    /// A role, and nothing else said.
    #[must_use]
    pub fn new(role_arn: impl Into<String>) -> Self {
        Self {
            role_arn: role_arn.into(),
            session_name: None,
            policy: None,
            external_id: None,
            duration_seconds: None,
        }
    }
}

/// A role that a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Oidc {
    pub(super) assume: Assume,
    pub(super) provider_arn: String,
    pub(super) token_file: PathBuf,
}

/// Where STS is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sts {
    endpoint: String,
    session_name: Option<String>,
}

impl Sts {
    /// By the variables, and by what a profile says beside them.
    pub(super) fn new(known: &StsVariables, region: Option<&str>, vpc: Option<bool>) -> Self {
        let region = region.or(known.region.as_deref());
        let prefix = if vpc.unwrap_or(known.vpc) {
            "sts-vpc"
        } else {
            "sts"
        };
        let host = match (&known.endpoint, region) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, Some(region)) => format!("{prefix}.{region}.aliyuncs.com"),
            (None, None) => "sts.aliyuncs.com".to_owned(),
        };
        Self {
            endpoint: openapi::endpoint(&host),
            session_name: known.session_name.clone(),
        }
    }

    /// A set of the role for who has `base`.
    pub(super) async fn assume_role(&self, base: &Credentials, assume: &Assume) -> Answer {
        let mut query = self.parameters(assume);
        if let Some(id) = &assume.external_id {
            query.push(("ExternalId", id.clone()));
        }
        let call = ("AssumeRole", query, Vec::new());
        self.session(call, Some(base), assume).await
    }

    /// A set of the role for who has a token of the cluster.
    pub(super) async fn with_oidc(&self, oidc: &Oidc, token: &str) -> Answer {
        let mut form = self.parameters(&oidc.assume);
        form.push(("OIDCProviderArn", oidc.provider_arn.clone()));
        form.push(("OIDCToken", token.trim().to_owned()));
        let query = vec![
            ("Action", "AssumeRoleWithOIDC".to_owned()),
            ("Format", "JSON".to_owned()),
            ("Version", VERSION.to_owned()),
            (
                "Timestamp",
                jiff::Timestamp::now()
                    .strftime("%Y-%m-%dT%H:%M:%SZ")
                    .to_string(),
            ),
        ];
        let call = ("AssumeRoleWithOIDC", query, form);
        self.session(call, None, &oidc.assume).await
    }

    /// The ARN of whoever the set belongs to.
    pub(super) async fn caller(&self, set: &Credentials) -> Result<String, Trouble> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Identity {
            arn: String,
        }
        let call = ("GetCallerIdentity", Vec::new(), Vec::new());
        let answer = self.call(call, Some(set)).await?;
        let identity: Identity = serde_json::from_slice(&answer)
            .map_err(|_| Trouble::unusable("its answer names nobody"))?;
        Ok(identity.arn)
    }

    fn parameters(&self, assume: &Assume) -> Vec<(&'static str, String)> {
        let session = assume.session_name.as_ref().or(self.session_name.as_ref());
        let seconds = assume.duration_seconds.unwrap_or(DURATION_DEFAULT_SECONDS);
        let mut parameters = vec![
            ("RoleArn", assume.role_arn.clone()),
            (
                "RoleSessionName",
                session.map_or(SESSION_NAME, String::as_str).to_owned(),
            ),
            ("DurationSeconds", seconds.to_string()),
        ];
        if let Some(policy) = &assume.policy {
            parameters.push(("Policy", policy.clone()));
        }
        parameters
    }

    async fn session(&self, call: Parts, base: Option<&Credentials>, assume: &Assume) -> Answer {
        let (action, arn) = (call.0, &assume.role_arn);
        let named = |trouble: Trouble| trouble.within(format!("{action} of {arn}"));
        let answer = self.call(call, base).await.map_err(named)?;
        let set = document::parse(&answer, Writer::Sts).map_err(named)?;
        Ok(set.with_role(arn))
    }

    async fn call(
        &self,
        (action, query, form): Parts,
        signed_by: Option<&Credentials>,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, Trouble> {
        let call = Call {
            action,
            version: VERSION,
            method: Method::POST,
            endpoint: &self.endpoint,
            path: "/",
            query: &borrowed(&query),
            form: &borrowed(&form),
            connect_timeout: CONNECT_TIMEOUT,
        };
        let signer = signed_by.map(|set| Signer {
            access_key_id: set.access_key_id(),
            secret: set.secret().expose(),
            token: set.token().map(super::set::Secret::expose),
        });
        match timeout(CALL_TIMEOUT, openapi::ask(&call, signer.as_ref())).await {
            Err(_) => Err(Trouble::unusable("STS gives no answer in time")),
            Ok(Err(error)) => Err(Trouble::Unusable(explained(&error))),
            Ok(Ok(answer)) => Ok(answer),
        }
    }
}

/// Action, query and form of a call.
type Parts = (
    &'static str,
    Vec<(&'static str, String)>,
    Vec<(&'static str, String)>,
);

fn borrowed<'a>(pairs: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    let pairs = pairs.iter();
    pairs.map(|(name, value)| (*name, value.as_str())).collect()
}

/// The error, and what mends it (STS help "Error codes").
fn explained(error: &openapi::Error) -> String {
    let openapi::Error::Refused { code, .. } = error else {
        return error.to_string();
    };
    let remedy = match code.as_str() {
        "EntityNotExist.Role" => "there is no such role; check its ARN",
        "NoPermission" => {
            "the role's trust policy must name the caller, and the caller's policy must allow sts:AssumeRole on the role"
        }
        "InvalidParameter.PolicyGrammar" | "InvalidParameter.PolicySize" => {
            "the session policy cannot be understood or is too long"
        }
        "InvalidParameter.DurationSeconds" => {
            "the role allows no session of that length; shorten it, or raise the role's longest session"
        }
        "AuthenticationFail.OIDCToken.Expired" | "AuthenticationFail.OIDCToken.Invalid" => {
            "the token of the cluster is refused"
        }
        _ => return format!("STS says {error}"),
    };
    format!("STS says {error}: {remedy}")
}
