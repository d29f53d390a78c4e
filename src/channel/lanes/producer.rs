//! The sending end of the lanes.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::seat::ProducerSeat;
use crate::layout::counters::Counter;
use crate::region::AccessError;
use crate::ring::bytes::{SendError, TooLarge, TrySendError};
use crate::ring::core::NoSlot;
use crate::ring::error::{PushError, TryPushError};
use crate::ring::lanes::{self as algorithm, Lanes as _};
use crate::ring::records::RecordProducer;
use crate::ring::role_words::Peer;
use crate::ring::waiting::over;
use crate::sync::eventcount::EventCount;
use crate::sync::wait::Wait;

/// A sending end of [`Lanes`], with a lane of its own.
pub struct Producer {
    pub(super) core: RecordProducer,
    pub(super) wait: Wait,
    pub(super) seat: ProducerSeat,
}

impl Producer {
    /// How this end waits while its lane is full (default: [`Wait::Park`]).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// The number of its lane, by which the consumer knows it: see [`Loan::lane`].
    pub fn lane(&self) -> usize {
        self.seat.lane
    }

    /// Bytes of the longest message.
    pub fn max_message(&self) -> usize {
        self.seat.shared.memory.longest()
    }

    /// Sends a copy of `message`, if there is room.
    ///
    /// # Errors
    /// See [`TrySendError`].
    #[inline]
    pub fn try_push(&mut self, message: &[u8]) -> Result<(), TrySendError> {
        let mut claim = self.try_claim(message.len())?;
        claim.copy_from_slice(message);
        claim.commit();
        Ok(())
    }

    /// Sends a copy of `message`, waiting for room as long as it takes.
    ///
    /// # Errors
    /// See [`SendError`].
    #[inline]
    pub fn push(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.push_until(message, None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn push_timeout(&mut self, message: &[u8], time: Duration) -> Result<(), SendError> {
        self.push_until(message, Instant::now().checked_add(time))
    }

    #[inline]
    fn push_until(&mut self, message: &[u8], deadline: Option<Instant>) -> Result<(), SendError> {
        let mut claim = self.claim_until(message.len(), deadline)?;
        claim.copy_from_slice(message);
        claim.commit();
        Ok(())
    }

    /// Claims room for a message of `length` bytes, to be written in place. Dropped without [`Claim::commit`], it is
    /// aborted: nothing is sent. What it holds at first are bytes of earlier messages.
    ///
    /// # Errors
    /// See [`TrySendError`].
    #[inline]
    pub fn try_claim(&mut self, length: usize) -> Result<Claim<'_>, TrySendError> {
        let position = self.find_room(length)?;
        Ok(Claim { producer: self, position, length })
    }

    /// Claims room for a message of `length` bytes, waiting for it as long as it takes.
    ///
    /// # Errors
    /// See [`SendError`].
    #[inline]
    pub fn claim(&mut self, length: usize) -> Result<Claim<'_>, SendError> {
        self.claim_until(length, None)
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn claim_timeout(&mut self, length: usize, time: Duration) -> Result<Claim<'_>, SendError> {
        self.claim_until(length, Instant::now().checked_add(time))
    }

    #[inline]
    fn claim_until(&mut self, length: usize, deadline: Option<Instant>) -> Result<Claim<'_>, SendError> {
        let position = match self.find_room(length) {
            Ok(position) => position,
            Err(TrySendError::TooLarge(error)) => return Err(error.into()),
            Err(TrySendError::Push(TryPushError::Full(()))) => self.wait_for_room(length as u64, deadline)?,
            Err(TrySendError::Push(error)) => return Err(having_waited(error).into()),
        };
        Ok(Claim { producer: self, position, length })
    }

    /// The position of room for a message.
    #[inline]
    fn find_room(&mut self, length: usize) -> Result<u64, TrySendError> {
        let max = self.max_message();
        if length > max {
            return Err(TooLarge { length, max }.into());
        }
        if self.seat.shared.guard.forked() {
            return Err(TryPushError::Access(AccessError::Forked, ()).into());
        }
        // However much room there is: nobody would receive it.
        match algorithm::consumer(&self.seat.shared.memory) {
            Peer::Expected => {}
            Peer::Left => return Err(TryPushError::Disconnected(()).into()),
            Peer::Died => return Err(TryPushError::PeerDied(()).into()),
        }
        self.core.claim(&self.seat.lane(), length as u64).map_err(|why| self.no_room(why).into())
    }

    #[cold]
    fn no_room(&self, why: NoSlot) -> TryPushError<()> {
        if why == NoSlot::Corrupt {
            return TryPushError::Access(AccessError::Corrupt, ());
        }
        let counters = self.seat.shared.memory.counters();
        counters.count(Counter::Full);
        counters.queued(self.core.queued(&self.seat.lane()));
        TryPushError::Full(())
    }

    #[cold]
    fn wait_for_room(&mut self, length: u64, deadline: Option<Instant>) -> Result<u64, PushError<()>> {
        let Self { core, wait, seat } = self;
        let memory = &seat.shared.memory;
        memory.counters().count(Counter::SendsWaited);
        let mut look = || match core.claim(&seat.lane(), length) {
            Ok(position) => Some(Ok(position)),
            Err(NoSlot::Corrupt) => Some(Err(PushError::Access(AccessError::Corrupt, ()))),
            Err(NoSlot::Full) => match algorithm::consumer(memory) {
                Peer::Expected => None,
                Peer::Left => Some(Err(PushError::Disconnected(()))),
                Peer::Died => Some(Err(PushError::PeerDied(()))),
            },
        };
        loop {
            let event = EventCount(seat.event());
            let found = event.wait_until(&*seat.shared.inner, *wait, deadline, &mut look, || seat.examine());
            match found.or_else(&mut look) {
                Some(result) => return result,
                None if over(deadline) => return Err(PushError::TimedOut(())),
                // The consumer was gone, but a successor has come already.
                None => {}
            }
        }
    }

    #[inline]
    fn commit(&mut self, length: usize) {
        self.core.commit(&self.seat.lane(), length as u64);
        self.seat.shared.notify(self.seat.shared.memory.consumer_event());
    }
}

fn having_waited(error: TryPushError<()>) -> PushError<()> {
    match error {
        TryPushError::Full(()) => PushError::TimedOut(()),
        TryPushError::Disconnected(()) => PushError::Disconnected(()),
        TryPushError::PeerDied(()) => PushError::PeerDied(()),
        TryPushError::Closed(()) => PushError::Closed(()),
        TryPushError::Access(error, ()) => PushError::Access(error, ()),
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = self.core.position();
        f.debug_struct("Producer")
            .field("lane", &self.lane())
            .field("position", &position)
            .finish_non_exhaustive()
    }
}

/// A message that is being written in place. Nothing is sent unless it is [committed](Self::commit).
#[must_use = "a claim that is dropped sends nothing"]
#[derive(Debug)]
pub struct Claim<'a> {
    producer: &'a mut Producer,
    position: u64,
    length: usize,
}

impl Claim<'_> {
    /// Sends what was written. In a forked child this does nothing: the claim is the parent's.
    #[inline]
    pub fn commit(self) {
        let length = self.length;
        self.commit_prefix(length);
    }

    /// Sends only the first `length` bytes (or all, if there are fewer).
    #[inline]
    pub fn commit_prefix(self, length: usize) {
        if !self.producer.seat.shared.guard.forked() {
            let length = self.length.min(length);
            self.producer.commit(length);
        }
        // Only what is dropped uncommitted was aborted.
        std::mem::forget(self);
    }
}

impl Deref for Claim<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the claim has the record to itself until it is committed.
        unsafe { self.producer.seat.lane().message((self.position, self.length as u64)).as_ref() }
    }
}

impl DerefMut for Claim<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: `claim` gave this producer the record, which nobody reads before its header; the borrow of the
        // producer keeps it the only one in this process.
        unsafe { self.producer.seat.lane().message((self.position, self.length as u64)).as_mut() }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.producer.seat.shared.guard.forked() {
            self.producer.seat.shared.memory.counters().count(Counter::Aborted);
        }
    }
}
