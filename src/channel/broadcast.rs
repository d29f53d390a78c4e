//! The broadcast: small messages from one producer to any number of readers, none of whom can hold it up.
//!
//! ```
//! use allmende::{Broadcast, Region};
//! let region = Region::create().memfd("example")?;
//! let prices = Broadcast::<[u32; 2]>::open_or_create(&region, "prices", 1024)?;
//! let (mut producer, mut reader) = (prices.producer()?, prices.reader()?);
//! producer.push([7, 1995])?;
//! assert_eq!(reader.receive()?, [7, 1995]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The algorithm, its picture and its source are in `ring/broadcast.rs`, the layout in
//! [`crate::layout::broadcast`].
//!
//! # Promises
//!
//! * The producer never waits, whatever its readers do: slow, stopped or dead, they cost it nothing.
//! * A reader gets whole messages only, in the order in which they were sent, each at most once. One that is
//!   slower than the producer by a capacity loses messages, and is told exactly how many
//!   ([`TryReceiveError::Missed`]); the last capacity of them, less an eighth, is still to be had.
//! * Readers take no place in the region: there may be any number, and those with a read-only attachment read as
//!   well (but cannot park).
//! * A producer killed at whatever instruction has sent what it had finished, and nothing of what it had not; its
//!   successor goes on behind it.
//!
//! Where no message may be lost, or messages are large, use a [topic](super::topic); where only the last one
//! counts, a [cell](super::cell).

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::Region;
use crate::atomic::{AtomicU32, AtomicU64, Ordering, spin_hint};
use crate::inspect::{EndState, SharedState, role_state};
use crate::layout::broadcast::{
    COUNTERS, MAX_CAPACITY, PRODUCER, READERS_EVENT, SLOTS, STAMP, TAIL, length, stride,
};
use crate::layout::counters::Counter;
use crate::layout::owner::Owner;
use crate::layout::spsc::role;
use crate::os::fork_guard::ForkGuard;
use crate::payload::Payload;
use crate::region::{
    AccessError, Inner, Liveness, Memory, NO_PARAMETERS, NamedError, Object, ObjectError, ObjectKind,
    ObjectSpec, region_of_its_own,
};
pub use crate::ring::broadcast::Start;
use crate::ring::broadcast::{Backing, Nothing, Reading, Sending};
use crate::ring::cache;
use crate::ring::counters::Counts;
use crate::ring::error::RoleError;
use crate::ring::role_words::{self, End, EndWords, NotTaken, Peer};
use crate::ring::waiting::{first_looks, over};
use crate::sync::eventcount::{AfterSlice, EventCount};
use crate::sync::platform::light_barrier;
use crate::sync::wait::Wait;
use crate::sync::waitable::{Bed, Waitable, private::Sealed};

/// Messages of type `T` in a region, from one producer to all who read; take the [producer](Self::producer) or
/// become a [reader](Self::reader).
pub struct Broadcast<T> {
    inner: Arc<Inner>,
    object: Object,
    slots: Slots<T>,
}

impl<T: Payload> Broadcast<T> {
    /// The broadcast of that name in `region`, made where there is none. It keeps the last `capacity` messages
    /// (rounded up to a power of two).
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(region: &Region, name: &str, capacity: usize) -> Result<Self, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let spec = spec::<T>(name, &type_name, capacity)?;
        Self::at(region, region.inner.open_or_create_object(&spec, initialise::<T>)?)
    }

    /// The broadcast of that name in the user's namespace, in a region of its own; made with room for `capacity`
    /// messages where there is none. Whoever of this user asks for the same name gets the same broadcast.
    ///
    /// ```
    /// use allmende::{Broadcast, channel::broadcast::Start};
    /// # let name = format!("doc-broadcast-{}", std::process::id());
    /// # let name = name.as_str();
    /// let mut producer = Broadcast::<u64>::named(name, 64)?.producer()?;
    /// producer.push(7)?;
    /// assert_eq!(Broadcast::<u64>::named(name, 64)?.reader_from(Start::Newest)?.receive()?, 7);
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

    /// A new broadcast; there must be none of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str, capacity: usize) -> Result<Self, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let spec = spec::<T>(name, &type_name, capacity)?;
        Self::at(region, region.inner.create_object(&spec, initialise::<T>)?)
    }

    /// The broadcast of that name, which must be there, whatever its capacity.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let any = ObjectSpec { item_count: 0, ..spec::<T>(name, &type_name, 1)? };
        Self::at(region, region.inner.open_object(&any)?)
    }

    fn at(region: &Region, object: Object) -> Result<Self, ObjectError> {
        let inner = region.inner.clone();
        let slots = Slots::new(&inner.memory, &object).ok_or(AccessError::Corrupt)?;
        Ok(Self { inner, object, slots })
    }

    /// How many messages it keeps.
    pub fn capacity(&self) -> u64 {
        self.slots.capacity()
    }

    /// How many messages were sent since it was made.
    pub fn sent(&self) -> u64 {
        self.slots.tail().load(Ordering::Acquire)
    }

    /// Takes the producer's role; if its last holder died, goes on where that one stopped.
    ///
    /// # Errors
    /// [`RoleError::Taken`] while somebody alive has it.
    pub fn producer(&self) -> Result<Producer<T>, RoleError> {
        self.inner.check_access()?;
        let me = self.inner.me()?;
        let word = self.inner.memory.word32(self.object.offset + PRODUCER);
        role_words::take(word, me, |owner| self.inner.liveness(owner)).map_err(|why| match why {
            NotTaken::Taken(owner) => RoleError::Taken { role: "producer", slot: owner.slot() },
            NotTaken::Corrupt => AccessError::Corrupt.into(),
        })?;
        let (guard, fenced) = (self.inner.fork_guard(), self.inner.fenced());
        let end = ProducerEnd { inner: self.inner.clone(), object: self.object, guard, fenced };
        let core = Sending::resume(&self.slots).map_err(|_| AccessError::Corrupt)?;
        Ok(Producer { core, slots: self.slots, end })
    }

    /// Becomes a reader, of what is sent from now on.
    ///
    /// # Errors
    /// [`AccessError`] for a forked handle, or a corrupt broadcast. A read-only attachment may read.
    pub fn reader(&self) -> Result<Reader<T>, AccessError> {
        self.reader_from(Start::Next)
    }

    /// The same, beginning with what was sent before, as far as it is still there.
    ///
    /// # Errors
    /// As [`Self::reader`].
    pub fn reader_from(&self, start: Start) -> Result<Reader<T>, AccessError> {
        let writes = match self.inner.check_access() {
            Ok(()) => true,
            Err(AccessError::ReadOnly) => false,
            Err(error) => return Err(error),
        };
        let core = Reading::begin(&self.slots, start).map_err(|_| AccessError::Corrupt)?;
        let wait = if writes { Wait::default() } else { Wait::Yield };
        let (inner, guard) = (self.inner.clone(), self.inner.fork_guard());
        Ok(Reader { core, slots: self.slots, guard, wait, writes, missed: 0, inner, object: self.object })
    }
}

impl<T> fmt::Debug for Broadcast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast").field("object", &self.object).finish_non_exhaustive()
    }
}

/// Why no message was received at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TryReceiveError {
    /// No message is there, but the producer is, or may yet come.
    #[error("there is no message")]
    Empty,
    /// The producer was quicker by more than the capacity: so many messages are gone since the last one that this
    /// reader received, or since it began. The next call goes on behind them.
    #[error("{0} messages were missed: the producer was quicker; read more often, or with a larger capacity")]
    Missed(u64),
    /// All messages are received, and the producer has left.
    #[error("the producer has left")]
    Disconnected,
    /// All messages are received, and the producer was killed; a successor may come.
    #[error("the producer died")]
    PeerDied,
    /// Forked or corrupt.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why no message was received, having waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// No message came in time.
    #[error("no message came in time")]
    TimedOut,
    /// As [`TryReceiveError::Missed`].
    #[error("{0} messages were missed: the producer was quicker; read more often, or with a larger capacity")]
    Missed(u64),
    /// All messages are received, and the producer has left.
    #[error("the producer has left")]
    Disconnected,
    /// All messages are received, and the producer was killed; a successor may come.
    #[error("the producer died")]
    PeerDied,
    /// Forked or corrupt; or a read-only attachment was to park.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl From<Nothing> for TryReceiveError {
    fn from(nothing: Nothing) -> Self {
        match nothing {
            Nothing::Empty => Self::Empty,
            Nothing::Missed(messages) => Self::Missed(messages),
            Nothing::Corrupt => AccessError::Corrupt.into(),
        }
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;
/// While it writes one slot, the producer asks for that so many further on: readers have had the line, and to get it
/// back takes as long as several messages.
const AHEAD: u64 = 16;
/// Of larger messages the first lines only.
const MOST_LINES: usize = 4;

/// The mapped words and slots of a broadcast. Valid as long as the `Inner` that lies beside it.
struct Slots<T> {
    /// The object's first byte.
    base: NonNull<u8>,
    mask: u64,
    message: PhantomData<T>,
}

impl<T> Clone for Slots<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Slots<T> {}

// SAFETY: a pointer to shared words, all of which are reached as atomics; messages (`Payload`) go in and out by
// value and have no ties to a thread.
unsafe impl<T: Payload> Send for Slots<T> {}
// SAFETY: as above.
unsafe impl<T: Payload> Sync for Slots<T> {}

impl<T> Slots<T> {
    const STRIDE: u64 = stride(size_of::<T>() as u64).expect("types are of sane sizes");
    /// Words of a message.
    const WORDS: usize = size_of::<T>().div_ceil(8);

    /// `None` when the object is too short for what its directory entry says.
    fn new(memory: &Memory, object: &Object) -> Option<Self> {
        let needed = length(size_of::<T>() as u64, object.item_count)?;
        if needed > object.length {
            return None;
        }
        let base = memory.pointer(object.offset, needed, LINE as u64)?;
        Some(Self { base, mask: object.item_count - 1, message: PhantomData })
    }

    /// Where a word of the head, or of a slot, lies.
    #[inline]
    fn at(&self, offset: u64) -> NonNull<AtomicU64> {
        // SAFETY: `new` checked that the object has head and slots; the callers ask for offsets in there.
        #[allow(clippy::cast_possible_truncation)]
        unsafe {
            self.base.add(offset as usize).cast()
        }
    }

    /// The eventcount on which readers sleep.
    #[inline]
    fn event(&self) -> &AtomicU32 {
        // SAFETY: as in `tail`, four bytes wide.
        unsafe { self.at(READERS_EVENT).cast().as_ref() }
    }

    /// Offset of the slot of `position`: masked, so below the capacity.
    #[inline]
    fn slot(&self, position: u64) -> u64 {
        SLOTS + (position & self.mask) * Self::STRIDE
    }

    /// Asks for the lines of a slot, to be written: see [`AHEAD`].
    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    fn will_write(&self, position: u64) {
        let slot = self.at(self.slot(position)).as_ptr().cast::<u8>();
        for line in (0..Self::STRIDE as usize).step_by(LINE).take(MOST_LINES) {
            cache::take_line(slot.wrapping_add(line));
        }
    }

    /// Asks for the slot's second line, if it has one: to be said with every look at the stamp, so that both lines
    /// travel at once.
    #[inline]
    fn will_read(&self, position: u64) {
        if Self::STRIDE > LINE as u64 {
            cache::will_read(self.at(self.slot(position)).as_ptr().cast::<u8>().wrapping_add(LINE));
        }
    }
}

impl<T> Backing for Slots<T> {
    #[inline]
    fn capacity(&self) -> u64 {
        self.mask + 1
    }
    #[inline]
    fn tail(&self) -> &AtomicU64 {
        // SAFETY: in bounds (see `at`), aligned as base and offset are, mapped as long as the `Inner` beside
        // this, and reached by all as an atomic of this width.
        unsafe { self.at(TAIL).as_ref() }
    }
    #[inline]
    fn stamp(&self, position: u64) -> &AtomicU64 {
        // SAFETY: as in `tail`; slots lie at multiples of 64.
        unsafe { self.at(self.slot(position)).as_ref() }
    }
    #[inline]
    fn words(&self, position: u64) -> &[AtomicU64] {
        let first = self.at(self.slot(position) + STAMP);
        // SAFETY: as in `tail`; the stride has room for the stamp and for all bytes of a message, rounded up to
        // whole words.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), Self::WORDS) }
    }
}

/// The producer's role, held; dropping it leaves.
#[derive(Debug)]
struct ProducerEnd {
    inner: Arc<Inner>,
    object: Object,
    guard: ForkGuard,
    fenced: bool,
}

impl ProducerEnd {
    #[inline]
    fn check(&self) -> Result<(), AccessError> {
        if self.guard.forked() { Err(AccessError::Forked) } else { Ok(()) }
    }

    /// Wakes the readers that sleep; to be called after the store that they wait for.
    #[inline]
    fn notify(&self, event: &AtomicU32) {
        light_barrier(self.fenced);
        if EventCount(event).sleepers() {
            EventCount(event).notify_sleepers(&*self.inner);
        }
    }
}

impl Drop for ProducerEnd {
    fn drop(&mut self) {
        if !self.guard.forked() {
            producer_words(&self.inner.memory, &self.object).leave(wake_all);
        }
    }
}

/// The sending end of a [`Broadcast`]; dropping it leaves.
pub struct Producer<T: Payload> {
    core: Sending,
    slots: Slots<T>,
    end: ProducerEnd,
}

impl<T: Payload> Producer<T> {
    /// Sends a copy of `message` to whoever reads. Never waits; what was sent a capacity ago is gone.
    ///
    /// # Errors
    /// [`AccessError::Forked`] for a handle that a forked child inherited.
    #[inline]
    pub fn push(&mut self, message: T) -> Result<(), AccessError> {
        self.end.check()?;
        self.slots.will_write(self.core.position() + AHEAD);
        self.core.push(&self.slots, message.as_bytes());
        self.end.notify(self.slots.event());
        Ok(())
    }

    /// Sends copies of all `messages`, one after the other. One look for sleepers serves for all.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_slice(&mut self, messages: &[T]) -> Result<(), AccessError> {
        self.end.check()?;
        for message in messages {
            self.slots.will_write(self.core.position() + AHEAD);
            self.core.push(&self.slots, message.as_bytes());
        }
        self.end.notify(self.slots.event());
        Ok(())
    }

    /// How many messages were sent, predecessors' included.
    pub fn sent(&self) -> u64 {
        self.core.position()
    }

    /// How many messages the broadcast keeps.
    pub fn capacity(&self) -> u64 {
        self.slots.capacity()
    }
}

impl<T: Payload> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("sent", &self.sent()).finish_non_exhaustive()
    }
}

/// A receiving end of a [`Broadcast`]. It has no place in the region, so that dropping it leaves no trace.
pub struct Reader<T: Payload> {
    core: Reading,
    slots: Slots<T>,
    guard: ForkGuard,
    wait: Wait,
    /// Whether this attachment may write: park, and count.
    writes: bool,
    missed: u64,
    inner: Arc<Inner>,
    object: Object,
}

impl<T: Payload> Reader<T> {
    /// How this end waits (default: [`Wait::Adaptive`]; [`Wait::Yield`] where the attachment is read-only, which
    /// cannot park).
    #[must_use]
    pub fn wait_strategy(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Copies the next message out, if there is one.
    ///
    /// # Errors
    /// See [`TryReceiveError`].
    #[inline]
    pub fn try_receive(&mut self) -> Result<T, TryReceiveError> {
        match self.next() {
            Some(message) => Ok(message),
            None => Err(self.why_nothing()),
        }
    }

    /// Copies the next message out, waiting for it as long as it takes.
    ///
    /// # Errors
    /// See [`ReceiveError`]: all that was sent is received before it is said that the producer is gone.
    #[inline]
    pub fn receive(&mut self) -> Result<T, ReceiveError> {
        match self.next() {
            Some(message) => Ok(message),
            None => self.wait_for_message(None),
        }
    }

    /// The same, waiting at most `time`.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn receive_timeout(&mut self, time: Duration) -> Result<T, ReceiveError> {
        match self.next() {
            Some(message) => Ok(message),
            None => self.wait_for_message(Instant::now().checked_add(time)),
        }
    }

    /// Copies messages into the front of `into`, as many as are there and fit, and says how many. What `into`
    /// holds behind them may be changed as well.
    ///
    /// # Errors
    /// See [`TryReceiveError`], when there is none.
    pub fn receive_slice(&mut self, into: &mut [T]) -> Result<usize, TryReceiveError> {
        if into.is_empty() {
            return Ok(0);
        }
        let mut count = 0;
        if !self.guard.forked() {
            let mut places = into.iter_mut();
            count = places.position(|place| !self.copy(place)).unwrap_or(into.len());
        }
        if count == 0 { Err(self.why_nothing()) } else { Ok(count) }
    }

    /// How many messages this reader has missed since it began.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The number of the next message: 0 for the first that was ever sent.
    pub fn position(&self) -> u64 {
        self.core.position()
    }

    /// How many messages the broadcast keeps.
    pub fn capacity(&self) -> u64 {
        self.slots.capacity()
    }

    #[inline]
    fn copy(&mut self, into: &mut T) -> bool {
        self.core.copy(&self.slots, into.as_mut_bytes())
    }

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.slots.will_read(self.core.position());
        let mut message = T::new_zeroed();
        (self.copy(&mut message) && !self.guard.forked()).then_some(message)
    }

    /// Why there is no message, without waiting.
    #[cold]
    #[inline(never)]
    fn why_nothing(&mut self) -> TryReceiveError {
        if self.guard.forked() {
            return AccessError::Forked.into();
        }
        match self.core.why_nothing(&self.slots) {
            Nothing::Empty => match gone(self.peer()) {
                // Looked again after the role: all that was sent before it was given up comes first.
                Some(error) if !self.core.ready(&self.slots) => error.into(),
                Some(_) => TryReceiveError::Empty,
                None => {
                    self.count(Counter::Empty, 1);
                    TryReceiveError::Empty
                }
            },
            other => self.missed_or(other),
        }
    }

    fn missed_or(&mut self, nothing: Nothing) -> TryReceiveError {
        if let Nothing::Missed(messages) = nothing {
            self.missed += messages;
            self.count(Counter::Lost, messages);
        }
        nothing.into()
    }

    fn count(&self, counter: Counter, many: u64) {
        if self.writes {
            self.inner.memory.counters(self.object.offset + COUNTERS).add(counter, many);
        }
    }

    #[cold]
    #[inline(never)]
    fn wait_for_message(&mut self, deadline: Option<Instant>) -> Result<T, ReceiveError> {
        if self.guard.forked() {
            return Err(AccessError::Forked.into());
        }
        if !self.writes && matches!(self.wait, Wait::Park | Wait::Adaptive) {
            return Err(AccessError::ReadOnly.into());
        }
        let mut looks = first_looks(self.wait);
        let mut counted = false;
        loop {
            while looks > 0 && !self.core.ready(&self.slots) {
                self.slots.will_read(self.core.position());
                spin_hint();
                looks -= 1;
            }
            if !self.core.ready(&self.slots) {
                if !counted {
                    self.count(Counter::ReceivesWaited, 1);
                    counted = true;
                }
                self.wait_until_ready(deadline)?;
            }
            if let Some(message) = self.next() {
                return Ok(message);
            }
            match self.core.why_nothing(&self.slots) {
                // It was seen; so this is over in a moment.
                Nothing::Empty if !over(deadline) => {}
                Nothing::Empty => return Err(ReceiveError::TimedOut),
                other => return Err(self.missed_or(other).into()),
            }
        }
    }

    /// Waits until the next message is there (or gone), the producer is gone and all is received, or the time is over.
    fn wait_until_ready(&self, deadline: Option<Instant>) -> Result<(), ReceiveError> {
        let ready = || self.core.ready(&self.slots);
        let condition = || {
            if ready() {
                return Some(Ok(()));
            }
            // Looked again after the role: as above.
            gone(self.peer()).map(|error| if ready() { Ok(()) } else { Err(error) })
        };
        let after_slice = || match self.examine_peer() {
            Peer::Expected => AfterSlice::GoOn,
            Peer::Left | Peer::Died => AfterSlice::GiveUp,
        };
        loop {
            let event = EventCount(self.slots.event());
            let found = event.wait_until(&*self.inner, self.wait, deadline, condition, after_slice);
            let result = found.unwrap_or_else(|| {
                let peer = gone(self.examine_peer());
                if ready() { Ok(()) } else { Err(peer.unwrap_or(ReceiveError::TimedOut)) }
            });
            match result {
                // The producer was gone, but a successor has come already.
                Err(ReceiveError::TimedOut) if !over(deadline) => {}
                result => return result,
            }
        }
    }

    fn role(&self) -> &AtomicU32 {
        self.inner.memory.word32(self.object.offset + PRODUCER)
    }

    /// What the producer's role says, without asking the kernel.
    fn peer(&self) -> Peer {
        role_words::peer(self.role())
    }

    /// The same, asking the kernel; a dead one is swept by who may write.
    fn examine_peer(&self) -> Peer {
        let owner = Owner::from_word(self.role().load(Ordering::Acquire));
        if owner.is_some_and(|owner| self.inner.liveness(owner) == Liveness::Dead) {
            if self.writes {
                self.inner.sweep_the_dead();
            }
            // Somebody else may be sweeping, or a successor may have come already.
            return match self.peer() {
                Peer::Expected if Owner::from_word(self.role().load(Ordering::Acquire)) == owner => {
                    Peer::Died
                }
                other => other,
            };
        }
        self.peer()
    }
}

fn gone(peer: Peer) -> Option<ReceiveError> {
    match peer {
        Peer::Expected => None,
        Peer::Left => Some(ReceiveError::Disconnected),
        Peer::Died => Some(ReceiveError::PeerDied),
    }
}

impl From<ReceiveError> for TryReceiveError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::TimedOut => Self::Empty,
            ReceiveError::Missed(messages) => Self::Missed(messages),
            ReceiveError::Disconnected => Self::Disconnected,
            ReceiveError::PeerDied => Self::PeerDied,
            ReceiveError::Access(error) => Self::Access(error),
        }
    }
}

impl From<TryReceiveError> for ReceiveError {
    fn from(error: TryReceiveError) -> Self {
        match error {
            TryReceiveError::Empty => Self::TimedOut,
            TryReceiveError::Missed(messages) => Self::Missed(messages),
            TryReceiveError::Disconnected => Self::Disconnected,
            TryReceiveError::PeerDied => Self::PeerDied,
            TryReceiveError::Access(error) => Self::Access(error),
        }
    }
}

impl<T: Payload> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("position", &self.position())
            .field("missed", &self.missed)
            .finish_non_exhaustive()
    }
}

impl<T: Payload> Sealed for Reader<T> {}

impl<T: Payload> Waitable for Reader<T> {
    fn is_ready(&self) -> bool {
        self.guard.forked() || self.core.ready(&self.slots) || self.peer() != Peer::Expected
    }

    fn examine(&self) {
        self.examine_peer();
    }

    fn bed(&self) -> Bed<'_> {
        Bed { inner: &self.inner, event: self.slots.event() }
    }
}

fn spec<'a, T: Payload>(
    name: &'a str,
    type_name: &'a str,
    capacity: usize,
) -> Result<ObjectSpec<'a>, ObjectError> {
    let size = size_of::<T>() as u64;
    let problem = |problem| ObjectError::InvalidSize { count: capacity as u64, size, problem };
    let slots = (capacity as u64)
        .checked_next_power_of_two()
        .filter(|&slots| capacity > 0 && slots <= MAX_CAPACITY)
        .ok_or_else(|| problem("choose a capacity between 1 and 2^40"))?;
    Ok(ObjectSpec {
        name,
        kind: ObjectKind::Broadcast,
        length: length(size, slots).ok_or_else(|| problem("it is too large"))?,
        fingerprint: T::FINGERPRINT,
        type_name,
        item_size: size,
        item_count: slots,
        parameters: NO_PARAMETERS,
    })
}

/// Nobody there, nothing sent.
fn initialise<T: Payload>(memory: &Memory, object: &Object) {
    for offset in (0..SLOTS).step_by(8) {
        // Relaxed: nobody else can reach the object before it is READY.
        memory.word64(object.offset + offset).store(0, Ordering::Relaxed);
    }
    let slots = Slots::<T>::new(memory, object).expect("the object was made long enough");
    for position in 0..slots.capacity() {
        // Relaxed: as above.
        slots.stamp(position).store(0, Ordering::Relaxed);
    }
}

fn wake_all(event: &AtomicU32) {
    crate::os::futex::wake(event, u32::MAX);
}

fn producer_words<'a>(memory: &'a Memory, object: &Object) -> EndWords<'a> {
    let readers_event = memory.word32(object.offset + READERS_EVENT);
    // A producer sleeps nowhere.
    let event = readers_event;
    EndWords {
        end: End::Producer,
        role: memory.word32(object.offset + PRODUCER),
        event,
        others_event: readers_event,
    }
}

/// Takes `dead` out of the producer's role. Readers hold nothing.
pub(crate) fn sweep(memory: &Memory, object: &Object, dead: Owner) {
    producer_words(memory, object).sweep(dead, wake_all);
}

/// The state of a broadcast, for tools.
pub(crate) fn state(region: &Region, object: &Object) -> SharedState {
    let memory = &region.inner.memory;
    // Relaxed, all: a picture of a moment that is over when it is seen.
    let sent = memory.word64(object.offset + TAIL).load(Ordering::Relaxed);
    let word = memory.word32(object.offset + PRODUCER).load(Ordering::Relaxed);
    let producer = EndState { role: "producer", state: role_state(region, word) };
    let counts = Counts {
        messages: sent,
        bytes: sent.saturating_mul(object.item_size),
        ..memory.counters(object.offset + COUNTERS).read()
    };
    SharedState {
        ends: if word == role::NEVER { Vec::new() } else { vec![producer] },
        counts: Some(counts),
        queued: None,
        facts: vec![
            ("keeps", format!("the last {} messages", object.item_count)),
            ("there", sent.min(object.item_count).to_string()),
        ],
    }
}
