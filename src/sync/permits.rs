//! The permits of a semaphore: at most n holders at a time, any of whom may be killed.
//!
//! ```text
//!   acquire:  claim a place ─none is free─► sleep on the eventcount, look again;
//!                                           after a slice free the places of the dead
//!   release:  store 0 in the place; wake those who sleep, if any do
//!
//!   several:  pass the turnstile, claim one place after the other, leave the turnstile
//! ```
//!
//! Two that collect at once could each hold what the other lacks, for ever; so one at a time does. The
//! turnstile is a robust lock around nothing: its heir has nothing to repair. A collector that dies,
//! or gives up, frees what it had gathered.
//!
//! Whoever waits may be overtaken by a newcomer: permits go to who looks first. After Dijkstra's
//! semaphore (1965), with the owner of each permit in the permit itself.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::time::Instant;

use super::eventcount::{AfterSlice, EventCount};
use super::places::{Examined, Places};
use super::platform::Platform;
use super::robust_lock::{Acquired, Patience, Refused, RobustLock};
use super::wait::Wait;
use crate::atomic::spin_hint;
use crate::layout::owner::Owner;

/// How often the places are looked at before the caller sleeps.
const SPINS: u32 = if cfg!(allmende_loom) { 0 } else { 100 };

/// Who wants permits, and how it waits for them.
#[derive(Debug)]
pub(crate) struct Asker<'a, P> {
    pub(crate) me: Owner,
    pub(crate) platform: &'a P,
    pub(crate) strategy: Wait,
    pub(crate) patience: Patience,
}

/// The words of a semaphore.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permits<'a> {
    pub(crate) places: Places<'a>,
    /// Where those sleep that found no place.
    pub(crate) freed: EventCount<'a>,
    pub(crate) turnstile: &'a RobustLock,
}

impl Permits<'_> {
    /// Takes one permit: the number of its place. `hint` is tried first.
    #[inline]
    pub(crate) fn one<P: Platform>(&self, asker: &Asker<'_, P>, hint: usize) -> Result<usize, Refused> {
        match self.places.claim(asker.me, hint) {
            Some(place) => Ok(place),
            None => self.one_slow(asker, hint),
        }
    }

    #[cold]
    fn one_slow<P: Platform>(&self, asker: &Asker<'_, P>, hint: usize) -> Result<usize, Refused> {
        let claim = || self.places.claim(asker.me, hint);
        let (deadline, refused) = match asker.patience {
            Patience::None => (Some(Instant::now()), Refused::WouldBlock),
            Patience::Until(deadline) => (Some(deadline), Refused::TimedOut),
            Patience::Forever => (None, Refused::TimedOut),
        };
        if !matches!(asker.patience, Patience::None) {
            for _ in 0..SPINS {
                if let Some(place) = claim() {
                    return Ok(place);
                }
                spin_hint();
            }
            let corrupt = Cell::new(false);
            let after_slice = || match self.examine(asker.platform) {
                Examined::Corrupt => {
                    corrupt.set(true);
                    AfterSlice::GiveUp
                }
                Examined::AllLive | Examined::Freed => AfterSlice::GoOn,
            };
            let found = self.freed.wait_until(asker.platform, asker.strategy, deadline, claim, after_slice);
            match found {
                Some(place) => return Ok(place),
                None if corrupt.get() => return Err(Refused::Corrupt),
                None => {}
            }
        }
        // However short its patience: what the dead hold is not in use.
        match self.examine(asker.platform) {
            Examined::Corrupt => Err(Refused::Corrupt),
            Examined::AllLive => Err(refused),
            Examined::Freed => claim().ok_or(refused),
        }
    }

    /// Takes `count` permits, all or none: the numbers of their places go into `taken`, which is empty.
    /// There must be so many places.
    pub(crate) fn many<P: Platform>(
        &self,
        asker: &Asker<'_, P>,
        count: usize,
        taken: &mut Vec<usize>,
    ) -> Result<(), Refused> {
        match self.turnstile.lock(asker.me, asker.platform, asker.patience) {
            Ok(Acquired::Clean) => {}
            Ok(Acquired::OwnerDied) => self.turnstile.mark_consistent(),
            Err(refused @ (Refused::WouldBlock | Refused::TimedOut)) => return Err(refused),
            // Nobody holds it longer than this call, nor gives it up as anything but free.
            Err(_) => return Err(Refused::Corrupt),
        }
        let mut hint = 0;
        let end = (0..count).try_for_each(|_| {
            let place = if let Some(place) = self.places.claim(asker.me, hint) {
                place
            } else {
                // The slice after which the dead are looked for may have passed at the turnstile, or
                // with the permit before.
                self.examine(asker.platform);
                self.one(asker, hint)?
            };
            taken.push(place);
            hint = place + 1;
            Ok(())
        });
        self.turnstile.unlock(asker.platform);
        if end.is_err() {
            taken.drain(..).for_each(|place| self.release(place, asker.platform));
        }
        end
    }

    /// Gives the permit of that place back. Call it only as the one who holds it.
    #[inline]
    pub(crate) fn release(&self, place: usize, platform: &impl Platform) {
        self.places.0[place].leave();
        self.freed.notify(platform);
    }

    /// Frees what the dead hold, as far as the kernel knows of them.
    pub(crate) fn examine(&self, platform: &impl Platform) -> Examined {
        let examined = self.places.examine(platform);
        if examined == Examined::Freed {
            self.freed.notify(platform);
        }
        examined
    }

    /// Takes from `dead` whatever it holds. Whoever sleeps must be woken afterwards.
    pub(crate) fn sweep(&self, dead: Owner) {
        self.turnstile.sweep(dead);
        self.places.sweep(dead);
    }
}
