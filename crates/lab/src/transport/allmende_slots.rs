//! allmende: the typed ring, whose slots hold one payload type of a fixed size, written and read in place.
//!
//! A slot is the stamp on which the consumer waits and the payload behind it. With 56 bytes both fill one cache line,
//! so that a message costs one transfer of a line, as the floor does; with 64 bytes it takes two lines.
#![forbid(unsafe_code)]

use allmende::spsc::{Consumer, Producer, Ring};
use allmende::{Payload, Region};

use super::allmende_loan::{BACK, THERE, failed, strategy};
use super::{Handover, Shape, Transport, check_length};
use crate::error::{LabError, Result};
use crate::watch::Watch;

/// The payload that fills a cache line together with its stamp.
pub type Line = [u64; 7];
/// The payload that is as long as a cache line.
pub type TwoLines = [u64; 8];

/// One end: the producer of one ring and the consumer of the other. Every message is one `P`.
#[derive(Debug)]
pub struct AllmendeSlots<P: Payload> {
    producer: Producer<P>,
    consumer: Consumer<P>,
}

impl<P: Payload> AllmendeSlots<P> {
    fn ends(outgoing: &Ring<P>, incoming: &Ring<P>, shape: &Shape) -> Result<Self> {
        let wait = strategy(shape.wait);
        Ok(Self {
            producer: outgoing.producer().map_err(failed("taking the producer's role"))?.wait_strategy(wait),
            consumer: incoming.consumer().map_err(failed("taking the consumer's role"))?.wait_strategy(wait),
        })
    }
}

impl<P: Payload> Transport for AllmendeSlots<P> {
    fn create(shape: &Shape) -> Result<(Self, Handover)> {
        check_length(shape.capacity, size_of::<P>())?;
        let region =
            Region::create().size(1 << 16).memfd("allmende-lab").map_err(failed("creating a region"))?;
        let ring = |name| Ring::create(&region, name, shape.depth).map_err(failed("creating a ring"));
        let near = Self::ends(&ring(THERE)?, &ring(BACK)?, shape)?;
        let fd =
            region.descriptor().try_clone_to_owned().map_err(LabError::io("duplicating a descriptor"))?;
        Ok((near, Handover { descriptors: vec![fd], name: None }))
    }

    fn attach(shape: &Shape, handover: Handover) -> Result<Self> {
        let [fd] = super::take(handover)?;
        let region = Region::attach(&fd).map_err(failed("attaching to a region"))?;
        let ring = |name| Ring::open(&region, name).map_err(failed("opening a ring"));
        Self::ends(&ring(BACK)?, &ring(THERE)?, shape)
    }

    // The library notices the death of a participant itself.
    fn watch(&mut self, _watch: Watch) {}

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        let mut claim = self.producer.claim().map_err(failed("claiming a slot"))?;
        check_length(write(claim.as_mut_bytes())?, size_of::<P>())?;
        claim.commit();
        Ok(())
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let loan = self.consumer.receive().map_err(failed("receiving"))?;
        read(loan.as_bytes())
    }
}
