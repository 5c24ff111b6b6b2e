//! Alibaba Cloud's OpenAPI, as far as a job asks it: sets of a role from STS, the default storage of a workspace from
//! AIWorkSpace.
//!
//! Signatures of both kinds that official clients make are recomputed ([`signature`]), by code of its own.

mod signature;
mod sts;
mod workspace;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming as Body;
use serde_json::{Value, json};

use super::answer::{Answer, with_body};
use super::auth::Authority;

/// Bytes of the longest form. The longest parameter is a policy or a token of a few kilobytes.
const FORM_BYTES_MAX: usize = 64 << 10;

/// A question as it came.
struct Asked<'a> {
    head: &'a Parts,
    body: Bytes,
    /// The parameters of query and form, decoded.
    parameters: Vec<(String, String)>,
    action: String,
}

impl Asked<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }
}

/// A refusal.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: u16,
    code: &'static str,
    message: &'static str,
}

fn refused(status: u16, code: &'static str, message: &'static str) -> Refusal {
    Refusal {
        status,
        code,
        message,
    }
}

/// True for what is no question to OSS: it names its action in a header or as a parameter of the root.
pub(super) fn is_for(head: &Parts) -> bool {
    let names_action = |query: &str| query.split('&').any(|pair| pair.starts_with("Action="));
    head.headers.contains_key("x-acs-action")
        || (head.uri.path() == "/" && head.uri.query().is_some_and(names_action))
}

/// Answers one question.
pub(super) async fn answer(auth: &Authority, head: &Parts, body: &mut Body, id: &str) -> Answer {
    let read = Limited::new(body, FORM_BYTES_MAX).collect().await;
    let result = match read {
        Ok(body) => perform(auth, head, body.to_bytes()),
        Err(_) => Err(refused(400, "InvalidParameter", "The body is too long.")),
    };
    let (status, mut value) = match result {
        Ok(value) => (200, value),
        Err(refusal) => {
            tracing::debug!(%id, code = refusal.code, "dev server: refused");
            let value =
                json!({ "Code": refusal.code, "Message": refusal.message, "HostId": "rolefs-dev" });
            (refusal.status, value)
        }
    };
    if let Some(members) = value.as_object_mut() {
        members.insert("RequestId".to_owned(), Value::from(id));
    }
    let builder = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json;charset=utf-8")
        .header("x-acs-request-id", id);
    with_body(builder, value.to_string())
}

fn perform(auth: &Authority, head: &Parts, body: Bytes) -> Result<Value, Refusal> {
    let is_form = head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    });
    let mut parameters = signature::pairs(head.uri.query().unwrap_or_default());
    if is_form {
        parameters.extend(signature::pairs(&String::from_utf8_lossy(&body)));
    }
    let mut asked = Asked {
        head,
        body,
        parameters,
        action: String::new(),
    };
    asked.action = asked
        .header("x-acs-action")
        .or(asked.parameter("Action"))
        .unwrap_or_default()
        .to_owned();
    match asked.action.as_str() {
        "AssumeRole" => sts::assume_role(auth, &asked),
        "AssumeRoleWithOIDC" => sts::with_oidc(auth, &asked),
        "GetCallerIdentity" => sts::caller(auth, &asked),
        "ListConfigs" => workspace::list_configs(auth, &asked),
        _ => Err(refused(
            404,
            "InvalidAction.NotFound",
            "Specified api is not found, please check your url and method.",
        )),
    }
}
