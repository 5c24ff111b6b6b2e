//! What a key was before: older versions and delete markers of a bucket that keeps them.
//!
//! The current object of each key is in the bucket's index, as in any bucket; here is the rest. A key whose latest
//! version is a delete marker is not in the index. All of it is kept in memory: versions that are not the current ones
//! end with the server, also where objects are on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::object::{NULL_VERSION, Object};

/// Whether a bucket keeps versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Versioning {
    /// It never did.
    #[default]
    Never,
    /// Every write makes a version, and a delete a marker.
    Enabled,
    /// What is written replaces the version `null` of its key; older versions stay.
    Suspended,
}

impl Versioning {
    /// The id of a version that is written now.
    pub(super) fn new_version(self) -> Option<String> {
        match self {
            Self::Never => None,
            Self::Enabled => Some(format!("CAEQ{:032x}", fastrand::u128(..))),
            Self::Suspended => Some(NULL_VERSION.to_owned()),
        }
    }
}

/// A version that is not current, or a delete marker's version.
#[derive(Debug, Clone)]
pub(crate) enum Past {
    Object(Arc<Object>),
    Marker(String),
}

impl Past {
    pub(crate) fn version(&self) -> &str {
        match self {
            Self::Object(object) => object.version(),
            Self::Marker(version) => version,
        }
    }
}

/// What a delete did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Deleted {
    /// A marker was made, or the version that is gone was one.
    pub(crate) marker: bool,
    /// The marker that was made, or the version that is gone.
    pub(crate) version: Option<String>,
}

/// The past of all keys, the newest of each key last.
#[derive(Debug, Default)]
pub(super) struct History(BTreeMap<String, Vec<Past>>);

impl History {
    /// An object is no longer the current one.
    pub(super) fn retire(&mut self, versioning: Versioning, old: Arc<Object>) {
        match versioning {
            Versioning::Never => {}
            Versioning::Suspended if old.version() == NULL_VERSION => {}
            Versioning::Enabled | Versioning::Suspended => {
                self.0
                    .entry(old.key.clone())
                    .or_default()
                    .push(Past::Object(old));
            }
        }
    }

    /// A new version `null` takes the place of the old one.
    pub(super) fn forget_null(&mut self, versioning: Versioning, key: &str) {
        if versioning == Versioning::Suspended {
            drop(self.remove(key, NULL_VERSION));
        }
    }

    /// The key is deleted.
    pub(super) fn mark(&mut self, version: String, key: &str) {
        let marker = Past::Marker(version);
        self.0.entry(key.to_owned()).or_default().push(marker);
    }

    pub(super) fn find(&self, key: &str, version: &str) -> Option<&Past> {
        let past = self.0.get(key)?;
        past.iter().find(|past| past.version() == version)
    }

    pub(super) fn remove(&mut self, key: &str, version: &str) -> Option<Past> {
        let past = self.0.get_mut(key)?;
        let at = past.iter().position(|past| past.version() == version)?;
        let removed = past.remove(at);
        if past.is_empty() {
            self.0.remove(key);
        }
        Some(removed)
    }

    /// The newest of a key.
    pub(super) fn latest(&self, key: &str) -> Option<&Past> {
        self.0.get(key)?.last()
    }
}
