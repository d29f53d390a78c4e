//! A descriptor for `poll` and `epoll`, which becomes readable when an end is ready.
//!
//! ```
//! use std::os::fd::AsFd;
//! use allmende::{Pollable, Region, spsc::Ring};
//! use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
//!
//! let region = Region::create().memfd("example")?;
//! let ring = Ring::<u64>::create(&region, "numbers", 8)?;
//! let mut producer = ring.producer()?;
//! let mut consumer = Pollable::new(ring.consumer()?)?;
//!
//! producer.push(7)?;
//! poll(&mut [PollFd::new(consumer.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
//! while let Ok(number) = consumer.try_pop() {
//!     assert_eq!(number, 7);
//! }
//! consumer.rearm()?; // it was empty: let the descriptor tell of the next one
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In an `epoll` of one's own, or in whatever is built on one (for mio: `mio::unix::SourceFd(&end.as_raw_fd())`):
//!
//! ```
//! use allmende::{Event, Pollable, Region, spsc::Ring};
//! use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
//!
//! let region = Region::create().memfd("example")?;
//! let ring = Ring::<u64>::create(&region, "numbers", 8)?;
//! let stop = Event::open_or_create(&region, "stop")?;
//! let mut numbers = Pollable::new(ring.consumer()?)?;
//! let stopped = Pollable::new(Event::open_or_create(&region, "stop")?)?;
//! # let mut producer = ring.producer()?;
//! let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
//! epoll.add(&numbers, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
//! epoll.add(&stopped, EpollEvent::new(EpollFlags::EPOLLIN, 1))?;
//!
//! producer.push(7)?;
//! stop.set()?;
//! let (mut sum, mut going) = (0, true);
//! while going || sum < 7 {
//!     let mut events = [EpollEvent::empty(); 2];
//!     let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
//!     for event in &events[..count] {
//!         match event.data() {
//!             0 => {
//!                 while let Ok(number) = numbers.try_pop() {
//!                     sum += number;
//!                 }
//!                 // Empty now. If it is ready already, the descriptor is readable again: the next round sees to it.
//!                 numbers.rearm()?;
//!             }
//!             _ => going = false,
//!         }
//!     }
//! }
//! assert_eq!(sum, 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The descriptor is an `eventfd` of this process; whoever sends knows nothing of it, and pays no more
//! than for one that sleeps. In between stands one thread for all the pollable ends of a process, which
//! sleeps on their eventcounts (see `watcher.rs`).
//!
//! ```text
//!   new, rearm ─► silent ──sender's wake-up, a death──► readable ──rearm──► silent, or readable at once
//! ```
//!
//! It tells *once*: that it is readable says that the end may be ready; it stays so until
//! [`Pollable::rearm`], however empty the end. It fits edge-triggered polling as well as level-triggered.

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use thiserror::Error;

use super::eventcount::EventCount;
use super::waitable::Waitable;
use super::watcher::{MOST, Refused, Watch, Watched};
use crate::atomic::Ordering;
use crate::region::AccessError;

/// Why there is no descriptor.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PollableError {
    /// The end cannot wait: its region is attached read-only, or it was inherited over a fork.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A process can have so many pollable ends.
    #[error("this process has {MOST} pollable ends already, and can have no more")]
    TooMany,
    /// The system refused the descriptor or the thread.
    #[error("cannot {action}: {source}")]
    Os {
        /// What was to be done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl From<Refused> for PollableError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooMany => Self::TooMany,
            Refused::Os(action, source) => Self::Os { action, source },
        }
    }
}

/// A receiving end with a descriptor that can be polled. It is used as the end itself: see the
/// [module](self).
///
/// Dropping it ends the watching before the end is dropped.
#[derive(Debug)]
pub struct Pollable<R: Waitable> {
    // Dropped first: the watcher has let go of the region when the end leaves it.
    watch: Watch,
    end: R,
}

impl<R: Waitable> Pollable<R> {
    /// Makes `end` pollable; the descriptor tells from now on.
    ///
    /// # Errors
    /// See [`PollableError`].
    pub fn new(end: R) -> Result<Self, PollableError> {
        end.bed().inner.check_access()?;
        let watch = Watch::new()?;
        let mut pollable = Self { watch, end };
        pollable.rearm()?;
        Ok(pollable)
    }

    /// Makes the descriptor silent until the end may be ready again; `true` if it is ready now, and
    /// the descriptor readable.
    ///
    /// To be called when a `try_` call has answered "empty": a message that came in between is not missed.
    ///
    /// # Errors
    /// [`PollableError::Access`] in a forked child, whose parent the descriptor belongs to as well: it is
    /// left alone.
    pub fn rearm(&mut self) -> Result<bool, PollableError> {
        self.rearm_for(R::is_ready)
    }

    /// The same for something else that is told where the end sleeps.
    pub(crate) fn rearm_for(&mut self, is_ready: impl Fn(&R) -> bool) -> Result<bool, PollableError> {
        let bed = self.end.bed();
        bed.inner.check_access()?;
        self.watch.check_access()?;
        // From here on nobody else rings.
        self.watch.disarm();
        if is_ready(&self.end) {
            self.watch.bell().ring();
            return Ok(true);
        }
        self.watch.bell().silence();
        // Before the look: the death of one who stored but could not wake any more is seen by the look, or
        // counted after this.
        let sweeps = bed.inner.memory.sweeps().load(Ordering::Relaxed);
        let ticket = EventCount(bed.event).prepare(&**bed.inner);
        if is_ready(&self.end) {
            self.watch.bell().ring();
            return Ok(true);
        }
        self.watch.arm(Watched::new(bed.inner, bed.event, ticket, sweeps));
        Ok(false)
    }

    /// The end alone, without a descriptor.
    pub fn into_inner(self) -> R {
        self.end
    }
}

impl<R: Waitable> Deref for Pollable<R> {
    type Target = R;
    fn deref(&self) -> &R {
        &self.end
    }
}

impl<R: Waitable> DerefMut for Pollable<R> {
    fn deref_mut(&mut self) -> &mut R {
        &mut self.end
    }
}

impl<R: Waitable> AsFd for Pollable<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.bell().as_fd()
    }
}

impl<R: Waitable> AsRawFd for Pollable<R> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
