//! The job's local credentials service.
//!
//! It looks at the path alone: official clients send `Host` without the port, and no authorization.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::config::ExpirationFormat;
use super::faults::ServiceFault;
use super::job::Shared;
use super::metadata;
use crate::credentials::Document;
use crate::dev_server::auth::TokenSet;

/// Connections served at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;
/// Between two tries to get the port back after it was given up.
const LISTEN_AGAIN: Duration = Duration::from_millis(10);

/// One set as JSON; the file leaves out `Code`.
pub(super) fn json(set: &TokenSet, code: Option<&str>, format: ExpirationFormat) -> String {
    document(set, code, &expiration(set.expiration, format)).json()
}

fn document<'a>(set: &'a TokenSet, code: Option<&'a str>, expiration: &'a str) -> Document<'a> {
    Document {
        code,
        access_key_id: &set.access_key_id,
        access_key_secret: &set.access_key_secret,
        security_token: &set.security_token,
        expiration,
    }
}

fn expiration(at: Timestamp, format: ExpirationFormat) -> String {
    match format {
        ExpirationFormat::Seconds => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        ExpirationFormat::Fractional => at.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string(),
        ExpirationFormat::Offset => {
            let there = at.saturating_add(SignedDuration::from_hours(8));
            let there = there.unwrap_or(Timestamp::MAX);
            there.strftime("%Y-%m-%dT%H:%M:%S+08:00").to_string()
        }
    }
}

/// Status and JSON for a GET of `path`, with the faults that show in an answer.
pub(super) fn answer(shared: &Shared, path: &str) -> (u16, String) {
    let refusal = |code: &str| format!("{{\n  \"Code\": \"{code}\"\n}}");
    if path != shared.config.uri_path {
        return (404, refusal("NotFound"));
    }
    let mut set = shared.sets().current;
    let fault = shared.wanted().borrow().1.clone();
    let mut missing = None;
    match fault {
        ServiceFault::None
        | ServiceFault::Refuse
        | ServiceFault::Stall
        | ServiceFault::Delay(_) => {}
        ServiceFault::Status(status) => return (status, refusal("InternalError")),
        ServiceFault::NotSuccess => return (200, refusal("Failed")),
        ServiceFault::NotJson => return (200, "<html>502 Bad Gateway</html>".to_owned()),
        ServiceFault::Without(name) => missing = Some(name),
        ServiceFault::Expired => {
            let past = SignedDuration::from_mins(-1);
            set.expiration = shared.now().saturating_add(past).unwrap_or(Timestamp::MIN);
        }
        ServiceFault::WrongSecret => {
            set.access_key_secret = set.access_key_secret.chars().rev().collect();
        }
    }
    let expiration = expiration(set.expiration, shared.config.expiration_format);
    let body = document(&set, Some("Success"), &expiration);
    let Some(missing) = missing else {
        return (200, body.json());
    };
    let mut value = serde_json::to_value(&body).expect("strings are JSON");
    value.as_object_mut().map(|members| members.remove(missing));
    (200, format!("{value:#}"))
}

pub(super) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until it is dropped; gives the port up while connections are to be refused.
pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener, address: SocketAddr) {
    let mut wanted = shared.wanted();
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let (number, fault) = wanted.borrow_and_update().clone();
        if fault == ServiceFault::Refuse {
            listener = None;
            connections.shutdown().await;
        } else if listener.is_none() {
            match listen(address).await {
                Ok(again) => listener = Some(again),
                Err(error) => {
                    tracing::warn!(%address, %error, "the credentials service waits for its port");
                    tokio::time::sleep(LISTEN_AGAIN).await;
                    continue;
                }
            }
        }
        shared.in_force.send_replace(number);
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            stream = accept(listener.as_ref()), if connections.len() < CONNECTIONS_MAX => {
                if let Ok(stream) = stream {
                    connections.spawn(connection(Arc::clone(&shared), stream));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream) {
    let respond = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(&shared, &request).await) }
    });
    // One request per connection, so that a fault meets every request. An error here is the client's: it went away.
    let _ = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), respond)
        .await;
}

async fn respond(shared: &Shared, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    shared.fetches.fetch_add(1, Ordering::Relaxed);
    let mut wanted = shared.wanted();
    let delay = match wanted.borrow().1 {
        ServiceFault::Delay(delay) => Some(delay),
        _ => None,
    };
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    // The sender lives in `shared`.
    let _ = wanted
        .wait_for(|(_, fault)| *fault != ServiceFault::Stall)
        .await;
    let path = request.uri().path();
    let (status, body) = if path.starts_with("/latest/") {
        metadata::answer(shared, request.method(), path, request.headers())
    } else if request.method() == http::Method::GET {
        answer(shared, path)
    } else {
        (405, String::new())
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    response
}
