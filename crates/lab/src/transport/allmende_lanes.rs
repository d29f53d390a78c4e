//! allmende: lanes of messages of any length for many producers, here with one; written and read in place.
#![forbid(unsafe_code)]

use allmende::Region;
use allmende::channel::lanes::{Consumer, Lanes, Producer};

use super::Shape;
use super::in_region::{Ends, Side, failed, ring_bytes, strategy};
use crate::error::Result;

/// One end: a producer of one set of lanes and the consumer of the other.
#[derive(Debug)]
pub struct AllmendeLanes {
    producer: Producer,
    consumer: Consumer,
    capacity: usize,
}

impl Ends for AllmendeLanes {
    fn room(shape: &Shape) -> Result<usize> {
        Ok(ring_bytes(shape))
    }

    fn join(region: &Region, shape: &Shape, side: Side) -> Result<Self> {
        let lanes =
            |name| Lanes::open_or_create(region, name, 1, ring_bytes(shape)).map_err(failed("making lanes"));
        let (to, from) = side.names();
        let (to, from, wait) = (lanes(to)?, lanes(from)?, strategy(shape.wait));
        Ok(Self {
            producer: to.producer().map_err(failed("becoming a producer"))?.wait_strategy(wait),
            consumer: from.consumer().map_err(failed("becoming the consumer"))?.wait_strategy(wait),
            capacity: shape.capacity,
        })
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
