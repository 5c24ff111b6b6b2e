//! What supervisor and mount say to each other: one JSON text per packet (unix(7), `SOCK_SEQPACKET`), small enough to be sent whole.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::fuse::handed;

/// The longest text: a bucket's name and a prefix of 1023 bytes, escaped.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// What the mount asks and tells.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Everything is ready but the mount itself: make it, and send its descriptor with [`Order::Serve`].
    Mount {
        source: String,
        allow_other: bool,
        read_only: bool,
    },
    /// The mount answers.
    Ready,
    /// What was staged is stored, or as much of it as could be.
    Stored { lost: bool },
}

/// What the supervisor orders.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// The descriptor of the mount comes with this.
    Serve,
    /// The mount is out of the tree: store what is staged, at most for so long, and end.
    End { within: Option<Duration> },
}

/// One end.
#[derive(Debug)]
pub(super) struct Line(OwnedFd);

impl Line {
    /// This end, and the one for another process.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (here, there) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        Ok((Self(here), there))
    }

    pub(super) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    pub(super) fn send(&self, what: &impl Serialize, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        handed::send(self.0.as_fd(), &serde_json::to_vec(what)?, fd)
    }

    /// The next text and its descriptor; `None` when the other process has ended.
    pub(super) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        let mut text = [0; TEXT_BYTES_MAX];
        let (len, fd) = match handed::receive(self.0.as_fd(), &mut text) {
            // It ended with something unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            received => received?,
        };
        if len == 0 {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&text[..len])?, fd)))
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
