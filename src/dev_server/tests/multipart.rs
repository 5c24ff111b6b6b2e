//! Multipart uploads, and large objects on disk.

use super::*;

const PART_BYTES: usize = 100 << 10;

async fn initiate(bench: &Bench, target: &str) -> String {
    let got = bench
        .ask(Method::POST, &format!("{target}?uploads"), &[])
        .await;
    got.element("UploadId").to_owned()
}

async fn part(bench: &Bench, target: &str, id: &str, number: u16, bytes: Vec<u8>) -> Got {
    let target = format!("{target}?partNumber={number}&uploadId={id}");
    bench.give(Method::PUT, &target, &[], bytes).await
}

#[tokio::test]
async fn parts_become_an_object_when_they_are_listed() {
    let bench = Bench::start().await;
    let id = initiate(&bench, "/k").await;
    let mut document = "<CompleteMultipartUpload>".to_owned();
    for number in 1..=3_u16 {
        let bytes = vec![u8::try_from(number).unwrap(); PART_BYTES];
        let got = part(&bench, "/k", &id, number, bytes).await;
        assert_eq!(got.status, 200);
        let etag = got.header("etag");
        document += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    document += "</CompleteMultipartUpload>";
    assert_eq!(bench.get("/k", &[]).await.status, 404);
    let parts = bench
        .get(&format!("/k?uploadId={id}&max-parts=2"), &[])
        .await;
    assert_eq!(parts.elements("PartNumber"), ["1", "2"]);
    assert_eq!(parts.element("NextPartNumberMarker"), "2");
    assert_eq!(parts.element("IsTruncated"), "true");
    let complete = format!("/k?uploadId={id}");
    let done = bench
        .give(Method::POST, &complete, &[], document.clone())
        .await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert!(done.header("etag").ends_with("-3\""));
    let got = bench.get("/k", &[("range", "bytes=102399-204800")]).await;
    assert_eq!(got.body.len(), PART_BYTES + 2);
    assert_eq!(
        (got.body[0], got.body[1], got.body[PART_BYTES + 1]),
        (1, 2, 3)
    );
    let whole = bench.get("/k", &[]).await;
    assert_eq!(whole.header("x-oss-object-type"), "Multipart");
    assert_eq!(whole.header("content-md5"), "");
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Xz, &whole.body);
    assert_eq!(whole.header("x-oss-hash-crc64ecma"), crc.to_string());
    let again = bench.give(Method::POST, &complete, &[], document).await;
    assert_eq!((again.status, again.element("Code")), (404, "NoSuchUpload"));
}

#[tokio::test]
async fn all_parts_can_be_completed_without_a_list() {
    let bench = Bench::start().await;
    let id = initiate(&bench, "/k").await;
    part(&bench, "/k", &id, 2, b"tail".to_vec()).await;
    part(&bench, "/k", &id, 1, vec![1; PART_BYTES]).await;
    let target = format!("/k?uploadId={id}");
    let all = [("x-oss-complete-all", "yes")];
    let both = bench.give(Method::POST, &target, &all, "<x/>").await;
    assert_eq!(
        (both.status, both.element("Code")),
        (400, "InvalidArgument")
    );
    let none = bench.give(Method::POST, &target, &[], "no xml").await;
    assert_eq!((none.status, none.element("Code")), (400, "MalformedXML"));
    assert_eq!(bench.ask(Method::POST, &target, &all).await.status, 200);
    let object = bench.server.get("bucket", "k").unwrap();
    assert_eq!(object.len(), PART_BYTES + 4);
    assert!(object.ends_with(b"\x01tail"));
}

#[tokio::test]
async fn parts_can_be_copied_from_other_objects() {
    let bench = Bench::start().await;
    let source: Vec<u8> = (0..300_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    bench.server.put("bucket", "s", source.clone()).unwrap();
    let id = initiate(&bench, "/k").await;
    let copy = |number: u16, range: &'static str| {
        let target = format!("/k?partNumber={number}&uploadId={id}");
        let bench = &bench;
        async move {
            let headers = [
                ("x-oss-copy-source", "/bucket/s"),
                ("x-oss-copy-source-range", range),
            ];
            bench.ask(Method::PUT, &target, &headers).await
        }
    };
    let got = copy(1, "bytes=1000-199999").await;
    assert_eq!(got.status, 200);
    assert_eq!(got.header("content-range"), "bytes 1000-199999/300000");
    assert!(got.text().contains("<CopyPartResult>"));
    assert_eq!(got.header("x-oss-hash-crc64ecma"), "");
    assert_eq!(copy(3, "bytes=299999-300000").await.status, 416);
    part(&bench, "/k", &id, 2, b"tail".to_vec()).await;
    let all = [("x-oss-complete-all", "yes")];
    let target = format!("/k?uploadId={id}");
    assert_eq!(bench.ask(Method::POST, &target, &all).await.status, 200);
    let object = bench.server.get("bucket", "k").unwrap();
    assert!(object == [&source[1000..200_000], b"tail"].concat());
}

#[tokio::test]
async fn an_aborted_upload_is_gone() {
    let bench = Bench::start().await;
    let id = initiate(&bench, "/k").await;
    assert_eq!(bench.server.upload_count("bucket"), 1);
    let target = format!("/k?uploadId={id}");
    for (number, status) in [(0, 400), (10_001, 400), (10_000, 200), (1, 200)] {
        let got = part(&bench, "/k", &id, number, vec![0; 9]).await;
        assert_eq!(got.status, status, "{number}");
    }
    assert_eq!(bench.ask(Method::DELETE, &target, &[]).await.status, 204);
    assert_eq!(bench.ask(Method::DELETE, &target, &[]).await.status, 404);
    assert_eq!(part(&bench, "/k", &id, 1, vec![0; 9]).await.status, 404);
    assert_eq!(bench.server.upload_count("bucket"), 0);
}

#[tokio::test]
async fn objects_on_disk_outlive_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let config = |buckets| Config {
        data: Some(directory.path().to_owned()),
        buckets,
        ..Config::default()
    };
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    {
        let bench = Bench::with(config(vec![BucketConfig::new("bucket")])).await;
        let headers = [("x-oss-meta-a", "1")];
        let put = bench
            .give(Method::PUT, "/big", &headers, bytes.clone())
            .await;
        assert_eq!(put.status, 200);
        bench.server.shutdown().await;
    }
    // The bucket is found on disk.
    let bench = Bench::with(config(Vec::new())).await;
    let got = bench.get("/big", &[]).await;
    assert_eq!(got.header("x-oss-meta-a"), "1");
    assert!(got.body == bytes);
    let got = bench
        .get("/big", &[("range", "bytes=1000000-1999999")])
        .await;
    assert!(got.body == bytes[1_000_000..2_000_000]);
    let small = bench.get("/big", &[("range", "bytes=7-9")]).await;
    assert!(small.body == bytes[7..10]);
}

#[tokio::test]
async fn uploads_in_progress_are_listed_in_pages() {
    let bench = Bench::start().await;
    for target in ["/a%20b", "/c", "/c", "/d/1"] {
        initiate(&bench, target).await;
    }
    let mut found = Vec::new();
    let mut page = bench
        .get("?uploads&max-uploads=2&encoding-type=url", &[])
        .await;
    loop {
        let keys = page.elements("Key").into_iter().map(str::to_owned);
        let ids = page.elements("UploadId").into_iter().map(str::to_owned);
        found.extend(keys.zip(ids));
        if page.element("IsTruncated") == "false" {
            break;
        }
        let (key, id) = (
            page.element("NextKeyMarker"),
            page.element("NextUploadIdMarker"),
        );
        let target = format!(
            "?uploads&max-uploads=2&encoding-type=url&key-marker={key}&upload-id-marker={id}"
        );
        page = bench.get(&target, &[]).await;
    }
    let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["a%20b", "c", "c", "d%2F1"]);
    assert_ne!(found[1].1, found[2].1);
    let page = bench.get("?uploads&prefix=c", &[]).await;
    assert_eq!(page.elements("Key"), ["c", "c"]);
    let page = bench.get("?uploads&delimiter=/", &[]).await;
    assert_eq!(page.elements("Prefix"), ["", "d/"]);
    for bad in ["0", "1001", "x"] {
        let got = bench.get(&format!("?uploads&max-uploads={bad}"), &[]).await;
        assert_eq!((got.status, got.element("Code")), (400, "InvalidArgument"));
    }
}

#[tokio::test]
async fn an_upload_makes_an_object_with_what_was_said_at_its_begin() {
    let bench = Bench::start().await;
    bench.server.append("bucket", "k", "old").unwrap();
    let headers = [
        ("content-type", "text/x"),
        ("x-oss-meta-a", "1"),
        ("x-oss-tagging", "t=1"),
        ("x-oss-storage-class", "IA"),
        ("x-oss-server-side-encryption", "AES256"),
    ];
    let begun = bench.ask(Method::POST, "/k?uploads", &headers).await;
    assert_eq!(begun.header("x-oss-server-side-encryption"), "AES256");
    let id = begun.element("UploadId").to_owned();
    part(&bench, "/k", &id, 1, b"new".to_vec()).await;
    let target = format!("/k?uploadId={id}");
    let all = ("x-oss-complete-all", "yes");
    let forbid = [all, ("x-oss-forbid-overwrite", "true")];
    let refused = bench.ask(Method::POST, &target, &forbid).await;
    assert_eq!(
        (refused.status, refused.element("Code")),
        (409, "FileAlreadyExists")
    );
    assert_eq!(
        bench.server.upload_count("bucket"),
        1,
        "it can be completed all the same"
    );
    assert_eq!(bench.ask(Method::POST, &target, &[all]).await.status, 200);
    let got = bench.get("/k", &[]).await;
    assert_eq!(got.text(), "new");
    for (name, value) in [headers[0], headers[1], headers[3], headers[4]] {
        assert_eq!(got.header(name), value);
    }
    assert_eq!(got.header("x-oss-tagging-count"), "1");
    assert_eq!(got.header("x-oss-object-type"), "Multipart");
    let stats = bench.server.stats();
    assert_eq!(
        (stats.initiates(), stats.parts(), stats.completes()),
        (1, 1, 2)
    );
}

#[tokio::test]
async fn parts_are_copied_only_from_what_was_meant() {
    let bench = Bench::start().await;
    let etag = bench.server.put("bucket", "s", "source").unwrap();
    bench.server.append("bucket", "log", "x").unwrap();
    bench.server.put_symlink("bucket", "link", "s").unwrap();
    let id = initiate(&bench, "/k").await;
    let target = format!("/k?partNumber=1&uploadId={id}");
    let quoted = format!("\"{etag}\"");
    let if_match = "x-oss-copy-source-if-match";
    for (source, condition, status) in [
        ("/bucket/s", ("x-oss-meta-none", ""), 200),
        ("/bucket/s", (if_match, quoted.as_str()), 200),
        ("/bucket/s", (if_match, "\"0\""), 412),
        (
            "/bucket/s",
            ("x-oss-copy-source-if-none-match", quoted.as_str()),
            304,
        ),
        ("/bucket/none", ("x-oss-meta-none", ""), 404),
        ("/bucket/log", ("x-oss-meta-none", ""), 400),
        ("/bucket/link", ("x-oss-meta-none", ""), 501),
    ] {
        let headers = [("x-oss-copy-source", source), condition];
        let got = bench.ask(Method::PUT, &target, &headers).await;
        assert_eq!(got.status, status, "{source} {condition:?}");
    }
    // The part is the source as it was.
    bench.server.put("bucket", "s", "changed").unwrap();
    let parts = bench.get(&format!("/k?uploadId={id}"), &[]).await;
    assert_eq!(parts.element("Size"), "6");
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Xz, b"source");
    assert_eq!(parts.element("HashCrc64ecma"), crc.to_string());
    assert_eq!(bench.server.stats().part_copies(), 7);
}

#[tokio::test]
async fn fast_etags_cost_no_md5_and_still_tell_contents_apart() {
    let bench = Bench::with(Config {
        buckets: vec![BucketConfig::new("bucket")],
        etags: crate::dev_server::ETags::Crc,
        ..Config::default()
    })
    .await;
    let put = bench.give(Method::PUT, "/k", &[], "hello").await;
    assert_eq!(put.header("x-oss-hash-crc64ecma"), "11177612005948864433");
    assert_ne!(put.header("etag"), "\"5D41402ABC4B2A76B9719D911017C592\"");
    assert_eq!(put.header("etag").len(), 34);
    assert_eq!(put.header("content-md5"), "");
    let other = bench.give(Method::PUT, "/k", &[], "hellp").await;
    assert_ne!(other.header("etag"), put.header("etag"));
    for (md5, status) in [
        ("XUFAKrxLKna5cZ2REBfFkg==", 200),
        ("AAAAAAAAAAAAAAAAAAAAAA==", 400),
    ] {
        let got = bench
            .give(Method::PUT, "/k", &[("content-md5", md5)], "hello")
            .await;
        assert_eq!(got.status, status);
    }
    let id = initiate(&bench, "/m").await;
    part(&bench, "/m", &id, 1, vec![1; PART_BYTES]).await;
    part(&bench, "/m", &id, 2, b"x".to_vec()).await;
    let all = [("x-oss-complete-all", "yes")];
    let target = format!("/m?uploadId={id}");
    assert_eq!(bench.ask(Method::POST, &target, &all).await.status, 200);
}
