//! Placeholder with the interface that `oss` needs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::metrics::Metrics;
use crate::transport;

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
#[derive(Debug)]
pub struct Credentials {
    id: String,
    secret: Secret,
    token: Option<Secret>,
    expiration: Option<jiff::Timestamp>,
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
    /// No client.
    #[error("cannot set up credentials")]
    Setup(#[from] transport::Error),
}

/// Where from.
#[derive(Debug)]
pub enum Source {
    /// The environment.
    Env,
    /// A service.
    Uri(String),
}

/// The environment.
#[derive(Debug, Default)]
pub struct Environment {
    /// Id.
    pub uri: Option<String>,
    /// Id.
    pub access_key_id: Option<String>,
    /// Secret.
    pub access_key_secret: Option<Secret>,
    /// Token.
    pub security_token: Option<Secret>,
}

/// What a provider is made with.
#[derive(Debug)]
pub struct Config {
    source: Source,
    environment: Environment,
    /// Bound.
    pub hold: Duration,
}

impl Config {
    /// Defaults.
    #[must_use]
    pub fn new(source: Source, environment: Environment) -> Self {
        let hold = Duration::from_secs(120);
        Self {
            source,
            environment,
            hold,
        }
    }
}

/// The provider.
#[derive(Debug)]
pub struct Provider {
    config: Config,
    client: transport::Client,
    current: Mutex<Option<Arc<Credentials>>>,
}

impl Provider {
    /// A provider.
    ///
    /// # Errors
    /// Setup.
    pub fn new(config: Config, _metrics: Arc<Metrics>) -> Result<Arc<Self>, Error> {
        let client = transport::Client::new(&transport::Config {
            proxy: transport::Proxy::Never,
            ..transport::Config::default()
        })?;
        Ok(Arc::new(Self {
            config,
            client,
            current: Mutex::default(),
        }))
    }

    async fn fetch(&self) -> Result<Arc<Credentials>, Error> {
        let set = match &self.config.source {
            Source::Env => {
                let environment = &self.config.environment;
                Credentials::new(
                    environment.access_key_id.clone().ok_or(Error::Gone)?,
                    environment.access_key_secret.clone().ok_or(Error::Gone)?,
                    environment.security_token.clone(),
                    None,
                )
            }
            Source::Uri(url) => {
                let request = transport::Request {
                    method: http::Method::GET,
                    url: url.clone(),
                    headers: http::HeaderMap::new(),
                    body: bytes::Bytes::new(),
                };
                let body = self.client.send(request).await?.bytes(1 << 16).await?;
                let json: serde_json::Value =
                    serde_json::from_slice(&body).map_err(|_| Error::Gone)?;
                let text = |name: &str| json[name].as_str().unwrap_or_default();
                Credentials::new(
                    text("AccessKeyId"),
                    text("AccessKeySecret").into(),
                    Some(text("SecurityToken").into()),
                    None,
                )
            }
        };
        let set = Arc::new(set);
        *self.current.lock().expect("whole") = Some(Arc::clone(&set));
        Ok(set)
    }

    /// The set.
    ///
    /// # Errors
    /// Gone.
    pub async fn current(&self) -> Result<Arc<Credentials>, Error> {
        let kept = self.current.lock().expect("whole").clone();
        match kept {
            Some(set) => Ok(set),
            None => self.fetch().await,
        }
    }

    /// Another.
    ///
    /// # Errors
    /// Gone.
    pub async fn replace(&self, refused: &Arc<Credentials>) -> Result<Arc<Credentials>, Error> {
        let set = self.fetch().await?;
        if set.access_key_id() == refused.access_key_id() {
            return Err(Error::Gone);
        }
        Ok(set)
    }
}
