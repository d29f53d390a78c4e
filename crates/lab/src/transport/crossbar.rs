//! crossbar: its pool and ring with loans in place, its pinned block, and its bounded bus; one region a direction.
//!
//! Pool and pinned block overwrite what was not read, so they run in closed loops only; the bounded bus loses nothing,
//! and copies values in and out. Waiting is a loop of `try_recv`, as its busy wait is; publishing wakes nobody
//! (`publish_silent`) where there is a choice, as its documentation advises for spinning readers.
#![forbid(unsafe_code)]

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use ::crossbar::{BusSubscriber, Config, Pod, PodBus, Publisher, Stream, Subscriber, Topic};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Handover, Shape, Transport, check_length, look, peer_failed, take_name, value};
use crate::cleanup::Trace;
use crate::error::{LabError, Result};
use crate::watch::Watch;

/// The one topic of a region.
const TOPIC: &str = "/messages";
/// How long to wait for the other end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `attempt` succeeds, as long as the other process lives.
fn until<T, E: std::fmt::Debug>(watch: Watch, mut attempt: impl FnMut() -> Result<T, E>) -> Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(found) => return Ok(found),
            Err(error) if start.elapsed() > PATIENCE => return Err(peer_failed("connecting")(error)),
            Err(_) => watch.check()?,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The sending side of one of its ways to get messages from one process to another.
pub trait Way: Sized {
    /// The receiving side.
    type Receiver;

    /// Makes the region to send by.
    ///
    /// # Errors
    /// What the package says.
    fn publish(region: &str, shape: &Shape) -> Result<Self>;

    /// Finds the region to receive by, as long as the other process lives.
    ///
    /// # Errors
    /// What the package says.
    fn subscribe(region: &str, watch: Watch) -> Result<Self::Receiver>;

    /// See [`Transport::send`].
    ///
    /// # Errors
    /// The closure's own, or what the package says.
    fn send(&mut self, watch: Watch, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()>;

    /// See [`Transport::receive`].
    ///
    /// # Errors
    /// The closure's own, or what the package says.
    fn receive<R>(
        receiver: &mut Self::Receiver,
        watch: Watch,
        read: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R>;
}

/// One end, by some way: the sending side of one region and the receiving side of the other.
pub struct End<W: Way> {
    sender: W,
    /// There once both ends have met.
    receiver: Option<W::Receiver>,
    watch: Watch,
    name: String,
    _trace: Option<Trace>,
}

/// By pool and ring.
pub type Crossbar = End<Pool<InRing>>;
/// By the pinned block.
pub type CrossbarPinned = End<Pool<Pinned>>;
/// By the bounded bus.
pub type CrossbarBus<P> = End<Bus<P>>;

impl<W: Way> Transport for End<W> {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        let trace = Trace::new();
        let name = trace.name().to_owned();
        let sender = W::publish(&format!("{name}-there"), shape)?;
        let handover = Handover { descriptors: Vec::new(), name: Some(name.clone()) };
        Ok((Self { sender, receiver: None, watch: Watch::Nobody, name, _trace: Some(trace) }, handover))
    }

    /// Subscribes before it makes the region on which the near end waits: a subscription begins with what comes after
    /// it.
    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        let name = take_name(handover)?;
        let receiver = Some(W::subscribe(&format!("{name}-there"), Watch::Nobody)?);
        let sender = W::publish(&format!("{name}-back"), shape)?;
        Ok(Self { sender, receiver, watch: Watch::Nobody, name, _trace: None })
    }

    fn meet(&mut self) -> Result<()> {
        self.receiver = Some(W::subscribe(&format!("{}-back", self.name), self.watch)?);
        Ok(())
    }

    fn watch(&mut self, watch: Watch) {
        self.watch = watch;
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        self.sender.send(self.watch, write)
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        W::receive(self.receiver.as_mut().ok_or(LabError::PeerGone)?, self.watch, read)
    }
}

/// Its blocks: the publisher of the one topic of a region.
pub struct Pool<K> {
    publisher: Publisher,
    topic: Topic,
    size: usize,
    kind: PhantomData<K>,
}

/// The topic of a region, seen from the other side.
pub struct Subscription {
    // Before its subscriber: it looks into that mapping.
    stream: Stream,
    _subscriber: Subscriber,
}

/// Which of its blocks a message lies in.
pub trait Kind {
    /// See [`Way::send`].
    ///
    /// # Errors
    /// The closure's own, or what the package says.
    fn send(
        publisher: &mut Publisher,
        topic: &Topic,
        size: usize,
        watch: Watch,
        write: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<()>;

    /// See [`Way::receive`].
    ///
    /// # Errors
    /// The closure's own, or what the package says.
    fn receive<R>(stream: &Stream, watch: Watch, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R>;
}

impl<K: Kind> Way for Pool<K> {
    type Receiver = Subscription;

    fn publish(region: &str, shape: &Shape) -> Result<Self> {
        let depth = shape.depth.next_power_of_two() as u32;
        let block = u32::try_from(shape.capacity + 128).map_err(peer_failed("sizing a block"))?;
        let config = Config {
            max_topics: 1,
            // What is in the ring, in the publisher's cache and in hand.
            block_count: depth + 16,
            block_size: block.next_multiple_of(64),
            ring_depth: depth,
            ..Config::default()
        };
        let mut publisher = Publisher::create(region, config).map_err(peer_failed("creating a region"))?;
        let topic = publisher.register(TOPIC).map_err(peer_failed("registering a topic"))?;
        let (size, kind) = (shape.capacity, PhantomData);
        Ok(Self { publisher, topic, size, kind })
    }

    fn subscribe(region: &str, watch: Watch) -> Result<Subscription> {
        until(watch, || {
            let subscriber = Subscriber::connect(region)?;
            let stream = subscriber.subscribe(TOPIC)?;
            Ok::<_, ::crossbar::error::Error>(Subscription { stream, _subscriber: subscriber })
        })
    }

    #[inline]
    fn send(&mut self, watch: Watch, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        K::send(&mut self.publisher, &self.topic, self.size, watch, write)
    }

    #[inline]
    fn receive<R>(
        receiver: &mut Subscription,
        watch: Watch,
        read: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        K::receive(&receiver.stream, watch, read)
    }
}

/// Blocks of the pool, which its ring hands over.
pub struct InRing;

impl Kind for InRing {
    #[inline]
    fn send(
        publisher: &mut Publisher,
        topic: &Topic,
        size: usize,
        _watch: Watch,
        write: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<()> {
        let mut loan = publisher.loan(topic).map_err(peer_failed("loaning a block"))?;
        let length = write(&mut loan.as_mut_slice()[..size])?;
        loan.set_len(length).map_err(peer_failed("setting a length"))?;
        loan.publish_silent();
        Ok(())
    }

    #[inline]
    fn receive<R>(stream: &Stream, watch: Watch, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let sample = look(watch, || stream.try_recv())?;
        read(&sample)
    }
}

/// The one block that stays where it is.
pub struct Pinned;

impl Kind for Pinned {
    #[inline]
    fn send(
        publisher: &mut Publisher,
        topic: &Topic,
        size: usize,
        watch: Watch,
        write: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<()> {
        // A reader that is about to let go of the block is waited for.
        let mut tries = 0_u32;
        let mut loan = loop {
            match publisher.loan_pinned(topic) {
                Ok(loan) => break loan,
                Err(::crossbar::error::Error::PinnedReadersActive { .. }) => {
                    tries = tries.wrapping_add(1);
                    if tries.is_multiple_of(1 << 20) {
                        watch.check()?;
                    }
                }
                Err(error) => return Err(peer_failed("loaning the pinned block")(error)),
            }
        };
        let length = write(&mut loan.as_mut_slice()[..size])?;
        loan.set_len(length).map_err(peer_failed("setting a length"))?;
        loan.publish();
        Ok(())
    }

    #[inline]
    fn receive<R>(stream: &Stream, watch: Watch, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let guard = look(watch, || stream.try_recv_pinned())?;
        read(&guard)
    }
}

/// Its bounded bus of values.
pub struct Bus<P: Pod> {
    bus: PodBus<P>,
}

impl<P: Pod + FromBytes + IntoBytes + Immutable> Way for Bus<P> {
    type Receiver = BusSubscriber<P>;

    fn publish(region: &str, shape: &Shape) -> Result<Self> {
        check_length(shape.capacity, size_of::<P>())?;
        let bus = PodBus::create_bounded(region, shape.depth.next_power_of_two(), 0)
            .map_err(peer_failed("creating a bus"))?;
        Ok(Self { bus })
    }

    fn subscribe(region: &str, watch: Watch) -> Result<Self::Receiver> {
        until(watch, || BusSubscriber::connect(region))
    }

    #[inline]
    fn send(&mut self, watch: Watch, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        let out: P = value(write)?;
        look(watch, || self.bus.try_publish(out).ok())
    }

    #[inline]
    fn receive<R>(
        receiver: &mut Self::Receiver,
        watch: Watch,
        read: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        let value = look(watch, || receiver.try_recv())?;
        read(value.as_bytes())
    }
}
