//! A worker, as it sees itself.

use std::os::unix::net::UnixStream;

use super::error::CurrentError;
use super::handshake::{self, GREETING, VARIABLE};
use crate::Region;

/// What this process is and has, if it was started as a worker.
#[derive(Debug)]
pub struct Current {
    role: String,
    regions: Vec<(String, Region)>,
}

/// What this process is to be, if it was started as a worker: attaches to every region that was
/// handed over and tells the parent that it is ready. `None` in a process that was not.
///
/// Call it first thing in `main`. The first call takes the parent's handshake; later ones say `None`.
///
/// # Errors
/// See [`CurrentError`]; the parent is told the same.
pub fn current() -> Result<Option<Current>, CurrentError> {
    let Some(socket) = inherited_socket() else { return Ok(None) };
    let os = |source| CurrentError::Os { action: "answer the parent", source };
    match take(&socket) {
        Ok(current) => {
            handshake::send_ready(&socket).map_err(os)?;
            Ok(Some(current))
        }
        Err(error) => {
            // A parent that has given up meanwhile need not be told.
            let _ = handshake::send_refusal(&socket, &error.to_string());
            Err(error)
        }
    }
}

fn take(socket: &UnixStream) -> Result<Current, CurrentError> {
    let greeting = std::env::var(VARIABLE).unwrap_or_default();
    if !greeting.starts_with(GREETING.trim_end()) {
        return Err(CurrentError::OtherVersion { found: greeting, ours: GREETING.trim_end() });
    }
    let brief = handshake::receive_brief(socket)?;
    let mut regions = Vec::with_capacity(brief.regions.len());
    for (name, descriptor) in brief.regions {
        match Region::attach(&descriptor) {
            Ok(region) => regions.push((name, region)),
            Err(source) => return Err(CurrentError::Attach { name, source }),
        }
    }
    Ok(Current { role: brief.role, regions })
}

/// The socket that the parent left open for us. The variable also reaches processes that are not
/// meant (a worker's own children, say): those do not have that very socket.
fn inherited_socket() -> Option<UnixStream> {
    let variable = std::env::var(VARIABLE).ok()?;
    let mut fields = variable.rsplitn(3, ':');
    let inode = fields.next()?.parse().ok()?;
    let descriptor = fields.next()?.parse().ok()?;
    crate::os::spawn::take_inherited(descriptor, inode).map(UnixStream::from)
}

impl Current {
    /// What the parent wants this process to be.
    pub fn role(&self) -> &str {
        &self.role
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
}
