//! What the server answers when it refuses.

/// One refusal, as the XML body of OSS carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OssError {
    pub(crate) status: u16,
    /// The `Code` element.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// The `EC` element; empty if it has none.
    pub(crate) ec: &'static str,
    /// Further elements by name.
    pub(crate) extra: Vec<(&'static str, String)>,
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
        }
    }

    /// Adds an element.
    pub(crate) fn with(mut self, element: &'static str, text: impl Into<String>) -> Self {
        self.extra.push((element, text.into()));
        self
    }
}
