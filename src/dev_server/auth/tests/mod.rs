#![expect(clippy::unwrap_used, reason = "a test may panic")]

//! `vectors`: requests signed by the official clients. `refusals`: what each defect is answered with.

mod refusals;
mod vectors;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

use super::*;

const BUCKET: &str = "pai-demo-bucket";

/// `tests/data/signature_vectors.json`, made by oss2 2.19.1 and checked by alibabacloud-oss-v2 1.4.1 and ali-oss 6.23.0.
fn vectors() -> Value {
    serde_json::from_str(include_str!(
        "../../../../tests/data/signature_vectors.json"
    ))
    .unwrap()
}

fn clock() -> Timestamp {
    Timestamp::from_second(1_716_287_969).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// The temporary set of the vectors.
fn vector_set(expiration: Timestamp) -> TokenSet {
    let data = vectors();
    let sts = &data["credentials"]["sts"];
    TokenSet {
        access_key_id: text(sts, "AccessKeyId").to_owned(),
        access_key_secret: text(sts, "AccessKeySecret").to_owned(),
        security_token: text(sts, "SecurityToken").to_owned(),
        expiration,
    }
}

/// An authority that knows the keys of the vectors; the temporary set ends at `expiration`.
fn authority(region: &str, expiration: Timestamp) -> Authority {
    let data = vectors();
    let permanent = &data["credentials"]["permanent"];
    let roles = [("all".to_owned(), Policy::everything())];
    let authority = Authority::new(region.to_owned(), roles);
    authority
        .add_key(
            text(permanent, "AccessKeyId"),
            text(permanent, "AccessKeySecret"),
            None,
        )
        .unwrap();
    let role = Arc::clone(&authority.roles["all"]);
    authority
        .keys()
        .add_temporary(&vector_set(expiration), role, "s", None);
    authority
}

fn hangzhou() -> Authority {
    authority("cn-hangzhou", clock() + SignedDuration::from_hours(1))
}

/// The request head that a URL and headers make on the wire, with the bucket in the host name.
fn incoming(method: &str, url: &str, headers: &Value) -> Incoming {
    let rest = url.strip_prefix("https://").unwrap();
    let (host, target) = rest.split_at(rest.find('/').unwrap());
    let (path, raw_query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let mut map = HeaderMap::new();
    for (name, value) in headers.as_object().into_iter().flatten() {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_str().unwrap().as_bytes()).unwrap(),
        );
    }
    let bucket = host.starts_with(BUCKET).then(|| BUCKET.to_owned());
    let key = wire::decode(&path[1..]);
    let mut request = Incoming {
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        raw_path: path.to_owned(),
        raw_query,
        query: Vec::new(),
        headers: map,
        host: host.to_owned(),
        virtual_hosted: bucket.is_some(),
        bucket,
        key: Some(key).filter(|key| !key.is_empty()),
    };
    request.query = wire::query(&request);
    request
}

fn set_header(request: &mut Incoming, name: &'static str, value: &str) {
    let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
    request.headers.insert(name, value);
}

/// A vector of `v1_header` or `v4_header` as a signed request.
fn signed(vector: &Value, authorization: &str) -> Incoming {
    let mut request = incoming(
        text(vector, "method"),
        text(vector, "url"),
        &vector["headers"],
    );
    set_header(&mut request, "authorization", text(vector, authorization));
    request
}

/// The first vector of a group by its name.
fn vector(group: &str, name: &str) -> Value {
    let data = vectors();
    let mut all = data[group].as_array().unwrap().iter();
    all.find(|vector| text(vector, "name") == name)
        .unwrap()
        .clone()
}
