//! The receiving end of the lanes.

use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

use super::seat::{ConsumerSeat, Shared};
use crate::atomic::spin_hint;
use crate::layout::counters::Counter;
use crate::region::AccessError;
use crate::ring::bytes::{AHEAD, LARGEST_TAKEN};
use crate::ring::error::{PopError, TryPopError};
use crate::ring::habit::{Habit, Stream};
use crate::ring::lanes::{Assistant, Found, Lanes as _, Merge};
use crate::ring::records::record_size;
use crate::ring::waiting::{first_looks, over};
use crate::sync::eventcount::EventCount;
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// The receiving end of [`Lanes`].
pub struct Consumer {
    merge: Merge,
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
        Self { merge, assembled, stream, wait: Wait::default(), seat }
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
    pub fn try_pop(&mut self, into: &mut Vec<u8>) -> Result<(), TryPopError> {
        let loan = self.try_receive()?;
        into.clear();
        into.extend_from_slice(&loan);
        Ok(())
    }

    /// Replaces what is in `into` by a copy of the next message, waiting for it as long as it takes.
    ///
    /// # Errors
    /// See [`PopError`].
    pub fn pop(&mut self, into: &mut Vec<u8>) -> Result<(), PopError> {
        let loan = self.receive()?;
        into.clear();
        into.extend_from_slice(&loan);
        Ok(())
    }

    /// Lends the next message out where it lies, if there is one. Dropping the loan releases it.
    ///
    /// # Errors
    /// See [`TryPopError`].
    #[inline]
    pub fn try_receive(&mut self) -> Result<Loan<'_>, TryPopError> {
        let (found, seen_before) = match self.lend()? {
            Some(lent) => lent,
            // Looked again after the roles: all that was sent before they were given up comes first.
            None => match (self.seat.gone(), self.lend()?) {
                (_, Some(lent)) => lent,
                (None, None) => {
                    self.found_empty();
                    self.seat.shared.memory.counters().count(Counter::Empty);
                    return Err(TryPopError::Empty);
                }
                (Some(error), None) => return Err(error.into()),
            },
        };
        Ok(Loan { consumer: self, found, seen_before })
    }

    /// Lends the next message out, waiting for it as long as it takes.
    ///
    /// # Errors
    /// See [`PopError`]: all that was sent is received before it is said that the producers are gone.
    #[inline]
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

    #[inline]
    fn receive_until(&mut self, deadline: Option<Instant>) -> Result<Loan<'_>, PopError> {
        let (found, seen_before) = match self.lend()? {
            Some(lent) => lent,
            None => self.wait_and_lend(deadline)?,
        };
        Ok(Loan { consumer: self, found, seen_before })
    }

    #[cold]
    #[inline(never)]
    fn wait_and_lend(&mut self, deadline: Option<Instant>) -> Result<(Found, bool), PopError> {
        loop {
            let pauses = self.found_empty();
            let waited = self.wait_for_message(pauses, deadline);
            // Looked at even if there is nothing to wait for: a message in parts that nobody will end is dropped.
            if let Some(lent) = self.lend()? {
                return Ok(lent);
            }
            waited?;
        }
    }

    /// Notes that nothing is there; says for how many pauses to stay away.
    fn found_empty(&mut self) -> u32 {
        self.merge.publish(&self.seat.shared.memory);
        self.stream.found_empty()
    }

    fn something_there(&self) -> bool {
        self.merge.something_there(&self.seat.shared.memory)
    }

    /// Records that the next message is handed out, if there is one.
    #[inline]
    fn lend(&mut self) -> Result<Option<(Found, bool)>, AccessError> {
        let Self { merge, assembled, stream, seat, .. } = self;
        let (shared, words) = (&seat.shared, &seat.shared.memory);
        if shared.guard.forked() {
            return Err(AccessError::Forked);
        }
        let mut assembly = Assembly { shared, assembled };
        let Some(found) = merge.next(words, &mut assembly).map_err(|_| AccessError::Corrupt)? else {
            return Ok(None);
        };
        let (position, length) = found.message;
        if length <= LARGEST_TAKEN && stream.received() == Habit::Ahead {
            words.records(found.lane).take_lines(position + AHEAD, record_size(length));
        }
        let seen_before = merge.hand_out(words, found);
        if seen_before {
            words.counters().count(Counter::Redelivered);
        }
        Ok(Some((found, seen_before)))
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

    #[inline]
    fn release(&mut self, found: Found) {
        let shared = &self.seat.shared;
        if !shared.guard.forked() {
            let (position, length) = found.message;
            if length <= LARGEST_TAKEN && self.stream.habit() == Habit::Behind {
                shared.memory.records(found.lane).drop_lines(position, record_size(length));
            }
            self.merge.release(&shared.memory, found);
            shared.notify(shared.memory.producer_event(found.lane));
        }
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
    found: Found,
    seen_before: bool,
}

impl Loan<'_> {
    /// Whether a consumer that died may have had it already.
    pub fn seen_before(&self) -> bool {
        self.seen_before
    }

    /// The lane that it came by: see [`Producer::lane`].
    pub fn lane(&self) -> usize {
        self.found.lane
    }
}

impl Deref for Loan<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        if self.found.chained {
            return &self.consumer.assembled[self.found.lane];
        }
        let lane = self.consumer.seat.shared.memory.records(self.found.lane);
        // SAFETY: the header (Acquire) said that the bytes are there; the producer does not write there before the
        // release, which takes the loan's end.
        unsafe { lane.message(self.found.message).as_ref() }
    }
}

impl Drop for Loan<'_> {
    #[inline]
    fn drop(&mut self) {
        self.consumer.release(self.found);
    }
}
