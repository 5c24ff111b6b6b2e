//! Writes that succeeded although their answer was lost, and those that did not.

use bytes::Bytes;

use super::multipart::{completed, crc, part, upload};
use super::server::{Reply, Server};
use super::{RETRY, bucket, key};
use crate::object::{ETag, Version};
use crate::op::Op;
use crate::oss::{Body, Condition, CopyProperties, CopySource, Kind, Properties, Stored, Upload};

const FORBID: Condition = Condition::ForbidOverwrite;

/// The request was read, and the connection ends.
fn lost() -> Reply {
    Reply::raw("")
}

/// The answer to a HEAD of an object.
fn head(size: usize, crc: u64, etag: &str, meta: &str) -> Reply {
    let (size, crc) = (size.to_string(), crc.to_string());
    let headers = [
        ("Content-Length", size.as_str()),
        ("ETag", etag),
        ("Last-Modified", super::MODIFIED),
        ("x-oss-hash-crc64ecma", &crc),
        ("x-oss-meta-by", meta),
    ];
    Reply::new(200, &headers, b"")
}

fn absent() -> Reply {
    Reply::new(404, &[], b"")
}

struct Case {
    replies: Vec<Reply>,
    /// `None`: success.
    kind: Option<Kind>,
}

/// A case by what the server answers, and by how it has to end.
fn case(replies: impl Into<Vec<Reply>>, kind: Option<Kind>) -> Case {
    Case {
        replies: replies.into(),
        kind,
    }
}

/// Runs each case on a server of its own; all its answers have to be asked for.
async fn run<T: std::fmt::Debug>(
    cases: Vec<Case>,
    what: impl AsyncFn(&crate::oss::Bucket, &Op) -> Result<T, crate::oss::Error>,
) {
    for (index, case) in cases.into_iter().enumerate() {
        let asked = case.replies.len();
        let server = Server::new(case.replies).await;
        let bucket = bucket(&server, RETRY);
        let result = what(&bucket, &Op::background("test")).await;
        let kind = result.as_ref().err().map(|error| error.kind().clone());
        assert_eq!(kind, case.kind, "case {index}: {result:?}");
        assert_eq!(server.heads().len(), asked, "case {index}");
        let recognised = bucket.metrics.oss.recognised.get();
        assert!(recognised == 0 || result.is_ok(), "case {index}");
    }
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost() {
    let parts = [part(1, b"123"), part(2, b"45")];
    let gone = || Reply::error(404, "NoSuchUpload");
    let whole = crc(b"12345");
    let good = || head(5, whole, "\"ANY-2\"", "x");
    let other = || head(5, 1, "\"ANY-2\"", "x");
    run(
        vec![
            case([lost(), gone(), good()], None),
            case([Reply::error(500, "InternalError"), gone(), good()], None),
            // Nothing was lost here, but perhaps in an earlier call: an object that has all the bytes is the object.
            case([gone(), good()], None),
            case([gone(), other()], Some(Kind::NoSuchUpload)),
            case([gone(), absent()], Some(Kind::NoSuchUpload)),
            // OSS may still be at work: it is looked a few times.
            case([lost(), gone(), absent(), other(), good()], None),
            case(
                [lost(), gone(), absent(), absent(), absent(), absent()],
                Some(Kind::NoSuchUpload),
            ),
            // The wrong length is another object, whatever its checksum.
            case(
                [gone(), head(6, whole, "\"ANY-2\"", "x")],
                Some(Kind::NoSuchUpload),
            ),
            case([lost(), completed(whole)], None),
            case(
                [gone(), Reply::error(403, "AccessDenied")],
                Some(Kind::Denied {
                    action: "oss:GetObject",
                }),
            ),
        ],
        async |bucket, op| {
            let upload = upload();
            bucket
                .complete(op, &upload, &parts, Condition::None, None)
                .await
        },
    )
    .await;
}

#[tokio::test]
async fn a_completion_without_checksums_is_known_by_its_etag() {
    let mut parts = [part(1, b"123"), part(2, b"45")];
    parts[1].crc64 = None;
    let gone = || Reply::error(404, "NoSuchUpload");
    let etag = "\"F8EFCD8EBFA9C8D6D6B5E0C2D2A9E3A1-2\"";
    let right = format!("\"{}-2\"", {
        use md5::Digest as _;
        let one = hex::decode("202CB962AC59075B964B07152D234B70").unwrap();
        hex::encode_upper(md5::Md5::digest([one.clone(), one].concat()))
    });
    run(
        vec![
            case([lost(), gone(), head(5, 9, &right, "x")], None),
            case([gone(), head(5, 9, etag, "x")], Some(Kind::NoSuchUpload)),
        ],
        async |bucket, op| {
            let upload: Upload = upload();
            bucket
                .complete(op, &upload, &parts, Condition::None, None)
                .await
        },
    )
    .await;
}

#[tokio::test]
async fn a_completion_that_must_not_overwrite() {
    let parts = [part(1, b"123")];
    let exists = || Reply::error(409, "FileAlreadyExists");
    let good = || head(3, crc(b"123"), "\"ANY-1\"", "x");
    run(
        vec![
            case([lost(), exists(), good()], None),
            // Somebody else's, though it is equal.
            case([exists()], Some(Kind::AlreadyExists)),
            case(
                [lost(), exists(), head(3, 1, "\"ANY-1\"", "x")],
                Some(Kind::AlreadyExists),
            ),
        ],
        async |bucket, op| {
            let upload = upload();
            bucket.complete(op, &upload, &parts, FORBID, None).await
        },
    )
    .await;
}

#[tokio::test]
async fn a_put_that_must_not_overwrite() {
    let exists = || Reply::error(409, "FileAlreadyExists");
    let good = || head(3, crc(b"123"), "\"E\"", "me");
    let properties = Properties {
        user: [("by".to_owned(), "me".to_owned())].into(),
        ..Properties::default()
    };
    run(
        vec![
            case([lost(), exists(), good()], None),
            case([exists()], Some(Kind::AlreadyExists)),
            case(
                [lost(), exists(), head(3, crc(b"123"), "\"E\"", "you")],
                Some(Kind::AlreadyExists),
            ),
            case(
                [lost(), exists(), head(3, 1, "\"E\"", "me")],
                Some(Kind::AlreadyExists),
            ),
            case([lost(), exists(), absent()], Some(Kind::AlreadyExists)),
            // Throttled is served later, or not at all.
            case(
                [
                    Reply::error(503, "TotalQpsLimitExceeded"),
                    exists(),
                    head(3, 1, "\"E\"", "me"),
                ],
                Some(Kind::AlreadyExists),
            ),
        ],
        async |bucket, op| -> Result<Stored, _> {
            let body = Body::from(Bytes::from_static(b"123"));
            bucket
                .put_object(op, &key("k"), &body, &properties, FORBID)
                .await
        },
    )
    .await;
}

#[tokio::test]
async fn an_append() {
    let moved = || {
        let body = super::server::error_xml("PositionNotEqualToLength");
        Reply::new(409, &[("x-oss-next-append-position", "9")], body.as_bytes())
    };
    let made = {
        let crc = crc(b"1234567").to_string();
        Reply::new(
            200,
            &[
                ("x-oss-next-append-position", "7"),
                ("x-oss-hash-crc64ecma", &crc),
                ("ETag", "\"E\""),
            ],
            b"",
        )
    };
    let good = || head(7, crc(b"1234567"), "\"E\"", "x");
    let append = async |bucket: &crate::oss::Bucket, op: &Op, before| {
        let body = Body::from(Bytes::from_static(b"567"));
        bucket
            .append_object(op, &key("k"), 4, &body, before, &Properties::default())
            .await
    };
    run(
        vec![
            case([made.clone()], None),
            case([lost(), moved(), good()], None),
            case([moved()], Some(Kind::Changed)),
            // Another writer appended before us, or after us.
            case(
                [lost(), moved(), head(7, 1, "\"E\"", "x")],
                Some(Kind::Changed),
            ),
            case(
                [lost(), moved(), head(9, 1, "\"E\"", "x")],
                Some(Kind::Changed),
            ),
            case(
                [Reply::error(409, "ObjectNotAppendable")],
                Some(Kind::Unsupported),
            ),
        ],
        async |bucket, op| append(bucket, op, Some(crc(b"1234"))).await,
    )
    .await;
    // Without the checksum of what was there before nothing can be recognised, nor verified.
    run(
        vec![
            case([made.clone()], None),
            case([lost(), moved(), good()], Some(Kind::Changed)),
        ],
        async |bucket, op| append(bucket, op, None).await,
    )
    .await;
    // What was appended wrong cannot be appended again.
    run(
        vec![case([made], Some(Kind::Corrupt))],
        async |bucket, op| append(bucket, op, Some(5)).await,
    )
    .await;
}

#[tokio::test]
async fn an_append_says_where_and_what() {
    let crc = crc(b"123").to_string();
    let headers = [
        ("x-oss-next-append-position", "3"),
        ("x-oss-hash-crc64ecma", crc.as_str()),
    ];
    let server = Server::new([
        Reply::new(200, &[("x-oss-next-append-position", "4")], b""),
        Reply::new(200, &headers, b""),
    ])
    .await;
    let bucket = bucket(&server, RETRY);
    let op = Op::background("test");
    let body = Body::from(Bytes::from_static(b"123"));
    let properties = Properties {
        content_type: Some("x/y".to_owned()),
        ..Properties::default()
    };
    let key = key("k");
    let append = bucket.append_object(&op, &key, 0, &body, None, &properties);
    let made = append.await.unwrap();
    assert_eq!((made.next_position, made.etag), (3, None));
    assert_eq!(server.lines()[1], "POST /demo/k?append&position=0");
    assert_eq!(server.values("content-type")[0].as_deref(), Some("x/y"));
    assert_eq!(
        bucket.metrics.oss.lies.get(),
        1,
        "another position than the end"
    );
}

#[tokio::test]
async fn a_copy_whose_source_went_away() {
    let copied = || {
        let body = b"<CopyObjectResult><ETag>\"SRC\"</ETag></CopyObjectResult>";
        Reply::new(200, &[], body)
    };
    let gone = || Reply::error(404, "NoSuchKey");
    let changed = || Reply::error(412, "PreconditionFailed");
    let good = || head(3, 77, "\"SRC\"", "x");
    let version = Version::new(key("from"), ETag::new("SRC"), 3);
    let keep = Properties::default();
    run(
        vec![
            case([copied()], None),
            case([lost(), copied()], None),
            case([lost(), gone(), good()], None),
            case([lost(), changed(), good()], None),
            case([gone()], Some(Kind::NotFound)),
            case([changed()], Some(Kind::Changed)),
            case([lost(), gone(), absent()], Some(Kind::NotFound)),
            case(
                [lost(), gone(), head(3, 77, "\"OTHER\"", "x")],
                Some(Kind::NotFound),
            ),
            case(
                [lost(), gone(), head(4, 77, "\"SRC\"", "x")],
                Some(Kind::NotFound),
            ),
            case([Reply::error(400, "EntityTooLarge")], Some(Kind::TooLarge)),
            case([Reply::error(409, "FileImmutable")], Some(Kind::Immutable)),
        ],
        async |bucket, op| {
            let source = CopySource::from(&*version);
            let keep = CopyProperties::Keep(&keep);
            bucket
                .copy_object(op, source, &key("to"), keep, Condition::None)
                .await
        },
    )
    .await;
}

#[tokio::test]
async fn a_copy_that_must_not_overwrite() {
    let exists = || Reply::error(409, "FileAlreadyExists");
    let source_key = key("from");
    let replace = Properties {
        user: [("by".to_owned(), "me".to_owned())].into(),
        ..Properties::default()
    };
    run(
        vec![
            // OSS may give a copy an ETag of its own: then length and checksum decide.
            case([lost(), exists(), head(3, 77, "\"NEW\"", "me")], None),
            case(
                [lost(), exists(), head(3, 77, "\"NEW\"", "you")],
                Some(Kind::AlreadyExists),
            ),
            case(
                [lost(), exists(), head(3, 78, "\"NEW\"", "me")],
                Some(Kind::AlreadyExists),
            ),
            case([exists()], Some(Kind::AlreadyExists)),
        ],
        async |bucket, op| {
            let source = CopySource {
                key: &source_key,
                if_match: None,
                size: Some(3),
                crc64: Some(77),
            };
            let replace = CopyProperties::Replace(&replace);
            bucket
                .copy_object(op, source, &key("to"), replace, FORBID)
                .await
        },
    )
    .await;
}

#[tokio::test]
async fn a_link_that_must_not_overwrite() {
    let exists = || Reply::error(409, "FileAlreadyExists");
    let link = |target: &str| {
        Reply::new(
            200,
            &[("x-oss-symlink-target", target), ("ETag", "\"L\"")],
            b"",
        )
    };
    run(
        vec![
            case([link("x")], None),
            case([lost(), exists(), link("to%2Fhere")], None),
            case(
                [lost(), exists(), link("to%2Fthere")],
                Some(Kind::AlreadyExists),
            ),
            case(
                [lost(), exists(), Reply::error(400, "InvalidTargetType")],
                Some(Kind::AlreadyExists),
            ),
            case([exists()], Some(Kind::AlreadyExists)),
        ],
        async |bucket, op| {
            bucket
                .put_symlink(
                    op,
                    &key("link"),
                    &key("to/here"),
                    &Properties::default(),
                    FORBID,
                )
                .await
        },
    )
    .await;
}
