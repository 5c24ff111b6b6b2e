//! One request head as it came off the wire.

/// The parsed head of one request.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    /// The method.
    pub method: http::Method,
    /// The path as on the wire, percent-encoded.
    pub raw_path: String,
    /// The query as on the wire, without its `?`.
    pub raw_query: Option<String>,
    /// The query decoded, in wire order.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The `Host` header.
    pub host: String,
    /// The bucket, of the host name or of the path.
    pub bucket: Option<String>,
    /// The object key, decoded.
    pub key: Option<String>,
    /// Whether the bucket came in the host name.
    pub virtual_hosted: bool,
}
