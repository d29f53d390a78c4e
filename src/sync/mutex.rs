//! A mutex in a region that survives the death of its holder.
//!
//! The algorithm is in `robust_lock`, the layout in [`crate::layout::mutex`].

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::robust_lock::{Acquired, Patience, Refused, RobustLock};
use crate::Region;
use crate::atomic::Ordering;
use crate::layout::mutex::{DIED, MAX_ALIGN, NOT_RECOVERABLE, THREAD, VALUE, WORD, length};
use crate::layout::owner::Owner;
use crate::os::fork_guard::ForkGuard;
use crate::payload::Payload;
use crate::region::{AccessError, Inner, Memory, NO_PARAMETERS, Object, ObjectError, ObjectKind, ObjectSpec};

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

/// Why a lock was not simply had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LockError<'a, T: Payload> {
    /// It was had, but its last holder died: the value may be half-written.
    #[error("the holder of the lock died: repair the value, then `mark_consistent`")]
    OwnerDied(Suspect<'a, T>),
    /// It was had, but its last holder panicked: the value may be half-written.
    #[error("a holder of the lock panicked: repair the value, then `mark_consistent`")]
    Poisoned(Suspect<'a, T>),
    /// Somebody held it after a death and did not mark the value consistent.
    #[error("the lock is not recoverable: somebody gave it up without repairing the value")]
    NotRecoverable,
    /// The calling thread holds it already.
    #[error("this thread holds the lock already: waiting for it would never end")]
    Deadlock,
    /// Somebody else holds it (`try_lock` only).
    #[error("the lock is held by somebody else")]
    WouldBlock,
    /// Somebody else held it for the whole time (`lock_timeout` only).
    #[error("the lock was not to be had in time")]
    TimedOut,
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

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
        let inner = region.inner.clone();
        inner.check_access()?;
        let (me, fork) = (inner.me()?, inner.fork_guard());
        let value = inner
            .memory
            .pointer(object.offset + VALUE, size_of::<T>() as u64, align_of::<T>() as u64)
            .ok_or(AccessError::Corrupt)?
            .cast::<T>();
        let lock = NonNull::from(words(&inner.memory, object).ok_or(AccessError::Corrupt)?);
        // SAFETY: the words lie in the mapping that `inner` keeps for as long as this `Mutex`, and
        // no reference to them outlives it: 'static stands for "as long as `inner`".
        let lock: &'static RobustLock = unsafe { lock.as_ref() };
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
        self.acquire(Instant::now().checked_add(time).map_or(Patience::Forever, Patience::Until))
    }

    #[inline]
    fn acquire(&self, patience: Patience) -> Result<MutexGuard<'_, T>, LockError<'_, T>> {
        let Self { lock, fork, .. } = *self;
        if fork.forked() {
            return Err(AccessError::Forked.into());
        }
        match lock.lock(self.me, &*self.inner, patience) {
            Ok(Acquired::Clean) => Ok(MutexGuard::new(self, lock, fork)),
            Ok(Acquired::OwnerDied) => Err(self.suspect()),
            Err(refused) => Err(refused.into()),
        }
    }

    #[cold]
    fn suspect(&self) -> LockError<'_, T> {
        let suspect = Suspect { mutex: self, consistent: false, not_send: PhantomData };
        // Relaxed: written under the lock that we hold.
        if self.lock.poisoned.load(Ordering::Relaxed) == 0 {
            LockError::OwnerDied(suspect)
        } else {
            LockError::Poisoned(suspect)
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

impl<T: Payload> From<Refused> for LockError<'_, T> {
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

/// The lock, held, with a value that its last holder may have left half-written.
///
/// Dropped as it is, it makes the lock not recoverable.
#[must_use = "dropping it makes the lock not recoverable: repair the value and mark it consistent"]
pub struct Suspect<'a, T: Payload> {
    mutex: &'a Mutex<T>,
    consistent: bool,
    not_send: PhantomData<*const ()>,
}

impl<'a, T: Payload> Suspect<'a, T> {
    /// Says that the value is good (again), and goes on as an ordinary guard.
    pub fn mark_consistent(mut self) -> MutexGuard<'a, T> {
        // Relaxed: under the lock.
        self.mutex.lock.poisoned.store(0, Ordering::Relaxed);
        self.mutex.lock.mark_consistent();
        self.consistent = true;
        MutexGuard::new(self.mutex, self.mutex.lock, self.mutex.fork)
    }
}

impl<T: Payload> Deref for Suspect<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: as for `MutexGuard`: the compare-and-swap from the dead to us gave us the value.
        unsafe { self.mutex.value.as_ref() }
    }
}

impl<T: Payload> DerefMut for Suspect<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes it exclusive within the thread.
        unsafe { &mut *self.mutex.value.as_ptr() }
    }
}

impl<T: Payload> Drop for Suspect<'_, T> {
    fn drop(&mut self) {
        if !self.consistent && !self.mutex.fork.forked() {
            self.mutex.lock.abandon(&*self.mutex.inner, NOT_RECOVERABLE);
        }
    }
}

impl<T: Payload> fmt::Debug for Suspect<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suspect").finish_non_exhaustive()
    }
}

fn spec<'a, T: Payload>(name: &'a str, type_name: &'a str) -> Result<ObjectSpec<'a>, ObjectError> {
    let size = size_of::<T>() as u64;
    let problem = |problem| ObjectError::InvalidSize { count: 1, size, problem };
    if align_of::<T>() > MAX_ALIGN {
        return Err(problem("its alignment is above 64"));
    }
    Ok(ObjectSpec {
        name,
        kind: ObjectKind::Mutex,
        length: length(size).ok_or_else(|| problem("it is too large"))?,
        fingerprint: T::FINGERPRINT,
        type_name,
        item_size: size,
        item_count: 1,
        parameters: NO_PARAMETERS,
    })
}

fn initialise<T: Payload>(memory: &Memory, object: &Object, initial: &T) {
    // Relaxed: nobody else can reach the object before it is READY.
    memory.word64(object.offset + WORD).store(0, Ordering::Relaxed);
    memory.word64(object.offset + THREAD).store(0, Ordering::Relaxed);
    let value = memory
        .pointer(object.offset + VALUE, size_of::<T>() as u64, align_of::<T>() as u64)
        .expect("the object was made large enough")
        .cast::<T>();
    // SAFETY: in bounds and aligned (checked just above), and nobody else has the object yet.
    unsafe { value.write(*initial) };
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
