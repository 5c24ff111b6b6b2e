//! Who is behind a key, for services beside OSS: STS, and the workspaces of PAI.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::policy::{Policy, Question};
use super::tokens::{Key, TokenSet};
use super::{ACCOUNT, Authority};

/// What is wrong with a key and its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyFault {
    /// There is no such key, or no longer.
    Unknown,
    /// It is a temporary one, and its token is missing.
    NoToken,
    /// The token has run out.
    Expired,
    /// The token is of another key.
    OtherToken,
    /// Nobody has issued the token.
    UnknownToken,
}

/// A token that stands for a role. A real provider signs its tokens; here one text is the good one.
#[derive(Debug, Clone)]
pub(crate) struct OidcTrust {
    /// The ARN of the provider that the role trusts.
    pub(crate) provider_arn: String,
    /// The token.
    pub(crate) token: String,
}

/// What the services beside OSS know of roles and workspaces.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// By role.
    pub(crate) oidc: HashMap<String, OidcTrust>,
    /// Id of the workspace, and where its default storage is.
    pub(crate) workspace: Option<(String, String)>,
}

/// Whose key it is.
pub(crate) struct Principal(Arc<Key>);

impl Principal {
    pub(crate) fn secret(&self) -> &str {
        &self.0.secret
    }

    /// Whether its policies allow it.
    pub(crate) fn may(&self, action: &str, resource: &str) -> bool {
        let question = Question {
            action,
            resource,
            prefix: "",
            delimiter: "",
        };
        let limit = self.0.session.as_ref().and_then(|it| it.policy.as_ref());
        self.0.role.policy().allows(&question) && limit.is_none_or(|it| it.allows(&question))
    }

    /// As GetCallerIdentity names it.
    pub(crate) fn arn(&self) -> String {
        let role = &self.0.role.name;
        match &self.0.session {
            Some(session) => format!("acs:ram::{ACCOUNT}:assumed-role/{role}/{}", session.name),
            None if role == "root" => format!("acs:ram::{ACCOUNT}:root"),
            None => format!("acs:ram::{ACCOUNT}:user/{role}"),
        }
    }
}

impl Authority {
    /// The same with what the services beside OSS know.
    pub(crate) fn with_sessions(self, sessions: Sessions) -> Self {
        Self { sessions, ..self }
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// The ARN of a role.
    pub(crate) fn role_arn(role: &str) -> String {
        format!("acs:ram::{ACCOUNT}:role/{role}")
    }

    /// The role of an ARN, if there is one.
    pub(crate) fn role_of<'a>(&self, arn: &'a str) -> Option<&'a str> {
        let (head, role) = arn.rsplit_once('/')?;
        let is_ours = head == format!("acs:ram::{ACCOUNT}:role") && self.roles.contains_key(role);
        is_ours.then_some(role)
    }

    /// Who has this key, if its token is the one that belongs to it and lives.
    pub(crate) fn principal(
        &self,
        id: &str,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<Principal, KeyFault> {
        self.find(id, token, now).map(Principal)
    }

    /// Issues a temporary set whose session has a name and perhaps a policy; `None` if there is no such role.
    pub(crate) fn issue_session(
        &self,
        role: &str,
        life: SignedDuration,
        name: &str,
        policy: Option<Policy>,
    ) -> Option<TokenSet> {
        let role = self.roles.get(role)?;
        let set = TokenSet::generate(self.now(), life);
        self.keys()
            .add_temporary(&set, Arc::clone(role), name, policy);
        Some(set)
    }

    pub(super) fn find(
        &self,
        id: &str,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<Arc<Key>, KeyFault> {
        let keys = self.keys();
        let key = keys.get(id).ok_or(KeyFault::Unknown)?;
        match (&key.session, token) {
            (None, None) => Ok(key),
            (Some(_), None) => Err(KeyFault::NoToken),
            (Some(session), Some(token)) if session.token == token => {
                if now >= session.expiration {
                    Err(KeyFault::Expired)
                } else {
                    Ok(key)
                }
            }
            (_, Some(token)) if keys.knows_token(token) => Err(KeyFault::OtherToken),
            (_, Some(_)) => Err(KeyFault::UnknownToken),
        }
    }
}
