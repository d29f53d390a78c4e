//! allmende: messages of any length in a ring of a region, written and read in place.
#![forbid(unsafe_code)]

use allmende::Region;
use allmende::bytes::{Consumer, Producer, Ring};

use super::{Handover, Shape, Transport};
use crate::error::{LabError, Result};
use crate::names::Wait;
use crate::watch::Watch;

/// One end: the producer of one ring and the consumer of the other.
#[derive(Debug)]
pub struct AllmendeLoan {
    producer: Producer,
    consumer: Consumer,
    capacity: usize,
}

/// Names of the rings: from the near end, and to it.
pub(super) const THERE: &str = "there";
pub(super) const BACK: &str = "back";

/// Wraps what the library says.
pub(super) fn failed<E: ToString>(what: &'static str) -> impl FnOnce(E) -> LabError {
    move |error| LabError::Library { what, reason: error.to_string() }
}

/// The library's name for a wait strategy.
pub(super) fn strategy(wait: Wait) -> allmende::Wait {
    match wait {
        Wait::Spin => allmende::Wait::Spin,
        Wait::Yield => allmende::Wait::Yield,
        Wait::Park | Wait::Blocking => allmende::Wait::Park,
    }
}

/// Makes a region with both rings: the near ends, and what the far end needs.
pub(super) fn create(shape: &Shape) -> Result<(Producer, Consumer, Handover)> {
    // Rings are powers of two long. Like the others, about `depth` messages, so that all go through as much memory;
    // but a message fills less than half of the ring.
    let message = shape.capacity.next_multiple_of(8) + 8;
    let bytes = (1 << (message * shape.depth).ilog2()).max((2 * message + 16).next_power_of_two());
    let region = Region::create()
        .size(2 * bytes as u64 + (1 << 16))
        .memfd("allmende-lab")
        .map_err(failed("creating a region"))?;
    let there = Ring::create(&region, THERE, bytes).map_err(failed("creating a ring"))?;
    let back = Ring::create(&region, BACK, bytes).map_err(failed("creating a ring"))?;
    let fd = region.descriptor().try_clone_to_owned().map_err(LabError::io("duplicating a descriptor"))?;
    let (producer, consumer) = ends(&there, &back, shape)?;
    Ok((producer, consumer, Handover { descriptors: vec![fd], name: None }))
}

/// Attaches to both rings: the far ends.
pub(super) fn attach(shape: &Shape, handover: Handover) -> Result<(Producer, Consumer)> {
    let [fd] = super::take(handover)?;
    let region = Region::attach(&fd).map_err(failed("attaching to a region"))?;
    let there = Ring::open(&region, THERE).map_err(failed("opening a ring"))?;
    let back = Ring::open(&region, BACK).map_err(failed("opening a ring"))?;
    ends(&back, &there, shape)
}

fn ends(outgoing: &Ring, incoming: &Ring, shape: &Shape) -> Result<(Producer, Consumer)> {
    let wait = strategy(shape.wait);
    let producer = outgoing.producer().map_err(failed("taking the producer's role"))?.wait_strategy(wait);
    let consumer = incoming.consumer().map_err(failed("taking the consumer's role"))?.wait_strategy(wait);
    Ok((producer, consumer))
}

impl Transport for AllmendeLoan {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        let (producer, consumer, handover) = create(shape)?;
        Ok((Self { producer, consumer, capacity: shape.capacity }, handover))
    }

    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        let (producer, consumer) = attach(shape, handover)?;
        Ok(Self { producer, consumer, capacity: shape.capacity })
    }

    // The library notices the death of a participant itself.
    fn watch(&mut self, _watch: Watch) {}

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        let mut claim = self.producer.claim(self.capacity).map_err(failed("claiming room"))?;
        let length = write(&mut claim)?;
        claim.commit_prefix(length);
        Ok(())
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let loan = self.consumer.receive().map_err(failed("receiving"))?;
        read(&loan)
    }
}
