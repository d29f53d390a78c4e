//! allmende: the same ring, by the calls that copy: from a private buffer into it, and out of it into another.
#![forbid(unsafe_code)]

use allmende::Region;
use allmende::bytes::{Consumer, Producer};

use super::Shape;
use super::allmende_loan::join;
use super::in_region::{Ends, Side, failed, ring_bytes};
use crate::error::Result;

/// One end: the producer of one ring and the consumer of the other, with private buffers used in turn.
#[derive(Debug)]
pub struct AllmendeCopy {
    producer: Producer,
    consumer: Consumer,
    out: Vec<Vec<u8>>,
    turn: usize,
    input: Vec<u8>,
}

impl Ends for AllmendeCopy {
    fn room(shape: &Shape) -> Result<usize> {
        Ok(ring_bytes(shape))
    }

    fn join(region: &Region, shape: &Shape, side: Side) -> Result<Self> {
        let (producer, consumer) = join(region, shape, side)?;
        let buffers = if shape.capacity > 1 << 20 { 2 } else { 4 };
        let out = vec![vec![0; shape.capacity]; buffers];
        Ok(Self { producer, consumer, out, turn: 0, input: Vec::with_capacity(shape.capacity) })
    }

    #[inline]
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        self.turn = (self.turn + 1) % self.out.len();
        let buffer = &mut self.out[self.turn];
        let length = write(buffer)?;
        self.producer.push(&buffer[..length]).map_err(failed("sending"))
    }

    #[inline]
    fn receive<R>(&mut self, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        self.consumer.pop(&mut self.input).map_err(failed("receiving"))?;
        read(&self.input)
    }
}
