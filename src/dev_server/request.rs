//! One request head as it came off the wire.

/// The parsed head of one request.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    /// The method.
    pub(crate) method: http::Method,
    /// The path as on the wire, percent-encoded.
    pub(crate) raw_path: String,
    /// The query as on the wire, without its `?`.
    pub(crate) raw_query: Option<String>,
    /// The query decoded, in wire order.
    pub(crate) query: Vec<(String, String)>,
    /// The headers.
    pub(crate) headers: http::HeaderMap,
    /// The `Host` header.
    pub(crate) host: String,
    /// The bucket, of the host name or of the path.
    pub(crate) bucket: Option<String>,
    /// The object key, decoded.
    pub(crate) key: Option<String>,
    /// Whether the bucket came in the host name.
    pub(crate) virtual_hosted: bool,
}
