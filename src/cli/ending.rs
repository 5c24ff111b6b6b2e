//! How a mount ends: by umount(8), by a signal, or because something failed on the way up.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::fuse;

/// How long requests in flight may take to end once the mount is gone.
pub(super) const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// The mount that this process has made. If it is dropped before it is gone, it is taken away.
///
/// What else stands at the mountpoint is not ours: somebody may have taken our mount out of the tree (`umount --lazy`) while its
/// files are still open, and mounted something else there, or on top of it.
#[derive(Debug)]
pub(super) struct OwnMount<'a> {
    mountpoint: &'a Path,
    /// As [`fuse::mounted_at`] said when it was made.
    device: Option<String>,
    is_gone: bool,
    /// The parent has made it, and this process may have no right to end it.
    is_of_parent: bool,
}

impl<'a> OwnMount<'a> {
    /// To be called when the mount has just been made.
    pub(super) fn new(mountpoint: &'a Path) -> Self {
        Self {
            mountpoint,
            device: fuse::mounted_at(mountpoint),
            is_gone: false,
            is_of_parent: false,
        }
    }

    /// As [`OwnMount::new`], of a mount that the parent has made and ends, if it lives.
    pub(super) fn of_parent(mountpoint: &'a Path) -> Self {
        let mut mount = Self::new(mountpoint);
        mount.is_of_parent = true;
        mount
    }

    /// One that is somewhere else in the tree, if anywhere; whoever has mounted it ends it.
    pub(super) fn elsewhere(mountpoint: &'a Path) -> Self {
        let mut mount = Self::new(mountpoint);
        mount.is_gone();
        mount
    }

    /// Tries to end it; see [`fuse::unmount`]. One that is not in the tree any more is ended.
    pub(super) fn end(&mut self, lazy: bool) -> io::Result<()> {
        if self.is_in_the_tree() {
            fuse::unmount(self.mountpoint, lazy)?;
        }
        self.is_gone();
        Ok(())
    }

    fn is_in_the_tree(&self) -> bool {
        !self.is_gone && self.device.is_some() && fuse::mounted_at(self.mountpoint) == self.device
    }

    fn is_gone(&mut self) {
        self.is_gone = true;
    }

    /// Takes it out of the tree, with files open if need be.
    fn take_away(&mut self) -> Result<()> {
        if self.is_of_parent {
            // In a user namespace only the parent may. If that is gone, the mount goes with the last process of the namespace.
            let ended = self.end(true);
            tracing::debug!(?ended, "the parent's mount");
        } else if self.is_gone {
            tracing::debug!("whoever has mounted it takes it away");
        } else if !self.is_in_the_tree() {
            tracing::info!(
                "{}: something else stands there, or nothing; it is left alone",
                self.mountpoint.display()
            );
        } else if let Err(error) = fuse::unmount(self.mountpoint, false) {
            tracing::warn!(
                "{}: {error}; taken out of the tree all the same",
                self.mountpoint.display()
            );
            fuse::unmount(self.mountpoint, true).context("cannot unmount")?;
        }
        self.is_gone();
        Ok(())
    }
}

impl Drop for OwnMount<'_> {
    fn drop(&mut self) {
        if self.is_in_the_tree() {
            // The error on the way up is the one that is told.
            let _ = fuse::unmount(self.mountpoint, true);
        }
    }
}

/// The signals that end a mount. They are caught, and kept, as soon as this is made.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// To be called within the runtime.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves with the name of the signal that asks for the end.
    pub(super) async fn end(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                // A terminal that closes is no reason to end a mount.
                _ = self.hangup.recv() => {}
            }
        }
    }
}

/// Whether somebody has lost patience with a mount that ends: a SIGINT that comes then gives up what is not stored yet. A SIGTERM does not:
/// service managers send it to what they have unmounted already.
#[derive(Debug, Default)]
pub(super) struct Impatience(AtomicBool);

impl Impatience {
    /// Resolves when that is so. To be awaited only while the mount ends: the SIGINT that asks for the end is another one.
    pub(super) async fn shown(&self) {
        if self.0.load(Ordering::Relaxed) {
            return;
        }
        match signal(SignalKind::interrupt()) {
            Ok(mut interrupt) => {
                interrupt.recv().await;
                tracing::warn!("SIGINT: what is not stored is given up");
                self.0.store(true, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::debug!(%error, "SIGINT is not heard");
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Resolves when the mount has ended, by umount(8) or because it was `asked` to by who is named. In that case `store` is awaited before the session's
/// end is, for files may still be open; also if the mount cannot be taken out of the tree. The session's end is awaited until there has been `enough` of it.
pub(super) async fn until_the_end(
    mut own_mount: OwnMount<'_>,
    mut ended: tokio::sync::oneshot::Receiver<io::Result<()>>,
    asked: impl Future<Output = &'static str>,
    store: impl Future<Output = ()>,
    enough: impl Future<Output = ()>,
) -> Result<()> {
    let named = tokio::select! {
        ended = &mut ended => {
            tracing::info!("unmounted");
            ended.unwrap_or(Ok(())).context("the FUSE session failed")?;
            own_mount.is_gone();
            return Ok(());
        }
        named = asked => named,
    };
    tracing::info!("{named}: unmounting; a SIGINT from now on gives up what is not stored");
    let taken_away = own_mount.take_away();
    store.await;
    // With files still open the session goes on; it ends with this process, and its files with it.
    tokio::select! {
        _ = tokio::time::timeout(GOODBYE_MAX, ended) => {}
        () = enough => {}
    }
    taken_away
}
