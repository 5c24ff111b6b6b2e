//! Files that one request stores: small ones, and copies of an object.

use super::super::bases::{BaseId, Copying};
use super::super::body::assemble_checked;
use super::super::error::Error;
use super::super::file::File;
use super::super::limits::Limits;
use super::super::plan::Plan;
use super::super::writer::Exclusive;
use super::{Made, Outcome, Snapshot};
use crate::object::ObjectType;
use crate::op::Op;
use crate::oss::{self, Condition, CopyProperties, CopySource, Kind};

impl File {
    /// One PutObject.
    pub(super) async fn put(&self, op: &Op, shot: &Snapshot) -> Result<Outcome, Error> {
        let properties = self.check(op, shot, &Plan::Put).await?;
        let fragments = shot.fragments(0..shot.len())?;
        let body = assemble_checked(&self.writer, fragments).await?;
        let _place = self.writer.sends.acquire().await;
        self.unsure(shot, body.crc64());
        let bucket = &self.writer.bucket;
        let put = bucket.put_object(op, &shot.key, &body, &properties, shot.condition);
        let stored = put.await.map_err(|error| self.refused(shot, error))?;
        Ok(Outcome::Stored(Made {
            stored,
            kind: ObjectType::Normal,
            class: properties.storage_class,
        }))
    }

    /// One CopyObject. What is said of the source is said of the copy.
    pub(super) async fn copy_whole(
        &self,
        op: &Op,
        shot: &Snapshot,
        base: BaseId,
        limits: &mut Limits,
    ) -> Result<Outcome, Error> {
        self.check(op, shot, &Plan::Copy(base)).await?;
        let bucket = &self.writer.bucket;
        let from = shot.draft.bases().get(base);
        let version = &from.version;
        let described = bucket.describe_with_tags(op, version.key()).await;
        let source = match described {
            Ok(source) if source.meta.etag == *version.etag() => source,
            Ok(_) => return Err(Error::Lost(version.key().clone())),
            Err(error) if *error.kind() == Kind::NotFound => {
                return Err(Error::Lost(version.key().clone()));
            }
            Err(error) => return Err(error.into()),
        };
        let copied = CopySource {
            crc64: source.meta.crc64,
            ..CopySource::from(&**version)
        };
        self.unsure(shot, source.meta.crc64);
        let properties = CopyProperties::Keep(&source.properties);
        let copy = bucket.copy_object(op, copied, &shot.key, properties, shot.condition);
        let error = match copy.await {
            Ok(stored) => {
                return Ok(Outcome::Stored(Made {
                    stored,
                    // Whatever the source is (OSS help "CopyObject").
                    kind: ObjectType::Normal,
                    class: source.properties.storage_class,
                }));
            }
            Err(error) => error,
        };
        self.sure(&error);
        match error.kind() {
            Kind::NotFound | Kind::Changed => Err(Error::Lost(version.key().clone())),
            // It is copied in parts, or sent.
            Kind::TooLarge | Kind::Invalid | Kind::Unsupported | Kind::Archived => {
                match from.copying {
                    Copying::Ranges => limits.copy_object_bytes_max = 0,
                    Copying::Whole | Copying::Nothing => {
                        self.lock().draft.set_copying(base, Copying::Nothing);
                    }
                }
                Ok(Outcome::Again)
            }
            Kind::AlreadyExists
            | Kind::Immutable
            | Kind::NoSuchUpload
            | Kind::Corrupt
            | Kind::Denied { .. }
            | Kind::NoSuchBucket
            | Kind::Suspended
            | Kind::CredentialsGone
            | Kind::CredentialsRefused
            | Kind::ClockSkewed
            | Kind::WrongEndpoint { .. }
            | Kind::PublicEndpointForbidden
            | Kind::Throttled
            | Kind::Unavailable
            | Kind::Lied
            | Kind::Cancelled => Err(self.refused(shot, error)),
        }
    }

    /// What the caller is told of the last request of a commit.
    pub(super) fn refused(&self, shot: &Snapshot, error: oss::Error) -> Error {
        self.sure(&error);
        if *error.kind() != Kind::AlreadyExists || shot.condition != Condition::ForbidOverwrite {
            return error.into();
        }
        match shot.exclusive {
            Exclusive::Remote => Error::Exists(shot.key.clone()),
            Exclusive::Local => {
                self.writer.metrics.write.conflicts.inc();
                Error::Taken(shot.key.clone())
            }
        }
    }
}
