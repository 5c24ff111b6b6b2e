//! Copies, deletions, links and tags: what is asked, what is answered.

use md5::Digest as _;

use super::server::{Reply, Server};
use super::{RETRY, bucket, key};
use crate::object::{ETag, ObjectKey, StorageClass, Version};
use crate::op::Op;
use crate::oss::{Condition, CopyProperties, CopySource, Encryption, Kind, Properties};

fn tags() -> Vec<(String, String)> {
    vec![("k 1".to_owned(), "v<2>".to_owned())]
}

fn properties() -> Properties {
    Properties {
        content_type: Some("x/y".to_owned()),
        storage_class: Some(StorageClass::InfrequentAccess),
        encryption: Some(Encryption {
            method: "AES256".to_owned(),
            key_id: None,
            data: None,
        }),
        tags: tags(),
        ..Properties::default()
    }
}

#[tokio::test]
async fn a_copy_keeps_or_replaces_what_is_said_of_its_source() {
    let copied = || {
        let headers = [("x-oss-hash-crc64ecma", "77"), ("x-oss-version-id", "V")];
        Reply::new(200, &headers, b"<R><ETag>\"E\"</ETag></R>")
    };
    let server = Server::new([copied(), copied(), Reply::new(200, &[], b"<R/>"), copied()]).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let properties = properties();
    let to = key("to");
    let version = Version::new(key("a b/数"), ETag::new("SRC"), 3);
    let source = CopySource::from(&*version);
    for how in [
        CopyProperties::Keep(&properties),
        CopyProperties::Replace(&properties),
    ] {
        let copy = bucket.copy_object(&op, source, &to, how, Condition::None);
        let made = copy.await.unwrap();
        assert_eq!((made.etag.as_str(), made.crc64), ("E", Some(77)));
        assert_eq!(made.version_id.as_deref(), Some("V"));
    }
    let value = |name: &str| {
        let values = server.values(name);
        (values[0].clone(), values[1].clone())
    };
    let both = |text: &str| (Some(text.to_owned()), Some(text.to_owned()));
    let second = |text: &str| (None, Some(text.to_owned()));
    assert_eq!(value("x-oss-copy-source"), both("/demo/a%20b/%E6%95%B0"));
    assert_eq!(value("x-oss-copy-source-if-match"), both("\"SRC\""));
    assert_eq!(value("x-oss-storage-class"), both("IA"));
    assert_eq!(value("x-oss-server-side-encryption"), both("AES256"));
    assert_eq!(value("content-type"), second("x/y"));
    assert_eq!(value("x-oss-tagging"), second("k%201=v%3C2%3E"));
    assert_eq!(value("x-oss-tagging-directive"), second("Replace"));
    let directives = (Some("COPY".to_owned()), Some("REPLACE".to_owned()));
    assert_eq!(value("x-oss-metadata-directive"), directives);
    // A source that is known better is checked better; an answer that says nothing is asked for again.
    let source = CopySource {
        crc64: Some(77),
        ..source
    };
    let how = CopyProperties::Keep(&properties);
    let copy = bucket.copy_object(&op, source, &to, how, Condition::None);
    copy.await.unwrap();
    assert_eq!(bucket.metrics.oss.lies.get(), 1);
    let server = Server::always(copied()).await;
    let bucket = super::bucket(&server, RETRY);
    let source = CopySource {
        crc64: Some(78),
        ..source
    };
    let copy = bucket.copy_object(&op, source, &to, how, Condition::None);
    assert_eq!(copy.await.unwrap_err().kind(), &Kind::Corrupt);
}

#[tokio::test]
async fn deleting_twice_is_deleting() {
    let server = Server::new([
        Reply::new(204, &[], b""),
        Reply::raw(""),
        Reply::error(404, "NoSuchKey"),
        Reply::error(409, "FileImmutable"),
    ])
    .await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    bucket.delete_object(&op, &key("k")).await.unwrap();
    bucket.delete_object(&op, &key("k")).await.unwrap();
    let error = bucket.delete_object(&op, &key("k")).await.unwrap_err();
    assert_eq!(error.kind(), &Kind::Immutable);
    assert_eq!(bucket.metrics.oss.delete_requests.get(), 4);
}

#[tokio::test]
async fn a_batch_says_what_is_left() {
    let answer =
        b"<DeleteResult><EncodingType>url</EncodingType><Deleted><Key>a%2F%01</Key></Deleted>\
        <Deleted><Key>c%26</Key></Deleted><Deleted><Key>stranger</Key></Deleted></DeleteResult>";
    let server = Server::new([
        Reply::error(500, "InternalError"),
        Reply::new(200, &[], answer),
    ])
    .await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let keys = ["a/\u{1}", "b", "c&", "../d"].map(key);
    let batch = bucket.delete_objects(&op, &keys).await.unwrap();
    assert_eq!(batch.deleted, ["a/\u{1}", "c&"].map(key));
    assert_eq!(batch.left, ["b", "../d"].map(key));
    assert_eq!(server.lines()[1], "POST /demo/?delete&encoding-type=url");
    let body = server.bodies().remove(1);
    let text = String::from_utf8(body.clone()).unwrap();
    assert!(
        text.starts_with("<Delete><Quiet>false</Quiet><Object><Key>a/&#x1;</Key></Object>"),
        "{text}"
    );
    let md5 = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        md5::Md5::digest(&body),
    );
    assert_eq!(server.values("content-md5")[1], Some(md5));
}

#[tokio::test]
async fn a_batch_has_bounds() {
    let server = Server::new([]).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    assert!(
        bucket
            .delete_objects(&op, &[])
            .await
            .unwrap()
            .left
            .is_empty()
    );
    let keys: Vec<ObjectKey> = (0..1001).map(|index| key(&format!("{index}"))).collect();
    let error = bucket.delete_objects(&op, &keys).await.unwrap_err();
    assert_eq!(error.kind(), &Kind::Invalid);
    assert_eq!(server.heads().len(), 0);
}

#[tokio::test]
async fn a_link_is_made_and_read() {
    let headers = [
        ("x-oss-symlink-target", "to%2F%E6%95%B0"),
        ("ETag", "\"L\""),
        ("x-oss-meta-a", "1"),
    ];
    let server = Server::new([
        Reply::new(200, &[("ETag", "\"L\"")], b""),
        Reply::new(200, &headers, b""),
        Reply::error(404, "NoSuchKey"),
    ])
    .await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let (link, target) = (key("link"), key("to/数"));
    let none = Properties::default();
    let put = bucket.put_symlink(&op, &link, &target, &none, Condition::None);
    assert_eq!(put.await.unwrap().etag.as_str(), "L");
    let read = bucket.get_symlink(&op, &link).await.unwrap();
    assert_eq!(read.target, "to/数");
    assert_eq!(read.properties.user["a"], "1");
    let error = bucket.get_symlink(&op, &link).await.unwrap_err();
    assert_eq!(error.kind(), &Kind::NotFound);
    assert_eq!(
        server.lines()[..2],
        ["PUT /demo/link?symlink", "GET /demo/link?symlink"]
    );
    let sent = server.values("x-oss-symlink-target").remove(0);
    assert_eq!(sent.as_deref(), Some("to%2F%E6%95%B0"));
}

#[tokio::test]
async fn tags_are_written_read_and_taken_away() {
    let tagging =
        "<Tagging><TagSet><Tag><Key>k 1</Key><Value>v&lt;2&gt;</Value></Tag></TagSet></Tagging>";
    let counted = [
        ("Content-Length", "3"),
        ("ETag", "\"E\""),
        ("Last-Modified", super::MODIFIED),
        ("Content-Type", "x/y"),
        ("x-oss-tagging-count", "1"),
    ];
    let server = Server::new([
        Reply::new(200, &[], b""),
        Reply::new(204, &[], b""),
        Reply::new(200, &counted, b""),
        Reply::new(200, &[], tagging.as_bytes()),
        Reply::new(200, &counted[..4], b""),
    ])
    .await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let key = key("k");
    bucket.put_tagging(&op, &key, &tags()).await.unwrap();
    bucket.put_tagging(&op, &key, &[]).await.unwrap();
    let described = bucket.describe_with_tags(&op, &key).await.unwrap();
    assert_eq!(described.properties.tags, tags());
    assert_eq!(described.properties.content_type.as_deref(), Some("x/y"));
    let described = bucket.describe_with_tags(&op, &key).await.unwrap();
    assert!(described.properties.tags.is_empty());
    assert_eq!(
        server.lines(),
        [
            "PUT /demo/k?tagging",
            "DELETE /demo/k?tagging",
            "HEAD /demo/k",
            "GET /demo/k?tagging",
            "HEAD /demo/k",
        ]
    );
    let sent = String::from_utf8(server.bodies().remove(0)).unwrap();
    assert_eq!(sent, tagging);
}
