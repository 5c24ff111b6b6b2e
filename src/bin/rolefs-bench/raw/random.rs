//! One GET per read, at random places: what a reader would pay that asked the store itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::ensure;
use rolefs::transport::Client;
use tokio::task::JoinSet;

use super::fetch;
use crate::report::{Report, Stopwatch};

/// Where to read, and how often.
#[derive(Debug)]
pub(super) struct Places {
    /// Blocks that the object has.
    pub(super) blocks: u64,
    /// Bytes of one.
    pub(super) block: u64,
    /// Reads in all.
    pub(super) count: usize,
    /// Seed of the order.
    pub(super) seed: u64,
}

pub(super) async fn random(
    client: &Client,
    url: String,
    places: &Places,
    in_flight: usize,
) -> anyhow::Result<Report> {
    let Places {
        blocks,
        block,
        count,
        seed,
    } = *places;
    ensure!(blocks > 0, "the object is shorter than one block");
    let url: Arc<str> = url.into();
    let next = Arc::new(AtomicUsize::new(0));
    let block_len = usize::try_from(block)?;
    let watch = Stopwatch::start()?;
    let mut tasks = JoinSet::new();
    for slot in 0..in_flight.max(1) {
        let (client, url, next) = (client.clone(), Arc::clone(&url), Arc::clone(&next));
        tasks.spawn(async move {
            let mut buffer = vec![0; block_len];
            let mut random = fastrand::Rng::with_seed(seed.wrapping_add(slot as u64));
            let mut latencies = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < count {
                let start = random.u64(..blocks) * block;
                let asked = Instant::now();
                let got = fetch(&client, &url, Some(start..start + block), &mut buffer).await?;
                latencies.push(asked.elapsed());
                ensure!(got == block_len, "a block came as {got} bytes");
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Vec::with_capacity(count);
    while let Some(done) = tasks.join_next().await {
        latencies.append(&mut done??);
    }
    let report = watch.stop(count as u64 * block, count as u64)?;
    Ok(report.with_latencies(latencies))
}
