//! The lock word: mutual exclusion among processes that may be killed at any instruction.
//!
//! ```text
//!                 CAS 0 → me                         swap → 0, wake one if WAITERS
//!      ┌────── free ──────────────► held by me ──────────────────────┐
//!      │        ▲                      │ killed                      │
//!      │        └──────────────────────┼─────────────────────────────┘
//!      │                               ▼
//!      │          the word still names the dead: a waiter asks the kernel and takes it,
//!      │          or a sweep leaves DIED and wakes all
//!      │                               ▼
//!      │   CAS → me|DIED ──► held, value suspect ──mark consistent──► held by me
//!      │                               │ unlocked as it is
//!      └───────────────────────►  NOT_RECOVERABLE
//! ```
//!
//! The state table is in [`crate::layout::mutex`]. After Drepper, "Futexes Are Tricky" (2011), mutex
//! 2, and the robust mutexes of POSIX, with the owner in the word itself rather than in a list.

#![forbid(unsafe_code)]

use std::time::Instant;

use crate::atomic::{AtomicU32, AtomicU64, Ordering, spin_hint};
use crate::layout::mutex::{DIED, NOT_RECOVERABLE, WAITERS};
use crate::layout::owner::Owner;
use crate::sync::platform::{Liveness, Platform, SLICE, Woken, time_to_sleep};

/// How often a held lock is looked at before the caller sleeps.
const SPINS: u32 = if cfg!(allmende_loom) { 0 } else { 100 };

/// How a lock was got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// As it should be.
    Clean,
    /// From somebody who died (or panicked) holding it.
    OwnerDied,
}

/// Why it was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    WouldBlock,
    TimedOut,
    Deadlock,
    NotRecoverable,
    Corrupt,
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    None,
    Until(Instant),
    Forever,
}

impl Patience {
    /// At most `time`; for ever, if that is beyond what the clock can say.
    #[cfg(not(allmende_loom))]
    pub(crate) fn within(time: std::time::Duration) -> Self {
        Instant::now().checked_add(time).map_or(Self::Forever, Self::Until)
    }
}

/// The words of a lock, as they lie in a region.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RobustLock {
    /// Who holds it: see [`crate::layout::mutex`].
    pub(crate) word: AtomicU32,
    /// Not 0: a holder panicked. The business of [`super::mutex`].
    pub(crate) poisoned: AtomicU32,
    /// Which thread of the holder.
    thread: AtomicU64,
}

#[cfg(not(allmende_loom))]
const _: () = {
    use crate::layout::mutex::{POISONED, THREAD, VALUE, WORD};
    assert!(std::mem::offset_of!(RobustLock, word) as u64 == WORD);
    assert!(std::mem::offset_of!(RobustLock, poisoned) as u64 == POISONED);
    assert!(std::mem::offset_of!(RobustLock, thread) as u64 == THREAD);
    assert!(size_of::<RobustLock>() as u64 <= VALUE && align_of::<RobustLock>() == 8);
};

/// A thread of a participant, as it stands in the word `thread`.
pub(crate) fn identity(me: Owner, platform: &impl Platform) -> u64 {
    u64::from(me.bits()) << 32 | u64::from(platform.thread())
}

impl RobustLock {
    /// A free lock, or one that `word` says is held, for the models; real ones lie in regions.
    #[cfg(allmende_loom)]
    pub(crate) fn new(word: u32) -> Self {
        Self { word: AtomicU32::new(word), poisoned: AtomicU32::new(0), thread: AtomicU64::new(0) }
    }

    /// Takes the lock for the participant `me`.
    #[inline]
    pub(crate) fn lock(
        &self,
        me: Owner,
        platform: &impl Platform,
        patience: Patience,
    ) -> Result<Acquired, Refused> {
        // Acquire: pairs with the Release in `unlock`; what the last holder wrote is ours to see.
        let acquired = match self.word.compare_exchange(0, me.bits(), Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Acquired::Clean,
            Err(_) => self.lock_slow(me, platform, patience)?,
        };
        // Relaxed: read by threads of this participant only, to find themselves; see `is_mine`.
        self.thread.store(identity(me, platform), Ordering::Relaxed);
        Ok(acquired)
    }

    #[cold]
    fn lock_slow(
        &self,
        me: Owner,
        platform: &impl Platform,
        patience: Patience,
    ) -> Result<Acquired, Refused> {
        // Having slept, one cannot know whether others sleep still: so it locks with WAITERS set,
        // and its unlock wakes the next.
        let mut waiters = 0;
        let mut spins = 0;
        // Signals and wake-ups end a sleep, but not the slice: else they could put off for ever the
        // question whether the holder lives.
        let mut slice_end = None;
        loop {
            // Relaxed: a guess, which the compare-and-swap confirms.
            let word = self.word.load(Ordering::Relaxed);
            if word == NOT_RECOVERABLE {
                return Err(Refused::NotRecoverable);
            }
            let Some(owner) = Owner::from_word(word) else {
                let died = word & DIED;
                if word != died {
                    return Err(Refused::Corrupt);
                }
                if self.take(word, me.bits() | died | waiters) {
                    return Ok(if died == 0 { Acquired::Clean } else { Acquired::OwnerDied });
                }
                continue;
            };
            if self.is_mine(me, platform, owner) {
                return Err(Refused::Deadlock);
            }
            if spins < SPINS && word & WAITERS == 0 && !matches!(patience, Patience::None) {
                spins += 1;
                spin_hint();
                continue;
            }
            let now = platform.now();
            let (given_up, deadline) = match patience {
                Patience::Forever => (false, None),
                Patience::Until(deadline) => (now >= deadline, Some(deadline)),
                Patience::None => (true, None),
            };
            if given_up {
                return match self.take_from_the_dead(me, platform) {
                    Some(result) => result,
                    None if matches!(patience, Patience::None) => Err(Refused::WouldBlock),
                    None => Err(Refused::TimedOut),
                };
            }
            // Relaxed: setting the flag publishes nothing; the futex re-reads the word.
            if word & WAITERS == 0
                && self
                    .word
                    .compare_exchange(word, word | WAITERS, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            waiters = WAITERS;
            let time = time_to_sleep(now, *slice_end.get_or_insert(now + SLICE), deadline);
            if time.is_zero() || platform.wait(&self.word, word | WAITERS, time) == Woken::TimedOut {
                slice_end = None;
                if let Some(result) = self.take_from_the_dead(me, platform) {
                    return result;
                }
            }
        }
    }

    /// Whether the calling thread holds it.
    pub(crate) fn is_held_by(&self, me: Owner, platform: &impl Platform) -> bool {
        // Relaxed: what this thread wrote itself it sees.
        Owner::from_word(self.word.load(Ordering::Relaxed))
            .is_some_and(|owner| self.is_mine(me, platform, owner))
    }

    /// Whether the calling thread is the holder. `thread` is stale while somebody else takes over
    /// from the dead, but it then names the dead participant, which the caller is not.
    fn is_mine(&self, me: Owner, platform: &impl Platform, owner: Owner) -> bool {
        owner == me && self.thread.load(Ordering::Relaxed) == identity(me, platform)
    }

    fn take(&self, from: u32, to: u32) -> bool {
        // Acquire: pairs with the Release of `unlock`, or of the sweep.
        self.word.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// If whoever holds it now is dead, takes it. `None`: go on waiting.
    fn take_from_the_dead(&self, me: Owner, platform: &impl Platform) -> Option<Result<Acquired, Refused>> {
        // The word may have passed on since the caller looked. While its owner is dead, only WAITERS
        // can still change, once, unless somebody else takes it: two tries more.
        for _ in 0..4 {
            // Relaxed: a guess, which the compare-and-swap confirms.
            let word = self.word.load(Ordering::Relaxed);
            if word == NOT_RECOVERABLE {
                return None;
            }
            match platform.liveness(Owner::from_word(word)?) {
                Liveness::Alive | Liveness::Unknown => return None,
                Liveness::Impossible => return Some(Err(Refused::Corrupt)),
                // The word cannot have become a living participant's and then this again: the
                // generation in it is the dead one's. WAITERS: others may sleep still.
                Liveness::Dead if self.take(word, me.bits() | DIED | WAITERS) => {
                    return Some(Ok(Acquired::OwnerDied));
                }
                Liveness::Dead => {}
            }
        }
        None
    }

    /// Marks what the dead left as repaired. Call it only as the holder.
    pub(crate) fn mark_consistent(&self) {
        // Relaxed: the holder alone clears the bit, and its unlock publishes the repair.
        self.word.fetch_and(!DIED, Ordering::Relaxed);
    }

    /// Gives the lock up. Call it only as the holder, and only with a value that is not suspect.
    #[inline]
    pub(crate) fn unlock(&self, platform: &impl Platform) {
        // Relaxed, but before the Release below: the next holder writes it anew.
        self.thread.store(0, Ordering::Relaxed);
        // Release: pairs with the Acquire of the next holder.
        let word = self.word.swap(0, Ordering::Release);
        if word & WAITERS != 0 {
            platform.wake(&self.word, 1);
        }
    }

    /// Gives up a lock whose value is suspect: leaves `DIED` (somebody else may repair it) or
    /// `NOT_RECOVERABLE` (nobody will).
    pub(crate) fn abandon(&self, platform: &impl Platform, state: u32) {
        self.thread.store(0, Ordering::Relaxed);
        // Release: as in `unlock`.
        self.word.swap(state, Ordering::Release);
        platform.wake(&self.word, u32::MAX);
    }

    /// Takes the lock away from `dead`. Returns whether there was something to take.
    pub(crate) fn sweep(&self, dead: Owner) -> bool {
        // Relaxed: a guess, which the compare-and-swap confirms.
        let mut word = self.word.load(Ordering::Relaxed);
        // A waiter may set WAITERS meanwhile, once; and may take the lock itself: two tries more.
        for _ in 0..4 {
            if word == NOT_RECOVERABLE || Owner::from_word(word) != Some(dead) {
                return false;
            }
            // Release: what the sweeper saw of the dead's writes is passed on to the next holder.
            match self.word.compare_exchange(word, DIED, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }
}
