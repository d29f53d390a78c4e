//! A condition variable in a region, for values under a [`Mutex`](crate::Mutex).
//!
//! The algorithm is in `robust_condvar`, the layout in [`crate::layout::condvar`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::eventcount::{EventCount, SLEEPERS};
use super::in_region;
use super::mutex::{LockError, MutexGuard};
use super::robust_condvar::RobustCondvar;
use super::wait::Wait;
use crate::Region;
use crate::atomic::Ordering;
use crate::inspect::SharedState;
use crate::layout::OBJECT_ALIGN;
use crate::layout::condvar::EVENT;
use crate::os::futex;
use crate::payload::Payload;
use crate::region::{AccessError, Inner, Memory, Object, ObjectError, ObjectKind, ObjectSpec};

/// Waiting until a value under a mutex is as one needs it.
///
/// Whoever changes the value does so under the mutex, and notifies, before it unlocks or after. What a
/// waiter may rely on:
///
/// * A notification after its call of `wait` began wakes it, whoever is killed meanwhile: `notify_one` one
///   of the waiters at once, and the others, as if for nothing, within a wait slice (100 ms); so one that
///   is killed with the notification in hand takes it from nobody.
/// * A notifier that is killed after its change, before it notifies, is noticed within a slice: all
///   waiters are woken.
/// * It may be woken although nothing has changed: use [`Self::wait_while`], or look again.
/// * A holder of the mutex that is killed is reported when the waiter locks it again, as
///   [`LockError::OwnerDied`].
///
/// All waiters should use the same mutex; it may lie in another region.
///
/// ```
/// use allmende::{Condvar, Mutex, Region};
/// let region = Region::create().memfd("example")?;
/// let done = Mutex::<u64>::open_or_create(&region, "done", &0)?;
/// let changed = Condvar::open_or_create(&region, "changed")?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         *done.lock().unwrap() = 3;
///         changed.notify_all().unwrap();
///     });
///     let guard = changed.wait_while(done.lock().unwrap(), |done| *done < 3).unwrap();
///     assert_eq!(*guard, 3);
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Condvar {
    inner: Arc<Inner>,
    object: Object,
    strategy: Wait,
}

/// Whether a wait ended because its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the time was over before anybody notified.
    pub fn timed_out(self) -> bool {
        self.0
    }
}

impl Condvar {
    /// The condition variable of that name in `region`, made where there is none.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(region: &Region, name: &str) -> Result<Self, ObjectError> {
        Ok(Self::at(region, region.inner.open_or_create_object(&spec(name), initialise)?))
    }

    /// A new condition variable; there must be nothing of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str) -> Result<Self, ObjectError> {
        Ok(Self::at(region, region.inner.create_object(&spec(name), initialise)?))
    }

    /// The condition variable of that name, which must be there.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        Ok(Self::at(region, region.inner.open_object(&spec(name))?))
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

    fn words(&self) -> RobustCondvar<'_> {
        words(&self.inner.memory, &self.object)
    }

    /// Unlocks, waits until somebody notifies (or for nothing), and locks again.
    ///
    /// # Errors
    /// See [`LockError`]: those of locking again. [`LockError::Access`] also for a condition variable that
    /// is read-only or forked; the mutex is unlocked then.
    pub fn wait<'a, T: Payload>(
        &self,
        guard: MutexGuard<'a, T>,
    ) -> Result<MutexGuard<'a, T>, LockError<'a, T>> {
        self.wait_until(guard, None).map(|(guard, _)| guard)
    }

    /// As [`Self::wait`], at most `time`. Locking again takes as long as it takes.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_timeout<'a, T: Payload>(
        &self,
        guard: MutexGuard<'a, T>,
        time: Duration,
    ) -> Result<(MutexGuard<'a, T>, WaitTimeoutResult), LockError<'a, T>> {
        self.wait_until(guard, Instant::now().checked_add(time))
    }

    /// Waits as long as `condition` holds, which is asked under the mutex.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_while<'a, T: Payload>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> Result<MutexGuard<'a, T>, LockError<'a, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// As [`Self::wait_while`], at most `time`: if the time was over, the condition still held.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_timeout_while<'a, T: Payload>(
        &self,
        mut guard: MutexGuard<'a, T>,
        time: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> Result<(MutexGuard<'a, T>, WaitTimeoutResult), LockError<'a, T>> {
        let deadline = Instant::now().checked_add(time);
        let mut over = false;
        while condition(&mut guard) {
            if over {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            let (again, result) = self.wait_until(guard, deadline)?;
            (guard, over) = (again, result.timed_out());
        }
        Ok((guard, WaitTimeoutResult(false)))
    }

    fn wait_until<'a, T: Payload>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> Result<(MutexGuard<'a, T>, WaitTimeoutResult), LockError<'a, T>> {
        self.inner.check_access()?;
        let mutex = guard.mutex();
        let examine = || {
            self.inner.sweep_the_dead();
        };
        let told = self.words().wait(&*self.inner, self.strategy, deadline, || drop(guard), examine);
        Ok((mutex.lock()?, WaitTimeoutResult(!told)))
    }

    /// Wakes one of those who wait. To be called after a change that was made under the mutex.
    ///
    /// # Errors
    /// [`AccessError`] for a read-only or forked handle.
    pub fn notify_one(&self) -> Result<(), AccessError> {
        self.inner.check_access()?;
        self.words().notify_one(&*self.inner);
        Ok(())
    }

    /// Wakes all who wait. To be called after a change that was made under the mutex.
    ///
    /// # Errors
    /// [`AccessError`] for a read-only or forked handle.
    pub fn notify_all(&self) -> Result<(), AccessError> {
        self.inner.check_access()?;
        self.words().notify_all(&*self.inner);
        Ok(())
    }
}

fn spec(name: &str) -> ObjectSpec<'_> {
    in_region::spec(name, ObjectKind::Condvar, "a condition variable", 1, OBJECT_ALIGN)
}

fn initialise(memory: &Memory, object: &Object) {
    in_region::zero(memory, object, 8);
}

fn words<'a>(memory: &'a Memory, object: &Object) -> RobustCondvar<'a> {
    RobustCondvar(EventCount(memory.word32(object.offset + EVENT)))
}

/// Tells all who wait that somebody died, who may have been about to notify them.
pub(crate) fn sweep(memory: &Memory, object: &Object) {
    let words = words(memory, object);
    words.sweep();
    futex::wake(words.0.0, u32::MAX);
}

/// What is to be said of a condition variable.
pub(crate) fn state(region: &Region, object: &Object) -> SharedState {
    // Relaxed: a picture of a moment that is over when it is seen.
    let sleepers = words(&region.inner.memory, object).0.0.load(Ordering::Relaxed) & SLEEPERS != 0;
    SharedState { facts: vec![("somebody waits", sleepers.to_string())], ..SharedState::default() }
}
