//! The bytes of the handshake, both directions, over a Unix socket that the worker inherits.
//!
//! ```text
//!   parent → worker   "allmende worker 1\n"  u16 count  { u16 length, name } × (1 + count)
//!                     with `count` descriptors on the first byte; the first name is the role
//!   worker → parent   "R"                    ready
//!                     "E" u16 length, text   refused, and why
//! ```

use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::error::CurrentError;
use crate::os::fd_passing::{self, MAX_DESCRIPTORS};

/// What the environment variable and the message begin with.
pub(super) const GREETING: &str = "allmende worker 1\n";
/// `GREETING:descriptor:inode` of the socket, without the line's end.
pub(super) const VARIABLE: &str = "ALLMENDE_WORKER";
/// The longest name.
pub(super) const MAX_NAME: usize = 255;
/// The longest message: a kilobyte more than all names can need.
const MAX_MESSAGE: usize = (MAX_NAME + 2) * (MAX_DESCRIPTORS + 1) + 1024;
/// The longest reason for a refusal.
const MAX_REASON: usize = 4096;

/// What the parent tells the worker.
#[derive(Debug)]
pub(super) struct Brief {
    pub(super) role: String,
    pub(super) regions: Vec<(String, OwnedFd)>,
}

pub(super) fn send_brief(
    socket: &UnixStream,
    role: &str,
    regions: &[(&str, BorrowedFd<'_>)],
) -> io::Result<()> {
    let mut message = Vec::from(GREETING);
    let put_number = |message: &mut Vec<u8>, number: usize| {
        let number = u16::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        message.extend_from_slice(&number.to_le_bytes());
        io::Result::Ok(())
    };
    put_number(&mut message, regions.len())?;
    for name in std::iter::once(role).chain(regions.iter().map(|(name, _)| *name)) {
        put_number(&mut message, name.len())?;
        message.extend_from_slice(name.as_bytes());
    }
    let descriptors: Vec<_> = regions.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
    fd_passing::send(socket, &message, &descriptors)?;
    socket.shutdown(std::net::Shutdown::Write)
}

/// Reads to the end of what the parent sends; every length is checked against what came.
pub(super) fn receive_brief(socket: &UnixStream) -> Result<Brief, CurrentError> {
    let os = |source| CurrentError::Os { action: "read the parent's handshake", source };
    let damaged = |problem| CurrentError::Damaged { problem };
    let mut message = vec![0; MAX_MESSAGE];
    let (mut filled, descriptors) = fd_passing::receive(socket, &mut message).map_err(os)?;
    loop {
        match (&*socket).read(&mut message[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(os(error)),
        }
    }
    let rest = message[..filled].strip_prefix(GREETING.as_bytes()).ok_or_else(|| damaged("no greeting"))?;
    let mut rest = rest;
    let number = |rest: &mut &[u8]| {
        let (bytes, behind) = rest.split_first_chunk::<2>()?;
        *rest = behind;
        Some(usize::from(u16::from_le_bytes(*bytes)))
    };
    let count = number(&mut rest).ok_or_else(|| damaged("no count"))?;
    if count != descriptors.len() {
        return Err(damaged("another number of descriptors than of names"));
    }
    let mut names = Vec::with_capacity(count + 1);
    for _ in 0..=count {
        let length = number(&mut rest).ok_or_else(|| damaged("a name is missing"))?;
        let (name, behind) = rest.split_at_checked(length).ok_or_else(|| damaged("a name is cut short"))?;
        rest = behind;
        names.push(std::str::from_utf8(name).map_err(|_| damaged("a name is no UTF-8"))?.to_owned());
    }
    let mut names = names.into_iter();
    let role = names.next().ok_or_else(|| damaged("no role"))?;
    Ok(Brief { role, regions: names.zip(descriptors).collect() })
}

pub(super) fn send_ready(socket: &UnixStream) -> io::Result<()> {
    fd_passing::send(socket, b"R", &[])
}

pub(super) fn send_refusal(socket: &UnixStream, reason: &str) -> io::Result<()> {
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
    let length = u16::try_from(reason.len()).expect("bounded above");
    fd_passing::send(socket, &[b"E".as_slice(), &length.to_le_bytes(), reason.as_bytes()].concat(), &[])
}

/// What the worker answered.
#[derive(Debug)]
pub(super) enum Answer {
    Ready,
    Refused(String),
    /// The socket was closed, or what came makes no sense.
    None,
}

/// Reads the answer; the socket's read timeout is the caller's affair.
pub(super) fn receive_answer(mut socket: &UnixStream) -> io::Result<Answer> {
    let mut kind = [0];
    if socket.read(&mut kind)? == 0 {
        return Ok(Answer::None);
    }
    match &kind {
        b"R" => Ok(Answer::Ready),
        b"E" => {
            let mut length = [0; 2];
            socket.read_exact(&mut length)?;
            let mut reason = vec![0; usize::from(u16::from_le_bytes(length)).min(MAX_REASON)];
            socket.read_exact(&mut reason)?;
            Ok(Answer::Refused(String::from_utf8_lossy(&reason).into_owned()))
        }
        _ => Ok(Answer::None),
    }
}
