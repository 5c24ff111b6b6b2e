//! New objects, one PUT each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::bail;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use rolefs::transport::{Client, Request};
use tokio::task::JoinSet;

use super::ANSWER_BYTES_MAX;
use crate::report::{Report, Stopwatch};
use crate::write::{content, stamp};

/// Every slot takes the next URL of the list. A body is copied once, as a writer's bytes have to be.
pub(super) async fn put(
    client: &Client,
    urls: Vec<String>,
    size: u64,
    in_flight: usize,
) -> anyhow::Result<Report> {
    let next = Arc::new(AtomicUsize::new(0));
    let urls: Arc<[String]> = urls.into();
    let watch = Stopwatch::start()?;
    let mut tasks = JoinSet::new();
    for slot in 0..in_flight.max(1) {
        let (client, urls, next) = (client.clone(), Arc::clone(&urls), Arc::clone(&next));
        tasks.spawn(async move {
            let mut content = content(size, slot)?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(url) = urls.get(number) else {
                    return anyhow::Ok(());
                };
                stamp(&mut content, number as u64);
                let response = client
                    .send(Request {
                        method: Method::PUT,
                        url: url.clone(),
                        headers: HeaderMap::new(),
                        body: Bytes::copy_from_slice(&content),
                    })
                    .await?;
                let status = response.status();
                let answer = response.bytes(ANSWER_BYTES_MAX).await?;
                if status != StatusCode::OK {
                    bail!("answer {status}: {}", String::from_utf8_lossy(&answer));
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let objects = urls.len() as u64;
    watch.stop(size * objects, objects)
}
