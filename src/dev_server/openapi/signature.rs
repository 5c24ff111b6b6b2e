//! Whose question it is: ACS3-HMAC-SHA256, and HMAC-SHA1 of the older RPC style.
//!
//! INVARIANT: nothing here is shared with the production signer; see `auth::wire`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use percent_encoding::percent_decode_str;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{Asked, Refusal, refused};
use crate::dev_server::auth::{Authority, KeyFault, Principal};

const ACS3: &str = "ACS3-HMAC-SHA256";
/// How far a question's time may be from the server's.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(15);

/// The pairs of a query or a form, decoded.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

/// Percent-encodes every byte but `A-Z a-z 0-9 - _ . ~`, in upper-case hex.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn joined(mut pairs: Vec<(String, String)>) -> String {
    pairs.sort();
    let pairs = pairs.iter();
    let pairs = pairs.map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Who asks, if the signature is right.
pub(super) fn principal(auth: &Authority, asked: &Asked<'_>) -> Result<Principal, Refusal> {
    match asked.header("authorization") {
        Some(authorization) => acs3(auth, asked, authorization),
        None => rpc(auth, asked),
    }
}

fn acs3(auth: &Authority, asked: &Asked<'_>, authorization: &str) -> Result<Principal, Refusal> {
    let malformed = || {
        refused(
            400,
            "InvalidAuthorization",
            "The Authorization header is malformed.",
        )
    };
    let (algorithm, fields) = authorization.split_once(' ').ok_or_else(malformed)?;
    if algorithm != ACS3 {
        return Err(malformed());
    }
    let field = |name: &str| {
        let mut fields = fields
            .split(',')
            .filter_map(|field| field.trim().split_once('='));
        fields
            .find(|(have, _)| *have == name)
            .map(|(_, value)| value)
    };
    let id = field("Credential").ok_or_else(malformed)?;
    let signed = field("SignedHeaders").ok_or_else(malformed)?;
    let given = field("Signature").ok_or_else(malformed)?;
    in_time(auth, asked.header("x-acs-date"))?;
    // What is not signed could be changed on the way.
    let names: Vec<&str> = signed.split(';').collect();
    let must = |name: &str| name == "host" || name.starts_with("x-acs-");
    let all = asked.head.headers.keys().map(http::HeaderName::as_str);
    if all
        .filter(|name| must(name))
        .any(|name| !names.contains(&name))
    {
        return Err(refused(
            400,
            "SignatureDoesNotMatch",
            "A header that must be signed is not.",
        ));
    }
    let hash = hex::encode(Sha256::digest(&asked.body));
    if asked.header("x-acs-content-sha256") != Some(&hash) {
        return Err(refused(
            400,
            "InvalidContentSha256",
            "The body is not the one that was signed.",
        ));
    }
    let principal = known(auth, id, asked.header("x-acs-security-token"))?;
    let mut canonical = format!(
        "{}\n{}\n{}\n",
        asked.head.method,
        asked.head.uri.path(),
        joined(pairs(asked.head.uri.query().unwrap_or_default()))
    );
    for name in &names {
        let value = asked.header(name).unwrap_or_default().trim();
        canonical.push_str(&format!("{name}:{value}\n"));
    }
    canonical.push_str(&format!("\n{signed}\n{hash}"));
    let text = format!("{ACS3}\n{}", hex::encode(Sha256::digest(&canonical)));
    let mut mac = Hmac::<Sha256>::new_from_slice(principal.secret().as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    if hex::encode(mac.finalize().into_bytes()) == given {
        Ok(principal)
    } else {
        Err(mismatch())
    }
}

fn rpc(auth: &Authority, asked: &Asked<'_>) -> Result<Principal, Refusal> {
    let needed = |name: &str| {
        asked.parameter(name).ok_or_else(|| {
            refused(
                400,
                "MissingParameter",
                "A parameter of the signature is missing.",
            )
        })
    };
    let (id, given) = (needed("AccessKeyId")?, needed("Signature")?);
    needed("SignatureNonce")?;
    if needed("SignatureMethod")? != "HMAC-SHA1" || needed("SignatureVersion")? != "1.0" {
        return Err(refused(
            400,
            "InvalidParameter",
            "The signature is of an unknown kind.",
        ));
    }
    in_time(auth, asked.parameter("Timestamp"))?;
    let principal = known(auth, id, asked.parameter("SecurityToken"))?;
    let signed = asked
        .parameters
        .iter()
        .filter(|(name, _)| name != "Signature");
    let text = format!(
        "{}&%2F&{}",
        asked.head.method,
        encoded(&joined(signed.cloned().collect()))
    );
    let secret = format!("{}&", principal.secret());
    let mut mac =
        Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    if STANDARD.encode(mac.finalize().into_bytes()) == given {
        Ok(principal)
    } else {
        Err(mismatch())
    }
}

fn mismatch() -> Refusal {
    refused(
        400,
        "SignatureDoesNotMatch",
        "Specified signature is not matched with our calculation.",
    )
}

fn in_time(auth: &Authority, date: Option<&str>) -> Result<(), Refusal> {
    let date = date.and_then(|date| date.parse::<Timestamp>().ok());
    if date.is_some_and(|date| auth.now().duration_since(date).abs() <= SKEW_MAX) {
        return Ok(());
    }
    Err(refused(
        400,
        "InvalidTimeStamp.Expired",
        "Specified time stamp or date value is expired.",
    ))
}

fn known(auth: &Authority, id: &str, token: Option<&str>) -> Result<Principal, Refusal> {
    auth.principal(id, token, auth.now())
        .map_err(|fault| match fault {
            KeyFault::Unknown => refused(
                404,
                "InvalidAccessKeyId.NotFound",
                "Specified access key is not found.",
            ),
            KeyFault::NoToken => refused(
                400,
                "MissingSecurityToken",
                "SecurityToken is mandatory for this action.",
            ),
            KeyFault::Expired => refused(
                400,
                "InvalidSecurityToken.Expired",
                "Specified SecurityToken is expired.",
            ),
            KeyFault::OtherToken => refused(
                400,
                "InvalidSecurityToken.MismatchWithAccessKey",
                "Specified SecurityToken mismatch with the AccessKey.",
            ),
            KeyFault::UnknownToken => refused(
                400,
                "InvalidSecurityToken.Malformed",
                "Specified SecurityToken is malformed.",
            ),
        })
}
