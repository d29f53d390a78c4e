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
//! sends. The consumer goes round the lanes and takes up to 16 messages of one before it looks at the next (up to 256,
//! where the others had nothing when they last had their turn). So each producer's messages come in its order, those of
//! different producers in any.
//!
//! # Messages that are longer than that
//!
//! A message of more than half a lane, less 8 bytes, is [`TooLarge`](crate::bytes::TooLarge), unless the lanes were made
//! for messages [in parts](LanesOptions::chained), up to a bound: then [`Producer::push`] sends it in parts of a quarter
//! of a lane, and the consumer puts them together. It gets the message whole or not at all:
//!
//! * A producer that dies, or gives up, between two parts has sent nothing: the consumer drops what it has, and counts
//!   it as aborted, when it knows that the producer is gone, or has sent something else.
//! * A message of at most three quarters of a lane, less 24 bytes, stays in the lane until its loan is dropped: a consumer
//!   that dies leaves it to its successor.
//! * Of a longer one the parts must be released as they come. If the consumer dies (or leaves) amid it, or with its loan,
//!   it is lost, and counted, although `push` may have said that it was sent.
//!
//! A pollable or selected consumer may be told of a part, and find no message yet.
//!
//! # What is leaked, and what can be done
//!
//! A [`Claim`] or [`Loan`] that is forgotten holds nothing: the next claim is the same room, and the next loan the same
//! message. A [`Producer`] that is forgotten, or that hangs, holds its lane, and the consumer waits for it: see
//! [`Lanes::revoke`]. A consumer cannot be revoked while it lives, since nobody could tell when it has stopped reading:
//! end its process.
//!
//! # What a death costs
//!
//! A producer that is killed has sent what it committed, and nothing else: its messages are received, then its lane is
//! somebody else's. Once all producers are gone and all that they sent is consumed, the consumer is told
//! [`PopError::Disconnected`](crate::ring::error::PopError::Disconnected), or
//! [`PopError::PeerDied`](crate::ring::error::PopError::PeerDied) if one of them died. A consumer that is killed has consumed
//! what it *released*: its successor gets what was lent out and not released again, at most a message, and
//! [`Loan::seen_before`] says so. Meanwhile producers are told that the consumer left or died.
//!
//! The algorithm and its picture are in `ring::lanes`, the layout in [`crate::layout::lanes`]. After the one-to-one
//! record buffers of Agrona, and the merge of a logger's queues, a queue for each thread, in `NanoLog` and Quill.

mod consumer;
mod mapped;
mod options;
mod producer;
mod seat;
mod state;

pub use consumer::{Consumer, Loan};
pub use options::LanesOptions;
pub use producer::{Claim, Producer};
pub(crate) use state::state;

use crate::Region;
use crate::atomic::Ordering;
use crate::layout::lanes::{LANES, lane, stride};
use crate::layout::owner::Owner;
use crate::layout::spsc::STAMP;
use crate::region::{AccessError, Memory, NamedError, Object, ObjectError, ObjectSpec};
use crate::ring::error::RoleError;
use crate::ring::lanes::{self as algorithm, Lanes as _, Merge};
use crate::ring::records::RecordProducer;
use crate::ring::role_words::{self, NotTaken};
use crate::sync::wait::Wait;
use mapped::Mapped;
use seat::{ConsumerSeat, ProducerSeat, Shared, wake_all};

/// Lanes of variable-length messages in a region; take a [producer](Self::producer), or be the
/// [consumer](Self::consumer), to use them.
#[derive(Debug, Clone)]
pub struct Lanes {
    shared: Shared,
}

impl Lanes {
    /// Starts describing lanes that are not as by default.
    ///
    /// ```
    /// use allmende::{Lanes, Region};
    /// let region = Region::create().memfd("example")?;
    /// let lanes = Lanes::options().chained(1 << 20).create(&region, "pictures", 2, 1 << 12)?;
    /// let (mut producer, mut consumer) = (lanes.producer()?, lanes.consumer()?);
    /// let sender = std::thread::spawn(move || producer.push(&[7; 100_000]));
    /// assert_eq!(*consumer.receive()?, [7; 100_000]);
    /// # sender.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn options() -> LanesOptions {
        LanesOptions::default()
    }

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
        Self::options().open_or_create(region, name, lanes, capacity)
    }

    /// The lanes of that name in the user's namespace, in a region of their own; made where there are none. Whoever of
    /// this user asks for the same name gets the same lanes.
    ///
    /// ```
    /// use allmende::Lanes;
    /// # let name = format!("doc-lanes-{}", std::process::id());
    /// # let name = name.as_str();
    /// let mut producer = Lanes::named(name, 8, 1 << 12)?.producer()?;
    /// producer.push(b"hello")?;
    /// assert_eq!(&*Lanes::named(name, 8, 1 << 12)?.consumer()?.receive()?, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`NamedError`].
    pub fn named(name: &str, lanes: usize, capacity: usize) -> Result<Self, NamedError> {
        Self::options().named(name, lanes, capacity)
    }

    /// New lanes; there must be nothing of that name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn create(region: &Region, name: &str, lanes: usize, capacity: usize) -> Result<Self, ObjectError> {
        Self::options().create(region, name, lanes, capacity)
    }

    /// The lanes of that name, which must be there, however many and large.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn open(region: &Region, name: &str) -> Result<Self, ObjectError> {
        let any = Self::options().spec(name, 1, 64)?;
        Self::at(region, region.inner.open_object(&ObjectSpec { item_count: 0, ..any })?)
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

    /// Bytes of the longest message that can be claimed: half a lane, less 8.
    pub fn max_message(&self) -> usize {
        self.shared.memory.longest()
    }

    /// Bytes of the longest message that can be pushed, in parts if need be.
    pub fn max_chained(&self) -> usize {
        self.shared.memory.longest_pushed()
    }

    /// Takes the lane from its producer by force, though it may live: for one that hangs, or was leaked. `false`: the
    /// lane has none.
    ///
    /// What that producer has committed is received (and what it is just committing may be); its next call answers
    /// [`Revoked`](crate::ring::bytes::TrySendError::Revoked). To the consumer it counts as one that has left. The lane is nobody else's
    /// before the producer is dropped, or dies: it may still be writing there.
    ///
    /// ```
    /// use allmende::{Lanes, Region};
    /// let region = Region::create().memfd("example")?;
    /// let lanes = Lanes::create(&region, "log", 2, 1 << 12)?;
    /// let mut consumer = lanes.consumer()?;
    /// std::mem::forget(lanes.producer()?);
    /// assert!(lanes.revoke(0)?);
    /// assert!(consumer.receive().is_err(), "nobody is there to wait for");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`AccessError`] for a read-only or forked handle.
    ///
    /// # Panics
    /// When there is no lane of this number.
    pub fn revoke(&self, lane: usize) -> Result<bool, AccessError> {
        self.shared.inner.check_access()?;
        assert!(lane < self.lanes(), "there are {} lanes", self.lanes());
        Ok(algorithm::revoke(&self.shared.memory, lane, wake_all))
    }

    /// Takes a lane that has no producer, and goes on in it where its last one stopped.
    ///
    /// # Errors
    /// [`RoleError::TooMany`] while each lane has a producer that lives.
    pub fn producer(&self) -> Result<Producer, RoleError> {
        let shared = self.shared.clone();
        shared.inner.check_access()?;
        let me = shared.inner.me()?;
        let words = &shared.memory;
        // A dead producer's lane is to be had once it is swept.
        let joined = algorithm::join(words, me).or_else(|| {
            shared.inner.sweep_the_dead();
            algorithm::join(words, me)
        });
        let lane = joined.ok_or(RoleError::TooMany { role: "producer", most: words.lanes })?;
        let seat = ProducerSeat::new(shared, lane, me);
        let core = RecordProducer::resume(&seat.records).ok_or(AccessError::Corrupt)?;
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
        Ok(Consumer::new(merge, seat))
    }
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
