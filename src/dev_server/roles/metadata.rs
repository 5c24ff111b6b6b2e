//! The metadata service of an ECS instance that has the job's role, at the port of the credentials service.
//!
//! Version 2 asks for a token first, by a PUT that says how long it is to live; version 1 does without (ECS help "Instance
//! metadata").

use http::{HeaderMap, Method};

use super::job::Shared;
use super::service;

/// The token of version 2. A real one is told from others by the instance alone; this one too.
const TOKEN: &str = "token-of-the-metadata-service";
const TOKEN_PATH: &str = "/latest/api/token";
const ROLES: &str = "/latest/meta-data/ram/security-credentials/";
const TOKEN_HEADER: &str = "x-aliyun-ecs-metadata-token";
const TTL_HEADER: &str = "x-aliyun-ecs-metadata-token-ttl-seconds";
/// The longest life of a token.
const TTL_MAX: u32 = 21_600;

/// Status and text for one question.
pub(super) fn answer(
    shared: &Shared,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> (u16, String) {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if path == TOKEN_PATH {
        let ttl = header(TTL_HEADER).and_then(|ttl| ttl.parse::<u32>().ok());
        return match (method == Method::PUT, ttl) {
            (true, Some(1..=TTL_MAX)) => (200, TOKEN.to_owned()),
            (true, _) => (400, String::new()),
            (false, _) => (405, String::new()),
        };
    }
    if method != Method::GET {
        return (405, String::new());
    }
    match header(TOKEN_HEADER) {
        Some(TOKEN) => {}
        None if shared.config.metadata_v1 => {}
        Some(_) | None => return (403, String::new()),
    }
    match path.strip_prefix(ROLES) {
        Some("") => (200, shared.role.clone()),
        // The same set, with the same faults.
        Some(role) if role == shared.role => service::answer(shared, &shared.config.uri_path),
        Some(_) | None => (404, String::new()),
    }
}
