//! `raw`: the same bytes through the same HTTP client, without a file system.
//!
//! URLs are taken as they are: presigned, or plain for a server that asks for no signature. So nothing is signed per
//! request here; that share of the mount's cost counts as the mount's.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use anyhow::{Context as _, bail, ensure};
use bytesize::ByteSize;
use clap::Subcommand;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rolefs::transport::{Client, Config, Proxy, Request};
use tokio::task::JoinSet;

use crate::report::{Report, Stopwatch};

/// What to fetch.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One object in ranged GETs.
    Sequential {
        /// URL of the object.
        #[arg(long)]
        url: String,
        /// Bytes of the object.
        #[arg(long)]
        size: ByteSize,
        /// GETs in flight.
        #[arg(long, default_value_t = 16)]
        connections: usize,
        /// Bytes of one GET.
        #[arg(long, default_value = "8MiB")]
        part: ByteSize,
    },
    /// Many objects, one GET each.
    Small {
        /// File with one URL per line.
        #[arg(long)]
        list: PathBuf,
        /// GETs in flight.
        #[arg(long, default_value_t = 16)]
        in_flight: usize,
        /// Bytes of the largest object.
        #[arg(long, default_value = "1MiB")]
        size_max: ByteSize,
    },
}

/// Fetches and reports.
///
/// # Errors
/// If any request fails or answers anything but what was asked for: a yardstick that skips work is none.
pub(crate) fn run(command: Command) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let client = Client::new(&Config {
        proxy: Proxy::Never,
        ..Config::default()
    })?;
    match command {
        Command::Sequential {
            url,
            size,
            connections,
            part,
        } => runtime.block_on(sequential(&client, url, size.0, connections, part.0)),
        Command::Small {
            list,
            in_flight,
            size_max,
        } => {
            let text = std::fs::read_to_string(&list)
                .with_context(|| format!("cannot read {}", list.display()))?;
            let urls = text.lines().map(str::to_owned).collect();
            let buffer_bytes = usize::try_from(size_max.0)?;
            runtime.block_on(small(&client, urls, in_flight, buffer_bytes))
        }
    }
}

/// Every connection takes the next part that nobody has taken, so a slow one delays only its own part.
async fn sequential(
    client: &Client,
    url: String,
    size: u64,
    connections: usize,
    part: u64,
) -> anyhow::Result<Report> {
    ensure!(part > 0, "--part must not be 0");
    let next = Arc::new(AtomicU64::new(0));
    let url: Arc<str> = url.into();
    let part_len = usize::try_from(part)?;
    let watch = Stopwatch::start()?;
    let mut tasks = JoinSet::new();
    for _ in 0..connections.max(1) {
        let (client, url, next) = (client.clone(), Arc::clone(&url), Arc::clone(&next));
        tasks.spawn(async move {
            let mut buffer = vec![0; part_len];
            let mut requests = 0;
            loop {
                let start = next.fetch_add(part, Ordering::Relaxed);
                if start >= size {
                    return anyhow::Ok((size, requests));
                }
                let end = (start + part).min(size);
                let got = fetch(&client, &url, Some(start..end), &mut buffer).await?;
                ensure!(
                    got as u64 == end - start,
                    "a part of {} bytes came as {got}",
                    end - start
                );
                requests += 1;
            }
        });
    }
    let mut requests = 0;
    while let Some(done) = tasks.join_next().await {
        requests += done??.1;
    }
    watch.stop(size, requests)
}

/// Every slot takes the next object of the list.
async fn small(
    client: &Client,
    urls: Vec<String>,
    in_flight: usize,
    buffer_bytes: usize,
) -> anyhow::Result<Report> {
    let next = Arc::new(AtomicUsize::new(0));
    let urls: Arc<[String]> = urls.into();
    let watch = Stopwatch::start()?;
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight.max(1) {
        let (client, urls, next) = (client.clone(), Arc::clone(&urls), Arc::clone(&next));
        tasks.spawn(async move {
            let mut buffer = vec![0; buffer_bytes];
            let mut bytes = 0;
            while let Some(url) = urls.get(next.fetch_add(1, Ordering::Relaxed)) {
                bytes += fetch(&client, url, None, &mut buffer).await? as u64;
            }
            anyhow::Ok(bytes)
        });
    }
    let mut bytes = 0;
    while let Some(done) = tasks.join_next().await {
        bytes += done??;
    }
    watch.stop(bytes, urls.len() as u64)
}

/// One GET; copies the body into the buffer and returns its length.
async fn fetch(
    client: &Client,
    url: &str,
    range: Option<std::ops::Range<u64>>,
    buffer: &mut [u8],
) -> anyhow::Result<usize> {
    let mut headers = HeaderMap::new();
    let expected = match range {
        Some(range) => {
            let value = format!("bytes={}-{}", range.start, range.end - 1);
            headers.insert(header::RANGE, HeaderValue::try_from(value)?);
            StatusCode::PARTIAL_CONTENT
        }
        None => StatusCode::OK,
    };
    let mut response = client
        .send(Request {
            method: Method::GET,
            url: url.to_owned(),
            headers,
            body: bytes::Bytes::new(),
        })
        .await?;
    if response.status() != expected {
        let status = response.status();
        let body = response.bytes(64 << 10).await?;
        bail!("answer {status}: {}", String::from_utf8_lossy(&body));
    }
    let mut filled = 0;
    while let Some(chunk) = response.chunk().await? {
        let target = buffer.get_mut(filled..filled + chunk.len());
        target
            .context("the body is longer than what was asked for")?
            .copy_from_slice(&chunk);
        filled += chunk.len();
    }
    Ok(filled)
}
