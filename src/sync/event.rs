//! An event: one process sets it, others wait for it.
//!
//! The algorithm is in `flag`, the layout in [`crate::layout::event`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::eventcount::{AfterSlice, EventCount};
use super::flag::Flag;
use super::in_region;
use super::wait::Wait;
use crate::Region;
use crate::layout::OBJECT_ALIGN;
use crate::layout::event::{EVENT, SET};
use crate::region::{AccessError, Inner, Memory, Object, ObjectError, ObjectKind, ObjectSpec, Parameter};
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// A flag in a region that processes wait for: set it, and all who wait go on; it stays set until
/// somebody resets it.
///
/// One that is made by [`Self::create_auto_reset`] lets *one* waiter go on for each set, which resets it;
/// several sets that nobody has waited for are one. A waiter that is killed asleep leaves the set to the
/// others. One that is killed when it has just gone on takes the set with it, and nobody is told: where
/// that matters, use a [`Queue`](crate::Queue), or a [`Condvar`](crate::Condvar) and a value.
///
/// ```
/// use allmende::{Event, Region};
/// let region = Region::create().memfd("example")?;
/// let ready = Event::open_or_create(&region, "ready")?;
/// assert!(!ready.is_set());
/// ready.set()?;
/// assert!(ready.wait()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Event {
    inner: Arc<Inner>,
    object: Object,
    strategy: Wait,
}

impl Event {
    /// The event of that name in `region`, made (and not set) where there is none.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(region: &Region, name: &str) -> Result<Self, ObjectError> {
        Ok(Self::at(region, region.inner.open_or_create_object(&spec(name, false), initialise)?))
    }

    /// A new event, not set; there must be nothing of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str) -> Result<Self, ObjectError> {
        Ok(Self::at(region, region.inner.create_object(&spec(name, false), initialise)?))
    }

    /// As [`Self::open_or_create`], with an event that lets one waiter go on for each set.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create_auto_reset(region: &Region, name: &str) -> Result<Self, ObjectError> {
        Ok(Self::at(region, region.inner.open_or_create_object(&spec(name, true), initialise)?))
    }

    /// As [`Self::create`], with an event that lets one waiter go on for each set.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create_auto_reset(region: &Region, name: &str) -> Result<Self, ObjectError> {
        Ok(Self::at(region, region.inner.create_object(&spec(name, true), initialise)?))
    }

    /// The event of that name, which must be there, of whichever sort.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let any = ObjectSpec { item_count: 0, ..spec(name, false) };
        Ok(Self::at(region, region.inner.open_object(&any)?))
    }

    fn at(region: &Region, object: Object) -> Self {
        Self { inner: region.inner.clone(), object, strategy: Wait::default() }
    }

    /// How this handle waits (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, strategy: Wait) -> Self {
        self.strategy = strategy;
        self
    }

    fn words(&self) -> Flag<'_> {
        Flag {
            set: self.inner.memory.word32(self.object.offset + SET),
            sleepers: EventCount(self.inner.memory.word32(self.object.offset + EVENT)),
            auto_reset: self.is_auto_reset(),
        }
    }

    /// Whether it lets one waiter go on for each set.
    pub fn is_auto_reset(&self) -> bool {
        self.object.parameters[0] != 0
    }

    /// Sets it and wakes all who wait (or one of them: see [`Self::is_auto_reset`]).
    ///
    /// # Errors
    /// [`AccessError`] for a read-only or forked handle.
    pub fn set(&self) -> Result<(), AccessError> {
        self.inner.check_access()?;
        self.words().set(&*self.inner);
        Ok(())
    }

    /// Makes it unset again.
    ///
    /// # Errors
    /// [`AccessError`] for a read-only or forked handle.
    pub fn reset(&self) -> Result<(), AccessError> {
        self.inner.check_access()?;
        self.words().reset();
        Ok(())
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.words().is_set()
    }

    /// Whether the caller may go on, without waiting: it is set, and resets itself if it is of that sort.
    ///
    /// # Errors
    /// [`AccessError`] for a read-only or forked handle.
    pub fn try_wait(&self) -> Result<bool, AccessError> {
        self.inner.check_access()?;
        Ok(self.words().pass())
    }

    /// Waits until it is set. Always returns `true`.
    ///
    /// # Errors
    /// [`AccessError`] for a read-only or forked handle: these do not wait.
    pub fn wait(&self) -> Result<bool, AccessError> {
        self.wait_until(None)
    }

    /// Waits until it is set, at most `time`; says whether it was.
    ///
    /// # Errors
    /// [`AccessError`] for a read-only or forked handle: these do not wait.
    pub fn wait_timeout(&self, time: Duration) -> Result<bool, AccessError> {
        self.wait_until(Instant::now().checked_add(time))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<bool, AccessError> {
        self.inner.check_access()?;
        let words = self.words();
        let pass = || words.pass().then_some(());
        // Anybody may set it: nobody's death ends the waiting.
        let found =
            words.sleepers.wait_until(&*self.inner, self.strategy, deadline, pass, || AfterSlice::GoOn);
        Ok(found.is_some())
    }
}

fn initialise(memory: &Memory, object: &Object) {
    in_region::zero(memory, object, 8);
}

fn spec(name: &str, auto_reset: bool) -> ObjectSpec<'_> {
    let mut spec = in_region::spec(name, ObjectKind::Event, "an event", 1, OBJECT_ALIGN);
    spec.parameters[0] = Parameter("auto-reset", auto_reset.into());
    spec
}

impl Sealed for Event {}

impl Waitable for Event {
    fn is_ready(&self) -> bool {
        self.is_set()
    }

    // Anybody may set it: nobody's death ends the waiting.
    fn examine(&self) {}

    fn bed(&self) -> Bed<'_> {
        Bed { inner: &self.inner, event: self.words().sleepers.0 }
    }
}
