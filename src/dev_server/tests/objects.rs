//! Objects, listings and refusals.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::dev_server::{Operation, Versioning};

/// Sends bytes as they are and returns what comes until the server closes.
async fn raw(server: &DevServer, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn an_object_comes_back_with_what_was_said_of_it() {
    let bench = Bench::start().await;
    let headers = [
        ("content-type", "text/x"),
        ("x-oss-meta-owner", "me"),
        ("cache-control", "no-store"),
        ("content-md5", "XUFAKrxLKna5cZ2REBfFkg=="),
    ];
    let put = bench
        .give(Method::PUT, "/dir%2Fk%20%2B", &headers, "hello")
        .await;
    assert_eq!(put.status, 200);
    assert_eq!(put.header("etag"), "\"5D41402ABC4B2A76B9719D911017C592\"");
    assert_eq!(put.header("x-oss-hash-crc64ecma"), "11177612005948864433");
    assert_eq!(
        bench.server.get("bucket", "dir/k +").unwrap(),
        Bytes::from("hello")
    );
    for (method, body) in [(Method::GET, "hello"), (Method::HEAD, "")] {
        let got = bench.ask(method, "/dir/k%20+", &[]).await;
        assert_eq!((got.status, got.text()), (200, body));
        for (name, value) in headers {
            assert_eq!(got.header(name), value);
        }
        assert_eq!(got.header("content-length"), "5");
        assert_eq!(got.header("x-oss-object-type"), "Normal");
        assert_eq!(got.header("x-oss-storage-class"), "Standard");
        assert_eq!(got.header("server"), "AliyunOSS");
        for name in [
            "x-oss-request-id",
            "x-oss-server-time",
            "date",
            "last-modified",
        ] {
            assert!(!got.header(name).is_empty(), "{name}");
        }
    }
    let meta = bench.ask(Method::HEAD, "/dir/k%20+?objectMeta", &[]).await;
    assert_eq!(meta.header("content-length"), "5");
    assert_eq!(meta.header("x-oss-object-type"), "");
    let other = bench
        .get("/dir/k%20+?response-content-type=a%2Fb", &[])
        .await;
    assert_eq!(other.header("content-type"), "a/b");
    let deleted = bench.ask(Method::DELETE, "/dir/k%20+", &[]).await;
    assert_eq!(deleted.status, 204);
    assert_eq!(bench.get("/dir/k%20+", &[]).await.status, 404);
    let stats = bench.server.stats();
    assert_eq!((stats.get(), stats.head(), stats.put()), (3, 2, 1));
    assert_eq!(stats.count(Operation::DeleteObject), 1);
}

#[tokio::test]
async fn ranges_and_conditions_are_answered_as_oss_answers_them() {
    let bench = Bench::start().await;
    let etag = bench.server.put("bucket", "k", "0123456789").unwrap();
    let standard = ("x-oss-range-behavior", "standard");
    let got = bench.get("/k", &[("range", "bytes=2-4")]).await;
    assert_eq!((got.status, got.text()), (206, "234"));
    assert_eq!(got.header("content-range"), "bytes 2-4/10");
    let got = bench.get("/k", &[("range", "bytes=8-20")]).await;
    assert_eq!((got.status, got.text()), (200, "0123456789"));
    let got = bench.get("/k", &[("range", "bytes=8-20"), standard]).await;
    assert_eq!((got.status, got.text()), (206, "89"));
    let got = bench.get("/k", &[("range", "bytes=10-"), standard]).await;
    assert_eq!((got.status, got.element("Code")), (416, "InvalidRange"));
    assert_eq!(got.header("content-range"), "bytes */10");
    let quoted = format!("\"{etag}\"");
    assert_eq!(bench.get("/k", &[("if-match", &quoted)]).await.status, 200);
    let got = bench.get("/k", &[("if-match", "\"0\"")]).await;
    assert_eq!(
        (got.status, got.element("Code")),
        (412, "PreconditionFailed")
    );
    let got = bench.get("/k", &[("if-none-match", &quoted)]).await;
    assert_eq!((got.status, got.text()), (304, ""));
    let future = [("if-modified-since", "Sat, 01 Jan 2095 00:00:00 GMT")];
    assert_eq!(bench.get("/k", &future).await.status, 304);
    let past = [("if-unmodified-since", "Sat, 01 Jan 2000 00:00:00 GMT")];
    assert_eq!(bench.get("/k", &past).await.status, 412);
}

#[tokio::test]
async fn writes_that_oss_refuses_are_refused() {
    let bench = Bench::start().await;
    bench.server.put("bucket", "k", "old").unwrap();
    let put = |headers: &'static [(&str, &str)]| bench.give(Method::PUT, "/k", headers, "new body");
    let got = put(&[("x-oss-forbid-overwrite", "true")]).await;
    assert_eq!(
        (got.status, got.element("Code")),
        (409, "FileAlreadyExists")
    );
    let got = put(&[("content-md5", "XUFAKrxLKna5cZ2REBfFkg==")]).await;
    assert_eq!((got.status, got.element("Code")), (400, "InvalidDigest"));
    let got = put(&[("if-none-match", "*")]).await;
    assert_eq!((got.status, got.element("Code")), (400, "NotImplemented"));
    let got = put(&[("x-oss-storage-class", "Cupboard")]).await;
    assert_eq!((got.status, got.element("Code")), (400, "InvalidArgument"));
    let got = bench.give(Method::PUT, "/%2Fk", &[], "x").await;
    assert_eq!(
        (got.status, got.element("Code")),
        (400, "InvalidObjectName")
    );
    assert_eq!(bench.server.get("bucket", "k").unwrap(), Bytes::from("old"));
    let text = raw(
        &bench.server,
        "PUT /bucket/k HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(text.starts_with("HTTP/1.1 411 "), "{text}");
    assert!(text.contains("MissingContentLength"));
    let text = raw(
        &bench.server,
        "PUT /bucket/c HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\n\r\n",
    )
    .await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert_eq!(bench.server.get("bucket", "c").unwrap(), Bytes::from("abc"));
}

#[tokio::test]
async fn an_archived_object_is_seen_and_not_read() {
    let bench = Bench::start().await;
    let class = [("x-oss-storage-class", "Archive")];
    let put = bench.give(Method::PUT, "/cold", &class, "ice").await;
    assert_eq!(put.status, 200);
    let head = bench.ask(Method::HEAD, "/cold", &[]).await;
    assert_eq!(
        (head.status, head.header("x-oss-storage-class")),
        (200, "Archive")
    );
    let got = bench.get("/cold", &[]).await;
    assert_eq!(
        (got.status, got.element("Code")),
        (403, "InvalidObjectState")
    );
}

#[tokio::test]
async fn refusals_of_head_travel_in_a_header() {
    let bench = Bench::start().await;
    let got = bench.ask(Method::HEAD, "/nope", &[]).await;
    assert_eq!((got.status, got.text()), (404, ""));
    let xml = STANDARD.decode(got.header("x-oss-err")).unwrap();
    let xml = String::from_utf8(xml).unwrap();
    let id = format!("<RequestId>{}</RequestId>", got.header("x-oss-request-id"));
    assert!(
        xml.contains("<Code>NoSuchKey</Code>") && xml.contains(&id),
        "{xml}"
    );
    assert_eq!(got.header("x-oss-ec"), "0026-00000001");
}

#[tokio::test]
async fn a_bucket_is_found_in_path_or_host_name() {
    let bench = Bench::start().await;
    bench.server.put("bucket", "a/k", "x").unwrap();
    for (host, path, code) in [
        ("bucket.localhost", "/a/k", "200"),
        ("bucket.localhost:1", "/a%2Fk", "200"),
        ("bucket.oss-cn-hangzhou.aliyuncs.com", "/a/k", "200"),
        ("localhost", "/bucket/a/k", "200"),
        ("other.localhost", "/a/k", "404"),
        ("127.0.0.1", "/other/a/k", "404"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw(&bench.server, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {code} ")),
            "{host}{path}: {answer}"
        );
        assert_eq!(
            answer.contains("NoSuchBucket"),
            code == "404",
            "{host}{path}"
        );
    }
}

#[tokio::test]
async fn listings_page_through_everything_in_both_versions() {
    let bench = Bench::start().await;
    for number in 0..250 {
        let key = format!("d{}/{number:03}", number % 5);
        bench.server.put("bucket", &key, "x").unwrap();
    }
    bench.server.put("bucket", "a\u{1}b c", "x").unwrap();
    for (begin, from, next) in [
        (
            "?list-type=2&encoding-type=url",
            "continuation-token",
            "NextContinuationToken",
        ),
        ("?encoding-type=url", "marker", "NextMarker"),
    ] {
        let mut keys = Vec::new();
        let mut page = bench.get(begin, &[]).await;
        loop {
            keys.extend(page.elements("Key").into_iter().map(str::to_owned));
            if page.element("IsTruncated") == "false" {
                break;
            }
            assert_eq!(page.elements("Key").len(), 100);
            page = bench
                .get(&format!("{begin}&{from}={}", page.element(next)), &[])
                .await;
        }
        assert_eq!(keys.len(), 251);
        assert_eq!(keys[0], "a%01b%20c");
        assert!(keys.is_sorted());
    }
    let got = bench.get("?list-type=2&delimiter=/&max-keys=3", &[]).await;
    assert_eq!(got.elements("Prefix"), ["", "d0/", "d1/"]);
    assert_eq!(
        (got.element("KeyCount"), got.element("IsTruncated")),
        ("3", "true")
    );
    let got = bench
        .get("?list-type=2&delimiter=/&start-after=d1/", &[])
        .await;
    assert_eq!(got.elements("Prefix"), ["", "d2/", "d3/", "d4/"]);
    assert_eq!(
        bench.get("?max-keys=1001", &[]).await.element("MaxKeys"),
        "1000"
    );
    for bad in [
        "?max-keys=0",
        "?max-keys=x",
        "?list-type=2&continuation-token=%2B",
        "?list-type=3",
    ] {
        let got = bench.get(bad, &[]).await;
        assert_eq!(
            (got.status, got.element("Code")),
            (400, "InvalidArgument"),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn a_page_costs_what_is_on_it() {
    const KEYS: usize = 100_000;
    let bench = Bench::start().await;
    for number in 0..KEYS {
        let key = format!("d{}/{number:06}", number % 2);
        bench.server.put("bucket", &key, "").unwrap();
    }
    // 2 prefixes for 100,000 keys, and one by one past all of them: a page that looked at every key would make this
    // test take minutes.
    for _ in 0..1000 {
        let got = bench.get("?list-type=2&delimiter=/", &[]).await;
        assert_eq!(got.element("KeyCount"), "2");
    }
    let got = bench
        .get("?list-type=2&start-after=d1/099998&max-keys=1000", &[])
        .await;
    assert_eq!(got.elements("Key"), ["d1/099999"]);
}

#[tokio::test]
async fn a_copy_keeps_or_replaces_what_was_said() {
    let bench = Bench::start().await;
    let headers = [("x-oss-meta-a", "1")];
    let put = bench.give(Method::PUT, "/a%20b", &headers, "body").await;
    let etag = put.header("etag");
    let source = ("x-oss-copy-source", "/bucket/a%20b");
    let copy = bench.ask(Method::PUT, "/c", &[source]).await;
    assert_eq!(copy.status, 200);
    assert_eq!(copy.element("ETag"), etag.replace('"', "&quot;"));
    let got = bench.get("/c", &[]).await;
    assert_eq!((got.text(), got.header("x-oss-meta-a")), ("body", "1"));
    let replace = [
        source,
        ("x-oss-metadata-directive", "REPLACE"),
        ("x-oss-meta-b", "2"),
    ];
    assert_eq!(bench.ask(Method::PUT, "/c", &replace).await.status, 200);
    let got = bench.ask(Method::HEAD, "/c", &[]).await;
    assert_eq!(
        (got.header("x-oss-meta-a"), got.header("x-oss-meta-b")),
        ("", "2")
    );
    let condition = [source, ("x-oss-copy-source-if-match", "\"0\"")];
    assert_eq!(bench.ask(Method::PUT, "/c", &condition).await.status, 412);
    let missing = [("x-oss-copy-source", "/bucket/none")];
    assert_eq!(bench.ask(Method::PUT, "/c", &missing).await.status, 404);
}

#[tokio::test]
async fn a_bucket_tells_what_it_is() {
    let mut bucket = BucketConfig::new("bucket");
    bucket.versioning = Versioning::Enabled;
    bucket.hierarchical = true;
    let bench = Bench::with(Config {
        buckets: vec![bucket],
        region: "cn-beijing".to_owned(),
        ..Config::default()
    })
    .await;
    let got = bench.get("?bucketInfo", &[]).await;
    assert_eq!(got.element("Name"), "bucket");
    assert_eq!(got.element("Location"), "oss-cn-beijing");
    assert_eq!(got.element("Versioning"), "Enabled");
    assert_eq!(got.element("HierarchicalNamespace"), "Enabled");
    let got = bench.get("?location", &[]).await;
    assert_eq!(got.element("LocationConstraint"), "oss-cn-beijing");
}
