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

mod error;
mod reader;
mod slots;

use std::fmt;
use std::sync::Arc;

pub use error::{ReceiveError, TryReceiveError};
pub use reader::Reader;

use crate::Region;
use crate::atomic::{AtomicU32, Ordering};
use crate::inspect::{EndState, SharedState, role_state};
use crate::layout::broadcast::{
    COUNTERS, MAX_CAPACITY, PRODUCER, READERS_EVENT, SLOTS, TAIL, length, stride,
};
use crate::layout::owner::Owner;
use crate::layout::spsc::role;
use crate::os::fork_guard::ForkGuard;
use crate::payload::Payload;
use crate::region::{
    AccessError, Inner, Memory, NO_PARAMETERS, NamedError, Object, ObjectError, ObjectKind, ObjectSpec,
    region_of_its_own,
};
pub use crate::ring::broadcast::Start;
use crate::ring::broadcast::{self as algorithm, Backing, Reading, Sending};
use crate::ring::counters::Counts;
use crate::ring::error::RoleError;
use crate::ring::role_words::{self, End, EndWords, NotTaken};
use crate::sync::eventcount::EventCount;
use crate::sync::platform::light_barrier;
use slots::Slots;

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
        // Acquire: as of the tail.
        algorithm::sent(self.slots.tail(), |tail| self.slots.stamp(tail).load(Ordering::Acquire))
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
        Ok(Reader::new(&self.inner, self.object, self.slots, core, writes))
    }
}

impl<T> fmt::Debug for Broadcast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast").field("object", &self.object).finish_non_exhaustive()
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
    // What the directory says may be nonsense.
    let whole = |needed: &u64| object.item_count.is_power_of_two() && *needed <= object.length;
    let stride = length(object.item_size, object.item_count).filter(whole).and(stride(object.item_size));
    let sent = algorithm::sent(memory.word64(object.offset + TAIL), |tail| match stride {
        Some(stride) => {
            let slot = SLOTS + (tail & (object.item_count - 1)) * stride;
            memory.word64(object.offset + slot).load(Ordering::Acquire)
        }
        None => 0,
    });
    // Relaxed: a picture of a moment that is over when it is seen.
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
