//! The credentials-URI protocol: a GET of one path is answered with the current set as JSON.
//!
//! All who ask share one provider: it renews ahead of the end, and while it seeks a set one attempt is made for everybody. The
//! path is the key to it: on a machine with other users, one that nobody can guess keeps them out. A web page whose name was made to
//! lead to this machine (DNS rebinding) is refused by the Host that its browser sends, also where the path is known.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::{SignedDuration, Timestamp};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::credentials::{Credentials, Document, Provider};

/// Connections at once; more wait in the kernel's queue. Each is one short question.
const CONNECTIONS_MAX: usize = 256;
/// How long a question may take to arrive.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// How long nothing is accepted after a connection could not be: out of descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What is said of a set of which nobody says when it ends. The official clients ask again 15 minutes before; so they do soon.
const UNKNOWN_LIFE: SignedDuration = SignedDuration::from_mins(20);

/// Answers until it is dropped, connections and all.
pub(super) async fn serve(listener: TcpListener, path: String, provider: Arc<Provider>) {
    let door = Arc::new(Door {
        path,
        // Other machines may know this one by any name.
        is_local: listener.local_addr().is_ok_and(|at| at.ip().is_loopback()),
    });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&door), Arc::clone(&provider)));
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// What a question must be to be answered.
#[derive(Debug)]
struct Door {
    path: String,
    /// It is asked by programs of this machine only, by its address or as `localhost`.
    is_local: bool,
}

impl Door {
    fn knows(&self, headers: &HeaderMap) -> bool {
        !self.is_local || headers.get_all(header::HOST).iter().all(is_this_machine)
    }
}

/// True of an address and of `localhost`, with any port or none: official clients leave it out.
fn is_this_machine(host: &header::HeaderValue) -> bool {
    let Ok(host) = host.to_str() else {
        return false;
    };
    let inner = host.strip_prefix('[').and_then(|host| host.split_once(']'));
    if let Some((address, _)) = inner {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

async fn connection(stream: TcpStream, door: Arc<Door>, provider: Arc<Provider>) {
    let respond = service_fn(|request: Request<Incoming>| {
        let (door, provider) = (Arc::clone(&door), Arc::clone(&provider));
        async move {
            let is_path = request.uri().path() == door.path;
            let (status, body) = match (request.method(), is_path) {
                _ if !door.knows(request.headers()) => (
                    StatusCode::MISDIRECTED_REQUEST,
                    refusal("Misdirected", "ask by the address, or as localhost"),
                ),
                (&Method::GET, true) => answer(&provider).await,
                (_, true) => (
                    StatusCode::METHOD_NOT_ALLOWED,
                    refusal("MethodNotAllowed", "GET it"),
                ),
                (_, false) => (
                    StatusCode::NOT_FOUND,
                    refusal("NotFound", "another path answers"),
                ),
            };
            Ok::<_, Infallible>(response(status, body))
        }
    });
    // An error here is the client's: it went away.
    let served: Result<(), hyper::Error> = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), respond)
        .await;
    if let Err(error) = served {
        tracing::debug!("a connection ended: {error}");
    }
}

/// The current set, or why there is none; nobody is held longer than the provider's hold.
async fn answer(provider: &Provider) -> (StatusCode, String) {
    match provider.current().await {
        Ok(set) if set.token().is_some() => (StatusCode::OK, document(&set, Timestamp::now())),
        Ok(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            refusal("PermanentKey", "a permanent key is not given out"),
        ),
        Err(error) => {
            tracing::warn!("somebody asks in vain: {error}");
            let reason = error.to_string();
            (
                StatusCode::SERVICE_UNAVAILABLE,
                refusal("Unavailable", &reason),
            )
        }
    }
}

fn document(set: &Credentials, now: Timestamp) -> String {
    let soon = || now.saturating_add(UNKNOWN_LIFE).unwrap_or(Timestamp::MAX);
    let end = set.expiration().unwrap_or_else(soon);
    Document {
        code: Some("Success"),
        access_key_id: set.access_key_id(),
        access_key_secret: set.secret().expose(),
        security_token: set.token().map_or("", |token| token.expose()),
        expiration: &end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }
    .json()
}

fn refusal(code: &str, message: &str) -> String {
    serde_json::json!({ "Code": code, "Message": message }).to_string()
}

fn response(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let json = header::HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    let never = header::HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, never);
    response
}

/// A path of 128 random bits.
pub(super) fn secret_path() -> io::Result<String> {
    use io::Read;
    let mut bits = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bits)?;
    Ok(format!("/{}", hex::encode(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_page_of_another_name_is_not_this_machine() {
        let is_known =
            |host: &'static str| is_this_machine(&header::HeaderValue::from_static(host));
        for host in [
            "127.0.0.1",
            "127.0.0.1:80",
            "localhost",
            "LOCALHOST:1",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(is_known(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:80",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "[evil]",
            "",
        ] {
            assert!(!is_known(host), "{host}");
        }
    }
}
