//! A condition variable's word: waiting, with a mutex given up meanwhile, until somebody says that what
//! the mutex guards has changed.
//!
//! ```text
//!   waiter, with the mutex in hand           notifier
//!   ticket = word | SLEEPERS                 lock, change the value, unlock
//!   unlock                                   SLEEPERS set? ─no─► done
//!   sleep until word ≠ ticket                one: word + 2, wake one    all: word + 1 (clears SLEEPERS), wake all
//!   lock, look
//! ```
//!
//! The ticket is drawn under the mutex: a notifier that changed the value later has locked later and sees
//! the flag; one that changed it earlier is seen by the waiter, which then has no reason to wait. So
//! neither side needs a barrier.
//!
//! Waiters wait for the count to move, not for a call: of those that sleep, one is woken at once by
//! `notify_one`, and every other looks when its slice is over, finds the count moved, and goes on, as if
//! woken for nothing. A notification can therefore not be swallowed by somebody who was killed with it
//! in hand. A notifier that dies between its change and its word is swept, by a waiter whose slice is
//! over if by nobody else; the sweep tells all.
//!
//! After Birrell's condition variables (1989) over Drepper's futex with a sequence number (2011).

#![forbid(unsafe_code)]

use std::time::Instant;

use super::eventcount::{AfterSlice, EventCount, SLEEPERS, spin_until};
use super::platform::{Platform, SLICE, Woken, time_to_sleep};
use super::wait::Wait;
use crate::atomic::Ordering;

/// The word of a condition variable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RobustCondvar<'a>(pub(crate) EventCount<'a>);

impl RobustCondvar<'_> {
    /// Gives the mutex up (by `unlock`) and waits until somebody notifies; whether that was before the
    /// deadline. After each slice `examine` looks for the dead.
    pub(crate) fn wait(
        self,
        platform: &impl Platform,
        strategy: Wait,
        deadline: Option<Instant>,
        unlock: impl FnOnce(),
        examine: impl Fn(),
    ) -> bool {
        let ticket = self.0.draw_ticket();
        unlock();
        // Relaxed: what the notifier changed is seen by locking the mutex again.
        let moved_on = || (self.0.0.load(Ordering::Relaxed) != ticket).then_some(());
        if let Wait::Spin | Wait::Yield = strategy {
            let after_slice = || {
                examine();
                AfterSlice::GoOn
            };
            return spin_until(strategy, deadline, moved_on, after_slice).is_some();
        }
        let mut slice_end = None;
        while moved_on().is_none() {
            let now = platform.now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return false;
            }
            let time = time_to_sleep(now, *slice_end.get_or_insert(now + SLICE), deadline);
            if time.is_zero() || self.0.sleep(platform, ticket, time) == Woken::TimedOut {
                slice_end = None;
                examine();
            }
        }
        true
    }

    /// Wakes one who waits. To be called after a change that was made under the mutex.
    #[inline]
    pub(crate) fn notify_one(self, platform: &impl Platform) {
        if self.0.sleepers() {
            self.notify_one_slow(platform);
        }
    }

    #[cold]
    fn notify_one_slow(self, platform: &impl Platform) {
        let word = self.0.0;
        // Relaxed, here and below: the mutex orders all that matters. +2 moves the count, not the flag:
        // others sleep on.
        let told = word.fetch_add(2, Ordering::Relaxed).wrapping_add(2);
        if !platform.wake_one(word) {
            // Nobody slept: what set the flag is awake or dead. Who has drawn a ticket since finds that
            // the word is another, and looks once more.
            let _ = word.compare_exchange(told, told & !SLEEPERS, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Wakes all who wait. To be called after a change that was made under the mutex.
    #[inline]
    pub(crate) fn notify_all(self, platform: &impl Platform) {
        if self.0.sleepers() {
            self.0.notify_sleepers(platform);
        }
    }

    /// Somebody died, who may have been about to notify: nobody is to fall asleep in spite of that. All
    /// who sleep must be woken afterwards.
    pub(crate) fn sweep(self) {
        // Relaxed: as above.
        self.0.0.fetch_add(2, Ordering::Relaxed);
    }
}
