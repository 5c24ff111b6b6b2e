//! Who may do what. For now nobody can be an authority: a server without one is open.

use jiff::Timestamp;

use super::error::OssError;
use super::request::Incoming;

/// Checks signatures, tokens and policies.
#[derive(Debug)]
pub struct Authority(std::convert::Infallible);

impl Authority {
    /// Whether the request may do `action`, a RAM action, on `resource_key`, a key of its bucket.
    pub(crate) fn check(
        &self,
        request: &Incoming,
        _action: &str,
        _resource_key: Option<&str>,
        _now: Timestamp,
    ) -> Result<(), OssError> {
        // What a signature is computed from.
        let _ = (
            &request.raw_path,
            &request.raw_query,
            request.virtual_hosted,
        );
        match self.0 {}
    }
}
