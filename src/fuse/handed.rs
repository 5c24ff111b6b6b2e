//! Descriptors that other processes hand over: on a Unix socket (unix(7), `SCM_RIGHTS`), or by number when a process starts.

#![expect(
    unsafe_code,
    reason = "a descriptor that comes as a number becomes an owned one"
)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

/// Sends bytes, and a descriptor with them if there is one.
///
/// # Errors
/// Of sendmsg(2); `EPIPE` if nobody listens any more.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let fds: Vec<RawFd> = fd.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights };
    sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// Receives bytes into `buffer`, and the descriptor that came with them; 0 bytes when the other end is closed.
///
/// # Errors
/// Of recvmsg(2).
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut control = nix::cmsg_space!(RawFd);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
            Err(Errno::EINTR) => {}
            received => break received?,
        }
    };
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel has just made these descriptors for this process, and nobody else knows their numbers.
            fds.extend(
                numbers
                    .into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    Ok((message.bytes, fds.pop()))
}

/// A copy of a descriptor that this process was started with.
///
/// # Errors
/// `EBADF` if it is not open.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: borrowed for one fcntl(2), which answers EBADF if it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let copy = fcntl(borrowed.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: it has just been made, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_descriptor_arrives_with_its_bytes() -> io::Result<()> {
        let (here, there) = UnixStream::pair()?;
        let mut file = tempfile::tempfile()?;
        file.write_all(b"content")?;
        send(here.as_fd(), b"word", Some(file.as_fd()))?;
        send(here.as_fd(), b"alone", None)?;
        let mut buffer = [0; 4];
        let (len, fd) = receive(there.as_fd(), &mut buffer)?;
        assert_eq!(&buffer[..len], b"word");
        let mut copy = File::from(fd.ok_or(Errno::EBADF)?);
        copy.rewind()?;
        let mut text = String::new();
        copy.read_to_string(&mut text)?;
        assert_eq!(text, "content");
        let mut buffer = [0; 8];
        let (len, fd) = receive(there.as_fd(), &mut buffer)?;
        assert_eq!((&buffer[..len], fd.is_none()), (&b"alone"[..], true));
        drop(here);
        assert_eq!(receive(there.as_fd(), &mut buffer)?.0, 0);
        Ok(())
    }

    #[test]
    fn a_number_that_is_no_descriptor_is_refused() {
        for number in [-1, 1_000_000] {
            assert_eq!(
                inherited(number)
                    .err()
                    .and_then(|error| error.raw_os_error()),
                Some(libc::EBADF)
            );
        }
        assert!(inherited(2).is_ok());
    }
}
