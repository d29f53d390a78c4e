//! ringfire: its ring of values, and its blobs; one ring a direction.
//!
//! The ring runs with its back-pressure, which loses nothing, and its own busy wait. Values are copied in and out: its
//! interface has no loans. Blobs are written and read in place, but the writer may lap the reader, so they run in
//! closed loops only, where that cannot happen.
#![forbid(unsafe_code)]

use ::ringfire::{
    BlobConsumer, BlobProducer, CleanupMode, FlowControl, RingConsumer, RingConsumerBuilder, RingProducer,
    RingProducerBuilder,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Handover, Shape, Transport, check_length, look, peer_failed, take_name, value};
use crate::cleanup::Trace;
use crate::error::{LabError, Result};
use crate::watch::Watch;

/// Where a direction's file lies.
fn path(name: &str, direction: &str) -> String {
    format!("/dev/shm/{name}.{direction}")
}

/// Waits until `attach` finds the other end's file, ten seconds at most.
fn attached<T, E: std::fmt::Debug>(watch: Watch, mut attach: impl FnMut() -> Result<T, E>) -> Result<T> {
    let start = std::time::Instant::now();
    loop {
        match attach() {
            Ok(found) => return Ok(found),
            Err(error) if start.elapsed().as_secs() >= 10 => return Err(peer_failed("attaching")(error)),
            Err(_) => watch.check()?,
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// One end of the rings.
pub struct Ringfire<P: Copy + 'static> {
    producer: RingProducer<P>,
    /// There once both ends have met.
    consumer: Option<RingConsumer<P>>,
    watch: Watch,
    name: String,
    /// The near end's.
    _trace: Option<Trace>,
}

impl<P: Copy + FromBytes + IntoBytes + Immutable + 'static> Ringfire<P> {
    fn producer(name: &str, direction: &str, shape: &Shape) -> Result<RingProducer<P>> {
        check_length(shape.capacity, size_of::<P>())?;
        RingProducerBuilder::new(shape.depth.next_power_of_two() as u64)
            .flow_control(FlowControl::LosslessBackpressure)
            .max_readers(1)
            .cleanup_mode(CleanupMode::UnlinkOnDrop)
            .build(path(name, direction))
            .map_err(peer_failed("creating a ring"))
    }

    fn consumer(name: &str, direction: &str, watch: Watch) -> Result<RingConsumer<P>> {
        attached(watch, || RingConsumerBuilder::new().start_from_oldest().attach(path(name, direction)))
    }
}

impl<P: Copy + FromBytes + IntoBytes + Immutable + 'static> Transport for Ringfire<P> {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        let trace = Trace::new();
        let name = trace.name().to_owned();
        let producer = Self::producer(&name, "there", shape)?;
        let handover = Handover { descriptors: Vec::new(), name: Some(name.clone()) };
        let near = Self { producer, consumer: None, watch: Watch::Nobody, name, _trace: Some(trace) };
        Ok((near, handover))
    }

    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        let name = take_name(handover)?;
        let consumer = Some(Self::consumer(&name, "there", Watch::Nobody)?);
        let producer = Self::producer(&name, "back", shape)?;
        Ok(Self { producer, consumer, watch: Watch::Nobody, name, _trace: None })
    }

    fn meet(&mut self) -> Result<()> {
        self.consumer = Some(Self::consumer(&self.name, "back", self.watch)?);
        Ok(())
    }

    fn watch(&mut self, watch: Watch) {
        self.watch = watch;
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        let out: P = value(write)?;
        let Self { producer, watch, .. } = self;
        look(*watch, || producer.try_push(&out).ok())
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let consumer = self.consumer.as_mut().ok_or(LabError::PeerGone)?;
        let value = look(self.watch, || consumer.try_recv())?;
        read(value.as_bytes())
    }
}

/// One end of the blobs.
pub struct RingfireBlob {
    producer: BlobProducer<()>,
    /// There once both ends have met.
    consumer: Option<BlobConsumer<()>>,
    capacity: usize,
    watch: Watch,
    name: String,
    /// The near end's.
    _trace: Option<Trace>,
}

impl RingfireBlob {
    fn producer(name: &str, direction: &str, shape: &Shape) -> Result<BlobProducer<()>> {
        let depth = shape.depth.next_power_of_two();
        let arena = (shape.capacity * depth).next_power_of_two().max(4096);
        BlobProducer::create(path(name, direction), depth as u64, arena)
            .map_err(peer_failed("creating a ring of blobs"))
    }
}

impl Transport for RingfireBlob {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        let trace = Trace::new();
        let name = trace.name().to_owned();
        let producer = Self::producer(&name, "there", shape)?;
        let handover = Handover { descriptors: Vec::new(), name: Some(name.clone()) };
        let (capacity, watch) = (shape.capacity, Watch::Nobody);
        Ok((Self { producer, consumer: None, capacity, watch, name, _trace: Some(trace) }, handover))
    }

    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        let name = take_name(handover)?;
        let consumer = Some(attached(Watch::Nobody, || BlobConsumer::attach(path(&name, "there")))?);
        let producer = Self::producer(&name, "back", shape)?;
        let (capacity, watch) = (shape.capacity, Watch::Nobody);
        Ok(Self { producer, consumer, capacity, watch, name, _trace: None })
    }

    fn meet(&mut self) -> Result<()> {
        self.consumer = Some(attached(self.watch, || BlobConsumer::attach(path(&self.name, "back")))?);
        Ok(())
    }

    fn watch(&mut self, watch: Watch) {
        self.watch = watch;
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        let capacity = self.capacity;
        let (_, written) =
            self.producer.push_with(&(), capacity, write).map_err(peer_failed("sending a blob"))?;
        check_length(written?, capacity)
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let consumer = self.consumer.as_mut().ok_or(LabError::PeerGone)?;
        let mut read = Some(read);
        let got = look(self.watch, || {
            let mut view = |(): &(), bytes: &[u8]| read.take().map(|read| read(bytes));
            consumer.view(&mut view).transpose()
        })?;
        // Called once unless a message was lapped, which a closed loop cannot do.
        got.map_err(peer_failed("receiving a blob"))?.unwrap_or(Err(LabError::PeerGone))
    }
}
