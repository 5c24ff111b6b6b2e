//! Conditions on an object: `If-Match` and its kin, and the same for the source of a copy.

use jiff::Timestamp;

use crate::dev_server::answer::{http_date, parse_http_date, quoted};
use crate::dev_server::error::OssError;
use crate::dev_server::request::Incoming;

/// Names of the four headers.
pub(super) struct Names {
    if_match: &'static str,
    if_none_match: &'static str,
    if_modified_since: &'static str,
    if_unmodified_since: &'static str,
}

/// On the object itself.
pub(super) const OBJECT: Names = Names {
    if_match: "if-match",
    if_none_match: "if-none-match",
    if_modified_since: "if-modified-since",
    if_unmodified_since: "if-unmodified-since",
};

/// On the source of a copy.
pub(super) const COPY_SOURCE: Names = Names {
    if_match: "x-oss-copy-source-if-match",
    if_none_match: "x-oss-copy-source-if-none-match",
    if_modified_since: "x-oss-copy-source-if-modified-since",
    if_unmodified_since: "x-oss-copy-source-if-unmodified-since",
};

/// # Errors
/// 412 `PreconditionFailed` if the object is not the one that was meant, 304 if it is the one that is known.
pub(super) fn check(
    names: &Names,
    request: &Incoming,
    etag: &str,
    modified: Timestamp,
) -> Result<(), OssError> {
    let date = |name| request.header(name).and_then(parse_http_date);
    if let Some(list) = request.header(names.if_match)
        && !matches(list, etag)
    {
        return Err(OssError::precondition("If-Match"));
    }
    if let Some(date) = date(names.if_unmodified_since)
        && modified > date
    {
        return Err(OssError::precondition("If-Unmodified-Since"));
    }
    match request.header(names.if_none_match) {
        Some(list) if matches(list, etag) => Err(not_modified(etag, modified)),
        // RFC 9110: a date says nothing where ETags were compared.
        Some(_) => Ok(()),
        None => match date(names.if_modified_since) {
            Some(date) if modified <= date => Err(not_modified(etag, modified)),
            Some(_) | None => Ok(()),
        },
    }
}

/// The headers that have no meaning for a write; OSS refuses them.
///
/// # Errors
/// 400 `NotImplemented`.
pub(super) fn refuse(request: &Incoming) -> Result<(), OssError> {
    let names = [
        OBJECT.if_match,
        OBJECT.if_none_match,
        OBJECT.if_modified_since,
        OBJECT.if_unmodified_since,
    ];
    match names
        .into_iter()
        .find(|name| request.headers.contains_key(*name))
    {
        Some(name) => Err(OssError {
            status: 400,
            ..OssError::not_implemented(name)
        }),
        None => Ok(()),
    }
}

fn matches(list: &str, etag: &str) -> bool {
    list.split(',')
        .map(str::trim)
        .any(|one| one == "*" || one.trim_matches('"').eq_ignore_ascii_case(etag))
}

fn not_modified(etag: &str, modified: Timestamp) -> OssError {
    OssError::new(304, "", "", "")
        .with_header("etag", quoted(etag))
        .with_header("last-modified", http_date(modified))
}
