//! What the role and the bucket allow: learned at start, and named once when it is missed later.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::object::{ObjectKey, Prefix};
use crate::op::Op;
use crate::oss::{self, Bucket, BucketInfo, Kind};

/// An upload id as OSS makes them, of no upload.
const NO_UPLOAD: &str = "00000000000000000000000000000000";

/// What a role may do under the mounted prefix, as far as it could be found out without doing harm.
#[derive(Debug)]
pub struct Capabilities {
    /// ListObjects works.
    list: bool,
    /// GetObject and HeadObject work.
    get: bool,
    /// What OSS said when it was asked whether the role may write, if it may not.
    no_writes: Option<oss::Error>,
    /// A refusal was already logged, for ListObjects, for GetObject, and for what writes.
    said_list: AtomicBool,
    said_get: AtomicBool,
    said_write: AtomicBool,
    /// The kernel can read local files by itself.
    passthrough: AtomicBool,
}

/// What was found out at start.
#[derive(Debug)]
pub struct Probe {
    /// The role's rights.
    pub capabilities: Capabilities,
    /// The bucket itself, if the role may ask for it.
    pub bucket: Option<BucketInfo>,
    /// RAM actions that the role lacks, e.g. `oss:ListObjects`.
    pub missing: Vec<&'static str>,
    /// Nothing is below the prefix, not even its own marker.
    pub is_empty: bool,
}

impl Capabilities {
    /// Asks the bucket what it is and what the role may do under `prefix`.
    ///
    /// # Errors
    /// Of OSS, if it says anything else than yes, no, or "not there": wrong endpoint, no such bucket, skewed clock, refused
    /// credentials. A role that may do nothing at all gets the refusal of ListObjects.
    pub async fn probe(bucket: &Bucket, prefix: &Prefix) -> Result<Probe, oss::Error> {
        let op = Op::background("preflight");
        let info = allowed(bucket.info(&op).await)?;
        let request = super::ask::first_key(prefix.as_str());
        let listed = bucket.list(&op, &request).await;
        // A name that nobody gives an object: "not found" proves the right as well as a hit would.
        let name = prefix
            .object(".rolefs-preflight")
            .unwrap_or_else(|_| probe_key());
        let headed = match bucket.head(&op, &name).await {
            Err(error) if matches!(error.kind(), Kind::NotFound) => Some(()),
            other => allowed(other)?.map(|_| ()),
        };
        let is_empty = listed
            .as_ref()
            .is_ok_and(|page| page.objects.is_empty() && page.prefixes.is_empty());
        let (list, get) = match (listed, headed) {
            (Ok(_), get) => (true, get.is_some()),
            (Err(error), Some(())) if matches!(error.kind(), Kind::Denied { .. }) => (false, true),
            (Err(error), _) => return Err(error),
        };
        let mut missing = Vec::new();
        if !list {
            missing.push("oss:ListObjects");
        }
        if !get {
            missing.push("oss:GetObject");
        }
        let capabilities = Self {
            list,
            get,
            no_writes: None,
            said_list: AtomicBool::new(!list),
            said_get: AtomicBool::new(!get),
            said_write: AtomicBool::new(false),
            passthrough: AtomicBool::new(false),
        };
        Ok(Probe {
            capabilities,
            bucket: info,
            missing,
            is_empty,
        })
    }

    /// Asks whether the role may write under `prefix`, by a part for an upload that is not there: who may is told so, and nothing
    /// is stored.
    ///
    /// # Errors
    /// What the request can fail with beside these two answers.
    pub async fn probe_writes(
        &mut self,
        bucket: &Bucket,
        prefix: &Prefix,
    ) -> Result<(), oss::Error> {
        let key = prefix.object(".rolefs-preflight");
        let upload = oss::Upload {
            key: key.unwrap_or_else(|_| probe_key()),
            id: NO_UPLOAD.to_owned(),
        };
        let body = oss::Body::from(bytes::Bytes::from_static(b"?"));
        let op = Op::background("preflight");
        let Err(error) = bucket.upload_part(&op, &upload, 1, &body).await else {
            return Ok(());
        };
        match error.kind() {
            Kind::NoSuchUpload | Kind::NotFound | Kind::Invalid => Ok(()),
            Kind::Denied { .. } => {
                self.no_writes = Some(error);
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Why the role may not write, if it was found that it may not.
    #[must_use]
    pub fn refuses_writes(&self) -> Option<oss::Error> {
        self.no_writes.clone()
    }

    /// The role may list under the mount's prefix.
    pub(super) fn list(&self) -> bool {
        self.list
    }

    /// The role may read under the mount's prefix.
    pub(super) fn get(&self) -> bool {
        self.get
    }

    /// The kernel can read local files by itself.
    pub(super) fn passthrough(&self) -> bool {
        self.passthrough.load(Ordering::Relaxed)
    }

    pub(super) fn set_passthrough(&self, can: bool) {
        self.passthrough.store(can, Ordering::Relaxed);
    }

    /// A refusal that preflight has not foreseen (a policy for a deeper prefix, a policy that changed): says once which
    /// RAM action is missing. Each refused operation is logged by itself where it is answered.
    pub(super) fn refused(&self, error: &oss::Error) {
        let Kind::Denied { action } = error.kind() else {
            return;
        };
        let said = match *action {
            "oss:ListObjects" => &self.said_list,
            "oss:GetObject" => &self.said_get,
            _ => &self.said_write,
        };
        if !said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the role lacks the RAM action {action} for a part of the mount: {error}"
            );
        }
    }
}

/// `None` if the role may not.
fn allowed<T>(result: Result<T, oss::Error>) -> Result<Option<T>, oss::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), Kind::Denied { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn probe_key() -> ObjectKey {
    ObjectKey::new(".rolefs-preflight").expect("a short name is a key")
}
