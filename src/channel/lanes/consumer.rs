//! The receiving end of the lanes.

// As in `ring::habit`.
#![allow(clippy::inline_always)]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::time::{Duration, Instant};

use super::mapped::MappedLane;
use super::seat::{ConsumerSeat, Shared};
use crate::atomic::spin_hint;
use crate::layout::counters::Counter;
use crate::region::AccessError;
use crate::ring::bytes::{AHEAD, LARGEST_TAKEN};
use crate::ring::error::{PopError, TryPopError};
use crate::ring::habit::{Habit, Stream};
use crate::ring::lanes::{Assistant, Lanes as _, Merge};
use crate::ring::records::record_size;
use crate::ring::short_copy;
use crate::ring::waiting::{first_looks, over};
use crate::sync::eventcount::EventCount;
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// The receiving end of [`Lanes`](super::Lanes).
pub struct Consumer {
    merge: Merge,
    /// The records of the lane whose turn it is.
    records: MappedLane,
    /// Of each lane, the message that is being put together.
    assembled: Vec<Vec<u8>>,
    stream: Stream,
    wait: Wait,
    seat: ConsumerSeat,
}

impl Consumer {
    pub(super) fn new(merge: Merge, seat: ConsumerSeat) -> Self {
        let memory = &seat.shared.memory;
        // In messages of a line or so.
        let stream = Stream::new(memory.capacity / 64, memory.capacity * memory.lanes as u64);
        let assembled = vec![Vec::new(); memory.lanes];
        let records = memory.records(merge.lane());
        Self { merge, records, assembled, stream, wait: Wait::default(), seat }
    }

    /// How this end waits while all lanes are empty (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Whether there is nothing to be received.
    pub fn is_empty(&self) -> bool {
        !self.something_there()
    }

    /// Replaces what is in `into` by a copy of the next message, if there is one, and releases it.
    ///
    /// # Errors
    /// See [`TryPopError`].
    #[inline(always)]
    pub fn try_pop(&mut self, into: &mut Vec<u8>) -> Result<(), TryPopError> {
        self.try_receive()?.move_into(into);
        Ok(())
    }

    /// Replaces what is in `into` by a copy of the next message, waiting for it as long as it takes.
    ///
    /// # Errors
    /// See [`PopError`].
    #[inline(always)]
    pub fn pop(&mut self, into: &mut Vec<u8>) -> Result<(), PopError> {
        self.receive()?.move_into(into);
        Ok(())
    }

    /// Lends the next message out where it lies, if there is one. Dropping the loan releases it.
    ///
    /// # Errors
    /// See [`TryPopError`].
    #[inline(always)]
    pub fn try_receive(&mut self) -> Result<Loan<'_>, TryPopError> {
        let length = match self.at_hand() {
            Some(length) => length,
            None => self.look()?,
        };
        Ok(self.lend(length))
    }

    /// Lends the next message out, waiting for it as long as it takes.
    ///
    /// # Errors
    /// See [`PopError`]: all that was sent is received before it is said that the producers are gone.
    #[inline(always)]
    pub fn receive(&mut self) -> Result<Loan<'_>, PopError> {
        self.receive_until(None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`PopError`].
    pub fn receive_timeout(&mut self, time: Duration) -> Result<Loan<'_>, PopError> {
        self.receive_until(Instant::now().checked_add(time))
    }

    #[inline(always)]
    fn receive_until(&mut self, deadline: Option<Instant>) -> Result<Loan<'_>, PopError> {
        let length = match self.at_hand() {
            Some(length) => length,
            None => self.wait(deadline)?,
        };
        Ok(self.lend(length))
    }

    /// The next message in the same lane, if this lane's turn goes on: bytes of its record.
    #[inline(always)]
    fn at_hand(&mut self) -> Option<u64> {
        if self.seat.shared.guard.forked() { None } else { self.merge.at_hand(&self.records) }
    }

    /// The next message in any lane.
    fn find(&mut self) -> Result<Option<u64>, AccessError> {
        let Self { merge, records, assembled, seat: ConsumerSeat { shared }, .. } = self;
        if shared.guard.forked() {
            return Err(AccessError::Forked);
        }
        let found = merge.find(&shared.memory, &mut Assembly { shared, assembled });
        *records = shared.memory.records(merge.lane());
        if matches!(found, Ok(Some(_))) && merge.seen_before() {
            shared.memory.counters().count(Counter::Redelivered);
        }
        found.map_err(|_| AccessError::Corrupt)
    }

    #[cold]
    #[inline(never)]
    fn look(&mut self) -> Result<u64, TryPopError> {
        if let Some(length) = self.find()? {
            return Ok(length);
        }
        self.found_empty();
        // Looked again after the roles: all that was sent before they were given up comes first.
        let gone = self.seat.gone();
        if let Some(length) = self.find()? {
            return Ok(length);
        }
        if let Some(error) = gone {
            return Err(error.into());
        }
        self.seat.shared.memory.counters().count(Counter::Empty);
        Err(TryPopError::Empty)
    }

    #[cold]
    #[inline(never)]
    fn wait(&mut self, deadline: Option<Instant>) -> Result<u64, PopError> {
        if let Some(length) = self.find()? {
            return Ok(length);
        }
        loop {
            let pauses = self.found_empty();
            let waited = self.wait_for_message(pauses, deadline);
            // Looked at even if there is nothing to wait for: a message in parts that nobody will end is dropped.
            if let Some(length) = self.find()? {
                return Ok(length);
            }
            waited?;
        }
    }

    /// Lends out the message that was found, whose record has `length` bytes.
    #[inline(always)]
    fn lend(&mut self, length: u64) -> Loan<'_> {
        if length <= LARGEST_TAKEN && self.stream.received() == Habit::Ahead {
            self.records.take_lines(self.merge.position() + AHEAD, record_size(length));
        }
        self.merge.hand_out(&self.records, length);
        Loan { consumer: self, length }
    }

    /// Notes that nothing is there; says for how many pauses to stay away.
    fn found_empty(&mut self) -> u32 {
        self.merge.publish(&self.seat.shared.memory);
        self.stream.found_empty()
    }

    fn something_there(&self) -> bool {
        self.merge.something_there(&self.seat.shared.memory)
    }

    fn wait_for_message(&self, pauses: u32, deadline: Option<Instant>) -> Result<(), PopError> {
        for _ in 0..pauses {
            spin_hint();
        }
        for _ in 0..first_looks(self.wait) {
            if self.something_there() {
                return Ok(());
            }
            spin_hint();
        }
        self.wait_longer(deadline)
    }

    #[cold]
    fn wait_longer(&self, deadline: Option<Instant>) -> Result<(), PopError> {
        let (seat, counters) = (&self.seat, self.seat.shared.memory.counters());
        counters.count(Counter::ReceivesWaited);
        let look = || {
            if self.something_there() {
                return Some(Ok(()));
            }
            // Looked again after the roles: as above.
            seat.gone().map(|error| if self.something_there() { Ok(()) } else { Err(error) })
        };
        loop {
            let event = EventCount(seat.shared.memory.consumer_event());
            let found = event.wait_until(&*seat.shared.inner, self.wait, deadline, look, || seat.examine());
            match found.or_else(look) {
                Some(result) => return result,
                None if over(deadline) => {
                    counters.count(Counter::Empty);
                    return Err(PopError::TimedOut);
                }
                // The producers were gone, but another has come already.
                None => {}
            }
        }
    }

    #[inline(always)]
    fn release(&mut self, length: u64) {
        let shared = &self.seat.shared;
        if shared.guard.forked() {
            return;
        }
        if length <= LARGEST_TAKEN && self.stream.habit() == Habit::Behind {
            self.records.drop_lines(self.merge.position(), record_size(length));
        }
        self.merge.release(&self.records, length);
        shared.notify(self.records.producer_event());
    }
}

/// What the merge needs to be done.
struct Assembly<'a> {
    shared: &'a Shared,
    assembled: &'a mut [Vec<u8>],
}

impl Assistant for Assembly<'_> {
    fn space(&mut self, lane: usize) {
        self.shared.notify(self.shared.memory.producer_event(lane));
    }

    fn append(&mut self, lane: usize, part: (u64, u64), first: bool) {
        let message = &mut self.assembled[lane];
        if first {
            message.clear();
        }
        let records = self.shared.memory.records(lane);
        // SAFETY: the header (Acquire) said that the bytes are there; the producer does not write there before they
        // are released, which the merge does afterwards.
        message.extend_from_slice(unsafe { records.message(part).as_ref() });
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("merge", &self.merge).finish_non_exhaustive()
    }
}

impl Sealed for Consumer {}

impl Waitable for Consumer {
    fn is_ready(&self) -> bool {
        self.seat.shared.guard.forked() || self.something_there() || self.seat.gone().is_some()
    }

    fn examine(&self) {
        self.seat.examine();
    }

    fn bed(&self) -> Bed<'_> {
        let shared = &self.seat.shared;
        Bed { inner: &shared.inner, event: shared.memory.consumer_event() }
    }
}

/// A message, lent out where it lies. Dropping it releases it.
#[derive(Debug)]
pub struct Loan<'a> {
    consumer: &'a mut Consumer,
    /// Bytes of its record, the last one where it came in parts.
    length: u64,
}

impl Loan<'_> {
    /// Whether a consumer that died may have had it already.
    pub fn seen_before(&self) -> bool {
        self.consumer.merge.seen_before()
    }

    /// The lane that it came by: see [`Producer::lane`](super::Producer::lane).
    pub fn lane(&self) -> usize {
        self.consumer.merge.lane()
    }

    /// Replaces what is in `into` by a copy, and releases it.
    #[inline(always)]
    fn move_into(self, into: &mut Vec<u8>) {
        // Dropping it would be a call.
        let mut loan = ManuallyDrop::new(self);
        short_copy::replace(into, &loan);
        let length = loan.length;
        loan.consumer.release(length);
    }
}

impl Deref for Loan<'_> {
    type Target = [u8];
    #[inline(always)]
    fn deref(&self) -> &[u8] {
        let Consumer { merge, records, assembled, .. } = &*self.consumer;
        if merge.is_chained() {
            return &assembled[merge.lane()];
        }
        // SAFETY: the header (Acquire) said that the bytes are there; the producer does not write there before the
        // release, which takes the loan's end.
        unsafe { records.message((merge.position(), self.length)).as_ref() }
    }
}

impl Drop for Loan<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.consumer.release(self.length);
    }
}
