//! Whose turn it is to change what all share.

#![forbid(unsafe_code)]

use crate::atomic::{AtomicU32, Ordering, spin_hint};
use crate::layout::owner::{self, Owner};

/// Takes the turn for `me`, if nobody has it.
#[inline]
pub(crate) fn try_take(turn: &AtomicU32, me: Owner) -> bool {
    // Acquire: pairs with the Release in `give_back`: what the last holder changed is to be seen.
    turn.compare_exchange(0, me.bits(), Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// The same, with some patience: a turn lasts well below a microsecond unless its holder is interrupted.
#[inline]
pub(crate) fn take_soon(turn: &AtomicU32, me: Owner, looks: u32) -> bool {
    for _ in 0..looks {
        // Relaxed: a guess, which the compare-and-swap confirms.
        if turn.load(Ordering::Relaxed) == 0 && try_take(turn, me) {
            return true;
        }
        spin_hint();
    }
    false
}

/// Ends the turn.
#[inline]
pub(crate) fn give_back(turn: &AtomicU32) {
    // Release: pairs with the Acquire in `try_take`.
    turn.store(0, Ordering::Release);
}

/// Who has it, dead or alive.
pub(crate) fn holder(turn: &AtomicU32) -> Option<Owner> {
    // Relaxed: whether that one lives is asked of the kernel.
    Owner::from_word(turn.load(Ordering::Relaxed))
}

/// Whether `dead` has it.
pub(crate) fn is_of(turn: &AtomicU32, dead: Owner) -> bool {
    // Acquire: a sweep of `dead` may itself have died with the turn in the dead's name.
    turn.load(Ordering::Acquire) & owner::MASK == dead.bits()
}
