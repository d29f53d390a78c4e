//! The receiving end of a ring, and the messages that it lends out.

// The compiler thinks these too large to inline; out of line they cost a copy of the message and more, as
// measured (`docs/measurements.md`).
#![allow(clippy::inline_always)]

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::time::{Duration, Instant};

use super::slots::Slots;
use crate::payload::Payload;
use crate::region::AccessError;
use crate::ring::core::{Backing, Consuming};
use crate::ring::error::{PopError, TryPopError};
use crate::ring::habit::{Habit, Stream};
use crate::ring::roles::{Peer, Role};
use crate::ring::waiting;
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// In a stream, a consumer that takes lines from the producer takes those of the slot so far ahead.
const AHEAD: u64 = 16;
/// Larger slots are not worth it: most of their lines would have to be moved anyway.
const LARGEST_TAKEN: u64 = 256;

/// The receiving end of a [`Ring`](super::Ring).
pub struct Consumer<T: Payload> {
    pub(super) core: Consuming,
    pub(super) slots: Slots<T>,
    pub(super) wait: Wait,
    pub(super) stream: Stream,
    pub(super) role: Role,
}

impl<T: Payload> Consumer<T> {
    /// How this end waits while the ring is empty (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// How many messages fit.
    pub fn capacity(&self) -> u64 {
        self.slots.capacity()
    }

    /// How many messages are there to be received, at most one capacity.
    pub fn len(&self) -> u64 {
        self.core.count(&self.slots, u64::MAX)
    }

    /// Whether there is nothing to be received.
    pub fn is_empty(&self) -> bool {
        !self.core.ready(&self.slots, 0)
    }

    /// Copies the next message out and releases its slot, if there is one.
    ///
    /// # Errors
    /// See [`TryPopError`].
    #[inline(always)]
    pub fn try_pop(&mut self) -> Result<T, TryPopError> {
        self.next_ready()?;
        Ok(self.take())
    }

    /// Copies the next message out, waiting for it as long as it takes.
    ///
    /// # Errors
    /// See [`PopError`]: all that was sent is received before it is said that the producer is gone.
    #[inline(always)]
    pub fn pop(&mut self) -> Result<T, PopError> {
        self.wait_for_message(None)?;
        Ok(self.take())
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`PopError`].
    pub fn pop_timeout(&mut self, time: Duration) -> Result<T, PopError> {
        self.wait_for_message(Instant::now().checked_add(time))?;
        Ok(self.take())
    }

    /// Copies messages into the front of `into`, as many as there are and fit, and says how many.
    /// The slots are released together.
    ///
    /// # Errors
    /// See [`TryPopError`], when there is none.
    pub fn pop_slice(&mut self, into: &mut [MaybeUninit<T>]) -> Result<usize, TryPopError> {
        self.next_ready()?;
        let mut count = 0;
        let (there, habit) = self.count_taking_lines(into.len() as u64);
        for (place, _) in into.iter_mut().zip(0..there) {
            // SAFETY: the stamp (Acquire) says that the payload is there, and it is this consumer's
            // until released.
            *place =
                MaybeUninit::new(unsafe { self.slots.payload(self.core.position() + count as u64).read() });
            count += 1;
        }
        self.release(count as u64, habit);
        Ok(count)
    }

    /// Lends the next message out where it lies, if there is one. Dropping the loan releases it.
    ///
    /// # Errors
    /// See [`TryPopError`].
    #[inline]
    pub fn try_receive(&mut self) -> Result<Loan<'_, T>, TryPopError> {
        self.next_ready()?;
        Ok(self.lend())
    }

    /// Lends the next message out, waiting for it as long as it takes.
    ///
    /// # Errors
    /// See [`PopError`].
    #[inline]
    pub fn receive(&mut self) -> Result<Loan<'_, T>, PopError> {
        self.wait_for_message(None)?;
        Ok(self.lend())
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`PopError`].
    pub fn receive_timeout(&mut self, time: Duration) -> Result<Loan<'_, T>, PopError> {
        self.wait_for_message(Instant::now().checked_add(time))?;
        Ok(self.lend())
    }

    /// Lends up to `most` messages out together, waiting for the first as long as it takes. Dropping
    /// the batch releases all of them.
    ///
    /// # Errors
    /// See [`PopError`].
    pub fn receive_batch(&mut self, most: usize) -> Result<Batch<'_, T>, PopError> {
        self.wait_for_message(None)?;
        Ok(self.lend_batch(most))
    }

    /// The same, if there is a message now.
    ///
    /// # Errors
    /// See [`TryPopError`].
    pub fn try_receive_batch(&mut self, most: usize) -> Result<Batch<'_, T>, TryPopError> {
        self.next_ready()?;
        Ok(self.lend_batch(most))
    }

    /// The same, waiting for the first at most `time`.
    ///
    /// # Errors
    /// See [`PopError`].
    pub fn receive_batch_timeout(&mut self, most: usize, time: Duration) -> Result<Batch<'_, T>, PopError> {
        self.wait_for_message(Instant::now().checked_add(time))?;
        Ok(self.lend_batch(most))
    }

    #[inline]
    fn lend_batch(&mut self, most: usize) -> Batch<'_, T> {
        let (count, habit) = self.count_taking_lines(most.max(1) as u64);
        self.core.hand_out(&self.slots, count);
        Batch { consumer: self, count, habit }
    }

    #[inline(always)]
    fn next_ready(&mut self) -> Result<(), TryPopError> {
        if self.message_at_hand() { Ok(()) } else { self.look_for_message() }
    }

    #[inline(always)]
    fn wait_for_message(&mut self, deadline: Option<Instant>) -> Result<(), PopError> {
        if self.message_at_hand() { Ok(()) } else { self.wait_until(deadline) }
    }

    /// Whether a message is there, and this process may take it.
    #[inline(always)]
    fn message_at_hand(&self) -> bool {
        self.slots.will_read(self.core.position());
        self.core.ready(&self.slots, 0) && !self.role.forked()
    }

    #[cold]
    #[inline(never)]
    fn look_for_message(&mut self) -> Result<(), TryPopError> {
        if self.role.forked() {
            return Err(AccessError::Forked.into());
        }
        self.stream.found_empty();
        self.core.publish(&self.slots);
        waiting::why_no_message(&self.role, || self.core.ready(&self.slots, 0)).map_or(Ok(()), Err)
    }

    #[cold]
    #[inline(never)]
    fn wait_until(&mut self, deadline: Option<Instant>) -> Result<(), PopError> {
        if self.role.forked() {
            return Err(AccessError::Forked.into());
        }
        let pauses = self.stream.found_empty();
        self.core.publish(&self.slots);
        waiting::for_message(&self.role, self.wait, deadline, pauses, || {
            self.slots.will_read(self.core.position());
            self.core.ready(&self.slots, 0)
        })
    }

    /// How many messages are there, up to `most`, the first of which is.
    #[inline]
    fn count_taking_lines(&mut self, most: u64) -> (u64, Habit) {
        let most = most.min(self.slots.capacity());
        let (mut count, mut habit) = (0, Habit::None);
        while count < most && self.core.ready(&self.slots, count) {
            habit = self.found(self.core.position() + count);
            count += 1;
        }
        (count, habit)
    }

    /// Notes that one more message was found, and asks for what comes after it.
    #[inline(always)]
    fn found(&mut self, position: u64) -> Habit {
        let habit = if Slots::<T>::STRIDE <= LARGEST_TAKEN { self.stream.received() } else { Habit::None };
        if habit == Habit::Ahead {
            self.slots.take_lines(position + AHEAD);
        }
        habit
    }

    #[inline(always)]
    fn lend(&mut self) -> Loan<'_, T> {
        let habit = self.found(self.core.position());
        self.core.hand_out(&self.slots, 1);
        Loan { consumer: self, habit }
    }

    #[inline(always)]
    fn take(&mut self) -> T {
        let position = self.core.position();
        let habit = self.found(position);
        // SAFETY: the stamp (Acquire) says that the payload is there, and it is this consumer's until
        // released; every bit pattern is a `T`.
        let value = unsafe { self.slots.payload(position).read() };
        self.release(1, habit);
        value
    }

    #[inline(always)]
    fn release(&mut self, count: u64, habit: Habit) {
        if habit == Habit::Behind {
            for ahead in 0..count {
                self.slots.drop_lines(self.core.position() + ahead);
            }
        }
        self.core.release(&self.slots, count);
        self.role.notify_peer();
    }
}

impl<T: Payload> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("position", &self.core.position()).finish_non_exhaustive()
    }
}

/// A message, lent out where it lies. Dropping it releases its slot.
pub struct Loan<'a, T: Payload> {
    consumer: &'a mut Consumer<T>,
    habit: Habit,
}

impl<T: Payload> Loan<'_, T> {
    /// Whether a consumer that died may have had it already.
    pub fn seen_before(&self) -> bool {
        self.consumer.core.seen_before(self.consumer.core.position())
    }
}

impl<T: Payload> Deref for Loan<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the stamp (Acquire) said that the payload is there; the producer does not write to
        // the slot before it is released, which takes the loan's end.
        unsafe { self.consumer.slots.payload(self.consumer.core.position()).as_ref() }
    }
}

impl<T: Payload> Drop for Loan<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if !self.consumer.role.forked() {
            self.consumer.release(1, self.habit);
        }
    }
}

/// Messages lent out together. Dropping them releases all slots at once.
pub struct Batch<'a, T: Payload> {
    consumer: &'a mut Consumer<T>,
    count: u64,
    habit: Habit,
}

impl<T: Payload> Batch<'_, T> {
    /// How many messages there are: at least one.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(usize::MAX)
    }

    /// The messages in order, where they lie.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> + '_ {
        let Consumer { core, slots, .. } = &*self.consumer;
        (0..self.len()).map(move |index| {
            // SAFETY: as for `Loan`: all of these were stamped, and are released with the batch.
            unsafe { slots.payload(core.position() + index as u64).as_ref() }
        })
    }

    /// How many messages from the front a consumer that died may have had already.
    pub fn seen_before(&self) -> usize {
        let core = &self.consumer.core;
        (0..self.len()).take_while(|&index| core.seen_before(core.position() + index as u64)).count()
    }
}

impl<T: Payload> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        if !self.consumer.role.forked() {
            self.consumer.release(self.count, self.habit);
        }
    }
}

impl<T: Payload> Sealed for Consumer<T> {}

impl<T: Payload> Waitable for Consumer<T> {
    fn is_ready(&self) -> bool {
        self.role.forked() || self.core.ready(&self.slots, 0) || self.role.peer() != Peer::Expected
    }

    fn examine(&self) {
        self.role.examine_peer();
    }

    fn bed(&self) -> Bed<'_> {
        Bed { inner: self.role.shared_inner(), event: self.role.own_event().0 }
    }
}
