//! Where the socket of a mount is, for the mount and for who looks for it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A socket that nobody answers is removed if it is older than this: a younger one may be about to be listened on.
const STALE_AFTER: Duration = Duration::from_secs(60);

/// What the places of sockets follow from.
#[derive(Debug, Clone)]
pub struct Around {
    /// `--control-dir`: nowhere else then.
    pub chosen: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`, if it is set.
    pub runtime: Option<PathBuf>,
    /// The temporary directory.
    pub temporary: PathBuf,
    /// The user of this process.
    pub uid: u32,
}

impl Around {
    /// Where a mount puts its socket, best first.
    #[must_use]
    pub fn serving(&self) -> Vec<PathBuf> {
        if let Some(chosen) = &self.chosen {
            return vec![chosen.join("rolefs")];
        }
        let runtime = self.runtime.iter().map(|runtime| runtime.join("rolefs"));
        let system = (self.uid == 0).then(|| PathBuf::from("/run/rolefs"));
        runtime
            .chain(system)
            .chain([temporary(&self.temporary, self.uid)])
            .collect()
    }

    /// Where the socket of a mount of user `owner` may be.
    #[must_use]
    pub fn asking(&self, owner: u32) -> Vec<PathBuf> {
        if let Some(chosen) = &self.chosen {
            return vec![chosen.join("rolefs")];
        }
        let runtime = self.runtime.iter().map(|runtime| runtime.join("rolefs"));
        let of_owner = [
            PathBuf::from(format!("/run/user/{owner}/rolefs")),
            PathBuf::from("/run/rolefs"),
            temporary(&self.temporary, owner),
            temporary(Path::new("/tmp"), owner),
        ];
        runtime.chain(of_owner).collect()
    }
}

/// In a directory that all write to, each user has one of its own.
fn temporary(directory: &Path, uid: u32) -> PathBuf {
    directory.join(format!("rolefs-{uid}"))
}

/// The name of the socket of a mount with that device number.
#[must_use]
pub fn socket_name(device: &str) -> String {
    format!("{}.sock", device.replace(':', "-"))
}

/// The first socket of a mount among `directories` that a user may trust: its directory belongs to that user, to the owner of the mount, or to
/// root.
#[must_use]
pub fn asked(directories: &[PathBuf], device: &str, trusted: &[u32]) -> Option<PathBuf> {
    let name = socket_name(device);
    directories.iter().find_map(|directory| {
        let found = fs::symlink_metadata(directory).ok()?;
        let is_trusted = found.is_dir() && trusted.contains(&found.uid());
        let path = directory.join(&name);
        (is_trusted && is_socket(&path)).then_some(path)
    })
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// A socket that a mount has made; it is removed when this is dropped.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
}

impl Place {
    /// Listens at the best place that there is, for user `uid` alone.
    ///
    /// # Errors
    /// Why there is none, directory by directory.
    pub fn listen(around: &Around, device: &str) -> io::Result<(UnixListener, Self)> {
        let mut troubles = Vec::new();
        for directory in around.serving() {
            match listen_in(&directory, device, around.uid) {
                Ok(listening) => return Ok(listening),
                Err(error) => troubles.push(format!("{}: {error}", directory.display())),
            }
        }
        Err(io::Error::other(troubles.join("; ")))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Gone already, perhaps with its directory.
        let _ = fs::remove_file(&self.path);
    }
}

fn listen_in(directory: &Path, device: &str, uid: u32) -> io::Result<(UnixListener, Place)> {
    if let Err(error) = DirBuilder::new().mode(0o700).create(directory)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    // Somebody may have been here before, in a directory that all write to.
    let found = fs::symlink_metadata(directory)?;
    if !found.is_dir() || found.uid() != uid {
        return Err(io::Error::other("somebody else has put it there"));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    }
    sweep(directory);
    let path = directory.join(socket_name(device));
    if is_socket(&path) {
        if UnixStream::connect(&path).is_ok() {
            return Err(io::Error::other(
                "another machine's mount listens there; choose another directory by --control-dir",
            ));
        }
        fs::remove_file(&path)?;
    }
    let listener = UnixListener::bind(&path)?;
    let place = Place { path };
    fs::set_permissions(&place.path, Permissions::from_mode(0o600))?;
    Ok((listener, place))
}

/// Removes what mounts have left that were killed.
fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let age = fs::symlink_metadata(&path).and_then(|found| found.modified());
        let age = age.ok().and_then(|modified| modified.elapsed().ok());
        let is_old = age.is_some_and(|age| age > STALE_AFTER);
        if is_old && is_socket(&path) && is_dead(&path) {
            // Another mount may sweep too.
            let _ = fs::remove_file(&path);
        }
    }
}

fn is_dead(path: &Path) -> bool {
    let refused = UnixStream::connect(path).err();
    refused.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn around(directory: &Path) -> Around {
        Around {
            chosen: None,
            runtime: None,
            temporary: directory.to_owned(),
            uid: nix::unistd::geteuid().as_raw(),
        }
    }

    fn user(directory: &Path) -> Around {
        Around {
            chosen: Some(directory.to_owned()),
            ..around(directory)
        }
    }

    #[test]
    fn a_mount_prefers_the_runtime_directory_and_a_client_looks_everywhere() {
        let around = Around {
            chosen: None,
            runtime: Some(PathBuf::from("/run/user/7")),
            temporary: PathBuf::from("/scratch"),
            uid: 7,
        };
        assert_eq!(
            around.serving(),
            [
                Path::new("/run/user/7/rolefs"),
                Path::new("/scratch/rolefs-7")
            ]
        );
        let asking = around.asking(9);
        for place in [
            "/run/user/7/rolefs",
            "/run/user/9/rolefs",
            "/run/rolefs",
            "/tmp/rolefs-9",
        ] {
            assert!(asking.contains(&PathBuf::from(place)), "{place}");
        }
        let root = Around {
            uid: 0,
            runtime: None,
            ..around
        };
        assert_eq!(root.serving()[0], Path::new("/run/rolefs"));
    }

    #[test]
    fn a_socket_is_its_owner_s_alone_and_goes_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let around = user(directory.path());
        let (_listener, place) = Place::listen(&around, "0:45").unwrap();
        let path = directory.path().join("rolefs/0-45.sock");
        assert_eq!(place.path(), path);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let trusted = [around.uid];
        let asking = around.asking(around.uid);
        assert_eq!(asked(&asking, "0:45", &trusted), Some(path.clone()));
        assert_eq!(asked(&asking, "0:46", &trusted), None);
        assert_eq!(
            asked(&asking, "0:45", &[around.uid + 1]),
            None,
            "a stranger's"
        );
        drop(place);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_mount_has_left_is_replaced_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let around = user(directory.path());
        let (listener, place) = Place::listen(&around, "0:45").unwrap();
        let refused = Place::listen(&around, "0:45").unwrap_err();
        assert!(refused.to_string().contains("--control-dir"), "{refused}");
        drop(listener);
        std::mem::forget(place);
        assert!(Place::listen(&around, "0:45").is_ok());
    }

    #[test]
    fn a_directory_of_somebody_else_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let around = Around {
            uid: nix::unistd::geteuid().as_raw() + 1,
            ..user(directory.path())
        };
        let refused = Place::listen(&around, "0:45").unwrap_err();
        assert!(refused.to_string().contains("somebody else"), "{refused}");
    }
}
