//! Syscalls behind safe functions: mapping, memfd, seals, space, futex, membarrier, byte locks,
//! descriptor passing, affinity, starting processes. Nothing here knows what a region is.
//!
//! Every function returns [`std::io::Result`]; the layers above say what the failure means.

pub mod affinity;
pub mod byte_lock;
pub mod clock;
pub mod connect;
pub mod eventfd;
pub mod fd_passing;
pub mod fork_gate;
pub mod fork_guard;
pub mod futex;
pub mod futex_waitv;
pub mod life_token;
pub mod mapping;
pub mod membarrier;
pub mod memfd;
pub mod pidfd;
pub mod poll;
pub mod process;
pub mod space;
pub mod spawn;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// Opens the file behind `fd` once more: a new open file description, on which locks are its own.
///
/// # Errors
/// What `open("/proc/self/fd/N")` says: no `/proc`, no descriptors left, or no permission.
pub fn reopen(fd: &impl AsFd, writable: bool) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let access = if writable { OFlag::O_RDWR } else { OFlag::O_RDONLY };
    Ok(open(path.as_str(), access | OFlag::O_CLOEXEC | OFlag::O_NOCTTY, Mode::empty())?)
}

/// Device and inode: what says that two descriptors are the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The device that holds the file.
    pub device: u64,
    /// The file's number on that device.
    pub inode: u64,
}

impl FileId {
    /// The identity of the file behind `fd`.
    ///
    /// # Errors
    /// What `fstat` says.
    pub fn of(fd: impl AsFd) -> io::Result<Self> {
        let stat = nix::sys::stat::fstat(fd)?;
        Ok(Self { device: stat.st_dev, inode: stat.st_ino })
    }
}
