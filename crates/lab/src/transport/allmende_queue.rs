//! allmende: the queue for many producers and many consumers, here with one of each; slots of one payload type, written
//! and read in place.
#![forbid(unsafe_code)]

use allmende::channel::queue::{Consumer, Producer, Queue};
use allmende::{Payload, Region};

use super::in_region::{Ends, Side, failed, strategy};
use super::{Shape, check_length, slots_room};
use crate::error::Result;

/// One end: a producer of one queue and a consumer of the other. Every message is one `P`.
#[derive(Debug)]
pub struct AllmendeQueue<P: Payload> {
    producer: Producer<P>,
    consumer: Consumer<P>,
}

impl<P: Payload> Ends for AllmendeQueue<P> {
    fn room(shape: &Shape) -> Result<usize> {
        slots_room::<P>(shape)
    }

    fn join(region: &Region, shape: &Shape, side: Side) -> Result<Self> {
        let queue =
            |name| Queue::<P>::open_or_create(region, name, shape.depth).map_err(failed("making a queue"));
        let (to, from) = side.names();
        let (to, from, wait) = (queue(to)?, queue(from)?, strategy(shape.wait));
        Ok(Self {
            producer: to.producer().map_err(failed("becoming a producer"))?.wait_strategy(wait),
            consumer: from.consumer().map_err(failed("becoming a consumer"))?.wait_strategy(wait),
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
