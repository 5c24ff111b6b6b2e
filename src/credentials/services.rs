//! Services on this machine or this instance that give sets: the one of the platform, and the metadata of ECS.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::time::timeout;
use zeroize::{Zeroize, Zeroizing};

use super::document::{self, DOCUMENT_BYTES_MAX, Writer};
use super::environment::MetadataVariables;
use super::error::Trouble;
use super::fetch::{ATTEMPT_TIMEOUT, Answer};
use super::source::is_http_url;
use crate::transport;

/// How long a connection may take. The service is on the same machine, or answers for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one question to the metadata service may take, connection and all: what the official client takes. Where there is
/// no instance, nothing may answer at all.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);
/// Where every ECS instance finds its own metadata.
const METADATA: &str = "http://100.100.100.200";
/// The token of one question; as the official client asks for it.
const METADATA_TOKEN_SECONDS: &str = "21600";
/// Under this path are the instance's roles, and below a role its set.
const ROLES: &str = "/latest/meta-data/ram/security-credentials/";

/// Asks services, never through a proxy: their answers are secret, and a proxy is elsewhere.
#[derive(Debug)]
pub(super) struct Services {
    plain: transport::Client,
    /// Made when the first of them is asked over HTTPS: a slim image has no certificates, and the platform's service speaks plain
    /// HTTP.
    https: OnceLock<transport::Client>,
}

/// What is asked, and so what an answer that brings nothing means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// A service by the credentials-URI protocol.
    Service,
    /// The metadata service, for a token.
    Token,
    /// The metadata service, for the instance's role or its set.
    Role,
}

fn client(roots: transport::Roots) -> Result<transport::Client, transport::Error> {
    transport::Client::new(&transport::Config {
        connect_timeout: CONNECT_TIMEOUT,
        // Each question has its own connection: an idle one could be closed under the next question.
        pool_idle_max: 0,
        proxy: transport::Proxy::Never,
        roots,
        ..transport::Config::default()
    })
}

impl Services {
    pub(super) fn new() -> Result<Self, transport::Error> {
        Ok(Self {
            plain: client(transport::Roots::None)?,
            https: OnceLock::new(),
        })
    }

    /// The client for a URL.
    fn client(&self, url: &str) -> Result<&transport::Client, transport::Error> {
        if !url.starts_with("https://") {
            return Ok(&self.plain);
        }
        if let Some(client) = self.https.get() {
            return Ok(client);
        }
        let made = client(transport::Roots::System)?;
        Ok(self.https.get_or_init(|| made))
    }

    /// A set by the credentials-URI protocol.
    pub(super) async fn by_uri(&self, url: &str) -> Answer {
        if !is_http_url(url) {
            return Err(Trouble::unusable("not an http:// or https:// URL"));
        }
        let asked = async {
            let body = self.get(Asked::Service, url, HeaderMap::new()).await?;
            document::parse(&body, Writer::Service)
        };
        match timeout(ATTEMPT_TIMEOUT, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::unusable("no answer in time")),
        }
    }

    /// The set of the instance's role.
    ///
    /// By version 2 of the service: a token first, and every question with it. Without a token, or if the service does not
    /// take it, the question is asked as by version 1, unless that is forbidden.
    pub(super) async fn by_metadata(
        &self,
        role: Option<&str>,
        known: &MetadataVariables,
    ) -> Answer {
        let at = known.endpoint.as_deref().unwrap_or(METADATA);
        let at = at.trim_end_matches('/');
        let token = match self.metadata_token(at).await {
            Ok(token) => Some(token),
            Err(Trouble::Absent(reason)) => return Err(Trouble::Absent(reason)),
            Err(trouble) if known.v1_disabled => return Err(trouble),
            Err(_) => None,
        };
        let role = match role.or(known.role.as_deref()) {
            Some(role) => role.to_owned(),
            None => {
                let body = self.metadata(at, "", token.as_ref(), known).await?;
                let name = String::from_utf8_lossy(&body).trim().to_owned();
                // Behind the first line stand the names of others, if there ever are any.
                name.lines().next().unwrap_or_default().to_owned()
            }
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if role.is_empty() || !role.bytes().all(is_name) {
            return Err(Trouble::unusable("the instance's role has no name"));
        }
        let body = self.metadata(at, &role, token.as_ref(), known).await?;
        Ok(document::parse(&body, Writer::Service)?.with_role(role))
    }

    async fn metadata_token(&self, at: &str) -> Result<HeaderValue, Trouble> {
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_static("x-aliyun-ecs-metadata-token-ttl-seconds"),
            HeaderValue::from_static(METADATA_TOKEN_SECONDS),
        );
        let url = format!("{at}/latest/api/token");
        let body = self.bounded(Asked::Token, &url, headers).await?;
        let mut token = HeaderValue::from_bytes(body.trim_ascii())
            .map_err(|_| Trouble::unusable("its token is no header"))?;
        token.set_sensitive(true);
        Ok(token)
    }

    /// One document below the instance's roles.
    async fn metadata(
        &self,
        at: &str,
        name: &str,
        token: Option<&HeaderValue>,
        known: &MetadataVariables,
    ) -> Result<Zeroizing<Vec<u8>>, Trouble> {
        let url = format!("{at}{ROLES}{name}");
        let Some(token) = token else {
            return self.bounded(Asked::Role, &url, HeaderMap::new()).await;
        };
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_static("x-aliyun-ecs-metadata-token"),
            token.clone(),
        );
        match self.bounded(Asked::Role, &url, headers).await {
            Err(Trouble::Unusable(_)) if !known.v1_disabled => {
                self.bounded(Asked::Role, &url, HeaderMap::new()).await
            }
            answer => answer,
        }
    }

    /// A question to the metadata service. Where nobody answers there is no instance, or no role of it.
    async fn bounded(
        &self,
        asked: Asked,
        url: &str,
        headers: HeaderMap,
    ) -> Result<Zeroizing<Vec<u8>>, Trouble> {
        match timeout(METADATA_TIMEOUT, self.get(asked, url, headers)).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::Absent("nobody answers".to_owned())),
        }
    }

    async fn get(
        &self,
        asked: Asked,
        url: &str,
        headers: HeaderMap,
    ) -> Result<Zeroizing<Vec<u8>>, Trouble> {
        let broken = |error: transport::Error| Trouble::Unusable(error.to_string());
        let request = transport::Request {
            method: match asked {
                Asked::Token => Method::PUT,
                Asked::Service | Asked::Role => Method::GET,
            },
            url: url.to_owned(),
            headers,
            body: Bytes::new(),
        };
        let sent = self.client(url).map_err(broken)?.send(request).await;
        let mut response = match sent {
            Err(error @ transport::Error::Connect { .. }) if asked != Asked::Service => {
                return Err(Trouble::Absent(error.to_string()));
            }
            sent => sent.map_err(broken)?,
        };
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND if asked == Asked::Role => {
                return Err(Trouble::Absent("the instance has no role".to_owned()));
            }
            status => return Err(Trouble::Unusable(format!("status {}", status.as_u16()))),
        }
        // All the room there can be, at once: a vector that grows leaves copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(DOCUMENT_BYTES_MAX));
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > DOCUMENT_BYTES_MAX {
                return Err(Trouble::unusable("the answer is too long"));
            }
            body.extend_from_slice(&chunk);
            wipe(chunk);
        }
        Ok(body)
    }
}

/// Wipes a piece of a body, unless the HTTP library still shares its memory.
fn wipe(chunk: Bytes) {
    if let Ok(mut own) = chunk.try_into_mut() {
        own.as_mut().zeroize();
    }
}
