//! From here to OSS: credentials, names, the connection, the clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};
use http::{HeaderMap, Method, header};
use jiff::Timestamp;

use super::report::Report;
use crate::cli::config::Connection;
use crate::cli::{connect, preflight};
use crate::credentials::{Outlook, Provider};
use crate::metrics::Metrics;
use crate::oss::Addressing;
use crate::transport;

/// How long one step of the way may take.
const STEP_MAX: Duration = Duration::from_secs(10);

/// A set that ends so soon should have been renewed by now.
const SOON_SECONDS: i64 = 120;

/// How far the clock may be off before it is worth a word: certificates and logs suffer first.
const SKEW_SECONDS_MAX: i64 = 60;

/// From how far on OSS refuses requests (`RequestTimeTooSkewed`).
const SKEW_SECONDS_FATAL: i64 = 15 * 60;

/// An answer that takes longer than this from a near OSS is slow.
const ANSWER_SLOW: Duration = Duration::from_millis(500);

/// The source of the credentials, and how long its set lives.
pub(super) async fn credentials(
    report: &mut Report,
    connection: &Connection,
    metrics: &Arc<Metrics>,
) -> Option<Arc<Provider>> {
    let provider = match preflight::credentials(connection, metrics).await {
        Ok(provider) => provider,
        Err(error) => {
            report.check("credentials", Err(error));
            return None;
        }
    };
    let Outlook {
        origin,
        key,
        expires,
        ..
    } = provider.outlook();
    let origin = origin.unwrap_or_default();
    let key = key.unwrap_or_default();
    let left = expires.map(|end| end.as_second() - Timestamp::now().as_second());
    match left {
        None => report.warn(
            "credentials",
            format!("{origin}, key {key}, and nobody says when they end: a permanent key, or a copied set that nobody renews; let a role be injected instead"),
        ),
        Some(left) if left < SOON_SECONDS => report.warn(
            "credentials",
            format!("{origin}, key {key}, ends in {left} s: their source should have newer ones by now"),
        ),
        Some(left) => {
            let said = format!("{origin}, key {key}, ends in {} min", left / 60);
            report.check("credentials", Ok(said));
        }
    }
    Some(provider)
}

/// Names, the connection, TLS, the clock, and whether the endpoint is internal. `None` if there is no way.
pub(super) async fn to_oss(
    report: &mut Report,
    connection: &Connection,
) -> Option<transport::Client> {
    let endpoint = &connection.endpoint;
    names(report, connection).await;
    let transport = match connect::transport(connection) {
        Ok(transport) => transport,
        Err(error) => {
            report.check("connection", Err(error));
            report.skip("clock", "only an answer of OSS tells the time");
            return None;
        }
    };
    let begun = Instant::now();
    let request = transport::Request {
        method: Method::GET,
        url: format!("{endpoint}/"),
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
    };
    // Without credentials: what is refused proves the way as well as what is answered.
    let answer = tokio::time::timeout(STEP_MAX, transport.send(request)).await;
    let response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            let remedy = remedy(connection, &error.to_string());
            report.check("connection", Err(Error::new(error).context(remedy)));
            report.skip("clock", "only an answer of OSS tells the time");
            return None;
        }
        Err(_) => {
            let late = anyhow!(
                "no answer from {endpoint} within {STEP_MAX:?}; look at firewalls, routes and proxies"
            );
            report.check("connection", Err(late));
            report.skip("clock", "only an answer of OSS tells the time");
            return None;
        }
    };
    let took = begun.elapsed();
    let over = if endpoint.is_https() { "HTTPS" } else { "HTTP" };
    let said = format!(
        "{endpoint} answers over {over} after {} ms",
        took.as_millis()
    );
    if took > ANSWER_SLOW {
        report.warn(
            "connection",
            format!("{said}, which is slow; use the endpoint of this machine's region"),
        );
    } else {
        report.check("connection", Ok(said));
    }
    clock(report, response.headers());
    place(report, connection);
    Some(transport)
}

async fn names(report: &mut Report, connection: &Connection) {
    let endpoint = &connection.endpoint;
    let host = match endpoint.addressing(connection.path_style) {
        _ if endpoint.is_ip() => {
            return report.check("names", Ok(format!("{} is an address", endpoint.host())));
        }
        Addressing::VirtualHosted => format!("{}.{}", connection.bucket, endpoint.host()),
        Addressing::Path => endpoint.host().to_owned(),
    };
    let looking = tokio::net::lookup_host((host.as_str(), endpoint.port().unwrap_or(443)));
    let found: Result<Vec<String>> = match tokio::time::timeout(STEP_MAX, looking).await {
        Ok(found) => found
            .map(|addresses| addresses.map(|address| address.ip().to_string()).collect())
            .with_context(|| format!("{host} has no address; check --endpoint and the bucket's name, /etc/resolv.conf, and that an internal name is asked for inside its VPC")),
        Err(_) => Err(anyhow!("{host}: the name server does not answer within {STEP_MAX:?}; check /etc/resolv.conf")),
    };
    report.check(
        "names",
        found.map(|addresses| format!("{host} is {}", addresses.join(", "))),
    );
}

/// What to do about a connection that did not come about.
fn remedy(connection: &Connection, reason: &str) -> String {
    let endpoint = &connection.endpoint;
    let reason = reason.to_lowercase();
    if reason.contains("certificate") {
        format!(
            "the certificate of {endpoint} is not trusted; install ca-certificates, look at the clock, or name the proxy's certificate by SSL_CERT_FILE"
        )
    } else if reason.contains("refused") {
        format!("nobody listens at {endpoint}; check --endpoint, its port and its scheme")
    } else {
        format!(
            "no way to {endpoint}; check --endpoint, name resolution, firewalls and HTTPS_PROXY"
        )
    }
}

/// This machine's clock beside that of OSS.
fn clock(report: &mut Report, headers: &HeaderMap) {
    let date = headers
        .get(header::DATE)
        .and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let Some(date) = date else {
        return report.skip("clock", "the answer has no Date");
    };
    let off = Timestamp::now().as_second() - date.timestamp().as_second();
    let side = if off > 0 { "ahead of" } else { "behind" };
    let seconds = off.abs();
    if seconds > SKEW_SECONDS_FATAL {
        let said = format!(
            "the clock is {seconds} s {side} that of OSS, which refuses such requests; a mount signs with the time of OSS"
        );
        report.warn("clock", said);
    } else if seconds > SKEW_SECONDS_MAX {
        report.warn(
            "clock",
            format!("the clock is {seconds} s {side} that of OSS; set it"),
        );
    } else {
        report.check("clock", Ok(format!("within {seconds} s of that of OSS")));
    }
}

/// Whether traffic stays inside.
fn place(report: &mut Report, connection: &Connection) {
    let endpoint = &connection.endpoint;
    if endpoint.is_internal() {
        report.check("endpoint", Ok(format!("{} is internal", endpoint.host())));
    } else if let Some(region) = endpoint.region() {
        report.warn(
            "endpoint",
            format!("{} is a public endpoint: slower, charged by traffic, and refused to accounts that are new; in this region pass --endpoint oss-{region}-internal.aliyuncs.com", endpoint.host()),
        );
    } else {
        report.check(
            "endpoint",
            Ok(format!(
                "{} is none of Alibaba Cloud's regional ones",
                endpoint.host()
            )),
        );
    }
}

/// Whether OSS asked to slow down while all this was asked.
pub(super) fn throttling(report: &mut Report, metrics: &Metrics) {
    let (throttled, retries) = (metrics.oss.throttled.get(), metrics.oss.retries.get());
    let asked = metrics.oss.get_requests.get()
        + metrics.oss.head_requests.get()
        + metrics.oss.list_requests.get()
        + metrics.oss.put_requests.get()
        + metrics.oss.part_requests.get()
        + metrics.oss.delete_requests.get()
        + metrics.oss.other_requests.get();
    if throttled > 0 {
        let said = format!(
            "OSS asked to slow down {throttled} times in {asked} requests: others use up the bucket's limits; --max-qps and --max-bandwidth keep a mount's share small"
        );
        report.warn("throttling", said);
    } else if retries > 0 {
        report.warn(
            "throttling",
            format!("{retries} of {asked} requests had to be repeated; look at the network"),
        );
    } else {
        report.check("throttling", Ok(format!("none in {asked} requests")));
    }
}
