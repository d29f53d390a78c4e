//! The ring of messages of any length: one producer, one consumer, both in whatever processes.
//!
//! ```
//! use allmende::{Region, bytes::Ring};
//! let region = Region::create().memfd("example")?;
//! let ring = Ring::open_or_create(&region, "lines", 1 << 16)?;
//! let (mut producer, mut consumer) = (ring.producer()?, ring.consumer()?);
//! producer.push(b"any length")?;
//! assert_eq!(&*consumer.receive()?, b"any length");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The algorithm and its picture are in `records`, the layout in [`crate::layout::spsc`]. What a
//! successor may see twice is as for [`super::spsc`]: what was lent out and not released.
//!
//! A claim or loan that is forgotten holds nothing: the next claim is the same room, the next loan the same message. An
//! end that is forgotten keeps its role until its process detaches or ends; there is no taking it from one that lives.

// As in `habit`.
#![allow(clippy::inline_always)]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::error::{PopError, PushError, RoleError, TryPopError, TryPushError};
use super::habit::{Habit, Stream};
use super::mapped_records::{MappedRecords, Places};
use super::records::{RecordConsumer, RecordProducer, Records, record_size};
use super::roles::{End, Peer, Role, initialise};
use super::short_copy;
use super::waiting::{self, Look, NoSpace};
use crate::Region;
use crate::atomic::Ordering;
use crate::layout::counters::Counter;
use crate::layout::spsc::{COUNTERS, DATA, HEAD, MAX_CAPACITY, MESSAGES, TAKEN, bytes_length};
use crate::region::{
    AccessError, Inner, Memory, NO_PARAMETERS, NamedError, Object, ObjectError, ObjectKind, ObjectSpec,
    region_of_its_own,
};
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// A message that no ring of this capacity can ever hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a message of {length} bytes is too large: this ring takes {max}; make it larger")]
pub struct TooLarge {
    /// Bytes of the message.
    pub length: usize,
    /// Bytes of the longest message that fits.
    pub max: usize,
}

/// Why a message was not sent at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// It never will be.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// No room now, or nobody to receive it.
    #[error(transparent)]
    Push(#[from] TryPushError<()>),
    /// Somebody has taken the lane away: see [`Lanes::revoke`](crate::Lanes::revoke).
    #[error("this producer's lane was revoked; drop the producer and take another")]
    Revoked,
}

/// Why a message was not sent, having waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// It never will be.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// No room in time, or nobody to receive it.
    #[error(transparent)]
    Push(#[from] PushError<()>),
    /// Somebody has taken the lane away: see [`Lanes::revoke`](crate::Lanes::revoke).
    #[error("this producer's lane was revoked; drop the producer and take another")]
    Revoked,
}

/// A ring of variable-length messages in a region.
#[derive(Debug)]
pub struct Ring {
    inner: Arc<Inner>,
    object: Object,
    memory: Bytes,
}

impl Ring {
    /// The ring of that name in `region`, made with `capacity` bytes (rounded up to a power of two)
    /// where there is none. A message takes its length, rounded up to 8, and 8 bytes more; the longest
    /// has half the capacity less 8.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(region: &Region, name: &str, capacity: usize) -> Result<Self, ObjectError> {
        let object = region.inner.open_or_create_object(&spec(name, capacity)?, initialise_bytes)?;
        Self::at(region, object)
    }

    /// The ring of that name in the user's namespace, in a region of its own; made with `capacity` bytes where
    /// there is none. Whoever of this user asks for the same name gets the same ring.
    ///
    /// ```
    /// use allmende::bytes::Ring;
    /// # let name = format!("doc-bytes-{}", std::process::id());
    /// # let name = name.as_str();
    /// let mut producer = Ring::named(name, 1 << 16)?.producer()?;
    /// producer.push(b"hello")?;
    /// assert_eq!(&*Ring::named(name, 1 << 16)?.consumer()?.receive()?, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`NamedError`].
    pub fn named(name: &str, capacity: usize) -> Result<Self, NamedError> {
        let region = region_of_its_own(&spec(name, capacity)?)?;
        Ok(Self::open_or_create(&region, name, capacity)?)
    }

    /// A new ring; there must be none of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str, capacity: usize) -> Result<Self, ObjectError> {
        let object = region.inner.create_object(&spec(name, capacity)?, initialise_bytes)?;
        Self::at(region, object)
    }

    /// The ring of that name, which must be there, whatever its capacity.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let object = region.inner.open_object(&ObjectSpec { item_count: 0, ..spec(name, 64)? })?;
        Self::at(region, object)
    }

    fn at(region: &Region, object: Object) -> Result<Self, ObjectError> {
        let inner = region.inner.clone();
        let memory = mapped(&inner.memory, &object).ok_or(AccessError::Corrupt)?;
        Ok(Self { inner, object, memory })
    }

    /// Bytes of the ring.
    pub fn capacity(&self) -> u64 {
        self.memory.capacity()
    }

    /// Bytes of the longest message.
    pub fn max_message(&self) -> usize {
        self.memory.longest()
    }

    /// Takes the producer's role; if its last holder died, goes on where that one stopped.
    ///
    /// # Errors
    /// [`RoleError::Taken`] while somebody alive has it.
    pub fn producer(&self) -> Result<Producer, RoleError> {
        let role = Role::take(&self.inner, self.object, End::Producer)?;
        let core = RecordProducer::resume(&self.memory).ok_or(AccessError::Corrupt)?;
        Ok(Producer {
            core,
            memory: self.memory,
            role,
            wait: Wait::default(),
            consumer_gone: false,
            refused: 0,
        })
    }

    /// Takes the consumer's role; if its last holder died, goes on where that one stopped.
    ///
    /// # Errors
    /// [`RoleError::Taken`] while somebody alive has it.
    pub fn consumer(&self) -> Result<Consumer, RoleError> {
        let role = Role::take(&self.inner, self.object, End::Consumer)?;
        let core = RecordConsumer::resume(&self.memory).ok_or(AccessError::Corrupt)?;
        role.counters().add(Counter::Redelivered, core.redelivered(&self.memory));
        let stream = Stream::new(self.memory.capacity() / 64, self.memory.capacity());
        Ok(Consumer { core, memory: self.memory, role, wait: Wait::default(), stream })
    }
}

/// Messages that the producer counts,
const SENT: usize = 0;
/// and those that the consumer does.
const RELEASED: usize = 1;

/// Lines this many bytes ahead are taken from the producer: see [`Habit::Ahead`].
pub(crate) const AHEAD: u64 = 2048;
/// For longer messages that is not worth it.
pub(crate) const LARGEST_TAKEN: u64 = 256;

/// The mapped words and bytes of a ring. Valid as long as the `Inner` that lies beside it.
type Bytes = MappedRecords<Layout>;

/// Where its words lie: see [`crate::layout::spsc`].
#[derive(Debug)]
struct Layout;

impl Places for Layout {
    const HEAD: u64 = HEAD;
    const RELEASED: u64 = crate::layout::spsc::RELEASED;
    const TAKEN: u64 = TAKEN;
    const HIGH_WATER: Option<u64> = Some(COUNTERS + 8 * Counter::HighWater as u64);
    const DATA: u64 = DATA;
}

/// `None` when the object is too short for what its directory entry says.
fn mapped(memory: &Memory, object: &Object) -> Option<Bytes> {
    let needed = bytes_length(object.item_count)?;
    if needed > object.length {
        return None;
    }
    let base = memory.pointer(object.offset, needed, crate::layout::OBJECT_ALIGN)?;
    // SAFETY: `pointer` answers for so many bytes, which are those of a ring of this capacity, a power of two.
    Some(unsafe { Bytes::new(base, object.item_count) })
}

/// Adds to the messages [`SENT`] or [`RELEASED`], which one end alone counts.
#[inline]
fn count_message(memory: &Bytes, which: usize, messages: u64) {
    let word = memory.word(MESSAGES[which]);
    // Relaxed, both: a figure for people.
    word.store(word.load(Ordering::Relaxed).wrapping_add(messages), Ordering::Relaxed);
}

/// The sending end of a [`Ring`].
pub struct Producer {
    core: RecordProducer,
    memory: Bytes,
    wait: Wait,
    /// The consumer was seen to be gone: ask again before each claim until there is a successor.
    consumer_gone: bool,
    /// The length for which there was no room when it was asked for last.
    refused: u64,
    role: Role,
}

impl Producer {
    /// How this end waits while the ring is full (default: [`Wait::Adaptive`]).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Bytes of the longest message.
    pub fn max_message(&self) -> usize {
        self.memory.longest()
    }

    /// Sends a copy of `message`, if there is room.
    ///
    /// # Errors
    /// See [`TrySendError`].
    #[inline(always)]
    pub fn try_push(&mut self, message: &[u8]) -> Result<(), TrySendError> {
        let mut claim = self.try_claim(message.len())?;
        short_copy::copy_in(message, &mut claim);
        claim.commit();
        Ok(())
    }

    /// Sends a copy of `message`, waiting for room as long as it takes.
    ///
    /// # Errors
    /// See [`SendError`].
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
        let mut claim = self.claim_until(message.len(), deadline)?;
        short_copy::copy_in(message, &mut claim);
        claim.commit();
        Ok(())
    }

    /// Sends as many of `messages` as fit now, and says how many that were. One look for sleepers
    /// serves for all.
    ///
    /// # Errors
    /// See [`TrySendError`], when none could be sent for another reason than a full ring.
    pub fn push_all(&mut self, messages: &[&[u8]]) -> Result<usize, TrySendError> {
        let mut sent = 0;
        for message in messages {
            match self.find_room(message.len()) {
                Ok(()) => {
                    self.record(message.len()).copy_from_slice(message);
                    self.core.commit(&self.memory, message.len() as u64);
                    count_message(&self.memory, SENT, 1);
                    sent += 1;
                }
                Err(TrySendError::Push(TryPushError::Full(()))) => break,
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
        }
        if sent > 0 {
            self.look_for_sleepers();
        }
        Ok(sent)
    }

    /// Claims room for a message of `length` bytes, to be written in place. Dropped without
    /// [`Claim::commit`], nothing is sent. What it holds at first are bytes of earlier messages.
    ///
    /// # Errors
    /// See [`TrySendError`].
    #[inline(always)]
    pub fn try_claim(&mut self, length: usize) -> Result<Claim<'_>, TrySendError> {
        self.find_room(length)?;
        Ok(Claim { length, producer: self })
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
    fn check_length(&self, length: usize) -> Result<(), TooLarge> {
        let max = self.memory.longest();
        if length <= max { Ok(()) } else { Err(TooLarge { length, max }) }
    }

    #[inline(always)]
    fn claim_until(&mut self, length: usize, deadline: Option<Instant>) -> Result<Claim<'_>, SendError> {
        self.check_length(length)?;
        if !self.room_at_hand(length) {
            self.wait_for_room(length, deadline)?;
        }
        Ok(Claim { length, producer: self })
    }

    /// Makes room for a message at the core's position.
    #[inline(always)]
    fn find_room(&mut self, length: usize) -> Result<(), TrySendError> {
        self.check_length(length)?;
        if self.room_at_hand(length) { Ok(()) } else { self.look_for_room(length).map_err(Into::into) }
    }

    /// Whether there is known to be room, and this process may use it.
    #[inline(always)]
    fn room_at_hand(&self, length: usize) -> bool {
        !self.role.forked() && !self.consumer_gone && self.core.room_at_hand(length as u64)
    }

    /// Says that the consumer is gone, once that was noticed, until a successor is there.
    fn check_consumer(&mut self) -> Result<(), NoSpace> {
        if self.role.forked() {
            return Err(NoSpace::Access(AccessError::Forked));
        }
        if self.consumer_gone {
            if let Some(gone) = waiting::consumer_gone(&self.role) {
                return Err(gone);
            }
            self.consumer_gone = false;
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn look_for_room(&mut self, length: usize) -> Result<(), TryPushError<()>> {
        self.check_consumer().map_err(|gone| gone.try_push(()))?;
        match self.core.claim(&self.memory, length as u64) {
            Ok(_) => Ok(()),
            Err(no_slot) => {
                self.refused = length as u64;
                Err(waiting::why_no_space(&self.role, no_slot).try_push(()))
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn wait_for_room(&mut self, length: usize, deadline: Option<Instant>) -> Result<(), PushError<()>> {
        self.check_consumer().map_err(|gone| gone.push(()))?;
        let Self { core, memory, wait, role, .. } = self;
        waiting::for_space(role, *wait, deadline, |look| match look {
            Look::Exact => core.claim(memory, length as u64),
            Look::Cheap => core.claim_published(memory, length as u64),
        })
        .map(|_| ())
        .map_err(|no_space| no_space.push(()))
    }

    /// The record at the core's position, for which there is room.
    #[inline(always)]
    fn record(&mut self, length: usize) -> &mut [u8] {
        let position = self.core.position();
        // SAFETY: `claim` gave this producer the record, which nobody reads before its header; the
        // borrow of `self` keeps it the only one in this process.
        unsafe { self.memory.message((position, length as u64)).as_mut() }
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
        }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("position", &self.core.position()).finish_non_exhaustive()
    }
}

/// A message that is being written in place. Nothing is sent unless it is [committed](Self::commit).
#[must_use = "a claim that is dropped sends nothing"]
pub struct Claim<'a> {
    producer: &'a mut Producer,
    length: usize,
}

impl Claim<'_> {
    /// Sends what was written. In a forked child this does nothing: the claim is the parent's.
    #[inline(always)]
    pub fn commit(self) {
        if !self.producer.role.forked() {
            self.producer.core.commit(&self.producer.memory, self.length as u64);
            count_message(&self.producer.memory, SENT, 1);
            self.producer.look_for_sleepers();
        }
    }

    /// Sends only the first `length` bytes (or all, if there are fewer).
    #[inline(always)]
    pub fn commit_prefix(mut self, length: usize) {
        self.length = self.length.min(length);
        self.commit();
    }
}

impl Deref for Claim<'_> {
    type Target = [u8];
    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: the claim has the record to itself until it is committed.
        unsafe { self.producer.memory.message((self.producer.core.position(), self.length as u64)).as_ref() }
    }
}

impl DerefMut for Claim<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.producer.record(self.length)
    }
}

/// The receiving end of a [`Ring`].
pub struct Consumer {
    core: RecordConsumer,
    memory: Bytes,
    wait: Wait,
    stream: Stream,
    role: Role,
}

impl Consumer {
    /// How this end waits while the ring is empty (default: [`Wait::Adaptive`]).
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
    /// See [`PopError`]: all that was sent is received before it is said that the producer is gone.
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

    /// Lends up to `most` messages out together, waiting for the first as long as it takes. Dropping
    /// the batch releases all of them.
    ///
    /// # Errors
    /// See [`PopError`].
    pub fn receive_batch(&mut self, most: usize) -> Result<Batch<'_>, PopError> {
        let length = match self.at_hand() {
            Some(length) => length,
            None => self.wait(None)?,
        };
        let mut last = (self.core.position(), length);
        let mut messages = vec![last];
        while messages.len() < most {
            match self.core.following(&self.memory, last).map_err(|_| AccessError::Corrupt)? {
                Some(next) => last = next,
                None => break,
            }
            messages.push(last);
        }
        self.core.hand_out(&self.memory, last);
        Ok(Batch { messages, consumer: self })
    }

    /// Whether a header is there; it may yet be padding, or nonsense.
    #[inline]
    fn something_there(&self) -> bool {
        self.memory.header(self.core.position()).load(Ordering::Acquire) != 0
    }

    /// Bytes of the next message, if it is there, and this process may take it.
    #[inline(always)]
    fn at_hand(&mut self) -> Option<u64> {
        if self.role.forked() { None } else { self.core.whole_at_hand(&self.memory) }
    }

    /// The same, behind padding; `None` when only that was there.
    fn find(&mut self) -> Result<Option<u64>, AccessError> {
        let before = self.core.position();
        let next = self.core.next(&self.memory).map_err(|_| AccessError::Corrupt)?;
        if self.core.position() != before {
            // Padding was released, for which the producer may be waiting.
            self.role.notify_peer();
        }
        Ok(next.map(|(_, length)| length))
    }

    #[cold]
    #[inline(never)]
    fn look(&mut self) -> Result<u64, TryPopError> {
        if self.role.forked() {
            return Err(AccessError::Forked.into());
        }
        if !self.something_there() {
            self.stream.found_empty();
            self.core.publish(&self.memory);
            if let Some(error) = waiting::why_no_message(&self.role, || self.something_there()) {
                return Err(error);
            }
        }
        self.find()?.ok_or(TryPopError::Empty)
    }

    #[cold]
    #[inline(never)]
    fn wait(&mut self, deadline: Option<Instant>) -> Result<u64, PopError> {
        if self.role.forked() {
            return Err(AccessError::Forked.into());
        }
        loop {
            if !self.something_there() {
                let pauses = self.stream.found_empty();
                self.core.publish(&self.memory);
                waiting::for_message(&self.role, self.wait, deadline, pauses, || self.something_there())?;
            }
            // What was there may have been padding alone, which is behind us now.
            if let Some(length) = self.find()? {
                return Ok(length);
            }
        }
    }

    /// Lends the next message out, of so many bytes.
    #[inline(always)]
    fn lend(&mut self, length: u64) -> Loan<'_> {
        let position = self.core.position();
        if length <= LARGEST_TAKEN && self.stream.received() == Habit::Ahead {
            self.memory.take_lines(position + AHEAD, record_size(length));
        }
        self.core.hand_out(&self.memory, (position, length));
        Loan { length, consumer: self }
    }

    #[inline(always)]
    fn release(&mut self, message: (u64, u64), messages: u64) {
        if self.role.forked() {
            return;
        }
        if messages == 1 && message.1 <= LARGEST_TAKEN && self.stream.habit() == Habit::Behind {
            self.memory.drop_lines(message.0, record_size(message.1));
        }
        self.core.release(&self.memory, message);
        count_message(&self.memory, RELEASED, messages);
        self.role.notify_peer();
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("position", &self.core.position()).finish_non_exhaustive()
    }
}

/// A message, lent out where it lies. Dropping it releases it.
pub struct Loan<'a> {
    consumer: &'a mut Consumer,
    length: u64,
}

impl Loan<'_> {
    /// Whether a consumer that died may have had it already.
    pub fn seen_before(&self) -> bool {
        self.consumer.core.seen_before(self.consumer.core.position())
    }

    #[inline(always)]
    fn message(&self) -> (u64, u64) {
        (self.consumer.core.position(), self.length)
    }

    /// Replaces what is in `into` by a copy, and releases it.
    #[inline(always)]
    fn move_into(self, into: &mut Vec<u8>) {
        // Dropping it would be a call.
        let mut loan = ManuallyDrop::new(self);
        short_copy::replace(into, &loan);
        let message = loan.message();
        loan.consumer.release(message, 1);
    }
}

impl Deref for Loan<'_> {
    type Target = [u8];
    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: the header (Acquire) said that the bytes are there; the producer does not write
        // there before the release, which takes the loan's end.
        unsafe { self.consumer.memory.message(self.message()).as_ref() }
    }
}

impl Drop for Loan<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.consumer.release(self.message(), 1);
    }
}

/// Messages lent out together. Dropping them releases all at once.
pub struct Batch<'a> {
    consumer: &'a mut Consumer,
    /// At least one.
    messages: Vec<(u64, u64)>,
}

impl Batch<'_> {
    /// How many messages there are: at least one.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// The messages in order, where they lie.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        let memory = &self.consumer.memory;
        // SAFETY: as for `Loan`: all of these had their headers, and are released with the batch.
        self.messages.iter().map(|&message| unsafe { memory.message(message).as_ref() })
    }

    /// How many messages from the front a consumer that died may have had already.
    pub fn seen_before(&self) -> usize {
        self.messages.iter().take_while(|message| self.consumer.core.seen_before(message.0)).count()
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if let Some(&last) = self.messages.last() {
            self.consumer.release(last, self.messages.len() as u64);
        }
    }
}

fn spec(name: &str, capacity: usize) -> Result<ObjectSpec<'_>, ObjectError> {
    let problem = |problem| ObjectError::InvalidSize { count: capacity as u64, size: 1, problem };
    let capacity = (capacity as u64)
        .checked_next_power_of_two()
        .filter(|&bytes| capacity > 0 && bytes <= MAX_CAPACITY)
        .ok_or_else(|| problem("choose a capacity between 1 and 2^40"))?
        .max(64);
    Ok(ObjectSpec {
        name,
        kind: ObjectKind::Bytes,
        length: bytes_length(capacity).ok_or_else(|| problem("it is too large"))?,
        fingerprint: 0,
        type_name: "a ring of bytes",
        item_size: 1,
        item_count: capacity,
        parameters: NO_PARAMETERS,
    })
}

fn initialise_bytes(memory: &Memory, object: &Object) {
    initialise(memory, object);
    // Relaxed: nobody else can reach the object before it is READY. The first header says "nothing".
    memory.word64(object.offset + DATA).store(0, Ordering::Relaxed);
}

impl Sealed for Producer {}

/// Ready when there is room for a message as long as the one that was refused last (for an empty one, if
/// none was), or the consumer is gone.
impl Waitable for Producer {
    fn is_ready(&self) -> bool {
        self.role.forked()
            || self.core.would_find(&self.memory, self.refused)
            || self.role.peer() != Peer::Expected
    }

    fn examine(&self) {
        self.role.examine_peer();
    }

    fn bed(&self) -> Bed<'_> {
        Bed { inner: self.role.shared_inner(), event: self.role.own_event().0 }
    }
}

impl Sealed for Consumer {}

impl Waitable for Consumer {
    fn is_ready(&self) -> bool {
        self.role.forked() || self.core.next_is_there(&self.memory) || self.role.peer() != Peer::Expected
    }

    fn examine(&self) {
        self.role.examine_peer();
    }

    fn bed(&self) -> Bed<'_> {
        Bed { inner: self.role.shared_inner(), event: self.role.own_event().0 }
    }
}
