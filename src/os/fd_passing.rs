//! Descriptors over a Unix socket (`SCM_RIGHTS`), and who is at the other end (`SO_PEERCRED`).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, getsockopt, recvmsg, sendmsg, sockopt::PeerCredentials,
};

/// The most descriptors one message carries (the kernel allows 253).
pub const MAX_DESCRIPTORS: usize = 64;

/// Sends `bytes` (at least one) and, with the first of them, `descriptors`.
///
/// # Errors
/// What `sendmsg` says; `InvalidInput` for an empty message or too many descriptors.
pub fn send(socket: &UnixStream, bytes: &[u8], descriptors: &[RawFd]) -> io::Result<()> {
    if bytes.is_empty() || descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let rights = [ControlMessage::ScmRights(descriptors)];
    let control = if descriptors.is_empty() { &rights[..0] } else { &rights[..] };
    let mut sent =
        sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)?;
    while sent < bytes.len() {
        let rest = [IoSlice::new(&bytes[sent..])];
        sent += sendmsg::<()>(socket.as_raw_fd(), &rest, &[], MsgFlags::MSG_NOSIGNAL, None)?;
    }
    Ok(())
}

/// Receives up to `buffer.len()` bytes and the descriptors that came with them, close-on-exec set.
///
/// A count of zero bytes means that the other end closed.
///
/// # Errors
/// What `recvmsg` says; `InvalidData` when more descriptors came than fit (all are closed again).
pub fn receive(socket: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let mut parts = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let truncated = message.flags.contains(MsgFlags::MSG_CTRUNC);
    let bytes = message.bytes;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: the kernel has just made these descriptors for this process, and nobody else
            // in it knows their numbers: owning them is ours to do.
            descriptors.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if truncated {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "more descriptors than one message may carry",
        ));
    }
    Ok((bytes, descriptors))
}

/// User and process at the other end of `socket`, as the kernel saw them when it was connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id.
    pub uid: u32,
    /// Process id, in the caller's PID namespace (0 when it has none there).
    pub pid: i32,
}

/// Who is at the other end.
///
/// # Errors
/// What `getsockopt(SO_PEERCRED)` says.
pub fn peer(socket: &impl AsFd) -> io::Result<Peer> {
    let credentials = getsockopt(socket, PeerCredentials)?;
    Ok(Peer { uid: credentials.uid(), pid: credentials.pid() })
}
