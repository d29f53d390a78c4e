//! Waiting for several receiving ends at once, of any kinds and in any regions.
//!
//! ```
//! use allmende::{Event, Region, select, spsc::Ring};
//! let region = Region::create().memfd("example")?;
//! let ring = Ring::<u64>::create(&region, "numbers", 8)?;
//! let (mut producer, mut consumer) = (ring.producer()?, ring.consumer()?);
//! let stop = Event::open_or_create(&region, "stop")?;
//! producer.push(7)?;
//! match select(&[&consumer, &stop])? {
//!     0 => assert_eq!(consumer.try_pop()?, 7),
//!     _ => println!("stopped"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An end is *ready* when its next `try_` call would say something else than "empty": so also when its
//! peer has left, died, or the handle was inherited over a fork. Nothing is taken from it.
//!
//! **Fairness**: [`select()`] begins its look at a random end, [`Select`] behind the one that it named
//! last. So no end that stays ready is passed over for ever; with a [`Select`], for one round at most.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::eventcount::{AfterSlice, EventCount};
use super::wait::Wait;
use super::wait_any::wait_any;
use super::waitable::Waitable;
use crate::os::futex_waitv;
use crate::region::{AccessError, Inner};

/// Why no end was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SelectError {
    /// The list is empty: nothing would ever be ready.
    #[error("there is nothing to wait for: give at least one end")]
    Nothing,
    /// The kernel lets a thread sleep on so many words only. Spinning and yielding know no limit.
    #[error("{given} ends are too many to sleep on, {most} can be had; spin, or wait in several threads")]
    TooMany {
        /// How many there were.
        given: usize,
        /// How many there can be.
        most: usize,
    },
    /// No end became ready in time.
    #[error("no end became ready in time")]
    TimedOut,
    /// One of the ends cannot wait: its region is attached read-only, or it was inherited over a fork.
    #[error("end {index}: {error}")]
    Access {
        /// Which of the ends.
        index: usize,
        /// What is wrong with it.
        error: AccessError,
    },
}

/// Waits, asleep, until one of `ends` is ready, and says which.
///
/// # Errors
/// See [`SelectError`]; it is never `TimedOut`.
pub fn select(ends: &[&dyn Waitable]) -> Result<usize, SelectError> {
    wait(ends, random(), Wait::Adaptive, None)
}

/// The same, for at most `time`.
///
/// # Errors
/// See [`SelectError`].
pub fn select_timeout(ends: &[&dyn Waitable], time: Duration) -> Result<usize, SelectError> {
    wait(ends, random(), Wait::Adaptive, Instant::now().checked_add(time))
}

/// Which of `ends` is ready now, if there is one.
pub fn try_select(ends: &[&dyn Waitable]) -> Option<usize> {
    look(ends, random())
}

/// Waiting for the same ends again and again, each getting its turn.
///
/// ```
/// use allmende::{Event, Region, Select, Wait};
/// let region = Region::create().memfd("example")?;
/// let (left, right) = (Event::open_or_create(&region, "l")?, Event::open_or_create(&region, "r")?);
/// left.set()?;
/// right.set()?;
/// let mut turns = Select::new().wait_strategy(Wait::Spin);
/// let first = turns.select(&[&left, &right])?;
/// let second = turns.select(&[&left, &right])?;
/// assert_ne!(first, second);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Select {
    strategy: Wait,
    /// Where the next look begins.
    next: usize,
}

impl Select {
    /// Begins with the first end, and sleeps when it must.
    pub fn new() -> Self {
        Self::default()
    }

    /// How it waits (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, strategy: Wait) -> Self {
        self.strategy = strategy;
        self
    }

    /// Waits until one of `ends` is ready, and says which.
    ///
    /// # Errors
    /// See [`SelectError`]; it is never `TimedOut`.
    pub fn select(&mut self, ends: &[&dyn Waitable]) -> Result<usize, SelectError> {
        self.until(ends, None)
    }

    /// The same, for at most `time`.
    ///
    /// # Errors
    /// See [`SelectError`].
    pub fn select_timeout(&mut self, ends: &[&dyn Waitable], time: Duration) -> Result<usize, SelectError> {
        self.until(ends, Instant::now().checked_add(time))
    }

    /// Which of `ends` is ready now, if there is one.
    pub fn try_select(&mut self, ends: &[&dyn Waitable]) -> Option<usize> {
        let found = look(ends, self.next);
        self.next = found.map_or(self.next, |found| found + 1);
        found
    }

    fn until(&mut self, ends: &[&dyn Waitable], deadline: Option<Instant>) -> Result<usize, SelectError> {
        let found = wait(ends, self.next, self.strategy, deadline)?;
        self.next = found + 1;
        Ok(found)
    }
}

/// The first that is ready from `start` on, round the end.
fn look(ends: &[&dyn Waitable], start: usize) -> Option<usize> {
    let (before, behind) = ends.split_at(start.checked_rem(ends.len())?);
    let ready = |ends: &[&dyn Waitable]| ends.iter().position(|end| end.is_ready());
    ready(behind).map(|found| before.len() + found).or_else(|| ready(before))
}

fn wait(
    ends: &[&dyn Waitable],
    start: usize,
    strategy: Wait,
    deadline: Option<Instant>,
) -> Result<usize, SelectError> {
    if ends.is_empty() {
        return Err(SelectError::Nothing);
    }
    if let Some(found) = look(ends, start) {
        return Ok(found);
    }
    let most = futex_waitv::MOST;
    if matches!(strategy, Wait::Adaptive | Wait::Park) && ends.len() > most {
        return Err(SelectError::TooMany { given: ends.len(), most });
    }
    let mut places: Vec<(EventCount<'_>, &Inner)> = Vec::with_capacity(ends.len());
    for (index, end) in ends.iter().enumerate() {
        let bed = end.bed();
        // Before anything is written: to announce a sleeper in a read-only mapping would be a fault.
        bed.inner.check_access().map_err(|error| SelectError::Access { index, error })?;
        places.push((EventCount(bed.event), bed.inner));
    }
    let after_slice = || {
        for end in ends {
            end.examine();
        }
        AfterSlice::GoOn
    };
    wait_any(&places, strategy, deadline, || look(ends, start), after_slice).ok_or(SelectError::TimedOut)
}

/// A number that does not move in step with anything: a counter might, with the one who sends.
fn random() -> usize {
    std::thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0) | 1);
    }
    STATE.with(|state| {
        // Marsaglia's xorshift.
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        // The upper half, which is the better one.
        (x >> 32) as usize
    })
}
