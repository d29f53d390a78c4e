//! A worker, as it sees itself.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use super::error::CurrentError;
use super::handshake::{self, GREETING, VARIABLE};
use crate::Region;
use crate::os::spawn::{is_inherited, take_inherited};

/// What this process is and has, if it was started as a worker.
///
/// Its parent waits until it is [ready](Self::ready).
#[derive(Debug)]
pub struct Current {
    role: String,
    regions: Vec<(String, Region)>,
    /// Until the parent has been answered.
    socket: Mutex<Option<UnixStream>>,
}

/// What this process is to be, if it was started as a worker; attached already to every region that
/// was handed over. `None` in a process that was not. See [`super::roles`] for the short way.
///
/// Call it first thing in `main`. The first call takes the parent's handshake; later ones say `None`.
///
/// # Errors
/// See [`CurrentError`]; the parent is told the same.
pub fn current() -> Result<Option<Current>, CurrentError> {
    let Some((descriptor, inode)) = announced() else { return Ok(None) };
    let Some(socket) = take_inherited(descriptor, inode) else { return Ok(None) };
    let socket = UnixStream::from(socket);
    match take(&socket) {
        Ok((role, regions)) => Ok(Some(Current { role, regions, socket: Mutex::new(Some(socket)) })),
        Err(error) => {
            // A parent that has given up meanwhile need not be told.
            let _ = handshake::send_refusal(&socket, &error.to_string());
            Err(error)
        }
    }
}

/// Whether this process was started as a worker and has not asked yet what it is to be.
pub(super) fn not_asked_yet() -> bool {
    announced().is_some_and(|(descriptor, inode)| is_inherited(descriptor, inode))
}

/// Number and inode of the socket that the parent says it left open. The variable also reaches
/// processes that are not meant (a worker's own children, say): those do not have that very socket.
fn announced() -> Option<(RawFd, u64)> {
    let variable = std::env::var(VARIABLE).ok()?;
    let mut fields = variable.rsplitn(3, ':');
    let inode = fields.next()?.parse().ok()?;
    let descriptor = fields.next()?.parse().ok()?;
    (descriptor > 2).then_some((descriptor, inode))
}

fn take(socket: &UnixStream) -> Result<(String, Vec<(String, Region)>), CurrentError> {
    let greeting = std::env::var(VARIABLE).unwrap_or_default();
    if !greeting.starts_with(GREETING.trim_end()) {
        return Err(CurrentError::OtherVersion { found: greeting, ours: GREETING.trim_end() });
    }
    let brief = handshake::receive_brief(socket)?;
    if let Ok(name) = CString::new(brief.role.as_str())
        && !brief.role.is_empty()
    {
        // For `ps`, and for the lists of participants; a program run by way of /proc has no better one.
        let _ = nix::sys::prctl::set_name(&name);
    }
    let mut regions = Vec::with_capacity(brief.regions.len());
    for (name, descriptor) in brief.regions {
        match attach(&descriptor) {
            Ok(region) => regions.push((name, region)),
            Err(source) => return Err(CurrentError::Attach { name, source }),
        }
    }
    Ok((brief.role, regions))
}

/// As the parent has it: whose and how open the file is, is the parent's decision.
fn attach(descriptor: &OwnedFd) -> Result<Region, crate::region::AttachError> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = fcntl(descriptor, FcntlArg::F_GETFL).map(OFlag::from_bits_truncate);
    let read_only = flags.is_ok_and(|flags| flags & OFlag::O_ACCMODE == OFlag::O_RDONLY);
    let mut options = Region::open().mode(0o777).read_only(read_only);
    if let Ok(stat) = nix::sys::stat::fstat(descriptor) {
        options = options.owner(stat.st_uid);
    }
    options.descriptor(descriptor.as_fd())
}

impl Current {
    /// What the parent wants this process to be.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The arguments that the parent gave.
    pub fn args(&self) -> impl Iterator<Item = OsString> {
        std::env::args_os().skip(1)
    }

    /// The region that was handed over under `name`.
    ///
    /// # Errors
    /// [`CurrentError::UnknownRegion`] names those that there are.
    pub fn region(&self, name: &str) -> Result<&Region, CurrentError> {
        self.regions.iter().find(|(known, _)| known == name).map(|(_, region)| region).ok_or_else(|| {
            let known = self.regions.iter().map(|(name, _)| name.clone()).collect();
            CurrentError::UnknownRegion { name: name.to_owned(), known }
        })
    }

    /// Tells the parent that this worker is ready, upon which its `start` returns.
    ///
    /// Call it when everything is in hand that others count on: a worker that has taken its end of a
    /// ring and dies is noticed by the other end, one that never took it is waited for. A second call
    /// does nothing.
    ///
    /// # Errors
    /// [`CurrentError::Os`] when the parent has given up.
    pub fn ready(&self) -> Result<(), CurrentError> {
        let Some(socket) = self.take_socket() else { return Ok(()) };
        handshake::send_ready(&socket).map_err(|source| CurrentError::Os {
            action: "tell the parent that this worker is ready",
            source,
        })
    }

    /// Tells the parent that this worker cannot start, and why: its `start` returns that. Says
    /// whether the parent was still waiting to hear. The process is to exit then.
    pub fn refuse(&self, reason: &str) -> bool {
        self.take_socket().is_some_and(|socket| handshake::send_refusal(&socket, reason).is_ok())
    }

    fn take_socket(&self) -> Option<UnixStream> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
