//! The words of a readers–writer lock: many read or one writes, and any of them may be killed.
//!
//! ```text
//!   reader                                   writer
//!   place: CAS 0 → me                        lock the robust lock
//!   full fence                               full fence
//!   robust lock free? ─yes─► reads           all places free, or WAITING? ─yes─► writes
//!        │no                                      │no
//!   place = me|WAITING; tell the writer      sleep until a reader leaves
//!   sleep until granted, or unlocked         …
//!                                            unlock: grant (WAITING → reads) to all who wait,
//!   leave: place = 0; tell the writer        then free the robust lock, wake
//! ```
//!
//! Either the reader sees the writer or the writer sees the reader: the fences see to that, and on
//! x86 each is behind a read-modify-write, which is one. Fairness: readers that come while a writer has
//! or wants the lock wait; its unlock lets all of them in before the next writer (phase-fair, after
//! Brandenburg and Anderson, 2010). So neither side starves the other.
//!
//! A dead reader's place is freed by the writer that waits for it, or by the sweep. From a dead writer
//! the lock goes to the next who comes, reader or writer, exclusively: see [`super::robust_lock`].

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::time::Instant;

use super::eventcount::{AfterSlice, EventCount};
use super::permits::Asker;
use super::places::{Examined, Places};
use super::platform::{Liveness, Platform, fence_behind_rmw};
use super::robust_lock::{Acquired, Patience, Refused, RobustLock, identity};
use crate::atomic::{AtomicU32, Ordering, spin_hint};
use crate::layout::mutex::{DIED, NOT_RECOVERABLE};
use crate::layout::owner::Owner;
use crate::layout::rwlock::WAITING;

/// How often a reader looks before it sleeps.
const SPINS: u32 = if cfg!(allmende_loom) { 0 } else { 100 };

/// What a reader got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It reads, in this place.
    Shared(usize),
    /// A writer died (or panicked): it has the lock as a writer has, with a suspect value.
    Heir,
}

/// What a waiting reader finds.
enum Found {
    /// It may read.
    Granted,
    /// No writer holds the lock, but the value is suspect, or lost.
    Suspect,
    /// Its own place is not its own.
    Corrupt,
}

/// The words of a readers–writer lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RobustRwLock<'a> {
    /// Excludes writers from each other, and says to readers whether there is one.
    pub(crate) lock: &'a RobustLock,
    /// No place from here on was ever taken.
    pub(crate) used: &'a AtomicU32,
    /// Where those sleep that wait for a place to become free, or waiting.
    pub(crate) vacated: EventCount<'a>,
    /// Where those sleep that wait for a writer to unlock.
    pub(crate) unlocked: EventCount<'a>,
    pub(crate) places: Places<'a>,
}

impl RobustRwLock<'_> {
    /// Lets `asker` read.
    #[inline]
    pub(crate) fn read<P: Platform>(&self, asker: &Asker<'_, P>, hint: usize) -> Result<Reading, Refused> {
        if let Some(index) = self.places.claim(asker.me, hint) {
            self.show(index);
            // Acquire: pairs with the Release in `RobustLock::unlock`: what the last writer wrote is to be seen.
            if self.lock.word.load(Ordering::Acquire) == 0 {
                return Ok(self.reads(asker, index));
            }
            self.read_slow(asker, Some(index))
        } else {
            self.read_slow(asker, None)
        }
    }

    /// After a claim: makes writers look at the place, and lets nothing pass it.
    #[inline]
    fn show(&self, index: usize) {
        #[allow(clippy::cast_possible_truncation, reason = "there are 64 places")]
        let needed = index as u32 + 1;
        // Relaxed, all: a writer that is not seen below sees the greatest of what was seen or stored here.
        let mut used = self.used.load(Ordering::Relaxed);
        while used < needed {
            match self.used.compare_exchange(used, needed, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => used = now,
            }
        }
        // Between the claim and the look at the writers' word: partner of the one in `write`.
        fence_behind_rmw();
    }

    #[inline]
    fn reads<P: Platform>(&self, asker: &Asker<'_, P>, index: usize) -> Reading {
        // Relaxed: read by threads of this participant only, to find themselves.
        self.places.0[index].thread.store(identity(asker.me, asker.platform), Ordering::Relaxed);
        Reading::Shared(index)
    }

    #[cold]
    fn read_slow<P: Platform>(
        &self,
        asker: &Asker<'_, P>,
        mut claimed: Option<usize>,
    ) -> Result<Reading, Refused> {
        loop {
            let index = if let Some(index) = claimed.take() {
                index
            } else {
                let index = self.find_place(asker)?;
                self.show(index);
                index
            };
            if let Some(index) = self.wait_for_writer(asker, index)? {
                return Ok(self.reads(asker, index));
            }
            // No living writer, but a value that may be suspect: as its heir, one writes.
            if self.write(asker)? == Acquired::OwnerDied {
                return Ok(Reading::Heir);
            }
            // Another repaired it.
            self.unlock(asker.platform);
        }
    }

    /// A place, though none was free.
    fn find_place<P: Platform>(&self, asker: &Asker<'_, P>) -> Result<usize, Refused> {
        let claim = || self.places.claim(asker.me, 0);
        self.wait_for_leaving(asker, claim)
    }

    /// Waits until `condition`, which comes true by somebody's leaving a place, alive or dead.
    fn wait_for_leaving<P: Platform, T>(
        &self,
        asker: &Asker<'_, P>,
        condition: impl Fn() -> Option<T>,
    ) -> Result<T, Refused> {
        let (deadline, refused) = limits(asker.patience);
        let corrupt = Cell::new(false);
        if !matches!(asker.patience, Patience::None) {
            let after_slice = || {
                corrupt.set(self.examine(asker.platform) == Examined::Corrupt);
                if corrupt.get() { AfterSlice::GiveUp } else { AfterSlice::GoOn }
            };
            let found =
                self.vacated.wait_until(asker.platform, asker.strategy, deadline, &condition, after_slice);
            if let Some(found) = found {
                return Ok(found);
            }
        } else if let Some(found) = condition() {
            return Ok(found);
        }
        // However short its patience: the dead are in nobody's way.
        match self.examine(asker.platform) {
            Examined::Corrupt => Err(Refused::Corrupt),
            _ if corrupt.get() => Err(Refused::Corrupt),
            Examined::AllLive | Examined::Freed => condition().ok_or(refused),
        }
    }

    /// In its place, a reader that met a writer waits until it may read: `None` if it is to become the
    /// heir of a dead one; its place is free then.
    fn wait_for_writer<P: Platform>(
        &self,
        asker: &Asker<'_, P>,
        index: usize,
    ) -> Result<Option<usize>, Refused> {
        let (me, platform) = (asker.me, asker.platform);
        let place = &self.places.0[index];
        // Acquire: as in `read`.
        if self.lock.word.load(Ordering::Acquire) == 0 {
            return Ok(Some(index));
        }
        if self.lock.is_held_by(me, platform) || self.is_read_by(me, platform) {
            self.stop_reading(index, platform);
            return Err(Refused::Deadlock);
        }
        // Release: pairs with the Acquire in `vacant`: what was read here before is over.
        place.word.store(me.bits() | WAITING, Ordering::Release);
        self.vacated.notify(platform);
        let look = || self.look(me, index, platform);
        let (deadline, refused) = limits(asker.patience);
        let found = if matches!(asker.patience, Patience::None) {
            look()
        } else {
            let mut spins = (0..SPINS).filter_map(|_| {
                spin_hint();
                look()
            });
            spins.next().or_else(|| {
                let after_slice = || match self.writer(platform) {
                    Liveness::Dead | Liveness::Impossible => AfterSlice::GiveUp,
                    Liveness::Alive | Liveness::Unknown => AfterSlice::GoOn,
                };
                self.unlocked.wait_until(platform, asker.strategy, deadline, look, after_slice)
            })
        };
        if matches!(found, Some(Found::Granted)) {
            return Ok(Some(index));
        }
        // Acquire, if it fails: as in `look`; somebody has let us in at the last moment. Release, if not:
        // as in `Place::leave`.
        if place.word.compare_exchange(me.bits() | WAITING, 0, Ordering::Release, Ordering::Acquire)
            == Err(me.bits())
        {
            return Ok(Some(index));
        }
        self.vacated.notify(platform);
        match found {
            Some(Found::Corrupt) => Err(Refused::Corrupt),
            Some(_) => Ok(None),
            // However short its patience: the dead are in nobody's way.
            None => match self.writer(platform) {
                Liveness::Dead => Ok(None),
                Liveness::Impossible => Err(Refused::Corrupt),
                Liveness::Alive | Liveness::Unknown => Err(refused),
            },
        }
    }

    /// What a waiting reader finds; `None`: go on waiting.
    fn look(&self, me: Owner, index: usize, platform: &impl Platform) -> Option<Found> {
        let word = &self.places.0[index].word;
        let waiting = me.bits() | WAITING;
        // Acquire: pairs with the Release in `unlock`.
        match word.load(Ordering::Acquire) {
            now if now == me.bits() => return Some(Found::Granted),
            now if now != waiting => return Some(Found::Corrupt),
            _ => {}
        }
        // Acquire: as in `read`.
        let mut lock = self.lock.word.load(Ordering::Acquire);
        if lock == 0 {
            // Unlocked by one who did not see that we wait. Acquire, both: as above.
            if word.compare_exchange(waiting, me.bits(), Ordering::Acquire, Ordering::Acquire).is_err() {
                return Some(Found::Granted);
            }
            // As in `show`.
            fence_behind_rmw();
            // Acquire: as in `read`.
            lock = self.lock.word.load(Ordering::Acquire);
            if lock == 0 {
                return Some(Found::Granted);
            }
            // Release: as in `wait_for_writer`.
            word.store(waiting, Ordering::Release);
            self.vacated.notify(platform);
        }
        (lock == NOT_RECOVERABLE || Owner::from_word(lock).is_none()).then_some(Found::Suspect)
    }

    /// Gives up reading in that place. Call it only as the one who reads there.
    #[inline]
    pub(crate) fn stop_reading(&self, index: usize, platform: &impl Platform) {
        let place = &self.places.0[index];
        // Relaxed, but before the Release below: the next one in the place writes it anew.
        place.thread.store(0, Ordering::Relaxed);
        place.leave();
        self.vacated.notify(platform);
    }

    /// Lets `asker` write.
    #[inline]
    pub(crate) fn write<P: Platform>(&self, asker: &Asker<'_, P>) -> Result<Acquired, Refused> {
        let acquired = match self.lock.lock(asker.me, asker.platform, Patience::None) {
            Ok(acquired) => acquired,
            Err(Refused::WouldBlock) => self.lock_slow(asker)?,
            Err(refused) => return Err(refused),
        };
        // Between the locking and the look at the readers' places: partner of the one in `show`.
        fence_behind_rmw();
        if self.vacant() {
            return Ok(acquired);
        }
        self.drain(asker, acquired)
    }

    #[cold]
    fn lock_slow<P: Platform>(&self, asker: &Asker<'_, P>) -> Result<Acquired, Refused> {
        if self.is_read_by(asker.me, asker.platform) {
            return Err(Refused::Deadlock);
        }
        match asker.patience {
            Patience::None => Err(Refused::WouldBlock),
            patience => self.lock.lock(asker.me, asker.platform, patience),
        }
    }

    /// Waits, with the lock in hand, until nobody reads any more.
    #[cold]
    fn drain<P: Platform>(&self, asker: &Asker<'_, P>, acquired: Acquired) -> Result<Acquired, Refused> {
        let end = if self.is_read_by(asker.me, asker.platform) {
            Err(Refused::Deadlock)
        } else {
            self.wait_for_leaving(asker, || self.vacant().then_some(acquired))
        };
        if end.is_err() {
            match acquired {
                Acquired::Clean => self.unlock(asker.platform),
                Acquired::OwnerDied => self.abandon(asker.platform, DIED),
            }
        }
        end
    }

    /// Whether nobody reads.
    #[inline]
    fn vacant(&self) -> bool {
        // Relaxed: see `show`.
        let used = self.used.load(Ordering::Relaxed) as usize;
        self.places.0.iter().take(used).all(|place| {
            // Acquire: pairs with the Release of a leaving or waiting reader: its reading is over.
            let word = place.word.load(Ordering::Acquire);
            word == 0 || word & WAITING != 0
        })
    }

    /// Gives up writing. Call it only as the writer, and only with a value that is not suspect.
    #[inline]
    pub(crate) fn unlock(&self, platform: &impl Platform) {
        // Relaxed: whoever is missed here finds the lock free.
        let used = self.used.load(Ordering::Relaxed) as usize;
        for place in self.places.0.iter().take(used) {
            // Relaxed: a guess, which the compare-and-swap confirms.
            let word = place.word.load(Ordering::Relaxed);
            if word & WAITING != 0 {
                // Release: pairs with the Acquire in `look`: what was written is to be read. It fails if the
                // reader has given up, or looks for itself just now.
                let _ =
                    place.word.compare_exchange(word, word & !WAITING, Ordering::Release, Ordering::Relaxed);
            }
        }
        self.lock.unlock(platform);
        self.unlocked.notify(platform);
    }

    /// Gives up writing with a value that is suspect: see [`RobustLock::abandon`].
    pub(crate) fn abandon(&self, platform: &impl Platform, state: u32) {
        self.lock.abandon(platform, state);
        self.unlocked.notify(platform);
    }

    /// Whether the calling thread reads.
    fn is_read_by(&self, me: Owner, platform: &impl Platform) -> bool {
        let identity = identity(me, platform);
        // Relaxed: what this thread wrote itself it sees.
        self.places.0.iter().any(|place| place.thread.load(Ordering::Relaxed) == identity)
    }

    /// Whether the writer lives; there may be none.
    fn writer(&self, platform: &impl Platform) -> Liveness {
        // Relaxed: whoever becomes the heir looks again.
        match self.lock.word.load(Ordering::Relaxed) {
            NOT_RECOVERABLE => Liveness::Alive,
            word => Owner::from_word(word).map_or(Liveness::Alive, |owner| platform.liveness(owner)),
        }
    }

    /// Frees the places of the dead, as far as the kernel knows of them.
    pub(crate) fn examine(&self, platform: &impl Platform) -> Examined {
        let examined = self.places.examine(platform);
        if examined == Examined::Freed {
            self.vacated.notify(platform);
        }
        examined
    }

    /// Takes from `dead` whatever it holds. Whoever sleeps must be woken afterwards.
    pub(crate) fn sweep(&self, dead: Owner) {
        self.lock.sweep(dead);
        self.places.sweep(dead);
    }
}

/// Until when to wait, and what to say then.
fn limits(patience: Patience) -> (Option<Instant>, Refused) {
    match patience {
        Patience::None => (None, Refused::WouldBlock),
        Patience::Until(deadline) => (Some(deadline), Refused::TimedOut),
        Patience::Forever => (None, Refused::TimedOut),
    }
}
