//! What a lock with a value says instead of giving it: above all that its last holder may have left it half-written.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use thiserror::Error;

use super::robust_lock::{Refused, RobustLock};
use crate::atomic::Ordering;
use crate::layout::mutex::NOT_RECOVERABLE;
use crate::payload::Payload;
use crate::region::AccessError;

pub(super) mod private {
    use super::{NonNull, Payload};

    /// What suspects need of a lock.
    ///
    /// # Safety
    /// Whoever has got the lock from one that died has the value, which is mapped and aligned, to itself until it unlocks, or
    /// abandons the lock.
    pub unsafe trait Held {
        type Value: Payload;
        type Guard<'a>
        where
            Self: 'a;

        /// Whether a holder panicked.
        fn poisoned(&self) -> bool;
        /// The value is good (again); the caller holds the lock.
        fn repaired(&self);
        fn value(&self) -> NonNull<Self::Value>;
        fn forked(&self) -> bool;
        /// An ordinary guard of the lock, which the caller holds.
        fn guard(&self) -> Self::Guard<'_>;
        /// Gives it up, with `word` as its state.
        fn abandon(&self, word: u32);
    }
}

use private::Held;

/// A lock with a value: [`Mutex`](crate::Mutex) or [`RwLock`](crate::RwLock).
pub trait Lock: Held {}

impl<L: Held> Lock for L {}

/// Why a lock was not simply had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LockError<'a, L: Lock> {
    /// It was had, alone, but whoever had it alone before died: the value may be half-written.
    #[error("the holder of the lock died: repair the value, then `mark_consistent`")]
    OwnerDied(Suspect<'a, L>),
    /// It was had, alone, but whoever had it alone before panicked: the value may be half-written.
    #[error("a holder of the lock panicked: repair the value, then `mark_consistent`")]
    Poisoned(Suspect<'a, L>),
    /// Somebody held it after a death and did not mark the value consistent.
    #[error("the lock is not recoverable: somebody gave it up without repairing the value")]
    NotRecoverable,
    /// The calling thread holds it already.
    #[error("this thread holds the lock already: waiting for it would never end")]
    Deadlock,
    /// Somebody else holds it (`try_` calls only).
    #[error("the lock is held by somebody else")]
    WouldBlock,
    /// Others held it for the whole time (`_timeout` calls only).
    #[error("the lock was not to be had in time")]
    TimedOut,
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl<'a, L: Lock> LockError<'a, L> {
    /// The caller has got the lock from one that died, or panicked.
    #[cold]
    pub(super) fn suspect(lock: &'a L) -> Self {
        let suspect = Suspect { lock, consistent: false, not_send: PhantomData };
        if lock.poisoned() { Self::Poisoned(suspect) } else { Self::OwnerDied(suspect) }
    }
}

/// For [`Held::poisoned`].
pub(super) fn poisoned(lock: &RobustLock) -> bool {
    // Relaxed: written under the lock that the caller holds.
    lock.poisoned.load(Ordering::Relaxed) != 0
}

/// For [`Held::repaired`].
pub(super) fn repaired(lock: &RobustLock) {
    // Relaxed: as above.
    lock.poisoned.store(0, Ordering::Relaxed);
    lock.mark_consistent();
}

impl<L: Lock> From<Refused> for LockError<'_, L> {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::WouldBlock => Self::WouldBlock,
            Refused::TimedOut => Self::TimedOut,
            Refused::Deadlock => Self::Deadlock,
            Refused::NotRecoverable => Self::NotRecoverable,
            Refused::Corrupt => AccessError::Corrupt.into(),
        }
    }
}

/// The lock, held alone, with a value that its last holder may have left half-written.
///
/// Dropped as it is, it makes the lock not recoverable.
#[must_use = "dropping it makes the lock not recoverable: repair the value and mark it consistent"]
pub struct Suspect<'a, L: Lock> {
    lock: &'a L,
    consistent: bool,
    /// A lock belongs to the thread that took it.
    not_send: PhantomData<*const ()>,
}

impl<'a, L: Lock> Suspect<'a, L> {
    /// Says that the value is good (again), and goes on as an ordinary guard: a
    /// [`MutexGuard`](crate::MutexGuard), or a [`WriteGuard`](crate::sync::rwlock::WriteGuard).
    pub fn mark_consistent(mut self) -> L::Guard<'a> {
        self.lock.repaired();
        self.consistent = true;
        self.lock.guard()
    }
}

impl<L: Lock> Deref for Suspect<'_, L> {
    type Target = L::Value;
    fn deref(&self) -> &L::Value {
        // SAFETY: the compare-and-swap from the dead to us gave us the lock, and so the value (see `Held`) until this is
        // dropped; a `Payload` is valid whatever its bytes are. (A peer that ignores the lock breaks the protocol: see the
        // trust promise.)
        unsafe { self.lock.value().as_ref() }
    }
}

impl<L: Lock> DerefMut for Suspect<'_, L> {
    fn deref_mut(&mut self) -> &mut L::Value {
        // SAFETY: as in `deref`, and `&mut self` makes it exclusive within the thread.
        unsafe { self.lock.value().as_mut() }
    }
}

impl<L: Lock> Drop for Suspect<'_, L> {
    fn drop(&mut self) {
        if !self.consistent && !self.lock.forked() {
            self.lock.abandon(NOT_RECOVERABLE);
        }
    }
}

impl<L: Lock> fmt::Debug for Suspect<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suspect").finish_non_exhaustive()
    }
}
