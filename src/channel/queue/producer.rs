//! The sending end of a queue.

// As in `consumer`.
#![allow(clippy::inline_always)]

use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::ends::End;
use crate::atomic::Ordering;
use crate::layout::counters::Counter;
use crate::payload::Payload;
use crate::region::AccessError;
use crate::ring::core::NoSlot;
use crate::ring::error::{PushError, TryPushError};
use crate::ring::mpmc::{self, Cells};
use crate::ring::role_words::Peer;
use crate::ring::waiting::over;
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// Every so many messages a producer looks how many are queued, for the high-water mark.
const SAMPLE: u64 = 64;
/// How many messages of a slice are shown together.
const RUN: usize = 128;

/// Why there is no space.
#[derive(Debug, Clone, Copy)]
enum NoSpace {
    Full,
    Closed,
    Left,
    Died,
    Access(AccessError),
}

impl NoSpace {
    fn try_push<T>(self, value: T) -> TryPushError<T> {
        match self {
            Self::Full => TryPushError::Full(value),
            Self::Closed => TryPushError::Closed(value),
            Self::Left => TryPushError::Disconnected(value),
            Self::Died => TryPushError::PeerDied(value),
            Self::Access(error) => TryPushError::Access(error, value),
        }
    }

    fn push<T>(self, value: T) -> PushError<T> {
        match self {
            Self::Full => PushError::TimedOut(value),
            Self::Closed => PushError::Closed(value),
            Self::Left => PushError::Disconnected(value),
            Self::Died => PushError::PeerDied(value),
            Self::Access(error) => PushError::Access(error, value),
        }
    }

    fn of_peers(peers: Peer) -> Result<(), Self> {
        match peers {
            Peer::Expected => Ok(()),
            Peer::Left => Err(Self::Left),
            Peer::Died => Err(Self::Died),
        }
    }
}

/// A sending end of a [`Queue`](super::Queue).
///
/// Cloning is cheap, takes no place among the producers of its own, and is how threads share one.
pub struct Producer<T: Payload> {
    end: End<T>,
    /// The tail when a wait last found the queue full.
    filled: Cell<u64>,
}

impl<T: Payload> Clone for Producer<T> {
    fn clone(&self) -> Self {
        Self::new(self.end.clone())
    }
}

impl<T: Payload> Producer<T> {
    pub(super) fn new(end: End<T>) -> Self {
        // Relaxed: only whether many messages went since.
        let filled = Cell::new(end.slots.tail().load(Ordering::Relaxed));
        Self { end, filled }
    }

    /// How this handle waits while the queue is full (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.end.wait = wait;
        self
    }

    /// How many messages fit.
    pub fn capacity(&self) -> u64 {
        self.end.slots.capacity()
    }

    /// Sends a copy of `value`, if a slot is free.
    ///
    /// # Errors
    /// See [`TryPushError`]; it gives the value back.
    #[inline(always)]
    pub fn try_push(&self, value: T) -> Result<(), TryPushError<T>> {
        match self.find(1) {
            Ok((position, _)) => {
                self.send(position, value);
                Ok(())
            }
            Err(why) => Err(why.try_push(value)),
        }
    }

    /// Sends a copy of `value`, waiting for a free slot as long as it takes.
    ///
    /// # Errors
    /// See [`PushError`]; it gives the value back.
    #[inline(always)]
    pub fn push(&self, value: T) -> Result<(), PushError<T>> {
        self.push_until(value, None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn push_timeout(&self, value: T, time: Duration) -> Result<(), PushError<T>> {
        self.push_until(value, Instant::now().checked_add(time))
    }

    #[inline(always)]
    fn push_until(&self, value: T, deadline: Option<Instant>) -> Result<(), PushError<T>> {
        match self.find_until(1, deadline) {
            Ok((position, _)) => {
                self.send(position, value);
                Ok(())
            }
            Err(why) => Err(why.push(value)),
        }
    }

    /// Sends as many of `values` as fit now, and says how many that were. They are seen in runs of up to
    /// 128, in order; one look for sleepers serves for each run. A producer killed amid a run may have sent
    /// only the last of it.
    ///
    /// # Errors
    /// [`TryPushError`] (with nothing in it) when none could be sent for another reason than a full queue.
    pub fn push_slice(&self, values: &[T]) -> Result<usize, TryPushError<()>> {
        let mut sent = 0;
        while sent < values.len() {
            match self.find((values.len() - sent).min(RUN) as u64) {
                Ok((first, count)) => {
                    for (position, value) in (first..first + count).zip(&values[sent..]) {
                        self.write(position, *value);
                        sent += 1;
                    }
                    self.commit(first, count, count);
                }
                Err(NoSpace::Full) => break,
                Err(why) if sent == 0 => return Err(why.try_push(())),
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    /// Claims a free slot, to be written in place. Dropped without [`Claim::commit`], nothing is sent.
    ///
    /// What it holds before it is written is some earlier message.
    ///
    /// # Errors
    /// See [`TryPushError`].
    #[inline]
    pub fn try_claim(&self) -> Result<Claim<'_, T>, TryPushError<()>> {
        let (position, _) = self.find(1).map_err(|why| why.try_push(()))?;
        Ok(Claim { producer: self, position })
    }

    /// Claims a slot, waiting for a free one as long as it takes.
    ///
    /// # Errors
    /// See [`PushError`].
    #[inline]
    pub fn claim(&self) -> Result<Claim<'_, T>, PushError<()>> {
        let (position, _) = self.find_until(1, None).map_err(|why| why.push(()))?;
        Ok(Claim { producer: self, position })
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn claim_timeout(&self, time: Duration) -> Result<Claim<'_, T>, PushError<()>> {
        let deadline = Instant::now().checked_add(time);
        let (position, _) = self.find_until(1, deadline).map_err(|why| why.push(()))?;
        Ok(Claim { producer: self, position })
    }

    /// Claims up to `most` free slots in a row, waiting for the first; at least one.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn claim_batch(&self, most: usize) -> Result<ClaimBatch<'_, T>, PushError<()>> {
        let (first, count) = self.find_until(most.max(1) as u64, None).map_err(|why| why.push(()))?;
        Ok(ClaimBatch { producer: self, first, count })
    }

    /// The same, if there is a free slot now.
    ///
    /// # Errors
    /// See [`TryPushError`].
    pub fn try_claim_batch(&self, most: usize) -> Result<ClaimBatch<'_, T>, TryPushError<()>> {
        let (first, count) = self.find(most.max(1) as u64).map_err(|why| why.try_push(()))?;
        Ok(ClaimBatch { producer: self, first, count })
    }

    /// Ends the queue for everybody: see [`Queue::close`](super::Queue::close).
    ///
    /// # Errors
    /// [`AccessError`] for a forked handle.
    pub fn close(&self) -> Result<(), AccessError> {
        self.end.check_forked()?;
        super::ends::close(self.end.inner(), self.end.object());
        Ok(())
    }

    /// Claims up to `most` slots: the first, and how many.
    #[inline(always)]
    fn find(&self, most: u64) -> Result<(u64, u64), NoSpace> {
        if self.end.forked() || self.end.news() {
            self.look_for_news()?;
        }
        self.claim_slots(most).map_err(|no_slot| self.why_no_space(no_slot))
    }

    #[inline(always)]
    fn find_until(&self, most: u64, deadline: Option<Instant>) -> Result<(u64, u64), NoSpace> {
        if self.end.forked() || self.end.news() {
            self.look_for_news()?;
        }
        match self.claim_slots(most) {
            Ok(run) => Ok(run),
            Err(no_slot) => self.wait(most, deadline, no_slot),
        }
    }

    #[inline(always)]
    fn claim_slots(&self, most: u64) -> Result<(u64, u64), NoSpace> {
        let rivals = self.end.rivals();
        let claimed = if most == 1 {
            mpmc::claim(&self.end.slots, self.end.me, rivals).map(|position| (position, 1))
        } else {
            mpmc::claim_run(&self.end.slots, self.end.me, most, rivals)
        };
        match claimed {
            Ok((first, count)) => self.claimed(first, count),
            Err(NoSlot::Full) => Err(NoSpace::Full),
            Err(NoSlot::Corrupt) => Err(NoSpace::Access(AccessError::Corrupt)),
        }
    }

    /// Has claimed; but if the queue was closed meanwhile, consumers may have looked already, and left.
    #[inline(always)]
    fn claimed(&self, first: u64, count: u64) -> Result<(u64, u64), NoSpace> {
        // The claim first, then the look for news: the other half is in `ends::close`.
        self.end.light_barrier();
        if self.end.news() && self.end.closed() {
            self.give_up(first, count);
            return Err(NoSpace::Closed);
        }
        if first & (SAMPLE - 1) == 0 {
            self.sample(first);
        }
        Ok((first, count))
    }

    #[cold]
    fn sample(&self, position: u64) {
        // Relaxed: a figure for people.
        let head = self.end.slots.head().load(Ordering::Relaxed);
        self.end.counters().queued(position.saturating_sub(head).min(self.capacity()));
    }

    #[cold]
    #[inline(never)]
    fn look_for_news(&self) -> Result<(), NoSpace> {
        self.end.check_forked().map_err(NoSpace::Access)?;
        let event = self.end.news_at();
        self.is_there_a_point()?;
        // Not before: as long as there is none, each call shall look.
        self.end.news_seen(event);
        Ok(())
    }

    /// Whether anybody would receive what is sent.
    fn is_there_a_point(&self) -> Result<(), NoSpace> {
        if self.end.closed() {
            return Err(NoSpace::Closed);
        }
        NoSpace::of_peers(self.end.peers())
    }

    #[cold]
    fn why_no_space(&self, no_space: NoSpace) -> NoSpace {
        match no_space {
            NoSpace::Full => {
                // Relaxed: only to tell one row of looks from the next.
                let tail = self.end.slots.tail().load(Ordering::Relaxed);
                if self.end.count_in_vain(Counter::Full, tail) {
                    self.end.counters().queued(self.capacity());
                }
                self.is_there_a_point().err().unwrap_or(NoSpace::Full)
            }
            other => other,
        }
    }

    #[cold]
    #[inline(never)]
    fn wait(&self, most: u64, deadline: Option<Instant>, no_space: NoSpace) -> Result<(u64, u64), NoSpace> {
        match self.why_no_space(no_space) {
            NoSpace::Full => {}
            other => return Err(other),
        }
        // Relaxed: a guess; others may have moved it, too, which is as good.
        let tail = self.end.slots.tail().load(Ordering::Relaxed);
        self.end.stay_away(most, &self.filled, tail);
        self.end.counters().count(Counter::SendsWaited);
        let condition = || match self.claim_slots(most) {
            Err(NoSpace::Full) => self.is_there_a_point().err().map(Err),
            other => Some(other),
        };
        loop {
            let (inner, event) = (&**self.end.inner(), self.end.own_event());
            let after_slice = || self.end.after_slice();
            let found = event.wait_until(inner, self.end.wait, deadline, condition, after_slice);
            match found
                .unwrap_or_else(|| Err(NoSpace::of_peers(self.end.examine()).err().unwrap_or(NoSpace::Full)))
            {
                // The consumers were gone, but a new one has come already.
                Err(NoSpace::Full) if !over(deadline) => {}
                result => return result,
            }
        }
    }

    #[inline(always)]
    fn write(&self, position: u64, value: T) {
        // SAFETY: CLAIMED with our name, by compare-and-swap, or since there was nobody else who claims: nobody else reads or writes the slot before it is
        // committed; in bounds and aligned (see `message`).
        unsafe { self.end.slots.message(position).write(value) };
    }

    #[inline(always)]
    fn send(&self, position: u64, value: T) {
        self.write(position, value);
        mpmc::commit(&self.end.slots, position);
        self.end.notify_others();
    }

    /// Commits the first `sent` of `count` claimed slots, the first of them last, so that all are seen
    /// together; gives up the others.
    fn commit(&self, first: u64, count: u64, sent: u64) {
        for position in (first + sent..first + count).rev() {
            mpmc::abandon(&self.end.slots, position);
        }
        for position in (first..first + sent).rev() {
            mpmc::commit(&self.end.slots, position);
        }
        self.end.notify_others();
    }

    #[cold]
    fn give_up(&self, first: u64, count: u64) {
        self.commit(first, count, 0);
    }
}

impl<T: Payload> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("object", self.end.object()).finish_non_exhaustive()
    }
}

/// A slot that is being written in place. Nothing is sent unless it is [committed](Self::commit).
///
/// Others can be claimed and committed meanwhile, in whatever order; but consumers get what lies behind
/// this one only when this one was committed or dropped. One that is *forgotten* holds them up until its
/// process detaches.
#[must_use = "a claim that is dropped sends nothing"]
pub struct Claim<'a, T: Payload> {
    producer: &'a Producer<T>,
    position: u64,
}

impl<T: Payload> Claim<'_, T> {
    /// Sends what was written. In a forked child this does nothing: the claim is the parent's.
    #[inline]
    pub fn commit(self) {
        if !self.producer.end.forked() {
            mpmc::commit(&self.producer.end.slots, self.position);
            self.producer.end.notify_others();
        }
        std::mem::forget(self);
    }
}

impl<T: Payload> Drop for Claim<'_, T> {
    fn drop(&mut self) {
        if !self.producer.end.forked() {
            self.producer.give_up(self.position, 1);
        }
    }
}

impl<T: Payload> Deref for Claim<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: CLAIMED with our name: the slot is this claim's until it is committed or given up; every bit
        // pattern is a `T`.
        unsafe { self.producer.end.slots.message(self.position).as_ref() }
    }
}

impl<T: Payload> DerefMut for Claim<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes it exclusive within the process.
        unsafe { self.producer.end.slots.message(self.position).as_mut() }
    }
}

/// Slots in a row that are being written in place. Nothing is sent unless they are
/// [committed](Self::commit); then they are seen all at once (but a producer that dies in the middle of
/// it may have sent some of them).
#[must_use = "a claim that is dropped sends nothing"]
pub struct ClaimBatch<'a, T: Payload> {
    producer: &'a Producer<T>,
    first: u64,
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
        let (slots, first) = (&self.producer.end.slots, self.first);
        (0..self.len()).map(move |index| {
            // SAFETY: all of them are CLAIMED with our name; each index is another slot (there are no more of
            // them than the queue has); every bit pattern is a `T`.
            unsafe { slots.message(first + index as u64).as_mut() }
        })
    }

    /// Sends all of them. In a forked child this does nothing: the claim is the parent's.
    pub fn commit(self) {
        let count = self.len();
        self.commit_first(count);
    }

    /// Sends only the first `count` (or all, if there are fewer).
    pub fn commit_first(self, count: usize) {
        if !self.producer.end.forked() {
            self.producer.commit(self.first, self.count, self.count.min(count as u64));
        }
        std::mem::forget(self);
    }
}

impl<T: Payload> Drop for ClaimBatch<'_, T> {
    fn drop(&mut self) {
        if !self.producer.end.forked() {
            self.producer.give_up(self.first, self.count);
        }
    }
}

impl<T: Payload> Sealed for Producer<T> {}

/// Ready when a slot is free, the queue is closed, or all consumers are gone.
impl<T: Payload> Waitable for Producer<T> {
    fn is_ready(&self) -> bool {
        self.end.forked()
            || mpmc::has_room(&self.end.slots)
            || self.end.closed()
            || self.end.peers() != Peer::Expected
    }

    fn examine(&self) {
        self.end.examine();
    }

    fn bed(&self) -> Bed<'_> {
        Bed { inner: self.end.inner(), event: self.end.own_event().0 }
    }
}
