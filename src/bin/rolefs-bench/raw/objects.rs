//! Whole objects: large ones in parts, small ones in one GET each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use anyhow::ensure;
use rolefs::transport::Client;
use tokio::task::JoinSet;

use super::fetch;
use crate::report::{Report, Stopwatch};

/// Every connection takes the next part that nobody has taken, so a slow one delays only its own part. Several objects
/// are fetched side by side, a part of each in turn.
pub(super) async fn sequential(
    client: &Client,
    urls: Vec<String>,
    size: u64,
    connections: usize,
    part: u64,
) -> anyhow::Result<Report> {
    ensure!(part > 0, "--part must not be 0");
    let objects = urls.len() as u64;
    let parts = size.div_ceil(part) * objects;
    let next = Arc::new(AtomicU64::new(0));
    let urls: Arc<[String]> = urls.into();
    let part_len = usize::try_from(part)?;
    let watch = Stopwatch::start()?;
    let mut tasks = JoinSet::new();
    for _ in 0..connections.max(1) {
        let (client, urls, next) = (client.clone(), Arc::clone(&urls), Arc::clone(&next));
        tasks.spawn(async move {
            let mut buffer = vec![0; part_len];
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= parts {
                    return anyhow::Ok(());
                }
                let url = &urls[usize::try_from(number % objects)?];
                let start = number / objects * part;
                let end = (start + part).min(size);
                let got = fetch(&client, url, Some(start..end), &mut buffer).await?;
                ensure!(
                    got as u64 == end - start,
                    "a part of {} bytes came as {got}",
                    end - start
                );
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    watch.stop(size * objects, parts)
}

/// Every slot takes the next object of the list.
pub(super) async fn small(
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
