//! Who is at the other end, and whether it still lives; waiting that notices when it does not.
#![forbid(unsafe_code)]

use std::os::unix::process::parent_id;
use std::thread::yield_now;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::error::{LabError, Result};
use crate::names::Wait;

/// The process at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// Nobody to watch: both ends are in this process.
    Nobody,
    /// A child of ours.
    Child(i32),
    /// Our parent.
    Parent(u32),
}

/// How many looks between two questions whether the other end lives: some milliseconds.
const LOOKS: u32 = 1 << 20;

impl Watch {
    /// Whether the other process lives. Asks the kernel; about a microsecond.
    pub fn alive(self) -> bool {
        match self {
            Self::Nobody => true,
            Self::Parent(id) => parent_id() == id,
            Self::Child(id) => {
                let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
                matches!(waitid(Id::Pid(Pid::from_raw(id)), flags), Ok(WaitStatus::StillAlive))
            }
        }
    }

    /// An error unless the other process lives.
    ///
    /// # Errors
    /// [`LabError::PeerGone`].
    pub fn check(self) -> Result<()> {
        if self.alive() { Ok(()) } else { Err(LabError::PeerGone) }
    }

    /// Looks until `ready` has something, or the other process is gone.
    ///
    /// With [`Wait::Spin`] there is no pause between two looks: the floor is what the hardware can do.
    ///
    /// # Errors
    /// [`LabError::PeerGone`].
    #[inline]
    pub fn until<R>(self, wait: Wait, mut ready: impl FnMut() -> Option<R>) -> Result<R> {
        loop {
            for _ in 0..LOOKS {
                if let Some(found) = ready() {
                    return Ok(found);
                }
                if wait == Wait::Yield {
                    yield_now();
                }
            }
            self.check()?;
        }
    }
}
