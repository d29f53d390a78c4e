//! The role words of a ring: who is producer, who is consumer, and how each learns that the other is
//! gone.
//!
//! ```text
//!   NEVER ──take──► held ──drop──► LEFT ──take──► held …
//!                    │ killed
//!                    ▼
//!            held by a dead one ──take (asks the kernel)──► held
//!                    └─sweep──► DIED ──take──► held
//! ```
//!
//! A peer that waits looks at the other's role at the end of each slice. One that does not wait, a
//! producer with free slots, would never look: so whoever marks the consumer's role also sets the
//! SLEEPERS bit of the eventcount that the producer loads after every message, and the producer
//! looks when it finds nobody asleep there.

#![forbid(unsafe_code)]

use crate::atomic::{AtomicU32, Ordering};
use crate::layout::owner::{self, Owner};
use crate::layout::spsc::role;
use crate::sync::eventcount::SLEEPERS;
use crate::sync::platform::Liveness;

/// One end of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Producer,
    Consumer,
}

/// What has become of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// It is there, or has never been: wait for it.
    Expected,
    Left,
    Died,
}

/// Why a role is not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// This one has it, and lives.
    Taken(Owner),
    Corrupt,
}

/// Takes a role for `me`, from nobody or from the dead.
pub(crate) fn take(
    word: &AtomicU32,
    me: Owner,
    liveness: impl Fn(Owner) -> Liveness,
) -> Result<(), NotTaken> {
    loop {
        // Relaxed: a guess, which the compare-and-swap confirms.
        let now = word.load(Ordering::Relaxed);
        if let Some(owner) = Owner::from_word(now) {
            match liveness(owner) {
                Liveness::Dead => {}
                Liveness::Impossible => return Err(NotTaken::Corrupt),
                Liveness::Alive | Liveness::Unknown => return Err(NotTaken::Taken(owner)),
            }
        }
        // Acquire: pairs with the Release of the predecessor's leaving or sweep. Whoever meets us
        // in the role has nothing to read from us yet.
        if word.compare_exchange(now, me.bits(), Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return Ok(());
        }
    }
}

/// What a role word says of the one who has it, without asking the kernel.
#[inline]
pub(crate) fn peer(word: &AtomicU32) -> Peer {
    // Acquire: pairs with the Release in `leave` and `sweep`: all that it did before is to be seen.
    match word.load(Ordering::Acquire) {
        role::LEFT => Peer::Left,
        role::DIED => Peer::Died,
        _ => Peer::Expected,
    }
}

/// The words by which one end tells the other that it is gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndWords<'a> {
    pub(crate) end: End,
    pub(crate) role: &'a AtomicU32,
    /// The eventcount on which this end sleeps.
    pub(crate) event: &'a AtomicU32,
    /// The eventcount on which the other end sleeps.
    pub(crate) others_event: &'a AtomicU32,
}

impl EndWords<'_> {
    /// Gives the role up.
    pub(crate) fn leave(self, wake: impl FnOnce(&AtomicU32)) {
        // Release: pairs with the Acquire in `peer` and `take`.
        self.role.store(role::LEFT, Ordering::Release);
        self.announce(wake);
    }

    /// Takes the role from `dead`, if it has it.
    pub(crate) fn sweep(self, dead: Owner, wake: impl FnOnce(&AtomicU32)) {
        // Relaxed: a guess, which the compare-and-swap confirms.
        let now = self.role.load(Ordering::Relaxed);
        // Release: pairs with the Acquire in `peer` and `take`: passes on what the dead did.
        let taken = now & owner::MASK == dead.bits()
            && self.role.compare_exchange(now, role::DIED, Ordering::Release, Ordering::Relaxed).is_ok();
        // A sweep or a leaving that was itself killed half-way may have marked but not announced.
        if taken || now == role::DIED || now == role::LEFT {
            self.announce(wake);
        }
    }

    /// Tells the other end, asleep or not, to look at the role.
    fn announce(self, wake: impl FnOnce(&AtomicU32)) {
        // One that sleeps: the count moves on, so that it cannot be about to fall asleep either.
        // Release: pairs with the barrier behind the read-modify-write in `EventCount::prepare`.
        self.others_event.fetch_add(2, Ordering::Release);
        wake(self.others_event);
        if self.end == End::Consumer {
            // A producer that does not wait at all: see the module's head.
            // Release: pairs with the Acquire in `EventCount::notify_sleepers`.
            self.event.fetch_or(SLEEPERS, Ordering::Release);
        }
    }
}
