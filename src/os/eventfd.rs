//! A descriptor that is readable from when it is rung until it is silenced.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// A bell of this process, for its own `poll` and `epoll`.
#[derive(Debug)]
pub struct Bell(EventFd);

impl Bell {
    /// A silent one, closed at exec.
    ///
    /// # Errors
    /// What `eventfd` says: no descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    /// Makes it readable; news for an edge-triggered `epoll` even if it is readable already.
    pub fn ring(&self) {
        // It can only fail because of 2⁶⁴ - 1 calls that were not silenced: it is readable then.
        let _ = self.0.write(1);
    }

    /// Makes it unreadable.
    pub fn silence(&self) {
        // It can only fail because it is silent.
        let _ = self.0.read();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::poll::readable;
    use std::time::Instant;

    #[test]
    fn rung_and_silenced() {
        let bell = Bell::new().unwrap();
        let rings = || readable([bell.as_fd()], Some(Instant::now())).unwrap() == [true];
        assert!(!rings());
        bell.ring();
        bell.ring();
        assert!(rings());
        bell.silence();
        assert!(!rings());
        bell.silence();
    }
}
