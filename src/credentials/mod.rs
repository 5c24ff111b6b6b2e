//! Placeholder with the interface that `oss` needs.

use std::sync::Arc;

/// A text that must not be seen.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes over a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }
    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// One set.
pub struct Credentials {
    id: String,
    secret: Secret,
    token: Option<Secret>,
    expiration: Option<jiff::Timestamp>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// A set.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        secret: Secret,
        token: Option<Secret>,
        expiration: Option<jiff::Timestamp>,
    ) -> Self {
        Self {
            id: id.into(),
            secret,
            token,
            expiration,
        }
    }
    /// Id.
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        &self.id
    }
    /// Secret.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }
    /// Token.
    #[must_use]
    pub fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }
    /// Expiration.
    #[must_use]
    pub fn expiration(&self) -> Option<jiff::Timestamp> {
        self.expiration
    }
}

/// Why there is no set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None.
    #[error("no live credentials")]
    Gone,
}

/// The provider.
#[derive(Debug)]
pub struct Provider(Arc<Credentials>);

impl Provider {
    /// Fixed set.
    #[must_use]
    pub fn fixed(set: Credentials) -> Arc<Self> {
        Arc::new(Self(Arc::new(set)))
    }
    /// The set.
    ///
    /// # Errors
    /// Never.
    pub async fn current(&self) -> Result<Arc<Credentials>, Error> {
        Ok(Arc::clone(&self.0))
    }
    /// Another.
    ///
    /// # Errors
    /// Always.
    pub async fn replace(&self, _refused: &Arc<Credentials>) -> Result<Arc<Credentials>, Error> {
        Err(Error::Gone)
    }
}
