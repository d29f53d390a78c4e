//! Something that is done once for a region, whoever is killed over it.
//!
//! The algorithm is in `robust_once`, the layout in [`crate::layout::once`].

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use thiserror::Error;

use super::in_region::{self, spec_with_value};
use super::robust_lock::{Patience, Refused, RobustLock};
use super::robust_once::{Begun, RobustOnce};
use crate::Region;
use crate::atomic::Ordering;
use crate::inspect::{EndState, SharedState, role_state};
use crate::layout::mutex::NOT_RECOVERABLE;
use crate::layout::once::{DONE, VALUE, length};
use crate::layout::owner::{MASK, Owner};
use crate::os::futex;
use crate::payload::Payload;
use crate::region::{AccessError, Inner, Memory, Object, ObjectError, ObjectKind, ObjectSpec};

/// Something that one of all processes does, once.
///
/// If the one that does it is killed, or panics, the next that comes (or waits) does it again, and is told
/// ([`OnceState`]).
///
/// ```
/// use allmende::{Once, Region};
/// let region = Region::create().memfd("example")?;
/// let prepared = Once::open_or_create(&region, "prepared")?;
/// assert!(prepared.call_once(|_| println!("preparing"))?);
/// assert!(!prepared.call_once(|_| unreachable!("it is done"))?);
/// assert!(prepared.is_completed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Once {
    inner: Arc<Inner>,
    object: Object,
}

/// How those fared who began before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnceState {
    owner_died: bool,
    panicked: bool,
}

impl OnceState {
    /// Whether the last one that began was killed over it: what it did may be half-done.
    pub fn owner_died(self) -> bool {
        self.owner_died
    }

    /// Whether the last one that began panicked: what it did may be half-done.
    pub fn panicked(self) -> bool {
        self.panicked
    }
}

/// Why it was neither done nor found done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OnceError {
    /// The calling thread is doing it already.
    #[error("this thread is doing it already: waiting for it would never end")]
    Deadlock,
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl From<Refused> for OnceError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Deadlock => Self::Deadlock,
            _ => AccessError::Corrupt.into(),
        }
    }
}

impl Once {
    /// The once of that name in `region`, made where there is none.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let object = region.inner.open_or_create_object(&spec(name)?, initialise)?;
        Ok(Self { inner: region.inner.clone(), object })
    }

    /// A new once, not done; there must be nothing of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let object = region.inner.create_object(&spec(name)?, initialise)?;
        Ok(Self { inner: region.inner.clone(), object })
    }

    /// The once of that name, which must be there.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let object = region.inner.open_object(&spec(name)?)?;
        Ok(Self { inner: region.inner.clone(), object })
    }

    fn words(&self) -> RobustOnce<'_> {
        words(&self.inner.memory, &self.object).expect("checked when it was opened")
    }

    /// Whether it is done. A read-only handle may ask.
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.words().is_done()
    }

    /// Does it, unless it is done, waiting for whoever is doing it; whether this call has done it. What was
    /// done is seen by all whom this call, or [`Self::is_completed`], tells of it.
    ///
    /// # Errors
    /// See [`OnceError`].
    ///
    /// # Panics
    /// When `work` does: the next one is told.
    pub fn call_once(&self, work: impl FnOnce(OnceState)) -> Result<bool, OnceError> {
        // Before anything else: it must be cheap once it is done, and allowed to those who only read.
        if self.is_completed() {
            return Ok(false);
        }
        self.inner.check_access()?;
        let (words, me) = (self.words(), self.inner.me()?);
        match words.begin(me, &*self.inner, Patience::Forever)? {
            Begun::Done => Ok(false),
            Begun::Mine { owner_died, panicked } => {
                let trying = Trying { words, inner: &self.inner };
                work(OnceState { owner_died, panicked });
                trying.succeed();
                Ok(true)
            }
        }
    }
}

/// The attempt under way; dropped, it has failed.
struct Trying<'a> {
    words: RobustOnce<'a>,
    inner: &'a Inner,
}

impl Trying<'_> {
    fn succeed(self) {
        // In a forked child that came back from `work`, nothing is its own.
        if self.inner.check_access().is_ok() {
            self.words.finish(self.inner);
        }
        std::mem::forget(self);
    }
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if self.inner.check_access().is_ok() {
            self.words.fail(self.inner);
        }
    }
}

/// A value that one of all processes makes, once, and that does not change after that.
///
/// ```
/// use allmende::{OnceCell, Region};
/// let region = Region::create().memfd("example")?;
/// let seed = OnceCell::<u64>::open_or_create(&region, "seed")?;
/// assert_eq!(seed.get(), None);
/// assert_eq!(seed.get_or_init(|_| 42)?, &42);
/// assert_eq!(seed.get(), Some(&42));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OnceCell<T> {
    once: Once,
    value: NonNull<T>,
    type_of_value: PhantomData<T>,
}

// SAFETY: the value is written by one thread before `done` and by nobody after it, and (being `Payload`) has
// no ties to a thread; all else is atomics, kept mapped by `once`.
unsafe impl<T: Payload> Send for OnceCell<T> {}
// SAFETY: as above; a `Payload` has no interior mutability.
unsafe impl<T: Payload> Sync for OnceCell<T> {}

impl<T: Payload> OnceCell<T> {
    /// The cell of that name in `region`, made without a value where there is none.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let object = region.inner.open_or_create_object(&cell_spec::<T>(name, &type_name)?, initialise)?;
        Self::at(region, object)
    }

    /// A new cell without a value; there must be nothing of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let object = region.inner.create_object(&cell_spec::<T>(name, &type_name)?, initialise)?;
        Self::at(region, object)
    }

    /// The cell of that name, which must be there.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let object = region.inner.open_object(&cell_spec::<T>(name, &type_name)?)?;
        Self::at(region, object)
    }

    fn at(region: &Region, object: Object) -> Result<Self, ObjectError> {
        let inner = region.inner.clone();
        let value = in_region::value(&inner.memory, &object, VALUE).ok_or(AccessError::Corrupt)?;
        Ok(Self { once: Once { inner, object }, value, type_of_value: PhantomData })
    }

    /// The value, if it is made. A read-only handle may ask.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        if !self.once.is_completed() {
            return None;
        }
        // SAFETY: in bounds and aligned (checked when it was opened), mapped as long as `self`; `done`, seen by
        // Acquire, comes after the only writing. A `Payload` is valid whatever its bytes are. (A peer that
        // writes in spite of that breaks the protocol: see the trust promise.)
        Some(unsafe { self.value.as_ref() })
    }

    /// The value, made by `work` if nobody has made it.
    ///
    /// # Errors
    /// See [`OnceError`].
    ///
    /// # Panics
    /// When `work` does: the next one is told.
    pub fn get_or_init(&self, work: impl FnOnce(OnceState) -> T) -> Result<&T, OnceError> {
        self.once.call_once(|state| {
            let value = work(state);
            // SAFETY: in bounds and aligned, as above; the lock gives the value to this thread alone, and `done`
            // is not set, so nobody has a reference to it.
            unsafe { self.value.as_ptr().write(value) };
        })?;
        // Done: unless this is a child that was forked by `work`.
        self.get().ok_or(OnceError::Access(AccessError::Forked))
    }
}

impl<T: Payload + fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceCell").field(&self.get()).finish()
    }
}

fn spec(name: &str) -> Result<ObjectSpec<'_>, ObjectError> {
    // As a cell for nothing.
    Ok(in_region::spec(name, ObjectKind::Once, "nothing", 1, length(0).ok_or(AccessError::Corrupt)?))
}

fn cell_spec<'a, T: Payload>(name: &'a str, type_name: &'a str) -> Result<ObjectSpec<'a>, ObjectError> {
    spec_with_value::<T>(name, ObjectKind::Once, type_name, length)
}

fn initialise(memory: &Memory, object: &Object) {
    in_region::zero(memory, object, VALUE);
}

/// The words of a once; `None` where there is no room for them.
fn words<'a>(memory: &'a Memory, object: &Object) -> Option<RobustOnce<'a>> {
    let lock = memory.pointer(object.offset, VALUE, align_of::<RobustLock>() as u64)?;
    // SAFETY: in bounds and aligned (just checked; `RobustLock` is no longer than what lies before `DONE`),
    // mapped as long as `memory`, and reached by everyone as these atomics only. Any bits are valid.
    let lock = unsafe { lock.cast::<RobustLock>().as_ref() };
    Some(RobustOnce { lock, done: memory.word32(object.offset + DONE) })
}

const _: () = assert!(size_of::<RobustLock>() as u64 <= DONE);

/// Takes it from `dead`, and wakes those who wait.
pub(crate) fn sweep(memory: &Memory, object: &Object, dead: Owner) {
    let Some(words) = words(memory, object) else { return };
    if words.sweep(dead) {
        futex::wake(&words.lock.word, u32::MAX);
    }
}

/// What is to be said of a once.
pub(crate) fn state(region: &Region, object: &Object) -> Option<SharedState> {
    let words = words(&region.inner.memory, object)?;
    // Relaxed throughout: a picture of a moment that is over when it is seen.
    let word = words.lock.word.load(Ordering::Relaxed);
    let mut ends = Vec::new();
    if word != NOT_RECOVERABLE && Owner::from_word(word).is_some() {
        ends.push(EndState { role: "doer", state: role_state(region, word & MASK) });
    }
    let failed = !words.is_done() && word & crate::layout::mutex::DIED != 0;
    Some(SharedState {
        ends,
        facts: vec![("done", words.is_done().to_string()), ("failed before", failed.to_string())],
        ..SharedState::default()
    })
}
