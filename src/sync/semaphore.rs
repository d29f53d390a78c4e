//! A semaphore in a region whose permits come back when their holder is killed.
//!
//! The algorithm is in `permits`, the layout in [`crate::layout::semaphore`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::eventcount::{EventCount, SLEEPERS};
use super::in_region::{self, Attached};
use super::permits::{Asker, Permits as Words};
use super::places::{Place, Places};
use super::robust_lock::{Patience, Refused, RobustLock};
use super::wait::Wait;
use super::waitable::{Bed, Waitable, private::Sealed};
use crate::Region;
use crate::atomic::{AtomicU32, Ordering};
use crate::inspect::{EndState, SharedState, role_state};
use crate::layout::owner::Owner;
use crate::layout::semaphore::{EVENT, MAX_PERMITS, PLACE, PLACES, TURNSTILE, length};
use crate::os::fork_guard::ForkGuard;
use crate::os::futex;
use crate::region::{AccessError, Inner, Memory, Object, ObjectError, ObjectKind, ObjectSpec};

/// A fixed number of permits that processes take and give back: at most so many are at it at a time.
///
/// A permit is given back when it is dropped, by any thread; when its holder is killed or detaches, it
/// comes back, too. Permits can neither be added nor used up: to count things that one process makes
/// and another consumes, use a channel; to tell others that something happened, an
/// [`Event`](crate::Event).
///
/// Taking a permit that is free costs one compare-and-swap, giving it back one store; no system call
/// unless somebody waits.
///
/// ```
/// use allmende::{Region, Semaphore};
/// let region = Region::create().memfd("example")?;
/// let gate = Semaphore::open_or_create(&region, "at most two", 2)?;
/// let one = gate.acquire()?;
/// let two = gate.acquire()?;
/// assert!(gate.try_acquire().is_err());
/// drop(one);
/// assert_eq!(gate.available(), 1);
/// # drop(two);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Semaphore {
    inner: Arc<Inner>,
    words: Words<'static>,
    /// Copies of what `inner` has, so that the short way reads little else.
    me: Owner,
    fork: ForkGuard,
    strategy: Wait,
    /// The place that was last taken through this handle: likely free, and in this core's cache.
    hint: AtomicU32,
}

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// All are taken (`try_` calls only).
    #[error("all permits are taken")]
    WouldBlock,
    /// They were taken for the whole time (`_timeout` calls only).
    #[error("no permit was to be had in time")]
    TimedOut,
    /// More than there are: waiting for them would never end.
    #[error("{asked} permits are more than the {permits} that the semaphore has")]
    TooMany {
        /// How many were asked for.
        asked: u32,
        /// How many there are, free or not.
        permits: u32,
    },
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl From<Refused> for AcquireError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::WouldBlock => Self::WouldBlock,
            Refused::TimedOut => Self::TimedOut,
            Refused::Deadlock | Refused::NotRecoverable | Refused::Corrupt => AccessError::Corrupt.into(),
        }
    }
}

impl Semaphore {
    /// The semaphore of that name in `region`, made with so many `permits` where there is none; one that
    /// is there must have as many.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(region: &Region, name: &str, permits: u32) -> Result<Self, ObjectError> {
        let object = region.inner.open_or_create_object(&spec(name, permits)?, initialise)?;
        Self::at(region, &object)
    }

    /// A new semaphore with so many `permits`, 1 to 65,536 of them, all free; there must be none of that
    /// name. Each takes 64 bytes.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str, permits: u32) -> Result<Self, ObjectError> {
        let object = region.inner.create_object(&spec(name, permits)?, initialise)?;
        Self::at(region, &object)
    }

    /// The semaphore of that name, which must be there.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let any = ObjectSpec { item_count: 0, ..spec(name, 1)? };
        Self::at(region, &region.inner.open_object(&any)?)
    }

    fn at(region: &Region, object: &Object) -> Result<Self, ObjectError> {
        // SAFETY: kept beside `inner`, and lent out for as long as `self` at the most.
        let Attached { inner, words, me, fork } = unsafe { in_region::attach(region, object, words) }?;
        Ok(Self { inner, words, me, fork, strategy: Wait::default(), hint: AtomicU32::new(0) })
    }

    /// How this handle waits (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, strategy: Wait) -> Self {
        self.strategy = strategy;
        self
    }

    /// Takes a permit, waiting as long as it takes.
    ///
    /// # Errors
    /// [`AcquireError::Access`] only.
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>, AcquireError> {
        self.one(Patience::Forever)
    }

    /// Takes a permit if one is free, or if a holder is dead.
    ///
    /// # Errors
    /// See [`AcquireError`].
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>, AcquireError> {
        self.one(Patience::None)
    }

    /// Takes a permit, waiting at most `time`.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub fn acquire_timeout(&self, time: Duration) -> Result<Permit<'_>, AcquireError> {
        self.one(Patience::within(time))
    }

    /// Takes `count` permits, all of them or none, waiting as long as it takes.
    ///
    /// Of several callers one at a time gathers its permits, so that two of them cannot block each other;
    /// callers that already hold some can.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub fn acquire_many(&self, count: u32) -> Result<Permits<'_>, AcquireError> {
        self.many(count, Patience::Forever)
    }

    /// Takes `count` permits if so many are free.
    ///
    /// # Errors
    /// See [`AcquireError`]; [`AcquireError::WouldBlock`] also while somebody else gathers permits.
    pub fn try_acquire_many(&self, count: u32) -> Result<Permits<'_>, AcquireError> {
        self.many(count, Patience::None)
    }

    /// Takes `count` permits, waiting at most `time`.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub fn acquire_many_timeout(&self, count: u32, time: Duration) -> Result<Permits<'_>, AcquireError> {
        self.many(count, Patience::within(time))
    }

    /// How many permits it has, free or not.
    pub fn permits(&self) -> u32 {
        u32::try_from(self.words.places.0.len()).unwrap_or(MAX_PERMITS)
    }

    /// How many permits are free at this moment. Those of the dead are taken until somebody asks for
    /// them, or sweeps.
    pub fn available(&self) -> u32 {
        u32::try_from(self.words.places.free()).unwrap_or(MAX_PERMITS)
    }

    #[inline]
    fn asker(&self, patience: Patience) -> Result<Asker<'_, Inner>, AcquireError> {
        if self.fork.forked() {
            return Err(AccessError::Forked.into());
        }
        Ok(Asker { me: self.me, platform: &self.inner, strategy: self.strategy, patience })
    }

    #[inline]
    fn one(&self, patience: Patience) -> Result<Permit<'_>, AcquireError> {
        // Relaxed, here and below: any number will do.
        let hint = self.hint.load(Ordering::Relaxed);
        let place = self.words.one(&self.asker(patience)?, hint as usize)?;
        if place != hint as usize {
            #[allow(clippy::cast_possible_truncation, reason = "there are at most 65,536 places")]
            self.hint.store(place as u32, Ordering::Relaxed);
        }
        Ok(Permit { semaphore: self, place })
    }

    fn many(&self, count: u32, patience: Patience) -> Result<Permits<'_>, AcquireError> {
        let asker = self.asker(patience)?;
        if count > self.permits() {
            return Err(AcquireError::TooMany { asked: count, permits: self.permits() });
        }
        // Room for all: nothing is allocated while the turnstile is held.
        let mut places = Vec::with_capacity(count as usize);
        if count > 0 {
            self.words.many(&asker, count as usize, &mut places)?;
        }
        Ok(Permits { semaphore: self, places })
    }

    #[inline]
    fn release(&self, place: usize) {
        if !self.fork.forked() {
            self.words.release(place, &*self.inner);
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("permits", &self.permits())
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}

impl Sealed for Semaphore {}

/// Ready when a permit is free. Another may be faster at taking it: use the `try_` calls.
impl Waitable for Semaphore {
    fn is_ready(&self) -> bool {
        self.words.places.free() > 0
    }

    fn examine(&self) {
        if !self.fork.forked() {
            // What is corrupt is for those to report who want a permit.
            let _ = self.words.examine(&*self.inner);
        }
    }

    fn bed(&self) -> Bed<'_> {
        Bed { inner: &self.inner, event: self.words.freed.0 }
    }
}

/// A permit; dropping it gives it back.
#[must_use = "dropped at once, it is given back at once"]
#[derive(Debug)]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    place: usize,
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.release(self.place);
    }
}

/// Several permits; dropping them gives them back.
#[must_use = "dropped at once, they are given back at once"]
#[derive(Debug)]
pub struct Permits<'a> {
    semaphore: &'a Semaphore,
    places: Vec<usize>,
}

impl<'a> Permits<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none (left).
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Takes one out, to be given back by itself.
    pub fn split_one(&mut self) -> Option<Permit<'a>> {
        self.places.pop().map(|place| Permit { semaphore: self.semaphore, place })
    }
}

impl Drop for Permits<'_> {
    fn drop(&mut self) {
        self.places.drain(..).for_each(|place| self.semaphore.release(place));
    }
}

fn spec(name: &str, permits: u32) -> Result<ObjectSpec<'_>, ObjectError> {
    let length = length(u64::from(permits)).ok_or(ObjectError::InvalidSize {
        count: permits.into(),
        size: PLACE,
        problem: "a semaphore has 1 to 65,536 permits",
    })?;
    Ok(in_region::spec(name, ObjectKind::Semaphore, "a semaphore", permits, length))
}

fn initialise(memory: &Memory, object: &Object) {
    in_region::zero(memory, object, PLACES);
    words(memory, object).expect("it was made large enough").places.0.iter().for_each(Place::initialise);
}

/// The words of a semaphore; `None` where there is no room for them.
fn words<'a>(memory: &'a Memory, object: &Object) -> Option<Words<'a>> {
    let count = usize::try_from(object.item_count).ok().filter(|&count| count <= MAX_PERMITS as usize)?;
    let turnstile = memory.pointer(object.offset + TURNSTILE, PLACES - TURNSTILE, 64)?;
    let places = memory.pointer(object.offset + PLACES, count as u64 * PLACE, PLACE)?;
    // SAFETY: in bounds and aligned (just checked; a lock is no longer than what lies before the places),
    // mapped as long as `memory`, and reached by everyone as these atomics only. Any bits are valid.
    let turnstile = unsafe { turnstile.cast::<RobustLock>().as_ref() };
    // SAFETY: as above: `count` places of `PLACE` bytes each lie in bounds, aligned.
    let places = unsafe { std::slice::from_raw_parts(places.cast::<Place>().as_ptr(), count) };
    let freed = EventCount(memory.word32(object.offset + EVENT));
    Some(Words { places: Places(places), freed, turnstile })
}

/// Takes all permits from `dead`, and wakes those who wait for some.
pub(crate) fn sweep(memory: &Memory, object: &Object, dead: Owner) {
    let Some(words) = words(memory, object) else { return };
    words.sweep(dead);
    futex::wake(&words.turnstile.word, u32::MAX);
    in_region::wake_all(words.freed);
}

/// What is to be said of a semaphore.
pub(crate) fn state(region: &Region, object: &Object) -> Option<SharedState> {
    let words = words(&region.inner.memory, object)?;
    // Relaxed throughout: a picture of a moment that is over when it is seen.
    let held =
        words.places.0.iter().map(|place| place.word.load(Ordering::Relaxed)).filter(|&word| word != 0);
    let ends = held.map(|word| EndState { role: "permit", state: role_state(region, word) }).collect();
    let sleepers = words.freed.0.load(Ordering::Relaxed) & SLEEPERS != 0;
    Some(SharedState {
        ends,
        facts: vec![
            ("permits", words.places.0.len().to_string()),
            ("available", words.places.free().to_string()),
            ("somebody waits", sleepers.to_string()),
        ],
        ..SharedState::default()
    })
}
