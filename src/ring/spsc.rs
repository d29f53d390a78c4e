//! The ring of typed slots: one producer, one consumer, both in whatever processes.
//!
//! ```
//! use allmende::{Region, spsc::Ring};
//! let region = Region::create().memfd("example")?;
//! let ring = Ring::<u64>::open_or_create(&region, "numbers", 1024)?;
//! let (mut producer, mut consumer) = (ring.producer()?, ring.consumer()?);
//! producer.push(7)?;
//! assert_eq!(consumer.pop()?, 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The algorithm and its picture are in `core`, the layout in [`crate::layout::spsc`].
//!
//! # What a successor may see twice
//!
//! A message is consumed when it is *released*. [`Consumer::pop`] copies it out and releases it at
//! once: a consumer killed after that has lost its own copy, and nothing is delivered twice.
//! [`Consumer::receive`] and [`Consumer::receive_batch`] lend it out and release it when the loan is
//! dropped: if the consumer is killed in between, its successor gets the message, or the batch,
//! again, and [`Loan::seen_before`] says so.
//!
//! # What can be leaked
//!
//! A claim or loan that is forgotten holds nothing: the next claim is the same slot, and the next loan the same message.
//! An end that is forgotten keeps its role until its process detaches or ends: there is no taking it from one that
//! lives, since nobody could tell when it has stopped writing or reading. Where an operator must be able to send a
//! producer away, use [`Lanes`](crate::Lanes::revoke).

// The compiler thinks these too large to inline; out of line they cost a copy of the message and more, as
// measured (`docs/measurements.md`).
#![allow(clippy::inline_always)]

use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache;
use super::core::{Backing, Consuming, MAX_RUN, Producing};
use super::counters::raise;
use super::error::{PopError, PushError, RoleError, TryPopError, TryPushError};
use super::habit::{Habit, Stream};
use super::line_order::write_first_line_last;
use super::roles::{End, Peer, Role, initialise};
use super::waiting::{self, Look, NoSpace};
use crate::Region;
use crate::atomic::{AtomicU64, Ordering};
use crate::layout::counters::Counter;
use crate::layout::spsc::{
    COUNTERS, DATA, HEAD, MAX_ALIGN, MAX_CAPACITY, RELEASED, TAKEN, payload_offset, slot_stride,
};
use crate::payload::Payload;
use crate::region::{
    AccessError, Inner, Memory, NO_PARAMETERS, NamedError, Object, ObjectError, ObjectKind, ObjectSpec,
    region_of_its_own,
};
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// A ring of slots of type `T` in a region; take its [producer](Self::producer) or
/// [consumer](Self::consumer) to use it.
pub struct Ring<T> {
    inner: Arc<Inner>,
    object: Object,
    slots: Slots<T>,
}

impl<T: Payload> Ring<T> {
    /// The ring of that name in `region`, made with room for `capacity` messages (rounded up to a
    /// power of two) where there is none.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(region: &Region, name: &str, capacity: usize) -> Result<Self, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let spec = spec::<T>(name, &type_name, capacity)?;
        let object = region.inner.open_or_create_object(&spec, initialise_slots::<T>)?;
        Self::at(region, object)
    }

    /// The ring of that name in the user's namespace, in a region of its own; made with room for `capacity` messages where
    /// there is none. Whoever of this user asks for the same name gets the same ring.
    ///
    /// ```
    /// use allmende::spsc::Ring;
    /// # let name = format!("doc-slots-{}", std::process::id());
    /// # let name = name.as_str();
    /// let mut producer = Ring::<u64>::named(name, 64)?.producer()?;
    /// producer.push(7)?;
    /// assert_eq!(Ring::<u64>::named(name, 64)?.consumer()?.pop()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`NamedError`].
    pub fn named(name: &str, capacity: usize) -> Result<Self, NamedError> {
        let type_name = T::SCHEMA.to_string();
        let region = region_of_its_own(&spec::<T>(name, &type_name, capacity)?)?;
        Ok(Self::open_or_create(&region, name, capacity)?)
    }

    /// A new ring; there must be none of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str, capacity: usize) -> Result<Self, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let spec = spec::<T>(name, &type_name, capacity)?;
        let object = region.inner.create_object(&spec, initialise_slots::<T>)?;
        Self::at(region, object)
    }

    /// The ring of that name, which must be there, whatever its capacity.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let any = ObjectSpec { item_count: 0, ..spec::<T>(name, &type_name, 1)? };
        let object = region.inner.open_object(&any)?;
        Self::at(region, object)
    }

    fn at(region: &Region, object: Object) -> Result<Self, ObjectError> {
        let inner = region.inner.clone();
        let slots = Slots::new(&inner.memory, &object).ok_or(AccessError::Corrupt)?;
        Ok(Self { inner, object, slots })
    }

    /// How many messages fit.
    pub fn capacity(&self) -> u64 {
        self.slots.capacity()
    }

    /// Takes the producer's role; if its last holder died, goes on where that one stopped.
    ///
    /// # Errors
    /// [`RoleError::Taken`] while somebody alive has it.
    pub fn producer(&self) -> Result<Producer<T>, RoleError> {
        let role = Role::take(&self.inner, self.object, End::Producer)?;
        let core = Producing::resume(&self.slots).ok_or(AccessError::Corrupt)?;
        Ok(Producer { core, slots: self.slots, role, wait: Wait::default(), consumer_gone: false })
    }

    /// Takes the consumer's role; if its last holder died, goes on where that one stopped.
    ///
    /// # Errors
    /// [`RoleError::Taken`] while somebody alive has it.
    pub fn consumer(&self) -> Result<Consumer<T>, RoleError> {
        let role = Role::take(&self.inner, self.object, End::Consumer)?;
        let core = Consuming::resume(&self.slots).ok_or(AccessError::Corrupt)?;
        role.counters().add(Counter::Redelivered, core.redelivered());
        let capacity = self.slots.capacity();
        let stream = Stream::new(capacity, capacity * Slots::<T>::STRIDE);
        Ok(Consumer { core, slots: self.slots, role, wait: Wait::default(), stream })
    }
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("object", &self.object).finish_non_exhaustive()
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// How many messages of a slice are shown to the consumer together.
const RUN: usize = 128;
/// In a stream, a consumer that takes lines from the producer takes those of the slot so far ahead.
const AHEAD: u64 = 16;
/// Larger slots are not worth it: most of their lines would have to be moved anyway.
const LARGEST_TAKEN: u64 = 256;

/// The mapped words and slots of a ring. Valid as long as the `Inner` that lies beside it.
struct Slots<T> {
    /// The object's first byte.
    base: NonNull<u8>,
    mask: u64,
    _payload: PhantomData<T>,
}

impl<T> Clone for Slots<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Slots<T> {}

// SAFETY: a pointer to shared words and to slots whose payloads (`Payload`) have no ties to a thread;
// whoever reads or writes a slot has claimed it by the protocol.
unsafe impl<T: Payload> Send for Slots<T> {}
// SAFETY: as above; through a shared reference only atomics are reached.
unsafe impl<T: Payload> Sync for Slots<T> {}

impl<T> Slots<T> {
    const STRIDE: u64 = slot_stride(size_of::<T>() as u64, align_of::<T>()).expect("types are of sane sizes");

    /// Cache lines of a slot.
    #[allow(clippy::cast_possible_truncation)]
    const LINES: usize = Self::STRIDE as usize / LINE;
    /// How many bytes of a payload lie in the line of its stamp.
    #[allow(clippy::cast_possible_truncation)]
    const IN_FIRST_LINE: usize = LINE.saturating_sub(payload_offset(align_of::<T>()) as usize);

    /// `None` when the object is too short for what its directory entry says.
    fn new(memory: &Memory, object: &Object) -> Option<Self> {
        let capacity = object.item_count;
        if !capacity.is_power_of_two() || capacity > MAX_CAPACITY {
            return None;
        }
        let needed = Self::length(capacity)?;
        if needed > object.length {
            return None;
        }
        let base = memory.pointer(object.offset, needed, MAX_ALIGN as u64)?;
        Some(Self { base, mask: capacity - 1, _payload: PhantomData })
    }

    fn length(capacity: u64) -> Option<u64> {
        DATA.checked_add(Self::STRIDE.checked_mul(capacity)?)
    }

    #[inline]
    fn word(&self, offset: u64) -> &AtomicU64 {
        // SAFETY: `new` checked that the object has DATA and all slots; `offset` is that of a word
        // in its head or of a stamp, so in bounds; base and offsets are multiples of 8. The mapping
        // lives as long as the `Inner` beside this. All reach these words as atomics of this width.
        #[allow(clippy::cast_possible_truncation)]
        unsafe {
            self.base.add(offset as usize).cast::<AtomicU64>().as_ref()
        }
    }

    /// Asks for the slot's second line, if it has one: to be said with every look at the stamp, so that
    /// both lines travel at once.
    #[inline(always)]
    fn will_read(&self, position: u64) {
        if Self::LINES > 1 {
            cache::will_read(self.slot(position).wrapping_add(LINE));
        }
    }

    /// Takes the lines of a slot from the producer: see [`Habit::Ahead`].
    #[inline(always)]
    fn take_lines(&self, position: u64) {
        for line in 0..Self::LINES {
            cache::take_line(self.slot(position).wrapping_add(line * LINE));
        }
    }

    /// Throws the lines of a slot out of the caches: see [`Habit::Behind`].
    #[inline(always)]
    fn drop_lines(&self, position: u64) {
        for line in 0..Self::LINES {
            cache::drop_line(self.slot(position).wrapping_add(line * LINE));
        }
    }

    /// A slot's first byte.
    #[inline]
    fn slot(&self, position: u64) -> *const u8 {
        self.stamp(position).as_ptr().cast_const().cast()
    }

    /// Where the payload of `position` lies.
    #[inline]
    fn payload(&self, position: u64) -> NonNull<T> {
        let offset = DATA + (position & self.mask) * Self::STRIDE + payload_offset(align_of::<T>());
        // SAFETY: the masked position is below the capacity, so the slot lies in the object (see
        // `new`). The object starts at a multiple of 128, DATA and STRIDE are multiples of 64 and
        // the payload's offset is one of its alignment: so the address is aligned.
        #[allow(clippy::cast_possible_truncation)]
        unsafe {
            self.base.add(offset as usize).cast::<T>()
        }
    }
}

impl<T> Backing for Slots<T> {
    #[inline]
    fn capacity(&self) -> u64 {
        self.mask + 1
    }
    #[inline]
    fn stamp(&self, position: u64) -> &AtomicU64 {
        self.word(DATA + (position & self.mask) * Self::STRIDE)
    }
    #[inline]
    fn head(&self) -> &AtomicU64 {
        self.word(HEAD)
    }
    #[inline]
    fn released(&self) -> &AtomicU64 {
        self.word(RELEASED)
    }
    #[inline]
    fn taken(&self) -> &AtomicU64 {
        self.word(TAKEN)
    }
    fn note_used(&self, used: u64) {
        raise(self.word(COUNTERS + 8 * Counter::HighWater as u64), used);
    }
}

/// The sending end of a [`Ring`].
pub struct Producer<T: Payload> {
    core: Producing,
    slots: Slots<T>,
    wait: Wait,
    /// The consumer was seen to be gone: ask again before each claim until there is a successor.
    consumer_gone: bool,
    role: Role,
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

/// The receiving end of a [`Ring`].
pub struct Consumer<T: Payload> {
    core: Consuming,
    slots: Slots<T>,
    wait: Wait,
    stream: Stream,
    role: Role,
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

fn spec<'a, T: Payload>(
    name: &'a str,
    type_name: &'a str,
    capacity: usize,
) -> Result<ObjectSpec<'a>, ObjectError> {
    let size = size_of::<T>() as u64;
    let problem = |problem| ObjectError::InvalidSize { count: capacity as u64, size, problem };
    if align_of::<T>() > MAX_ALIGN {
        return Err(problem("its alignment is above 64"));
    }
    let slots = (capacity as u64)
        .checked_next_power_of_two()
        .filter(|&slots| capacity > 0 && slots <= MAX_CAPACITY)
        .ok_or_else(|| problem("choose a capacity between 1 and 2^40"))?;
    Ok(ObjectSpec {
        name,
        kind: ObjectKind::Spsc,
        length: Slots::<T>::length(slots).ok_or_else(|| problem("it is too large"))?,
        fingerprint: T::FINGERPRINT,
        type_name,
        item_size: size,
        item_count: slots,
        parameters: NO_PARAMETERS,
    })
}

fn initialise_slots<T: Payload>(memory: &Memory, object: &Object) {
    initialise(memory, object);
    let slots = Slots::<T>::new(memory, object).expect("the object was made long enough");
    for position in 0..slots.capacity() {
        // Relaxed: nobody else can reach the object before it is READY. 0 is no position's stamp.
        slots.stamp(position).store(0, Ordering::Relaxed);
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
