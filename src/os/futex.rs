//! Sleeping on a word of shared memory, and waking who sleeps there.

use std::io;
use std::time::Duration;

use crate::atomic::AtomicU32 as Word;
use crate::sync::platform::Woken;

/// Sleeps while `word` holds `expected`, for at most `time`. Works across processes.
///
/// # Errors
/// What `futex` says that is not one of the expected answers (for example a sandbox's `EPERM`).
pub fn wait(word: &Word, expected: u32, time: Duration) -> io::Result<Woken> {
    let timeout = libc::timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    // SAFETY: the word is a live 4-aligned u32 for the length of the call, the timeout a local;
    // FUTEX_WAIT writes to neither.
    let answer = unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, &raw const timeout, 0, 0)
    };
    if answer == 0 {
        return Ok(Woken::LookAgain);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR) => Ok(Woken::LookAgain),
        Some(libc::ETIMEDOUT) => Ok(Woken::TimedOut),
        _ => Err(error),
    }
}

/// Wakes at most `count` sleepers on `word`, and says how many there were.
///
/// Cannot fail in a way that matters: a word that is mapped can be woken.
pub fn wake(word: &Word, count: u32) -> u32 {
    // SAFETY: FUTEX_WAKE only uses the address as a key.
    let woken = unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count.min(i32::MAX as u32))
    };
    u32::try_from(woken).unwrap_or(0)
}
