//! Multipart uploads: what is asked, what is answered.

use bytes::Bytes;

use super::server::{Reply, Server};
use super::{RETRY, bucket, key, source};
use crate::object::ETag;
use crate::op::Op;
use crate::oss::{Body, Condition, Kind, Part, Properties, Upload};

pub(super) fn upload() -> Upload {
    Upload {
        key: key("dir/x.bin"),
        id: "0004B9".to_owned(),
    }
}

pub(super) fn part(number: u16, bytes: &'static [u8]) -> Part {
    Part {
        number,
        etag: ETag::new("202CB962AC59075B964B07152D234B70"),
        size: bytes.len() as u64,
        crc64: Some(crc(bytes)),
    }
}

pub(super) fn crc(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Xz, bytes)
}

pub(super) fn completed(crc: u64) -> Reply {
    let crc = crc.to_string();
    let headers = [("x-oss-hash-crc64ecma", crc.as_str())];
    let body =
        b"<CompleteMultipartUploadResult><ETag>\"B864-2\"</ETag></CompleteMultipartUploadResult>";
    Reply::new(200, &headers, body)
}

#[tokio::test]
async fn an_upload_goes_from_initiate_to_complete() {
    let initiated = b"<InitiateMultipartUploadResult><Bucket>demo</Bucket><Key>dir/x.bin</Key>\
        <UploadId>0004B9</UploadId></InitiateMultipartUploadResult>";
    let part_crc = crc(b"first").to_string();
    let part_headers = [
        ("ETag", "\"8B04\""),
        ("x-oss-hash-crc64ecma", part_crc.as_str()),
    ];
    let copied =
        b"<CopyPartResult><LastModified>x</LastModified><ETag>\"C0\"</ETag></CopyPartResult>";
    let server = Server::new([
        Reply::new(200, &[], initiated),
        Reply::new(200, &part_headers, b""),
        Reply::new(200, &[], copied),
        completed(9),
    ])
    .await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let properties = Properties {
        content_type: Some("x/y".to_owned()),
        ..Properties::default()
    };
    let upload = bucket
        .initiate(&op, &key("dir/x.bin"), &properties, Condition::None)
        .await
        .unwrap();
    assert_eq!(upload, self::upload());
    let body = Body::from(Bytes::from_static(b"first"));
    let first = bucket.upload_part(&op, &upload, 1, &body).await.unwrap();
    assert_eq!((first.size, first.crc64), (5, Some(crc(b"first"))));
    let source = source(100, 10..30);
    let copy = bucket.upload_part_copy(&op, &upload, 2, &source, None);
    let second = copy.await.unwrap();
    assert_eq!((second.size, second.crc64), (20, None));
    let parts = [first, second];
    let complete = bucket.complete(&op, &upload, &parts, Condition::ForbidOverwrite, None);
    let made = complete.await.unwrap();
    assert_eq!((made.etag.as_str(), made.crc64), ("B864-2", Some(9)));
    assert_eq!(
        server.lines(),
        [
            "POST /demo/dir/x.bin?uploads",
            "PUT /demo/dir/x.bin?partNumber=1&uploadId=0004B9",
            "PUT /demo/dir/x.bin?partNumber=2&uploadId=0004B9",
            "POST /demo/dir/x.bin?uploadId=0004B9",
        ]
    );
    let third = |name: &str| server.values(name).remove(2).unwrap();
    assert_eq!(third("x-oss-copy-source"), "/demo/dir/x.bin");
    assert_eq!(third("x-oss-copy-source-range"), "bytes=10-29");
    assert_eq!(third("x-oss-copy-source-if-match"), super::ETAG);
    assert_eq!(
        server.values("x-oss-forbid-overwrite")[3].as_deref(),
        Some("true")
    );
    assert_eq!(server.values("content-length")[0].as_deref(), Some("0"));
    let list = String::from_utf8(server.bodies().remove(3)).unwrap();
    assert!(
        list.contains("<PartNumber>2</PartNumber><ETag>\"C0\"</ETag>"),
        "{list}"
    );
}

#[tokio::test]
async fn a_whole_object_is_a_part_without_a_range() {
    let copied = Reply::new(
        200,
        &[],
        b"<CopyPartResult><ETag>\"C0\"</ETag></CopyPartResult>",
    );
    let server = Server::new([copied]).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let whole = source(7, 0..7);
    let upload = upload();
    let copy = bucket.upload_part_copy(&op, &upload, 1, &whole, Some(5));
    copy.await.unwrap();
    assert_eq!(server.values("x-oss-copy-source-range"), [None]);
    let nothing = source(7, 3..3);
    let copy = bucket.upload_part_copy(&op, &upload, 1, &nothing, None);
    assert_eq!(copy.await.unwrap_err().kind(), &Kind::Invalid);
}

#[tokio::test]
async fn a_part_with_a_wrong_checksum_is_sent_once_more() {
    let answer = |crc: u64| {
        let crc = crc.to_string();
        Reply::new(
            200,
            &[("ETag", "\"8B04\""), ("x-oss-hash-crc64ecma", &crc)],
            b"",
        )
    };
    let server = Server::new([answer(1), answer(crc(b"first"))]).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let body = Body::from(Bytes::from_static(b"first"));
    let upload = upload();
    bucket.upload_part(&op, &upload, 1, &body).await.unwrap();
    assert_eq!(bucket.metrics.oss.part_requests.get(), 2);
}

#[tokio::test]
async fn an_object_made_of_wrong_parts_is_corrupt_at_once() {
    let server = Server::new([completed(1)]).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let parts = [part(1, b"123")];
    let upload = upload();
    let complete = bucket.complete(&op, &upload, &parts, Condition::None, None);
    let error = complete.await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (&Kind::Corrupt, 1));
}

#[tokio::test]
async fn an_upload_that_is_not_there_is_given_up_already() {
    let empty = Reply::new(204, &[], b"");
    let server = Server::new([
        empty,
        Reply::error(404, "NoSuchUpload"),
        Reply::error(403, "AccessDenied"),
    ])
    .await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let upload = upload();
    bucket.abort(&op, &upload).await.unwrap();
    bucket.abort(&op, &upload).await.unwrap();
    let error = bucket.abort(&op, &upload).await.unwrap_err();
    let action = "oss:AbortMultipartUpload";
    assert_eq!(error.kind(), &Kind::Denied { action });
    assert_eq!(server.lines()[0], "DELETE /demo/dir/x.bin?uploadId=0004B9");
}

#[tokio::test]
async fn parts_and_uploads_are_listed_page_by_page() {
    let first = b"<L><IsTruncated>true</IsTruncated><NextPartNumberMarker>1</NextPartNumberMarker>\
        <Part><PartNumber>1</PartNumber><ETag>\"A\"</ETag><HashCrc64ecma>5</HashCrc64ecma><Size>7</Size></Part></L>";
    let last = b"<L><IsTruncated>false</IsTruncated></L>";
    let uploads = b"<L><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextKeyMarker>p%2Fa</NextKeyMarker>\
        <NextUploadIdMarker>02</NextUploadIdMarker><Upload><Key>p%2Fa</Key><UploadId>02</UploadId>\
        <Initiated>2024-05-21T10:39:29.000Z</Initiated></Upload></L>";
    let server = Server::new([
        Reply::new(200, &[], first),
        Reply::new(200, &[], last),
        Reply::new(200, &[], uploads),
        Reply::new(200, &[], last),
    ])
    .await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let upload = upload();
    let page = bucket.list_parts(&op, &upload, 0).await.unwrap();
    assert_eq!((page.parts[0].crc64, page.next), (Some(5), Some(1)));
    let page = bucket.list_parts(&op, &upload, 1).await.unwrap();
    assert_eq!((page.parts.len(), page.next), (0, None));
    let page = bucket.list_uploads(&op, "p/", None).await.unwrap();
    assert_eq!(page.uploads[0].key, "p/a");
    let page = bucket.list_uploads(&op, "p/", page.next.as_ref());
    assert_eq!(page.await.unwrap().next, None);
    assert_eq!(
        server.lines(),
        [
            "GET /demo/dir/x.bin?uploadId=0004B9&max-parts=1000&part-number-marker=0",
            "GET /demo/dir/x.bin?uploadId=0004B9&max-parts=1000&part-number-marker=1",
            "GET /demo/?uploads&encoding-type=url&max-uploads=1000&prefix=p%2F",
            "GET /demo/?uploads&encoding-type=url&max-uploads=1000&prefix=p%2F&key-marker=p%2Fa&upload-id-marker=02",
        ]
    );
}

#[tokio::test]
async fn what_is_too_much_for_oss_is_not_sent() {
    let server = Server::new([]).await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let upload = upload();
    let mebibyte = Bytes::from(vec![0; 1 << 20]);
    let body = Body::new(std::iter::repeat_n(mebibyte, 5121));
    let error = bucket.upload_part(&op, &upload, 1, &body).await;
    assert_eq!(error.unwrap_err().kind(), &Kind::TooLarge);
    let none = Properties::default();
    let put = bucket.put_object(&op, &upload.key, &body, &none, Condition::None);
    assert_eq!(put.await.unwrap_err().kind(), &Kind::TooLarge);
    let body = Body::new([]);
    for number in [0, 10_001] {
        let error = bucket.upload_part(&op, &upload, number, &body).await;
        assert_eq!(error.unwrap_err().kind(), &Kind::Invalid);
    }
    assert_eq!(server.heads().len(), 0);
}
