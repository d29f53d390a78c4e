//! The sending end of the lanes.

// As in `ring::habit`.
#![allow(clippy::inline_always)]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::mapped::MappedLane;
use super::seat::ProducerSeat;
use crate::layout::counters::Counter;
use crate::region::AccessError;
use crate::ring::bytes::{SendError, TooLarge, TrySendError};
use crate::ring::chains;
use crate::ring::core::NoSlot;
use crate::ring::error::{PushError, TryPushError};
use crate::ring::lanes::{self as algorithm, Lanes as _};
use crate::ring::records::{Part, RecordProducer, Records};
use crate::ring::role_words::Peer;
use crate::ring::short_copy;
use crate::ring::waiting::{Look, Looks, over};
use crate::sync::eventcount::{EventCount, Sure};
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// A sending end of [`Lanes`](super::Lanes), with a lane of its own.
pub struct Producer {
    pub(super) core: RecordProducer,
    pub(super) wait: Wait,
    /// The length for which there was no room when it was asked for last.
    pub(super) refused: u64,
    pub(super) seat: ProducerSeat,
}

impl Producer {
    /// How this end waits while its lane is full (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// The number of its lane, by which the consumer knows it: see [`Loan::lane`](super::Loan::lane).
    pub fn lane(&self) -> usize {
        self.seat.lane
    }

    /// Bytes of the longest message that can be claimed: half a lane, less 8.
    pub fn max_message(&self) -> usize {
        self.seat.shared.memory.longest()
    }

    /// Bytes of the longest message that can be pushed, in parts if need be.
    pub fn max_chained(&self) -> usize {
        self.seat.shared.memory.longest_pushed()
    }

    /// Sends a copy of `message`, if there is room. It must be no longer than what can be claimed.
    ///
    /// # Errors
    /// See [`TrySendError`].
    #[inline(always)]
    pub fn try_push(&mut self, message: &[u8]) -> Result<(), TrySendError> {
        let mut claim = self.try_claim(message.len())?;
        short_copy::copy_in(message, &mut claim);
        claim.send().map_err(TrySendError::from)
    }

    /// Sends a copy of `message`, waiting for room as long as it takes. If it is longer than what can be claimed, it is
    /// sent in parts, where the lanes were [made for that](super::LanesOptions::chained).
    ///
    /// # Errors
    /// See [`SendError`]. Nothing is sent then: the consumer drops the parts that it has, and counts an aborted message.
    #[inline(always)]
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

    #[inline(always)]
    fn push_until(&mut self, message: &[u8], deadline: Option<Instant>) -> Result<(), SendError> {
        if message.len() > self.max_message() {
            return self.push_chained(message, deadline);
        }
        let mut claim = self.claim_until(message.len(), deadline)?;
        short_copy::copy_in(message, &mut claim);
        claim.send().map_err(SendError::from)
    }

    #[cold]
    fn push_chained(&mut self, message: &[u8], deadline: Option<Instant>) -> Result<(), SendError> {
        let max = self.max_chained();
        if message.len() > max {
            return Err(TooLarge { length: message.len(), max }.into());
        }
        let capacity = self.seat.records.capacity();
        for (start, length, part) in chains::parts(capacity, message.len() as u64) {
            self.find_room_until(length, part, deadline)?;
            let bytes = usize::try_from(start).expect("in a slice");
            self.record(length)
                .copy_from_slice(&message[bytes..][..usize::try_from(length).expect("in a slice")]);
            self.commit(length, part)?;
        }
        Ok(())
    }

    /// Claims room for a message of `length` bytes, to be written in place. Dropped without [`Claim::commit`], it is
    /// aborted: nothing is sent. What it holds at first are bytes of earlier messages.
    ///
    /// # Errors
    /// See [`TrySendError`].
    #[inline(always)]
    pub fn try_claim(&mut self, length: usize) -> Result<Claim<'_>, TrySendError> {
        self.check_length(length)?;
        if !self.room_at_hand(length) {
            self.find_room(length as u64, Part::WHOLE, Look::Exact)?;
        }
        Ok(Claim { producer: self, length })
    }

    /// Claims room for a message of `length` bytes, waiting for it as long as it takes.
    ///
    /// # Errors
    /// See [`SendError`].
    #[inline(always)]
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

    #[inline(always)]
    fn claim_until(&mut self, length: usize, deadline: Option<Instant>) -> Result<Claim<'_>, SendError> {
        self.check_length(length)?;
        if !self.room_at_hand(length) {
            self.find_room_until(length as u64, Part::WHOLE, deadline)?;
        }
        Ok(Claim { producer: self, length })
    }

    /// Whether a message of its own can be sent, as far as this process knows.
    #[inline(always)]
    fn room_at_hand(&self, length: usize) -> bool {
        self.may_send() && self.core.room_at_hand(length as u64)
    }

    /// However much room there is: whether somebody would receive it, and this producer may send it.
    #[inline(always)]
    fn may_send(&self) -> bool {
        let shared = &self.seat.shared;
        !shared.guard.forked()
            && self.seat.has_lane()
            && algorithm::consumer(&shared.memory) == Peer::Expected
    }

    #[inline(always)]
    fn check_length(&self, length: usize) -> Result<(), TooLarge> {
        let max = self.max_message();
        if length <= max { Ok(()) } else { Err(TooLarge { length, max }) }
    }

    #[cold]
    #[inline(never)]
    fn find_room_until(
        &mut self,
        length: u64,
        part: Part,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        // Exact looks at every lap or so would take the line that the consumer writes at every message.
        match self.find_room(length, part, Look::Cheap) {
            Err(TrySendError::Push(TryPushError::Full(()))) => self.wait_for_room(length, part, deadline),
            found => found.map_err(having_waited),
        }
    }

    /// Makes room at the core's position for a message, or a part of one.
    #[cold]
    #[inline(never)]
    fn find_room(&mut self, length: u64, part: Part, look: Look) -> Result<(), TrySendError> {
        if self.seat.shared.guard.forked() {
            return Err(TryPushError::Access(AccessError::Forked, ()).into());
        }
        if let Some(end) = self.ended() {
            return Err(end);
        }
        let Self { core, seat, refused, .. } = self;
        match claim(core, &seat.records, length, part, look) {
            Ok(()) => Ok(()),
            Err(NoSlot::Corrupt) => Err(TryPushError::Access(AccessError::Corrupt, ()).into()),
            Err(NoSlot::Full) => {
                *refused = length;
                let counters = seat.shared.memory.counters();
                counters.count(Counter::Full);
                counters.queued(core.queued(&seat.records));
                Err(TryPushError::Full(()).into())
            }
        }
    }

    /// Why nothing can be sent, however much room there is.
    fn ended(&self) -> Option<TrySendError> {
        if !self.seat.has_lane() {
            return Some(TrySendError::Revoked);
        }
        match algorithm::consumer(&self.seat.shared.memory) {
            Peer::Expected => None,
            Peer::Left => Some(TryPushError::Disconnected(()).into()),
            Peer::Died => Some(TryPushError::PeerDied(()).into()),
        }
    }

    #[cold]
    fn wait_for_room(&mut self, length: u64, part: Part, deadline: Option<Instant>) -> Result<(), SendError> {
        let Self { core, wait, seat, .. } = self;
        let memory = &seat.shared.memory;
        memory.counters().count(Counter::SendsWaited);
        let mut looks = Looks::new();
        let mut look = |sure| match claim(core, &seat.records, length, part, looks.next(sure)) {
            Ok(()) => Some(Ok(())),
            Err(NoSlot::Corrupt) => Some(Err(PushError::Access(AccessError::Corrupt, ()).into())),
            Err(NoSlot::Full) if !seat.has_lane() => Some(Err(SendError::Revoked)),
            Err(NoSlot::Full) => match algorithm::consumer(memory) {
                Peer::Expected => None,
                Peer::Left => Some(Err(PushError::Disconnected(()).into())),
                Peer::Died => Some(Err(PushError::PeerDied(()).into())),
            },
        };
        loop {
            let event = EventCount(seat.event());
            let found =
                event.wait_until_sure(&*seat.shared.inner, *wait, deadline, &mut look, || seat.examine());
            match found.or_else(|| look(Sure::Yes)) {
                Some(result) => return result,
                None if over(deadline) => return Err(PushError::TimedOut(()).into()),
                // The consumer was gone, but a successor has come already.
                None => {}
            }
        }
    }

    /// The record at the core's position, for which there is room.
    #[inline(always)]
    fn record(&mut self, length: u64) -> &mut [u8] {
        let position = self.core.position();
        // SAFETY: `claim` gave this producer the record, which nobody reads before its header; the borrow of the
        // producer keeps it the only one in this process.
        unsafe { self.seat.records.message((position, length)).as_mut() }
    }

    /// Makes the claimed record visible, unless the lane was taken away.
    #[inline(always)]
    fn commit(&mut self, length: u64, part: Part) -> Result<(), Revoked> {
        let Self { core, seat, .. } = self;
        if !seat.has_lane() {
            return Err(Revoked);
        }
        if part == Part::WHOLE {
            core.commit(&seat.records, length);
        } else {
            core.commit_part(&seat.records, length, part);
        }
        seat.shared.notify(seat.shared.memory.consumer_event());
        Ok(())
    }
}

/// Makes room at the core's position for a message, or a part of one; a chain before it that was not ended is given up.
fn claim(
    core: &mut RecordProducer,
    records: &MappedLane,
    length: u64,
    part: Part,
    look: Look,
) -> Result<(), NoSlot> {
    if !part.continues {
        core.end_chain(records)?;
    }
    match look {
        Look::Exact => core.claim(records, length),
        Look::Cheap => core.claim_published(records, length),
    }
    .map(|_| ())
}

/// Somebody took the lane away.
struct Revoked;

impl From<Revoked> for TrySendError {
    fn from(Revoked: Revoked) -> Self {
        Self::Revoked
    }
}

impl From<Revoked> for SendError {
    fn from(Revoked: Revoked) -> Self {
        Self::Revoked
    }
}

fn having_waited(error: TrySendError) -> SendError {
    match error {
        TrySendError::TooLarge(error) => error.into(),
        TrySendError::Revoked => SendError::Revoked,
        TrySendError::Push(error) => match error {
            TryPushError::Full(()) => PushError::TimedOut(()),
            TryPushError::Disconnected(()) => PushError::Disconnected(()),
            TryPushError::PeerDied(()) => PushError::PeerDied(()),
            TryPushError::Closed(()) => PushError::Closed(()),
            TryPushError::Access(error, ()) => PushError::Access(error, ()),
        }
        .into(),
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
    length: usize,
}

impl Claim<'_> {
    /// Sends what was written. In a forked child this does nothing: the claim is the parent's. Nor in a lane that was
    /// [revoked](super::Lanes::revoke): the next call says so.
    #[inline(always)]
    pub fn commit(self) {
        let _ = self.send();
    }

    /// Sends only the first `length` bytes (or all, if there are fewer).
    #[inline(always)]
    pub fn commit_prefix(mut self, length: usize) {
        self.length = self.length.min(length);
        let _ = self.send();
    }

    #[inline(always)]
    fn send(self) -> Result<(), Revoked> {
        // Only what is dropped uncommitted is aborted.
        let mut claim = ManuallyDrop::new(self);
        if claim.producer.seat.shared.guard.forked() {
            return Ok(());
        }
        let length = claim.length as u64;
        claim.producer.commit(length, Part::WHOLE)
    }
}

impl Deref for Claim<'_> {
    type Target = [u8];
    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: the claim has the record to itself until it is committed.
        unsafe {
            self.producer.seat.records.message((self.producer.core.position(), self.length as u64)).as_ref()
        }
    }
}

impl DerefMut for Claim<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.producer.record(self.length as u64)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.producer.seat.shared.guard.forked() {
            self.producer.seat.shared.memory.counters().count(Counter::Aborted);
        }
    }
}

impl Sealed for Producer {}

/// Ready when there is room for a message as long as the one that was refused last (for an empty one, if
/// none was), or nothing can be sent any more.
impl Waitable for Producer {
    fn is_ready(&self) -> bool {
        !self.may_send() || self.core.would_find(&self.seat.records, self.refused)
    }

    fn examine(&self) {
        self.seat.examine();
    }

    fn bed(&self) -> Bed<'_> {
        Bed { inner: &self.seat.shared.inner, event: self.seat.event() }
    }
}
