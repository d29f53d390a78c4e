//! An event's words: a flag, and where those sleep that wait for it.
//!
//! ```text
//!   set:  flag = 1, wake all                reset: flag = 0
//!   wait: flag = 1? ─yes─► manual: go on
//!          │no             auto:   CAS 1 → 0: won? ─yes─► go on
//!          ▼                        │no
//!         sleep, look again ◄───────┘
//! ```
//!
//! An auto-reset event lets one waiter through for each set. All who sleep are woken, and the first that
//! looks takes it: so a waiter that was killed before it took the set leaves it to the others.

#![forbid(unsafe_code)]

use super::eventcount::EventCount;
use super::platform::Platform;
use crate::atomic::{AtomicU32, Ordering};

/// The words of an event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag<'a> {
    pub(crate) set: &'a AtomicU32,
    pub(crate) sleepers: EventCount<'a>,
    /// One waiter goes on for each set.
    pub(crate) auto_reset: bool,
}

impl Flag<'_> {
    /// Sets it and wakes all who wait.
    #[inline]
    pub(crate) fn set(self, platform: &impl Platform) {
        // Release: pairs with the Acquire in `is_set` and `pass`. A swap where waiters reset it: what
        // those did who set it before and were not noticed is then passed on, too.
        if self.auto_reset {
            self.set.swap(1, Ordering::AcqRel);
        } else {
            self.set.store(1, Ordering::Release);
        }
        self.sleepers.notify(platform);
    }

    /// Makes it unset again.
    pub(crate) fn reset(self) {
        // Relaxed: nobody waits for that, and what was written before is published by whatever comes next.
        self.set.store(0, Ordering::Relaxed);
    }

    /// Whether it is set.
    #[inline]
    pub(crate) fn is_set(self) -> bool {
        // Acquire: what was written before `set` is to be seen.
        self.set.load(Ordering::Acquire) != 0
    }

    /// Whether the caller may go on.
    #[inline]
    pub(crate) fn pass(self) -> bool {
        // Acquire, if it succeeds: as in `is_set`.
        self.is_set()
            && (!self.auto_reset
                || self.set.compare_exchange(1, 0, Ordering::Acquire, Ordering::Relaxed).is_ok())
    }
}
