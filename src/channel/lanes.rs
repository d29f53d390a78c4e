//! Byte lanes: messages of any length from many producers to one consumer, all in whatever processes.
//!
//! ```
//! use allmende::{Lanes, Region};
//! let region = Region::create().memfd("example")?;
//! let lanes = Lanes::open_or_create(&region, "log", 8, 1 << 12)?;
//! let (mut one, mut other, mut consumer) = (lanes.producer()?, lanes.producer()?, lanes.consumer()?);
//! one.push(b"any length")?;
//! let mut claim = other.claim(5)?;
//! claim.copy_from_slice(b"place");
//! claim.commit();
//! assert_eq!(&*consumer.receive()?, b"any length");
//! assert_eq!(&*consumer.receive()?, b"place");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Each producer has a lane of its own, a ring of records, and shares no word with the others that is written as it
//! sends. The consumer goes round the lanes and takes up to 16 messages of one before it looks at the next. So each
//! producer's messages come in its order, those of different producers in any; one that sends without end delays the
//! others by 16 messages a round at the most.
//!
//! # What a death costs
//!
//! A producer that is killed has sent what it committed, and nothing else: its messages are received, then its lane is
//! somebody else's. Once all producers are gone and all that they sent is consumed, the consumer is told
//! [`PopError::Disconnected`], or [`PopError::PeerDied`] if one of them died. A consumer that is killed has consumed
//! what it *released*: its successor gets what was lent out and not released again, at most a message, and
//! [`Loan::seen_before`] says so. Meanwhile producers are told that the consumer left or died.
//!
//! The algorithm and its picture are in `ring::lanes`, the layout in [`crate::layout::lanes`]. After the one-to-one
//! record buffers of Agrona, and the merge of a logger's queues, a queue for each thread, in `NanoLog` and Quill.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::Region;
use crate::atomic::{AtomicU32, AtomicU64, Ordering, spin_hint};
use crate::inspect::{EndState, RoleState, SharedState, role_state};
use crate::layout::OBJECT_ALIGN;
use crate::layout::counters::Counter;
use crate::layout::lanes::{
    CONSUMER, CONSUMER_EVENT, COUNTERS, LANES, MAX_LANES, PRODUCERS, USED, lane, length, stride,
};
use crate::layout::owner::Owner;
use crate::layout::spsc::{MAX_CAPACITY, STAMP};
use crate::os::fork_guard::ForkGuard;
use crate::region::{
    AccessError, Inner, Liveness, Memory, Object, ObjectError, ObjectInfo, ObjectKind, ObjectSpec, Parameter,
};
use crate::ring::bytes::{SendError, TooLarge, TrySendError};
use crate::ring::core::NoSlot;
use crate::ring::counters::Counters;
use crate::ring::error::{PopError, PushError, RoleError, TryPopError, TryPushError};
use crate::ring::lanes::{self as algorithm, Found, Lanes as Words, Merge, TALLIES};
use crate::ring::records::{self, RecordProducer, Records, longest};
use crate::ring::role_words::{self, NotTaken, Peer};
use crate::ring::waiting::{first_looks, over};
use crate::sync::eventcount::{AfterSlice, EventCount, SLEEPERS};
use crate::sync::platform::light_barrier;
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// Why a producer got no lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Each lane has a producer that lives.
    #[error("all {lanes} lanes have producers; create it with more")]
    TooManyProducers {
        /// How many lanes there are.
        lanes: usize,
    },
    /// Read-only, forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Lanes of variable-length messages in a region; take a [producer](Self::producer), or be the
/// [consumer](Self::consumer), to use them.
#[derive(Debug, Clone)]
pub struct Lanes {
    shared: Shared,
}

impl Lanes {
    /// The lanes of that name in `region`, made where there are none: `lanes` of them (1 to 64), `capacity` bytes
    /// each (rounded up to a power of two, 64 at the least). A message takes its length, rounded up to 8, and 8 bytes
    /// more; the longest has half the capacity less 8.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(
        region: &Region,
        name: &str,
        lanes: usize,
        capacity: usize,
    ) -> Result<Self, ObjectError> {
        let object = region.inner.open_or_create_object(&spec(name, lanes, capacity)?, initialise)?;
        Self::at(region, object)
    }

    /// New lanes; there must be nothing of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str, lanes: usize, capacity: usize) -> Result<Self, ObjectError> {
        let object = region.inner.create_object(&spec(name, lanes, capacity)?, initialise)?;
        Self::at(region, object)
    }

    /// The lanes of that name, which must be there, however many and large.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let object = region.inner.open_object(&ObjectSpec { item_count: 0, ..spec(name, 1, 64)? })?;
        Self::at(region, object)
    }

    fn at(region: &Region, object: Object) -> Result<Self, ObjectError> {
        let inner = region.inner.clone();
        let memory = Mapped::new(&inner.memory, &object).ok_or(AccessError::Corrupt)?;
        let (guard, fenced) = (inner.fork_guard(), inner.fenced());
        Ok(Self { shared: Shared { memory, guard, fenced, inner } })
    }

    /// How many lanes there are: so many producers at a time.
    pub fn lanes(&self) -> usize {
        self.shared.memory.lanes
    }

    /// Bytes of a lane.
    pub fn capacity(&self) -> u64 {
        self.shared.memory.capacity
    }

    /// Bytes of the longest message.
    pub fn max_message(&self) -> usize {
        self.shared.memory.longest()
    }

    /// Takes a lane that has no producer, and goes on in it where its last one stopped.
    ///
    /// # Errors
    /// [`JoinError::TooManyProducers`] while each lane has a producer that lives.
    pub fn producer(&self) -> Result<Producer, JoinError> {
        let shared = self.shared.clone();
        shared.inner.check_access()?;
        let me = shared.inner.me()?;
        let words = &shared.memory;
        // A dead producer's lane is to be had once it is swept.
        let joined = algorithm::join(words, me).or_else(|| {
            shared.inner.sweep_the_dead();
            algorithm::join(words, me)
        });
        let lane = joined.ok_or(JoinError::TooManyProducers { lanes: words.lanes })?;
        let seat = ProducerSeat { shared, lane };
        let core = RecordProducer::resume(&seat.lane()).ok_or(AccessError::Corrupt)?;
        Ok(Producer { core, wait: Wait::default(), refused: 0, seat })
    }

    /// Takes the consumer's role; if its last holder died, goes on where that one stopped.
    ///
    /// # Errors
    /// [`RoleError::Taken`] while somebody alive has it.
    pub fn consumer(&self) -> Result<Consumer, RoleError> {
        let shared = self.shared.clone();
        shared.inner.check_access()?;
        let me = shared.inner.me()?;
        role_words::take(shared.memory.consumer(), me, |owner| shared.inner.liveness(owner)).map_err(
            |why| match why {
                NotTaken::Taken(owner) => RoleError::Taken { role: "consumer", slot: owner.slot() },
                NotTaken::Corrupt => AccessError::Corrupt.into(),
            },
        )?;
        let seat = ConsumerSeat { shared };
        let merge = Merge::resume(&seat.shared.memory).ok_or(AccessError::Corrupt)?;
        Ok(Consumer { merge, wait: Wait::default(), seat })
    }
}

/// The mapped words and bytes. Valid as long as the `Inner` that lies beside it.
#[derive(Debug, Clone, Copy)]
struct Mapped {
    /// The object's first byte.
    base: NonNull<u8>,
    lanes: usize,
    /// Bytes of a lane's records, a power of two.
    capacity: u64,
    /// Bytes from one lane to the next.
    stride: u64,
}

// SAFETY: a pointer to shared words and bytes without ties to a thread; whoever reads or writes bytes has claimed
// them by the protocol.
unsafe impl Send for Mapped {}
// SAFETY: as above; through a shared reference only atomics are reached.
unsafe impl Sync for Mapped {}

#[allow(clippy::cast_possible_truncation)]
impl Mapped {
    /// `None` when the object is too short for what its directory entry says.
    fn new(memory: &Memory, object: &Object) -> Option<Self> {
        let (lanes, capacity) = (object.parameters[0], object.item_count);
        let needed = length(lanes.into(), capacity)?;
        if needed > object.length {
            return None;
        }
        let base = memory.pointer(object.offset, needed, OBJECT_ALIGN)?;
        Some(Self { base, lanes: lanes as usize, capacity, stride: stride(capacity)? })
    }

    fn longest(&self) -> usize {
        longest(self.capacity) as usize
    }

    /// `count` words at `offset` in the object's head or a lane's, as these atomics.
    #[inline]
    fn words<T>(&self, offset: u64, count: usize) -> &[T] {
        // SAFETY: `new` checked that the object has its head and all lanes; `offset` is one of their constants, a
        // multiple of the atomics' size, and `count` what the layout has there: in bounds and aligned. The mapping
        // lives as long as the `Inner` beside this. All reach these words as atomics of this width.
        unsafe { std::slice::from_raw_parts(self.base.add(offset as usize).cast::<T>().as_ptr(), count) }
    }

    #[inline]
    fn word32(&self, offset: u64) -> &AtomicU32 {
        &self.words(offset, 1)[0]
    }

    #[inline]
    fn word64(&self, offset: u64) -> &AtomicU64 {
        &self.words(offset, 1)[0]
    }

    /// Where a lane starts in the object.
    #[inline]
    fn start(&self, lane: usize) -> u64 {
        assert!(lane < self.lanes);
        LANES + lane as u64 * self.stride
    }

    #[inline]
    fn bytes(&self, lane: usize) -> Lane {
        // SAFETY: the lane is below the count, so that it lies in the object, which `new` checked.
        let base = unsafe { self.base.add(self.start(lane) as usize) };
        Lane { base, mask: self.capacity - 1 }
    }

    fn counters(&self) -> Counters<'_> {
        Counters(self.words(COUNTERS, crate::layout::counters::WORDS))
    }
}

impl Words for Mapped {
    #[inline]
    fn count(&self) -> usize {
        self.lanes
    }
    #[inline]
    fn lane(&self, lane: usize) -> impl Records {
        self.bytes(lane)
    }
    #[inline]
    fn tallies(&self, lane: usize) -> &[AtomicU64] {
        self.words(self.start(lane) + lane::TALLIES, TALLIES)
    }
    #[inline]
    fn producer_event(&self, lane: usize) -> &AtomicU32 {
        self.word32(self.start(lane) + lane::PRODUCER_EVENT)
    }
    fn producers(&self) -> &[AtomicU32] {
        self.words(PRODUCERS, self.lanes)
    }
    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        self.word32(CONSUMER)
    }
    #[inline]
    fn consumer_event(&self) -> &AtomicU32 {
        self.word32(CONSUMER_EVENT)
    }
    #[inline]
    fn used(&self) -> &AtomicU64 {
        self.word64(USED)
    }
}

/// One lane, mapped; as [`Mapped`].
#[derive(Debug, Clone, Copy)]
struct Lane {
    /// Its first byte.
    base: NonNull<u8>,
    mask: u64,
}

#[allow(clippy::cast_possible_truncation)]
impl Lane {
    #[inline]
    fn word(&self, offset: u64) -> &AtomicU64 {
        // SAFETY: as in `Mapped::words`: `offset` is that of a word of the lane's head, or of a masked position.
        unsafe { self.base.add(offset as usize).cast::<AtomicU64>().as_ref() }
    }

    /// The bytes of the record at `position`. It must not wrap: `claim` and `read` see to that.
    #[inline]
    fn message(&self, (position, length): (u64, u64)) -> NonNull<[u8]> {
        let offset = (lane::DATA + (position & self.mask) + STAMP) as usize;
        // SAFETY: header and bytes lie between the masked position and the end of the lane, which `Mapped::new`
        // checked; so the sum stays within the mapping.
        let first = unsafe { self.base.add(offset) };
        NonNull::slice_from_raw_parts(first, length as usize)
    }
}

impl Records for Lane {
    #[inline]
    fn capacity(&self) -> u64 {
        self.mask + 1
    }
    #[inline]
    fn header(&self, position: u64) -> &AtomicU64 {
        self.word(lane::DATA + (position & self.mask & !(STAMP - 1)))
    }
    #[inline]
    fn head(&self) -> &AtomicU64 {
        self.word(lane::HEAD)
    }
    #[inline]
    fn taken(&self) -> &AtomicU64 {
        self.word(lane::TAKEN)
    }
}

/// The mapped words, and what keeps them mapped.
#[derive(Debug, Clone)]
struct Shared {
    memory: Mapped,
    guard: ForkGuard,
    fenced: bool,
    inner: Arc<Inner>,
}

impl Shared {
    /// Wakes whoever sleeps on `event`; to be called after the store that it waits for.
    #[inline]
    fn notify(&self, event: &AtomicU32) {
        light_barrier(self.fenced);
        if EventCount(event).sleepers() {
            EventCount(event).notify_sleepers(&*self.inner);
        }
    }

    /// Sweeps, if one of `holders` is dead.
    fn examine(&self, mut holders: impl Iterator<Item = Owner>) {
        if holders.any(|owner| self.inner.liveness(owner) == Liveness::Dead) {
            self.inner.sweep_the_dead();
        }
    }
}

fn go_on_if(peer: Peer) -> AfterSlice {
    if peer == Peer::Expected { AfterSlice::GoOn } else { AfterSlice::GiveUp }
}

/// A lane that this process's producer holds; dropping it leaves.
struct ProducerSeat {
    shared: Shared,
    lane: usize,
}

impl ProducerSeat {
    #[inline]
    fn lane(&self) -> Lane {
        self.shared.memory.bytes(self.lane)
    }

    fn event(&self) -> &AtomicU32 {
        self.shared.memory.producer_event(self.lane)
    }

    fn examine(&self) -> AfterSlice {
        let word = self.shared.memory.consumer();
        // Acquire: pairs with the Release of whoever held the role before.
        self.shared.examine(Owner::from_word(word.load(Ordering::Acquire)).into_iter());
        go_on_if(role_words::peer(word))
    }
}

impl Drop for ProducerSeat {
    fn drop(&mut self) {
        if !self.shared.guard.forked() {
            algorithm::producers(&self.shared.memory).leave(self.lane, wake_all);
        }
    }
}

/// The consumer's role; dropping it leaves.
struct ConsumerSeat {
    shared: Shared,
}

impl ConsumerSeat {
    /// Whether producers are to be expected, or what has become of them.
    fn gone(&self) -> Option<PopError> {
        match algorithm::producers(&self.shared.memory).peers() {
            Peer::Expected => None,
            Peer::Left => Some(PopError::Disconnected),
            Peer::Died => Some(PopError::PeerDied),
        }
    }

    fn examine(&self) -> AfterSlice {
        let producers = algorithm::producers(&self.shared.memory);
        self.shared.examine(producers.holders());
        go_on_if(producers.peers())
    }
}

impl Drop for ConsumerSeat {
    fn drop(&mut self) {
        if !self.shared.guard.forked() {
            algorithm::leave(&self.shared.memory, wake_all);
        }
    }
}

fn wake_all(event: &AtomicU32) {
    crate::os::futex::wake(event, u32::MAX);
}

/// A sending end of [`Lanes`], with a lane of its own.
pub struct Producer {
    core: RecordProducer,
    wait: Wait,
    /// The length for which there was no room when it was asked for last.
    refused: usize,
    seat: ProducerSeat,
}

impl Producer {
    /// How this end waits while its lane is full (default: [`Wait::Adaptive`]).
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
        self.core.claim(&self.seat.lane(), length as u64).map_err(|why| {
            self.refused = length;
            self.no_room(why).into()
        })
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
        let Self { core, wait, seat, .. } = self;
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

/// The receiving end of [`Lanes`].
pub struct Consumer {
    merge: Merge,
    wait: Wait,
    seat: ConsumerSeat,
}

impl Consumer {
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
        loop {
            if let Some((found, seen_before)) = self.lend()? {
                return Ok(Loan { consumer: self, found, seen_before });
            }
            self.wait_for_message(deadline)?;
        }
    }

    fn something_there(&self) -> bool {
        self.merge.something_there(&self.seat.shared.memory)
    }

    /// Records that the next message is handed out, if there is one.
    #[inline]
    fn lend(&mut self) -> Result<Option<(Found, bool)>, AccessError> {
        let Self { merge, seat, .. } = self;
        let (shared, words) = (&seat.shared, &seat.shared.memory);
        if shared.guard.forked() {
            return Err(AccessError::Forked);
        }
        let space = |lane| shared.notify(words.producer_event(lane));
        let Some(found) = merge.next(words, space).map_err(|_| AccessError::Corrupt)? else {
            return Ok(None);
        };
        let seen_before = merge.hand_out(words, found);
        if seen_before {
            words.counters().count(Counter::Redelivered);
        }
        Ok(Some((found, seen_before)))
    }

    #[inline]
    fn wait_for_message(&self, deadline: Option<Instant>) -> Result<(), PopError> {
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
            self.merge.release(&shared.memory, found);
            shared.notify(shared.memory.producer_event(found.lane));
        }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("merge", &self.merge).finish_non_exhaustive()
    }
}

impl Sealed for Consumer {}

impl Sealed for Producer {}

/// Ready when there is room for a message as long as the one that was refused last (for an empty one, if
/// none was), or the consumer is gone.
impl Waitable for Producer {
    fn is_ready(&self) -> bool {
        self.seat.shared.guard.forked()
            || self.core.would_find(&self.seat.lane(), self.refused as u64)
            || algorithm::consumer(&self.seat.shared.memory) != Peer::Expected
    }

    fn examine(&self) {
        self.seat.examine();
    }

    fn bed(&self) -> Bed<'_> {
        Bed { inner: &self.seat.shared.inner, event: self.seat.event() }
    }
}

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
        let lane = self.consumer.seat.shared.memory.bytes(self.found.lane);
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

fn spec(name: &str, lanes: usize, capacity: usize) -> Result<ObjectSpec<'_>, ObjectError> {
    let problem = |problem| ObjectError::InvalidSize { count: lanes as u64, size: capacity as u64, problem };
    let count = u32::try_from(lanes)
        .ok()
        .filter(|_| (1..=MAX_LANES).contains(&lanes))
        .ok_or_else(|| problem("choose between 1 and 64 lanes"))?;
    let bytes = (capacity as u64)
        .checked_next_power_of_two()
        .filter(|&bytes| capacity > 0 && bytes <= MAX_CAPACITY)
        .ok_or_else(|| problem("choose a lane of 1 to 2^40 bytes"))?
        .max(64);
    let none = Parameter("", 0);
    Ok(ObjectSpec {
        name,
        kind: ObjectKind::Lanes,
        length: length(count.into(), bytes).ok_or_else(|| problem("it is too large"))?,
        fingerprint: 0,
        type_name: "byte lanes",
        item_size: 1,
        item_count: bytes,
        parameters: [Parameter("number of lanes", count), none, none, none],
    })
}

/// Nobody there, nothing sent.
fn initialise(memory: &Memory, object: &Object) {
    // Relaxed: nobody else can reach the object before it is READY.
    let zero = |from: u64, to: u64| {
        for offset in (from..to).step_by(8) {
            memory.word64(object.offset + offset).store(0, Ordering::Relaxed);
        }
    };
    zero(0, LANES);
    let stride = stride(object.item_count).expect("a capacity that was checked");
    for number in 0..u64::from(object.parameters[0]) {
        let start = LANES + number * stride;
        // With the first header, which says "nothing".
        zero(start, start + lane::DATA + STAMP);
    }
}

/// Takes `dead` out of its lanes and the consumer's role.
pub(crate) fn sweep(memory: &Memory, object: &Object, dead: Owner) {
    if let Some(words) = Mapped::new(memory, object) {
        algorithm::sweep(&words, dead, wake_all);
    }
}

/// How often lanes that change under the eye are looked at anew.
const LOOKS: u32 = 8;

/// The state of the lanes, for people; `None` where it makes no sense.
pub(crate) fn state(region: &Region, info: &ObjectInfo) -> Option<SharedState> {
    let object = Object {
        kind: ObjectKind::Lanes,
        offset: info.offset,
        length: info.length,
        item_size: info.item_size,
        item_count: info.item_count,
        parameters: info.parameters,
    };
    let words = Mapped::new(&region.inner.memory, &object)?;
    // Relaxed: a picture of a moment that is over when it is seen.
    let end =
        |role, word: &AtomicU32| EndState { role, state: role_state(region, word.load(Ordering::Relaxed)) };
    let mut ends = vec![end("consumer", words.consumer())];
    ends.extend(words.producers().iter().map(|word| end("producer", word)));
    ends.retain(|end| end.state != RoleState::Never);
    let mut counts = words.counters().read();
    let mut queued = Some(0);
    for number in 0..words.lanes {
        let (tally, messages, bytes) = lane_state(&words, number);
        counts.received += tally.messages;
        counts.messages += tally.messages + messages.unwrap_or(0);
        counts.bytes += tally.bytes + bytes;
        queued = queued.zip(messages).map(|(sum, messages)| sum + messages);
    }
    let sleeping = (0..words.lanes)
        .filter(|&number| words.producer_event(number).load(Ordering::Relaxed) & SLEEPERS != 0)
        .count();
    let consumer_sleeps = words.consumer_event().load(Ordering::Relaxed) & SLEEPERS != 0;
    let used = words.used().load(Ordering::Relaxed).count_ones();
    let facts = vec![
        ("lanes", words.lanes.to_string()),
        ("bytes a lane", words.capacity.to_string()),
        ("lanes that were used", used.to_string()),
        ("producers asleep", sleeping.to_string()),
        ("consumer asleep", consumer_sleeps.to_string()),
    ];
    Some(SharedState { ends, counts: Some(counts), queued, facts })
}

/// What was released from a lane; and what is queued in it, messages (if that can be said) and bytes.
fn lane_state(words: &Mapped, number: usize) -> (algorithm::Tally, Option<u64>, u64) {
    let lane = words.bytes(number);
    // Acquire: headers and tallies are read afterwards.
    let head = || lane.head().load(Ordering::Acquire);
    let mut before = head();
    for _ in 0..LOOKS {
        let tally = algorithm::tally(words.tallies(number), before);
        let queued = records::queued(&lane, before);
        let after = head();
        // Headers before the consumer may be written over: only if it stands still the count is exact.
        if after == before {
            return (tally, queued.map(|(messages, _)| messages), queued.map_or(0, |(_, bytes)| bytes));
        }
        before = after;
    }
    (algorithm::tally(words.tallies(number), before), None, 0)
}
