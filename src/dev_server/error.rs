//! What OSS says when it refuses: status, code, and the XML around them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Response, StatusCode, header};

use super::answer::{self, Answer};
use super::xml::Xml;

/// A refusal, before it knows its request id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OssError {
    pub(crate) status: u16,
    /// The `Code` of the XML; empty for 304, which has no body.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// `EC` of the XML and `x-oss-ec`; empty for none.
    pub(crate) ec: &'static str,
    /// Elements that belong to this code, such as `Key` or `StringToSign`.
    pub(crate) extra: Vec<(&'static str, String)>,
    /// Headers that belong to this code, such as `Content-Range` of a 416.
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl OssError {
    pub(crate) fn new(
        status: u16,
        code: &'static str,
        message: impl Into<String>,
        ec: &'static str,
    ) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            ec,
            extra: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Adds an element to the XML.
    pub(crate) fn with(mut self, element: &'static str, text: impl Into<String>) -> Self {
        self.extra.push((element, text.into()));
        self
    }

    /// Adds a header.
    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn invalid_argument(name: &str, value: &str, why: impl Into<String>) -> Self {
        Self::new(400, "InvalidArgument", why, "0002-00000903")
            .with("ArgumentName", name)
            .with("ArgumentValue", value)
    }

    pub(crate) fn no_such_bucket(bucket: &str) -> Self {
        Self::new(
            404,
            "NoSuchBucket",
            "The specified bucket does not exist.",
            "0015-00000101",
        )
        .with("BucketName", bucket)
    }

    pub(crate) fn no_such_key(key: &str) -> Self {
        Self::new(
            404,
            "NoSuchKey",
            "The specified key does not exist.",
            "0026-00000001",
        )
        .with("Key", key)
    }

    pub(crate) fn no_such_upload(id: &str) -> Self {
        Self::new(
            404,
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
            "0042-00000311",
        )
        .with("UploadId", id)
    }

    pub(crate) fn precondition(condition: &str) -> Self {
        Self::new(
            412,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold.",
            "0016-00000902",
        )
        .with("Condition", condition)
    }

    pub(crate) fn not_implemented(what: &str) -> Self {
        Self::new(
            501,
            "NotImplemented",
            "A parameter you provided implies functionality that is not implemented.",
            "0002-00000910",
        )
        .with("Parameter", what)
    }

    pub(crate) fn internal(why: impl std::fmt::Display) -> Self {
        tracing::warn!(%why, "dev server: internal error");
        Self::new(
            500,
            "InternalError",
            "We encountered an internal error. Please try again.",
            "0001-00000001",
        )
    }

    fn xml(&self, request_id: &str, host: &str) -> String {
        let mut xml = Xml::new();
        xml.open("Error");
        xml.text("Code", self.code);
        xml.text("Message", &self.message);
        xml.text("RequestId", request_id);
        xml.text("HostId", host);
        for (element, text) in &self.extra {
            xml.text(element, text);
        }
        if !self.ec.is_empty() {
            xml.text("EC", self.ec);
        }
        xml.close("Error");
        xml.finish()
    }

    /// The answer on the wire. HEAD has no body, so its XML travels in `x-oss-err`; 304 says nothing at all.
    pub(crate) fn render(&self, method: &Method, request_id: &str, host: &str) -> Answer {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::builder().status(status);
        for (name, value) in &self.headers {
            response = response.header(*name, value);
        }
        if !self.ec.is_empty() {
            response = response.header("x-oss-ec", self.ec);
        }
        if status == StatusCode::NOT_MODIFIED {
            return answer::finish(response, Vec::new());
        }
        let xml = self.xml(request_id, host);
        response = response.header(header::CONTENT_TYPE, "application/xml");
        if method == Method::HEAD {
            let response = response
                .header("x-oss-err", STANDARD.encode(&xml))
                .header(header::CONTENT_LENGTH, 0);
            return answer::finish(response, Vec::new());
        }
        answer::with_body(response, xml)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_xml_names_code_request_and_host_and_escapes() {
        let error = OssError::no_such_key("a<b&c\u{1}");
        let xml = error.xml("5C3D", "h:1");
        assert_eq!(
            xml,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code>\
             <Message>The specified key does not exist.</Message><RequestId>5C3D</RequestId><HostId>h:1</HostId>\
             <Key>a&lt;b&amp;c&#x1;</Key><EC>0026-00000001</EC></Error>"
        );
    }

    #[test]
    fn a_head_carries_its_xml_in_a_header() {
        let answer = OssError::no_such_key("k").render(&Method::HEAD, "id", "h");
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.headers()["x-oss-ec"], "0026-00000001");
        let xml = STANDARD
            .decode(answer.headers()["x-oss-err"].as_bytes())
            .unwrap();
        assert!(
            String::from_utf8(xml)
                .unwrap()
                .contains("<Code>NoSuchKey</Code>")
        );
        assert!(answer.body().is_empty());
    }

    #[test]
    fn not_modified_has_no_body() {
        let answer = OssError::new(304, "", "", "").render(&Method::GET, "id", "h");
        assert!(answer.body().is_empty());
        assert!(!answer.headers().contains_key("content-type"));
    }
}
