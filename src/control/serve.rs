//! The HTTP that a mount speaks: on its socket everything, at `--metrics ADDR` only what harms nobody.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::mount::Mount;
use super::place::Place;

/// Connections of one door at the same time; more wait to be accepted. Each is one question.
const CONNECTIONS_MAX: usize = 16;

/// How long one question may take, its answer included. Only an invalidation waits for anything, for locks of the kernel.
const CONNECTION_MAX: Duration = Duration::from_secs(60);

/// How long the head of a request may take.
const HEAD_MAX: Duration = Duration::from_secs(5);

/// The longest body: a path of a key's 1023 bytes, or a filter.
const BODY_BYTES_MAX: usize = 8 << 10;

/// How long accepting rests when it fails: out of descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// The doors of a mount; they close when this is dropped.
#[derive(Debug)]
pub struct Serving {
    _doors: Vec<AbortOnDropHandle<()>>,
    place: Option<Place>,
}

impl Serving {
    /// Where the socket is, if there is one.
    #[must_use]
    pub fn socket(&self) -> Option<&Place> {
        self.place.as_ref()
    }
}

/// Answers for `mount` on its socket and at the address of `--metrics`, where there are such.
///
/// # Errors
/// If a listener cannot be taken over by the runtime.
pub fn listen(
    mount: Mount,
    socket: Option<(std::os::unix::net::UnixListener, Place)>,
    metrics: Option<std::net::TcpListener>,
    runtime: &Handle,
) -> io::Result<Serving> {
    let _within = runtime.enter();
    let mount = Arc::new(mount);
    let mut doors = Vec::new();
    let mut place = None;
    if let Some((listener, at)) = socket {
        listener.set_nonblocking(true)?;
        let door = Listener::Control(UnixListener::from_std(listener)?);
        doors.push(AbortOnDropHandle::new(
            runtime.spawn(accept(door, Arc::clone(&mount))),
        ));
        place = Some(at);
    }
    if let Some(listener) = metrics {
        listener.set_nonblocking(true)?;
        let door = Listener::Metrics(TcpListener::from_std(listener)?);
        doors.push(AbortOnDropHandle::new(runtime.spawn(accept(door, mount))));
    }
    Ok(Serving {
        _doors: doors,
        place,
    })
}

#[derive(Debug)]
enum Listener {
    Control(UnixListener),
    Metrics(TcpListener),
}

/// What a door is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Control,
    Metrics,
}

/// Takes connections until it is aborted; they go with it.
async fn accept(listener: Listener, mount: Arc<Mount>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        let mount = Arc::clone(&mount);
        let accepted = match &listener {
            Listener::Control(listener) => listener.accept().await.map(|(stream, _)| {
                connections.spawn(connection(stream, Door::Control, mount));
            }),
            Listener::Metrics(listener) => listener.accept().await.map(|(stream, _)| {
                connections.spawn(connection(stream, Door::Metrics, mount));
            }),
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, ?listener, "a connection cannot be taken");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

async fn connection<S>(stream: S, door: Door, mount: Arc<Mount>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let mount = Arc::clone(&mount);
        async move { Ok::<_, Infallible>(answer(request, door, mount).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Who goes away, or says nothing, needs no answer.
    let _ = tokio::time::timeout(CONNECTION_MAX, serving).await;
}

async fn answer(
    request: Request<Incoming>,
    door: Door,
    mount: Arc<Mount>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let is_control = door == Door::Control;
    match (head.method, head.uri.path(), is_control) {
        (Method::GET, "/metrics", _) => said(StatusCode::OK, OPEN_METRICS, mount.prometheus()),
        (Method::GET, "/healthz", _) => match mount.not_ready() {
            None => said(StatusCode::OK, TEXT, "ok\n"),
            Some(why) => said(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
        },
        (Method::GET, "/status", true) => match serde_json::to_vec(&mount.status()) {
            Ok(status) => said(StatusCode::OK, JSON, status),
            Err(error) => said(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
        },
        (Method::POST, "/invalidate", true) => match text(body).await {
            Ok(path) => invalidate(path, mount).await,
            Err(why) => said(StatusCode::BAD_REQUEST, TEXT, why),
        },
        (Method::PUT, "/log-level", true) => match text(body).await {
            Ok(level) => set_log_level(level.trim(), &mount),
            Err(why) => said(StatusCode::BAD_REQUEST, TEXT, why),
        },
        (_, "/metrics" | "/healthz", _) | (_, "/status" | "/invalidate" | "/log-level", true) => {
            said(StatusCode::METHOD_NOT_ALLOWED, TEXT, "not by this method\n")
        }
        _ => said(StatusCode::NOT_FOUND, TEXT, "there is no such page\n"),
    }
}

/// A body as text, or why it is none.
async fn text(body: Incoming) -> Result<String, &'static str> {
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|_| "the text is cut or too long")?;
    String::from_utf8(body.to_bytes().into())
        .map_err(|_| "the text is not UTF-8, as the names of a bucket are")
}

async fn invalidate(path: String, mount: Arc<Mount>) -> Response<Full<Bytes>> {
    let shown = path.clone();
    // It may wait for locks that the kernel holds while it waits for an answer of ours.
    let told = tokio::task::spawn_blocking(move || mount.kernel.invalidate(&path)).await;
    match told {
        Ok(names) => {
            tracing::info!(path = shown, names, "asked for anew from now on");
            said(StatusCode::OK, TEXT, names.to_string())
        }
        Err(error) => said(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
    }
}

fn set_log_level(level: &str, mount: &Mount) -> Response<Full<Bytes>> {
    match (mount.set_log_level)(level) {
        Ok(()) => {
            // Whoever reads the log should know why it changes; at the level of warnings it is seen in most.
            tracing::warn!(level, "the log level has changed");
            said(StatusCode::OK, TEXT, "")
        }
        Err(why) => said(StatusCode::BAD_REQUEST, TEXT, why),
    }
}

fn said(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
