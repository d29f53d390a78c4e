//! A reading end of a cell, and the value that it lends out.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{ReadError, WaitError};
use super::words::Words;
use super::{readers, wake_all};
use crate::atomic::Ordering;
use crate::layout::cell::{COUNTERS, READERS_EVENT, WRITER};
use crate::layout::counters::Counter;
use crate::layout::owner::Owner;
use crate::os::fork_guard::ForkGuard;
use crate::payload::Payload;
use crate::region::{AccessError, Inner, Liveness, Object};
use crate::ring::cell::{Nothing, Reading};
use crate::ring::role_words::{self, Peer};
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// A reading end of a [`Cell`](super::Cell); dropping it leaves.
pub struct Reader<T: Payload> {
    pub(super) core: Reading,
    pub(super) words: Words,
    pub(super) guard: ForkGuard,
    pub(super) place: usize,
    pub(super) wait: Wait,
    pub(super) inner: Arc<Inner>,
    pub(super) object: Object,
    pub(super) value: PhantomData<T>,
}

impl<T: Payload> Reader<T> {
    /// How this end waits in [`Self::wait_changed`] (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Copies the latest value out. Never waits.
    ///
    /// # Errors
    /// [`ReadError::Empty`] before the first write.
    #[inline]
    pub fn read(&mut self) -> Result<T, ReadError> {
        let buffer = self.find()?;
        // SAFETY: the claim keeps the writer from this buffer until the next read; it holds a whole value,
        // aligned as in `Writer::write`.
        Ok(unsafe { self.words.buffer(buffer).cast::<T>().read() })
    }

    /// Lends the latest value out where it lies. It stays what it is, however often the cell is written
    /// meanwhile.
    ///
    /// # Errors
    /// [`ReadError::Empty`] before the first write.
    #[inline]
    pub fn borrow(&mut self) -> Result<Loan<'_, T>, ReadError> {
        let buffer = self.find()?;
        Ok(Loan { reader: self, buffer })
    }

    #[inline]
    fn find(&mut self) -> Result<usize, ReadError> {
        if self.guard.forked() {
            return Err(AccessError::Forked.into());
        }
        self.core.read(&self.words).map_err(|nothing| match nothing {
            Nothing::Empty => ReadError::Empty,
            Nothing::Corrupt => AccessError::Corrupt.into(),
        })
    }

    /// The number of the value that was read last: 1 for the first that was ever written; 0 before any
    /// was read.
    pub fn version(&self) -> u64 {
        self.core.version()
    }

    /// Whether there is a value that this end has not read.
    #[inline]
    pub fn changed(&self) -> bool {
        self.core.changed(&self.words)
    }

    /// Waits until there is a value that this end has not read, as long as it takes.
    ///
    /// # Errors
    /// See [`WaitError`]: the latest value is read before it is said that the writer is gone.
    pub fn wait_changed(&mut self) -> Result<(), WaitError> {
        self.wait_until(None)
    }

    /// The same, at most `time`.
    ///
    /// # Errors
    /// See [`WaitError`].
    pub fn wait_changed_timeout(&mut self, time: Duration) -> Result<(), WaitError> {
        self.wait_until(Instant::now().checked_add(time))
    }

    fn wait_until(&mut self, deadline: Option<Instant>) -> Result<(), WaitError> {
        if self.guard.forked() {
            return Err(AccessError::Forked.into());
        }
        if self.changed() {
            return Ok(());
        }
        self.inner.memory.counters(self.object.offset + COUNTERS).count(Counter::ReceivesWaited);
        loop {
            let condition = || {
                if self.changed() {
                    return Some(Ok(()));
                }
                // Looked again after the role: all that was written before it was given up comes first.
                gone(self.peer()).map(|error| if self.changed() { Ok(()) } else { Err(error) })
            };
            let after_slice = || match self.examine_peer() {
                Peer::Expected => AfterSlice::GoOn,
                Peer::Left | Peer::Died => AfterSlice::GiveUp,
            };
            let event = EventCount(self.words.word32(READERS_EVENT));
            let found = event.wait_until(&*self.inner, self.wait, deadline, condition, after_slice);
            let result = found.unwrap_or_else(|| {
                let peer = gone(self.examine_peer());
                if self.changed() { Ok(()) } else { Err(peer.unwrap_or(WaitError::TimedOut)) }
            });
            match result {
                // The writer was gone, but a successor has come already.
                Err(WaitError::TimedOut) if deadline.is_none_or(|deadline| Instant::now() < deadline) => {}
                result => return result,
            }
        }
    }

    /// What the writer's role says, without asking the kernel.
    fn peer(&self) -> Peer {
        role_words::peer(self.words.word32(WRITER))
    }

    /// The same, asking the kernel; a dead one is swept.
    fn examine_peer(&self) -> Peer {
        let role = self.words.word32(WRITER);
        let owner = Owner::from_word(role.load(Ordering::Acquire));
        if owner.is_some_and(|owner| self.inner.liveness(owner) == Liveness::Dead) {
            self.inner.sweep_the_dead();
            // Somebody else may be sweeping, or a successor may have come already.
            return match self.peer() {
                Peer::Expected if Owner::from_word(role.load(Ordering::Acquire)) == owner => Peer::Died,
                other => other,
            };
        }
        self.peer()
    }
}

fn gone(peer: Peer) -> Option<WaitError> {
    match peer {
        Peer::Expected => None,
        Peer::Left => Some(WaitError::Disconnected),
        Peer::Died => Some(WaitError::PeerDied),
    }
}

impl<T: Payload> Drop for Reader<T> {
    fn drop(&mut self) {
        if !self.guard.forked() {
            // The claim first: whoever takes the role finds it free.
            self.core.leave(&self.words);
            readers(&self.inner.memory, &self.object, self.words.readers).leave(self.place, wake_all);
        }
    }
}

impl<T: Payload> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl<T: Payload> Sealed for Reader<T> {}

impl<T: Payload> Waitable for Reader<T> {
    fn is_ready(&self) -> bool {
        self.guard.forked() || self.changed() || self.peer() != Peer::Expected
    }

    fn examine(&self) {
        self.examine_peer();
    }

    fn bed(&self) -> Bed<'_> {
        Bed { inner: &self.inner, event: self.words.word32(READERS_EVENT) }
    }
}

/// A value, lent out where it lies; it does not change.
pub struct Loan<'a, T: Payload> {
    reader: &'a mut Reader<T>,
    buffer: usize,
}

impl<T: Payload> Loan<'_, T> {
    /// The number of this value: see [`Reader::version`].
    pub fn version(&self) -> u64 {
        self.reader.version()
    }
}

impl<T: Payload> Deref for Loan<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: as in `Reader::read`: the claim stays until the reader reads again, which takes the
        // loan's end.
        unsafe { self.reader.words.buffer(self.buffer).cast::<T>().as_ref() }
    }
}

impl<T: Payload + fmt::Debug> fmt::Debug for Loan<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
