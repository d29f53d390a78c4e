//! A bounded queue for many producers and many consumers; each message goes to one consumer.
//!
//! ```
//! use allmende::{Region, channel::queue::Queue};
//! let region = Region::create().memfd("example")?;
//! let queue = Queue::<u64>::open_or_create(&region, "jobs", 64)?;
//! let (producer, consumer) = (queue.producer()?, queue.consumer()?);
//! let another = producer.clone();
//! producer.push(7)?;
//! another.push(8)?;
//! assert_eq!((consumer.pop()?, *consumer.receive()?), (7, 8));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The algorithm and its picture are in `ring::mpmc`, the layout in [`crate::layout::queue`].
//!
//! # Promises
//!
//! * **Order**: messages are taken in the order in which their slots were claimed; so those of one
//!   handle come in its order. What is handed out again comes out of order, before what is new.
//! * **A producer's death**: what it committed is received. What it claimed and did not commit is passed
//!   over and counted (`aborted`).
//! * **A consumer's death**, as chosen when the queue is made:
//!   [`Redeliver`](OnConsumerDeath::Redeliver) hands what it held out again, with the number of the
//!   attempt: *at least once*, up to that many attempts; then the message is lost and counted.
//!   [`Drop`](OnConsumerDeath::Drop) loses and counts it: *at most once*. A message that was popped, or whose loan
//!   was dropped, is done with.
//! * **Waiting**: a claim that is not yet committed holds up consumers of what lies behind it; a loan holds
//!   up producers one capacity later. If their owner dies, a sweep ends that within a slice (100 ms).
//! * **One producer, or one consumer**, if that is said when the queue is made
//!   ([`QueueOptions::producers`], [`QueueOptions::consumers`]), costs less, and all that stands above holds.

mod consumer;
mod ends;
mod producer;
mod slots;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

pub use consumer::{Batch, Consumer, Loan};
pub use producer::{Claim, ClaimBatch, Producer};

use crate::Region;
use crate::atomic::Ordering;
use crate::inspect::{Counts, EndState, RoleState, SharedState, role_state};
use crate::layout::owner::Owner;
use crate::layout::queue::{
    CLOSED, COUNTERS, MAX_ALIGN, MAX_ATTEMPTS, MAX_CAPACITY, MAX_MEMBERS, RETRIES, closed, length,
};
use crate::payload::Payload;
use crate::region::{
    AccessError, Inner, Memory, NamedError, Object, ObjectError, ObjectKind, ObjectSpec, Parameter,
    region_of_its_own,
};
use crate::ring::error::RoleError;
use crate::ring::mpmc::{self, Cells};
use ends::{End, Side, announce, members};
use slots::{Slots, Untyped};

/// What becomes of the messages that a consumer held when it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConsumerDeath {
    /// They are handed out again: at least once.
    Redeliver {
        /// How often a message is handed out at most, the first time included: 1 to 32. If its consumer dies
        /// the last time, too, it is lost.
        max_attempts: u32,
    },
    /// They are lost, and counted: at most once.
    Drop,
}

impl Default for OnConsumerDeath {
    /// Eight attempts: so only a message that kills whoever receives it is given up.
    fn default() -> Self {
        Self::Redeliver { max_attempts: 8 }
    }
}

/// What a queue is to be, apart from its name and capacity: see [`Queue::options`].
#[derive(Debug, Clone)]
pub struct QueueOptions<T> {
    on_consumer_death: OnConsumerDeath,
    producers: u32,
    consumers: u32,
    message: PhantomData<fn() -> T>,
}

impl<T: Payload> QueueOptions<T> {
    /// What becomes of the messages that a consumer held when it died (default: up to 8 attempts).
    #[must_use]
    pub fn on_consumer_death(mut self, policy: OnConsumerDeath) -> Self {
        self.on_consumer_death = policy;
        self
    }

    /// How many producers there can be at a time, clones not counted (default: 64, at most 4096).
    ///
    /// With 1, the producer sends without any compare-and-swap as long as it is not cloned: twice as fast in a stream of
    /// messages of more than 56 bytes. A second one is refused while it lives; when it died, the next one
    /// gets on with what it left.
    ///
    /// ```
    /// use allmende::{Region, channel::queue::Queue};
    /// let region = Region::create().memfd("example")?;
    /// // From one to many.
    /// let queue: Queue<u64> = Queue::options().producers(1).create(&region, "jobs", 64)?;
    /// let producer = queue.producer()?;
    /// assert!(queue.producer().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn producers(mut self, most: u32) -> Self {
        self.producers = most;
        self
    }

    /// How many consumers there can be at a time, clones not counted (default: 64, at most 4096). With 1, the
    /// consumer does without compare-and-swap, as said of [`Self::producers`].
    #[must_use]
    pub fn consumers(mut self, most: u32) -> Self {
        self.consumers = most;
        self
    }

    /// The queue of that name in `region`, made where there is none; one that is there must have been made
    /// with these options.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(
        &self,
        region: &Region,
        name: &str,
        capacity: usize,
    ) -> Result<Queue<T>, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let spec = self.spec(name, &type_name, capacity)?;
        Queue::at(region, region.inner.open_or_create_object(&spec, initialise::<T>)?)
    }

    /// The queue of that name in the user's namespace, with these options: see [`Queue::named`].
    ///
    /// ```
    /// use allmende::channel::queue::{OnConsumerDeath, Queue};
    /// # let name = format!("doc-queue-options-{}", std::process::id());
    /// # let name = name.as_str();
    /// let options = Queue::<u64>::options().on_consumer_death(OnConsumerDeath::Drop);
    /// let queue = options.named(name, 64)?;
    /// // Whoever asks for it must ask for the same.
    /// assert!(Queue::<u64>::named(name, 64).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`NamedError`].
    pub fn named(&self, name: &str, capacity: usize) -> Result<Queue<T>, NamedError> {
        let type_name = T::SCHEMA.to_string();
        let region = region_of_its_own(&self.spec(name, &type_name, capacity)?)?;
        Ok(self.open_or_create(&region, name, capacity)?)
    }

    /// A new queue; there must be none of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(&self, region: &Region, name: &str, capacity: usize) -> Result<Queue<T>, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let spec = self.spec(name, &type_name, capacity)?;
        Queue::at(region, region.inner.create_object(&spec, initialise::<T>)?)
    }

    fn spec<'a>(
        &self,
        name: &'a str,
        type_name: &'a str,
        capacity: usize,
    ) -> Result<ObjectSpec<'a>, ObjectError> {
        let size = size_of::<T>() as u64;
        let invalid = |count: u64, problem| ObjectError::InvalidSize { count, size, problem };
        let problem = |problem| invalid(capacity as u64, problem);
        if align_of::<T>() > MAX_ALIGN {
            return Err(problem("its alignment is above 64"));
        }
        let slots = (capacity as u64)
            .checked_next_power_of_two()
            .filter(|&slots| capacity > 0 && slots <= MAX_CAPACITY)
            .ok_or_else(|| problem("choose a capacity between 1 and 2^32"))?;
        let attempts = match self.on_consumer_death {
            OnConsumerDeath::Redeliver { max_attempts } => max_attempts,
            OnConsumerDeath::Drop => 1,
        };
        if !(1..=MAX_ATTEMPTS).contains(&attempts) {
            return Err(invalid(attempts.into(), "choose between 1 and 32 attempts"));
        }
        for count in [self.producers, self.consumers] {
            if !(1..=MAX_MEMBERS).contains(&count) {
                return Err(invalid(count.into(), "choose between 1 and 4096 producers and consumers"));
            }
        }
        let align = u32::try_from(align_of::<T>()).expect("at most 64");
        let parameters = [
            Parameter("attempts for a message (1: dropped when its consumer dies):", attempts),
            Parameter("room for producers:", self.producers),
            Parameter("room for consumers:", self.consumers),
            Parameter("messages aligned to", align),
        ];
        Ok(ObjectSpec {
            name,
            kind: ObjectKind::Queue,
            length: length(size, slots, parameters.map(|Parameter(_, value)| value))
                .ok_or_else(|| problem("it is too large"))?,
            fingerprint: T::FINGERPRINT,
            type_name,
            item_size: size,
            item_count: slots,
            parameters,
        })
    }
}

/// A queue of messages of type `T` in a region; take [producers](Self::producer) and
/// [consumers](Self::consumer) to use it.
pub struct Queue<T> {
    inner: Arc<Inner>,
    object: Object,
    slots: Slots<T>,
}

impl<T: Payload> Queue<T> {
    /// Starts describing a queue that is not as by default.
    ///
    /// ```
    /// use allmende::{Region, channel::queue::{OnConsumerDeath, Queue}};
    /// let region = Region::create().memfd("example")?;
    /// let options = Queue::<u64>::options().on_consumer_death(OnConsumerDeath::Drop);
    /// let queue = options.create(&region, "ticks", 1024)?;
    /// assert_eq!(queue.on_consumer_death(), OnConsumerDeath::Drop);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn options() -> QueueOptions<T> {
        QueueOptions {
            on_consumer_death: OnConsumerDeath::default(),
            producers: 64,
            consumers: 64,
            message: PhantomData,
        }
    }

    /// The queue of that name in `region`, made with room for `capacity` messages (rounded up to a power of
    /// two) where there is none.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open_or_create(region: &Region, name: &str, capacity: usize) -> Result<Self, ObjectError> {
        Self::options().open_or_create(region, name, capacity)
    }

    /// The queue of that name in the user's namespace, in a region of its own; made with room for `capacity`
    /// messages where there is none. Whoever of this user asks for the same name gets the same queue.
    ///
    /// ```
    /// use allmende::channel::queue::Queue;
    /// # let name = format!("doc-queue-{}", std::process::id());
    /// # let name = name.as_str();
    /// let producer = Queue::<u64>::named(name, 64)?.producer()?;
    /// producer.push(7)?;
    /// assert_eq!(Queue::<u64>::named(name, 64)?.consumer()?.pop()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`NamedError`].
    pub fn named(name: &str, capacity: usize) -> Result<Self, NamedError> {
        Self::options().named(name, capacity)
    }

    /// A new queue; there must be none of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str, capacity: usize) -> Result<Self, ObjectError> {
        Self::options().create(region, name, capacity)
    }

    /// The queue of that name, which must be there, whatever its capacity and options.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let type_name = T::SCHEMA.to_string();
        let any = ObjectSpec { item_count: 0, ..Self::options().spec(name, &type_name, 1)? };
        Self::at(region, region.inner.open_object(&any)?)
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

    /// What becomes of the messages that a consumer held when it died.
    pub fn on_consumer_death(&self) -> OnConsumerDeath {
        match self.object.parameters[0] {
            1 => OnConsumerDeath::Drop,
            max_attempts => OnConsumerDeath::Redeliver { max_attempts },
        }
    }

    /// Becomes one more producer.
    ///
    /// # Errors
    /// [`RoleError::TooMany`] when there are as many as there can be.
    pub fn producer(&self) -> Result<Producer<T>, RoleError> {
        Ok(Producer::new(End::join(&self.inner, self.object, self.slots, Side::Producers)?))
    }

    /// Becomes one more consumer.
    ///
    /// # Errors
    /// [`RoleError::TooMany`] when there are as many as there can be.
    pub fn consumer(&self) -> Result<Consumer<T>, RoleError> {
        Ok(Consumer::new(End::join(&self.inner, self.object, self.slots, Side::Consumers)?))
    }

    /// Ends the queue, for everybody and for good: producers are refused at once, consumers get what was
    /// sent, then `Closed`. Closing it again does nothing.
    ///
    /// # Errors
    /// [`AccessError`] for a read-only or forked handle.
    pub fn close(&self) -> Result<(), AccessError> {
        self.inner.check_access()?;
        ends::close(&self.inner, &self.object);
        Ok(())
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.memory.word32(self.object.offset + CLOSED).load(Ordering::Acquire) != closed::OPEN
    }

    /// What it counted since it was made.
    pub fn counts(&self) -> Counts {
        counts(&self.inner.memory, &self.object, &mpmc::census(&self.slots))
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("object", &self.object).finish_non_exhaustive()
    }
}

/// Everything of a new queue.
fn initialise<T: Payload>(memory: &Memory, object: &Object) {
    let [_, producers, consumers, _] = object.parameters;
    for offset in (0..crate::layout::queue::slots_offset(producers, consumers)).step_by(8) {
        // Relaxed: nobody else can reach the object before it is READY.
        memory.word64(object.offset + offset).store(0, Ordering::Relaxed);
    }
    let slots = Slots::<T>::new(memory, object).expect("the object was made long enough");
    for position in 0..slots.capacity() {
        // Relaxed: as above. 0 is FREE in lap 0.
        slots.word(position).store(0, Ordering::Relaxed);
    }
}

/// Gives back what `dead` held in this queue.
pub(crate) fn sweep(memory: &Memory, object: &Object, dead: Owner) {
    let Some(slots) = Untyped::new(memory, object) else { return };
    let attempts = u64::from(object.parameters[0]);
    if mpmc::sweep(&slots, u64::from(dead.slot()) + 1, attempts) {
        // Release: pairs with the Acquire in `End::retries`: whoever sees it sees what there is to be handed
        // out again. Raised after that: if we are killed in between, the next sweep finds the RETRY.
        memory.word32(object.offset + RETRIES).fetch_add(1, Ordering::Release);
    }
    for side in [Side::Producers, Side::Consumers] {
        // Slots first: whoever learns of the death finds them given back. Whatever was given back is
        // announced even if the dead had no role any more, or an earlier sweep died before it did so.
        announce(memory, object, side);
        members(memory, object, side).sweep(dead, |event| {
            crate::os::futex::wake(event, u32::MAX);
        });
    }
}

fn counts(memory: &Memory, object: &Object, census: &mpmc::Census) -> Counts {
    Counts {
        messages: census.sent,
        bytes: census.sent.wrapping_mul(object.item_size),
        received: census.received,
        aborted: census.aborted,
        lost: census.lost,
        redelivered: census.redelivered,
        ..memory.counters(object.offset + COUNTERS).read()
    }
}

/// The state of a queue, for tools.
pub(crate) fn state(region: &Region, object: &Object) -> Option<SharedState> {
    let memory = &region.inner.memory;
    let census = mpmc::census(&Untyped::new(memory, object)?);
    let mut ends = Vec::new();
    for side in [Side::Producers, Side::Consumers] {
        let words = members(memory, object, side).words.iter();
        let states = words.map(|word| role_state(region, word.load(Ordering::Relaxed)));
        let there = states.filter(|state| *state != RoleState::Never);
        ends.extend(there.map(|state| EndState { role: side.name(), state }));
    }
    let closed = memory.word32(object.offset + CLOSED).load(Ordering::Relaxed) != closed::OPEN;
    let on_death = match object.parameters[0] {
        1 => "dropped".to_owned(),
        attempts => format!("redelivered, up to {attempts} attempts"),
    };
    Some(SharedState {
        ends,
        counts: Some(counts(memory, object, &census)),
        queued: Some(census.committed + census.retry),
        facts: vec![
            ("capacity", object.item_count.to_string()),
            ("closed", if closed { "yes" } else { "no" }.to_owned()),
            ("being written", census.claimed.to_string()),
            ("being read", census.taken.to_string()),
            ("to be redelivered", census.retry.to_string()),
            ("when a consumer dies", on_death),
        ],
    })
}
