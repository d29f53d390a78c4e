//! Descriptors over a Unix socket (`SCM_RIGHTS`), and who is at the other end (`SO_PEERCRED`).

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, MsgFlags, getsockopt, sendmsg, sockopt::PeerCredentials};

/// The most descriptors one message carries.
pub const MAX_DESCRIPTORS: usize = 64;
/// The most that the kernel passes with one message (`SCM_MAX_FD`), whoever sends it.
const KERNEL_MOST: u32 = 253;
/// Bytes for so many, as the kernel writes them.
// SAFETY: computes a number from a number.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE(KERNEL_MOST * RawFd::BITS / 8) } as usize;

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
    let mut sent = send_part(socket, bytes, control)?;
    while sent < bytes.len() {
        sent += send_part(socket, &bytes[sent..], &[])?;
    }
    Ok(())
}

fn send_part(socket: &UnixStream, bytes: &[u8], control: &[ControlMessage<'_>]) -> io::Result<usize> {
    loop {
        let parts = [IoSlice::new(bytes)];
        match sendmsg::<()>(socket.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(nix::Error::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Receives up to `buffer.len()` bytes and the descriptors that came with them, close-on-exec set.
///
/// A count of zero bytes means that the other end closed.
///
/// # Errors
/// What `recvmsg` says; `InvalidData` when more than [`MAX_DESCRIPTORS`] came, or this process had no
/// number left for one of them (all are closed again).
pub fn receive(socket: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    // In words, since a control message begins with one.
    let mut control = [0_u64; CONTROL_BYTES.div_ceil(size_of::<u64>())];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: plain data, for which zeros are a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    message.msg_control = control.as_mut_ptr().cast();
    let bytes = loop {
        message.msg_controllen = size_of_val(&control);
        // SAFETY: the message names `buffer` and `control`, which live, with their lengths.
        let answer = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
        if let Ok(bytes) = usize::try_from(answer) {
            break bytes;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    // Owned before anything is refused, so that nothing stays open.
    let descriptors = take_descriptors(&message);
    if descriptors.len() > MAX_DESCRIPTORS {
        let problem =
            format!("{} descriptors in one message: at most {MAX_DESCRIPTORS} are", descriptors.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        let problem = "a descriptor that was sent did not arrive; has this process too many files open?";
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok((bytes, descriptors))
}

/// All descriptors that came with `message`, which `recvmsg` has just filled in.
fn take_descriptors(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    // SAFETY: `recvmsg` has left whole control messages in the buffer, and their length in
    // `msg_controllen`; these functions walk over them.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: as above; null ends the walk.
    while let Some(control) = unsafe { header.as_ref() } {
        if control.cmsg_level == libc::SOL_SOCKET && control.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: computes a number; and a pointer behind a header that is there.
            let (empty, data) = unsafe { (libc::CMSG_LEN(0) as usize, libc::CMSG_DATA(control)) };
            let count = (control.cmsg_len - empty) / size_of::<RawFd>();
            for index in 0..count {
                // SAFETY: the kernel has written so many numbers there, of four bytes each.
                let number = unsafe { data.cast::<[u8; size_of::<RawFd>()]>().add(index).read() };
                // SAFETY: the kernel has just made this descriptor for this process, and nobody else in
                // it knows its number: owning it is ours to do.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(RawFd::from_ne_bytes(number)) });
            }
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, control) };
    }
    descriptors
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
