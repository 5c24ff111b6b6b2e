//! Signature version 4, recomputed from the wire (OSS help "Include a V4 signature in the Authorization header").

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::refusal::malformed;
use super::wire::{self, Slash};
use super::{Form, refusal};
use crate::dev_server::error::OssError;
use crate::dev_server::request::Incoming;

pub(super) const ALGORITHM: &str = "OSS4-HMAC-SHA256";
const TERMINATOR: &str = "aliyun_v4_request";
/// The only payload any official client signs; whether OSS accepts a body's hash is not public, so this server does not.
const PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// What a request that is signed by version 4 says of its signature.
#[derive(Debug)]
pub(super) struct ClaimV4 {
    pub(super) access_key_id: String,
    /// As on the wire: `20240521T103929Z`.
    pub(super) date_time: String,
    pub(super) signed_at: Timestamp,
    pub(super) region: String,
    product: String,
    /// Lower-case, sorted, without those that are signed anyway.
    pub(super) additional: Vec<String>,
    pub(super) signature: String,
    form: Form,
}

/// The fields of a claim before they are checked.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    pub(super) credential: &'a str,
    pub(super) additional: Option<&'a str>,
    pub(super) signature: &'a str,
    pub(super) date_time: &'a str,
    pub(super) form: Form,
}

impl ClaimV4 {
    /// Reads `Credential=…,AdditionalHeaders=…,Signature=…`, in any order and with any blanks around the commas.
    pub(super) fn from_header(request: &Incoming, fields: &str) -> Result<Self, OssError> {
        let (mut credential, mut additional, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let slot = match field.trim().split_once('=') {
                Some(("Credential", value)) => (&mut credential, value),
                Some(("AdditionalHeaders", value)) => (&mut additional, value),
                Some(("Signature", value)) => (&mut signature, value),
                _ => return Err(malformed("", "The Authorization header is malformed.")),
            };
            *slot.0 = Some(slot.1.trim());
        }
        let (Some(credential), Some(signature)) = (credential, signature) else {
            return Err(malformed("", "The Authorization header is incomplete."));
        };
        if wire::header(&request.headers, "x-oss-content-sha256").as_deref() != Some(PAYLOAD) {
            return Err(malformed(
                "",
                "The x-oss-content-sha256 header must be UNSIGNED-PAYLOAD.",
            ));
        }
        let date_time =
            wire::header(&request.headers, "x-oss-date").ok_or_else(refusal::no_date)?;
        Self::new(&Fields {
            credential,
            additional,
            signature,
            date_time: &date_time,
            form: Form::Header,
        })
    }

    pub(super) fn new(fields: &Fields<'_>) -> Result<Self, OssError> {
        let signed_at = wire::basic_date(fields.date_time).ok_or_else(refusal::no_date)?;
        // From the end: nothing says that an access key id has no slash.
        let mut scope = fields.credential.rsplitn(5, '/');
        let (terminator, product, region, date, id) = (
            scope.next(),
            scope.next(),
            scope.next(),
            scope.next(),
            scope.next(),
        );
        let (Some(product), Some(region), Some(date), Some(id)) = (product, region, date, id)
        else {
            return Err(malformed("", "The Credential is incomplete."));
        };
        if terminator != Some(TERMINATOR) || id.is_empty() {
            return Err(malformed("", "The Credential is malformed."));
        }
        if !fields.date_time.starts_with(date) || date.len() != 8 {
            return Err(malformed(
                "",
                "The date of the Credential is not that of the signature.",
            ));
        }
        if product != "oss" {
            return Err(malformed(
                "0002-00000227",
                "Invalid signing product in Authorization header.",
            ));
        }
        if fields.additional == Some("") {
            return Err(malformed("0002-00000209", "AdditionalHeaders is empty."));
        }
        let mut additional: Vec<String> = fields
            .additional
            .unwrap_or_default()
            .split(';')
            .map(|name| name.trim().to_ascii_lowercase())
            .filter(|name| !name.is_empty() && !always_signed(name))
            .collect();
        additional.sort();
        additional.dedup();
        Ok(Self {
            access_key_id: id.to_owned(),
            date_time: fields.date_time.to_owned(),
            signed_at,
            region: region.to_owned(),
            product: product.to_owned(),
            additional,
            signature: fields.signature.to_owned(),
            form: fields.form,
        })
    }

    /// The eight digits of the day.
    pub(super) fn day(&self) -> &str {
        &self.date_time[..8]
    }

    pub(super) fn canonical_request(&self, request: &Incoming) -> String {
        let mut query: Vec<(String, String)> = wire::query(request)
            .into_iter()
            .filter(|(name, _)| self.form == Form::Header || name != "x-oss-signature")
            .map(|(name, value)| {
                (
                    wire::encode(&name, Slash::Encode),
                    wire::encode(&value, Slash::Encode),
                )
            })
            .collect();
        query.sort();
        let query: Vec<String> = query
            .into_iter()
            .map(|(name, value)| {
                if value.is_empty() {
                    name
                } else {
                    format!("{name}={value}")
                }
            })
            .collect();
        let headers: String = wire::headers(&request.headers, |name| {
            always_signed(name) || self.additional.iter().any(|more| more == name)
        })
        .into_iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
        format!(
            "{}\n{}\n{}\n{headers}\n{}\n{PAYLOAD}",
            request.method,
            wire::encode(&wire::resource(request), Slash::Keep),
            query.join("&"),
            self.additional.join(";"),
        )
    }

    pub(super) fn string_to_sign(&self, canonical_request: &str) -> String {
        format!(
            "{ALGORITHM}\n{}\n{}/{}/{}/{TERMINATOR}\n{}",
            self.date_time,
            self.day(),
            self.region,
            self.product,
            hex::encode(Sha256::digest(canonical_request)),
        )
    }

    /// The key of one day and region. It costs four HMACs, so the caller keeps it.
    pub(super) fn signing_key(&self, secret: &str) -> [u8; 32] {
        let mut key = hmac_sha256(format!("aliyun_v4{secret}").as_bytes(), self.day());
        for step in [self.region.as_str(), self.product.as_str(), TERMINATOR] {
            key = hmac_sha256(&key, step);
        }
        key
    }
}

pub(super) fn signature(signing_key: &[u8; 32], string_to_sign: &str) -> String {
    hex::encode(hmac_sha256(signing_key, string_to_sign))
}

fn always_signed(name: &str) -> bool {
    name.starts_with("x-oss-") || name == "content-type" || name == "content-md5"
}

fn hmac_sha256(key: &[u8], message: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().into()
}
