//! Errors, waits, clocks and credentials.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::server::{Reply, Server, error_xml, object_headers};
use super::{BUCKET, RETRY, bucket, key, source};
use crate::op::Op;
use crate::oss::{Config, Kind, ListRequest, Retry, SignatureVersion};

fn head(size: &'static str) -> Reply {
    let mut headers = object_headers();
    headers.push(("Content-Length", size));
    Reply::new(200, &headers, b"")
}

fn complete_page() -> Reply {
    let body = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
    Reply::new(200, &[], body.as_bytes())
}

#[tokio::test]
async fn a_head_is_read() {
    let server = Server::new([head("7")]).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let meta = bucket.head(&op, &key("数/a b+c%?#&.txt")).await.unwrap();
    assert_eq!((meta.size, meta.etag.as_str()), (7, "5B3C1A2E"));
    assert_eq!(meta.modified.0, 1_716_287_969);
    let sent = server.heads().remove(0);
    let line = "HEAD /demo/%E6%95%B0/a%20b%2Bc%25%3F%23%26.txt HTTP/1.1";
    assert_eq!(sent.lines().next(), Some(line));
}

#[tokio::test]
async fn a_listing_asks_for_all_it_needs() {
    let server = Server::new([Reply::new(200, &[], b"<html>"), complete_page()]).await;
    let bucket = bucket(&server, RETRY);
    let request = ListRequest {
        start_after: Some("a b/c".to_owned()),
        ..ListRequest::directory("a b/")
    };
    let page = bucket
        .list(&Op::background("test"), &request)
        .await
        .unwrap();
    assert_eq!(
        (page.objects.len(), page.prefixes.len(), page.next),
        (0, 0, None)
    );
    let line = "GET /demo/?list-type=2&encoding-type=url&max-keys=1000&prefix=a%20b%2F&delimiter=%2F&start-after=a%20b%2Fc HTTP/1.1";
    assert_eq!(server.heads()[1].lines().next(), Some(line));
    assert_eq!(bucket.metrics.oss.lies.get(), 1, "a page of HTML");
    assert_eq!(bucket.metrics.oss.list_requests.get(), 2);
}

#[tokio::test]
async fn a_head_says_why_in_a_header() {
    let text = STANDARD.encode(error_xml("NoSuchBucket"));
    for (reply, kind) in [
        (
            Reply::new(404, &[("x-oss-err", &text)], b""),
            Kind::NoSuchBucket,
        ),
        (Reply::new(404, &[], b""), Kind::NotFound),
        (
            Reply::new(404, &[("x-oss-err", "###")], b""),
            Kind::NotFound,
        ),
        (
            Reply::new(403, &[], b""),
            Kind::Denied {
                action: "oss:GetObject",
            },
        ),
    ] {
        let server = Server::new([reply]).await;
        let bucket = bucket(&server, RETRY);
        let error = bucket
            .head(&Op::background("test"), &key("k"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), &kind);
        assert_eq!(error.attempts(), 1);
    }
}

#[tokio::test]
async fn an_error_is_one_line_without_secrets() {
    let server = Server::always(Reply::error(404, "NoSuchKey")).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let error = bucket
        .get(&op, &source(9, 0..9))
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "get object dir/x.bin: NoSuchKey (404), not found, request id R404, after 1 attempt"
    );
    assert_eq!(
        (error.ec(), error.code()),
        (Some("0001-1"), Some("NoSuchKey"))
    );
    let shown = format!("{error:?} {bucket:?}");
    assert!(
        !shown.contains("T0ken") && !shown.contains("S3cret"),
        "{shown}"
    );
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let server = Server::new([
        Reply::error(500, "InternalError"),
        Reply::raw(""),
        Reply::raw("nonsense\r\n\r\n"),
        Reply::error(400, "RequestTimeout"),
        Reply::new(502, &[], b"<html>bad gateway</html>"),
        Reply::error(403, "AccessDenied").cut(20), // whatever a cut text seems to say
        complete_page(),
    ])
    .await;
    let bucket = bucket(&server, RETRY);
    let request = ListRequest::directory("");
    bucket
        .list(&Op::background("test"), &request)
        .await
        .unwrap();
    assert_eq!(server.heads().len(), 7);
    assert_eq!(bucket.metrics.oss.retries.get(), 6);
}

#[tokio::test]
async fn each_attempt_is_signed_anew() {
    let server = Server::new([Reply::error(503, "ServiceUnavailable"), head("7")]).await;
    let bucket = bucket(&server, RETRY);
    bucket
        .head(&Op::background("test"), &key("k"))
        .await
        .unwrap();
    let signed = server.values("authorization");
    let start = "OSS4-HMAC-SHA256 Credential=STS.one/";
    assert!(
        signed
            .iter()
            .flatten()
            .filter(|text| text.starts_with(start))
            .count()
            == 2
    );
    assert_eq!(server.values("x-oss-security-token").len(), 2);
}

#[tokio::test]
async fn patience_ends_without_progress() {
    for (code, kind) in [
        ("InternalError", Kind::Unavailable),
        ("TotalQpsLimitExceeded", Kind::Throttled),
    ] {
        let server = Server::always(Reply::error(503, code)).await;
        let retry = Retry {
            no_progress: Duration::from_millis(200),
            ..RETRY
        };
        let bucket = bucket(&server, retry);
        let started = Instant::now();
        let request = ListRequest::directory("");
        let error = bucket
            .list(&Op::background("test"), &request)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), &kind);
        assert!(error.attempts() > 1 && started.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_pause_gets_it() {
    let pause = [("x-oss-qos-delay-time", "120")];
    let body = error_xml("TotalQpsLimitExceeded");
    let throttled = Reply::new(503, &pause, body.as_bytes());
    let list = complete_page();
    let server = Server::new([throttled, list]).await;
    let bucket = bucket(&server, RETRY);
    let started = Instant::now();
    let request = ListRequest::directory("");
    bucket
        .list(&Op::background("test"), &request)
        .await
        .unwrap();
    assert!(started.elapsed() >= Duration::from_millis(120));
    assert_eq!(bucket.metrics.oss.throttled.get(), 1);
}

#[tokio::test]
async fn a_pause_longer_than_patience_is_not_waited_for() {
    let body = error_xml("TotalQpsLimitExceeded");
    let reply = Reply::new(503, &[("Retry-After", "3600")], body.as_bytes());
    let server = Server::always(reply).await;
    let bucket = bucket(&server, RETRY);
    let request = ListRequest::directory("");
    let error = bucket
        .list(&Op::background("test"), &request)
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (&Kind::Throttled, 1));
}

#[tokio::test]
async fn a_skewed_clock_is_corrected_once() {
    let body = error_xml("RequestTimeTooSkewed");
    let skewed = |date| Reply::new(403, &[("Date", date)], body.as_bytes());
    let list = complete_page();
    let date = "Fri, 21 May 2077 10:39:29 GMT";
    let server = Server::new([skewed(date), list.clone(), list]).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let request = ListRequest::directory("");
    bucket.list(&op, &request).await.unwrap();
    bucket.list(&op, &request).await.unwrap();
    let dates = server.values("x-oss-date");
    assert!(!dates[0].as_ref().unwrap().starts_with("2077"));
    for date in &dates[1..] {
        assert!(
            date.as_ref().unwrap().starts_with("20770521T1039"),
            "{date:?}"
        );
    }
    assert_eq!(bucket.metrics.oss.clock_corrections.get(), 1);

    let server = Server::always(skewed(date)).await;
    let bucket = super::bucket(&server, RETRY);
    let error = bucket.list(&op, &request).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (&Kind::ClockSkewed, 2));
}

#[tokio::test]
async fn refused_credentials_without_others_are_final() {
    let server = Server::always(Reply::error(403, "SecurityTokenExpired")).await;
    let bucket = bucket(&server, RETRY);
    let request = ListRequest::directory("");
    let error = bucket
        .list(&Op::background("test"), &request)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &Kind::CredentialsRefused);
    assert_eq!(error.code(), Some("SecurityTokenExpired"));
    assert_eq!(server.heads().len(), 1, "no storm with a dead set");
}

#[tokio::test]
async fn keys_that_http_would_rewrite_are_refused() {
    let server = Server::new([]).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    for text in ["a/../b", "..", "a/.", "./a", "a/./b"] {
        let error = bucket.head(&op, &key(text)).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.attempts()),
            (&Kind::Invalid, 0),
            "{text}"
        );
    }
    assert_eq!(server.heads().len(), 0);
}

#[tokio::test]
async fn a_bucket_needs_a_name_and_for_v4_a_region() {
    let open = |name: &str, signature, endpoint: &str| {
        let config = Config {
            signature,
            ..Config::new(endpoint.parse().unwrap(), name)
        };
        let transport = crate::transport::Client::new(&crate::transport::Config::default());
        let credentials = super::fixed();
        let opened = super::Bucket::new(
            config,
            transport.unwrap(),
            credentials,
            std::sync::Arc::default(),
        );
        opened.map(drop).map_err(|error| error.to_string())
    };
    let named = "oss-cn-hangzhou.aliyuncs.com";
    assert_eq!(open(BUCKET, SignatureVersion::V4, named), Ok(()));
    assert_eq!(open(BUCKET, SignatureVersion::V1, "127.0.0.1"), Ok(()));
    let error = open(BUCKET, SignatureVersion::V4, "127.0.0.1").unwrap_err();
    assert!(
        error.starts_with("open bucket: the region is unknown"),
        "{error}"
    );
    assert!(open("No", SignatureVersion::V1, named).is_err());
}

#[tokio::test]
async fn a_redirect_is_not_followed_but_named() {
    let location = [("Location", "http://demo.oss-cn-beijing.aliyuncs.com/?x=y")];
    for reply in [
        Reply::new(307, &location, b""),
        Reply::new(301, &location, error_xml("PermanentRedirect").as_bytes()),
    ] {
        let server = Server::new([reply]).await;
        let bucket = bucket(&server, RETRY);
        let op = Op::background("test");
        let error = bucket
            .list(&op, &ListRequest::directory(""))
            .await
            .unwrap_err();
        let right = Some("oss-cn-beijing.aliyuncs.com".to_owned());
        assert_eq!(error.kind(), &Kind::WrongEndpoint { right });
    }
}
