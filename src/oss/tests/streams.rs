//! GETs: exactly the bytes asked for, whatever the server does.

use std::time::{Duration, Instant};

use super::server::{Reply, Server, object_headers};
use super::{ETAG, RETRY, bucket, source};
use crate::object::Source;
use crate::op::Op;
use crate::oss::{Bucket, Error, Kind, Retry};

fn content(size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect()
}

async fn read(bucket: &Bucket, op: &Op, source: &Source) -> Result<Vec<u8>, Error> {
    let mut get = bucket.get(op, source).await?;
    let mut all = Vec::new();
    while let Some(chunk) = get.chunk().await? {
        assert!(!chunk.is_empty());
        all.extend_from_slice(&chunk);
    }
    assert_eq!(get.chunk().await?, None, "the end stays the end");
    Ok(all)
}

#[tokio::test]
async fn a_whole_object_is_asked_for_without_a_range() {
    let all = content(1000);
    let server = Server::new([Reply::part(&all, 0..1000)]).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let mut get = bucket.get(&op, &source(1000, 0..1000)).await.unwrap();
    assert_eq!(get.crc64(), Some(11_051_210_869_376_104_954));
    assert_eq!(get.meta().map(|meta| meta.size), Some(1000));
    assert_eq!(bucket.metrics.oss.gets_in_flight.get(), 1);
    let mut bytes = Vec::new();
    while let Some(chunk) = get.chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    drop(get);
    assert_eq!(bytes, all);
    let head = server.heads().remove(0);
    assert!(
        head.starts_with("GET /demo/dir/x.bin HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("x-oss-range-behavior: standard\r\n"),
        "{head}"
    );
    assert!(!head.contains("accept-encoding"), "{head}");
    assert_eq!(server.values("if-match"), [Some(ETAG.to_owned())]);
    assert_eq!(server.values("range"), [None]);
    let oss = &bucket.metrics.oss;
    assert_eq!(
        (oss.gets_in_flight.get(), oss.bytes_received.get()),
        (0, 1000)
    );
}

#[tokio::test]
async fn nothing_is_asked_for_an_empty_range() {
    let server = Server::new([]).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    assert_eq!(read(&bucket, &op, &source(0, 0..0)).await.unwrap(), b"");
    assert_eq!(read(&bucket, &op, &source(9, 4..4)).await.unwrap(), b"");
    assert_eq!(server.heads().len(), 0);
}

#[tokio::test]
async fn a_body_that_ends_early_is_continued_where_it_ended() {
    let all = content(1000);
    let server = Server::new([
        Reply::part(&all, 100..900).cut(300),
        Reply::part(&all, 600..900).cut(299),
        Reply::part(&all, 601..900),
    ])
    .await;
    let bucket = bucket(&server, RETRY);
    let read = read(&bucket, &Op::background("test"), &source(1000, 100..900)).await;
    assert_eq!(read.unwrap(), all[100..900]);
    let ranges = ["bytes=100-899", "bytes=600-899", "bytes=601-899"];
    assert_eq!(
        server.values("range"),
        ranges.map(|range| Some(range.to_owned()))
    );
    assert!(
        server
            .values("if-match")
            .iter()
            .all(|etag| etag.as_deref() == Some(ETAG))
    );
    assert_eq!(bucket.metrics.oss.retries.get(), 2);
    assert_eq!(bucket.metrics.oss.lies.get(), 0);
}

#[tokio::test]
async fn a_whole_object_that_breaks_is_continued_with_a_range() {
    let all = content(500);
    let server = Server::new([
        Reply::part(&all, 0..500).cut(400),
        Reply::part(&all, 100..500),
    ])
    .await;
    let bucket = bucket(&server, RETRY);
    let read = read(&bucket, &Op::background("test"), &source(500, 0..500)).await;
    assert_eq!(read.unwrap(), all);
    assert_eq!(
        server.values("range"),
        [None, Some("bytes=100-499".to_owned())]
    );
}

#[tokio::test]
async fn a_body_that_stands_still_is_continued() {
    let all = content(500);
    let server = Server::new([
        Reply::part(&all, 0..500).cut(200).stalling(),
        Reply::raw("").stalling(),
        Reply::part(&all, 300..500),
    ])
    .await;
    let retry = Retry {
        idle_timeout: Duration::from_millis(500),
        attempt_timeout: Duration::from_millis(500),
        ..RETRY
    };
    let bucket = bucket(&server, retry);
    let read = read(&bucket, &Op::background("test"), &source(500, 0..500)).await;
    assert_eq!(read.unwrap(), all);
    assert_eq!(server.heads().len(), 3);
}

#[tokio::test]
async fn lies_are_not_served() {
    let all = content(100);
    let wrong = |status: u16, range: &'static str, body: &[u8]| {
        let mut headers = object_headers();
        headers.push(("Content-Range", range));
        Reply::new(status, &headers, body)
    };
    let no_etag = [("Content-Range", "bytes 10-19/100")];
    let lies = [
        Reply::part(&all, 0..100),                        // 200 for 206
        wrong(206, "bytes 10-19/100", &all[10..30]),      // too long
        wrong(206, "bytes 10-19/100", &all[10..15]),      // too short, and it says so
        wrong(206, "bytes 11-20/100", &all[11..21]),      // another range
        wrong(206, "bytes 10-19/200", &all[10..20]),      // another total
        wrong(206, "bytes 10-19/*", &all[10..20]),        // no total
        Reply::new(206, &object_headers(), &all[10..20]), // no range
        Reply::new(206, &no_etag, &all[10..20]),          // no ETag
        Reply::new(304, &object_headers(), b""),          // nothing
        Reply::error(404, ""),                            // not OSS's 404
    ];
    for (case, lie) in lies.into_iter().enumerate() {
        let server = Server::new([lie, Reply::part(&all, 10..20)]).await;
        let bucket = bucket(&server, RETRY);
        let op = Op::background("test");
        let got = read(&bucket, &op, &source(100, 10..20)).await;
        assert_eq!(got.unwrap(), all[10..20], "case {case}");
        assert_eq!(bucket.metrics.oss.lies.get(), 1, "case {case}");
    }
}

#[tokio::test]
async fn a_body_longer_than_asked_without_a_length_is_a_lie() {
    let head = format!("HTTP/1.1 200 OK\r\nETag: {ETAG}\r\nConnection: close\r\n\r\n");
    let server = Server::always(Reply::raw(format!("{head}0123456789"))).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    assert_eq!(
        read(&bucket, &op, &source(10, 0..10)).await.unwrap(),
        b"0123456789"
    );
    let error = read(&bucket, &op, &source(9, 0..9)).await.unwrap_err();
    assert_eq!(error.kind(), &Kind::Lied);
}

#[tokio::test]
async fn a_server_that_lies_for_ever_is_given_up() {
    let all = content(100);
    let server = Server::always(Reply::part(&all, 0..100)).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let error = read(&bucket, &op, &source(100, 10..20)).await.unwrap_err();
    assert_eq!(error.kind(), &Kind::Lied);
    assert_eq!(server.heads().len(), 4);
    assert_eq!(
        error.to_string(),
        "get object dir/x.bin: status 200, the whole came where a part was asked for, request id R200, after 4 attempts"
    );
}

#[tokio::test]
async fn another_version_is_never_served() {
    let replaced = Reply::new(200, &[("ETag", "\"OTHER\"")], b"0123456789");
    for reply in [replaced, Reply::error(412, "PreconditionFailed")] {
        let server = Server::always(reply).await;
        let bucket = bucket(&server, RETRY);
        let op = Op::background("test");
        let error = read(&bucket, &op, &source(10, 0..10)).await.unwrap_err();
        assert_eq!(error.kind(), &Kind::Changed);
    }
}

#[tokio::test]
async fn a_version_that_is_replaced_halfway_is_changed() {
    let all = content(100);
    let server = Server::new([
        Reply::part(&all, 0..100).cut(50),
        Reply::error(412, "PreconditionFailed"),
    ])
    .await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let mut get = bucket.get(&op, &source(100, 0..100)).await.unwrap();
    let mut served = Vec::new();
    let error = loop {
        match get.chunk().await {
            Ok(chunk) => served.extend_from_slice(&chunk.unwrap()),
            Err(error) => break error,
        }
    };
    assert_eq!(served, all[..50]);
    assert_eq!(error.kind(), &Kind::Changed);
    assert_eq!(error.attempts(), 2);
}

#[tokio::test]
async fn a_cancelled_read_ends_at_once() {
    let all = content(100);
    let server = Server::always(Reply::part(&all, 0..100).cut(50).stalling()).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let mut get = bucket.get(&op, &source(100, 0..100)).await.unwrap();
    let mut served = 0;
    while served < 50 {
        served += get.chunk().await.unwrap().unwrap().len();
    }
    let (result, waited) = tokio::join!(get.chunk(), async {
        op.cancel();
        Instant::now()
    });
    assert_eq!(result.unwrap_err().kind(), &Kind::Cancelled);
    assert!(waited.elapsed() < Duration::from_secs(1));
    drop(get);
    let before = server.heads().len();
    let error = bucket.get(&op, &source(100, 0..100)).await.unwrap_err();
    assert_eq!(error.kind(), &Kind::Cancelled);
    assert_eq!(
        server.heads().len(),
        before,
        "a cancelled operation sends nothing"
    );
}

#[tokio::test]
async fn pieces_count_as_progress_and_silence_ends() {
    let all = content(100);
    let retry = Retry {
        idle_timeout: Duration::from_millis(20),
        no_progress: Duration::from_millis(600),
        ..RETRY
    };
    let server = Server::always(Reply::part(&all, 0..100).cut(100).stalling()).await;
    let bucket = bucket(&server, retry);
    let op = Op::background("test");
    let started = Instant::now();
    let error = read(&bucket, &op, &source(100, 0..100)).await.unwrap_err();
    assert_eq!(
        error.kind(),
        &Kind::Unavailable,
        "heads alone are no progress"
    );
    assert!(error.attempts() > 1);
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// Bodies cut and stalled at random places: the bytes stay equal.
#[tokio::test]
async fn bytes_are_equal_under_random_cuts() {
    let all = content(4096);
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut at, mut replies) = (100, Vec::new());
        while at < 4000 {
            let end = random.usize(at..=4000);
            replies.push(Reply::part(&all, at..4000).cut(4000 - end));
            at = end;
        }
        let server = Server::new(replies).await;
        let bucket = bucket(&server, RETRY);
        let read = read(&bucket, &Op::background("test"), &source(4096, 100..4000)).await;
        assert_eq!(read.unwrap(), all[100..4000], "seed {seed}");
    }
}

#[tokio::test]
async fn a_get_can_be_moved_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let server = Server::new([Reply::part(b"x", 0..1)]).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let source = source(1, 0..1);
    let mut get = is_send(bucket.get(&op, &source)).await.unwrap();
    assert_eq!(is_send(get.chunk()).await.unwrap().unwrap(), "x");
}
