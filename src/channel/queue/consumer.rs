//! The receiving end of a queue.

// The compiler thinks these too large to inline; out of line, or with closures around them, the message is
// copied over the stack several times: 40 ns each way for 64 bytes, as measured.
#![allow(clippy::inline_always)]

use std::cell::Cell;
use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::time::{Duration, Instant};

use super::ends::End;
use crate::atomic::{Ordering, spin_hint};
use crate::layout::counters::Counter;
use crate::payload::Payload;
use crate::region::AccessError;
use crate::ring::error::{PopError, TryPopError};
use crate::ring::mpmc::{self, Cells, NoMessage, Taken};
use crate::ring::role_words::Peer;
use crate::ring::waiting::{first_looks, gone, over};
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// A receiving end of a [`Queue`](super::Queue).
///
/// Cloning is cheap, takes no place among the consumers of its own, and is how threads share one.
pub struct Consumer<T: Payload> {
    end: End<T>,
    /// `retries` when a scan last found nothing to be handed out again.
    scanned: Cell<u32>,
    /// The head when a wait last found the queue empty.
    emptied: Cell<u64>,
}

impl<T: Payload> Clone for Consumer<T> {
    fn clone(&self) -> Self {
        Self::new(self.end.clone())
    }
}

impl<T: Payload> Consumer<T> {
    pub(super) fn new(end: End<T>) -> Self {
        // What is there to be handed out again is to be found.
        let scanned = Cell::new(end.retries().wrapping_sub(1));
        // Relaxed: only whether many messages came since.
        let emptied = Cell::new(end.slots.head().load(Ordering::Relaxed));
        Self { end, scanned, emptied }
    }

    /// How this handle waits while the queue is empty (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.end.wait = wait;
        self
    }

    /// How many messages fit.
    pub fn capacity(&self) -> u64 {
        self.end.slots.capacity()
    }

    /// Copies the next message out and releases its slot, if there is one.
    ///
    /// # Errors
    /// See [`TryPopError`].
    #[inline(always)]
    pub fn try_pop(&self) -> Result<T, TryPopError> {
        let run = self.next(1)?;
        Ok(self.copy(run.first))
    }

    /// Copies the next message out, waiting for it as long as it takes.
    ///
    /// # Errors
    /// See [`PopError`]: all that was sent is received before it is said that the producers are gone, or that
    /// the queue is closed.
    #[inline(always)]
    pub fn pop(&self) -> Result<T, PopError> {
        let run = self.next_until(1, None)?;
        Ok(self.copy(run.first))
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`PopError`].
    pub fn pop_timeout(&self, time: Duration) -> Result<T, PopError> {
        let run = self.next_until(1, Instant::now().checked_add(time))?;
        Ok(self.copy(run.first))
    }

    /// Copies messages into the front of `into`, as many as there are in a row and fit, and says how many.
    ///
    /// # Errors
    /// See [`TryPopError`], when there is none.
    pub fn pop_slice(&self, into: &mut [MaybeUninit<T>]) -> Result<usize, TryPopError> {
        if into.is_empty() {
            return Ok(0);
        }
        let run = self.next(into.len() as u64)?;
        let mut count = 0;
        for (place, taken) in into.iter_mut().zip(run.each()) {
            *place = MaybeUninit::new(self.read(taken));
            mpmc::release(&self.end.slots, taken);
            count += 1;
        }
        self.end.notify_others();
        Ok(count)
    }

    /// Lends the next message out where it lies, if there is one. Dropping the loan releases it.
    ///
    /// # Errors
    /// See [`TryPopError`].
    #[inline]
    pub fn try_receive(&self) -> Result<Loan<'_, T>, TryPopError> {
        Ok(Loan { taken: self.next(1)?.first, consumer: self })
    }

    /// Lends the next message out, waiting for it as long as it takes.
    ///
    /// # Errors
    /// See [`PopError`].
    #[inline]
    pub fn receive(&self) -> Result<Loan<'_, T>, PopError> {
        Ok(Loan { taken: self.next_until(1, None)?.first, consumer: self })
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`PopError`].
    pub fn receive_timeout(&self, time: Duration) -> Result<Loan<'_, T>, PopError> {
        let deadline = Instant::now().checked_add(time);
        Ok(Loan { taken: self.next_until(1, deadline)?.first, consumer: self })
    }

    /// Lends up to `most` messages in a row out together, waiting for the first as long as it takes.
    /// Dropping the batch releases all of them.
    ///
    /// # Errors
    /// See [`PopError`].
    pub fn receive_batch(&self, most: usize) -> Result<Batch<'_, T>, PopError> {
        Ok(Batch { run: self.next_until(most.max(1) as u64, None)?, consumer: self })
    }

    /// The same, if there is a message now.
    ///
    /// # Errors
    /// See [`TryPopError`].
    pub fn try_receive_batch(&self, most: usize) -> Result<Batch<'_, T>, TryPopError> {
        Ok(Batch { run: self.next(most.max(1) as u64)?, consumer: self })
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

    #[inline(always)]
    fn next(&self, most: u64) -> Result<Run, TryPopError> {
        match self.take(most) {
            Ok(run) => Ok(run),
            Err(no_message) => self.why_no_message(most, no_message),
        }
    }

    #[inline(always)]
    fn next_until(&self, most: u64, deadline: Option<Instant>) -> Result<Run, PopError> {
        match self.take(most) {
            Ok(run) => Ok(run),
            Err(no_message) => self.wait(most, deadline, no_message),
        }
    }

    /// Takes what is to be handed out again, else the next of the new ones.
    #[inline(always)]
    fn take(&self, most: u64) -> Result<Run, NoMessage> {
        if self.end.forked() {
            return Err(NoMessage::Empty);
        }
        if self.end.news()
            && let Some(first) = self.look_for_news()
        {
            return Ok(Run { first, count: 1 });
        }
        let skipped = || self.end.notify_others();
        let rivals = self.end.rivals();
        if most == 1 {
            let first = mpmc::take(&self.end.slots, self.end.me, rivals, skipped)?;
            self.end.slots.take_second_line(first.position);
            return Ok(Run { first, count: 1 });
        }
        let (position, count) = mpmc::take_run(&self.end.slots, self.end.me, most, rivals, skipped)?;
        Ok(Run { first: Taken { position, attempt: 0 }, count })
    }

    #[cold]
    #[inline(never)]
    fn look_for_news(&self) -> Option<Taken> {
        let event = self.end.news_at();
        let retry = self.take_retry();
        if retry.is_none() {
            self.end.news_seen(event);
        }
        retry
    }

    fn take_retry(&self) -> Option<Taken> {
        // Read before the scan: what becomes RETRY behind its back raises it again.
        let retries = self.end.retries();
        if retries == self.scanned.get() {
            return None;
        }
        let retry = mpmc::take_retry(&self.end.slots, self.end.me);
        if retry.is_none() {
            self.scanned.set(retries);
        }
        retry
    }

    #[cold]
    #[inline(never)]
    fn why_no_message(&self, most: u64, no_message: NoMessage) -> Result<Run, TryPopError> {
        self.end.check_forked()?;
        self.count_empty();
        match self.end_of_all(most, no_message, Peer::Expected) {
            Some(Ok(run)) => Ok(run),
            Some(Err(error)) => Err(error.into()),
            None => Err(TryPopError::Empty),
        }
    }

    fn count_empty(&self) {
        // Relaxed: only to tell one row of looks from the next.
        self.end.count_in_vain(Counter::Empty, self.end.slots.head().load(Ordering::Relaxed));
    }

    /// What it means that there was no message. `None`: one may come.
    fn end_of_all(&self, most: u64, no_message: NoMessage, peers: Peer) -> Option<Result<Run, PopError>> {
        if no_message == NoMessage::Corrupt {
            return Some(Err(AccessError::Corrupt.into()));
        }
        let closed = self.end.closed();
        let peers = if peers == Peer::Expected { self.end.peers() } else { peers };
        if !closed && peers == Peer::Expected {
            return None;
        }
        // Looked again after that: all that was sent before it comes first.
        if let Some(first) = self.take_retry() {
            return Some(Ok(Run { first, count: 1 }));
        }
        match self.take(most) {
            Ok(run) => Some(Ok(run)),
            Err(NoMessage::Empty) if closed => Some(Err(PopError::Closed)),
            Err(_) => gone(peers).map(Err),
        }
    }

    #[cold]
    #[inline(never)]
    fn wait(&self, most: u64, deadline: Option<Instant>, no_message: NoMessage) -> Result<Run, PopError> {
        self.end.check_forked()?;
        // Relaxed: a guess; others may have moved it, too, which is as good.
        let head = self.end.slots.head().load(Ordering::Relaxed);
        self.end.stay_away(most, &self.emptied, head);
        // Quietly at first: neither clock nor counters.
        let mut why = no_message;
        for _ in 0..first_looks(self.end.wait) {
            spin_hint();
            match self.take(most) {
                Ok(run) => return Ok(run),
                Err(no_message) => why = no_message,
            }
        }
        self.count_empty();
        if let Some(end) = self.end_of_all(most, why, Peer::Expected) {
            return end;
        }
        self.end.counters().count(Counter::ReceivesWaited);
        let condition = || match self.take(most) {
            Ok(run) => Some(Ok(run)),
            Err(no_message) => self.end_of_all(most, no_message, Peer::Expected),
        };
        loop {
            let (inner, event) = (&**self.end.inner(), self.end.own_event());
            let after_slice = || self.end.after_slice();
            let found = event.wait_until(inner, self.end.wait, deadline, condition, after_slice);
            let result = found.unwrap_or_else(|| {
                let peers = self.end.examine();
                match self.take(most) {
                    Ok(run) => Ok(run),
                    Err(no_message) => {
                        self.end_of_all(most, no_message, peers).unwrap_or(Err(PopError::TimedOut))
                    }
                }
            });
            match result {
                // The producers were gone, but a new one has come already.
                Err(PopError::TimedOut) if !over(deadline) => {}
                result => return result,
            }
        }
    }

    #[inline(always)]
    fn read(&self, taken: Taken) -> T {
        // SAFETY: TAKEN with our name, by compare-and-swap (Acquire) from COMMITTED or RETRY, or from COMMITTED
        // (Acquire) as there was nobody else who takes: the message is there, and nobody writes to the slot before it is released; every bit pattern is a `T`.
        unsafe { self.end.slots.message(taken.position).read() }
    }

    #[inline(always)]
    fn copy(&self, taken: Taken) -> T {
        let value = self.read(taken);
        mpmc::release(&self.end.slots, taken);
        self.end.notify_others();
        value
    }
}

impl<T: Payload> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("object", self.end.object()).finish_non_exhaustive()
    }
}

impl<T: Payload> Sealed for Consumer<T> {}

impl<T: Payload> Waitable for Consumer<T> {
    fn is_ready(&self) -> bool {
        self.end.forked()
            || mpmc::ready(&self.end.slots)
            || self.end.closed()
            || self.end.peers() != Peer::Expected
            || (self.end.retries() != self.scanned.get() && mpmc::any_retry(&self.end.slots))
    }

    fn examine(&self) {
        self.end.examine();
    }

    fn bed(&self) -> Bed<'_> {
        Bed { inner: self.end.inner(), event: self.end.own_event().0 }
    }
}

/// Messages in a row that were taken.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: Taken,
    count: u64,
}

impl Run {
    fn each(self) -> impl DoubleEndedIterator<Item = Taken> {
        (0..self.count)
            .map(move |ahead| Taken { position: self.first.position + ahead, attempt: self.first.attempt })
    }
}

/// A message, lent out where it lies. Dropping it releases its slot.
///
/// Several can be held, and dropped in whatever order; but producers get no further than one capacity
/// beyond the oldest.
pub struct Loan<'a, T: Payload> {
    consumer: &'a Consumer<T>,
    taken: Taken,
}

impl<T: Payload> Loan<'_, T> {
    /// Which attempt this is, counted from 1: more if consumers died that had the message before.
    pub fn attempt(&self) -> u32 {
        // At most 32.
        u32::try_from(self.taken.attempt).unwrap_or(u32::MAX - 1) + 1
    }
}

impl<T: Payload> Deref for Loan<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: as in `read`; the slot is released when the loan ends.
        unsafe { self.consumer.end.slots.message(self.taken.position).as_ref() }
    }
}

impl<T: Payload> Drop for Loan<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if !self.consumer.end.forked() {
            mpmc::release(&self.consumer.end.slots, self.taken);
            self.consumer.end.notify_others();
        }
    }
}

/// Messages lent out together. Dropping them releases all slots.
pub struct Batch<'a, T: Payload> {
    consumer: &'a Consumer<T>,
    run: Run,
}

impl<T: Payload> Batch<'_, T> {
    /// How many messages there are: at least one. A message that is handed out again comes alone.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        usize::try_from(self.run.count).unwrap_or(usize::MAX)
    }

    /// Which attempt this is, as [`Loan::attempt`] says it.
    pub fn attempt(&self) -> u32 {
        u32::try_from(self.run.first.attempt).unwrap_or(u32::MAX - 1) + 1
    }

    /// The messages in order, where they lie.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> + '_ {
        let (slots, first) = (&self.consumer.end.slots, self.run.first.position);
        // SAFETY: as in `read`: all of these are TAKEN with our name, and released with the batch.
        (0..self.len()).map(move |index| unsafe { slots.message(first + index as u64).as_ref() })
    }
}

impl<T: Payload> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        if !self.consumer.end.forked() {
            for taken in self.run.each() {
                mpmc::release(&self.consumer.end.slots, taken);
            }
            self.consumer.end.notify_others();
        }
    }
}
