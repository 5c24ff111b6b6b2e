//! A server that speaks OSS: for tests, demonstrations and benchmarks; named by no production room.
//!
//! It is a real HTTP server on a real socket, so a client cannot tell it from OSS by anything but its address: the same
//! operations, headers, error codes and quirks, and on demand the same trouble ([`FaultPlan`]). In a test it runs in
//! the same process; `rolefs-dev serve` runs it alone.
//!
//! A request passes `wire` (connection, pace, rude ends), `request` (the parsed head), `operation` (what is asked),
//! `auth` (who may), `ops` (the operations) and `store` (objects in memory or on disk), and returns through `serve`,
//! which adds faults, latency and the headers of every answer.
//!
//! **Uploads** cost one copy and one CRC a byte, and an MD5 unless [`ETags::Crc`] is asked for; copies share their bytes.
//! [`Stats`] has a counter for every operation.
//!
//! **Versions** are kept in memory: what is no longer current ends with the server. **Encryption** is told, never done.
//!
//! **Beside OSS** it answers what a job asks of STS and of AIWorkSpace, at the same address ([`openapi`]).
//!
//! **What it does not have** it refuses with 501 `NotImplemented`: ACLs, restores, sealing, listing of versions, making and
//! changing buckets. A test that passes against it did not pass by being ignored.

mod answer;
pub mod auth;
mod direct;
mod error;
mod faults;
mod openapi;
mod operation;
mod ops;
mod request;
pub mod roles;
mod serve;
mod stats;
mod store;
mod wire;
mod xml;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use auth::Authority;
use ops::Service;
use serve::Server;
use store::Store;
use wire::{Connection, Control, acceptor};

pub use direct::{Stored, Unfinished};
pub use faults::{Fault, FaultKind, FaultPlan, RandomFaults, SpecError, THROTTLE_CODES};
pub use operation::Operation;
pub use stats::Stats;
pub use store::{ETags, Versioning};

/// How long nothing is accepted after a connection could not be.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bucket that exists from the start. Buckets are neither made nor removed later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketConfig {
    /// 3 to 63 lower-case letters, digits and hyphens (OSS help "Bucket naming conventions").
    pub name: String,
    /// Whether it keeps versions. Default: it never did.
    pub versioning: Versioning,
    /// The namespace is hierarchical: directories can be made, removed and renamed, and what such a bucket has not is
    /// refused. Listings and parents are those of a flat bucket. Default: false.
    pub hierarchical: bool,
}

impl BucketConfig {
    /// A plain bucket.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            versioning: Versioning::Never,
            hierarchical: false,
        }
    }
}

/// What a server is made with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen. Default: any free port of 127.0.0.1.
    pub listen: SocketAddr,
    /// Where objects are kept; default `None`, in memory. The directory belongs to one server at a time. It is made if
    /// it is not there, and buckets of earlier servers in it are served as well.
    pub data: Option<PathBuf>,
    /// The buckets. Default: none, so every bucket is unknown.
    pub buckets: Vec<BucketConfig>,
    /// The region, without `oss-`. Default: `cn-hangzhou`.
    pub region: String,
    /// Who may do what. Default: `None`, everybody everything, and no signature is looked at.
    pub auth: Option<Arc<Authority>>,
    /// Speaks HTTPS with this certificate, and nothing else. Default: `None`, plain HTTP.
    pub tls: Option<Tls>,
    /// What ETags are made of. Default: the MD5, as in OSS.
    pub etags: ETags,
}

/// Files of a server that speaks HTTPS, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, and those that it was signed with.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data: None,
            buckets: Vec::new(),
            region: "cn-hangzhou".to_owned(),
            auth: None,
            tls: None,
            etags: ETags::Md5,
        }
    }
}

/// Why a server does not start, or refuses a direct access.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address of the config.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("cannot speak HTTPS")]
    Tls(#[source] io::Error),
    /// The data directory cannot be read or made.
    #[error("cannot open the data directory")]
    Data(#[source] io::Error),
    /// No OSS bucket can have this name.
    #[error("'{0}' is no bucket name: 3 to 63 lower-case letters, digits and inner hyphens")]
    BucketName(String),
    /// Direct access to a bucket that is not there, or storing failed.
    #[error("{code}: {message}")]
    Refused {
        /// OSS's code.
        code: &'static str,
        /// OSS's message.
        message: String,
    },
}

impl From<error::OssError> for Error {
    fn from(error: error::OssError) -> Self {
        Self::Refused {
            code: error.code,
            message: error.message,
        }
    }
}

/// A running server. It stops when it is dropped, connections and all.
#[derive(Debug)]
pub struct DevServer {
    address: SocketAddr,
    scheme: &'static str,
    server: Arc<Server>,
    /// Owns the connections: they end with it.
    accepting: JoinHandle<()>,
    stop: CancellationToken,
}

impl DevServer {
    /// Starts a server on the current runtime; it is listening when this returns.
    ///
    /// # Errors
    /// [`Error::BucketName`], [`Error::Tls`], [`Error::Data`] and [`Error::Listen`].
    pub async fn start(config: Config) -> Result<Self, Error> {
        if let Some(bucket) = config.buckets.iter().find(|bucket| !is_name(&bucket.name)) {
            return Err(Error::BucketName(bucket.name.clone()));
        }
        let tls = config.tls.as_ref().map(acceptor).transpose();
        let tls = tls.map_err(Error::Tls)?;
        let mut buckets = config.buckets;
        if let Some(data) = &config.data {
            buckets.extend(buckets_in(data, &buckets).map_err(Error::Data)?);
        }
        let store =
            Store::open(config.data.as_deref(), &buckets, config.etags).map_err(Error::Data)?;
        let listen = |source| Error::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let server = Arc::new(Server::new(Service {
            store,
            region: config.region,
            auth: config.auth,
        }));
        let stop = CancellationToken::new();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let accepting = tokio::spawn(accept(listener, Arc::clone(&server), tls, stop.clone()));
        Ok(Self {
            address,
            scheme,
            server,
            accepting,
            stop,
        })
    }

    /// `http://127.0.0.1:PORT`, or the same with `https`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What goes wrong, to be changed at any time.
    #[must_use]
    pub fn faults(&self) -> &FaultPlan {
        &self.server.faults
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.server.counters.snapshot()
    }

    /// Stops the server and waits until its last connection is gone.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        // It fails only if a connection's panic was passed on, which the log has told.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for DevServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Buckets on disk that `known` does not name.
fn buckets_in(data: &Path, known: &[BucketConfig]) -> io::Result<Vec<BucketConfig>> {
    std::fs::create_dir_all(data)?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data)? {
        let entry = entry?;
        let is_bucket = entry.path().join("objects").is_dir();
        if let Ok(name) = entry.file_name().into_string()
            && is_bucket
            && is_name(&name)
            && !known.iter().any(|bucket| bucket.name == name)
        {
            found.push(BucketConfig::new(name));
        }
    }
    Ok(found)
}

fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (3..=63).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Takes connections until it is stopped or aborted; its set of tasks goes with it.
async fn accept(
    listener: TcpListener,
    server: Arc<Server>,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, tls.clone(), Arc::clone(&server)));
                }
                // Out of descriptors, most likely: there will be some when a connection has ended.
                Err(error) => {
                    tracing::warn!(%error, "dev server: cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = stop.cancelled() => return connections.shutdown().await,
        }
    }
}

async fn serve_connection(stream: TcpStream, tls: Option<TlsAcceptor>, server: Arc<Server>) {
    server.counters.connections.fetch_add(1, Ordering::Relaxed);
    // Without it small answers wait for the client's acknowledgement; a socket that refuses still works.
    let _ = stream.set_nodelay(true);
    let control = Arc::new(Control::default());
    let connection = Connection::new(
        stream,
        Arc::clone(&control),
        Arc::clone(&server.faults),
        Arc::clone(&server.counters),
    );
    // Pace, counts and rude ends are those of the wire, below TLS.
    match tls {
        None => serve_http(connection, control, server).await,
        Some(tls) => match tls.accept(connection).await {
            Ok(stream) => serve_http(stream, control, server).await,
            Err(error) => tracing::debug!(%error, "dev server: no TLS connection"),
        },
    }
}

async fn serve_http<S>(stream: S, control: Arc<Control>, server: Arc<Server>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| Arc::clone(&server).answer(Arc::clone(&control), request));
    let served = http1::Builder::new()
        .writev(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "dev server: connection ended");
    }
}

#[cfg(test)]
mod tests;
