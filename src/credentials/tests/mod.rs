//! The provider against a scripted service and real files.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod files;
mod holding;
mod roles;
mod secrets;
mod service;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;
use crate::metrics::Metrics;

/// What the service does with one question.
enum Reply {
    Answer(u16, String),
    Stall,
}

/// A service that answers by a script, given the number of the question from 1; it notes how many came and how many at
/// one time.
struct Service {
    url: String,
    asked: Arc<AtomicUsize>,
    at_once_max: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Service {
    async fn start(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/creds?k=hidden", listener.local_addr().unwrap());
        let (asked, at_once_max) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, most) = (Arc::clone(&asked), Arc::clone(&at_once_max));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let script = Arc::new(script);
            let at_once = Arc::new(AtomicUsize::new(0));
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let reply = script(count.fetch_add(1, Ordering::SeqCst) + 1);
                most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let at_once = Arc::clone(&at_once);
                connections.spawn(async move {
                    serve(stream, reply).await;
                    at_once.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            url,
            asked,
            at_once_max,
            _tasks: tasks,
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn source(&self) -> Source {
        Source::Uri(self.url.clone())
    }
}

async fn serve(mut stream: TcpStream, reply: Reply) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    match reply {
        // Until the client goes away.
        Reply::Stall => drop(stream.read_u8().await),
        Reply::Answer(status, body) => {
            let text = format!(
                "HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(text.as_bytes()).await;
        }
    }
}

/// A document whose set is named `name` and ends in `life`.
fn document(name: &str, life: Duration) -> String {
    let end = Timestamp::now() + life;
    format!(
        r#"{{"AccessKeyId":"STS.{name}","AccessKeySecret":"secret-{name}","SecurityToken":"token-{name}","Expiration":"{end}"}}"#
    )
}

fn answer(name: &str, life: Duration) -> Reply {
    let body = document(name, life).replacen('{', r#"{"Code":"Success","#, 1);
    Reply::Answer(200, body)
}

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(400);

/// A provider with short times; the file of `auto` is `file`.
fn provider(
    source: Source,
    environment: Environment,
    file: &Path,
) -> (Arc<Provider>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let config = Config {
        file: file.to_owned(),
        hold: Duration::from_secs(10),
        start_wait: Duration::from_secs(2),
        poll: Duration::from_millis(50),
        ..Config::new(source, environment)
    };
    (
        Provider::new(config, Arc::clone(&metrics)).unwrap(),
        metrics,
    )
}

fn nowhere() -> &'static Path {
    Path::new("/nonexistent/credentials")
}

/// Environment with the given `ALIBABA_CLOUD_…` variables. This machine's metadata service is not asked unless it is named.
fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::read(|name| {
        let name = name.strip_prefix("ALIBABA_CLOUD_").unwrap_or(name);
        if name == "ECS_METADATA_DISABLED" {
            let named = |(name, _): &(&str, &str)| *name == "ROLEFS_ECS_METADATA_ENDPOINT";
            return Some((!variables.iter().any(named)).to_string());
        }
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

/// The owner's part: spawns the background loop, ends it on drop.
fn watched(provider: &Arc<Provider>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(provider).watch());
    tasks
}

/// Waits until the current set is `name`.
async fn becomes(provider: &Provider, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let current = provider.current().await.unwrap();
        if current.access_key_id() == format!("STS.{name}") {
            return;
        }
        assert!(Instant::now() < deadline, "still {current:?}, not {name}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the clock has passed the end of a set.
async fn dies(set: &Credentials) {
    while set.expiration().unwrap() > Timestamp::now() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
