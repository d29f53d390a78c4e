//! An event: one process sets it, others wait for it.
//!
//! | offset | size | field | writer | ordering |
//! | --- | --- | --- | --- | --- |
//! | 0 | 4 | `set`: 1 or 0 | everybody | Release to set, Acquire to see |
//! | 4 | 4 | eventcount | sleepers and setters | see [`super::eventcount`] |

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::eventcount::{AfterSlice, EventCount};
use super::wait::Wait;
use crate::Region;
use crate::atomic::{AtomicU32, Ordering};
use crate::layout::OBJECT_ALIGN;
use crate::region::{AccessError, Inner, NO_PARAMETERS, Object, ObjectError, ObjectKind, ObjectSpec};
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// A flag in a region that processes wait for: set it, and all who wait go on; it stays set until
/// somebody resets it.
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
        let spec = spec(name);
        let object = region.inner.open_or_create_object(&spec, |memory, object| {
            memory.word64(object.offset).store(0, Ordering::Relaxed);
        })?;
        Ok(Self { inner: region.inner.clone(), object, strategy: Wait::default() })
    }

    /// The event of that name, which must be there.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let object = region.inner.open_object(&spec(name))?;
        Ok(Self { inner: region.inner.clone(), object, strategy: Wait::default() })
    }

    /// How this handle waits (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, strategy: Wait) -> Self {
        self.strategy = strategy;
        self
    }

    fn flag(&self) -> &AtomicU32 {
        self.inner.memory.word32(self.object.offset)
    }

    fn sleepers(&self) -> EventCount<'_> {
        EventCount(self.inner.memory.word32(self.object.offset + 4))
    }

    /// Sets it and wakes all who wait.
    ///
    /// # Errors
    /// [`AccessError`] for a read-only or forked handle.
    pub fn set(&self) -> Result<(), AccessError> {
        self.inner.check_access()?;
        // Release: pairs with the Acquire in `is_set`.
        self.flag().store(1, Ordering::Release);
        self.sleepers().notify(&*self.inner);
        Ok(())
    }

    /// Makes it unset again.
    ///
    /// # Errors
    /// [`AccessError`] for a read-only or forked handle.
    pub fn reset(&self) -> Result<(), AccessError> {
        self.inner.check_access()?;
        self.flag().store(0, Ordering::Release);
        Ok(())
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        // Acquire: what was written before `set` is to be seen.
        self.flag().load(Ordering::Acquire) != 0
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
        let set = || self.is_set().then_some(());
        let found =
            self.sleepers().wait_until(&*self.inner, self.strategy, deadline, set, || AfterSlice::GoOn);
        Ok(found.is_some())
    }
}

fn spec(name: &str) -> ObjectSpec<'_> {
    ObjectSpec {
        name,
        kind: ObjectKind::Event,
        length: OBJECT_ALIGN,
        fingerprint: 0,
        type_name: "an event",
        item_size: 0,
        item_count: 1,
        parameters: NO_PARAMETERS,
    }
}

impl Sealed for Event {}

impl Waitable for Event {
    fn is_ready(&self) -> bool {
        self.is_set()
    }

    // Anybody may set it: nobody's death ends the waiting.
    fn examine(&self) {}

    fn bed(&self) -> Bed<'_> {
        Bed { inner: &self.inner, event: self.sleepers().0 }
    }
}
