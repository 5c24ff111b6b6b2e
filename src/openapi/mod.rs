//! Alibaba Cloud's OpenAPI, of which the program asks two services: STS for sets of a role, and AIWorkSpace for the default
//! bucket of a workspace. It is not OSS: other hosts, JSON, and a signature of its own (ACS3-HMAC-SHA256).
//!
//! One [`Call`] is one request: no retry, no redirect. Who calls decides what to do about a [`Error::Refused`]. No text of
//! an error quotes a body: the one that STS answers with is a set of credentials.

mod sign;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use crate::transport::{self, Proxy, Roots};

pub use sign::Signer;

/// Bytes of the longest answer that is read. One set has a kilobyte, one configuration less.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// One question.
#[derive(Debug)]
pub struct Call<'a> {
    /// Such as `AssumeRole`.
    pub action: &'a str,
    /// The version of the service's interface, such as `2015-04-01`.
    pub version: &'a str,
    /// GET or POST.
    pub method: Method,
    /// `https://HOST[:PORT]`, without a slash at its end.
    pub endpoint: &'a str,
    /// Begins with a slash; `/` for services whose action is a parameter. No character of it needs encoding.
    pub path: &'a str,
    /// Not encoded, in any order.
    pub query: &'a [(&'a str, &'a str)],
    /// A form, not encoded; what must not stand in a URL. Empty for no body.
    pub form: &'a [(&'a str, &'a str)],
    /// How long a connection may take.
    pub connect_timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or only a part of one.
    #[error(transparent)]
    Transport(#[from] transport::Error),
    /// The service says no.
    #[error("{code} (status {status}, request id {request_id})")]
    Refused {
        /// The service's code, such as `NoPermission`; empty if the answer has none.
        code: String,
        /// HTTP status.
        status: u16,
        /// The service's id of the request; empty if the answer has none.
        request_id: String,
    },
    /// The endpoint cannot stand in a header.
    #[error("the endpoint is not a host")]
    Endpoint,
}

/// What every refusal looks like.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Refusal {
    // Some services of this interface write it in lower case.
    #[serde(alias = "code")]
    code: String,
    #[serde(alias = "requestId")]
    request_id: String,
}

/// Asks, once. The answer's body is wiped when it is dropped. Unsigned if there is no `signer`.
///
/// The connection is made for it and ends with it: a program asks once in most of an hour, and one that never does needs no certificates.
///
/// # Errors
/// [`Error`] by its variants.
pub async fn ask(
    call: &Call<'_>,
    signer: Option<&Signer<'_>>,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let (proxy, roots) = match call.endpoint.starts_with("https://") {
        true => (Proxy::Environment, Roots::System),
        false => (Proxy::Never, Roots::None),
    };
    let client = transport::Client::new(&transport::Config {
        connect_timeout: call.connect_timeout,
        pool_idle_max: 0,
        proxy,
        roots,
        ..transport::Config::default()
    })?;
    let body = sign::encoded(call.form);
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::ACCEPT, json);
    if !body.is_empty() {
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form);
    }
    let moment = sign::Moment::now();
    sign::sign(call, &mut headers, body.as_bytes(), signer, &moment).ok_or(Error::Endpoint)?;
    let query = sign::encoded(call.query);
    let separator = if query.is_empty() { "" } else { "?" };
    let request = transport::Request {
        method: call.method.clone(),
        url: format!("{}{}{separator}{query}", call.endpoint, call.path),
        headers,
        body: Bytes::from(body),
    };
    let mut response = client.send(request).await?;
    let status = response.status();
    let mut answer = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES_MAX));
    while let Some(chunk) = response.chunk().await? {
        if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Error::Refused {
                code: "the answer is too long".to_owned(),
                status: status.as_u16(),
                request_id: String::new(),
            });
        }
        answer.extend_from_slice(&chunk);
        if let Ok(mut own) = chunk.try_into_mut() {
            own.as_mut().zeroize();
        }
    }
    if status == StatusCode::OK {
        return Ok(answer);
    }
    let refusal: Refusal = serde_json::from_slice(&answer).unwrap_or_default();
    Err(Error::Refused {
        code: plain(refusal.code),
        status: status.as_u16(),
        request_id: plain(refusal.request_id),
    })
}

/// A code or an id, if it looks like one: what somebody else wrote goes into the log.
fn plain(text: String) -> String {
    let is_plain = text.len() <= 100
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
    if is_plain { text } else { "?".to_owned() }
}

/// `https://` before a host that is written without a scheme; no slash at the end.
#[must_use]
pub fn endpoint(text: &str) -> String {
    let text = text.trim_end_matches('/');
    if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    }
}
