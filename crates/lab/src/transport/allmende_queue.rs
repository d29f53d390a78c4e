//! allmende: the queue for many producers and many consumers, here with room for one of each.
#![forbid(unsafe_code)]

use allmende::channel::queue::{Consumer, Producer, Queue};
use allmende::{Payload, Region};

use super::Shape;
use super::in_region::{Side, failed, strategy};
use super::values::Values;
use crate::error::Result;

/// One end: the producer of one queue and the consumer of the other.
#[derive(Debug)]
pub struct AllmendeQueue<P: Payload> {
    producer: Producer<P>,
    consumer: Consumer<P>,
}

impl<P: Payload> Values for AllmendeQueue<P> {
    type Value = P;

    fn join(region: &Region, shape: &Shape, side: Side) -> Result<Self> {
        let options = Queue::<P>::options().producers(1).consumers(1);
        let queue = |name| {
            options.clone().open_or_create(region, name, shape.depth).map_err(failed("making a queue"))
        };
        let (to, from) = side.names();
        let (to, from, wait) = (queue(to)?, queue(from)?, strategy(shape.wait));
        Ok(Self {
            producer: to.producer().map_err(failed("becoming the producer"))?.wait_strategy(wait),
            consumer: from.consumer().map_err(failed("becoming the consumer"))?.wait_strategy(wait),
        })
    }

    #[inline]
    fn push(&mut self, value: P) -> Result<()> {
        self.producer.push(value).map_err(failed("sending"))
    }

    #[inline]
    fn pop(&mut self) -> Result<P> {
        self.consumer.pop().map_err(failed("receiving"))
    }
}
