//! Who is asking, and may they: signatures of both versions, temporary and permanent keys, RAM policies.
//!
//! [`Authority::check`] recomputes the signature of a request from its raw head. It shares no code with the production
//! signer, so that the two pin each other, and golden vectors of the official clients pin both (`tests.rs`).
//!
//! The order of the checks: readable, in time, region, key known, token of that key, token alive, signature, policy.
//! OSS does not publish its order; what a client can observe is only which of two defects is named first.

mod policy;
mod presigned;
mod principal;
mod refusal;
mod signature_v1;
mod signature_v4;
mod tokens;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

pub(crate) use policy::Policy;
use policy::Question;
pub(crate) use principal::{KeyFault, OidcTrust, Principal, Sessions};
use signature_v1::ClaimV1;
use signature_v4::ClaimV4;
pub use tokens::TokenSet;
use tokens::{Keys, Role};

use super::error::OssError;
use super::request::Incoming;

/// How far the clock of a request may be from the server's (OSS help "RequestTimeTooSkewed").
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(15);

/// The account that owns every bucket, as resource names carry it.
const ACCOUNT: &str = "1234567890123456";

/// Where a signature travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Header,
    Url,
}

/// What a request says of its signature.
#[derive(Debug)]
struct Claim {
    access_key_id: String,
    token: Option<String>,
    scheme: Scheme,
}

#[derive(Debug)]
enum Scheme {
    V1(ClaimV1),
    V4(ClaimV4),
}

/// Knows every key, role and policy of the server.
pub struct Authority {
    region: String,
    roles: HashMap<String, Arc<Role>>,
    keys: Mutex<Keys>,
    clock_offset_millis: AtomicI64,
    sessions: Sessions,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// Who sent a request whose signature is right.
pub(crate) struct Caller<'a> {
    region: &'a str,
    policy: Arc<Policy>,
    /// What the session is confined to.
    limit: Option<Arc<Policy>>,
}

impl Caller<'_> {
    /// Asks the policies of the caller; `bucket` and `key` need not be those of `request` (a copy reads elsewhere).
    ///
    /// # Errors
    /// 403 `AccessDenied` naming the action.
    pub(crate) fn may(
        &self,
        request: &Incoming,
        action: &str,
        bucket: Option<&str>,
        key: Option<&str>,
    ) -> Result<(), OssError> {
        let parameter = |name: &str| {
            request
                .query
                .iter()
                .find(|(have, _)| have == name)
                .map_or("", |(_, value)| value.as_str())
        };
        let path = match (bucket, key) {
            (Some(bucket), Some(key)) => format!("{bucket}/{key}"),
            (Some(bucket), None) => bucket.to_owned(),
            (None, _) => "*".to_owned(),
        };
        let question = Question {
            action,
            resource: &format!("acs:oss:oss-{}:{ACCOUNT}:{path}", self.region),
            prefix: parameter("prefix"),
            delimiter: parameter("delimiter"),
        };
        let limited = self.limit.as_ref();
        if self.policy.allows(&question) && limited.is_none_or(|limit| limit.allows(&question)) {
            Ok(())
        } else {
            Err(refusal::denied(action))
        }
    }
}

impl Authority {
    /// An authority with roles and no keys.
    pub(crate) fn new(region: String, roles: impl IntoIterator<Item = (String, Policy)>) -> Self {
        Self {
            region,
            roles: roles
                .into_iter()
                .map(|(name, policy)| {
                    let role = Role::new(&name, policy);
                    (name, role)
                })
                .collect(),
            keys: Mutex::default(),
            clock_offset_millis: AtomicI64::new(0),
            sessions: Sessions::default(),
        }
    }

    /// Authenticates `request` and asks whether its caller may do `action` on its bucket (`resource_key` absent) or on
    /// an object of it.
    ///
    /// # Errors
    /// The answer of OSS to an anonymous, malformed, late, wrongly signed or forbidden request.
    pub(crate) fn check(
        &self,
        request: &Incoming,
        action: &str,
        resource_key: Option<&str>,
        now: Timestamp,
    ) -> Result<(), OssError> {
        self.authenticate(request, now)?.may(
            request,
            action,
            request.bucket.as_deref(),
            resource_key,
        )
    }

    /// Finds out who sent `request`.
    ///
    /// # Errors
    /// As [`Authority::check`], but for the policy.
    pub(crate) fn authenticate(
        &self,
        request: &Incoming,
        now: Timestamp,
    ) -> Result<Caller<'_>, OssError> {
        let claim = claim(request, now)?.ok_or_else(refusal::anonymous)?;
        if let Scheme::V4(v4) = &claim.scheme
            && v4.region != self.region
        {
            return Err(refusal::malformed(
                "0002-00000226",
                "Invalid signing region in Authorization header.",
            ));
        }
        let key = self.key(&claim, now)?;
        let (computed, provided, string_to_sign, canonical) = match &claim.scheme {
            Scheme::V1(v1) => {
                let text = v1.string_to_sign(request);
                let computed = signature_v1::signature(&key.secret, &text);
                (computed, &v1.signature, text, None)
            }
            Scheme::V4(v4) => {
                let canonical = v4.canonical_request(request);
                let text = v4.string_to_sign(&canonical);
                let computed = signature_v4::signature(&key.signing_key(v4), &text);
                (computed, &v4.signature, text, Some(canonical))
            }
        };
        if computed != *provided {
            let id = &claim.access_key_id;
            return Err(refusal::mismatch(id, provided, &string_to_sign, canonical));
        }
        Ok(Caller {
            region: &self.region,
            policy: key.role.policy(),
            limit: key.session.as_ref().and_then(|it| it.policy.clone()),
        })
    }

    /// The key of a claim, if the claim's token is the one that belongs to it and lives.
    fn key(&self, claim: &Claim, now: Timestamp) -> Result<Arc<tokens::Key>, OssError> {
        let (id, token) = (claim.access_key_id.as_str(), claim.token.as_deref());
        self.find(id, token, now).map_err(|fault| match fault {
            // Unconfirmed: that a temporary key without its token is called unknown.
            KeyFault::Unknown | KeyFault::NoToken => refusal::unknown_key(id),
            KeyFault::Expired => refusal::token_expired(id, token.unwrap_or_default()),
            KeyFault::OtherToken => refusal::torn_set(id),
            KeyFault::UnknownToken => refusal::unknown_token(token.unwrap_or_default()),
        })
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's time: the machine's and the offset. What requests are checked at, and the `Date` of answers.
    pub fn now(&self) -> Timestamp {
        let offset = self.clock_offset_millis.load(Ordering::Relaxed);
        let now = Timestamp::now();
        now.saturating_add(SignedDuration::from_millis(offset))
            .unwrap_or(now)
    }

    /// Sets the server's clock off by `offset` (negative: it is late), in whole milliseconds.
    pub fn set_clock_offset(&self, offset: SignedDuration) {
        let millis = i64::try_from(offset.as_millis()).unwrap_or(i64::MAX);
        self.clock_offset_millis.store(millis, Ordering::Relaxed);
    }

    /// Issues a temporary set for `role` that lives for `life` from now; `None` if there is no such role.
    pub fn issue(&self, role: &str, life: SignedDuration) -> Option<TokenSet> {
        self.issue_session(role, life, "job", None)
    }

    /// Refuses the set of this access key id from now on (`InvalidAccessKeyId`), however long it had to live.
    pub fn revoke(&self, access_key_id: &str) {
        self.keys().forget(access_key_id);
    }

    /// Adds a permanent key; without a role it is the account owner's and may do everything.
    ///
    /// # Errors
    /// The name of the role, if there is no such role.
    pub fn add_key(&self, id: &str, secret: &str, role: Option<&str>) -> Result<(), String> {
        let role = match role {
            None => Role::new("root", Policy::owner()),
            Some(name) => Arc::clone(self.roles.get(name).ok_or_else(|| name.to_owned())?),
        };
        self.keys()
            .add_permanent(id.to_owned(), secret.to_owned(), role);
        Ok(())
    }

    /// Replaces the policy of `role` while requests run, as an administrator would.
    ///
    /// # Errors
    /// One line that says what is wrong with the name or the document.
    pub fn set_policy(&self, role: &str, json: &str) -> Result<(), String> {
        let policy = Policy::parse(json)?;
        let role = self
            .roles
            .get(role)
            .ok_or_else(|| format!("there is no role '{role}'"))?;
        *role.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        Ok(())
    }
}

/// Reads the signature of a request; `None` if it has none. A request with a header never looks at its query.
fn claim(request: &Incoming, now: Timestamp) -> Result<Option<Claim>, OssError> {
    let Some(authorization) = wire::header(&request.headers, "authorization") else {
        return presigned::claim(request, now);
    };
    let (algorithm, fields) = authorization
        .split_once(' ')
        .ok_or_else(|| refusal::malformed("", "The Authorization header is malformed."))?;
    let token = wire::header(&request.headers, "x-oss-security-token");
    let claim = match algorithm {
        signature_v4::ALGORITHM => {
            let claim = ClaimV4::from_header(request, fields)?;
            check_skew(claim.signed_at, now)?;
            Claim {
                access_key_id: claim.access_key_id.clone(),
                token,
                scheme: Scheme::V4(claim),
            }
        }
        signature_v1::ALGORITHM => {
            let (claim, signed_at) = ClaimV1::from_header(request, fields)?;
            check_skew(signed_at, now)?;
            Claim {
                access_key_id: claim.access_key_id.clone(),
                // The second name is a slip of alibabacloud-oss-v2 1.4 for Python, which does not sign it either.
                token: token.or_else(|| wire::header(&request.headers, "security-token")),
                scheme: Scheme::V1(claim),
            }
        }
        _ => return Err(refusal::malformed("", "The signature version is unknown.")),
    };
    Ok(Some(claim))
}

fn check_skew(signed_at: Timestamp, now: Timestamp) -> Result<(), OssError> {
    if now.duration_since(signed_at).abs() > SKEW_MAX {
        return Err(refusal::skewed(signed_at, now));
    }
    Ok(())
}
