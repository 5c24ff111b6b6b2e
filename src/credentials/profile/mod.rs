//! Profiles of the official tools: what they say becomes a [`Grant`]. Pure; the files are read elsewhere.
//!
//! Two files: `~/.aliyun/config.json` of the command-line tool ([`cli`]), and the ini file of the SDKs ([`ini`]). What a mode
//! needs and the profile does not say is an error that names it, and so is a mode that is not known.

pub(super) mod cli;
pub(super) mod ini;

use super::error::Trouble;
use super::grant::Grant;
use super::set::{Credentials, Secret};

/// A value that the profile must have.
fn needed<T>(value: Option<T>, name: &str) -> Result<T, Trouble> {
    value.ok_or_else(|| Trouble::Unusable(format!("{name} is missing")))
}

/// A key of the profile itself; without any it is what the tool writes before it is told one, and no source.
fn key(
    id: Option<String>,
    secret: Option<Secret>,
    token: Option<Secret>,
) -> Result<Grant, Trouble> {
    if id.is_none() && secret.is_none() {
        return Err(Trouble::Absent("no key is in it".to_owned()));
    }
    let (id, secret) = (
        needed(id, "access_key_id")?,
        needed(secret, "access_key_secret")?,
    );
    Ok(Grant::Set(Credentials::new(id, secret, token, None)))
}
