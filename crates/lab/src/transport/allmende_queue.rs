//! allmende: the queue for many producers and many consumers, here with one of each; slots of one payload type, pushed
//! and popped as in the typed ring.
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
    out: P,
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
            out: P::new_zeroed(),
        })
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        check_length(write(self.out.as_mut_bytes())?, size_of::<P>())?;
        self.producer.push(self.out).map_err(failed("sending"))
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let value = self.consumer.pop().map_err(failed("receiving"))?;
        read(value.as_bytes())
    }
}
