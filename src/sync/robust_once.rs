//! Something that is done once, by whoever comes first and is not killed over it.
//!
//! ```text
//!   done? ─yes─► return
//!    │no
//!   lock ──► done? ─yes─► unlock, return
//!             │no
//!            do it ──► done = 1, unlock
//!             │ killed, or panicked
//!             ▼
//!            the lock says so to the next one, who does it again
//! ```

#![forbid(unsafe_code)]

use super::platform::Platform;
use super::robust_lock::{Acquired, Patience, Refused, RobustLock};
use crate::atomic::{AtomicU32, Ordering};
use crate::layout::mutex::DIED;
use crate::layout::owner::Owner;

/// What there is to do for one who comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// Nothing: it was done before.
    Done,
    /// All of it, and then [`RobustOnce::finish`] or [`RobustOnce::fail`].
    Mine {
        /// Somebody began before and died over it.
        owner_died: bool,
        /// Somebody began before and panicked.
        panicked: bool,
    },
}

/// The words of a once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RobustOnce<'a> {
    pub(crate) lock: &'a RobustLock,
    /// 1 when it is done, 0 before.
    pub(crate) done: &'a AtomicU32,
}

impl RobustOnce<'_> {
    /// Whether it is done.
    #[inline]
    pub(crate) fn is_done(self) -> bool {
        // Acquire: pairs with the Release in `finish`: what was done is to be seen.
        self.done.load(Ordering::Acquire) != 0
    }

    /// Waits until it is done, or is the caller's to do.
    pub(crate) fn begin(
        self,
        me: Owner,
        platform: &impl Platform,
        patience: Patience,
    ) -> Result<Begun, Refused> {
        if self.is_done() {
            return Ok(Begun::Done);
        }
        let acquired = self.lock.lock(me, platform, patience)?;
        // Relaxed: written under the lock that we hold.
        if self.done.load(Ordering::Relaxed) != 0 {
            // Whoever died had done it already.
            self.unlock(platform);
            return Ok(Begun::Done);
        }
        // Relaxed: as above.
        let panicked = self.lock.poisoned.load(Ordering::Relaxed) != 0;
        Ok(Begun::Mine { owner_died: acquired == Acquired::OwnerDied && !panicked, panicked })
    }

    /// It is done.
    pub(crate) fn finish(self, platform: &impl Platform) {
        // Release: pairs with the Acquire in `is_done`.
        self.done.store(1, Ordering::Release);
        self.unlock(platform);
    }

    fn unlock(self, platform: &impl Platform) {
        // Relaxed: published by the unlocking.
        self.lock.poisoned.store(0, Ordering::Relaxed);
        self.lock.mark_consistent();
        self.lock.unlock(platform);
    }

    /// It came to nothing: the next one is to do it.
    pub(crate) fn fail(self, platform: &impl Platform) {
        // Relaxed: published by the unlocking.
        self.lock.poisoned.store(1, Ordering::Relaxed);
        self.lock.abandon(platform, DIED);
    }

    /// Takes it from `dead`; whether there was something to take. Those who wait must be woken then.
    pub(crate) fn sweep(self, dead: Owner) -> bool {
        self.lock.sweep(dead)
    }
}
