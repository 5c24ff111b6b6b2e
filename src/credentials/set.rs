//! One set of credentials, and the type that keeps its secret parts out of texts and of freed memory.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};
use zeroize::Zeroize;

/// A text that must not be seen: redacted in `Debug`, without `Display`, wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes over a text. What the caller keeps of it is the caller's to wipe.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for signing and for headers marked sensitive.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            // Only `visit_str`: the text is copied once, straight from the buffer that is wiped later.
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::from(text))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// One set of credentials: key id, secret and token that belong together, and when they end.
///
/// Immutable and handed out as `Arc`: whoever signs has one snapshot, so the parts of two sets never meet in one
/// request. `Debug` shows a shortened key id and no secret.
pub struct Credentials {
    access_key_id: String,
    secret: Secret,
    token: Option<Secret>,
    expiration: Option<Timestamp>,
    role: Option<String>,
}

impl Credentials {
    /// A set. A `token` makes it temporary; without `expiration` it is taken never to expire.
    #[must_use]
    pub fn new(
        access_key_id: impl Into<String>,
        secret: Secret,
        token: Option<Secret>,
        expiration: Option<Timestamp>,
    ) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret,
            token,
            expiration,
            role: None,
        }
    }

    /// The same set, of which the source says whose it is.
    #[must_use]
    pub(super) fn with_role(mut self, role: impl Into<String>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// The role's name or ARN, if the source says it; the platform's does not.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// The access key id; `STS.…` of a role.
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// The access key secret.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The security token; `None` for a permanent key.
    #[must_use]
    pub fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// When the set ends; `None` if it never does or nobody said.
    #[must_use]
    pub fn expiration(&self) -> Option<Timestamp> {
        self.expiration
    }

    /// The key id as a message may show it: enough to tell two sets apart, too little to use.
    #[must_use]
    pub fn short_id(&self) -> String {
        short(&self.access_key_id)
    }

    /// True if both sign alike: same key id, secret and token. The expiration is only what is known about them.
    pub(super) fn signs_like(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || (self.access_key_id == other.access_key_id
                && self.secret == other.secret
                && self.token == other.token)
    }

    /// What is missing or malformed, if anything. A set with a control character, a blank or a NUL in it is a torn one,
    /// and could not go into a header anyway. An id `STS.…` is worth nothing without its token.
    pub(super) fn flaw(&self) -> Option<&'static str> {
        let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if self.access_key_id.is_empty() {
            Some("AccessKeyId is missing")
        } else if self.secret.expose().is_empty() {
            Some("AccessKeySecret is missing")
        } else if self.token.is_none() && self.access_key_id.starts_with("STS.") {
            Some("SecurityToken is missing")
        } else if !printable(&self.access_key_id)
            || !printable(self.secret.expose())
            || !self
                .token
                .as_ref()
                .is_none_or(|token| printable(token.expose()))
        {
            Some("a value has characters that no key has")
        } else {
            None
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.short_id())
            .field("secret", &self.secret)
            .field("token", &self.token)
            .field("expiration", &self.expiration)
            .field("role", &self.role)
            .finish()
    }
}

/// The first and last four characters of a long key id, the first four of a shorter one.
pub(super) fn short(id: &str) -> String {
    let count = id.chars().count();
    let mut text: String = id.chars().take(4).collect();
    text.push('…');
    if count >= 16 {
        text.extend(id.chars().skip(count - 4));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_id_is_shortened() {
        assert_eq!(short("STS.NTabcdefghijklmnopWXYZ"), "STS.…WXYZ");
        assert_eq!(short("STS.abc"), "STS.…");
        assert_eq!(short(""), "…");
    }

    #[test]
    fn a_set_is_complete_or_says_what_is_missing() {
        let set = |id: &str, secret: &str, token: Option<&str>| {
            Credentials::new(id, Secret::from(secret), token.map(Secret::from), None).flaw()
        };
        assert_eq!(set("LTAI1", "s", None), None);
        assert_eq!(set("STS.1", "s", Some("t")), None);
        assert_eq!(set("", "s", Some("t")), Some("AccessKeyId is missing"));
        assert_eq!(
            set("STS.1", "", Some("t")),
            Some("AccessKeySecret is missing")
        );
        assert_eq!(set("STS.1", "s", None), Some("SecurityToken is missing"));
        assert!(set("STS.1", "s", Some("to\nken")).is_some());
        assert!(set("STS.1", "s\0", Some("t")).is_some());
    }
}
