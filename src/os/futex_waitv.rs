//! Sleeping on several words of shared memory at once (Linux 5.16).

use std::io;
use std::time::Duration;

use super::futex;
use crate::atomic::{AtomicU32 as Word, Ordering};
use crate::sync::platform::Woken;

/// More words cannot be slept on together.
pub const MOST: usize = libc::FUTEX_WAITV_MAX as usize;

/// Where the kernel knows no such call: how long a word may have been changed before it is seen.
const POLL: Duration = Duration::from_millis(1);

/// Sleeps while each word holds what stands beside it, for at most `time`. Works across processes; who
/// changes a word wakes it with [`futex::wake`].
///
/// # Errors
/// `EINVAL` for no words, or more than [`MOST`]. A kernel or sandbox without the call is no error: then
/// the words are looked at once a millisecond.
pub fn wait_any(words: &[(&Word, u32)], time: Duration) -> io::Result<Woken> {
    if words.is_empty() || words.len() > MOST {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    if let [(word, expected)] = *words {
        return futex::wait(word, expected, time).or_else(|_| Ok(poll(words, time)));
    }
    // SAFETY: plain numbers, for which zeros are good.
    let mut waiters: [libc::futex_waitv; MOST] = unsafe { std::mem::zeroed() };
    for (waiter, (word, expected)) in waiters.iter_mut().zip(words) {
        waiter.val = u64::from(*expected);
        waiter.uaddr = word.as_ptr().addr() as u64;
        waiter.flags = libc::FUTEX2_SIZE_U32.cast_unsigned();
    }
    // SAFETY: plain numbers, for which zeros are good.
    let mut until: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the time is written to a local.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut until) };
    let nanoseconds = until.tv_nsec + libc::c_long::from(time.subsec_nanos().cast_signed());
    let seconds = libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX);
    until.tv_sec = until.tv_sec.saturating_add(seconds).saturating_add(nanoseconds / 1_000_000_000);
    until.tv_nsec = nanoseconds % 1_000_000_000;
    // SAFETY: the first `words.len()` waiters name live, 4-aligned words; they and the time are locals
    // for the length of the call, which writes to none of them.
    let answer = unsafe {
        let (first, clock) = (waiters.as_ptr(), libc::CLOCK_MONOTONIC);
        libc::syscall(libc::SYS_futex_waitv, first, words.len(), 0, &raw const until, clock)
    };
    if answer >= 0 {
        return Ok(Woken::LookAgain);
    }
    Ok(match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR) => Woken::LookAgain,
        Some(libc::ETIMEDOUT) => Woken::TimedOut,
        _ => poll(words, time),
    })
}

/// One short sleep instead; the caller knows when its time is over.
fn poll(words: &[(&Word, u32)], time: Duration) -> Woken {
    let short = time.min(POLL);
    std::thread::sleep(short);
    // Acquire: as a wake-up would, lets the caller see what came before the change.
    let changed = words.iter().any(|(word, expected)| word.load(Ordering::Acquire) != *expected);
    if short == time && !changed { Woken::TimedOut } else { Woken::LookAgain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_the_words_wakes() {
        let words = [Word::new(0), Word::new(0), Word::new(0)];
        let all: Vec<_> = words.iter().map(|word| (word, 0)).collect();
        assert_eq!(wait_any(&all, Duration::from_millis(2)).unwrap(), Woken::TimedOut);
        assert_eq!(poll(&all, POLL), Woken::TimedOut);
        for word in &words {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    word.store(1, Ordering::Release);
                    futex::wake(word, 1);
                });
                assert_eq!(wait_any(&all, Duration::from_secs(20)).unwrap(), Woken::LookAgain);
            });
            assert_eq!(wait_any(&all, Duration::from_secs(20)).unwrap(), Woken::LookAgain);
            assert_eq!(poll(&all, POLL), Woken::LookAgain);
            word.store(0, Ordering::Release);
        }
        assert!(wait_any(&[], POLL).is_err() && wait_any(&[all[0]; MOST + 1], POLL).is_err());
    }
}
