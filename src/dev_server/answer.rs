//! Answers and the headers they are made of.

use http::response::Builder;
use http::{HeaderValue, Response, header};

use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};

/// An answer before faults and the wire: the body in pieces that are sent one after another, never copied.
pub(crate) type Answer = Response<Vec<Bytes>>;

/// Completes an answer whose headers are all there.
pub(super) fn finish(builder: Builder, body: Vec<Bytes>) -> Answer {
    // A stored header value was checked when it came in; what else may not be sent is an error of this program.
    builder.body(body).unwrap_or_else(|error| {
        tracing::warn!(%error, "dev server: an answer could not be built");
        let mut response = Response::new(Vec::new());
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        response
    })
}

/// An answer whose body is one piece of text.
pub(super) fn with_body(builder: Builder, text: String) -> Answer {
    let builder = builder.header(header::CONTENT_LENGTH, text.len());
    finish(builder, vec![Bytes::from(text)])
}

/// 200 with XML.
pub(super) fn xml(text: String) -> Answer {
    with_body(
        Response::builder().header(header::CONTENT_TYPE, "application/xml"),
        text,
    )
}

/// An answer without a body.
pub(super) fn empty(builder: Builder) -> Answer {
    finish(builder.header(header::CONTENT_LENGTH, 0), Vec::new())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn http_date(time: Timestamp) -> String {
    DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .unwrap_or_default()
}

/// Reads what [`http_date`] writes.
pub(super) fn parse_http_date(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

/// `1994-11-06T08:49:37.000Z`: OSS has whole seconds and prints milliseconds.
pub(super) fn iso_date(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

/// An ETag as it is printed everywhere.
pub(super) fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_printed_as_oss_prints_them() {
        let time = Timestamp::from_second(784_111_777).unwrap_or_default();
        assert_eq!(http_date(time), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(iso_date(time), "1994-11-06T08:49:37.000Z");
        assert_eq!(parse_http_date(&http_date(time)), Some(time));
        assert_eq!(parse_http_date("yesterday"), None);
    }
}
