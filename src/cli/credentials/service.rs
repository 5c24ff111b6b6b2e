//! The credentials-URI protocol: a GET of one path is answered with the current set as JSON.
//!
//! All who ask share one provider: it renews ahead of the end, and while it seeks a set one attempt is made for everybody. The
//! path is the key to it: on a machine with other users, one that nobody can guess keeps them out.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
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
    let path: Arc<str> = path.into();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&path), Arc::clone(&provider)));
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

async fn connection(stream: TcpStream, path: Arc<str>, provider: Arc<Provider>) {
    let respond = service_fn(|request: Request<Incoming>| {
        let (path, provider) = (Arc::clone(&path), Arc::clone(&provider));
        async move {
            // The path alone: official clients send a Host without the port.
            let (status, body) = match (request.method(), request.uri().path() == &*path) {
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
