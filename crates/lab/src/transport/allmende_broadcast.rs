//! allmende: a broadcast there and a broadcast back, read by one each; small messages, copied in and out.
//!
//! The producer never waits, so a stream would lose what comes too fast: closed loops only, where nothing can.
#![forbid(unsafe_code)]

use allmende::channel::broadcast::{Broadcast, Producer, Reader, Start};
use allmende::{Payload, Region};

use super::in_region::{Ends, Side, failed, strategy};
use super::{Shape, slots_room, value};
use crate::error::Result;

/// One end: the producer of one broadcast and a reader of the other. Every message is one `P`.
#[derive(Debug)]
pub struct AllmendeBroadcast<P: Payload> {
    producer: Producer<P>,
    reader: Reader<P>,
}

impl<P: Payload> Ends for AllmendeBroadcast<P> {
    fn room(shape: &Shape) -> Result<usize> {
        slots_room::<P>(shape)
    }

    fn join(region: &Region, shape: &Shape, side: Side) -> Result<Self> {
        let broadcast = |name| {
            Broadcast::<P>::open_or_create(region, name, shape.depth).map_err(failed("making a broadcast"))
        };
        let (to, from) = side.names();
        let (to, from) = (broadcast(to)?, broadcast(from)?);
        // Whatever was sent before this end came.
        let reader = from.reader_from(Start::Oldest).map_err(failed("becoming a reader"))?;
        Ok(Self {
            producer: to.producer().map_err(failed("becoming the producer"))?,
            reader: reader.wait_strategy(strategy(shape.wait)),
        })
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        self.producer.push(value(write)?).map_err(failed("sending"))
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let message = self.reader.receive().map_err(failed("receiving"))?;
        read(message.as_bytes())
    }
}
