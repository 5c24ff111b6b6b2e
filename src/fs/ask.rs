//! The questions to OSS that a name needs.
//!
//! OSS has keys, not directories: `name` is a file if there is an object of that key, and a directory if any key begins
//! with `name/`. Unknown names take a HEAD and a LIST at the same time; names that were known take only the question that
//! would confirm them. A directory wins over an object of the same name.

use crate::object::{ObjectKey, ObjectMeta, ObjectType, Prefix, UnixTime};
use crate::op::Op;
use crate::oss::{self, Kind, ListRequest};

use super::{Error, FileSystem};

/// What a name is.
#[derive(Debug)]
pub(super) enum Answer {
    Object(ObjectMeta),
    Link(Box<Link>),
    Directory,
    Nothing,
}

/// A symbolic link of OSS.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) itself: oss::Symlink,
    pub(super) modified: UnixTime,
}

/// What stands at a key.
#[derive(Debug)]
enum Stands {
    Object(ObjectMeta),
    Link(Box<Link>),
}

impl From<Option<Stands>> for Answer {
    fn from(stands: Option<Stands>) -> Self {
        match stands {
            Some(Stands::Object(meta)) => Self::Object(meta),
            Some(Stands::Link(link)) => Self::Link(link),
            None => Self::Nothing,
        }
    }
}

/// What a HEAD answers for a link to nothing, and for one to a link (OSS help "GetSymlink").
const NO_TARGET: [&str; 2] = ["SymlinkTargetNotExist", "InvalidTargetType"];

/// What a name was when it was last asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guess {
    Unknown,
    Object,
    Directory,
}

/// Whether there is any key under a directory.
#[derive(Debug)]
enum Under {
    Something,
    Nothing,
    /// The role may not list there.
    NotAllowed,
}

impl FileSystem {
    /// Asks what is at `key`, and under `directory`, which is `key` with a slash.
    pub(super) async fn ask(
        &self,
        op: &Op,
        key: &ObjectKey,
        directory: Option<&Prefix>,
        guess: Guess,
    ) -> Result<Answer, Error> {
        // Past the longest key there can be no key that begins with `name/`.
        let Some(directory) = directory else {
            return Ok(self.object(op, key).await?.into());
        };
        match guess {
            Guess::Object => {
                if let Some(stands) = self.object(op, key).await? {
                    return Ok(Some(stands).into());
                }
                let under = self.under(op, directory).await;
                self.settle(Ok(None), under)
            }
            Guess::Directory => {
                let under = self.under(op, directory).await?;
                if matches!(under, Under::Something) {
                    return Ok(Answer::Directory);
                }
                let object = self.object(op, key).await;
                self.settle(object, Ok(under))
            }
            Guess::Unknown => {
                let (object, under) = tokio::join!(self.object(op, key), self.under(op, directory));
                self.settle(object, under)
            }
        }
    }

    /// Brings both answers together.
    fn settle(
        &self,
        object: Result<Option<Stands>, oss::Error>,
        under: Result<Under, oss::Error>,
    ) -> Result<Answer, Error> {
        match (object, under) {
            (_, Ok(Under::Something)) => Ok(Answer::Directory),
            (Ok(Some(stands)), _) => Ok(Some(stands).into()),
            (Ok(None), Ok(Under::Nothing)) => Ok(Answer::Nothing),
            // A role that may list nowhere: a name that is no object is taken for a directory, or nothing below it could
            // be reached. The README says so.
            (Ok(None), Ok(Under::NotAllowed)) if !self.capabilities.list() => Ok(Answer::Directory),
            (Ok(None), Ok(Under::NotAllowed)) => Ok(Answer::Nothing),
            (Err(error), _) | (_, Err(error)) => Err(error.into()),
        }
    }

    /// The object at `key`, by HEAD, or from a listing where the role may only list; `None` if there is none.
    async fn object(&self, op: &Op, key: &ObjectKey) -> Result<Option<Stands>, oss::Error> {
        if !self.capabilities.get() {
            return self.listed_object(op, key).await;
        }
        match self.bucket.head(op, key).await {
            Ok(meta) if meta.kind == ObjectType::Symlink => self.link(op, key, meta.modified).await,
            Ok(meta) => Ok(Some(Stands::Object(meta))),
            Err(error) if error.code().is_some_and(|code| NO_TARGET.contains(&code)) => {
                self.link(op, key, UnixTime::default()).await
            }
            Err(error) if matches!(error.kind(), Kind::NotFound) => Ok(None),
            Err(error) if is_denied(&error) && self.capabilities.list() => {
                self.capabilities.refused(&error);
                self.listed_object(op, key).await
            }
            Err(error) => Err(self.noted(error)),
        }
    }

    /// The link at `key`; `None` if it is gone.
    async fn link(
        &self,
        op: &Op,
        key: &ObjectKey,
        modified: UnixTime,
    ) -> Result<Option<Stands>, oss::Error> {
        match self.bucket.get_symlink(op, key).await {
            Ok(itself) => Ok(Some(Stands::Link(Box::new(Link { itself, modified })))),
            Err(error) if matches!(error.kind(), Kind::NotFound) => Ok(None),
            Err(error) => Err(self.noted(error)),
        }
    }

    /// The object at `key` as a listing shows it: it is the first of all keys that begin so.
    async fn listed_object(&self, op: &Op, key: &ObjectKey) -> Result<Option<Stands>, oss::Error> {
        let listed = self.bucket.list(op, &first_key(key.as_str())).await;
        let page = listed.map_err(|error| self.noted(error))?;
        let found = page
            .objects
            .into_iter()
            .find(|(found, _)| found == key.as_str());
        Ok(found.map(|(_, meta)| Stands::Object(meta)))
    }

    /// Whether any key begins with `directory`.
    async fn under(&self, op: &Op, directory: &Prefix) -> Result<Under, oss::Error> {
        if !self.capabilities.list() {
            return Ok(Under::NotAllowed);
        }
        match self.bucket.list(op, &first_key(directory.as_str())).await {
            Ok(page) if page.objects.is_empty() && page.prefixes.is_empty() => Ok(Under::Nothing),
            Ok(_) => Ok(Under::Something),
            Err(error) if is_denied(&error) => {
                self.capabilities.refused(&error);
                Ok(Under::NotAllowed)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes note of a refusal.
    pub(super) fn noted(&self, error: oss::Error) -> oss::Error {
        self.capabilities.refused(&error);
        error
    }
}

/// Asks for the first of all keys that begin with `prefix`.
pub(super) fn first_key(prefix: &str) -> ListRequest {
    ListRequest {
        delimiter: false,
        max_keys: 1,
        ..ListRequest::directory(prefix)
    }
}

fn is_denied(error: &oss::Error) -> bool {
    matches!(error.kind(), Kind::Denied { .. })
}
