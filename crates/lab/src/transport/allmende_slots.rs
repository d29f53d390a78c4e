//! allmende: the typed ring, whose slots hold one payload type of a fixed size; values are pushed and popped.
//!
//! They are as short as a cache line, and the consumer looks at that line all the time: a value that is made elsewhere and
//! pushed as a whole takes the line once, one that is written in place may lose it in between.
//!
//! A slot is the stamp on which the consumer waits and the payload behind it. With 56 bytes both fill one cache line,
//! so that a message costs one transfer of a line, as the floor does; with 64 bytes it takes two lines.
#![forbid(unsafe_code)]

use allmende::spsc::{Consumer, Producer, Ring};
use allmende::{Payload, Region};

use super::Shape;
use super::in_region::{Side, failed, strategy};
use super::values::Values;
use crate::error::Result;

/// One end: the producer of one ring and the consumer of the other.
#[derive(Debug)]
pub struct AllmendeSlots<P: Payload> {
    producer: Producer<P>,
    consumer: Consumer<P>,
}

impl<P: Payload> Values for AllmendeSlots<P> {
    type Value = P;

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
    fn push(&mut self, value: P) -> Result<()> {
        self.producer.push(value).map_err(failed("sending"))
    }

    #[inline]
    fn pop(&mut self) -> Result<P> {
        self.consumer.pop().map_err(failed("receiving"))
    }
}
