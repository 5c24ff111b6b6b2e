//! Writes that succeeded although the answer says otherwise.
//!
//! An answer that is lost makes the request be sent again, and what was done the first time may make the second one fail. Then,
//! and only then, the bucket is looked at. What each operation takes as proof:
//!
//! | operation | refusal | only after a lost answer | it succeeded if |
//! |---|---|---|---|
//! | PutObject, not to overwrite | FileAlreadyExists | yes | length, CRC-64 and user metadata are those sent |
//! | AppendObject | PositionNotEqualToLength | yes | length is position + appended, and the CRC-64 is that of old and appended bytes |
//! | CompleteMultipartUpload | NoSuchUpload | no | length and CRC-64 are those of the parts; if the CRC-64 is unknown, the ETag is that of the parts |
//! | | FileAlreadyExists | yes | the same |
//! | CopyObject | FileAlreadyExists, and 404 or 412 for a source that went away | yes | ETag, or else length and CRC-64, is the source's, and replaced metadata is there |
//! | PutSymlink, not to overwrite | FileAlreadyExists | yes | the link's target is the same |
//! | AbortMultipartUpload | NoSuchUpload | no | always: it is gone |
//! | DeleteObject | NoSuchKey | no | always: it is gone |
//!
//! All others can be repeated without harm. Two writers that write the same bytes cannot be told apart by this, but for
//! metadata: who has to be sure that an object is its own gives it some that nobody else has.
//!
//! A look that shows something else leaves the refusal as it is. After a completion whose answer was lost OSS may still be
//! putting parts together, so it is looked a few times.

use http::{HeaderMap, Method};

use super::bucket::{Bucket, Request};
use super::error::{Error, Kind};
use super::operation::Operation;
use super::properties::{Description, described};
use super::send::{Attempt, Exchange};
use super::verdict::Failure;
use crate::object::ObjectKey;
use crate::op::Op;

/// What a look has to show, and what is made of it.
type Proof<'r, T> = dyn Fn(&Description, &HeaderMap) -> Option<T> + Send + Sync + 'r;

/// One HEAD, or a few, until it shows that a write succeeded.
struct Look<'r, T> {
    request: Request,
    times: u32,
    proof: Box<Proof<'r, T>>,
}

impl<T> Attempt for Look<'_, T> {
    /// `None`: something else is there, or nothing.
    type Done = Option<T>;

    async fn attempt(&mut self, exchange: &mut Exchange<'_>) -> Result<Option<T>, Failure> {
        let shown = match exchange.send(&self.request).await {
            Ok(response) => {
                let described = described(response.headers());
                let described = described.map_err(|detail| Failure::Lie(detail, Box::default()))?;
                (self.proof)(&described, response.headers())
            }
            Err(failure) if failure.verdict(Operation::Head).0 == Kind::NotFound => None,
            Err(failure) => return Err(failure),
        };
        self.times = self.times.saturating_sub(1);
        match shown {
            None if self.times > 0 => Err(Failure::NotYet),
            shown => Ok(shown),
        }
    }
}

impl Bucket {
    /// Turns a refusal into success if the bucket shows that the write had its effect.
    ///
    /// # Errors
    /// `refusal` if it does not, and what a HEAD can fail with: then nobody knows.
    pub(super) async fn recognise<T>(
        &self,
        op: &Op,
        key: &ObjectKey,
        refusal: Error,
        times: u32,
        proof: impl Fn(&Description, &HeaderMap) -> Option<T> + Send + Sync,
    ) -> Result<T, Error> {
        let mut look = Look {
            request: Request::new(Method::HEAD, Vec::new()),
            times,
            proof: Box::new(proof),
        };
        let mut exchange = Exchange::new(self, op, Operation::Head, Some(key));
        let shown = exchange.persist(&mut look).await?.ok_or(refusal)?;
        self.recognised(op, key);
        Ok(shown)
    }

    pub(super) fn recognised(&self, op: &Op, key: &ObjectKey) {
        self.metrics.oss.recognised.inc();
        tracing::debug!(op = op.id(), %key, "a write had succeeded though its answer was lost");
    }
}
