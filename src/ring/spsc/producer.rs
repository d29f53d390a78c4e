//! The sending end of a ring, and the slots that it writes in place.

// The compiler thinks these too large to inline; out of line they cost a copy of the message and more, as
// measured (`docs/measurements.md`).
#![allow(clippy::inline_always)]

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::slots::Slots;
use crate::payload::Payload;
use crate::region::AccessError;
use crate::ring::core::{Backing, MAX_RUN, Producing};
use crate::ring::error::{PushError, TryPushError};
use crate::ring::line_order::write_first_line_last;
use crate::ring::roles::{Peer, Role};
use crate::ring::waiting::{self, Look, NoSpace};
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// How many messages of a slice are shown to the consumer together.
const RUN: usize = 128;

/// The sending end of a [`Ring`](super::Ring).
pub struct Producer<T: Payload> {
    pub(super) core: Producing,
    pub(super) slots: Slots<T>,
    pub(super) wait: Wait,
    /// The consumer was seen to be gone: ask again before each claim until there is a successor.
    pub(super) consumer_gone: bool,
    pub(super) role: Role,
}

impl<T: Payload> Producer<T> {
    /// How this end waits while the ring is full (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// How many messages fit.
    pub fn capacity(&self) -> u64 {
        self.slots.capacity()
    }

    /// How many more messages fit now.
    ///
    /// # Errors
    /// [`AccessError::Corrupt`] when the consumer wrote an impossible position.
    pub fn free(&mut self) -> Result<u64, AccessError> {
        self.core.free(&self.slots).map_err(|_| AccessError::Corrupt)
    }

    /// Sends a copy of `value`, if a slot is free.
    ///
    /// # Errors
    /// See [`TryPushError`]; it gives the value back.
    #[inline(always)]
    pub fn try_push(&mut self, value: T) -> Result<(), TryPushError<T>> {
        if let Err(why) = self.find_slot() {
            return Err(why.try_push(value));
        }
        self.write(self.core.position(), value);
        self.publish();
        Ok(())
    }

    /// Sends a copy of `value`, waiting for a free slot as long as it takes.
    ///
    /// # Errors
    /// See [`PushError`]; it gives the value back.
    #[inline(always)]
    pub fn push(&mut self, value: T) -> Result<(), PushError<T>> {
        self.push_until(value, None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`PushError`]; it gives the value back.
    pub fn push_timeout(&mut self, value: T, time: Duration) -> Result<(), PushError<T>> {
        self.push_until(value, Instant::now().checked_add(time))
    }

    #[inline(always)]
    fn push_until(&mut self, value: T, deadline: Option<Instant>) -> Result<(), PushError<T>> {
        if let Err(why) = self.find_slot_until(deadline) {
            return Err(why.push(value));
        }
        self.write(self.core.position(), value);
        self.publish();
        Ok(())
    }

    /// Sends as many of `values` as fit now, and says how many that were. They are seen in runs of up to
    /// 128: a producer killed amid a run has sent nothing of it. One look for sleepers serves for all.
    ///
    /// # Errors
    /// [`TryPushError`] (with nothing in it) when none could be sent for another reason than a full
    /// ring.
    pub fn push_slice(&mut self, values: &[T]) -> Result<usize, TryPushError<()>> {
        let mut sent = 0;
        while sent < values.len() {
            match self.find_slot() {
                Ok(()) => {
                    let run = (values.len() - sent).min(RUN).min(self.free_at_least());
                    self.write_run(&values[sent..sent + run]);
                    sent += run;
                }
                Err(NoSpace::Full) => break,
                Err(why) if sent == 0 => return Err(why.try_push(())),
                Err(_) => break,
            }
        }
        if sent > 0 {
            self.look_for_sleepers();
        }
        Ok(sent)
    }

    /// Writes and commits slots that are known to be free. The first comes last: until then the
    /// consumer sees none of them, and touches none of their lines.
    fn write_run(&mut self, run: &[T]) {
        let position = self.core.position();
        for (ahead, value) in (1..).zip(&run[1..]) {
            self.write(position + ahead, *value);
            self.core.stamp_ahead(&self.slots, ahead);
        }
        self.write(position, run[0]);
        self.core.commit_run(&self.slots, run.len() as u64);
    }

    /// How many slots are known to be free.
    fn free_at_least(&self) -> usize {
        usize::try_from(self.core.known_free()).unwrap_or(usize::MAX)
    }

    /// Claims a free slot, to be written in place. Dropped without [`Claim::commit`], nothing is sent.
    ///
    /// What it holds before it is written is some earlier message.
    ///
    /// # Errors
    /// See [`TryPushError`].
    #[inline]
    pub fn try_claim(&mut self) -> Result<Claim<'_, T>, TryPushError<()>> {
        match self.find_slot() {
            Ok(()) => Ok(Claim { producer: self }),
            Err(why) => Err(why.try_push(())),
        }
    }

    /// Claims a slot, waiting for a free one as long as it takes.
    ///
    /// # Errors
    /// See [`PushError`].
    #[inline]
    pub fn claim(&mut self) -> Result<Claim<'_, T>, PushError<()>> {
        match self.find_slot_until(None) {
            Ok(()) => Ok(Claim { producer: self }),
            Err(why) => Err(why.push(())),
        }
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn claim_timeout(&mut self, time: Duration) -> Result<Claim<'_, T>, PushError<()>> {
        let deadline = Instant::now().checked_add(time);
        match self.find_slot_until(deadline) {
            Ok(()) => Ok(Claim { producer: self }),
            Err(why) => Err(why.push(())),
        }
    }

    /// Claims up to `most` free slots together, to be written in place; at least one, at most 1024.
    ///
    /// # Errors
    /// See [`TryPushError`].
    pub fn try_claim_batch(&mut self, most: usize) -> Result<ClaimBatch<'_, T>, TryPushError<()>> {
        self.find_slot().map_err(|why| why.try_push(()))?;
        Ok(self.claimed_batch(most))
    }

    /// The same, waiting for the first slot as long as it takes.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn claim_batch(&mut self, most: usize) -> Result<ClaimBatch<'_, T>, PushError<()>> {
        self.find_slot_until(None).map_err(|why| why.push(()))?;
        Ok(self.claimed_batch(most))
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn claim_batch_timeout(
        &mut self,
        most: usize,
        time: Duration,
    ) -> Result<ClaimBatch<'_, T>, PushError<()>> {
        self.find_slot_until(Instant::now().checked_add(time)).map_err(|why| why.push(()))?;
        Ok(self.claimed_batch(most))
    }

    fn claimed_batch(&mut self, most: usize) -> ClaimBatch<'_, T> {
        // What is known to be free may be a leftover of a look long ago.
        let free = self.core.free(&self.slots).unwrap_or_default().max(self.core.known_free());
        let count = (most.max(1) as u64).min(free).min(MAX_RUN);
        ClaimBatch { producer: self, count }
    }

    /// The slot at the core's position is free, or why it is not.
    #[inline(always)]
    fn find_slot(&mut self) -> Result<(), NoSpace> {
        if self.free_at_hand() { Ok(()) } else { self.look_for_space() }
    }

    #[inline(always)]
    fn find_slot_until(&mut self, deadline: Option<Instant>) -> Result<(), NoSpace> {
        if self.free_at_hand() { Ok(()) } else { self.wait_for_space(deadline) }
    }

    /// Whether a slot is known to be free, and this process may use it.
    #[inline(always)]
    fn free_at_hand(&self) -> bool {
        self.core.known_free() > 0 && !self.role.forked()
    }

    #[cold]
    #[inline(never)]
    fn look_for_space(&mut self) -> Result<(), NoSpace> {
        if self.role.forked() {
            return Err(NoSpace::Access(AccessError::Forked));
        }
        self.check_consumer()?;
        match self.core.claim(&self.slots) {
            Ok(_) => Ok(()),
            Err(no_slot) => Err(waiting::why_no_space(&self.role, no_slot)),
        }
    }

    #[cold]
    #[inline(never)]
    fn wait_for_space(&mut self, deadline: Option<Instant>) -> Result<(), NoSpace> {
        if self.role.forked() {
            return Err(NoSpace::Access(AccessError::Forked));
        }
        self.check_consumer()?;
        let Self { core, slots, wait, role, .. } = self;
        waiting::for_space(role, *wait, deadline, |look| match look {
            Look::Exact => core.claim(slots),
            Look::Cheap => core.claim_published(slots),
        })
        .map(|_| ())
    }

    /// Says that the consumer is gone, once that was noticed, until a successor is there.
    fn check_consumer(&mut self) -> Result<(), NoSpace> {
        if self.consumer_gone {
            if let Some(gone) = waiting::consumer_gone(&self.role) {
                return Err(gone);
            }
            self.consumer_gone = false;
        }
        Ok(())
    }

    #[inline(always)]
    fn write(&mut self, position: u64, value: T) {
        // SAFETY: `claim` gave this producer the slot, which nobody reads before its stamp; in
        // bounds and aligned (see `payload`).
        unsafe { write_first_line_last(self.slots.payload(position), value, Slots::<T>::IN_FIRST_LINE) };
    }

    #[inline(always)]
    fn publish(&mut self) {
        self.core.commit(&self.slots);
        self.look_for_sleepers();
    }

    #[inline(always)]
    fn look_for_sleepers(&mut self) {
        if self.role.peer_sleeps() {
            self.somebody_sleeps_or_left();
        }
    }

    #[cold]
    fn somebody_sleeps_or_left(&mut self) {
        self.role.peer_event().notify_sleepers(self.role.inner());
        if waiting::consumer_gone(&self.role).is_some() {
            // The next claim shall look at the role, however much space there is.
            self.consumer_gone = true;
            self.core.forget_space();
        }
    }
}

impl<T: Payload> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("position", &self.core.position()).finish_non_exhaustive()
    }
}

/// A slot that is being written in place. Nothing is sent unless it is [committed](Self::commit).
#[must_use = "a claim that is dropped sends nothing"]
pub struct Claim<'a, T: Payload> {
    producer: &'a mut Producer<T>,
}

impl<T: Payload> Claim<'_, T> {
    /// Sends what was written. In a forked child this does nothing: the claim is the parent's.
    #[inline]
    pub fn commit(self) {
        if !self.producer.role.forked() {
            self.producer.publish();
        }
    }
}

impl<T: Payload> Deref for Claim<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the claim has the slot to itself until it is committed; every bit pattern is a `T`.
        unsafe { self.producer.slots.payload(self.producer.core.position()).as_ref() }
    }
}

impl<T: Payload> DerefMut for Claim<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes it exclusive within the thread.
        unsafe { self.producer.slots.payload(self.producer.core.position()).as_mut() }
    }
}

/// Slots that are being written in place. Nothing is sent unless they are [committed](Self::commit);
/// then the consumer sees all of them at once.
///
/// ```
/// # use allmende::{Region, spsc::Ring};
/// # let region = Region::create().memfd("example")?;
/// # let ring = Ring::<u64>::create(&region, "numbers", 8)?;
/// # let (mut producer, mut consumer) = (ring.producer()?, ring.consumer()?);
/// let mut batch = producer.claim_batch(3)?;
/// for (slot, number) in batch.iter_mut().zip(1..) {
///     *slot = number;
/// }
/// batch.commit();
/// assert_eq!(consumer.receive_batch(8)?.iter().sum::<u64>(), 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a claim that is dropped sends nothing"]
pub struct ClaimBatch<'a, T: Payload> {
    producer: &'a mut Producer<T>,
    count: u64,
}

impl<T: Payload> ClaimBatch<'_, T> {
    /// How many slots there are: at least one.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(usize::MAX)
    }

    /// The slots in order. What they hold at first are earlier messages.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = &mut T> + '_ {
        let Producer { core, slots, .. } = &*self.producer;
        (0..usize::try_from(self.count).unwrap_or(usize::MAX)).map(move |index| {
            // SAFETY: the claim has these slots to itself until it is committed; each index is another
            // slot (there are no more of them than the ring has); every bit pattern is a `T`.
            unsafe { slots.payload(core.position() + index as u64).as_mut() }
        })
    }

    /// Sends all of them. In a forked child this does nothing: the claim is the parent's.
    pub fn commit(self) {
        let count = self.len();
        self.commit_first(count);
    }

    /// Sends only the first `count` (or all, if there are fewer).
    pub fn commit_first(self, count: usize) {
        let count = self.count.min(count as u64);
        if count == 0 || self.producer.role.forked() {
            return;
        }
        let Producer { core, slots, .. } = &mut *self.producer;
        for ahead in 1..count {
            core.stamp_ahead(slots, ahead);
        }
        core.commit_run(slots, count);
        self.producer.look_for_sleepers();
    }
}

impl<T: Payload> Sealed for Producer<T> {}

/// Ready when a slot is free, or the consumer is gone.
impl<T: Payload> Waitable for Producer<T> {
    fn is_ready(&self) -> bool {
        self.role.forked() || self.core.would_find(&self.slots) || self.role.peer() != Peer::Expected
    }

    fn examine(&self) {
        self.role.examine_peer();
    }

    fn bed(&self) -> Bed<'_> {
        Bed { inner: self.role.shared_inner(), event: self.role.own_event().0 }
    }
}
