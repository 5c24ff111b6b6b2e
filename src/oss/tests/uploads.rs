//! Bodies on their way: replayed, watched, limited, signed anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::server::{Reply, Server, error_xml};
use super::{LONG_HOLD, RETRY, bucket, bucket_with, key, served, slow_bucket};
use crate::op::Op;
use crate::oss::{Body, Bucket, Condition, Error, Kind, Properties, Retry, Stored};

/// More than any buffer between two sockets of one machine holds.
const LARGE: usize = 48 << 20;

fn content(size: usize) -> Bytes {
    (0..size)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect()
}

fn crc(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Xz, bytes)
}

/// Stores an object of which nothing is said.
async fn put(bucket: &Bucket, op: &Op, body: &Body, condition: Condition) -> Result<Stored, Error> {
    let properties = Properties::default();
    bucket
        .put_object(op, &key("k"), body, &properties, condition)
        .await
}

/// The answer to a PutObject of these bytes.
fn stored(bytes: &[u8]) -> Reply {
    stored_as(crc(bytes))
}

fn stored_as(crc: u64) -> Reply {
    let crc = crc.to_string();
    let headers = [
        ("ETag", "\"5B3C1A2E\""),
        ("x-oss-hash-crc64ecma", crc.as_str()),
        ("x-oss-version-id", "CAEQ"),
    ];
    Reply::new(200, &headers, b"")
}

#[tokio::test]
async fn an_object_is_stored_from_pieces() {
    let whole = content(1000);
    let server = Server::new([stored(&whole)]).await;
    let bucket = bucket(&server, RETRY);
    let body = Body::new([whole.slice(..3), Bytes::new(), whole.slice(3..)]);
    let properties = Properties {
        content_type: Some("text/plain".to_owned()),
        user: [("a".to_owned(), "ü".to_owned())].into(),
        ..Properties::default()
    };
    let op = Op::background("test");
    let key = key("a b");
    let put = bucket.put_object(&op, &key, &body, &properties, Condition::ForbidOverwrite);
    let made = put.await.unwrap();
    assert_eq!(made.etag.as_str(), "5B3C1A2E");
    assert_eq!((made.crc64, body.crc64()), (Some(crc(&whole)), made.crc64));
    assert_eq!(made.version_id.as_deref(), Some("CAEQ"));
    assert_eq!(server.lines(), ["PUT /demo/a%20b"]);
    assert_eq!(server.bodies(), [whole.to_vec()]);
    for (name, value) in [
        ("content-length", "1000"),
        ("content-type", "text/plain"),
        ("x-oss-forbid-overwrite", "true"),
        ("x-oss-meta-a", "ü"),
        ("x-oss-content-sha256", "UNSIGNED-PAYLOAD"),
    ] {
        assert_eq!(server.values(name), [Some(value.to_owned())], "{name}");
    }
    let head = server.heads().remove(0);
    assert!(
        !head.contains("transfer-encoding") && !head.contains("expect"),
        "{head}"
    );
    let oss = &bucket.metrics.oss;
    assert_eq!((oss.put_requests.get(), oss.bytes_sent.get()), (1, 1000));
}

#[tokio::test]
async fn an_empty_object_says_its_length() {
    let server = Server::new([stored(b"")]).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let body = Body::new([]);
    assert_eq!(
        put(&bucket, &op, &body, Condition::None)
            .await
            .unwrap()
            .crc64,
        Some(0)
    );
    assert_eq!(server.values("content-length"), [Some("0".to_owned())]);
    assert_eq!(server.heads()[0].matches("content-length").count(), 1);
}

#[tokio::test]
async fn a_body_is_sent_again_as_it_was() {
    let whole = content(100_000);
    let server = Server::new([
        Reply::error(503, "ServiceUnavailable"),
        Reply::raw(""), // read, and the connection ends
        Reply::error(503, "UploadTrafficRateLimitExceeded"),
        stored(&whole),
    ])
    .await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let body = Body::from(whole.clone());
    put(&bucket, &op, &body, Condition::None).await.unwrap();
    assert_eq!(server.bodies(), vec![whole.to_vec(); 4]);
    let oss = &bucket.metrics.oss;
    assert_eq!((oss.put_requests.get(), oss.throttled.get()), (4, 1));
    assert_eq!(oss.bytes_sent.get(), 400_000);
}

#[tokio::test]
async fn a_set_that_dies_during_an_upload_is_replaced_and_the_body_signed_anew() {
    let set = |index: u32| {
        let body = format!(
            "{{\"Code\":\"Success\",\"AccessKeyId\":\"STS.{index}\",\"AccessKeySecret\":\"s{index}\",\
             \"SecurityToken\":\"token{index}\",\"Expiration\":\"205{index}-01-01T00:00:00Z\"}}"
        );
        Reply::new(200, &[], body.as_bytes())
    };
    let service = Server::new([set(0), set(1)]).await;
    let whole = content(3 << 20);
    let expired = Reply::new(403, &[], error_xml("SecurityTokenExpired").as_bytes());
    // Refused before it was read, as a server does that looks at heads first.
    let server = Server::new([expired.unread().stalling(), stored(&whole)]).await;
    let bucket = bucket_with(&server, RETRY, served(&service.endpoint, LONG_HOLD));
    let op = Op::background("test");
    let body = Body::from(whole.clone());
    put(&bucket, &op, &body, Condition::None).await.unwrap();
    let tokens = server.values("x-oss-security-token");
    assert_eq!(
        tokens,
        ["token0", "token1"].map(|token| Some(token.to_owned()))
    );
    assert_eq!(server.bodies(), [whole.to_vec()]);
}

#[tokio::test]
async fn a_wrong_checksum_is_sent_once_more_and_then_corrupt() {
    let whole = content(1000);
    let body = Body::from(whole.clone());
    let op = Op::background("test");
    let forbid = Condition::ForbidOverwrite;
    let server = Server::new([stored_as(1), stored(&whole)]).await;
    let good = bucket(&server, RETRY);
    put(&good, &op, &body, forbid).await.unwrap();
    let forbidden = server.values("x-oss-forbid-overwrite");
    assert_eq!(
        forbidden,
        [Some("true".to_owned()), None],
        "what is there is ours"
    );
    assert_eq!(good.metrics.oss.corrupt_uploads.get(), 1);

    let server = Server::always(stored_as(1)).await;
    let bad = bucket(&server, RETRY);
    let error = put(&bad, &op, &body, forbid).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (&Kind::Corrupt, 2));
    let expected = format!(
        "put object k: status 200, stored with CRC-64 1, sent with {}, request id R200, after 2 attempts",
        crc(&whole)
    );
    assert_eq!(error.to_string(), expected);

    // The writer's own checksum shows what happened to the bytes in memory.
    let server = Server::always(stored(&whole)).await;
    let bad = bucket(&server, RETRY);
    let body = Body::from(whole.clone()).with_crc64(7);
    assert_eq!(
        put(&bad, &op, &body, Condition::None)
            .await
            .unwrap_err()
            .kind(),
        &Kind::Corrupt
    );
}

#[tokio::test]
async fn an_upload_that_moves_is_not_timed_out() {
    let whole = content(LARGE);
    let pause = Duration::from_millis(40);
    let server = Server::new([stored(&whole).slowly(1 << 20, pause)]).await;
    let retry = Retry {
        attempt_timeout: Duration::from_millis(600),
        idle_timeout: Duration::from_millis(600),
        no_progress: Duration::from_millis(1500),
        ..RETRY
    };
    let bucket = bucket(&server, retry);
    let op = Op::background("test");
    let body = Body::from(whole.clone());
    let started = Instant::now();
    put(&bucket, &op, &body, Condition::None).await.unwrap();
    assert!(
        started.elapsed() > retry.no_progress,
        "too fast to prove anything"
    );
    assert_eq!(bucket.metrics.oss.put_requests.get(), 1);
}

#[tokio::test]
async fn an_upload_that_stands_still_is_sent_again() {
    let whole = content(LARGE);
    let server = Server::new([Reply::raw("").unread().stalling(), stored(&whole)]).await;
    let retry = Retry {
        idle_timeout: Duration::from_millis(300),
        ..RETRY
    };
    let bucket = bucket(&server, retry);
    let op = Op::background("test");
    let body = Body::from(whole);
    put(&bucket, &op, &body, Condition::None).await.unwrap();
    assert_eq!(server.heads().len(), 2);
    assert!(bucket.metrics.oss.bytes_sent.get() < 2 * LARGE as u64);
}

#[tokio::test]
async fn an_upload_that_never_moves_is_given_up() {
    let server = Server::always(Reply::raw("").unread().stalling()).await;
    let retry = Retry {
        idle_timeout: Duration::from_millis(100),
        no_progress: Duration::from_millis(600),
        ..RETRY
    };
    let bucket = bucket(&server, retry);
    let op = Op::background("test");
    let body = Body::from(content(LARGE));
    let error = put(&bucket, &op, &body, Condition::None).await.unwrap_err();
    assert_eq!(error.kind(), &Kind::Unavailable);
    assert!(error.attempts() > 1, "{error}");
}

#[tokio::test]
async fn a_refusal_that_comes_early_is_heard() {
    let refusal = Reply::new(403, &[], error_xml("AccessDenied").as_bytes());
    let server = Server::new([refusal.unread().stalling()]).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let body = Body::from(content(LARGE));
    let error = put(&bucket, &op, &body, Condition::None).await.unwrap_err();
    let action = "oss:PutObject";
    assert_eq!(error.kind(), &Kind::Denied { action });
    assert_eq!(error.attempts(), 1);
}

#[tokio::test]
async fn a_success_that_comes_early_is_a_lie() {
    let whole = content(LARGE);
    let server = Server::new([stored(&whole).unread().stalling(), stored(&whole)]).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let body = Body::from(whole);
    put(&bucket, &op, &body, Condition::None).await.unwrap();
    assert_eq!(bucket.metrics.oss.lies.get(), 1);
}

#[tokio::test]
async fn the_limit_of_bytes_holds_uploads_and_is_no_stall() {
    let whole = content(2 << 20);
    let server = Server::new([stored(&whole)]).await;
    let retry = Retry {
        idle_timeout: Duration::from_millis(50),
        no_progress: Duration::from_millis(2000),
        ..RETRY
    };
    let bucket = slow_bucket(&server, retry, 4 << 20);
    let op = Op::background("test");
    let body = Body::from(whole);
    let started = Instant::now();
    put(&bucket, &op, &body, Condition::None).await.unwrap();
    assert!(
        started.elapsed() >= Duration::from_millis(350),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(bucket.metrics.oss.put_requests.get(), 1);
}

#[tokio::test]
async fn a_cancelled_upload_ends_at_once() {
    let server = Server::always(Reply::raw("").unread().stalling()).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let body = Body::from(content(LARGE));
    let (result, ()) = tokio::join!(put(&bucket, &op, &body, Condition::None), async {
        while server.heads().is_empty() {
            tokio::task::yield_now().await;
        }
        op.cancel();
    });
    assert_eq!(result.unwrap_err().kind(), &Kind::Cancelled);
}

#[tokio::test]
async fn what_cannot_be_a_header_is_not_sent() {
    let server = Server::new([]).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let properties = Properties {
        content_type: Some("a\nb".to_owned()),
        ..Properties::default()
    };
    let (k, body) = (key("k"), Body::new([]));
    let put = bucket.put_object(&op, &k, &body, &properties, Condition::None);
    assert_eq!(put.await.unwrap_err().kind(), &Kind::Invalid);
    assert_eq!(server.heads().len(), 0);
}

/// Memory that is leased: the lease comes back when the last piece is let go.
struct Leased {
    bytes: Vec<u8>,
    _lease: Arc<()>,
}

impl AsRef<[u8]> for Leased {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[tokio::test]
async fn memory_comes_back_when_an_upload_has_ended_however_it_did() {
    let small = content(1000);
    for (reply, size) in [
        (stored(&small), 1000),
        (Reply::raw("").unread().stalling(), LARGE),
    ] {
        let server = Server::always(reply).await;
        let retry = Retry {
            idle_timeout: Duration::from_millis(50),
            no_progress: Duration::from_millis(200),
            ..RETRY
        };
        let bucket = bucket(&server, retry);
        let op = Op::background("test");
        let lease = Arc::new(());
        let leased = Leased {
            bytes: content(size).to_vec(),
            _lease: Arc::clone(&lease),
        };
        let body = Body::from(Bytes::from_owner(leased));
        let result = put(&bucket, &op, &body, Condition::None).await;
        assert_eq!(result.is_ok(), size == 1000);
        drop(body);
        let back = async {
            while Arc::strong_count(&lease) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), back)
            .await
            .unwrap();
    }
}
