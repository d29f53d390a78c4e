//! Who is at one side of a channel that many can be at: a role word each, as in [`super::role_words`].
//!
//! ```text
//!   NEVER ──join──► held ──leave──► LEFT ──join──► held …
//!                    ├─sweep──► DIED ──join──► held
//!                    └─revoke─► REVOKED ──leave──► LEFT, or ──sweep──► DIED
//! ```
//!
//! A word that names a dead participant is not taken before it is swept, since what a member held may
//! be known by the number of its word. Whoever leaves, or sweeps, says so on the eventcount of the
//! other side, which looks when it has nothing else to do.

#![forbid(unsafe_code)]

use super::role_words::Peer;
use crate::atomic::{AtomicU32, Ordering};
use crate::layout::owner::{self, Owner};
use crate::layout::spsc::role;

/// One side of a channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Members<'a> {
    /// A role word for each member that there can be.
    pub(crate) words: &'a [AtomicU32],
    /// The eventcount on which the other side sleeps.
    pub(crate) others_event: &'a AtomicU32,
}

impl Members<'_> {
    /// Takes a word for `me`: its number, or `None` if none is without a holder.
    pub(crate) fn join(&self, me: Owner) -> Option<usize> {
        self.words.iter().position(|word| {
            // Relaxed: a guess, which the compare-and-swap confirms.
            let now = word.load(Ordering::Relaxed);
            // Acquire: pairs with the Release of the last member's leaving or sweep.
            Owner::from_word(now).is_none()
                && word.compare_exchange(now, me.bits(), Ordering::Acquire, Ordering::Relaxed).is_ok()
        })
    }

    /// Gives a word up.
    pub(crate) fn leave(&self, index: usize, wake: impl FnOnce(&AtomicU32)) {
        // Release: pairs with the Acquire in `peers` and `join`. Swapped, as whoever revokes does: one of the two comes
        // first.
        self.words[index].swap(role::LEFT, Ordering::Release);
        self.announce(wake);
    }

    /// Ends a member's part in it, though it may live; `false`: there is none. Its word stays its own until it leaves
    /// or is swept.
    pub(crate) fn revoke(&self, index: usize, wake: impl FnOnce(&AtomicU32)) -> bool {
        let word = &self.words[index];
        // Relaxed: a guess, which the compare-and-swap confirms.
        let mut now = word.load(Ordering::Relaxed);
        while Owner::from_word(now).is_some() {
            // Relaxed: whoever learns of it has nothing to read from us.
            match word.compare_exchange(now, now | role::REVOKED, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    self.announce(wake);
                    return true;
                }
                Err(other) => now = other,
            }
        }
        false
    }

    /// Takes all words from `dead`.
    pub(crate) fn sweep(&self, dead: Owner, wake: impl FnOnce(&AtomicU32)) {
        let mut news = false;
        for word in self.words {
            // Relaxed: a guess, which the compare-and-swap confirms.
            let now = word.load(Ordering::Relaxed);
            // Release: pairs with the Acquire in `peers` and `join`: passes on what the dead did.
            let taken = now & owner::MASK == dead.bits()
                && word.compare_exchange(now, role::DIED, Ordering::Release, Ordering::Relaxed).is_ok();
            // A sweep or a leaving that was itself killed half-way may have marked but not announced.
            news |= taken || now == role::DIED || now == role::LEFT;
        }
        if news {
            self.announce(wake);
        }
    }

    /// What has become of all of them together: one that is there suffices to go on.
    pub(crate) fn peers(&self) -> Peer {
        let mut gone = None;
        for word in self.words {
            // Acquire: pairs with the Release in `leave` and `sweep`: all that it did before is to be seen.
            match word.load(Ordering::Acquire) {
                role::NEVER => {}
                role::LEFT => gone = gone.or(Some(Peer::Left)),
                role::DIED => gone = Some(Peer::Died),
                revoked if revoked & role::REVOKED == role::REVOKED => gone = gone.or(Some(Peer::Left)),
                _ => return Peer::Expected,
            }
        }
        gone.unwrap_or(Peer::Expected)
    }

    /// Whose word it is, dead or alive.
    pub(crate) fn holders(&self) -> impl Iterator<Item = Owner> {
        self.words.iter().filter_map(|word| Owner::from_word(word.load(Ordering::Acquire)))
    }

    /// Tells the other side, asleep or about to be, to look.
    fn announce(&self, wake: impl FnOnce(&AtomicU32)) {
        // Release: pairs with the barrier behind the read-modify-write in `EventCount::prepare`.
        self.others_event.fetch_add(2, Ordering::Release);
        wake(self.others_event);
    }
}

#[cfg(all(test, not(allmende_loom)))]
mod tests {
    use super::*;

    #[test]
    fn members_come_go_and_die() {
        let words: Vec<AtomicU32> = (0..2).map(|_| AtomicU32::new(0)).collect();
        let event = AtomicU32::new(0);
        let members = Members { words: &words, others_event: &event };
        assert_eq!(members.peers(), Peer::Expected);
        let [a, b, c] = [1, 2, 3].map(|slot| Owner::new(slot, 1));
        assert_eq!((members.join(a), members.join(b), members.join(c)), (Some(0), Some(1), None));
        let woken = std::cell::Cell::new(0);
        members.leave(0, |_| woken.set(woken.get() + 1));
        assert_eq!(members.peers(), Peer::Expected);
        members.sweep(b, |_| woken.set(woken.get() + 1));
        assert_eq!((members.peers(), woken.get(), members.holders().count()), (Peer::Died, 2, 0));
        assert_eq!(members.join(c), Some(0));
        assert_eq!((members.peers(), members.holders().next()), (Peer::Expected, Some(c)));
        members.leave(0, |_| ());
        assert_eq!(members.join(c), Some(0));
        assert_eq!(members.join(c), Some(1));
        members.leave(0, |_| ());
        members.leave(1, |_| ());
        assert_eq!(members.peers(), Peer::Left);
    }
}
