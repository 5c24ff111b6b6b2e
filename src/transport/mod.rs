//! One HTTP client: HTTP/1.1 only, connection pools, time-outs, proxy rules, redaction. It knows nothing of OSS.
//!
//! HTTP/1.1 and not HTTP/2: one connection per request in flight is what gives an object store its parallel
//! bandwidth, and OSS speaks no HTTP/2.
//!
//! The client never retries, never follows a redirect (a signature is for one host) and asks for no compression (OSS
//! would drop the ETag and the length). It has no time-out over a whole request: its callers watch progress instead.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};

/// Which proxy a client uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// What `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say.
    Environment,
    /// None, whatever the environment says: the credentials service is local, and its answer is a secret.
    Never,
}

/// Which root certificates a client trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roots {
    /// The system's, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`. Without any the client cannot be made.
    System,
    /// None: for a client that only speaks plain HTTP. A slim container image often has no certificates at all.
    None,
}

/// What a client is made with.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a TCP and TLS handshake may take.
    pub connect_timeout: Duration,
    /// How long an idle connection is kept for reuse. OSS closes idle connections after about a minute.
    pub pool_idle_timeout: Duration,
    /// How many idle connections are kept for one host.
    pub pool_idle_max: usize,
    /// The proxy rule.
    pub proxy: Proxy,
    /// Which certificates prove a server's identity.
    pub roots: Roots,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            pool_idle_timeout: Duration::from_secs(30),
            pool_idle_max: 256,
            proxy: Proxy::Environment,
            roots: Roots::System,
        }
    }
}

/// Why no answer, or only a part of one, arrived. The text names a host, never a URL: a URL can carry a signature.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client could not be made, for want of root certificates.
    #[error(
        "cannot set up HTTPS: {0}; install ca-certificates, or name a file of root certificates by SSL_CERT_FILE"
    )]
    Setup(String),
    /// No connection: name resolution, TCP, TLS or proxy. Nothing was sent.
    #[error("cannot connect to {host}: {reason}")]
    Connect {
        /// Host of the URL.
        host: String,
        /// The innermost reason.
        reason: String,
    },
    /// The connection broke after the request was, perhaps partly, sent.
    #[error("connection to {host} broke: {reason}")]
    Broken {
        /// Host of the URL.
        host: String,
        /// The innermost reason.
        reason: String,
    },
    /// The body is longer than the caller accepts.
    #[error("answer of {host} is longer than {max} bytes")]
    TooLong {
        /// Host of the URL.
        host: String,
        /// What the caller accepts.
        max: usize,
    },
}

/// One request as it goes out.
#[derive(Debug)]
pub struct Request {
    /// GET, HEAD, PUT, …
    pub method: Method,
    /// The full URL, percent-encoded; sent as it is.
    pub url: String,
    /// Headers; values with secrets are marked sensitive by whoever sets them.
    pub headers: HeaderMap,
    /// The body, empty for none.
    pub body: Bytes,
}

/// The client. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Client(reqwest::Client);

impl Client {
    /// Makes a client with its own pool of connections.
    ///
    /// # Errors
    /// [`Error::Setup`] if TLS cannot be set up, for instance without any root certificate.
    pub fn new(config: &Config) -> Result<Self, Error> {
        // Two clients in one process install the provider twice; the second is told so and nothing is lost.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(config.pool_idle_timeout)
            .pool_max_idle_per_host(config.pool_idle_max)
            .tcp_nodelay(true)
            .user_agent(concat!("rolefs/", env!("CARGO_PKG_VERSION")));
        if config.proxy == Proxy::Never {
            builder = builder.no_proxy();
        }
        if config.roots == Roots::None {
            builder = builder.tls_certs_only([]);
        }
        builder
            .build()
            .map(Self)
            .map_err(|error| Error::Setup(innermost(&error)))
    }

    /// Sends a request and resolves when the head of the answer is there.
    ///
    /// # Errors
    /// [`Error::Connect`] when nothing was sent, [`Error::Broken`] otherwise.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let body = reqwest::Body::from(request.body);
        self.send_body(request.method, &request.url, request.headers, body)
            .await
    }

    /// The same with a body that is taken piece by piece; the request's own is left out.
    ///
    /// The pieces are not copied in this process: over plain TCP they go to the kernel where they lie, by vectored
    /// writes of about 512 KiB, and over TLS straight into the cipher. What was taken and not written yet (at most as
    /// much) is held by the connection, also for a moment after a request was given up.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_pieces<B>(&self, request: Request, body: B) -> Result<Response, Error>
    where
        B: hyper::body::Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
    {
        let body = reqwest::Body::wrap(body);
        self.send_body(request.method, &request.url, request.headers, body)
            .await
    }

    async fn send_body(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: reqwest::Body,
    ) -> Result<Response, Error> {
        let host = host_of(url);
        let request = self.0.request(method, url).headers(headers).body(body);
        match request.send().await {
            Ok(inner) => Ok(Response { inner, host }),
            Err(error) if error.is_connect() || error.is_builder() => Err(Error::Connect {
                host,
                reason: innermost(&error),
            }),
            Err(error) => Err(Error::Broken {
                host,
                reason: innermost(&error),
            }),
        }
    }
}

/// The head of an answer, and its body as it arrives.
#[derive(Debug)]
pub struct Response {
    inner: reqwest::Response,
    host: String,
}

impl Response {
    /// The status code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// The next piece of the body, `None` at its end.
    ///
    /// # Errors
    /// [`Error::Broken`] if the connection broke before the announced end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.inner.chunk().await.map_err(|error| Error::Broken {
            host: self.host.clone(),
            reason: innermost(&error),
        })
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`Error::TooLong`] past `max` bytes, [`Error::Broken`] as in [`Response::chunk`].
    pub async fn bytes(mut self, max: usize) -> Result<Bytes, Error> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > max {
                return Err(Error::TooLong {
                    host: self.host,
                    max,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

/// Host and port of a URL, for messages; never its path or query.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit('@').next().unwrap_or(authority).to_owned()
}

/// The last cause of a chain: reqwest's own texts contain the URL.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match cause.downcast_ref::<reqwest::Error>() {
        Some(_) => "the request could not be made".to_owned(),
        None => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_host_and_nothing_else_of_a_url() {
        assert_eq!(host_of("http://user:secret@h:1/p?sig=x"), "h:1");
        assert_eq!(
            host_of("https://b.oss-cn-hangzhou.aliyuncs.com?x"),
            "b.oss-cn-hangzhou.aliyuncs.com"
        );
    }
}
