//! The vectors of the official clients (`tests/data/signature_vectors.json`).

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::*;

#[derive(Deserialize)]
struct Vectors {
    clock: Clock,
    credentials: BTreeMap<String, Set>,
    region: String,
    bucket: String,
    v1_header: Vec<Vector>,
    v4_header: Vec<Vector>,
    v1_url: Vec<Presigned>,
    v4_url: Vec<Presigned>,
    published_doc_examples: Vec<Published>,
}

#[derive(Deserialize)]
struct Clock {
    unix: i64,
    http_date: String,
    iso8601_basic: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Set {
    access_key_id: String,
    access_key_secret: String,
    security_token: Option<String>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    credentials: String,
    method: String,
    bucket: Option<String>,
    key: String,
    params: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    string_to_sign: String,
    signature: Option<String>,
    authorization: Option<String>,
    authorization_oss_v2: Option<String>,
    canonical_request: Option<String>,
    signing_key_hex: Option<String>,
    additional_headers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Presigned {
    name: String,
    credentials: String,
    args: Args,
    signed_url: String,
    string_to_sign: String,
    canonical_request: Option<String>,
}

#[derive(Deserialize)]
struct Args {
    method: String,
    key: String,
    expires: i64,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    params: BTreeMap<String, String>,
    #[serde(rename = "slash_safe")]
    _slash_safe: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Published {
    secret: String,
    string_to_sign: String,
    signature: String,
}

fn vectors() -> Vectors {
    let text = include_str!("../../../tests/data/signature_vectors.json");
    serde_json::from_str(text).unwrap()
}

impl Set {
    fn credentials(&self) -> Arc<Credentials> {
        Arc::new(Credentials::new(
            self.access_key_id.clone(),
            self.access_key_secret.as_str().into(),
            self.security_token.as_deref().map(Into::into),
            None,
        ))
    }
}

fn header_map(headers: &BTreeMap<String, String>) -> HeaderMap {
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| -> (HeaderName, HeaderValue) {
            (name.parse().unwrap(), value.parse().unwrap())
        })
        .collect()
}

fn pairs(params: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    params
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

impl Vector {
    fn target<'a>(&'a self, params: &'a [(&'a str, &'a str)]) -> Target<'a> {
        Target {
            method: &self.method,
            bucket: self.bucket.as_deref(),
            key: &self.key,
            params,
        }
    }
}

#[test]
fn v1_reproduces_every_header_vector() {
    let all = vectors();
    for vector in &all.v1_header {
        let set = &all.credentials[&vector.credentials];
        let params = pairs(&vector.params);
        let headers = header_map(&vector.headers);
        let text = v1::string_to_sign(&vector.target(&params), &headers, &all.clock.http_date);
        assert_eq!(text, vector.string_to_sign, "{}", vector.name);
        let signature = v1::signature(&set.access_key_secret, &text);
        if let Some(expected) = &vector.signature {
            assert_eq!(&signature, expected, "{}", vector.name);
        }
        let authorization = v1::authorization(&set.access_key_id, &signature);
        assert_eq!(
            Some(authorization),
            vector.authorization.clone(),
            "{}",
            vector.name
        );
    }
    assert_eq!(all.v1_header.len(), 34);
}

#[test]
fn v4_reproduces_every_header_vector() {
    let all = vectors();
    for vector in &all.v4_header {
        let (name, set) = (&vector.name, &all.credentials[&vector.credentials]);
        let params = pairs(&vector.params);
        let headers = header_map(&vector.headers);
        let extra = vector.additional_headers.clone().unwrap_or_default();
        let extra: Vec<&str> = extra.iter().map(String::as_str).collect();
        let canonical = v4::canonical_request(&vector.target(&params), &headers, &extra);
        assert_eq!(
            Some(&canonical),
            vector.canonical_request.as_ref(),
            "{name}"
        );
        let extra = v4::additional_names(&headers, &extra);
        let time = &all.clock.iso8601_basic;
        let scope = v4::scope(time, &all.region);
        let text = v4::string_to_sign(time, &scope, &canonical);
        assert_eq!(text, vector.string_to_sign, "{name}");
        let key = v4::signing_key(&set.access_key_secret, time, &all.region);
        assert_eq!(
            Some(hex::encode(&key[..])),
            vector.signing_key_hex,
            "{name}"
        );
        let signature = v4::signature(&key, &text);
        assert_eq!(Some(&signature), vector.signature.as_ref(), "{name}");
        let authorization = v4::authorization(&set.access_key_id, &scope, &extra, &signature);
        let expected = vector.authorization_oss_v2.as_ref();
        assert_eq!(Some(&authorization), expected, "{name}");
    }
    assert_eq!(all.v4_header.len(), 37);
}

/// The signer that requests go through adds what the vectors have as given: time, token and payload mark.
#[test]
fn the_signer_makes_the_same_headers_as_the_official_clients() {
    let all = vectors();
    let now = Timestamp::from_second(all.clock.unix).unwrap();
    let own = [
        "date",
        "x-oss-date",
        "x-oss-content-sha256",
        "x-oss-security-token",
    ];
    for (version, list) in [
        (SignatureVersion::V1, &all.v1_header),
        (SignatureVersion::V4, &all.v4_header),
    ] {
        let signer = Signer::new(version, all.region.clone());
        for vector in list {
            if vector
                .additional_headers
                .as_ref()
                .is_some_and(|names| !names.is_empty())
            {
                continue; // no request of ours signs more than it must
            }
            let params = pairs(&vector.params);
            let mut headers = header_map(&vector.headers);
            for name in own {
                headers.remove(name);
            }
            let credentials = all.credentials[&vector.credentials].credentials();
            let target = vector.target(&params);
            signer
                .sign(&target, &mut headers, &credentials, now)
                .unwrap();
            let expected = match version {
                SignatureVersion::V1 => &vector.authorization,
                SignatureVersion::V4 => &vector.authorization_oss_v2,
            };
            let made = headers[AUTHORIZATION].to_str().unwrap();
            assert_eq!(
                Some(made),
                expected.as_deref(),
                "{version:?} {}",
                vector.name
            );
            for name in own.iter().filter(|name| headers.contains_key(**name)) {
                let given = vector.headers.get(*name).map(String::as_str);
                assert_eq!(given, headers[*name].to_str().ok(), "{}", vector.name);
            }
            assert!(!format!("{headers:?}").contains("CAIS"), "the token shows");
        }
    }
}

#[test]
fn v1_reproduces_the_signed_urls() {
    let all = vectors();
    for vector in &all.v1_url {
        let set = &all.credentials[&vector.credentials];
        let mut params = pairs(&vector.args.params);
        if let Some(token) = &set.security_token {
            params.push(("security-token", token));
        }
        let expires = (all.clock.unix + vector.args.expires).to_string();
        let target = vector.args.target(&all.bucket, &params);
        let text = v1::string_to_sign(&target, &header_map(&vector.args.headers), &expires);
        assert_eq!(text, vector.string_to_sign, "{}", vector.name);
        let signature = encode_param(&v1::signature(&set.access_key_secret, &text));
        let end = format!("&Signature={signature}");
        assert!(vector.signed_url.ends_with(&end), "{}", vector.name);
    }
    assert_eq!(all.v1_url.len(), 8);
}

#[test]
fn v4_reproduces_the_signed_urls() {
    let all = vectors();
    let time = &all.clock.iso8601_basic;
    let scope = v4::scope(time, &all.region);
    for vector in &all.v4_url {
        let set = &all.credentials[&vector.credentials];
        let credential = format!("{}/{scope}", set.access_key_id);
        let expires = vector.args.expires.to_string();
        let mut params = pairs(&vector.args.params);
        params.extend([
            ("x-oss-credential", credential.as_str()),
            ("x-oss-date", time),
            ("x-oss-expires", &expires),
            ("x-oss-signature-version", "OSS4-HMAC-SHA256"),
        ]);
        if let Some(token) = &set.security_token {
            params.push(("x-oss-security-token", token));
        }
        let target = vector.args.target(&all.bucket, &params);
        let canonical = v4::canonical_request(&target, &header_map(&vector.args.headers), &[]);
        assert_eq!(
            Some(&canonical),
            vector.canonical_request.as_ref(),
            "{}",
            vector.name
        );
        let text = v4::string_to_sign(time, &scope, &canonical);
        assert_eq!(text, vector.string_to_sign, "{}", vector.name);
        let key = v4::signing_key(&set.access_key_secret, time, &all.region);
        let end = format!("x-oss-signature={}", v4::signature(&key, &text));
        assert!(vector.signed_url.ends_with(&end), "{}", vector.name);
    }
    assert_eq!(all.v4_url.len(), 8);
}

impl Args {
    fn target<'a>(&'a self, bucket: &'a str, params: &'a [(&'a str, &'a str)]) -> Target<'a> {
        Target {
            method: &self.method,
            bucket: Some(bucket),
            key: &self.key,
            params,
        }
    }
}

/// Tags were not among the vectors; these come from the same official client (oss2 2.19.1) with the same clock and key.
#[test]
fn tags_are_a_sub_resource_in_both_signatures() {
    let all = vectors();
    let now = Timestamp::from_second(all.clock.unix).unwrap();
    let v4 = "OSS4-HMAC-SHA256 Credential=STS.NUtestAccessKeyId7/20240521/cn-hangzhou/oss/aliyun_v4_request,Signature=";
    for (version, method, expected) in [
        (SignatureVersion::V1, "GET", "n6X+6BdZaqf5Am9W39PndS6Jh3Y="),
        (
            SignatureVersion::V1,
            "DELETE",
            "W0z6Ps12cST3vgNNDqKonfP1th0=",
        ),
        (
            SignatureVersion::V4,
            "GET",
            "76397e739cb4b051bca87a797e9aa02377da432eaea9b2f49049e5b3b2e170bf",
        ),
        (
            SignatureVersion::V4,
            "DELETE",
            "21fcc0f05482adb5417d965b952cea570f15ffd9f750623dcdd6cddbb7cc0198",
        ),
    ] {
        let target = Target {
            method,
            bucket: Some(&all.bucket),
            key: "dir/文 a+b",
            params: &[("tagging", "")],
        };
        let mut headers = HeaderMap::new();
        let credentials = all.credentials["sts"].credentials();
        let signer = Signer::new(version, all.region.clone());
        signer
            .sign(&target, &mut headers, &credentials, now)
            .unwrap();
        let start = match version {
            SignatureVersion::V1 => "OSS STS.NUtestAccessKeyId7:",
            SignatureVersion::V4 => v4,
        };
        assert_eq!(headers[AUTHORIZATION], format!("{start}{expected}"));
    }
}

/// Every name that a request of this room puts into its query is in a vector that an official client signed.
#[test]
fn every_sub_resource_of_a_write_has_a_vector() {
    let all = vectors();
    for list in [&all.v1_header, &all.v4_header] {
        for name in [
            "append",
            "delete",
            "encoding-type",
            "key-marker",
            "max-parts",
            "max-uploads",
            "part-number-marker",
            "partNumber",
            "position",
            "prefix",
            "symlink",
            "upload-id-marker",
            "uploadId",
            "uploads",
        ] {
            let has = |vector: &Vector| vector.params.contains_key(name);
            assert!(list.iter().any(has), "{name}");
        }
    }
}

#[test]
fn v1_reproduces_the_published_examples() {
    for example in vectors().published_doc_examples {
        assert_eq!(
            v1::signature(&example.secret, &example.string_to_sign),
            example.signature
        );
    }
}

#[test]
fn the_key_of_the_day_changes_with_the_day_and_with_the_set() {
    let set = |secret: &str| Arc::new(Credentials::new("id", secret.into(), None, None));
    let (first, second) = (set("a"), set("b"));
    let keys = v4::KeyOfTheDay::default();
    for (credentials, secret, time) in [
        (&first, "a", "20240521T235959Z"),
        (&first, "a", "20240521T000000Z"),
        (&first, "a", "20240522T000000Z"),
        (&second, "b", "20240522T000000Z"),
        (&first, "a", "20240522T000000Z"),
    ] {
        assert_eq!(
            keys.get(credentials, time, "r"),
            v4::signing_key(secret, time, "r")
        );
    }
}
