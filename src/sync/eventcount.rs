//! The eventcount: sleeping until a condition over shared memory may have come true.
//!
//! ```text
//!   sleeper                               sender
//!   ticket = word | SLEEPERS              store what the sleeper waits for
//!   heavy barrier (membarrier)            light barrier (none but the compiler's)
//!   look: true? ─► done                   SLEEPERS set? ─no─► done
//!   futex_wait(word == ticket)            word = next sequence, SLEEPERS clear; wake all
//! ```
//!
//! A sender must not miss a sleeper: either the sleeper's look comes after the sender's store and
//! sees it, or the sender's look comes after the sleeper's flag and sees that. Such a choice needs a
//! full fence on both sides; `membarrier` runs the sender's on its core when the sleeper asks, so a
//! sender pays for one load. Where the region is *fenced*, both pay.
//!
//! A sleeper that is killed leaves SLEEPERS set: the next sender makes one needless call. A sender
//! that is killed before it wakes costs the sleeper at most one slice. There is nothing to sweep.
//!
//! After Vyukov's eventcount; the asymmetric fence is that of `liburcu` and folly's `AsymmetricThreadFence`.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

#[cfg(not(allmende_loom))]
use super::patience;
use super::platform::{Platform, SLICE, Woken, time_to_sleep};
use super::wait::Wait;
use crate::atomic::{AtomicU32, Ordering, spin_hint};

/// Bit 0 of the word: somebody sleeps, or is about to. The other 31 bits count notifications.
pub const SLEEPERS: u32 = 1;

/// How many looks a spinning wait makes between two looks at the clock.
const SPINS_PER_CLOCK: u32 = 1 << 12;
/// The same for a yielding one, unless a yield takes [`SLOW_YIELD`].
const YIELDS_PER_CLOCK: u32 = 4;
/// Others want the core, too: then each yield takes milliseconds, and several would stretch a slice.
const SLOW_YIELD: Duration = Duration::from_micros(100);
/// The same where the time to spin is short: half a microsecond or so.
#[cfg(not(allmende_loom))]
const SPINS_PER_BUDGET: u32 = 16;
/// How long a sleeper that found its condition true after a slice waits for the wake-up that ought
/// to be under way, before it counts as lost.
const GRACE: Duration = Duration::from_millis(50);

/// What a wait is told by the check that it makes when a slice is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterSlice {
    /// Go on waiting.
    GoOn,
    /// There is nothing to wait for any more.
    GiveUp,
}

/// Whether a wrong "not yet" of a condition could put its waiter to sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sure {
    Yes,
    No,
}

/// The word on which processes sleep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventCount<'a>(pub(crate) &'a AtomicU32);

impl EventCount<'_> {
    /// Wakes all sleepers, if there are any. To be called after the store that they wait for.
    #[inline]
    pub(crate) fn notify(self, platform: &impl Platform) {
        platform.light_barrier();
        if self.sleepers() {
            self.notify_sleepers(platform);
        }
    }

    /// Whether somebody sleeps. A light barrier must stand between it and the store before it.
    #[inline]
    pub(crate) fn sleepers(self) -> bool {
        // Relaxed: ordered after the store by the sleeper's heavy barrier (or the fence).
        self.0.load(Ordering::Relaxed) & SLEEPERS != 0
    }

    #[cold]
    pub(crate) fn notify_sleepers(self, platform: &impl Platform) {
        // Relaxed: a guess, which the compare-and-swap confirms.
        let mut word = self.0.load(Ordering::Relaxed);
        while word & SLEEPERS != 0 {
            // Acquire: pairs with the Release in `EndWords::announce`: who clears a flag that was set
            // to tell of a change sees that change. What this sender stored comes before by the
            // barrier. +1 clears the flag and carries into the count.
            match self.0.compare_exchange(word, word.wrapping_add(1), Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => {
                    platform.wake(self.0, u32::MAX);
                    return;
                }
                Err(now) => word = now,
            }
        }
        // Another sender cleared the flag after our store, and wakes the sleepers.
    }

    /// Announces a sleeper; the condition must be looked at once more before [`Self::sleep`].
    pub(crate) fn prepare(self, platform: &impl Platform) -> u32 {
        let ticket = self.draw_ticket();
        platform.heavy_barrier();
        ticket
    }

    /// The first half of [`Self::prepare`]: a heavy barrier must stand between it and the look.
    pub(super) fn draw_ticket(self) -> u32 {
        // Relaxed: the barrier that follows makes what comes after see all that the senders stored whose
        // notifications this word holds, `EndWords::announce` included.
        self.0.fetch_or(SLEEPERS, Ordering::Relaxed) | SLEEPERS
    }

    /// Sleeps until somebody notifies after `ticket` was drawn.
    pub(crate) fn sleep(self, platform: &impl Platform, ticket: u32, time: Duration) -> Woken {
        platform.wait(self.0, ticket, time)
    }

    /// Waits until `condition` says something, the deadline passes, or `after_slice` gives up.
    ///
    /// Returns the condition's word, or `None`.
    pub(crate) fn wait_until<T>(
        self,
        platform: &impl Platform,
        strategy: Wait,
        deadline: Option<Instant>,
        mut condition: impl FnMut() -> Option<T>,
        after_slice: impl FnMut() -> AfterSlice,
    ) -> Option<T> {
        self.wait_until_sure(platform, strategy, deadline, |_| condition(), after_slice)
    }

    /// The same with a condition that is told whether it is asked again soon anyhow, or must be [`Sure`].
    pub(crate) fn wait_until_sure<T>(
        self,
        platform: &impl Platform,
        strategy: Wait,
        deadline: Option<Instant>,
        mut condition: impl FnMut(Sure) -> Option<T>,
        after_slice: impl FnMut() -> AfterSlice,
    ) -> Option<T> {
        match strategy {
            Wait::Spin | Wait::Yield => spin_until(strategy, deadline, || condition(Sure::No), after_slice),
            Wait::Park => self.park_until(platform, deadline, || condition(Sure::Yes), after_slice),
            Wait::Adaptive => patiently(
                std::ptr::from_ref(self.0).addr(),
                deadline,
                &mut condition,
                |condition| condition(Sure::No),
                |condition| self.park_until(platform, deadline, || condition(Sure::Yes), after_slice),
            ),
        }
    }

    fn park_until<T>(
        self,
        platform: &impl Platform,
        deadline: Option<Instant>,
        mut condition: impl FnMut() -> Option<T>,
        mut after_slice: impl FnMut() -> AfterSlice,
    ) -> Option<T> {
        // Signals and wake-ups for others end a sleep, but not the slice: else they could put off for
        // ever the question whether there is still something to wait for.
        let mut slice_end = None;
        loop {
            if let Some(found) = condition() {
                return Some(found);
            }
            let ticket = self.prepare(platform);
            if let Some(found) = condition() {
                return Some(found);
            }
            let now = platform.now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return None;
            }
            let time = time_to_sleep(now, *slice_end.get_or_insert(now + SLICE), deadline);
            if time.is_zero() || self.sleep(platform, ticket, time) == Woken::TimedOut {
                slice_end = None;
                if let Some(found) = condition() {
                    self.was_it_late(platform, ticket);
                    return Some(found);
                }
                if after_slice() == AfterSlice::GiveUp {
                    // What was stored before the peer went is still to be had.
                    return condition();
                }
            }
        }
    }

    /// The slice is over and the condition is true. A sender that has just stored may be about to
    /// wake us; if nobody does, the wake-up was lost.
    #[cold]
    pub(super) fn was_it_late(self, platform: &impl Platform, ticket: u32) {
        if self.sleep(platform, ticket, GRACE) == Woken::TimedOut && self.0.load(Ordering::Relaxed) == ticket
        {
            platform.late_wake();
        }
    }
}

/// Looks as long as was learnt to be worth it, then sleeps; and learns from it. `place` stands for what is
/// waited for; both `look` and `sleep` are lent `condition`.
#[cfg(not(allmende_loom))]
pub(super) fn patiently<C, T>(
    place: usize,
    deadline: Option<Instant>,
    condition: &mut C,
    mut look: impl FnMut(&mut C) -> Option<T>,
    sleep: impl FnOnce(&mut C) -> Option<T>,
) -> Option<T> {
    if !patience::another_core() {
        return sleep(condition);
    }
    let mut patience = patience::recall(place);
    let started = Instant::now();
    let budget = patience.budget();
    if !budget.is_zero() {
        let end = started + budget;
        let end = deadline.map_or(end, |deadline| deadline.min(end));
        loop {
            for _ in 0..SPINS_PER_BUDGET {
                if let Some(found) = look(condition) {
                    patience.learn(started.elapsed(), true);
                    patience::keep(place, patience);
                    return Some(found);
                }
                spin_hint();
            }
            if Instant::now() >= end {
                break;
            }
        }
    }
    let found = sleep(condition);
    let took = started.elapsed();
    // One that was given up early says nothing.
    if found.is_some() || took > patience::LONGEST {
        patience.learn(took, false);
        patience::keep(place, patience);
    }
    found
}

/// A model has no clock: it sleeps at once.
#[cfg(allmende_loom)]
pub(super) fn patiently<C, T>(
    _place: usize,
    _deadline: Option<Instant>,
    condition: &mut C,
    _look: impl FnMut(&mut C) -> Option<T>,
    sleep: impl FnOnce(&mut C) -> Option<T>,
) -> Option<T> {
    sleep(condition)
}

/// Looks again and again, until `condition` says something, the deadline passes, or `after_slice` gives up.
pub(super) fn spin_until<T>(
    strategy: Wait,
    deadline: Option<Instant>,
    mut condition: impl FnMut() -> Option<T>,
    mut after_slice: impl FnMut() -> AfterSlice,
) -> Option<T> {
    let mut looks = if strategy == Wait::Yield { 1 } else { SPINS_PER_CLOCK };
    // Who spins looks at the clock only when it has looked in vain often: it would take a fifth of a round trip.
    let mut last = (strategy == Wait::Yield).then(Instant::now);
    let mut slice_ends = last.map(|began| began + SLICE);
    loop {
        for _ in 0..looks {
            if let Some(found) = condition() {
                return Some(found);
            }
            match strategy {
                Wait::Yield => std::thread::yield_now(),
                _ => spin_hint(),
            }
        }
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            return condition();
        }
        if now >= *slice_ends.get_or_insert(now + SLICE) {
            slice_ends = Some(now + SLICE);
            if after_slice() == AfterSlice::GiveUp {
                return condition();
            }
        }
        if let Some(last) = &mut last {
            looks = if now - *last >= SLOW_YIELD { 1 } else { YIELDS_PER_CLOCK };
            *last = now;
        }
    }
}

#[cfg(all(test, not(allmende_loom)))]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// As if others had the core for 20 ms after each look.
    #[test]
    fn slow_yields_do_not_stretch_a_slice() {
        let (looks, looks_in_slice) = (Cell::new(0), Cell::new(0));
        let condition = || {
            std::thread::sleep(Duration::from_millis(20));
            looks.set(looks.get() + 1);
            None::<()>
        };
        let after_slice = || {
            looks_in_slice.set(looks.get());
            AfterSlice::GiveUp
        };
        assert!(spin_until(Wait::Yield, None, condition, after_slice).is_none());
        let many = looks_in_slice.get();
        assert!((1..=6).contains(&many), "{many} looks of 20 ms in a slice of 100 ms");
    }
}
