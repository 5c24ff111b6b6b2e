//! The keys the server knows: permanent ones, and the temporary sets it has issued.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};

use super::policy::Policy;
use super::signature_v4::ClaimV4;

/// Temporary sets remembered, dead ones included. The oldest is forgotten beyond that, and its key is then unknown
/// (`InvalidAccessKeyId`), as it is in the cloud some time after the end of a token.
const SETS_MAX: usize = 4096;

/// A set of temporary credentials, as a job receives it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSet {
    /// Begins with `STS.`.
    pub access_key_id: String,
    /// What requests are signed with.
    pub access_key_secret: String,
    /// Goes with every request.
    pub security_token: String,
    /// The first moment at which the set is refused; always a whole second.
    pub expiration: Timestamp,
}

impl fmt::Debug for TokenSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSet")
            .field("access_key_id", &self.access_key_id)
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}

impl TokenSet {
    /// A new set that ends `life` after `now`, rounded up to a whole second because that is all its text can say.
    ///
    /// `fastrand` is good enough: these secrets open nothing but this server.
    pub(super) fn generate(now: Timestamp, life: SignedDuration) -> Self {
        let expires = now.saturating_add(life).unwrap_or(Timestamp::MAX);
        let whole = expires.as_second() + i64::from(expires.subsec_nanosecond() > 0);
        Self {
            access_key_id: format!("STS.N{}", random(24, "")),
            access_key_secret: random(44, ""),
            // As long as a real one, with the characters that a wrong encoding spoils.
            security_token: format!("CAIS{}==", random(540, "+/")),
            expiration: Timestamp::from_second(whole).unwrap_or(Timestamp::MAX),
        }
    }
}

fn random(len: usize, more: &str) -> String {
    let more = more.as_bytes();
    (0..len)
        .map(|_| match fastrand::usize(0..62 + more.len()) {
            special @ 62.. => char::from(more[special - 62]),
            _ => fastrand::alphanumeric(),
        })
        .collect()
}

/// A role: a name, and what it may do at the moment.
pub(super) struct Role {
    pub(super) name: String,
    pub(super) policy: RwLock<Arc<Policy>>,
}

impl Role {
    pub(super) fn new(name: &str, policy: Policy) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            policy: RwLock::new(Arc::new(policy)),
        })
    }

    pub(super) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One access key.
pub(super) struct Key {
    pub(super) secret: String,
    pub(super) role: Arc<Role>,
    pub(super) session: Option<Session>,
    /// The last signing key of version 4: a client signs for one day and one region at a time.
    signing: Mutex<Option<SigningKey>>,
}

/// What makes a key temporary.
pub(super) struct Session {
    pub(super) token: String,
    pub(super) expiration: Timestamp,
    /// What it is called in the account's log.
    pub(super) name: String,
    /// What it is confined to beside what its role may do.
    pub(super) policy: Option<Arc<Policy>>,
}

struct SigningKey {
    day: String,
    region: String,
    key: [u8; 32],
}

impl Key {
    pub(super) fn new(secret: String, role: Arc<Role>, session: Option<Session>) -> Self {
        Self {
            secret,
            role,
            session,
            signing: Mutex::new(None),
        }
    }

    /// The signing key for the day and region of a claim, derived at most once.
    pub(super) fn signing_key(&self, claim: &ClaimV4) -> [u8; 32] {
        let mut kept = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signing) = kept.as_ref()
            && signing.day == claim.day()
            && signing.region == claim.region
        {
            return signing.key;
        }
        let key = claim.signing_key(&self.secret);
        *kept = Some(SigningKey {
            day: claim.day().to_owned(),
            region: claim.region.clone(),
            key,
        });
        key
    }
}

/// All keys by their id.
#[derive(Default)]
pub(super) struct Keys {
    by_id: HashMap<String, Arc<Key>>,
    /// Security token to access key id.
    by_token: HashMap<String, String>,
    /// Ids of the temporary sets, oldest first.
    issued: VecDeque<String>,
}

impl Keys {
    pub(super) fn add_permanent(&mut self, id: String, secret: String, role: Arc<Role>) {
        self.by_id
            .insert(id, Arc::new(Key::new(secret, role, None)));
    }

    pub(super) fn add_temporary(
        &mut self,
        set: &TokenSet,
        role: Arc<Role>,
        name: &str,
        policy: Option<Policy>,
    ) {
        let session = Session {
            token: set.security_token.clone(),
            expiration: set.expiration,
            name: name.to_owned(),
            policy: policy.map(Arc::new),
        };
        let key = Key::new(set.access_key_secret.clone(), role, Some(session));
        self.by_id.insert(set.access_key_id.clone(), Arc::new(key));
        self.by_token
            .insert(set.security_token.clone(), set.access_key_id.clone());
        self.issued.push_back(set.access_key_id.clone());
        if self.issued.len() > SETS_MAX
            && let Some(oldest) = self.issued.pop_front()
        {
            self.forget(&oldest);
        }
    }

    /// Forgets a key: from now on it was never there.
    pub(super) fn forget(&mut self, id: &str) {
        if let Some(session) = self
            .by_id
            .remove(id)
            .as_ref()
            .and_then(|key| key.session.as_ref())
        {
            self.by_token.remove(&session.token);
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Key>> {
        self.by_id.get(id).map(Arc::clone)
    }

    pub(super) fn knows_token(&self, token: &str) -> bool {
        self.by_token.contains_key(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_set_is_forgotten_beyond_the_limit() {
        let (mut keys, role) = (Keys::default(), Role::new("r", Policy::default()));
        let sets: Vec<TokenSet> = (0..=SETS_MAX)
            .map(|_| TokenSet::generate(Timestamp::UNIX_EPOCH, SignedDuration::from_secs(1)))
            .collect();
        for set in &sets[..SETS_MAX] {
            keys.add_temporary(set, Arc::clone(&role), "s", None);
        }
        assert!(keys.get(&sets[0].access_key_id).is_some());
        keys.add_temporary(&sets[SETS_MAX], role, "s", None);
        assert!(keys.get(&sets[0].access_key_id).is_none());
        assert!(!keys.knows_token(&sets[0].security_token));
        assert!(keys.get(&sets[1].access_key_id).is_some());
    }

    #[test]
    fn an_expiration_is_rounded_up_and_a_secret_is_not_printed() {
        let now = Timestamp::from_millisecond(1_500).unwrap_or_default();
        let set = TokenSet::generate(now, SignedDuration::from_secs(1));
        assert_eq!(set.expiration.as_second(), 3);
        assert_eq!(set.expiration.subsec_nanosecond(), 0);
        let text = format!("{set:?}");
        assert!(!text.contains(&set.access_key_secret) && !text.contains(&set.security_token));
    }
}
