//! GETs that are late, and the limits of `--max-qps` and `--max-bandwidth`.

use std::time::{Duration, Instant};

use super::server::{Reply, Server};
use super::{RETRY, bucket, fixed, source};
use crate::metrics::Metrics;
use crate::op::Op;
use crate::oss::{Bucket, Config, Retry};
use crate::transport;

/// Time-outs far beyond what a late GET may take.
const PATIENT: Retry = Retry {
    attempt_timeout: Duration::from_secs(60),
    idle_timeout: Duration::from_secs(60),
    no_progress: Duration::from_secs(90),
    ..RETRY
};

const SIZE: usize = 4000;

fn content() -> Vec<u8> {
    (0..SIZE)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect()
}

async fn read(bucket: &Bucket) -> Vec<u8> {
    let op = Op::background("test");
    let mut get = bucket
        .get(&op, &source(SIZE as u64, 0..SIZE as u64))
        .await
        .unwrap();
    let mut all = Vec::new();
    while let Some(chunk) = get.chunk().await.unwrap() {
        all.extend_from_slice(&chunk);
    }
    all
}

/// A server that has answered often enough for its time to be known, and then does as told.
async fn after_good_ones(late: Vec<Reply>) -> (Server, Bucket) {
    let good = vec![Reply::part(&content(), 0..SIZE); 32];
    let server = Server::new([good, late].concat()).await;
    let bucket = bucket(&server, PATIENT);
    for _ in 0..32 {
        assert_eq!(read(&bucket).await, content());
    }
    (server, bucket)
}

#[tokio::test]
async fn a_head_that_does_not_come_is_overtaken() {
    let whole = Reply::part(&content(), 0..SIZE);
    let (server, bucket) = after_good_ones(vec![Reply::raw("").stalling(), whole]).await;
    let began = Instant::now();
    assert_eq!(read(&bucket).await, content());
    assert!(began.elapsed() < Duration::from_secs(20));
    let oss = &bucket.metrics.oss;
    assert_eq!((oss.hedged.get(), oss.hedge_wins.get()), (1, 1));
    assert_eq!(server.heads().len(), 34);
    let etags = server.values("if-match");
    assert!(etags.iter().all(|etag| *etag == etags[0]), "of one version");
}

#[tokio::test]
async fn a_copy_that_is_refused_decides_nothing() {
    let slow = Reply::raw("").stalling();
    let refused = Reply::error(503, "SlowDown");
    let (_server, bucket) = after_good_ones(vec![slow, refused]).await;
    let reading = tokio::time::timeout(Duration::from_secs(2), read(&bucket));
    assert!(reading.await.is_err(), "the first is still waited for");
    let oss = &bucket.metrics.oss;
    assert_eq!((oss.hedged.get(), oss.hedge_wins.get()), (1, 0));
}

#[tokio::test]
async fn a_body_that_stands_still_is_continued_before_its_time() {
    let all = content();
    let stuck = Reply::part(&all, 0..SIZE).cut(1500).stalling();
    let (server, bucket) = after_good_ones(vec![stuck, Reply::part(&all, SIZE - 1500..SIZE)]).await;
    let began = Instant::now();
    assert_eq!(read(&bucket).await, all);
    assert!(began.elapsed() < Duration::from_secs(20));
    let oss = &bucket.metrics.oss;
    assert_eq!((oss.hedged.get(), oss.hedge_wins.get()), (1, 1));
    assert_eq!(
        server.values("range").pop().flatten().as_deref(),
        Some("bytes=2500-3999")
    );
}

#[tokio::test]
async fn a_bucket_keeps_its_limits() {
    let server = Server::always(Reply::part(&content(), 0..SIZE)).await;
    let config = Config {
        region: Some("cn-hangzhou".to_owned()),
        requests_per_second: Some(20),
        bytes_per_second: Some(1 << 20),
        ..Config::new(server.endpoint.parse().unwrap(), super::BUCKET)
    };
    let transport = transport::Client::new(&transport::Config {
        proxy: transport::Proxy::Never,
        ..transport::Config::default()
    });
    let metrics = std::sync::Arc::new(Metrics::default());
    let bucket = Bucket::new(config, transport.unwrap(), fixed(), metrics).unwrap();
    let began = Instant::now();
    for _ in 0..12 {
        assert_eq!(read(&bucket).await, content());
    }
    // Nobody waits for these, so they leave half of the burst: eleven have to wait for a twentieth of a second each.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(480), "{took:?}");
}
