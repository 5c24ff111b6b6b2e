//! ACS3-HMAC-SHA256 (Alibaba Cloud help "V3 request body and signature mechanism"): pure, but for [`Moment::now`].

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::Call;

const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// Everything but `A-Za-z0-9-_.~`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Whose signature it is.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The access key id.
    pub access_key_id: &'a str,
    /// The access key secret.
    pub secret: &'a str,
    /// The security token of a temporary set.
    pub token: Option<&'a str>,
}

impl std::fmt::Debug for Signer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

/// What makes one request different from the next.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) date: String,
    pub(super) nonce: String,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self {
            date: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            // It must not come twice within the time that a signature is good for; it is no secret.
            nonce: format!("{:032x}", fastrand::u128(..)),
        }
    }
}

/// `a=b&c=d`, sorted by name and percent-encoded: a query, or a form.
pub(super) fn encoded(pairs: &[(&str, &str)]) -> String {
    let mut sorted = pairs.to_vec();
    sorted.sort_unstable();
    let encode = |text| utf8_percent_encode(text, ENCODED);
    let pairs: Vec<String> = sorted
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}

/// Adds the headers that every call has, and the signature of all of them; `None` if a value cannot be a header.
pub(super) fn sign(
    call: &Call<'_>,
    headers: &mut HeaderMap,
    body: &[u8],
    signer: Option<&Signer<'_>>,
    moment: &Moment,
) -> Option<()> {
    let hash = hex::encode(Sha256::digest(body));
    let (_, host) = call.endpoint.split_once("://")?;
    headers.insert(header::HOST, HeaderValue::from_str(host).ok()?);
    let mut put = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).ok()?;
        headers.insert(HeaderName::from_static(name), value);
        Some(())
    };
    put("x-acs-action", call.action)?;
    put("x-acs-version", call.version)?;
    put("x-acs-date", &moment.date)?;
    put("x-acs-signature-nonce", &moment.nonce)?;
    put("x-acs-content-sha256", &hash)?;
    let Some(signer) = signer else {
        return Some(());
    };
    if let Some(token) = signer.token {
        put("x-acs-accesskey-id", signer.access_key_id)?;
        let mut token = HeaderValue::from_str(token).ok()?;
        token.set_sensitive(true);
        headers.insert(HeaderName::from_static("x-acs-security-token"), token);
    }
    let authorization = authorization(call, headers, &hash, signer)?;
    let mut authorization = HeaderValue::from_str(&authorization).ok()?;
    authorization.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, authorization);
    Some(())
}

/// The `Authorization` over `host`, `content-type` and all of `x-acs-`.
fn authorization(
    call: &Call<'_>,
    headers: &HeaderMap,
    hash: &str,
    signer: &Signer<'_>,
) -> Option<String> {
    let mut signed: Vec<(&str, &str)> = Vec::new();
    for (name, value) in headers {
        let name = name.as_str();
        if matches!(name, "host" | "content-type") || name.starts_with("x-acs-") {
            signed.push((name, value.to_str().ok()?.trim()));
        }
    }
    signed.sort_unstable();
    let lines: String = signed
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{hash}",
        call.method,
        call.path,
        encoded(call.query)
    );
    let text = format!("{ALGORITHM}\n{}", hex::encode(Sha256::digest(canonical)));
    let mut mac = Hmac::<Sha256>::new_from_slice(signer.secret.as_bytes()).ok()?;
    mac.update(text.as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    Some(format!(
        "{ALGORITHM} Credential={},SignedHeaders={names},Signature={signature}",
        signer.access_key_id
    ))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use http::Method;

    use super::*;

    fn signature(call: &Call<'_>, token: Option<&str>, moment: &Moment) -> String {
        let signer = Signer {
            access_key_id: "YourAccessKeyId",
            secret: "YourAccessKeySecret",
            token,
        };
        let mut headers = HeaderMap::new();
        sign(call, &mut headers, b"", Some(&signer), moment).unwrap();
        let text = headers[header::AUTHORIZATION].to_str().unwrap();
        text.split_once("Signature=").unwrap().1.to_owned()
    }

    /// The example of the help page "V3 request body and signature mechanism".
    #[test]
    fn the_documented_example_has_the_documented_signature() {
        let call = Call {
            action: "RunInstances",
            version: "2014-05-26",
            method: Method::POST,
            endpoint: "https://ecs.cn-shanghai.aliyuncs.com",
            path: "/",
            query: &[
                ("RegionId", "cn-shanghai"),
                (
                    "ImageId",
                    "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd",
                ),
            ],
            form: &[],
            connect_timeout: std::time::Duration::ZERO,
        };
        let moment = Moment {
            date: "2023-10-26T10:22:32Z".to_owned(),
            nonce: "3156853299f313e23d1673dc12e1703d".to_owned(),
        };
        assert_eq!(
            signature(&call, None, &moment),
            "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
        );
    }

    /// Computed by alibabacloud-tea-openapi 0.4.6 (`Utils.get_authorization`).
    #[test]
    fn a_token_and_characters_that_are_encoded_are_signed_as_the_official_client_does() {
        let call = Call {
            action: "ListConfigs",
            version: "2021-02-04",
            method: Method::GET,
            endpoint: "https://aiworkspace.cn-hangzhou.aliyuncs.com",
            path: "/api/v1/workspaces/123/configs",
            query: &[("ConfigKeys", "modelExportPath"), ("Labels", "a b*+/~é")],
            form: &[],
            connect_timeout: std::time::Duration::ZERO,
        };
        let moment = Moment {
            date: "2026-01-02T03:04:05Z".to_owned(),
            nonce: "0123456789abcdef".to_owned(),
        };
        assert_eq!(
            signature(&call, Some("to+/ken=="), &moment),
            "884c9f4c786e27d580a882e913a0218739b9acec98a31d890cd53321764b7b17"
        );
    }
}
