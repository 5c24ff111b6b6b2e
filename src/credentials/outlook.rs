//! How the current set stands, for whoever looks at a mount. Nothing of it is a secret.

use jiff::Timestamp;

/// How the current set stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// The source that it came from, as [`Source`](super::Source) writes it; `None` as long as there is no set.
    pub origin: Option<String>,
    /// Its shortened key id.
    pub key: Option<String>,
    /// When it ends; `None` if it never does or nobody said.
    pub expires: Option<Timestamp>,
    /// When the next set is sought, if this one ends; not after now if it is being sought.
    pub refreshes: Option<Timestamp>,
    /// Requests can be signed with it: it lives, and the server has not refused it.
    pub is_alive: bool,
    /// Why the last attempt brought no set, place by place; `None` if it did.
    pub trouble: Option<String>,
}
