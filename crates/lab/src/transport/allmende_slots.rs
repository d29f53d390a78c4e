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

use super::in_region::{Ends, Side, failed, strategy};
use super::{Shape, check_length, slots_room};
use crate::error::Result;

/// One end: the producer of one ring and the consumer of the other. Every message is one `P`.
#[derive(Debug)]
pub struct AllmendeSlots<P: Payload> {
    producer: Producer<P>,
    consumer: Consumer<P>,
    out: P,
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
