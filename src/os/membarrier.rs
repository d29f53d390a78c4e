//! `membarrier`: the sleeper pays for the fence of the sender.
//!
//! A sender that must not lose a wake-up would need a full fence between "store the message" and
//! "load the sleeper's flag" at every message. The sleeper can buy that fence for everybody instead:
//! after setting its flag it asks the kernel to run a full barrier on every core that runs a
//! registered process.

use std::io;

const GLOBAL_EXPEDITED: i32 = 1 << 1;
const REGISTER_GLOBAL_EXPEDITED: i32 = 1 << 2;

fn membarrier(command: i32) -> io::Result<()> {
    // SAFETY: membarrier takes no pointers.
    let answer = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Registers this process, so that [`heavy_barrier`] of any process covers its threads.
///
/// # Errors
/// `ENOSYS` or `EPERM` where the kernel or a sandbox has none: such a process needs fenced regions.
pub fn register() -> io::Result<()> {
    membarrier(REGISTER_GLOBAL_EXPEDITED)
}

/// A full memory barrier on every core that runs a thread of a registered process. Microseconds.
///
/// # Errors
/// As [`register`].
pub fn heavy_barrier() -> io::Result<()> {
    membarrier(GLOBAL_EXPEDITED)
}
