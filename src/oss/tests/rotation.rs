//! Credentials that are refused and replaced, by a service that gives out one set after the other.

use std::time::Duration;

use super::server::{Reply, Server, error_xml};
use super::{LONG_HOLD, RETRY, SHORT_HOLD, bucket_with, key, served, source};
use crate::op::Op;
use crate::oss::{Kind, ListRequest, Retry};

/// The answers of a service that gives the sets `STS.0`, `STS.1`, …
fn sets(count: usize) -> Vec<Reply> {
    let set = |index| {
        let body = format!(
            "{{\"Code\":\"Success\",\"AccessKeyId\":\"STS.{index}\",\"AccessKeySecret\":\"secret{index}\",\
             \"SecurityToken\":\"token{index}\",\"Expiration\":\"20{}-01-01T00:00:00Z\"}}",
            50 + index % 40
        );
        Reply::new(
            200,
            &[("Content-Type", "application/json")],
            body.as_bytes(),
        )
    };
    (0..count).map(set).collect()
}

fn page() -> Reply {
    Reply::new(200, &[], b"<L><IsTruncated>false</IsTruncated></L>")
}

/// The tokens that requests carried.
fn tokens(server: &Server) -> Vec<String> {
    server
        .values("x-oss-security-token")
        .into_iter()
        .flatten()
        .collect()
}

#[tokio::test]
async fn a_refused_set_is_replaced_and_the_request_signed_with_the_new_one() {
    for code in [
        "SecurityTokenExpired",
        "InvalidSecurityToken",
        "InvalidAccessKeyId",
        "AccessKeyIdAndSecurityTokenNotMatch",
        "SignatureDoesNotMatch",
    ] {
        let service = Server::new(sets(2)).await;
        let server = Server::new([Reply::error(403, code), page(), page()]).await;
        let bucket = bucket_with(&server, RETRY, served(&service.endpoint, LONG_HOLD));
        let op = Op::background("test");
        let request = ListRequest::directory("");
        bucket.list(&op, &request).await.unwrap();
        bucket.list(&op, &request).await.unwrap();
        assert_eq!(tokens(&server), ["token0", "token1", "token1"], "{code}");
        for (index, signed) in server
            .values("authorization")
            .into_iter()
            .flatten()
            .enumerate()
        {
            assert!(
                signed.contains(&format!("STS.{}/", index.min(1))),
                "{signed}"
            );
        }
    }
}

#[tokio::test]
async fn a_storm_of_rotations_is_survived() {
    let service = Server::new(sets(5)).await;
    let refused = (0..4).map(|_| Reply::error(403, "SecurityTokenExpired"));
    let server = Server::new(refused.chain([page()])).await;
    let bucket = bucket_with(&server, RETRY, served(&service.endpoint, LONG_HOLD));
    let request = ListRequest::directory("");
    bucket
        .list(&Op::background("test"), &request)
        .await
        .unwrap();
    let expected: Vec<String> = (0..5).map(|index| format!("token{index}")).collect();
    assert_eq!(tokens(&server), expected, "each set was tried once");
}

#[tokio::test]
async fn a_service_of_dead_sets_is_given_up() {
    let service = Server::new(sets(2000)).await;
    let server = Server::always(Reply::error(403, "SecurityTokenExpired")).await;
    let retry = Retry {
        no_progress: Duration::from_millis(200),
        backoff_base: Duration::from_millis(100),
        backoff_max: Duration::from_millis(200),
        ..RETRY
    };
    let bucket = bucket_with(&server, retry, served(&service.endpoint, LONG_HOLD));
    let request = ListRequest::directory("");
    let error = bucket
        .list(&Op::background("test"), &request)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &Kind::CredentialsRefused);
    assert!(error.attempts() > 1);
}

#[tokio::test]
async fn a_signature_that_never_matches_is_not_blamed_on_the_credentials_for_ever() {
    let service = Server::new(sets(50)).await;
    let server = Server::always(Reply::error(403, "SignatureDoesNotMatch")).await;
    let bucket = bucket_with(&server, RETRY, served(&service.endpoint, LONG_HOLD));
    let request = ListRequest::directory("");
    let error = bucket
        .list(&Op::background("test"), &request)
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.attempts()),
        (&Kind::CredentialsRefused, 4)
    );
}

#[tokio::test]
async fn a_set_that_dies_while_a_body_breaks_is_replaced_in_the_middle() {
    let all: Vec<u8> = (0..200).collect();
    let service = Server::new(sets(2)).await;
    let server = Server::new([
        Reply::part(&all, 0..200).cut(100),
        Reply::error(403, "InvalidAccessKeyId"),
        Reply::part(&all, 100..200),
    ])
    .await;
    let bucket = bucket_with(&server, RETRY, served(&service.endpoint, LONG_HOLD));
    let op = Op::background("test");
    let mut get = bucket.get(&op, &source(200, 0..200)).await.unwrap();
    let mut read = Vec::new();
    while let Some(chunk) = get.chunk().await.unwrap() {
        read.extend_from_slice(&chunk);
    }
    assert_eq!(read, all);
    assert_eq!(tokens(&server), ["token0", "token0", "token1"]);
}

#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let service = Server::always(Reply::new(500, &[], b"no")).await;
    let server = Server::always(page()).await;
    let bucket = bucket_with(&server, RETRY, served(&service.endpoint, SHORT_HOLD));
    let error = bucket
        .head(&Op::background("test"), &key("k"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.attempts()),
        (&Kind::CredentialsGone, 0)
    );
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(server.heads().len(), 0, "never anonymous");
}

#[tokio::test]
async fn who_is_cancelled_does_not_wait_for_credentials() {
    let service = Server::always(Reply::raw("").stalling()).await;
    let server = Server::new([Reply::new(
        403,
        &[],
        error_xml("SecurityTokenExpired").as_bytes(),
    )])
    .await;
    let bucket = bucket_with(&server, RETRY, served(&service.endpoint, LONG_HOLD));
    let op = Op::background("test");
    let key = key("k");
    let (error, ()) = tokio::join!(bucket.head(&op, &key), async { op.cancel() });
    assert_eq!(error.unwrap_err().kind(), &Kind::Cancelled);
}
