//! A bucket against a server that says what it is told to say.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod haste;
mod multipart;
mod others;
mod recognition;
mod refusals;
mod rotation;
mod server;
mod streams;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use server::Server;

use super::{Bucket, Config, Retry};
use crate::credentials::{self, Environment, Provider};
use crate::metrics::Metrics;
use crate::object::{ETag, ObjectKey, Source, Version};
use crate::transport;

const BUCKET: &str = "demo";
const ETAG: &str = "\"5B3C1A2E\"";
const MODIFIED: &str = "Tue, 21 May 2024 10:39:29 GMT";

/// Patient enough to pass under load, impatient enough for a test.
const RETRY: Retry = Retry {
    attempt_timeout: Duration::from_secs(5),
    idle_timeout: Duration::from_secs(5),
    no_progress: Duration::from_secs(20),
    backoff_base: Duration::from_millis(1),
    throttle_base: Duration::from_millis(2),
    backoff_max: Duration::from_millis(20),
    few_attempts: 4,
};

/// For tests in which no other set comes.
const SHORT_HOLD: Duration = Duration::from_millis(300);
/// For tests in which one does, after the provider's pauses.
const LONG_HOLD: Duration = Duration::from_secs(30);

/// Always the same set, without an end.
fn fixed() -> Arc<Provider> {
    let environment = Environment {
        access_key_id: Some("STS.one".to_owned()),
        access_key_secret: Some("S3cretOfTheSet".into()),
        security_token: Some("T0kenOfTheSet".into()),
        ..Environment::default()
    };
    provider(credentials::Source::Env, environment, SHORT_HOLD)
}

/// What a service at `endpoint` gives.
fn served(endpoint: &str, hold: Duration) -> Arc<Provider> {
    let source = credentials::Source::Uri(format!("{endpoint}/role"));
    provider(source, Environment::default(), hold)
}

fn provider(
    source: credentials::Source,
    environment: Environment,
    hold: Duration,
) -> Arc<Provider> {
    let mut config = credentials::Config::new(source, environment);
    config.hold = hold;
    Provider::new(config, Arc::default()).unwrap()
}

fn bucket(server: &Server, retry: Retry) -> Bucket {
    bucket_with(server, retry, fixed())
}

/// With a limit of bytes per second.
fn slow_bucket(server: &Server, retry: Retry, bytes_per_second: u64) -> Bucket {
    let mut bucket = bucket(server, retry);
    bucket.limits = Arc::new(super::limits::Limits::new(None, Some(bytes_per_second)));
    bucket
}

fn bucket_with(server: &Server, retry: Retry, credentials: Arc<Provider>) -> Bucket {
    let config = Config {
        region: Some("cn-hangzhou".to_owned()),
        retry,
        ..Config::new(server.endpoint.parse().unwrap(), BUCKET)
    };
    let transport = transport::Client::new(&transport::Config {
        proxy: transport::Proxy::Never,
        ..transport::Config::default()
    });
    let metrics = Arc::new(Metrics::default());
    Bucket::new(config, transport.unwrap(), credentials, metrics).unwrap()
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

/// Bytes of a version of `key` that has `size` bytes.
fn source(size: u64, range: std::ops::Range<u64>) -> Source {
    Source {
        version: Version::new(key("dir/x.bin"), ETag::new(ETAG), size),
        range,
    }
}
