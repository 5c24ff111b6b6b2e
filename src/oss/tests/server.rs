//! A server that answers each request with the next of its scripted answers, byte for byte.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server does with one request; each has its own connection.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    bytes: Vec<u8>,
    /// Keeps the connection open and silent after the bytes.
    stall: bool,
    reading: Reading,
}

/// What becomes of a request's body before it is answered.
#[derive(Debug, Clone, Copy)]
enum Reading {
    Whole,
    /// So many bytes, then a pause.
    Slow(usize, Duration),
    None,
}

impl Reply {
    /// Exactly these bytes, then the end of the connection.
    pub(super) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            stall: false,
            reading: Reading::Whole,
        }
    }

    /// An answer with a request id and, if no header says another, the right length.
    pub(super) fn new(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut head =
            format!("HTTP/1.1 {status} x\r\nx-oss-request-id: R{status}\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Content-Length") {
            write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        Self::raw([head.as_bytes(), body].concat())
    }

    /// An error of OSS.
    pub(super) fn error(status: u16, code: &str) -> Self {
        Self::new(status, &[], error_xml(code).as_bytes())
    }

    /// The bytes of `all` that `range` names, as a 206 or, for all of them, a 200.
    pub(super) fn part(all: &[u8], range: std::ops::Range<usize>) -> Self {
        let total = all.len();
        let stated = format!("bytes {}-{}/{total}", range.start, range.end - 1);
        let mut headers = object_headers();
        let status = if range == (0..total) {
            200
        } else {
            headers.push(("Content-Range", stated.as_str()));
            206
        };
        Self::new(status, &headers, &all[range])
    }

    /// All but the last `bytes` bytes.
    pub(super) fn cut(mut self, bytes: usize) -> Self {
        self.bytes.truncate(self.bytes.len() - bytes);
        self
    }

    /// And then nothing more, without an end.
    pub(super) fn stalling(mut self) -> Self {
        self.stall = true;
        self
    }
}

impl Reply {
    /// Without a look at the request's body.
    pub(super) fn unread(mut self) -> Self {
        self.reading = Reading::None;
        self
    }

    /// With a pause after each `bytes` of the request's body.
    pub(super) fn slowly(mut self, bytes: usize, pause: Duration) -> Self {
        self.reading = Reading::Slow(bytes, pause);
        self
    }
}

pub(super) fn object_headers() -> Vec<(&'static str, &'static str)> {
    vec![
        ("ETag", super::ETAG),
        ("Last-Modified", super::MODIFIED),
        ("x-oss-hash-crc64ecma", "11051210869376104954"),
        ("x-oss-object-type", "Normal"),
    ]
}

pub(super) fn error_xml(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>No, T0kenOfTheSet.</Message>\
         <RequestId>X</RequestId><SecurityToken>T0kenOfTheSet</SecurityToken><EC>0001-1</EC></Error>"
    )
}

#[derive(Debug, Default)]
struct Script {
    replies: VecDeque<Reply>,
    /// Given once the others are used up.
    always: Option<Reply>,
    heads: Vec<String>,
    bodies: Vec<Vec<u8>>,
}

/// The server; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) endpoint: String,
    script: Arc<Mutex<Script>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(super) async fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::with(Script {
            replies: replies.into_iter().collect(),
            ..Script::default()
        })
        .await
    }

    /// Answers every request alike.
    pub(super) async fn always(reply: Reply) -> Self {
        Self::with(Script {
            always: Some(reply),
            ..Script::default()
        })
        .await
    }

    async fn with(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(script));
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&script);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, Arc::clone(&shared)));
            }
        });
        Self {
            endpoint,
            script,
            _tasks: tasks,
        }
    }

    /// The heads of all requests so far, header names in lower case.
    pub(super) fn heads(&self) -> Vec<String> {
        self.script.lock().unwrap().heads.clone()
    }

    /// The bodies of all requests whose body was read.
    pub(super) fn bodies(&self) -> Vec<Vec<u8>> {
        self.script.lock().unwrap().bodies.clone()
    }

    /// The first lines of all requests so far, without the version.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |head: &String| head.lines().next().unwrap().replace(" HTTP/1.1", "");
        self.heads().iter().map(line).collect()
    }

    /// The values of one header, request by request.
    pub(super) fn values(&self, name: &str) -> Vec<Option<String>> {
        let start = format!("{name}: ");
        let value = |head: &String| {
            let line = head.lines().find_map(|line| line.strip_prefix(&start));
            line.map(str::to_owned)
        };
        self.heads().iter().map(value).collect()
    }
}

async fn serve(mut socket: TcpStream, script: Arc<Mutex<Script>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let length = |line: &str| line.strip_prefix("content-length: ")?.parse().ok();
    let length: usize = head.lines().find_map(length).unwrap_or(0);
    let reply = {
        let mut script = script.lock().unwrap();
        script.heads.push(head);
        let next = script.replies.pop_front();
        next.or_else(|| script.always.clone())
    };
    let Some(reply) = reply else {
        return; // the end of the script: the connection just ends
    };
    if let Some((step, pause)) = match reply.reading {
        Reading::Whole => Some((usize::MAX, Duration::ZERO)),
        Reading::Slow(step, pause) => Some((step, pause)),
        Reading::None => None,
    } {
        let mut body = vec![0; length];
        for piece in body.chunks_mut(step.min(length.max(1))) {
            if socket.read_exact(piece).await.is_err() {
                return;
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        script.lock().unwrap().bodies.push(body);
    }
    // The client may be gone already.
    let _ = socket.write_all(&reply.bytes).await;
    if reply.stall {
        let _ = socket.read_u8().await;
    }
}
