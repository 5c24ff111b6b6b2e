//! AppendObject.

use http::Response;

use super::{Call, attributes, conditions, described, receive};
use crate::dev_server::answer::{self, Answer};
use crate::dev_server::error::OssError;
use crate::dev_server::wire::Inbound;

/// Adds bytes to the end of an appendable object; the first ones make it.
pub(super) async fn append(call: Call<'_>, body: &mut Inbound<'_>) -> Result<Answer, OssError> {
    call.refuse_hierarchical("append")?;
    conditions::refuse(call.request)?;
    let position = position(call)?;
    let attributes = attributes::read(call.request)?;
    let if_present = attributes::if_present(call.request);
    // Refused before the body is received, and again when it is: another append may be faster.
    let len = receive::announced(call.request)?.unwrap_or(0);
    call.bucket
        .may_append(call.key, position, len, if_present)?;
    let received = receive::content(call, body).await?;
    let object = call
        .bucket
        .append(call.key, position, received, attributes, if_present)?;
    let builder = Response::builder().header("x-oss-next-append-position", object.size);
    Ok(answer::empty(described::written(&object, builder)))
}

fn position(call: Call<'_>) -> Result<u64, OssError> {
    match call.request.param("position") {
        None => Err(OssError::new(
            400,
            "MissingArgument",
            "Missing Some Required Arguments.",
            "0016-00000501",
        )
        .with("ArgumentName", "position")),
        Some(text) => text.parse().map_err(|_| OssError {
            ec: "0016-00000502",
            ..OssError::invalid_argument("position", text, "The position is no number.")
        }),
    }
}
