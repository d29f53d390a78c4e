//! allmende: the typed ring, whose slots hold one payload type of a fixed size, written and read in place.
//!
//! A slot is the stamp on which the consumer waits and the payload behind it. With 56 bytes both fill one cache line,
//! so that a message costs one transfer of a line, as the floor does; with 64 bytes it takes two lines.
#![forbid(unsafe_code)]

use allmende::spsc::{Consumer, Producer, Ring};
use allmende::{Payload, Region};

use super::in_region::{Ends, Side, failed, strategy};
use super::{Shape, check_length, slots_room};
use crate::error::Result;

/// One end: the producer of one ring and the consumer of the other. Every message is one `P`.
#[derive(Debug)]
pub struct AllmendeSlots<P: Payload> {
    producer: Producer<P>,
    consumer: Consumer<P>,
}

impl<P: Payload> Ends for AllmendeSlots<P> {
    fn room(shape: &Shape) -> Result<usize> {
        slots_room::<P>(shape)
    }

    fn join(region: &Region, shape: &Shape, side: Side) -> Result<Self> {
        let ring =
            |name| Ring::<P>::open_or_create(region, name, shape.depth).map_err(failed("making a ring"));
        let (to, from) = side.names();
        let (to, from, wait) = (ring(to)?, ring(from)?, strategy(shape.wait));
        Ok(Self {
            producer: to.producer().map_err(failed("taking the producer's role"))?.wait_strategy(wait),
            consumer: from.consumer().map_err(failed("taking the consumer's role"))?.wait_strategy(wait),
        })
    }

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
