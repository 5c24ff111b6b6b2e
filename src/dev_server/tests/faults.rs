//! Faults as a client sees them.

use std::time::Instant;

use super::*;
use crate::dev_server::{Fault, Operation};

const SIZE: usize = 1 << 20;

async fn bench() -> Bench {
    let bench = Bench::start().await;
    let bytes: Vec<u8> = (0..SIZE).map(|at| at.to_le_bytes()[1]).collect();
    bench.server.put("bucket", "k", bytes).unwrap();
    bench
}

fn script(bench: &Bench, fault: Fault) {
    bench.server.faults().script(1, None, "", fault);
}

/// Body bytes that arrive before the connection ends, and whether it ended early.
async fn arriving(bench: &Bench) -> (usize, bool) {
    let mut response = bench.send(Method::GET, "/k", &[], "").await.unwrap();
    assert_eq!(response.headers()["content-length"], SIZE.to_string());
    let mut bytes = 0;
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes += chunk.len(),
            Ok(None) => return (bytes, false),
            Err(_) => return (bytes, true),
        }
    }
}

#[tokio::test]
async fn refusals_come_as_scripted_and_then_no_more() {
    let bench = bench().await;
    for (fault, status, code) in [
        (Fault::internal_error(), 500, "InternalError"),
        (Fault::service_unavailable(), 503, "ServiceUnavailable"),
        (Fault::throttled(), 503, "TotalQpsLimitExceeded"),
        (
            Fault::forbidden("SecurityTokenExpired"),
            403,
            "SecurityTokenExpired",
        ),
    ] {
        bench
            .server
            .faults()
            .script(1, Some(Operation::PutObject), "k", fault);
        assert_eq!(bench.get("/k", &[]).await.status, 200);
        // Larger than what a socket takes at once: the refusal arrives all the same.
        let got = bench.give(Method::PUT, "/k2", &[], vec![0; 8 << 20]).await;
        assert_eq!((got.status, got.element("Code")), (status, code));
        assert!(!got.header("x-oss-ec").is_empty());
    }
    assert_eq!(bench.server.get("bucket", "k2"), None);
    assert_eq!(bench.server.faults().injected(), 4);
    assert_eq!(bench.give(Method::PUT, "/k2", &[], "x").await.status, 200);
}

#[tokio::test]
async fn bodies_break_where_they_are_told_to() {
    let bench = bench().await;
    for after in [0, 1, 70_000, SIZE as u64 - 1] {
        script(&bench, Fault::CutBody { after });
        let expected = usize::try_from(after).unwrap();
        assert_eq!(arriving(&bench).await, (expected, true));
        script(&bench, Fault::ResetBody { after });
        let (bytes, early) = arriving(&bench).await;
        // A reset may overtake bytes that were sent.
        assert!(early && bytes <= expected, "{bytes} of {expected}");
    }
    assert_eq!(arriving(&bench).await, (SIZE, false));
}

#[tokio::test]
async fn a_reset_before_the_answer_has_no_effect_and_a_lost_answer_has() {
    let bench = bench().await;
    script(&bench, Fault::ResetBeforeAnswer);
    assert!(bench.send(Method::PUT, "/new", &[], "x").await.is_err());
    assert_eq!(bench.server.get("bucket", "new"), None);
    script(&bench, Fault::AnswerLost);
    assert!(bench.send(Method::PUT, "/new", &[], "x").await.is_err());
    assert_eq!(bench.server.get("bucket", "new"), Some(Bytes::from("x")));
}

#[tokio::test]
async fn what_is_stalled_goes_on_when_it_is_released() {
    let bench = bench().await;
    let faults = bench.server.faults();
    for fault in [Fault::StallAnswer, Fault::StallBody { after: 5000 }] {
        script(&bench, fault);
        let release = async {
            until(|| faults.stalled() == 1).await;
            faults.release();
        };
        let (arrived, ()) = tokio::join!(arriving(&bench), release);
        assert_eq!(arrived, (SIZE, false));
    }
    assert_eq!(faults.stalled(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_stall() {
    let bench = bench().await;
    let faults = bench.server.faults();
    script(&bench, Fault::StallAnswer);
    let leave = async {
        tokio::select! {
            _ = bench.get("/k", &[]) => panic!("nobody released it"),
            () = until(|| faults.stalled() == 1) => {}
        }
    };
    leave.await;
    until(|| faults.stalled() == 0).await;
}

#[tokio::test]
async fn lies_are_told_on_demand() {
    let bench = bench().await;
    let range = [("range", "bytes=5-9")];
    let truth = bench.get("/k", &range).await;
    script(&bench, Fault::IgnoreRange);
    let got = bench.get("/k", &range).await;
    assert_eq!((got.status, got.body.len()), (200, SIZE));
    script(&bench, Fault::WrongContentRange);
    let got = bench.get("/k", &range).await;
    assert_eq!(got.header("content-range"), format!("bytes 6-10/{SIZE}"));
    script(&bench, Fault::WrongETag);
    let got = bench.get("/k", &range).await;
    assert_ne!(got.header("etag"), truth.header("etag"));
    script(&bench, Fault::WrongCrc);
    let got = bench.get("/k", &range).await;
    let crc = "x-oss-hash-crc64ecma";
    assert_ne!(got.header(crc), truth.header(crc));
    script(&bench, Fault::FlipByte { at: 2 });
    let got = bench.get("/k", &range).await;
    let differs: Vec<bool> = (0..5).map(|at| got.body[at] != truth.body[at]).collect();
    assert_eq!(differs, [false, false, true, false, false]);
    let got = bench.get("/k", &range).await;
    assert_eq!(
        (&got.body, got.header(crc)),
        (&truth.body, truth.header(crc))
    );
}

#[tokio::test]
async fn latency_and_bandwidth_are_those_of_the_line() {
    let bench = bench().await;
    let faults = bench.server.faults();
    faults.set_first_byte(Duration::from_millis(20));
    let begin = Instant::now();
    for _ in 0..3 {
        bench.ask(Method::HEAD, "/k", &[]).await;
    }
    assert!(begin.elapsed() >= Duration::from_millis(60));
    script(&bench, Fault::Delay(Duration::from_millis(30)));
    let begin = Instant::now();
    let got = bench.ask(Method::HEAD, "/k", &[]).await;
    assert!(begin.elapsed() >= Duration::from_millis(50));
    assert_eq!(got.header("x-oss-qos-delay-time"), "30");
    faults.set_first_byte(Duration::ZERO);
    faults.set_bandwidth(Some(5 << 20));
    let begin = Instant::now();
    assert_eq!(bench.get("/k", &[]).await.body.len(), SIZE);
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(180), "{took:?}");
    let begin = Instant::now();
    let put = bench.give(Method::PUT, "/k", &[], vec![1; SIZE]).await;
    let took = begin.elapsed();
    assert_eq!(put.status, 200);
    assert!(took >= Duration::from_millis(180), "{took:?}");
    faults.set_bandwidth(None);
}

#[tokio::test]
async fn a_dropped_server_ends_its_connections() {
    let bench = bench().await;
    let address = bench.server.address();
    script(&bench, Fault::StallBody { after: 10 });
    let mut response = bench.send(Method::GET, "/k", &[], "").await.unwrap();
    until(|| bench.server.faults().stalled() == 1).await;
    drop(bench.server);
    while let Ok(chunk) = response.chunk().await {
        assert!(chunk.is_some(), "the body cannot be whole");
    }
    tokio::time::timeout(DEADLINE, async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the port is closed");
}
