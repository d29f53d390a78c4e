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

mod consumer;
mod producer;
mod slots;

use std::fmt;
use std::sync::Arc;

pub use consumer::{Batch, Consumer, Loan};
pub use producer::{Claim, ClaimBatch, Producer};

use super::core::{Backing, Consuming, Producing};
use super::error::RoleError;
use super::habit::Stream;
use super::roles::{End, Role, initialise};
use crate::Region;
use crate::atomic::Ordering;
use crate::layout::counters::Counter;
use crate::layout::spsc::{MAX_ALIGN, MAX_CAPACITY};
use crate::payload::Payload;
use crate::region::{
    AccessError, Inner, Memory, NO_PARAMETERS, NamedError, Object, ObjectError, ObjectKind, ObjectSpec,
    region_of_its_own,
};
use crate::sync::wait::Wait;
use slots::Slots;

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
