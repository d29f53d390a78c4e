//! A mutex in a region that survives the death of its holder.
//!
//! The algorithm is in `robust_lock`, the layout in [`crate::layout::mutex`].

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use super::in_region::{self, Attached, spec_with_value};
use super::robust_lock::{Acquired, Patience, RobustLock};
use super::suspect::{self, private::Held};
use crate::Region;
use crate::atomic::Ordering;
use crate::layout::mutex::{DIED, VALUE, length};
use crate::layout::owner::Owner;
use crate::os::fork_guard::ForkGuard;
use crate::payload::Payload;
use crate::region::{AccessError, Inner, Memory, Object, ObjectError, ObjectKind, ObjectSpec};

/// A value in a region that one thread of one process at a time can reach.
///
/// If a holder is killed, the next one gets the lock all the same, as [`LockError::OwnerDied`]: it
/// can look at the value, repair it and [mark it consistent](Suspect::mark_consistent). If it does
/// not, the lock is not recoverable, for everybody.
///
/// ```
/// use allmende::{Mutex, Region};
/// let region = Region::create().memfd("example")?;
/// let counter = Mutex::<u64>::open_or_create(&region, "counter", &0)?;
/// *counter.lock().unwrap() += 1;
/// assert_eq!(*counter.lock().unwrap(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Mutex<T> {
    inner: Arc<Inner>,
    value: NonNull<T>,
    lock: &'static RobustLock,
    /// Copies of what `inner` has, so that the short way through a lock reads nothing but this.
    me: Owner,
    fork: ForkGuard,
}

// SAFETY: the lock gives one thread at a time the value, which (being `Payload`) has no ties to a
// thread; all else is atomics, kept mapped by `inner`.
unsafe impl<T: Payload> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: Payload> Sync for Mutex<T> {}

/// Why a mutex was not simply had.
pub type LockError<'a, T> = suspect::LockError<'a, Mutex<T>>;
/// A mutex, held, with a value that its last holder may have left half-written.
pub type Suspect<'a, T> = suspect::Suspect<'a, Mutex<T>>;

impl<T: Payload> Mutex<T> {
    /// The mutex of that name in `region`, made with `initial` in it where there is none.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(region: &Region, name: &str, initial: &T) -> Result<Self, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let spec = spec::<T>(name, &type_name)?;
        let object = region
            .inner
            .open_or_create_object(&spec, |memory, object| initialise(memory, object, initial))?;
        Self::at(region, &object)
    }

    /// A new mutex with `initial` in it; there must be none of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str, initial: &T) -> Result<Self, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let spec = spec::<T>(name, &type_name)?;
        let object =
            region.inner.create_object(&spec, |memory, object| initialise(memory, object, initial))?;
        Self::at(region, &object)
    }

    /// The mutex of that name, which must be there.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let object = region.inner.open_object(&spec::<T>(name, &type_name)?)?;
        Self::at(region, &object)
    }

    fn at(region: &Region, object: &Object) -> Result<Self, ObjectError> {
        // SAFETY: kept beside `inner`, and lent out for as long as `self` at the most.
        let Attached { inner, words: lock, me, fork } = unsafe { in_region::attach(region, object, words) }?;
        let value = in_region::value(&inner.memory, object, VALUE).ok_or(AccessError::Corrupt)?;
        Ok(Self { inner, value, lock, me, fork })
    }

    /// Takes the lock, waiting as long as it takes.
    ///
    /// # Errors
    /// See [`LockError`]; those that carry a [`Suspect`] have taken it.
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>, LockError<'_, T>> {
        self.acquire(Patience::Forever)
    }

    /// Takes the lock if it is free, or if its holder is dead.
    ///
    /// # Errors
    /// See [`LockError`].
    #[inline]
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, LockError<'_, T>> {
        self.acquire(Patience::None)
    }

    /// Takes the lock, waiting at most `time`.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn lock_timeout(&self, time: Duration) -> Result<MutexGuard<'_, T>, LockError<'_, T>> {
        self.acquire(Patience::within(time))
    }

    #[inline]
    fn acquire(&self, patience: Patience) -> Result<MutexGuard<'_, T>, LockError<'_, T>> {
        let Self { lock, fork, .. } = *self;
        if fork.forked() {
            return Err(AccessError::Forked.into());
        }
        match lock.lock(self.me, &*self.inner, patience) {
            Ok(Acquired::Clean) => Ok(MutexGuard::new(self, lock, fork)),
            Ok(Acquired::OwnerDied) => Err(LockError::suspect(self)),
            Err(refused) => Err(refused.into()),
        }
    }
}

/// For guards of another make, which have forgotten ours.
#[cfg(feature = "compat")]
impl<T: Payload> Mutex<T> {
    /// Unlocks what a forgotten guard held; whether this thread did hold it.
    pub(crate) fn unlock_forgotten(&self) -> bool {
        let held = !self.fork.forked() && self.lock.is_held_by(self.me, &*self.inner);
        if held {
            self.lock.unlock(&*self.inner);
        }
        held
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("word", &self.lock.word).finish_non_exhaustive()
    }
}

/// The lock, held, with a value that can be trusted. Dropping it unlocks.
pub struct MutexGuard<'a, T: Payload> {
    mutex: &'a Mutex<T>,
    /// Copies of what `mutex` has: loads of them would have to wait for the locking.
    lock: &'a RobustLock,
    fork: ForkGuard,
    panicking: bool,
    /// A lock belongs to the thread that took it.
    not_send: PhantomData<*const ()>,
}

impl<'a, T: Payload> MutexGuard<'a, T> {
    /// What it is a guard of.
    pub(super) fn mutex(&self) -> &'a Mutex<T> {
        self.mutex
    }

    #[inline]
    fn new(mutex: &'a Mutex<T>, lock: &'a RobustLock, fork: ForkGuard) -> Self {
        Self { mutex, lock, fork, panicking: std::thread::panicking(), not_send: PhantomData }
    }
}

impl<T: Payload> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the swap from free to us gave this thread the value until the guard is dropped; a
        // `Payload` is valid whatever its bytes are. (A peer that ignores the lock breaks the
        // protocol: see the trust promise.)
        unsafe { self.mutex.value.as_ref() }
    }
}

impl<T: Payload> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes it exclusive within the thread.
        unsafe { &mut *self.mutex.value.as_ptr() }
    }
}

impl<T: Payload> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.fork.forked() {
            return;
        }
        let inner = &*self.mutex.inner;
        if !self.panicking && std::thread::panicking() {
            // Relaxed: published by the unlocking below.
            self.lock.poisoned.store(1, Ordering::Relaxed);
            self.lock.abandon(inner, DIED);
        } else {
            self.lock.unlock(inner);
        }
    }
}

impl<T: Payload + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

// SAFETY: a mutex is held by one at a time, through the word of `lock`; `at` has checked where the value lies.
unsafe impl<T: Payload> Held for Mutex<T> {
    type Value = T;
    type Guard<'a>
        = MutexGuard<'a, T>
    where
        Self: 'a;

    fn poisoned(&self) -> bool {
        suspect::poisoned(self.lock)
    }

    fn repaired(&self) {
        suspect::repaired(self.lock);
    }

    fn value(&self) -> NonNull<T> {
        self.value
    }

    fn forked(&self) -> bool {
        self.fork.forked()
    }

    fn guard(&self) -> MutexGuard<'_, T> {
        MutexGuard::new(self, self.lock, self.fork)
    }

    fn abandon(&self, word: u32) {
        self.lock.abandon(&*self.inner, word);
    }
}

fn spec<'a, T: Payload>(name: &'a str, type_name: &'a str) -> Result<ObjectSpec<'a>, ObjectError> {
    spec_with_value::<T>(name, ObjectKind::Mutex, type_name, length)
}

fn initialise<T: Payload>(memory: &Memory, object: &Object, initial: &T) {
    in_region::zero(memory, object, VALUE);
    in_region::initialise_value(memory, object, VALUE, initial);
}

/// The words of a mutex; `None` where there is no room for them.
fn words<'a>(memory: &'a Memory, object: &Object) -> Option<&'a RobustLock> {
    let words = memory.pointer(object.offset, VALUE, align_of::<RobustLock>() as u64)?;
    // SAFETY: in bounds and aligned (just checked; `RobustLock` is no longer than VALUE), mapped as
    // long as `memory`, and reached by everyone as these atomics only. Any bits are valid.
    Some(unsafe { words.cast::<RobustLock>().as_ref() })
}

/// Takes the lock away from `dead`, and wakes those who wait for it.
pub(crate) fn sweep(memory: &Memory, object: &Object, dead: Owner) {
    let Some(lock) = words(memory, object) else { return };
    if lock.sweep(dead) {
        // The dead may have been the holder after a panic: what the next one meets is a death.
        crate::os::futex::wake(&lock.word, u32::MAX);
    }
}
