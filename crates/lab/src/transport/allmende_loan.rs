//! allmende: messages of any length in a ring of a region, written and read in place.
#![forbid(unsafe_code)]

use allmende::Region;
use allmende::bytes::{Consumer, Producer, Ring};

use super::Shape;
use super::in_region::{Ends, Side, failed, ring_bytes, strategy};
use crate::error::Result;

/// One end: the producer of one ring and the consumer of the other.
#[derive(Debug)]
pub struct AllmendeLoan {
    producer: Producer,
    consumer: Consumer,
    capacity: usize,
}

/// Takes an end of both rings.
pub(super) fn join(region: &Region, shape: &Shape, side: Side) -> Result<(Producer, Consumer)> {
    let ring = |name| Ring::open_or_create(region, name, ring_bytes(shape)).map_err(failed("making a ring"));
    let (to, from) = side.names();
    let (to, from, wait) = (ring(to)?, ring(from)?, strategy(shape.wait));
    let producer = to.producer().map_err(failed("taking the producer's role"))?.wait_strategy(wait);
    let consumer = from.consumer().map_err(failed("taking the consumer's role"))?.wait_strategy(wait);
    Ok((producer, consumer))
}

impl Ends for AllmendeLoan {
    fn room(shape: &Shape) -> Result<usize> {
        Ok(ring_bytes(shape))
    }

    fn join(region: &Region, shape: &Shape, side: Side) -> Result<Self> {
        let (producer, consumer) = join(region, shape, side)?;
        Ok(Self { producer, consumer, capacity: shape.capacity })
    }

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
