//! Who started the process behind a mount, and what is said to it.

use std::os::fd::RawFd;
use std::path::Path;

use anyhow::{Context, Result};

use super::daemon::Readiness;
use super::ending::{Impatience, OwnMount};
use super::preflight;
use super::run::Supervised;
use crate::fuse::{self, MountOptions, Mounted, handed};

/// The descriptor of `/dev/fuse` that a caller has mounted itself and names as `/dev/fd/N`: as a storage driver of Kubernetes does, which may mount where this
/// process may not.
pub(super) fn descriptor(mountpoint: &Path) -> Option<RawFd> {
    mountpoint
        .strip_prefix("/dev/fd")
        .ok()?
        .to_str()?
        .parse()
        .ok()
}

/// Who started the process behind a mount.
#[derive(Debug)]
pub(super) enum Parent {
    /// A prompt that waits for the mount to answer, or nobody.
    Prompt(Readiness, Impatience),
    /// `rolefs run`, which makes and ends the mount itself.
    Supervisor(Supervised),
}

impl Parent {
    /// A prompt, or nobody.
    pub(super) fn prompt(readiness: Readiness) -> Self {
        Self::Prompt(readiness, Impatience::default())
    }

    /// Makes the mount.
    pub(super) fn mount(&self, mountpoint: &Path, options: &MountOptions) -> Result<Mounted> {
        if let Some(number) = descriptor(mountpoint) {
            let fd = handed::inherited(number)
                .with_context(|| format!("{} is not open; hand it over", mountpoint.display()))?;
            return Ok(Mounted {
                mountpoint: mountpoint.to_owned(),
                fd,
            });
        }
        match self {
            Self::Prompt(..) => {
                fuse::mount(mountpoint, options).map_err(|error| preflight::explain_mount(&error))
            }
            Self::Supervisor(supervised) => supervised.mount(mountpoint, options),
        }
    }

    /// The mount, as this process may end it.
    pub(super) fn own<'a>(&self, mountpoint: &'a Path) -> OwnMount<'a> {
        match self {
            _ if descriptor(mountpoint).is_some() => OwnMount::elsewhere(mountpoint),
            Self::Prompt(..) => OwnMount::new(mountpoint),
            Self::Supervisor(_) => OwnMount::of_parent(mountpoint),
        }
    }

    /// The mount answers.
    pub(super) fn ready(&mut self) -> Result<()> {
        match self {
            Self::Prompt(readiness, _) => readiness.ready(),
            Self::Supervisor(supervised) => supervised.ready(),
        }
    }

    /// Resolves when the mount is to end.
    pub(super) async fn end(&self) {
        match self {
            Self::Prompt(..) => std::future::pending().await,
            Self::Supervisor(supervised) => supervised.end().await,
        }
    }

    /// Resolves when the time for storing is over, if somebody knows better than `store_grace`: the supervisor, or whoever sends a SIGINT while the
    /// mount ends.
    pub(super) async fn enough(&self) {
        match self {
            Self::Prompt(_, impatience) => impatience.shown().await,
            Self::Supervisor(supervised) => supervised.enough().await,
        }
    }

    /// What was staged is stored, or as much of it as could be.
    pub(super) fn stored(&self, is_all: bool) {
        match self {
            Self::Prompt(..) => {}
            Self::Supervisor(supervised) => supervised.stored(is_all),
        }
    }
}
