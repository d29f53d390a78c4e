//! Waiting until one of some descriptors has something to say.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Waits until one of `descriptors` is readable, closed at the other end, or the time is over, and
/// says which are.
///
/// # Errors
/// What `poll` says; interruptions by signals are none.
pub fn readable<const N: usize>(
    descriptors: [BorrowedFd<'_>; N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    let mut polled = descriptors.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
    wait(&mut polled, deadline)?;
    Ok(polled.map(|one| one.any().unwrap_or(true)))
}

fn wait(polled: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    loop {
        match poll(polled, timeout(deadline)) {
            // The longest timeout of `poll` is 24 days: one that ended early goes on.
            Ok(0) if deadline.is_none_or(|deadline| deadline > Instant::now()) => {}
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn timeout(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else { return PollTimeout::NONE };
    let left = deadline.saturating_duration_since(Instant::now());
    // Rounded up, lest the last millisecond be spent in a busy loop.
    let milliseconds = left.as_nanos().div_ceil(1_000_000);
    i32::try_from(milliseconds).ok().and_then(|ms| PollTimeout::try_from(ms).ok()).unwrap_or(PollTimeout::MAX)
}
