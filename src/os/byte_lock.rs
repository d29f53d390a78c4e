//! Locks on single bytes of a file that belong to an *open file description* (`F_OFD_SETLK`).
//!
//! The kernel drops them when the last descriptor **and the last mapping** of the description are
//! gone, which no crash can prevent. A forked child inherits descriptors and mappings, and so keeps
//! such a lock: see [`super::fork_gate`]. Ordinary POSIX record locks are of no use here: any close of
//! the same file in the process drops them.
//!
//! The bytes lie far beyond the end of any file, so they can never be in the way of data.

use std::io;
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, fcntl};

use super::fork_gate::{self, Shut};

/// Offset of the first lockable byte: 2^62, beyond what any file system stores.
const BASE: i64 = 1 << 62;

fn flock_of(kind: i32, byte: u32) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).expect("F_RDLCK, F_WRLCK and F_UNLCK are small"),
        l_whence: i16::try_from(libc::SEEK_SET).expect("SEEK_SET is small"),
        l_start: BASE + i64::from(byte),
        l_len: 1,
        l_pid: 0,
    }
}

/// Takes the lock on `byte` through the description of `fd`, at once or not at all.
///
/// Returns `false` when another description holds it.
///
/// # Errors
/// What `fcntl` says; `EBADF` when `fd` is not open for writing.
pub fn try_lock(fd: impl AsFd, byte: u32) -> io::Result<bool> {
    match fcntl(fd, FcntlArg::F_OFD_SETLK(&flock_of(libc::F_WRLCK, byte))) {
        Ok(_) => Ok(true),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A lock on one byte that is given back when this is dropped, whoever has the description then.
/// Meanwhile the process is not forked.
#[derive(Debug)]
pub struct Held<F: AsFd> {
    fd: F,
    byte: u32,
    _no_fork: Shut,
}

/// As [`try_lock`], until the returned value is dropped. `None` when another description holds it.
///
/// # Errors
/// As [`try_lock`].
pub fn try_hold<F: AsFd>(fd: F, byte: u32) -> io::Result<Option<Held<F>>> {
    let no_fork = fork_gate::shut();
    Ok(try_lock(&fd, byte)?.then_some(Held { fd, byte, _no_fork: no_fork }))
}

impl<F: AsFd> Drop for Held<F> {
    fn drop(&mut self) {
        // If it fails, closing the description does the same.
        let _ = fcntl(&self.fd, FcntlArg::F_OFD_SETLK(&flock_of(libc::F_UNLCK, self.byte)));
    }
}

/// Whether a description *other than that of `fd`* holds the lock on `byte`.
///
/// # Errors
/// What `fcntl` says.
pub fn is_locked(fd: impl AsFd, byte: u32) -> io::Result<bool> {
    let mut query = flock_of(libc::F_WRLCK, byte);
    fcntl(fd, FcntlArg::F_OFD_GETLK(&mut query))?;
    Ok(i32::from(query.l_type) != libc::F_UNLCK)
}
