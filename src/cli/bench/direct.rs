//! The yardstick: the same bytes by plain requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::task::JoinSet;

use super::plan::RANDOM_BYTES;
use super::{Done, IN_FLIGHT, Until, WRITE_BYTES};
use crate::object::{Prefix, Source, Version};
use crate::op::Op;
use crate::oss::{Body, Bucket, Condition, ListRequest, Properties};

/// Bytes of one GET of a large object, as read-ahead sends them.
const PART_BYTES: u64 = 8 << 20;

/// Large objects, in ranged GETs.
pub(super) async fn stream(
    bucket: &Arc<Bucket>,
    versions: &[Arc<Version>],
    until: &Until,
) -> Result<Done> {
    let mut sources = Vec::new();
    for version in versions {
        let mut start = 0;
        while start < version.size() {
            let end = version.size().min(start + PART_BYTES);
            sources.push(Source {
                version: Arc::clone(version),
                range: start..end,
            });
            start = end;
        }
    }
    all(bucket, sources, until).await
}

/// Small objects, each in one GET.
pub(super) async fn small(
    bucket: &Arc<Bucket>,
    versions: &[Arc<Version>],
    until: &Until,
) -> Result<Done> {
    let sources = versions
        .iter()
        .map(|version| Source::whole(Arc::clone(version)));
    all(bucket, sources.collect(), until).await
}

async fn all(bucket: &Arc<Bucket>, sources: Vec<Source>, until: &Until) -> Result<Done> {
    let (next, sources) = (Arc::new(AtomicUsize::new(0)), Arc::new(sources));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (bucket, next, sources) = (Arc::clone(bucket), Arc::clone(&next), Arc::clone(&sources));
        let until = until.clone();
        tasks.spawn(async move {
            let mut done = Done::default();
            while let Some(source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.bytes += read(&bucket, source, &until).await?;
                if until.is_over() {
                    break;
                }
                done.files += 1;
            }
            anyhow::Ok(done)
        });
    }
    sum(tasks, started).await
}

async fn sum(mut tasks: JoinSet<Result<Done>>, started: Instant) -> Result<Done> {
    let mut all = Done::default();
    while let Some(done) = tasks.join_next().await {
        let done = done.context("a task has ended early")??;
        all.files += done.files;
        all.bytes += done.bytes;
    }
    all.took = started.elapsed();
    Ok(all)
}

/// Bytes that have come until it was over.
async fn read(bucket: &Bucket, source: &Source, until: &Until) -> Result<u64> {
    let op = Op::awaited("bench");
    let mut get = bucket.get(&op, source).await?;
    let mut bytes = 0;
    while let Some(chunk) = get.chunk().await? {
        bytes += chunk.len() as u64;
        if until.is_over() {
            break;
        }
    }
    Ok(bytes)
}

/// How long each read of 4 KiB takes, one after the other.
pub(super) async fn random(
    bucket: &Bucket,
    version: &Arc<Version>,
    places: &[u64],
    until: &Until,
) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    for &at in places {
        let source = Source {
            version: Arc::clone(version),
            range: at..at + RANDOM_BYTES,
        };
        let started = Instant::now();
        read(bucket, &source, until).await?;
        if until.is_over() {
            break;
        }
        took.push(started.elapsed());
    }
    Ok(took)
}

/// Objects of 8 MiB, each by one PUT, as many bytes as a file of the other side.
pub(super) async fn write(bucket: &Arc<Bucket>, directory: &Prefix, until: &Until) -> Result<Done> {
    let mut content = vec![0; usize::try_from(PART_BYTES)?];
    fastrand::Rng::with_seed(1).fill(&mut content);
    let content = Bytes::from(content);
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..WRITE_BYTES / PART_BYTES {
        let (bucket, key) = (Arc::clone(bucket), directory.object(&number.to_string())?);
        let (body, until) = (Body::from(content.clone()), until.clone());
        tasks.spawn(async move {
            if until.is_over() {
                return Ok(Done::default());
            }
            let (op, none) = (Op::awaited("bench"), Properties::default());
            bucket
                .put_object(&op, &key, &body, &none, Condition::None)
                .await?;
            Ok(Done {
                files: 1,
                bytes: body.len(),
                took: Duration::ZERO,
            })
        });
    }
    sum(tasks, started).await
}

/// Removes what was written.
pub(super) async fn remove(bucket: &Bucket, directory: &Prefix) -> Result<()> {
    let op = Op::awaited("bench");
    let page = bucket
        .list(&op, &ListRequest::directory(directory.as_str()))
        .await?;
    for (key, _) in page.objects {
        let key = crate::object::ObjectKey::new(key)?;
        bucket.delete_object(&op, &key).await?;
    }
    Ok(())
}
