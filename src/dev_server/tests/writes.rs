//! What a writing mount needs beside PutObject: appends, links, tags, batch deletes, versions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use super::*;
use crate::dev_server::{Fault, Operation, Versioning};

fn crc(bytes: &[u8]) -> String {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Xz, bytes).to_string()
}

fn code(got: &Got) -> (u16, &str) {
    (got.status, got.element("Code"))
}

async fn with_bucket(change: impl FnOnce(&mut BucketConfig)) -> Bench {
    let mut bucket = BucketConfig::new("bucket");
    change(&mut bucket);
    Bench::with(Config {
        buckets: vec![bucket],
        ..Config::default()
    })
    .await
}

async fn append(bench: &Bench, target: &str, position: u64, body: &'static str) -> Got {
    let target = format!("{target}?append&position={position}");
    let headers = [("x-oss-meta-first", body)];
    bench.give(Method::POST, &target, &headers, body).await
}

pub(super) async fn delete_all(bench: &Bench, quiet: bool, keys: &[&str]) -> Got {
    let objects: String = keys
        .iter()
        .map(|key| format!("<Object><Key>{key}</Key></Object>"))
        .collect();
    let document = format!("<Delete><Quiet>{quiet}</Quiet>{objects}</Delete>");
    let md5 = STANDARD.encode(Md5::digest(&document));
    let headers = [("content-md5", md5.as_str())];
    bench
        .give(
            Method::POST,
            "?delete&encoding-type=url",
            &headers,
            document,
        )
        .await
}

#[tokio::test]
async fn appends_grow_an_object_at_its_end_only() {
    let bench = Bench::start().await;
    let got = append(&bench, "/log", 1, "x").await;
    assert_eq!(code(&got), (409, "PositionNotEqualToLength"));
    assert_eq!(got.header("x-oss-next-append-position"), "0");
    let got = append(&bench, "/log", 0, "one").await;
    assert_eq!(
        (got.status, got.header("x-oss-next-append-position")),
        (200, "3")
    );
    let first_etag = got.header("etag").to_owned();
    let got = append(&bench, "/log", 3, "+two").await;
    assert_eq!(
        (got.status, got.header("x-oss-next-append-position")),
        (200, "7")
    );
    assert_eq!(got.header("x-oss-hash-crc64ecma"), crc(b"one+two"));
    assert_ne!(got.header("etag"), first_etag);
    let got = append(&bench, "/log", 3, "late").await;
    assert_eq!(code(&got), (409, "PositionNotEqualToLength"));
    assert_eq!(got.header("x-oss-next-append-position"), "7");
    assert_eq!(got.header("x-oss-ec"), "0026-00000016");
    let empty = [("content-length", "0")];
    let got = bench
        .ask(Method::POST, "/log?append&position=7", &empty)
        .await;
    assert_eq!(
        (got.status, got.header("x-oss-next-append-position")),
        (200, "7")
    );
    let got = bench.get("/log", &[("range", "bytes=2-4")]).await;
    assert_eq!((got.status, got.text()), (206, "e+t"));
    assert_eq!(got.header("x-oss-object-type"), "Appendable");
    assert_eq!(got.header("x-oss-next-append-position"), "7");
    assert_eq!(got.header("x-oss-meta-first"), "one");
    assert_eq!(got.header("content-md5"), "");
    // A PutObject makes it an object like any other.
    bench.give(Method::PUT, "/log", &[], "new").await;
    let got = append(&bench, "/log", 3, "x").await;
    assert_eq!(code(&got), (409, "ObjectNotAppendable"));
    let missing = bench.give(Method::POST, "/log?append", &[], "x").await;
    assert_eq!(code(&missing), (400, "MissingArgument"));
    let wrong = bench
        .give(Method::POST, "/log?append&position=x", &[], "x")
        .await;
    assert_eq!(code(&wrong), (400, "InvalidArgument"));
    assert_eq!(bench.server.stats().appends(), 8);
}

#[tokio::test]
async fn appended_objects_on_disk_outlive_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let config = || Config {
        data: Some(directory.path().to_owned()),
        buckets: vec![BucketConfig::new("bucket")],
        ..Config::default()
    };
    let tags = ("x-oss-tagging", "a=b");
    {
        let bench = Bench::with(config()).await;
        append(&bench, "/log", 0, "one").await;
        append(&bench, "/log", 3, "+two").await;
        let link = [("x-oss-symlink-target", "log")];
        bench.ask(Method::PUT, "/link?symlink", &link).await;
        bench.give(Method::PUT, "/tagged", &[tags], "x").await;
        let put = bench.give(Method::PUT, "/big", &[], vec![7; 300_000]).await;
        assert_eq!(put.status, 200);
        bench.server.shutdown().await;
    }
    let bench = Bench::with(config()).await;
    assert_eq!(append(&bench, "/log", 7, "!").await.status, 200);
    let got = bench.get("/link", &[]).await;
    assert_eq!(
        (got.text(), got.header("x-oss-object-type")),
        ("one+two!", "Symlink")
    );
    let head = bench.ask(Method::HEAD, "/tagged", &[]).await;
    assert_eq!(head.header("x-oss-tagging-count"), "1");
    // A part that is copied shares the file, and outlives its source.
    let got = bench.ask(Method::POST, "/copy?uploads", &[]).await;
    let id = got.element("UploadId").to_owned();
    let target = format!("/copy?partNumber=1&uploadId={id}");
    let headers = [
        ("x-oss-copy-source", "/bucket/big"),
        ("x-oss-copy-source-range", "bytes=100000-299998"),
    ];
    assert_eq!(bench.ask(Method::PUT, &target, &headers).await.status, 200);
    let all = [("x-oss-complete-all", "yes")];
    let target = format!("/copy?uploadId={id}");
    assert_eq!(bench.ask(Method::POST, &target, &all).await.status, 200);
    bench.ask(Method::DELETE, "/big", &[]).await;
    bench.server.shutdown().await;
    let bench = Bench::with(config()).await;
    let copy = bench.get("/copy", &[]).await;
    assert!(copy.body == vec![7; 199_999], "{}", copy.body.len());
}

#[tokio::test]
async fn a_link_shows_its_target_and_goes_alone() {
    let bench = Bench::start().await;
    bench
        .server
        .put_with(
            "bucket",
            "dir/数据",
            "content",
            &[("content-type", "text/x")],
        )
        .unwrap();
    let link = [
        ("x-oss-symlink-target", "dir%2F%E6%95%B0%E6%8D%AE"),
        ("x-oss-meta-mine", "yes"),
    ];
    assert_eq!(
        bench.ask(Method::PUT, "/link?symlink", &link).await.status,
        200
    );
    for method in [Method::GET, Method::HEAD] {
        let got = bench.ask(method, "/link", &[]).await;
        assert_eq!(got.status, 200);
        assert_eq!(got.header("content-length"), "7");
        assert_eq!(got.header("x-oss-object-type"), "Symlink");
        assert_eq!(got.header("x-oss-hash-crc64ecma"), crc(b"content"));
        assert_eq!(got.header("x-oss-meta-mine"), "yes");
        assert_eq!(got.header("content-type"), "application/octet-stream");
    }
    let etag = bench.server.etag("bucket", "dir/数据").unwrap();
    let quoted = format!("\"{etag}\"");
    assert_eq!(
        bench.get("/link", &[("if-match", &quoted)]).await.status,
        200
    );
    let got = bench.get("/link?symlink", &[]).await;
    assert_eq!(got.header("x-oss-symlink-target"), link[0].1);
    assert_ne!(got.header("etag"), quoted);
    let meta = bench.ask(Method::HEAD, "/link?objectMeta", &[]).await;
    assert_eq!(meta.header("content-length"), "10", "the link's own");
    let list = bench.get("?list-type=2", &[]).await;
    assert_eq!(list.elements("Type"), ["Normal", "Symlink"]);
    assert_eq!(list.elements("Size"), ["7", "10"]);
    let got = bench.get("/dir/%E6%95%B0%E6%8D%AE?symlink", &[]).await;
    assert_eq!(code(&got), (400, "NotSymlink"));
    // A copy of a link is a link, and a link to a link leads nowhere.
    let copy = [("x-oss-copy-source", "/bucket/link")];
    assert_eq!(bench.ask(Method::PUT, "/copy", &copy).await.status, 200);
    assert_eq!(bench.get("/copy", &[]).await.text(), "content");
    assert_eq!(
        bench
            .server
            .stored("bucket", "copy")
            .unwrap()
            .target
            .unwrap(),
        "dir/数据"
    );
    bench.server.put_symlink("bucket", "twice", "link").unwrap();
    assert_eq!(
        code(&bench.get("/twice", &[]).await),
        (400, "InvalidTargetType")
    );
    assert_eq!(bench.ask(Method::DELETE, "/link", &[]).await.status, 204);
    assert!(bench.server.get("bucket", "dir/数据").is_some());
    bench.server.delete("bucket", "dir/数据").unwrap();
    let got = bench.get("/copy", &[]).await;
    assert_eq!(code(&got), (404, "SymlinkTargetNotExist"));
    assert_eq!(got.header("x-oss-ec"), "0026-00000012");
    assert_eq!(bench.ask(Method::HEAD, "/copy", &[]).await.status, 404);
    let none = bench.ask(Method::PUT, "/l?symlink", &[]).await;
    assert_eq!(code(&none), (400, "InvalidArgument"));
    let forbid = [link[0], ("x-oss-forbid-overwrite", "true")];
    let got = bench.ask(Method::PUT, "/copy?symlink", &forbid).await;
    assert_eq!(code(&got), (409, "FileAlreadyExists"));
    assert_eq!(bench.server.stats().symlinks(), 3);
}

#[tokio::test]
async fn tags_class_and_encryption_are_kept_and_told() {
    let bench = Bench::start().await;
    let headers = [
        ("x-oss-tagging", "team=a%20b&stage=dev"),
        ("x-oss-storage-class", "IA"),
        ("x-oss-server-side-encryption", "AES256"),
    ];
    let put = bench.give(Method::PUT, "/k", &headers, "x").await;
    assert_eq!(put.header("x-oss-server-side-encryption"), "AES256");
    let head = bench.ask(Method::HEAD, "/k", &[]).await;
    assert_eq!(head.header("x-oss-tagging-count"), "2");
    assert_eq!(head.header("x-oss-storage-class"), "IA");
    assert_eq!(head.header("x-oss-server-side-encryption"), "AES256");
    let tags = bench.get("/k?tagging", &[]).await;
    assert_eq!(tags.elements("Key"), ["team", "stage"]);
    assert_eq!(tags.elements("Value"), ["a b", "dev"]);
    // A copy keeps the tags unless it replaces them, and never the encryption.
    let source = ("x-oss-copy-source", "/bucket/k");
    bench
        .ask(Method::PUT, "/c", &[source, ("x-oss-tagging", "other=1")])
        .await;
    let kept = bench.server.stored("bucket", "c").unwrap();
    assert_eq!((kept.tags.len(), kept.encryption.len()), (2, 0));
    let replace = [
        source,
        ("x-oss-tagging-directive", "Replace"),
        ("x-oss-tagging", "other=1"),
    ];
    bench.ask(Method::PUT, "/c", &replace).await;
    let tags = bench.get("/c?tagging", &[]).await;
    assert_eq!(tags.elements("Key"), ["other"]);
    let document = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
    let put = bench.give(Method::PUT, "/c?tagging", &[], document).await;
    assert_eq!(put.status, 200);
    assert_eq!(bench.get("/c?tagging", &[]).await.elements("Key"), ["a"]);
    assert_eq!(
        bench.ask(Method::DELETE, "/c?tagging", &[]).await.status,
        204
    );
    assert_eq!(bench.get("/c?tagging", &[]).await.elements("Key").len(), 0);
    assert_eq!(
        code(&bench.get("/none?tagging", &[]).await),
        (404, "NoSuchKey")
    );
    for (headers, expected) in [
        (("x-oss-tagging", "a=b=c"), (400, "InvalidTag")),
        (
            ("x-oss-server-side-encryption", "ROT13"),
            (400, "InvalidEncryptionAlgorithmError"),
        ),
        (("x-oss-meta-under_score", "1"), (400, "InvalidArgument")),
    ] {
        let got = bench.give(Method::PUT, "/k", &[headers], "x").await;
        assert_eq!(code(&got), expected, "{headers:?}");
    }
}

#[tokio::test]
async fn many_keys_go_at_once_and_are_told() {
    let bench = Bench::start().await;
    for key in ["a b", "c", "d"] {
        bench.server.put("bucket", key, "x").unwrap();
    }
    let got = delete_all(&bench, false, &["a b", "c", "never"]).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.elements("Key"), ["a%20b", "c", "never"]);
    assert_eq!(bench.server.keys("bucket", ""), ["d"]);
    let got = delete_all(&bench, true, &["d"]).await;
    assert_eq!((got.status, got.text()), (200, ""));
    assert_eq!(bench.server.object_count("bucket"), 0);
    let got = bench.give(Method::POST, "?delete", &[], "<Delete/>").await;
    assert_eq!(code(&got), (400, "MissingArgument"));
    assert_eq!(got.header("x-oss-ec"), "0016-00000606");
    let wrong = [("content-md5", "XUFAKrxLKna5cZ2REBfFkg==")];
    let got = bench
        .give(Method::POST, "?delete", &wrong, "<Delete/>")
        .await;
    assert_eq!(code(&got), (400, "InvalidDigest"));
    let got = delete_all(&bench, false, &[]).await;
    assert_eq!(code(&got), (400, "MalformedXML"));
    let keys: Vec<String> = (0..1001).map(|number| number.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(
        code(&delete_all(&bench, false, &keys).await),
        (400, "MalformedXML")
    );
    assert_eq!(delete_all(&bench, false, &keys[1..]).await.status, 200);
    assert_eq!(bench.server.stats().batch_deletes(), 7);
}

#[tokio::test]
async fn a_batch_delete_can_leave_keys_unsaid() {
    let bench = Bench::start().await;
    for key in ["a", "b", "c", "d"] {
        bench.server.put("bucket", key, "x").unwrap();
    }
    let fault = Fault::SkipKeys { every: 2 };
    let faults = bench.server.faults();
    faults.script(1, Some(Operation::DeleteMultipleObjects), "", fault);
    let got = delete_all(&bench, false, &["a", "b", "c", "d"]).await;
    assert_eq!((got.status, got.elements("Key")), (200, vec!["a", "c"]));
    assert_eq!(bench.server.keys("bucket", ""), ["b", "d"]);
}

#[tokio::test]
async fn a_bucket_with_versions_tells_them() {
    let bench = with_bucket(|bucket| bucket.versioning = Versioning::Enabled).await;
    assert_eq!(
        bench.get("?versioning", &[]).await.element("Status"),
        "Enabled"
    );
    let version = |got: &Got| got.header("x-oss-version-id").to_owned();
    let one = version(&bench.give(Method::PUT, "/k", &[], "one").await);
    let forbid = [("x-oss-forbid-overwrite", "true")];
    let two = bench.give(Method::PUT, "/k", &forbid, "two").await;
    assert_eq!(two.status, 200, "the header says nothing here");
    let two = version(&two);
    assert!(!one.is_empty() && one != two);
    let got = bench.get("/k", &[]).await;
    assert_eq!((got.text(), version(&got)), ("two", two));
    let old = bench.get(&format!("/k?versionId={one}"), &[]).await;
    assert_eq!((old.text(), version(&old)), ("one", one.clone()));
    let source = format!("/bucket/k?versionId={one}");
    let copy = bench
        .ask(Method::PUT, "/copy", &[("x-oss-copy-source", &source)])
        .await;
    assert_eq!(copy.header("x-oss-copy-source-version-id"), one);
    assert_eq!(bench.get("/copy", &[]).await.text(), "one");
    let deleted = bench.ask(Method::DELETE, "/k", &[]).await;
    assert_eq!(
        (deleted.status, deleted.header("x-oss-delete-marker")),
        (204, "true")
    );
    let got = bench.get("/k", &[]).await;
    assert_eq!(code(&got), (404, "NoSuchKey"));
    assert_eq!(got.header("x-oss-delete-marker"), "true");
    assert_eq!(version(&got), version(&deleted));
    let gone = bench
        .ask(
            Method::DELETE,
            &format!("/k?versionId={}", version(&deleted)),
            &[],
        )
        .await;
    assert_eq!(gone.header("x-oss-delete-marker"), "true");
    assert_eq!(bench.get("/k", &[]).await.text(), "two");
    let got = delete_all(&bench, false, &["k"]).await;
    assert_eq!(got.element("DeleteMarker"), "true");
    assert!(!got.element("DeleteMarkerVersionId").is_empty());
    let none = bench.get("/copy?versionId=none", &[]).await;
    assert_eq!(code(&none), (404, "NoSuchVersion"));
    append(&bench, "/log", 0, "a").await;
    let log = [("x-oss-copy-source", "/bucket/log")];
    let got = bench.ask(Method::PUT, "/c", &log).await;
    assert_eq!(code(&got), (400, "OperationNotSupported"));
}

#[tokio::test]
async fn a_hierarchical_bucket_has_directories_and_lacks_the_rest() {
    let bench = with_bucket(|bucket| bucket.hierarchical = true).await;
    bench.server.put("bucket", "a/1", "one").unwrap();
    bench.server.put("bucket", "a/b/2", "two").unwrap();
    bench.server.put("bucket", "c", "x").unwrap();
    let rename = |to: &str, from: &'static str| {
        let target = format!("/{to}?x-oss-rename");
        let bench = &bench;
        async move {
            let headers = [("x-oss-rename-source", from)];
            bench.ask(Method::POST, &target, &headers).await
        }
    };
    assert_eq!(rename("d", "a").await.status, 200);
    assert_eq!(bench.server.keys("bucket", ""), ["c", "d/1", "d/b/2"]);
    assert_eq!(code(&rename("d", "c").await), (409, "FileAlreadyExists"));
    assert_eq!(code(&rename("no/parent", "c").await), (404, "NoSuchKey"));
    assert_eq!(code(&rename("e", "a").await), (404, "NoSuchKey"));
    assert_eq!(
        bench.ask(Method::POST, "/new?x-oss-dir", &[]).await.status,
        200
    );
    let head = bench.ask(Method::HEAD, "/new/", &[]).await;
    assert_eq!(head.header("content-type"), "application/x-directory");
    assert_eq!(rename("new/c", "c").await.status, 200);
    let full = bench.ask(Method::POST, "/new?x-oss-delete", &[]).await;
    assert_eq!(code(&full), (409, "FileAlreadyExists"));
    let recursive = [("x-oss-delete-recursive", "true")];
    let gone = bench
        .ask(Method::POST, "/new?x-oss-delete", &recursive)
        .await;
    assert_eq!(gone.element("DeleteNumber"), "2");
    let forbid = [("x-oss-forbid-overwrite", "true")];
    for got in [
        append(&bench, "/log", 0, "x").await,
        bench
            .ask(Method::PUT, "/l?symlink", &[("x-oss-symlink-target", "d")])
            .await,
        bench.get("/d/1?tagging", &[]).await,
        delete_all(&bench, false, &["d/1"]).await,
        bench.give(Method::PUT, "/f", &forbid, "x").await,
    ] {
        assert_eq!(code(&got), (400, "OperationNotSupported"));
    }
    let flat = Bench::start().await;
    let got = flat.ask(Method::POST, "/new?x-oss-dir", &[]).await;
    assert_eq!(code(&got), (400, "OperationNotSupported"));
}
