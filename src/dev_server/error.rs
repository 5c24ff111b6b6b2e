//! What the server answers when it refuses.

/// One refusal, as the XML body of OSS carries it.
#[derive(Debug, Clone)]
pub(crate) struct OssError {
    /// HTTP status.
    pub status: u16,
    /// The `Code` element.
    pub code: &'static str,
    /// The `Message` element.
    pub message: String,
    /// The `EC` element; empty if it has none.
    pub ec: &'static str,
    /// Further elements by name.
    pub extra: Vec<(&'static str, String)>,
}

impl OssError {
    /// A refusal without `EC` and further elements.
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            ec: "",
            extra: Vec::new(),
        }
    }
}
