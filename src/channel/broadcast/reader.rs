//! The receiving end.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{ReceiveError, TryReceiveError};
use super::slots::Slots;
use crate::atomic::{AtomicU32, Ordering, spin_hint};
use crate::layout::broadcast::{COUNTERS, PRODUCER};
use crate::layout::counters::Counter;
use crate::layout::owner::Owner;
use crate::os::fork_guard::ForkGuard;
use crate::payload::Payload;
use crate::region::{AccessError, Inner, Liveness, Object};
use crate::ring::broadcast::{Backing, Nothing, Reading};
use crate::ring::role_words::{self, Peer};
use crate::ring::waiting::{first_looks, over};
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// A receiving end of a [`Broadcast`](super::Broadcast). It has no place in the region, so that dropping it leaves no trace.
pub struct Reader<T: Payload> {
    core: Reading,
    slots: Slots<T>,
    guard: ForkGuard,
    wait: Wait,
    /// Whether this attachment may write: park, and count.
    writes: bool,
    missed: u64,
    inner: Arc<Inner>,
    object: Object,
}

impl<T: Payload> Reader<T> {
    pub(super) fn new(
        inner: &Arc<Inner>,
        object: Object,
        slots: Slots<T>,
        core: Reading,
        writes: bool,
    ) -> Self {
        let wait = if writes { Wait::default() } else { Wait::Yield };
        let (inner, guard) = (inner.clone(), inner.fork_guard());
        Self { core, slots, guard, wait, writes, missed: 0, inner, object }
    }

    /// How this end waits (default: [`Wait::Adaptive`]; [`Wait::Yield`] where the attachment is read-only, which
    /// cannot park).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Copies the next message out, if there is one.
    ///
    /// # Errors
    /// See [`TryReceiveError`].
    #[inline]
    pub fn try_receive(&mut self) -> Result<T, TryReceiveError> {
        match self.next() {
            Some(message) => Ok(message),
            None => Err(self.why_nothing()),
        }
    }

    /// Copies the next message out, waiting for it as long as it takes.
    ///
    /// # Errors
    /// See [`ReceiveError`]: all that was sent is received before it is said that the producer is gone.
    #[inline]
    pub fn receive(&mut self) -> Result<T, ReceiveError> {
        match self.next() {
            Some(message) => Ok(message),
            None => self.wait_for_message(None),
        }
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn receive_timeout(&mut self, time: Duration) -> Result<T, ReceiveError> {
        match self.next() {
            Some(message) => Ok(message),
            None => self.wait_for_message(Instant::now().checked_add(time)),
        }
    }

    /// Copies messages into the front of `into`, as many as are there and fit, and says how many. What `into`
    /// holds behind them may be changed as well.
    ///
    /// # Errors
    /// See [`TryReceiveError`], when there is none.
    pub fn receive_slice(&mut self, into: &mut [T]) -> Result<usize, TryReceiveError> {
        if into.is_empty() {
            return Ok(0);
        }
        let mut count = 0;
        if !self.guard.forked() {
            let mut places = into.iter_mut();
            count = places.position(|place| !self.copy(place)).unwrap_or(into.len());
        }
        if count == 0 { Err(self.why_nothing()) } else { Ok(count) }
    }

    /// How many messages this reader has missed since it began.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The number of the next message: 0 for the first that was ever sent.
    pub fn position(&self) -> u64 {
        self.core.position()
    }

    /// How many messages the broadcast keeps.
    pub fn capacity(&self) -> u64 {
        self.slots.capacity()
    }

    #[inline]
    fn copy(&mut self, into: &mut T) -> bool {
        self.core.copy(&self.slots, into.as_mut_bytes())
    }

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.slots.will_read(self.core.position());
        let mut message = T::new_zeroed();
        (self.copy(&mut message) && !self.guard.forked()).then_some(message)
    }

    /// Why there is no message, without waiting.
    #[cold]
    #[inline(never)]
    fn why_nothing(&mut self) -> TryReceiveError {
        if self.guard.forked() {
            return AccessError::Forked.into();
        }
        match self.core.why_nothing(&self.slots) {
            Nothing::Empty => match gone(self.peer()) {
                // Looked again after the role: all that was sent before it was given up comes first.
                Some(error) if !self.core.ready(&self.slots) => error.into(),
                Some(_) => TryReceiveError::Empty,
                None => {
                    self.count(Counter::Empty, 1);
                    TryReceiveError::Empty
                }
            },
            other => self.missed_or(other),
        }
    }

    fn missed_or(&mut self, nothing: Nothing) -> TryReceiveError {
        if let Nothing::Missed(messages) = nothing {
            self.missed += messages;
            self.count(Counter::Lost, messages);
        }
        nothing.into()
    }

    fn count(&self, counter: Counter, many: u64) {
        if self.writes {
            self.inner.memory.counters(self.object.offset + COUNTERS).add(counter, many);
        }
    }

    #[cold]
    #[inline(never)]
    fn wait_for_message(&mut self, deadline: Option<Instant>) -> Result<T, ReceiveError> {
        if self.guard.forked() {
            return Err(AccessError::Forked.into());
        }
        if !self.writes && matches!(self.wait, Wait::Park | Wait::Adaptive) {
            return Err(AccessError::ReadOnly.into());
        }
        let mut looks = first_looks(self.wait);
        let mut counted = false;
        loop {
            while looks > 0 && !self.core.ready(&self.slots) {
                self.slots.will_read(self.core.position());
                spin_hint();
                looks -= 1;
            }
            if !self.core.ready(&self.slots) {
                if !counted {
                    self.count(Counter::ReceivesWaited, 1);
                    counted = true;
                }
                self.wait_until_ready(deadline)?;
            }
            if let Some(message) = self.next() {
                return Ok(message);
            }
            match self.core.why_nothing(&self.slots) {
                // It was seen; so this is over in a moment.
                Nothing::Empty if !over(deadline) => {}
                Nothing::Empty => return Err(ReceiveError::TimedOut),
                other => return Err(self.missed_or(other).into()),
            }
        }
    }

    /// Waits until the next message is there (or gone), the producer is gone and all is received, or the time is over.
    fn wait_until_ready(&self, deadline: Option<Instant>) -> Result<(), ReceiveError> {
        let ready = || self.core.ready(&self.slots);
        let condition = || {
            if ready() {
                return Some(Ok(()));
            }
            // Looked again after the role: as above.
            gone(self.peer()).map(|error| if ready() { Ok(()) } else { Err(error) })
        };
        let after_slice = || match self.examine_peer() {
            Peer::Expected => AfterSlice::GoOn,
            Peer::Left | Peer::Died => AfterSlice::GiveUp,
        };
        loop {
            let event = EventCount(self.slots.event());
            let found = event.wait_until(&*self.inner, self.wait, deadline, condition, after_slice);
            let result = found.unwrap_or_else(|| {
                let peer = gone(self.examine_peer());
                if ready() { Ok(()) } else { Err(peer.unwrap_or(ReceiveError::TimedOut)) }
            });
            match result {
                // The producer was gone, but a successor has come already.
                Err(ReceiveError::TimedOut) if !over(deadline) => {}
                result => return result,
            }
        }
    }

    fn role(&self) -> &AtomicU32 {
        self.inner.memory.word32(self.object.offset + PRODUCER)
    }

    /// What the producer's role says, without asking the kernel.
    fn peer(&self) -> Peer {
        role_words::peer(self.role())
    }

    /// The same, asking the kernel; a dead one is swept by who may write.
    fn examine_peer(&self) -> Peer {
        let owner = Owner::from_word(self.role().load(Ordering::Acquire));
        if owner.is_some_and(|owner| self.inner.liveness(owner) == Liveness::Dead) {
            if self.writes {
                self.inner.sweep_the_dead();
            }
            // Somebody else may be sweeping, or a successor may have come already.
            return match self.peer() {
                Peer::Expected if Owner::from_word(self.role().load(Ordering::Acquire)) == owner => {
                    Peer::Died
                }
                other => other,
            };
        }
        self.peer()
    }
}

fn gone(peer: Peer) -> Option<ReceiveError> {
    match peer {
        Peer::Expected => None,
        Peer::Left => Some(ReceiveError::Disconnected),
        Peer::Died => Some(ReceiveError::PeerDied),
    }
}

impl<T: Payload> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("position", &self.position())
            .field("missed", &self.missed)
            .finish_non_exhaustive()
    }
}

impl<T: Payload> Sealed for Reader<T> {}

impl<T: Payload> Waitable for Reader<T> {
    fn is_ready(&self) -> bool {
        self.guard.forked() || self.core.ready(&self.slots) || self.peer() != Peer::Expected
    }

    fn examine(&self) {
        self.examine_peer();
    }

    fn bed(&self) -> Bed<'_> {
        Bed { inner: &self.inner, event: self.slots.event() }
    }
}
