//! crossbar: its pool and ring with loans in place, its pinned block, and its bounded bus; one region a direction.
//!
//! Pool and pinned block overwrite what was not read, so they run in closed loops only; the bounded bus loses nothing,
//! and copies values in and out. Waiting is a loop of `try_recv`, as its busy wait is; publishing wakes nobody
//! (`publish_silent`) where there is a choice, as its documentation advises for spinning readers.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use ::crossbar::{BusSubscriber, Config, Pod, PodBus, Publisher, Stream, Subscriber, Topic};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Handover, Shape, Transport, check_length, look, peer_failed, take_name};
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

/// The ends of both regions that a process holds.
struct Ends {
    // Before its subscriber: it looks into that mapping.
    stream: Option<Stream>,
    subscriber: Option<Subscriber>,
    publisher: Publisher,
    topic: Topic,
    size: usize,
    watch: Watch,
    name: String,
    _trace: Option<Trace>,
}

impl Ends {
    fn new(shape: &Shape, name: String, direction: &str, trace: Option<Trace>) -> Result<Self> {
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
        let mut publisher = Publisher::create(&format!("{name}-{direction}"), config)
            .map_err(peer_failed("creating a region"))?;
        let topic = publisher.register(TOPIC).map_err(peer_failed("registering a topic"))?;
        let (size, watch) = (shape.capacity, Watch::Nobody);
        Ok(Self { stream: None, subscriber: None, publisher, topic, size, watch, name, _trace: trace })
    }

    fn near(shape: &Shape) -> Result<(Self, Handover)> {
        let trace = Trace::new();
        let name = trace.name().to_owned();
        let handover = Handover { descriptors: Vec::new(), name: Some(name.clone()) };
        Ok((Self::new(shape, name, "there", Some(trace))?, handover))
    }

    fn far(shape: &Shape, handover: Handover) -> Result<Self> {
        let mut ends = Self::new(shape, take_name(handover)?, "back", None)?;
        ends.subscribe("there")?;
        Ok(ends)
    }

    fn subscribe(&mut self, direction: &str) -> Result<()> {
        let region = format!("{}-{direction}", self.name);
        let (subscriber, stream) = until(self.watch, || {
            let subscriber = Subscriber::connect(&region)?;
            let stream = subscriber.subscribe(TOPIC)?;
            Ok::<_, ::crossbar::error::Error>((subscriber, stream))
        })?;
        (self.stream, self.subscriber) = (Some(stream), Some(subscriber));
        Ok(())
    }

    /// Near: until both ends have subscribed, since a subscription begins with what comes after it.
    fn meet(&mut self) -> Result<()> {
        self.subscribe("back")?;
        until(self.watch, || match self.publisher.subscriber_count(&self.topic) {
            Ok(0) => Err("nobody has subscribed".to_owned()),
            other => other.map_err(|error| error.to_string()),
        })?;
        Ok(())
    }
}

/// One end, by pool and ring.
pub struct Crossbar(Ends);

impl Transport for Crossbar {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        Ends::near(shape).map(|(ends, handover)| (Self(ends), handover))
    }

    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        Ends::far(shape, handover).map(Self)
    }

    fn meet(&mut self) -> Result<()> {
        self.0.meet()
    }

    fn watch(&mut self, watch: Watch) {
        self.0.watch = watch;
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        let Ends { publisher, topic, size, .. } = &mut self.0;
        let mut loan = publisher.loan(topic).map_err(peer_failed("loaning a block"))?;
        let length = write(&mut loan.as_mut_slice()[..*size])?;
        loan.set_len(length).map_err(peer_failed("setting a length"))?;
        loan.publish_silent();
        Ok(())
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let stream = self.0.stream.as_ref().ok_or(LabError::PeerGone)?;
        let sample = look(self.0.watch, || stream.try_recv())?;
        read(&sample)
    }
}

/// One end, by the pinned block.
pub struct CrossbarPinned(Ends);

impl Transport for CrossbarPinned {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        Ends::near(shape).map(|(ends, handover)| (Self(ends), handover))
    }

    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        Ends::far(shape, handover).map(Self)
    }

    fn meet(&mut self) -> Result<()> {
        self.0.meet()
    }

    fn watch(&mut self, watch: Watch) {
        self.0.watch = watch;
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        let Ends { publisher, topic, size, watch, .. } = &mut self.0;
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
        let length = write(&mut loan.as_mut_slice()[..*size])?;
        loan.set_len(length).map_err(peer_failed("setting a length"))?;
        loan.publish();
        Ok(())
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let stream = self.0.stream.as_ref().ok_or(LabError::PeerGone)?;
        let guard = look(self.0.watch, || stream.try_recv_pinned())?;
        read(&guard)
    }
}

/// One end, by the bounded bus.
pub struct CrossbarBus<P: Pod> {
    bus: PodBus<P>,
    subscriber: Option<BusSubscriber<P>>,
    out: P,
    watch: Watch,
    name: String,
    _trace: Option<Trace>,
}

impl<P: Pod + FromBytes + IntoBytes + Immutable> CrossbarBus<P> {
    fn new(shape: &Shape, name: String, direction: &str, trace: Option<Trace>) -> Result<Self> {
        check_length(shape.capacity, size_of::<P>())?;
        let bus = PodBus::create_bounded(&format!("{name}-{direction}"), shape.depth.next_power_of_two(), 0)
            .map_err(peer_failed("creating a bus"))?;
        let (out, watch) = (P::new_zeroed(), Watch::Nobody);
        Ok(Self { bus, subscriber: None, out, watch, name, _trace: trace })
    }

    fn subscribe(&mut self, direction: &str) -> Result<()> {
        let bus = format!("{}-{direction}", self.name);
        self.subscriber = Some(until(self.watch, || BusSubscriber::connect(&bus))?);
        Ok(())
    }
}

impl<P: Pod + FromBytes + IntoBytes + Immutable> Transport for CrossbarBus<P> {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        let trace = Trace::new();
        let name = trace.name().to_owned();
        let handover = Handover { descriptors: Vec::new(), name: Some(name.clone()) };
        Ok((Self::new(shape, name, "there", Some(trace))?, handover))
    }

    /// Subscribes before it makes the bus on which the near end waits, so that nothing is sent too early.
    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        let name = take_name(handover)?;
        let subscriber = until(Watch::Nobody, || BusSubscriber::connect(&format!("{name}-there")))?;
        let mut far = Self::new(shape, name, "back", None)?;
        far.subscriber = Some(subscriber);
        Ok(far)
    }

    fn meet(&mut self) -> Result<()> {
        self.subscribe("back")
    }

    fn watch(&mut self, watch: Watch) {
        self.watch = watch;
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        check_length(write(self.out.as_mut_bytes())?, size_of::<P>())?;
        let Self { bus, out, watch, .. } = self;
        look(*watch, || bus.try_publish(*out).ok())
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let subscriber = self.subscriber.as_mut().ok_or(LabError::PeerGone)?;
        let value = look(self.watch, || subscriber.try_recv())?;
        read(value.as_bytes())
    }
}
