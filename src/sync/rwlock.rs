//! A readers–writer lock in a region that survives the death of those who hold it.
//!
//! The algorithm is in `robust_rwlock`, the layout in [`crate::layout::rwlock`].

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use super::eventcount::EventCount;
use super::in_region::{self, Attached, spec_with_value};
use super::permits::Asker;
use super::places::{Place, Places};
use super::robust_lock::{Acquired, Patience, RobustLock};
use super::robust_rwlock::{Reading, RobustRwLock};
use super::suspect::{self, private::Held};
use super::wait::Wait;
use crate::Region;
use crate::atomic::{AtomicU32, Ordering};
use crate::inspect::{EndState, SharedState, role_state};
use crate::layout::mutex::{DIED, NOT_RECOVERABLE};
use crate::layout::owner::Owner;
use crate::layout::rwlock::{PLACES, READERS, UNLOCKED_EVENT, USED, VACATED_EVENT, VALUE, WAITING, length};
use crate::layout::semaphore::PLACE;
use crate::os::fork_guard::ForkGuard;
use crate::os::futex;
use crate::payload::Payload;
use crate::region::{AccessError, Inner, Memory, Object, ObjectError, ObjectKind, ObjectSpec};

/// A value in a region that many can read at a time (64; more wait), or one write.
///
/// Readers that come while somebody writes, or waits to, wait for that writer; its unlocking lets all of
/// them in before the next writer. If a reader is killed, its share comes back. If a writer is killed,
/// the next one that comes, to read or to write, gets the lock exclusively, as
/// [`RwLockError::OwnerDied`]: it can repair the value and [mark it consistent](Suspect::mark_consistent).
/// If it does not, the lock is not recoverable, for everybody.
///
/// ```
/// use allmende::{Region, RwLock};
/// let region = Region::create().memfd("example")?;
/// let limits = RwLock::<[f64; 2]>::open_or_create(&region, "limits", &[0.0, 1.0])?;
/// limits.write().unwrap()[1] = 2.0;
/// let (one, other) = (limits.read().unwrap(), limits.read().unwrap());
/// assert_eq!(one[1], other[1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RwLock<T> {
    inner: Arc<Inner>,
    value: NonNull<T>,
    words: RobustRwLock<'static>,
    /// Copies of what `inner` has, so that the short way through a lock reads little else.
    me: Owner,
    fork: ForkGuard,
    strategy: Wait,
    /// The place that was last taken through this handle: likely free, and in this core's cache.
    hint: AtomicU32,
}

// SAFETY: the lock gives the value to one thread alone or to several for reading, and (being `Payload`) it
// has no ties to a thread; all else is atomics, kept mapped by `inner`.
unsafe impl<T: Payload> Send for RwLock<T> {}
// SAFETY: as above; a `Payload` may be read by several threads at once: it has no interior mutability.
unsafe impl<T: Payload> Sync for RwLock<T> {}

/// Why a lock was not simply had. Whoever is its suspect holder has it as a writer.
pub type RwLockError<'a, T> = suspect::LockError<'a, RwLock<T>>;
/// The lock, held for writing, with a value that its last writer may have left half-written.
pub type Suspect<'a, T> = suspect::Suspect<'a, RwLock<T>>;

impl<T: Payload> RwLock<T> {
    /// The lock of that name in `region`, made with `initial` in it where there is none.
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

    /// A new lock with `initial` in it; there must be none of that name.
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

    /// The lock of that name, which must be there.
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
        let Attached { inner, words, me, fork } = unsafe { in_region::attach(region, object, words) }?;
        let value = in_region::value(&inner.memory, object, VALUE).ok_or(AccessError::Corrupt)?;
        Ok(Self { inner, value, words, me, fork, strategy: Wait::default(), hint: AtomicU32::new(0) })
    }

    /// How this handle waits for those of the other kind (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, strategy: Wait) -> Self {
        self.strategy = strategy;
        self
    }

    /// Reads, waiting as long as it takes.
    ///
    /// # Errors
    /// See [`RwLockError`]; those that carry a [`Suspect`] have taken the lock, exclusively.
    #[inline]
    pub fn read(&self) -> Result<ReadGuard<'_, T>, RwLockError<'_, T>> {
        self.reading(Patience::Forever)
    }

    /// Reads if nobody writes, or wants to.
    ///
    /// # Errors
    /// See [`RwLockError`].
    #[inline]
    pub fn try_read(&self) -> Result<ReadGuard<'_, T>, RwLockError<'_, T>> {
        self.reading(Patience::None)
    }

    /// Reads, waiting at most `time`.
    ///
    /// # Errors
    /// See [`RwLockError`].
    pub fn read_timeout(&self, time: Duration) -> Result<ReadGuard<'_, T>, RwLockError<'_, T>> {
        self.reading(Patience::within(time))
    }

    /// Writes, waiting as long as it takes.
    ///
    /// # Errors
    /// See [`RwLockError`]; those that carry a [`Suspect`] have taken the lock.
    #[inline]
    pub fn write(&self) -> Result<WriteGuard<'_, T>, RwLockError<'_, T>> {
        self.writing(Patience::Forever)
    }

    /// Writes if nobody else reads or writes.
    ///
    /// # Errors
    /// See [`RwLockError`].
    #[inline]
    pub fn try_write(&self) -> Result<WriteGuard<'_, T>, RwLockError<'_, T>> {
        self.writing(Patience::None)
    }

    /// Writes, waiting at most `time`.
    ///
    /// # Errors
    /// See [`RwLockError`].
    pub fn write_timeout(&self, time: Duration) -> Result<WriteGuard<'_, T>, RwLockError<'_, T>> {
        self.writing(Patience::within(time))
    }

    #[inline]
    fn asker(&self, patience: Patience) -> Result<Asker<'_, Inner>, AccessError> {
        if self.fork.forked() {
            return Err(AccessError::Forked);
        }
        Ok(Asker { me: self.me, platform: &self.inner, strategy: self.strategy, patience })
    }

    #[inline]
    fn reading(&self, patience: Patience) -> Result<ReadGuard<'_, T>, RwLockError<'_, T>> {
        // Relaxed, here and below: any number will do.
        let hint = self.hint.load(Ordering::Relaxed);
        match self.words.read(&self.asker(patience)?, hint as usize)? {
            Reading::Shared(place) => {
                if place != hint as usize {
                    #[allow(clippy::cast_possible_truncation, reason = "there are 64 places")]
                    self.hint.store(place as u32, Ordering::Relaxed);
                }
                Ok(ReadGuard { lock: self, place, not_send: PhantomData })
            }
            Reading::Heir => Err(RwLockError::suspect(self)),
        }
    }

    #[inline]
    fn writing(&self, patience: Patience) -> Result<WriteGuard<'_, T>, RwLockError<'_, T>> {
        match self.words.write(&self.asker(patience)?)? {
            Acquired::Clean => Ok(WriteGuard::new(self)),
            Acquired::OwnerDied => Err(RwLockError::suspect(self)),
        }
    }
}

/// For guards of another make, which have forgotten ours.
#[cfg(feature = "compat")]
impl<T: Payload> RwLock<T> {
    /// Gives up what a forgotten guard held: the place of a reader, or the writer's word; whether it was held.
    pub(crate) fn unlock_forgotten(&self, place: Option<usize>) -> bool {
        if self.fork.forked() {
            return false;
        }
        if let Some(place) = place {
            self.words.stop_reading(place, &*self.inner);
            return true;
        }
        let held = self.words.lock.is_held_by(self.me, &*self.inner);
        if held {
            self.words.unlock(&*self.inner);
        }
        held
    }
}

#[cfg(feature = "compat")]
impl<T: Payload> ReadGuard<'_, T> {
    /// Forgets the guard; the place is for [`RwLock::unlock_forgotten`].
    pub(crate) fn forget(self) -> usize {
        let place = self.place;
        std::mem::forget(self);
        place
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").field("word", &self.words.lock.word).finish_non_exhaustive()
    }
}

/// The lock, held for reading. Dropping it gives the share back.
pub struct ReadGuard<'a, T: Payload> {
    lock: &'a RwLock<T>,
    place: usize,
    /// A share belongs to the thread that took it: so it is known when a thread waits for itself.
    not_send: PhantomData<*const ()>,
}

impl<T: Payload> Deref for ReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: our place holds off every writer until the guard is dropped; a `Payload` is valid
        // whatever its bytes are. (A peer that ignores the lock breaks the protocol: see the trust promise.)
        unsafe { self.lock.value.as_ref() }
    }
}

impl<T: Payload> Drop for ReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if !self.lock.fork.forked() {
            self.lock.words.stop_reading(self.place, &*self.lock.inner);
        }
    }
}

impl<T: Payload + fmt::Debug> fmt::Debug for ReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The lock, held for writing, with a value that can be trusted. Dropping it unlocks.
pub struct WriteGuard<'a, T: Payload> {
    lock: &'a RwLock<T>,
    panicking: bool,
    /// A lock belongs to the thread that took it.
    not_send: PhantomData<*const ()>,
}

impl<'a, T: Payload> WriteGuard<'a, T> {
    #[inline]
    fn new(lock: &'a RwLock<T>) -> Self {
        Self { lock, panicking: std::thread::panicking(), not_send: PhantomData }
    }
}

impl<T: Payload> Deref for WriteGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the writers' word is ours and all readers' places were seen empty or waiting, so this
        // thread has the value alone until the guard is dropped; else as for `ReadGuard`.
        unsafe { self.lock.value.as_ref() }
    }
}

impl<T: Payload> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes it exclusive within the thread.
        unsafe { &mut *self.lock.value.as_ptr() }
    }
}

impl<T: Payload> Drop for WriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.lock.fork.forked() {
            return;
        }
        let (words, inner) = (&self.lock.words, &*self.lock.inner);
        if !self.panicking && std::thread::panicking() {
            // Relaxed: published by the unlocking below.
            words.lock.poisoned.store(1, Ordering::Relaxed);
            words.abandon(inner, DIED);
        } else {
            words.unlock(inner);
        }
    }
}

impl<T: Payload + fmt::Debug> fmt::Debug for WriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

// SAFETY: who has the writers' word has the value alone, once all readers' places are empty, for which it waits before it is
// told of a death; `at` has checked where the value lies.
unsafe impl<T: Payload> Held for RwLock<T> {
    type Value = T;
    type Guard<'a>
        = WriteGuard<'a, T>
    where
        Self: 'a;

    fn poisoned(&self) -> bool {
        suspect::poisoned(self.words.lock)
    }

    fn repaired(&self) {
        suspect::repaired(self.words.lock);
    }

    fn value(&self) -> NonNull<T> {
        self.value
    }

    fn forked(&self) -> bool {
        self.fork.forked()
    }

    fn guard(&self) -> WriteGuard<'_, T> {
        WriteGuard::new(self)
    }

    fn abandon(&self, word: u32) {
        self.words.abandon(&*self.inner, word);
    }
}

fn spec<'a, T: Payload>(name: &'a str, type_name: &'a str) -> Result<ObjectSpec<'a>, ObjectError> {
    spec_with_value::<T>(name, ObjectKind::RwLock, type_name, length)
}

fn initialise<T: Payload>(memory: &Memory, object: &Object, initial: &T) {
    in_region::zero(memory, object, VALUE);
    in_region::initialise_value(memory, object, VALUE, initial);
}

/// The words of a lock; `None` where there is no room for them.
fn words<'a>(memory: &'a Memory, object: &Object) -> Option<RobustRwLock<'a>> {
    let lock = memory.pointer(object.offset, VALUE, PLACE)?;
    let places = memory.pointer(object.offset + PLACES, READERS * PLACE, PLACE)?;
    let count = usize::try_from(READERS).ok()?;
    // SAFETY: in bounds and aligned (just checked; a lock is no longer than what lies before `USED`), mapped
    // as long as `memory`, and reached by everyone as these atomics only. Any bits are valid.
    let lock = unsafe { lock.cast::<RobustLock>().as_ref() };
    // SAFETY: as above: `READERS` places of `PLACE` bytes each lie in bounds, aligned.
    let places = unsafe { std::slice::from_raw_parts(places.cast::<Place>().as_ptr(), count) };
    let word = |offset| memory.word32(object.offset + offset);
    Some(RobustRwLock {
        lock,
        used: word(USED),
        vacated: EventCount(word(VACATED_EVENT)),
        unlocked: EventCount(word(UNLOCKED_EVENT)),
        places: Places(places),
    })
}

/// Takes all that `dead` holds of it, and wakes those who wait.
pub(crate) fn sweep(memory: &Memory, object: &Object, dead: Owner) {
    let Some(words) = words(memory, object) else { return };
    words.sweep(dead);
    futex::wake(&words.lock.word, u32::MAX);
    [words.vacated, words.unlocked].into_iter().for_each(in_region::wake_all);
}

/// What is to be said of a lock.
pub(crate) fn state(region: &Region, object: &Object) -> Option<SharedState> {
    let words = words(&region.inner.memory, object)?;
    // Relaxed throughout: a picture of a moment that is over when it is seen.
    let word = words.lock.word.load(Ordering::Relaxed);
    let lost = word == NOT_RECOVERABLE;
    let mut ends = Vec::new();
    if !lost && Owner::from_word(word).is_some() {
        ends.push(EndState { role: "writer", state: role_state(region, word & crate::layout::owner::MASK) });
    }
    for word in
        words.places.0.iter().map(|place| place.word.load(Ordering::Relaxed)).filter(|&word| word != 0)
    {
        let role = if word & WAITING == 0 { "reader" } else { "waiting reader" };
        ends.push(EndState { role, state: role_state(region, word & !WAITING) });
    }
    let poisoned = words.lock.poisoned.load(Ordering::Relaxed) != 0;
    Some(SharedState {
        ends,
        facts: vec![
            ("died", (word & DIED != 0).to_string()),
            ("poisoned", poisoned.to_string()),
            ("not recoverable", lost.to_string()),
        ],
        ..SharedState::default()
    })
}
