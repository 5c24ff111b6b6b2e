//! Faults of writes: what is refused, cut off or lost, and what has happened then; and who may write what.

use std::sync::Arc;
use std::time::Instant;

use super::writes::delete_all;
use super::*;
use crate::dev_server::{Fault, Operation};

const SIZE: usize = 1 << 20;

type Write = (
    Operation,
    Method,
    &'static str,
    Vec<(&'static str, &'static str)>,
    Bytes,
);

/// A write of each kind: operation, method, target, headers, body. `ID` and `NEXT` stand for an upload's id.
fn writes() -> Vec<Write> {
    use Operation as Op;
    let document = "<Delete><Object><Key>gone</Key></Object></Delete>";
    let tags = "<Tagging><TagSet></TagSet></Tagging>";
    let copy = ("x-oss-copy-source", "/bucket/source");
    let body = Bytes::from_static(b"body");
    let none = Bytes::new;
    let md5 = ("content-md5", "huHypdSrravATozENYdOuw==");
    vec![
        (Op::PutObject, Method::PUT, "/put", vec![], body.clone()),
        (
            Op::AppendObject,
            Method::POST,
            "/log?append&position=0",
            vec![],
            body.clone(),
        ),
        (Op::CopyObject, Method::PUT, "/copy", vec![copy], none()),
        (
            Op::PutSymlink,
            Method::PUT,
            "/link?symlink",
            vec![("x-oss-symlink-target", "t")],
            none(),
        ),
        (
            Op::InitiateMultipartUpload,
            Method::POST,
            "/multi?uploads",
            vec![],
            none(),
        ),
        (
            Op::UploadPart,
            Method::PUT,
            "/m?partNumber=2&uploadId=ID",
            vec![],
            body,
        ),
        (
            Op::UploadPartCopy,
            Method::PUT,
            "/m?partNumber=1&uploadId=ID",
            vec![copy],
            none(),
        ),
        (
            Op::CompleteMultipartUpload,
            Method::POST,
            "/m?uploadId=ID",
            vec![("x-oss-complete-all", "yes")],
            none(),
        ),
        (
            Op::PutObjectTagging,
            Method::PUT,
            "/source?tagging",
            vec![],
            Bytes::from(tags),
        ),
        (
            Op::DeleteObjectTagging,
            Method::DELETE,
            "/source?tagging",
            vec![],
            none(),
        ),
        (
            Op::AbortMultipartUpload,
            Method::DELETE,
            "/n?uploadId=NEXT",
            vec![],
            none(),
        ),
        (
            Op::DeleteMultipleObjects,
            Method::POST,
            "?delete",
            vec![md5],
            Bytes::from(document),
        ),
        (Op::DeleteObject, Method::DELETE, "/gone2", vec![], none()),
    ]
}

#[tokio::test]
async fn every_write_can_be_refused_and_can_lose_its_answer() {
    let bench = Bench::start().await;
    for key in ["source", "gone", "gone2"] {
        bench.server.put("bucket", key, vec![1; 102_400]).unwrap();
    }
    let begin = async |target: &str| {
        let got = bench.ask(Method::POST, target, &[]).await;
        got.element("UploadId").to_owned()
    };
    let (id, next) = (begin("/m?uploads").await, begin("/n?uploads").await);
    let faults = bench.server.faults();
    for (operation, method, target, headers, body) in writes() {
        let target = target.replace("ID", &id).replace("NEXT", &next);
        let before = (
            bench.server.keys("bucket", ""),
            bench.server.upload_count("bucket"),
        );
        faults.script(1, Some(operation), "", Fault::throttled());
        let got = bench
            .give(method.clone(), &target, &headers, body.clone())
            .await;
        assert_eq!(
            (got.status, got.element("Code")),
            (503, "TotalQpsLimitExceeded")
        );
        faults.script(1, Some(operation), "", Fault::ResetBeforeAnswer);
        assert!(
            bench
                .send(method.clone(), &target, &headers, body.clone())
                .await
                .is_err()
        );
        let after = (
            bench.server.keys("bucket", ""),
            bench.server.upload_count("bucket"),
        );
        assert_eq!(before, after, "{operation:?}");
        faults.script(1, Some(operation), "", Fault::AnswerLost);
        assert!(
            bench
                .send(method.clone(), &target, &headers, body)
                .await
                .is_err()
        );
        assert_eq!(
            bench.server.stats().count(operation),
            3 + u64::from(target.contains("?uploads")) * 2
        );
    }
    assert_eq!(faults.injected(), 3 * writes().len() as u64);
    // What lost its answer has happened.
    assert_eq!(
        bench.server.keys("bucket", ""),
        ["copy", "link", "log", "m", "put", "source"]
    );
    assert_eq!(bench.server.upload_count("bucket"), 1);
    let again = bench
        .ask(
            Method::POST,
            &format!("/m?uploadId={id}"),
            &[("x-oss-complete-all", "yes")],
        )
        .await;
    assert_eq!((again.status, again.element("Code")), (404, "NoSuchUpload"));
    let again = bench
        .give(Method::POST, "/log?append&position=0", &[], "body")
        .await;
    assert_eq!(again.element("Code"), "PositionNotEqualToLength");
    assert_eq!(again.header("x-oss-next-append-position"), "4");
}

#[tokio::test]
async fn a_body_that_is_cut_off_has_no_effect() {
    let bench = Bench::start().await;
    let faults = bench.server.faults();
    for after in [0, 1, 70_000, SIZE as u64 - 1, u64::MAX] {
        for (target, operation) in [
            ("/k", Operation::PutObject),
            ("/k?append&position=0", Operation::AppendObject),
        ] {
            let method = match operation {
                Operation::PutObject => Method::PUT,
                _ => Method::POST,
            };
            faults.script(1, Some(operation), "k", Fault::ResetRequest { after });
            let body = vec![7; SIZE];
            assert!(
                bench.send(method, target, &[], body).await.is_err(),
                "{after}"
            );
            assert_eq!(bench.server.keys("bucket", "").len(), 0);
        }
    }
    // An empty body cannot be cut.
    faults.script(1, None, "k", Fault::ResetRequest { after: 0 });
    let empty = [("content-length", "0")];
    assert_eq!(bench.ask(Method::PUT, "/k", &empty).await.status, 200);
}

#[tokio::test]
async fn a_byte_that_arrives_wrong_is_stored_wrong_and_told_by_the_crc() {
    let bench = Bench::start().await;
    let body: Vec<u8> = (0..SIZE).map(|at| at.to_le_bytes()[1]).collect();
    let truth = bench.give(Method::PUT, "/k", &[], body.clone()).await;
    let fault = Fault::FlipRequestByte { at: 700_000 };
    bench.server.faults().script(1, None, "", fault);
    let wrong = bench.give(Method::PUT, "/k", &[], body.clone()).await;
    let crc = "x-oss-hash-crc64ecma";
    assert_eq!(wrong.status, 200);
    assert_ne!(wrong.header(crc), truth.header(crc));
    let stored = bench.server.get("bucket", "k").unwrap();
    let differing: Vec<usize> = (0..SIZE).filter(|&at| stored[at] != body[at]).collect();
    assert_eq!(differing, [700_000]);
    bench.server.faults().script(1, None, "", Fault::WrongCrc);
    let wrong = bench.give(Method::PUT, "/k", &[], body.clone()).await;
    assert_ne!(wrong.header(crc), truth.header(crc));
    assert!(bench.server.get("bucket", "k").unwrap() == body);
}

#[tokio::test]
async fn a_body_is_taken_as_slowly_as_it_is_told_to() {
    let bench = Bench::start().await;
    let faults = bench.server.faults();
    faults.script(1, None, "", Fault::StallRequest { after: 5000 });
    let release = async {
        until(|| faults.stalled() == 1).await;
        assert!(bench.server.get("bucket", "k").is_none());
        faults.release();
    };
    let (put, ()) = tokio::join!(bench.give(Method::PUT, "/k", &[], vec![1; SIZE]), release);
    assert_eq!(put.status, 200);
    faults.set_upload_bandwidth(Some(5 << 20));
    let begin = Instant::now();
    bench.give(Method::PUT, "/k", &[], vec![2; SIZE]).await;
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(180), "{took:?}");
    assert_eq!(bench.server.stats().body_bytes_received, 2 * SIZE as u64);
    let begin = Instant::now();
    let size = bench.get("/k", &[]).await.body.len();
    assert!(begin.elapsed() < took, "{size} bytes come at full speed");
}

/// What a role that may write below `w/` only is answered, over signed requests of a presigned kind.
#[tokio::test]
async fn a_role_writes_and_deletes_only_where_it_may() {
    use crate::dev_server::auth::{Authority, Policy};
    let policy = r#"{"Version": "1", "Statement": [{"Effect": "Allow",
        "Action": ["oss:PutObject", "oss:DeleteObject", "oss:GetObject"],
        "Resource": ["acs:oss:*:*:bucket/w/*"]}]}"#;
    let policy = Policy::parse(policy).unwrap();
    let authority = Authority::new("cn-hangzhou".to_owned(), [("writer".to_owned(), policy)]);
    authority
        .add_key("LTAIw", "secret", Some("writer"))
        .unwrap();
    let bench = Bench::with(Config {
        buckets: vec![BucketConfig::new("bucket")],
        auth: Some(Arc::new(authority)),
        ..Config::default()
    })
    .await;
    for key in ["w/a", "w/b", "r/a"] {
        bench.server.put("bucket", key, "x").unwrap();
    }
    let signed = Signer { bench: &bench };
    let status = async |method: Method, target: &str, headers: &[(&str, &str)]| {
        let got = signed.give(method, target, headers, "x").await;
        got.status
    };
    assert_eq!(status(Method::PUT, "/w/new", &[]).await, 200);
    assert_eq!(status(Method::PUT, "/r/new", &[]).await, 403);
    assert_eq!(
        status(Method::POST, "/r/log?append&position=0", &[]).await,
        403
    );
    assert_eq!(
        status(
            Method::PUT,
            "/r/l?symlink",
            &[("x-oss-symlink-target", "w/a")]
        )
        .await,
        403
    );
    assert_eq!(
        status(
            Method::PUT,
            "/w/l?symlink",
            &[("x-oss-symlink-target", "r/a")]
        )
        .await,
        200
    );
    assert_eq!(
        status(Method::GET, "/w/l", &[]).await,
        403,
        "the target may not be read"
    );
    assert_eq!(
        status(Method::PUT, "/w/c", &[("x-oss-copy-source", "/bucket/w/a")]).await,
        200
    );
    assert_eq!(
        status(Method::PUT, "/w/c", &[("x-oss-copy-source", "/bucket/r/a")]).await,
        403
    );
    assert_eq!(
        status(Method::PUT, "/w/t", &[("x-oss-tagging", "a=b")]).await,
        403
    );
    assert_eq!(status(Method::GET, "?uploads", &[]).await, 403);
    assert_eq!(status(Method::DELETE, "/r/a", &[]).await, 403);
    // Of many keys, those that may not go are not told, and only none at all is refused.
    let got = signed.delete(&["w/a", "r/a", "w/b"]).await;
    assert_eq!((got.status, got.elements("Key")), (200, vec!["w/a", "w/b"]));
    let got = signed.delete(&["r/a"]).await;
    assert_eq!((got.status, got.element("Code")), (403, "AccessDenied"));
    assert!(bench.server.get("bucket", "r/a").is_some());
    // Without a signature nothing is asked of any key.
    let got = delete_all(&bench, false, &["w/c"]).await;
    assert_eq!(got.status, 403);
}

/// Signs requests with V1, whose text is short.
struct Signer<'a> {
    bench: &'a Bench,
}

impl Signer<'_> {
    async fn give(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Got {
        use base64::Engine as _;
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let date = crate::dev_server::answer::http_date(jiff::Timestamp::now());
        let md5 = headers
            .iter()
            .find(|(name, _)| *name == "content-md5")
            .map_or("", |(_, md5)| md5);
        let mut oss: Vec<String> = headers
            .iter()
            .filter(|(name, _)| name.starts_with("x-oss-"))
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        oss.sort();
        let separator = if target.starts_with('?') { "/" } else { "" };
        let text = format!(
            "{method}\n{md5}\n\n{date}\n{}/bucket{separator}{target}",
            oss.concat()
        );
        let mut mac = Hmac::<sha1::Sha1>::new_from_slice(b"secret").unwrap();
        mac.update(text.as_bytes());
        let signature =
            base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
        let authorization = format!("OSS LTAIw:{signature}");
        let mut headers = headers.to_vec();
        headers.push(("date", &date));
        headers.push(("authorization", &authorization));
        self.bench
            .give(
                method,
                target,
                &headers,
                Bytes::copy_from_slice(body.as_bytes()),
            )
            .await
    }

    async fn delete(&self, keys: &[&str]) -> Got {
        use base64::Engine as _;
        use md5::{Digest as _, Md5};
        let objects: Vec<String> = keys
            .iter()
            .map(|key| format!("<Object><Key>{key}</Key></Object>"))
            .collect();
        let document = format!("<Delete>{}</Delete>", objects.concat());
        let md5 = base64::engine::general_purpose::STANDARD.encode(Md5::digest(&document));
        self.give(Method::POST, "?delete", &[("content-md5", &md5)], &document)
            .await
    }
}
