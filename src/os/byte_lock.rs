//! Locks on single bytes of a file that belong to an *open file description* (`F_OFD_SETLK`).
//!
//! The kernel drops them when the last descriptor **and the last mapping** of the description are
//! gone, which no crash can prevent. Ordinary POSIX record locks are of no use here: any close of
//! the same file in the process drops them.
//!
//! The bytes lie far beyond the end of any file, so they can never be in the way of data.

use std::io;
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, fcntl};

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

/// Whether a description *other than that of `fd`* holds the lock on `byte`.
///
/// # Errors
/// What `fcntl` says.
pub fn is_locked(fd: impl AsFd, byte: u32) -> io::Result<bool> {
    let mut query = flock_of(libc::F_WRLCK, byte);
    fcntl(fd, FcntlArg::F_OFD_GETLK(&mut query))?;
    Ok(i32::from(query.l_type) != libc::F_UNLCK)
}
