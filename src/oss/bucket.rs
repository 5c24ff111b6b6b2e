//! One bucket, and how a request to it is put into HTTP.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};
use jiff::Timestamp;

use super::body::Body;
use super::endpoint::is_bucket_name;
use super::haste::Haste;
use super::limits::Limits;
use super::operation::Operation;
use super::sign::{Signer, Target, encode_key, encode_param};
use super::verdict::Failure;
use super::{Config, Error, Retry, SignatureVersion};
use crate::credentials::{Credentials, Provider};
use crate::metrics::Metrics;
use crate::object::ObjectKey;
use crate::transport;

/// One bucket of OSS. Shared as `Arc<Bucket>`; all methods take `&self`.
#[derive(Debug)]
pub struct Bucket {
    pub(super) name: String,
    /// Everything of a URL before the key, without the slash between.
    base: String,
    pub(super) retry: Retry,
    signer: Signer,
    pub(super) transport: transport::Client,
    pub(super) credentials: Arc<Provider>,
    pub(super) metrics: Arc<Metrics>,
    /// The server's clock minus ours, in milliseconds; 0 until a refusal showed that it matters.
    clock_offset_ms: AtomicI64,
    pub(super) limits: Arc<Limits>,
    haste: Mutex<Haste>,
}

/// What is asked, before it is signed.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    /// Not encoded; an empty value stands for a bare name.
    pub(super) params: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
    /// `None` for a method that has none; a PUT or POST has one, if only an empty one.
    pub(super) body: Option<Body>,
}

impl Request {
    /// Without headers and body.
    pub(super) fn new(method: Method, params: Vec<(&'static str, String)>) -> Self {
        Self {
            method,
            params,
            headers: HeaderMap::new(),
            body: None,
        }
    }
}

impl Bucket {
    /// Opens a bucket; nothing is sent.
    ///
    /// # Errors
    /// [`super::Kind::Invalid`] if the name is no bucket name, or if V4 signatures are asked for and neither `config` nor the
    /// endpoint's name says the region.
    pub fn new(
        config: Config,
        transport: transport::Client,
        credentials: Arc<Provider>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        if !is_bucket_name(&config.bucket) {
            let detail = format!(
                "'{}' is no bucket name: it has 3 to 63 lower-case letters, digits and hyphens",
                config.bucket.escape_debug()
            );
            return Err(Error::invalid(Operation::Open, None, detail));
        }
        let region = config.region.filter(|region| !region.is_empty());
        let region = region.or_else(|| config.endpoint.region().map(str::to_owned));
        let region = match (region, config.signature) {
            // The console and GetBucketLocation write it with `oss-`, signatures without.
            (Some(region), _) => region.strip_prefix("oss-").unwrap_or(&region).to_owned(),
            (None, SignatureVersion::V1) => String::new(),
            (None, SignatureVersion::V4) => {
                let detail = format!(
                    "the region is unknown: the name {} does not say it, so it has to be given (cn-hangzhou, for instance)",
                    config.endpoint.host()
                );
                return Err(Error::invalid(Operation::Open, None, detail));
            }
        };
        let addressing = config.endpoint.addressing(config.path_style);
        Ok(Self {
            base: config.endpoint.base(&config.bucket, addressing),
            name: config.bucket,
            retry: config.retry,
            signer: Signer::new(config.signature, region),
            transport,
            credentials,
            metrics,
            clock_offset_ms: AtomicI64::new(0),
            limits: Arc::new(Limits::new(
                config.requests_per_second,
                config.bytes_per_second,
            )),
            haste: Mutex::default(),
        })
    }

    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is known of late GETs. Held for a moment, never across an await.
    pub(super) fn haste(&self) -> MutexGuard<'_, Haste> {
        self.haste.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time that signatures carry.
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        let offset = self.clock_offset_ms.load(Ordering::Relaxed);
        let corrected = now.as_millisecond().saturating_add(offset);
        Timestamp::from_millisecond(corrected).unwrap_or(now)
    }

    /// Takes the server's time for signatures from now on.
    pub(super) fn correct_clock(&self, server: Timestamp) {
        let now = Timestamp::now().as_millisecond();
        let offset = server.as_millisecond().saturating_sub(now);
        let before = self.clock_offset_ms.swap(offset, Ordering::Relaxed);
        // Requests in flight are refused together; only the first of them brings news. `Date` has whole seconds.
        if before.abs_diff(offset) > 5_000 {
            self.metrics.oss.clock_corrections.inc();
            tracing::warn!(
                offset_seconds = offset / 1000,
                "the local clock is wrong; requests are signed with the server's time"
            );
        }
    }

    /// The HTTP form of a request, signed with `credentials` and the time of now.
    pub(super) fn sign(
        &self,
        request: &Request,
        key: Option<&ObjectKey>,
        credentials: &Arc<Credentials>,
    ) -> Result<transport::Request, Failure> {
        let params = request.params.iter();
        let params: Vec<(&str, &str)> = params
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let target = Target {
            method: request.method.as_str(),
            bucket: Some(&self.name),
            key: key.map_or("", ObjectKey::as_str),
            params: &params,
        };
        let mut headers = request.headers.clone();
        if let Some(body) = &request.body {
            headers.insert(CONTENT_LENGTH, body.len().into());
        }
        self.signer
            .sign(&target, &mut headers, credentials, self.now())
            .map_err(|_| {
                Failure::Invalid("the credentials hold bytes that no header can carry".to_owned())
            })?;
        let mut url = format!("{}/{}", self.base, encode_key(target.key));
        for (index, (name, value)) in params.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(&encode_param(name));
            if !value.is_empty() {
                url.push('=');
                url.push_str(&encode_param(value));
            }
        }
        Ok(transport::Request {
            method: request.method.clone(),
            url,
            headers,
            body: Bytes::new(),
        })
    }
}

/// Refuses keys that would arrive as other keys: the URL rules of WHATWG and RFC 3986 resolve such segments, and
/// encoding the dots does not help.
pub(super) fn check_key(operation: Operation, key: &ObjectKey) -> Result<(), Error> {
    if key
        .as_str()
        .split('/')
        .any(|segment| matches!(segment, "." | ".."))
    {
        let detail = "a key with a segment '.' or '..' cannot be asked for over HTTP";
        return Err(Error::invalid(operation, Some(key), detail));
    }
    Ok(())
}
