//! `raw`: the same bytes through the same HTTP client, without a file system.
//!
//! URLs are taken as they are: presigned, or plain for a server that asks for no signature. So nothing is signed per
//! request here; that share of the mount's cost counts as the mount's.

mod list;
mod objects;
mod put;
mod random;

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use bytesize::ByteSize;
use clap::Subcommand;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rolefs::transport::{Client, Config, Proxy, Request, Response};

use crate::report::Report;

/// The largest answer that is no object's content: a page of a listing has at most 1000 keys.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// What to fetch or store.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One object, or several at once, in ranged GETs.
    Sequential {
        /// URL of an object; may be repeated.
        #[arg(long = "url", required = true)]
        urls: Vec<String>,
        /// Bytes of each object.
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
    /// Blocks of one object, at random places, one GET each.
    Random {
        /// URL of the object.
        #[arg(long)]
        url: String,
        /// Bytes of the object.
        #[arg(long)]
        size: ByteSize,
        /// Bytes of one GET.
        #[arg(long, default_value = "4KiB")]
        block: ByteSize,
        /// GETs in all.
        #[arg(long, default_value_t = 1000)]
        count: usize,
        /// GETs in flight.
        #[arg(long, default_value_t = 1)]
        in_flight: usize,
        /// Seed of the places.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// New objects of one size, one PUT each.
    Put {
        /// File with one URL per line.
        #[arg(long)]
        list: PathBuf,
        /// Bytes of each object.
        #[arg(long)]
        size: ByteSize,
        /// PUTs in flight.
        #[arg(long, default_value_t = 16)]
        in_flight: usize,
    },
    /// The keys of a bucket, page after page: each page names where the next begins, so there is one request at a time.
    List {
        /// URL of the bucket, presigned or with any other query.
        #[arg(long)]
        url: String,
        /// What the keys begin with; nothing in it is encoded.
        #[arg(long, default_value = "")]
        prefix: String,
    },
}

/// Fetches or stores, and reports.
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
            urls,
            size,
            connections,
            part,
        } => runtime.block_on(objects::sequential(
            &client,
            urls,
            size.0,
            connections,
            part.0,
        )),
        Command::Small {
            list,
            in_flight,
            size_max,
        } => {
            let urls = lines_of(&list)?;
            let buffer_bytes = usize::try_from(size_max.0)?;
            runtime.block_on(objects::small(&client, urls, in_flight, buffer_bytes))
        }
        Command::Random {
            url,
            size,
            block,
            count,
            in_flight,
            seed,
        } => {
            let places = random::Places {
                blocks: size.0 / block.0.max(1),
                block: block.0.max(1),
                count,
                seed,
            };
            runtime.block_on(random::random(&client, url, &places, in_flight))
        }
        Command::Put {
            list,
            size,
            in_flight,
        } => runtime.block_on(put::put(&client, lines_of(&list)?, size.0, in_flight)),
        Command::List { url, prefix } => runtime.block_on(list::walk(&client, &url, &prefix)),
    }
}

/// URLs of a file, one per line.
fn lines_of(list: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(list);
    let text = text.with_context(|| format!("cannot read {}", list.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Sends a GET and expects success.
async fn get(client: &Client, url: &str, range: Option<Range<u64>>) -> anyhow::Result<Response> {
    let mut headers = HeaderMap::new();
    let expected = match range {
        Some(range) => {
            let value = format!("bytes={}-{}", range.start, range.end - 1);
            headers.insert(header::RANGE, HeaderValue::try_from(value)?);
            StatusCode::PARTIAL_CONTENT
        }
        None => StatusCode::OK,
    };
    let response = client
        .send(Request {
            method: Method::GET,
            url: url.to_owned(),
            headers,
            body: Bytes::new(),
        })
        .await?;
    if response.status() != expected {
        let status = response.status();
        let body = response.bytes(ANSWER_BYTES_MAX).await?;
        bail!("answer {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(response)
}

/// One GET; copies the body into the buffer and returns its length.
async fn fetch(
    client: &Client,
    url: &str,
    range: Option<Range<u64>>,
    buffer: &mut [u8],
) -> anyhow::Result<usize> {
    let mut response = get(client, url, range).await?;
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
