//! iceoryx2: publish-subscribe of byte slices, loaned and read in place; one service a direction.
//!
//! One publisher, one subscriber, no history, no overflow: a publisher tries again until there is room, so that nothing
//! is lost. Waiting is a loop of `receive`, as in its own benchmark. All its files are under a prefix and a directory of
//! this run's own.

use std::time::{Duration, Instant};

use ::iceoryx2::port::publisher::Publisher;
use ::iceoryx2::port::subscriber::Subscriber;
use ::iceoryx2::prelude::*;

use super::{Handover, Shape, Transport, check_length, look, peer_failed, take_name};
use crate::cleanup::Trace;
use crate::error::{LabError, Result};
use crate::watch::Watch;

type Service = ipc::Service;

/// One end: the publisher of one service and the subscriber of the other.
pub struct Iceoryx2 {
    publisher: Publisher<Service, [u8], ()>,
    subscriber: Subscriber<Service, [u8], ()>,
    capacity: usize,
    /// Near: a service whose second node shows that the far end is complete.
    arrived: Box<dyn Fn() -> bool>,
    watch: Watch,
    _node: Node<Service>,
    _trace: Option<Trace>,
}

fn ends(shape: &Shape, name: &str, directions: [&str; 2], trace: Option<Trace>) -> Result<Iceoryx2> {
    set_log_level(LogLevel::Fatal);
    let mut config = Config::default();
    let root = std::env::temp_dir().join(name);
    let root = Path::new(root.to_string_lossy().as_bytes()).map_err(peer_failed("naming a directory"))?;
    config.global.set_root_path(&root);
    config.global.prefix =
        FileName::new(format!("{name}_").as_bytes()).map_err(peer_failed("naming a prefix"))?;
    let node = NodeBuilder::new()
        .config(&config)
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create::<Service>()
        .map_err(peer_failed("creating a node"))?;
    let line = Alignment::new(64).ok_or(LabError::PeerGone)?;
    let service = |direction: &str| {
        let name = ServiceName::new(direction).map_err(peer_failed("naming a service"))?;
        node.service_builder(&name)
            .publish_subscribe::<[u8]>()
            .payload_alignment(line)
            .max_publishers(1)
            .max_subscribers(1)
            .max_nodes(2)
            .history_size(0)
            .subscriber_max_buffer_size(shape.depth)
            .subscriber_max_borrowed_samples(1)
            .enable_safe_overflow(false)
            .open_or_create()
            .map_err(peer_failed("opening a service"))
    };
    let (outgoing, incoming) = (service(directions[0])?, service(directions[1])?);
    let subscriber = incoming
        .subscriber_builder()
        .buffer_size(shape.depth)
        .create()
        .map_err(peer_failed("creating a subscriber"))?;
    let publisher = outgoing
        .publisher_builder()
        .initial_max_slice_len(shape.capacity)
        .max_loaned_samples(1)
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()
        .map_err(peer_failed("creating a publisher"))?;
    // The far end subscribes before it publishes.
    let arrived = Box::new(move || {
        incoming.dynamic_config().number_of_publishers() > 0
            && outgoing.dynamic_config().number_of_subscribers() > 0
    });
    let (capacity, watch) = (shape.capacity, Watch::Nobody);
    Ok(Iceoryx2 { publisher, subscriber, capacity, arrived, watch, _node: node, _trace: trace })
}

impl Transport for Iceoryx2 {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        let trace = Trace::new();
        let name = trace.name().to_owned();
        let near = ends(shape, &name, ["there", "back"], Some(trace))?;
        Ok((near, Handover { descriptors: Vec::new(), name: Some(name) }))
    }

    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        ends(shape, &take_name(handover)?, ["back", "there"], None)
    }

    fn meet(&mut self) -> Result<()> {
        let start = Instant::now();
        while !(self.arrived)() {
            self.watch.check()?;
            if start.elapsed() > Duration::from_secs(10) {
                return Err(LabError::PeerGone);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn watch(&mut self, watch: Watch) {
        self.watch = watch;
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        // While a full ring is emptied there may be nothing to loan.
        let mut sample = look(self.watch, || match self.publisher.loan_slice_uninit(self.capacity) {
            Err(::iceoryx2::port::LoanError::OutOfMemory) => None,
            other => Some(other),
        })?
        .map_err(peer_failed("loaning a sample"))?;
        let bytes = sample.payload_mut();
        // SAFETY: the sample is ours alone until it is sent; its bytes lie in a mapping of zeros or former messages,
        // so that each of them is initialised.
        let bytes = unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast::<u8>(), bytes.len()) };
        check_length(write(bytes)?, self.capacity)?;
        // SAFETY: written in full, as was just checked.
        let sample = unsafe { sample.assume_init() };
        sample.send().map_err(peer_failed("sending a sample"))?;
        Ok(())
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let sample = look(self.watch, || self.subscriber.receive().transpose())?
            .map_err(peer_failed("receiving a sample"))?;
        read(sample.payload())
    }
}
